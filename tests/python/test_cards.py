"""Memory of real cards in Python's hands; without a card nothing is tried. scripts/gpu-bundle carries it to one."""

import ctypes
import os
import random
import time
import unittest
import zlib
from pathlib import Path

from client import ClientWords
from harness import MIB, Daemon, DaemonCase
from memkeep import _cuda
from models import ModelWords, Tensor, some_tensors, write_safetensors

SIZE = 5 * MIB + 12345

# Attaches what its words name (the socket, the allocation), says a hash of the bytes on the card, and changes the first.
OTHER = """
import sys, zlib, memkeep
from test_cards import card_bytes, copy_in
with memkeep.connect(sys.argv[1]) as client, client.attach(sys.argv[2]) as memory:
    print(zlib.crc32(card_bytes(memory)), flush=True)
    copy_in(memory, b"changed")
    print("done", flush=True)
    sys.stdin.read()
"""


def inside(memory):
    """(address on the card, its context to work in)"""
    address = memory.__cuda_array_interface__["data"][0]
    context = next(iter(_cuda.driver()._contexts.values()))[1]
    return ctypes.c_uint64(address), _cuda.driver().inside(context)


def copy_in(memory, content):
    address, context = inside(memory)
    with context:
        result = _cuda.driver()._library.cuMemcpyHtoD_v2(address, content, ctypes.c_size_t(len(content)))
    assert not result, result


def card_bytes(memory):
    content = ctypes.create_string_buffer(memory.size)
    address, context = inside(memory)
    with context:
        result = _cuda.driver()._library.cuMemcpyDtoH_v2(content, address, ctypes.c_size_t(memory.size))
    assert not result, result
    return content.raw


def torch_with_a_card():
    try:
        import torch
        return torch if torch.cuda.is_available() else None
    except ImportError:
        return None


class CardDaemon(DaemonCase):
    def setUp(self):
        self.daemon = Daemon(devices=("host:0=4GiB",), start=False)
        self.daemon.command.remove("--no-gpu")
        self.daemon.start()
        self.addCleanup(self.daemon.close)


@unittest.skipUnless(Path("/dev/nvidiactl").exists(), "no card of NVIDIA's here")
class Cards(ClientWords, ModelWords, CardDaemon):
    def take(self, size, **fields):
        return super().take(size, "cuda:0", **fields)

    def test_two_processes_have_the_same_bytes(self):
        content = os.urandom(SIZE)
        with self.take(SIZE) as memory:
            copy_in(memory, content)
            self.assertEqual(content, card_bytes(memory))
            other = self.talk(OTHER, memory.id)
            self.assertEqual(str(zlib.crc32(content)), other.read())
            self.assertEqual("done", other.read())
            self.assertEqual(b"changed" + content[7:], card_bytes(memory))
            self.assertEqual(0, other.end())

    def test_small_ones_share_a_mapping(self):
        held = [self.take(4096) for _ in range(20)]
        for i, memory in enumerate(held):
            copy_in(memory, bytes([i]) * 4096)
        for i, memory in enumerate(held):
            self.assertEqual(bytes([i]) * 4096, card_bytes(memory))

    def test_given_back_it_is_gone_from_the_card(self):
        self.take(64 * MIB).__dlpack_device__()  # the context is there from now on
        before = self.device("cuda:0")["committedBytes"]
        for _ in range(100):
            with self.take(64 * MIB) as memory:
                memory.__dlpack__()
        self.assertEqual(before, self.device("cuda:0")["committedBytes"])

    def test_a_model(self):
        path = self.folder("models") / "m.safetensors"
        tensors = some_tensors(random.Random(1), 20, 1 * MIB)
        write_safetensors(path, tensors)
        model = self.client.open_model(path, device="cuda:0")
        for tensor in tensors:
            segment, address = model.place(model.tensors[tensor.name])
            content = ctypes.create_string_buffer(len(tensor.data))
            with _cuda.driver().inside(_cuda.driver().card(self.device("cuda:0")["uuid"])[1]):
                result = _cuda.driver()._library.cuMemcpyDtoH_v2(content, ctypes.c_uint64(address),
                                                                 ctypes.c_size_t(len(content)))
            self.assertEqual((0, tensor.data), (result, content.raw))
            self.assertEqual(0, segment.number)

    def test_torch_has_its_tensors(self):
        torch = torch_with_a_card()
        if not torch:
            self.skipTest("no torch that sees a card")
        import memkeep.torch
        weights = {f"w{i}": torch.randn(256, 1024) for i in range(64)}
        path = self.folder("models") / "m.safetensors"
        write_safetensors(path, [Tensor(name, "F32", list(weight.shape), weight.numpy().tobytes())
                                 for name, weight in weights.items()])
        for _ in range(2):
            began = time.monotonic()
            loaded = memkeep.torch.load(path, "cuda", client=self.client)
            print(f"64 MiB on the card after {(time.monotonic() - began) * 1000:.1f} ms")
        for name, weight in weights.items():
            self.assertEqual("cuda", loaded[name].device.type)
            self.assertTrue(torch.equal(weight, loaded[name].cpu()))

    def test_torch(self):
        torch = torch_with_a_card()
        if not torch:
            self.skipTest("no torch that sees a card")
        with self.take(4 * MIB) as memory:
            lent = torch.from_dlpack(memory).view(torch.float32)
            lent.fill_(1.5)
            self.assertEqual(("cuda", 1.5 * MIB), (lent.device.type, lent.sum().item()))
            copy_in(memory, bytes(4 * MIB))
            self.assertEqual(0, lent.sum().item())
        with self.take(4 * MIB) as memory:
            lent = torch.from_dlpack(memory)
            self.assertRaises(BufferError, memory.free)
            del lent
            memory.free()
        taken = torch.as_tensor(self.take(1 * MIB), device="cuda")
        taken.fill_(7)
        self.assertEqual(7 * MIB, taken.sum(dtype=torch.int64).item())


if __name__ == "__main__":
    unittest.main()
