"""memkeepd on the real cards of this machine; without one, nothing is tried. scripts/gpu-bundle carries it to one."""

import contextlib
import hashlib
import os
import random
import signal
import subprocess
import sys
import time
import unittest
from pathlib import Path

from harness import GIB, MEMORY, MIB, Daemon, clean_environment, wait_until
from models import ModelWords, some_tensors, write_safetensors
from restart import RestartCase

CARD = "cuda:0"
CONTEXT = 64 * MIB  # far below what a context of CUDA takes
READERS = 16

# A process that makes a context, copies from the card, maps a model (its words: the socket, the model, or nothing), all
# through the driver alone, says the SHA-256 of what it read from the card, and holds all of it until its stdin ends.
WHO_READS = """
import ctypes, hashlib, sys
from models import Attached
cuda, found = ctypes.CDLL("libcuda.so.1"), hashlib.sha256()
MIB = 1 << 20

def call(name, *words):
    result = getattr(cuda, name)(*words)
    assert not result, (name, result)

def opened(fd, size):
    handle, place = ctypes.c_ulonglong(), ctypes.c_ulonglong()
    size = -(-size // (2 * MIB)) * 2 * MIB
    access = (ctypes.c_int * 3)(1, 0, 3)  # on this device, to read and write: the driver has no less
    call("cuMemImportFromShareableHandle", ctypes.byref(handle), ctypes.c_void_p(fd), 1)
    call("cuMemAddressReserve", ctypes.byref(place), ctypes.c_size_t(size), ctypes.c_size_t(0), ctypes.c_ulonglong(0),
         ctypes.c_ulonglong(0))
    call("cuMemMap", place, ctypes.c_size_t(size), ctypes.c_size_t(0), handle, ctypes.c_ulonglong(0))
    call("cuMemSetAccess", place, ctypes.c_size_t(size), access, ctypes.c_size_t(1))
    return place.value

device, context = ctypes.c_int(), ctypes.c_void_p()
call("cuInit", 0)
call("cuDeviceGet", ctypes.byref(device), 0)
call("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
call("cuCtxSetCurrent", context)
own, content = ctypes.c_ulonglong(), ctypes.create_string_buffer(2 * MIB)
call("cuMemAlloc_v2", ctypes.byref(own), ctypes.c_size_t(2 * MIB))
call("cuMemcpyDtoH_v2", content, own, ctypes.c_size_t(2 * MIB))  # the first copy is what a context takes most for
if sys.argv[1:]:
    attached = Attached(*sys.argv[1:])
    for piece, fd in zip(attached.data["segments"], attached.fds):
        offset, size = piece["offset_bytes"], piece["size_bytes"]
        content = ctypes.create_string_buffer(size)
        call("cuMemcpyDtoH_v2", content, ctypes.c_ulonglong(opened(fd, offset + size) + offset), ctypes.c_size_t(size))
        found.update(content)
print(found.hexdigest(), flush=True)
sys.stdin.read()
"""


@unittest.skipUnless(Path("/dev/nvidiactl").exists(), "no card of NVIDIA's here")
class Card(RestartCase, ModelWords):
    devices = ("host:0=16GiB",)
    at_rest = None  # in use before the first test

    def setUp(self):
        self.daemon = Daemon(devices=self.devices, start=False)
        self.daemon.command.remove("--no-gpu")
        self.daemon.start()
        self.addCleanup(self.daemon.close)
        Card.at_rest = Card.at_rest or self.used()
        wait_until(lambda: self.used() - Card.at_rest < CONTEXT, "the contexts of the test before are gone")
        self.before = self.used()

    def used(self):
        return self.device(CARD)["usedBytes"]

    def crash_all(self):
        os.kill(self.mover()["pid"], signal.SIGKILL)
        began = time.monotonic()
        self.crash()
        return time.monotonic() - began

    def test_most_of_a_card_is_owned_without_a_context(self):
        size = self.device(CARD)["availableBytes"] * 3 // 4 // GIB * GIB
        owned = self.allocate(size, CARD, persistent=True)
        used = wait_until(lambda: (now := self.used() - self.before) >= size and now, "the driver's figure")
        self.assertLessEqual(used - size, CONTEXT)
        self.crash()
        self.assertLessEqual(abs(self.used() - self.before - size), CONTEXT)
        self.free(owned, force=True)
        wait_until(lambda: self.used() - self.before <= CONTEXT, "the card is as empty as before")

    def test_bytes_survive_everybody(self):
        sizes = [3 * GIB, 64 * MIB, *[100_000 + i for i in range(50)]]
        sums = {}
        for i, size in enumerate(sizes):
            one = self.allocate(size, CARD, persistent=True)
            sums[one["allocationId"]] = self.fill(one, i)["checksum"]
        self.crash_all()
        for name, checksum in sums.items():
            self.assertEqual(checksum, self.checksum(name))
            self.free(name, force=True)
        self.ok(self.daemon.post(f"{MEMORY}/operations/clear/{CARD}", {}))
        wait_until(lambda: self.used() - self.before < GIB, "the card has no more in use than a context")

    @contextlib.contextmanager
    def readers(self, count, *words):
        """So many processes, each after its first line, which is given; what they held is back at the end."""
        with contextlib.ExitStack() as stack:
            environment = clean_environment(PYTHONPATH=str(Path(__file__).parent))
            started = [stack.enter_context(subprocess.Popen(
                [sys.executable, "-c", WHO_READS, *map(str, words)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                text=True, env=environment)) for _ in range(count)]
            yield [reader.stdout.readline().strip() for reader in started]
            for reader in started:
                reader.stdin.close()

    def test_many_processes_read_one_copy(self):
        tensors = some_tensors(random.Random("shared"), 30, 16 * MIB)
        content = write_safetensors(self.daemon.folder / "m.safetensors", tensors)
        model = self.load(self.daemon.folder / "m.safetensors", CARD, keepRamCopy=False)
        before = self.used()
        with self.readers(1):
            context = self.used() - before
        wait_until(lambda: self.used() - before <= CONTEXT, "its context is gone")
        with self.readers(READERS, self.daemon.socket_path, model["modelId"]) as found:
            self.assertEqual({hashlib.sha256(content).hexdigest()}, set(found))
            self.assertTrue(self.look_model(model)["busy"])
            self.assertLess(self.used() - before, READERS * (context + CONTEXT))
        wait_until(lambda: self.used() - before <= CONTEXT, "their contexts are gone")
        self.unload(model)

    def test_a_model_survives_and_comes_back_whole(self):
        tensors = some_tensors(random.Random("card"), 30, 16 * MIB)
        content = write_safetensors(self.daemon.folder / "m.safetensors", tensors)
        model = self.load(self.daemon.folder / "m.safetensors", CARD, keepRamCopy=False)
        (self.daemon.folder / "m.safetensors").unlink()
        self.crash_all()
        self.assertEqual(("ready", "device"), tuple(self.look_model(model)[name] for name in ("state", "residency")))
        moved = self.ok(self.daemon.post(f"{MEMORY}/transfer", {
            "modelId": model["modelId"], "sourceDeviceId": CARD, "targetDeviceId": "host:0", "mode": "move",
            "wait": True}))
        self.assertEqual("completed", moved["status"])
        with self.attached(model) as attached:
            self.assertEqual({"m.safetensors": content}, attached.files())
        self.unload(model)


if __name__ == "__main__":
    unittest.main()
