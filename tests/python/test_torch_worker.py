"""memkeep.worker.torch: models as tensors of its own, on a FAKE card here, that go when they are asked for and come back
the same. (The wire: test_torch_wire.py.)"""

import gc
import json
import os
import signal
import socket
import sys
import threading
import unittest

import torch

import memkeep
import memkeep.worker.torch
import test_worker as wire
from client import ModelCase
from fake_card import SEGMENT, FakeCard
from harness import MEMORY, MIB, wait_until
from memkeep.worker.torch import TorchWorker
from models import Tensor, write_safetensors

COMMAND = (sys.executable, "-m", "memkeep.worker.torch", "--device", "host:0")


class Saved(ModelCase):
    def save(self, name, *sizes, seed=0):
        """A file of float32 of so many bytes each: (path, weights)."""
        torch.manual_seed(seed)
        weights = {f"w{i}": torch.randn(size // 4) for i, size in enumerate(sizes)}
        path = self.folder("models") / f"{name}.safetensors"
        write_safetensors(path, [Tensor(key, "F32", list(weight.shape), weight.numpy().tobytes())
                                 for key, weight in weights.items()])
        return path, weights

    def assert_same(self, weights, found):
        self.assertEqual(weights.keys(), found.keys())
        for name, weight in weights.items():
            self.assertTrue(torch.equal(weight, found[name]), name)

    def listed(self, name):
        return next((worker for worker in self.workers() if worker["workerId"] == name), None)


class Started(Saved):
    """By the daemon, over stdin and stdout."""

    def setUp(self):
        super().setUp()
        self.restart_with("--worker", f"torch={' '.join(COMMAND)}")
        self.is_ready()
        self.client = memkeep.connect(self.daemon.socket_path)
        self.addCleanup(self.client.close)

    def test_it_loads_into_the_daemons_memory(self):
        path, weights = self.save("m", 9 * MIB, 4096)
        model = self.load(path, "host:0", workerId="torch")
        self.assertEqual(("ready", "torch"), (model["state"], model["workerId"]))
        self.assert_same(weights, memkeep.torch.load(path.name, client=self.client))
        coordination = lambda: self.host()["coordination"]
        wait_until(lambda: coordination()["isSynchronized"] and self.listed("torch")["models"] == [model["modelId"]],
                   "both to know it")
        self.assertEqual(0, coordination()["conflictCount"])
        gc.collect()
        self.is_let_go(path.name)
        before = self.device("host:0")["committedBytes"]
        self.unload(model)
        self.assertLess(self.device("host:0")["committedBytes"], before)
        wait_until(lambda: self.listed("torch")["models"] == [], "it to be forgotten")

    def is_ready(self):
        wait_until(lambda: (self.listed("torch") or {}).get("state") == "ready", "the worker", 120)

    def test_one_that_dies_is_followed_by_one_that_loads(self):
        """What it had not begun the next one does, if PyTorch is there within the 5 s that a request waits; else it fails."""
        path, weights = self.save("m", MIB)
        first, before = self.listed("torch")["pid"], self.device("host:0")["allocatedBytes"]
        os.kill(first, signal.SIGSTOP)
        job = self.start_load(path, "host:0", workerId="torch", keepRamCopy=False)
        os.kill(first, signal.SIGKILL)
        if self.job_ends(job, 120)["status"] == "failed":
            self.assertEqual(before, self.device("host:0")["allocatedBytes"])
            self.is_ready()
            self.load(path, "host:0", workerId="torch", keepRamCopy=False)
        self.assertNotEqual(first, self.listed("torch")["pid"])
        self.assert_same(weights, memkeep.torch.load(path.name, client=self.client))


class ByDescriptors(Saved):
    def test_a_file_becomes_a_model(self):
        class Here(wire.Worker):
            command = ("env", f"MEMKEEP_SOCKET={self.daemon.socket_path}", *COMMAND)
        worker = Here("host:0=2GiB")
        self.addCleanup(worker.close)
        path, _ = self.save("m", MIB, 4096)
        with open(path, "rb") as file:
            socket.send_fds(worker.packets, [json.dumps({"file_id": 5}).encode()], [file.fileno()])
        path.unlink()
        data = worker.ok("memory.load_model", model_id="mine", file_ids=[5], files=[{"name": "m.safetensors"}])
        self.assertEqual((True, 0), (data["loaded"], data["size_bytes"]))  # in place: nothing of its own
        self.assertEqual(["mine"], worker.ok("memory.get_status")["loaded_models"])
        self.assertTrue(self.is_busy("mine"))
        self.assertTrue(worker.ok("memory.park_model", model_id="mine")["parked"])
        self.is_let_go("mine")
        self.assertEqual([], worker.ok("memory.get_status")["loaded_models"])
        self.assertTrue(worker.ok("memory.unload_model", model_id="mine")["unloaded"])

        answer = worker.ask("memory.load_model", model_id="other", file_ids=[6])
        self.assertEqual("INVALID_ARGUMENT", answer["error_code"])
        self.assertEqual("MODEL_NOT_FOUND", worker.ask("memory.load_model", model_id="nobody")["error_code"])


class OnCard(Saved):
    """Beside this test, on a FAKE card."""

    def setUp(self):
        super().setUp()
        self.card = FakeCard()
        self.worker = self.start(self.card)

    def start(self, card):
        worker = TorchWorker("torch", "cuda:0", card=card)
        thread = worker.start(self.daemon.socket_path)
        self.addCleanup(thread.join, 30)
        self.addCleanup(worker.stop)
        wait_until(lambda: self.listed(f"torch-{os.getpid()}"), "it to be listed")
        return worker

    def use(self, path, weights):
        with self.worker.using(str(path)) as found:
            self.assert_same(weights, found)

    def facts(self):
        return self.listed(f"torch-{os.getpid()}")

    def optimize(self, **fields):
        return self.ok(self.daemon.post(f"{MEMORY}/models/optimize", {"workerId": f"torch-{os.getpid()}"} | fields))

    def on_card(self):
        return [held.model_id for held in self.worker.manager.list() if not held.parked]

    def test_what_it_takes_is_known_and_comes_back_when_it_is_asked_for(self):
        path, weights = self.save("m", 2 * SEGMENT, 4096)
        self.use(path, weights)
        self.assertEqual((3 * SEGMENT, 2 * SEGMENT + 4096), self.card.figures()[:2])
        wait_until(lambda: self.facts()["memoryBytes"] == 3 * SEGMENT, "its memory to be known")
        self.assertEqual([str(path)], self.facts()["models"])
        self.optimize(minBytesToFree=1)
        self.assertEqual((0, 0, 0), self.card.figures())
        wait_until(lambda: self.facts()["memoryBytes"] == 0 and not self.facts()["models"], "that it is gone to be known")
        self.use(path, weights)
        self.assertEqual(3 * SEGMENT, self.worker.memory_bytes("cuda:0"))

    def test_the_daemon_keeps_what_is_parked(self):
        path, weights = self.save("m", SEGMENT)
        self.use(path, weights)
        path.unlink()
        self.worker.give(1)
        self.assertEqual([], self.on_card())
        self.use(path, weights)

    def test_who_was_not_used_for_longest_goes_first_and_who_is_used_stays(self):
        made = [self.save(name, SEGMENT, seed=i) for i, name in enumerate("abc")]
        for path, weights in made:
            self.use(path, weights)
        self.use(*made[0])
        with self.worker.using(str(made[1][0])) as weights:
            freed, gone = self.worker.give(SEGMENT)
            self.assertEqual((SEGMENT, [str(made[2][0])]), (freed, gone))
            self.assertEqual((SEGMENT, [str(made[0][0])]), self.worker.give(10 * SEGMENT))
            self.assertEqual((0, []), self.worker.give(10 * SEGMENT))
            self.assertRaises(memkeep.ModelBusy, self.worker.park, None, self.worker.manager.get(str(made[1][0])))
            self.assert_same(made[1][1], weights)
            del weights
        self.assertEqual((SEGMENT, [str(made[1][0])]), self.worker.give(1))

    def test_freed_is_what_the_allocator_says(self):
        path, weights = self.save("m", SEGMENT)
        self.use(path, weights)
        with self.worker.using(str(path)) as found:
            kept = found["w0"]  # somebody keeps a tensor: it is not free, whatever the table says
            del found
        self.assertEqual((0, [str(path)]), self.worker.give(SEGMENT))
        del kept
        self.assertEqual((SEGMENT, []), self.worker.give(SEGMENT))

    def test_a_clear_drains_the_allocators_cache(self):
        held = self.card.place(torch.zeros(SEGMENT // 4))
        self.assertEqual(0, self.worker.cache_bytes("cuda:0"))
        del held
        self.assertEqual((SEGMENT, 0), (self.worker.cache_bytes("cuda:0"), self.worker.cache_bytes("cuda:1")))
        done = self.ok(self.daemon.post(f"{MEMORY}/operations/clear", {}))["workers"]
        self.assertIn({"workerId": f"torch-{os.getpid()}", "clearedBytes": SEGMENT}, done)
        self.assertEqual((0, 0, 0), self.card.figures())

    def test_another_cards_pressure_is_not_ours(self):
        path, weights = self.save("m", SEGMENT)
        self.use(path, weights)
        said = {"level": "high", "percent": 91, "bytes_wanted": SEGMENT, "deadline_ms": 1000}
        self.worker.hear("memory.pressure", {"device_id": "cuda:1", **said})
        self.worker.hear("memory.pressure", {"device_id": "cuda:0", **said})
        wait_until(lambda: self.on_card() == [], "ours to be answered")
        self.assertEqual("high", self.worker.manager.told_pressure("cuda:1")[0])
        self.use(path, weights)

    def test_what_does_not_fit_leaves_nothing(self):
        self.card.size = 2 * SEGMENT
        path, _ = self.save("m", SEGMENT, SEGMENT, SEGMENT)
        with self.assertRaises(memkeep.InsufficientMemory):
            with self.worker.using(str(path)):
                pass
        gc.collect()
        self.card.empty()
        self.assertEqual(((0, 0, 0), []), (self.card.figures(), self.on_card()))
        self.is_let_go(path.name)
        small, weights = self.save("small", SEGMENT)
        self.use(small, weights)

    def test_two_threads_have_one_copy(self):
        path, weights = self.save("m", SEGMENT, SEGMENT)
        together, problems = threading.Barrier(8), []

        def use():
            together.wait()
            try:
                for _ in range(20):
                    self.use(path, weights)
                    self.worker.give(1)
            except Exception as problem:
                problems.append(problem)
        threads = [threading.Thread(target=use) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual([], problems)
        self.use(path, weights)
        self.assertEqual(2 * SEGMENT, self.worker.memory_bytes(None))

    def test_nobody_waits_for_a_model_that_is_on_its_way(self):
        (path, weights), (slow, _) = self.save("m", SEGMENT), self.save("slow", SEGMENT, seed=1)
        self.use(path, weights)
        here, go, place = threading.Event(), threading.Event(), self.card.place

        def wait(tensor):
            here.set()
            go.wait()
            return place(tensor)
        self.card.place = wait
        thread = threading.Thread(target=lambda: self.worker.using(str(slow)).__enter__())
        thread.start()
        try:
            here.wait()
            self.assertEqual((SEGMENT, [str(path)]), self.worker.give(10 * SEGMENT))
            self.assertRaises(memkeep.ModelBusy, self.worker.park, None, self.worker.manager.get(str(slow)))
        finally:
            go.set()
            thread.join()
        self.assertEqual([str(slow)], self.on_card())

    def test_a_module_is_built_once_each_time_it_comes(self):
        class Nets(TorchWorker):
            def build(self, model_id, weights):
                net = torch.nn.Linear(16, 16, bias=False)
                net.weight = torch.nn.Parameter(weights["w0"].view(16, 16), requires_grad=False)
                net.itself = [net]  # a cycle, as modules have
                return net
        self.worker = Nets("nets", "cuda:0", card=self.card)
        self.worker._path = self.daemon.socket_path
        path, weights = self.save("m", 1024)
        x, said = torch.ones(16), []
        for _ in range(3):
            with self.worker.using(str(path)) as net:
                said.append(net(x))
            del net
            self.assertEqual((SEGMENT, [str(path)]), self.worker.give(1))
        self.assertTrue(torch.equal(said[0], said[1]) and torch.equal(said[1], said[2]))
        self.assertTrue(torch.allclose(weights["w0"].view(16, 16) @ x, said[0]))


class Asked(Saved):
    """What its answers say, on a FAKE card."""

    def setUp(self):
        super().setUp()
        self.card = FakeCard()
        self.worker = TorchWorker("torch", "cuda:0", card=self.card)
        self.worker._path = self.daemon.socket_path

    def ask(self, method, **data):
        call = memkeep.worker.Call(Silent(), {"request_id": "r", "action": "a", "data": data})
        return getattr(self.worker, method)(call)

    def hold(self, name, *sizes):
        path, weights = self.save(name, *sizes)
        with self.worker.using(str(path)):
            pass
        return str(path), weights

    def test_figures_are_the_allocators(self):
        self.hold("m", SEGMENT // 2)
        status = self.ask("_get_status")
        self.assertEqual((SEGMENT, SEGMENT, SEGMENT // 2, 50.0), tuple(status[name] for name in (
            "memory_usage_bytes", "reserved_bytes", "active_bytes", "fragmentation_percent")))
        self.assertEqual([], status["optimization_opportunities"])
        del (held := [self.card.place(torch.zeros(SEGMENT // 4))])[:]
        self.assertEqual([("drain_caches", SEGMENT)], [(found["kind"], found["bytes"]) for found
                                                       in self.ask("_get_status")["optimization_opportunities"]])

    def test_what_nobody_counts_is_null(self):
        self.card.counts = False
        self.hold("m", SEGMENT // 2)
        status = self.ask("_get_status")
        self.assertEqual((SEGMENT // 2, None, None, None), tuple(status[name] for name in (
            "memory_usage_bytes", "reserved_bytes", "active_bytes", "fragmentation_percent")))
        done = self.ask("_optimize", min_memory_to_free=1)
        self.assertEqual((SEGMENT // 2, 1, []), (done["freed_bytes"], len(done["parked_models"]), done["unloaded_models"]))

    def test_a_park_says_what_it_gave(self):
        name, _ = self.hold("m", SEGMENT)
        done = self.ask("_park_model", model_id=name)
        self.assertEqual((True, SEGMENT, SEGMENT), (done["parked"], done["size_bytes"], done["freed_bytes"]))
        self.assertEqual({"device": 0, "ram": 0, "disk": 0}, self.ask("_model_status")["bytes"])

    def test_a_defragmentation_says_what_it_reached(self):
        quarter = SEGMENT // 4
        names = [self.hold(name, quarter)[0] for name in "abcdefgh"]  # four in each of two segments
        for name in names[1:4] + names[5:8]:
            self.worker.release(name)
        self.assertEqual(75.0, self.ask("_get_status")["fragmentation_percent"])
        done = self.ask("_defragment")
        self.assertEqual((0, 75.0, 75.0, []), (done["freed_bytes"], done["fragmentation_percent_before"],
                                               done["fragmentation_percent_after"], done["models_moved"]))
        done = self.ask("_defragment", strategy="thorough")
        self.assertEqual((SEGMENT, 75.0, 50.0, {names[0], names[4]}),
                         (done["freed_bytes"], done["fragmentation_percent_before"], done["fragmentation_percent_after"],
                          set(done["models_moved"])))
        self.assertEqual((2 * SEGMENT, SEGMENT), (done["reserved_bytes_before"], done["reserved_bytes_after"]))
        self.assertRaises(memkeep.DeviceNotFound, self.ask, "_defragment", device_id="cuda:1")

    def test_who_is_cancelled_leaves_nothing(self):
        path, _ = self.save("m", SEGMENT, SEGMENT)
        self.client.load_model(path, name="m")
        call = memkeep.worker.Call(Silent(), {"request_id": "r", "action": "a", "data": {"model_id": "m"}})
        call.cancelled.set()
        self.assertRaises(memkeep.Cancelled, self.worker._load_model, call)
        gc.collect()
        self.card.empty()
        self.assertEqual(((0, 0, 0), []), (self.card.figures(), self.worker.manager.list()))
        self.is_let_go("m")

    def test_a_device_that_pytorch_does_not_know(self):
        self.assertRaises(memkeep.DeviceNotFound, TorchWorker, "torch", "vulkan:0")


class Silent:
    def say(self, _):
        pass


if __name__ == "__main__":
    unittest.main()
