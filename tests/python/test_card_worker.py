"""The PyTorch worker on a real card, by its own allocator's figures and the driver's; without a card nothing is tried.
scripts/gpu-bundle carries it to one."""

import os
import subprocess
import sys
import unittest

from client import ClientWords, environment
from harness import MIB, SOURCE, wait_until
from models import ModelWords, Tensor, write_safetensors
from test_cards import CardDaemon, torch_with_a_card

SIZE = 512 * MIB
torch = torch_with_a_card()


@unittest.skipUnless(torch, "no torch that sees a card")
class Worker(ClientWords, ModelWords, CardDaemon):
    def setUp(self):
        super().setUp()
        from memkeep.worker.torch import TorchWorker
        torch.zeros(1, device="cuda")  # the context is there from now on
        torch.cuda.empty_cache()
        self.worker = TorchWorker("torch", "cuda:0")
        thread = self.worker.start(self.daemon.socket_path)
        self.addCleanup(thread.join, 30)
        self.addCleanup(self.worker.stop)
        self.weights = {f"w{i}": torch.full((SIZE // 16,), float(i)) for i in range(4)}
        self.path = self.folder("models") / "m.safetensors"
        write_safetensors(self.path, [Tensor(name, "F32", [len(weight)], weight.numpy().tobytes())
                                      for name, weight in self.weights.items()])

    def use(self, name=None):
        with self.worker.using(name or str(self.path)) as found:
            for name, weight in self.weights.items():
                self.assertEqual("cuda", found[name].device.type)
                self.assertTrue(torch.equal(weight, found[name].cpu()), name)

    def test_what_it_gives_is_the_cards_again(self):
        empty, before = self.worker.memory_bytes("cuda:0"), self.device("cuda:0")["usedBytes"]
        for _ in range(3):
            self.use()
            self.assertEqual(torch.cuda.memory_stats()["reserved_bytes.all.current"], self.worker.memory_bytes("cuda:0"))
            self.assertGreaterEqual(self.worker.memory_bytes("cuda:0") - empty, SIZE)
            self.assertGreaterEqual(self.worker.give(SIZE)[0], SIZE)
            wait_until(lambda: self.device("cuda:0")["usedBytes"] - before < SIZE // 4, "the driver's figure to fall", 10)

    def test_what_the_daemon_has_there_is_used_in_place(self):
        self.client.load_model(self.path, device_id="cuda:0", name="there")
        empty = self.worker.memory_bytes("cuda:0")
        self.use("there")
        self.assertLess(self.worker.memory_bytes("cuda:0") - empty, SIZE // 4)
        self.assertEqual(0, self.worker.manager.get("there").size)

    def test_its_cache_is_cleared(self):
        torch.empty(SIZE, dtype=torch.uint8, device="cuda")
        self.assertGreaterEqual(self.worker.cache_bytes("cuda:0"), SIZE)
        done = self.ok(self.daemon.post("/api/memory/operations/clear/cuda:0", {}))["workers"]
        cleared = {worker["workerId"]: worker["clearedBytes"] for worker in done}
        self.assertGreaterEqual(cleared[f"torch-{os.getpid()}"], SIZE)
        self.assertLess(self.worker.cache_bytes("cuda:0"), SIZE)

    def test_three_models_take_turns(self):
        done = subprocess.run([sys.executable, str(SOURCE / "examples/switch_models.py"), "--device", "cuda:0", "--mib", "512"],
                              capture_output=True, text=True, timeout=200,
                              env=environment(MEMKEEP_SOCKET=self.daemon.socket_path))
        print(done.stdout)
        self.assertEqual((0, ""), (done.returncode, done.stderr))
        self.assertEqual(9, len(done.stdout.splitlines()[1:]))


if __name__ == "__main__":
    unittest.main()
