"""A thousand times loaded and unloaded: no descriptor, no page and no byte of a device more than after the first hundred, in
the client, the daemon, its worker and its vault. Judged by counts: a leak of one small thing each time is a thousand of them."""

import gc
import json
import os
import unittest

import torch

import kernel
import memkeep
import memkeep.torch
from client import ModelCase
from fake_card import FakeCard
from harness import KIB, MIB, wait_until
from memkeep.worker.torch import TorchWorker

WARM, ROUNDS = 100, 1000
# What may come beside: an arena of malloc's here, a page of SQLite's there. 900 times 4 KiB would be more.
SLACK = 3 * MIB
JOB = 4 * KIB  # the daemon lists its last 10,000 jobs: each load and each unload is one


def resident(pid):
    """Bytes that are the process's own: shared ones (mapped models, the library) come and go with what is mapped."""
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) * KIB for line in status if line.startswith("RssAnon:"))


class CycleWords:
    def look_at_all(self):
        """What is watched from now on."""
        vault = json.loads((self.daemon.runtime / "memkeepd.json").read_text())["vaultPid"]
        self.pids = {"client": os.getpid(), "daemon": self.daemon.pid, "worker": self.mover()["pid"], "vault": vault}

    def counts(self):
        gc.collect()
        return {name: kernel.fd_count(pid) for name, pid in self.pids.items()}

    def bytes_of_devices(self):
        return {device["deviceId"]: (device["allocatedBytes"], device["activeAllocations"],
                                     device["committedBytes"] - device["cachedBytes"]) for device in self.host()["devices"]}

    def run_cycles(self, cycle, jobs=0):
        gc.freeze()  # what the test brought is not looked through each time
        self.addCleanup(gc.unfreeze)
        for _ in range(WARM):
            cycle()
        fds, devices = self.counts(), self.bytes_of_devices()
        pages = {name: resident(pid) for name, pid in self.pids.items()}
        for _ in range(ROUNDS - WARM):
            cycle()
        wait_until(lambda: all(now <= fds[name] for name, now in self.counts().items()),
                   f"no more descriptors than {fds}", 60)
        self.assertEqual(devices, self.bytes_of_devices())
        grown = {name: resident(pid) - pages[name] for name, pid in self.pids.items()}
        print(f"{ROUNDS} cycles: grown by KiB {({name: size // KIB for name, size in grown.items()})}")
        grown["daemon"] -= jobs * (ROUNDS - WARM) * JOB
        self.assertLess(max(grown.values()), SLACK, grown)

    def load_and_unload(self, device):
        model = self.client.load_model(self.path, device_id=device, keep_ram_copy=False)
        self.client.call("memory.unload_model", model_id=model["model_id"], to="disk")


class Cycles(CycleWords, ModelCase):
    devices = ("host:0=1GiB", "fake:0=1GiB")

    def setUp(self):
        super().setUp()
        self.path, tensors, _ = self.write(count=3, most=32 * KIB)
        self.tensor = tensors[0]
        self.look_at_all()

    def test_in_host_memory(self):
        self.run_cycles(lambda: self.load_and_unload("host:0"), jobs=2)

    def test_on_a_fake_card(self):
        self.run_cycles(lambda: self.load_and_unload("fake:0"), jobs=2)

    def test_as_tensors(self):
        def cycle():
            weights = memkeep.torch.load(self.path, "host:0", client=self.client)
            assert weights[self.tensor.name].numel() >= 0
            del weights
            self.client.call("memory.unload_model", model_id=self.path.name, to="disk")
        self.run_cycles(cycle, jobs=2)

    def test_memory(self):
        def cycle():
            with self.take(64 * KIB) as memory:
                torch.from_dlpack(memory)[:10].fill_(1)
        self.run_cycles(cycle)

    def test_clients(self):
        def cycle():
            with memkeep.connect(self.daemon.socket_path) as client, client.allocate(4096, device="host:0") as memory:
                memory.buffer[0] = 1
        self.run_cycles(cycle)

    def test_a_pytorch_worker_on_a_fake_card(self):
        card = FakeCard()
        worker = TorchWorker("torch", "cuda:0", card=card)
        thread = worker.start(self.daemon.socket_path)
        self.addCleanup(thread.join, 30)
        self.addCleanup(worker.stop)
        path = str(self.path)

        def cycle():
            with worker.using(path):
                pass
            worker.give(1)
            worker.release(path)
            assert card.figures() == (0, 0, 0)
        self.run_cycles(cycle)


if __name__ == "__main__":
    unittest.main()
