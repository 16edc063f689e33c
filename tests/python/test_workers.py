"""memkeep.worker: does what examples/worker.py and memkeep-worker do, by the same tests; and what only it can."""

import contextlib
import io
import os
import sys
import unittest
from pathlib import Path

import memkeep
import test_example_worker
import test_load
import test_worker as wire
from harness import MIB, SharedDaemonCase, wait_until
from memkeep.worker import Held, Worker

HERE = Path(__file__).parent
SAMPLE = HERE / "sample_worker.py"
ACTIONS = test_example_worker.ACTIONS | {"cancel"}
SMALL, LARGE, CACHE = 8 * MIB, 32 * MIB, 4 * MIB

os.environ["PYTHONPATH"] = f"{HERE}:{os.environ.get('PYTHONPATH', '')}"


class Alone(test_example_worker.Alone):
    example, actions = SAMPLE, ACTIONS


class Listed(test_example_worker.Listed):
    example, actions = SAMPLE, ACTIONS


class Empty(wire.Worker):
    command = (sys.executable, str(HERE / "empty_worker.py"))


class Full(wire.Worker):
    command = (sys.executable, str(HERE / "loading_worker.py"))


class Lines(wire.Lines):
    kind = Empty


class Segments(wire.Segments):
    """As memkeep-worker takes them. One thread does all that is slow, so a drop cannot meet who uses it."""
    kind = Full
    test_a_drop_waits_for_who_uses_it = None


class Files(test_load.OfTheWorker):
    kind = Full

    def is_measured(self, data):
        self.assertIsNone(data["checksum"])  # the standard library has no XXH3
        self.assertGreater(data["elapsed_us"], 0)


class Calls(wire.WorkerCase):
    kind, devices = Full, ()

    def changed(self, generation):
        self.assertEqual({"event": "memory.changed", "data": {"generation": generation}}, self.worker.read())

    def test_a_model_is_loaded(self):
        name = self.worker.send("memory.load_model", model_id="m-1")
        self.assertEqual({"bytes_done": 0, "bytes_total": MIB}, self.worker.read()["data"])
        data = self.worker.answer(name)["data"]
        self.assertEqual((True, MIB), (data["loaded"], data["size_bytes"]))
        self.assertGreaterEqual(data["elapsed_us"], 0)
        self.changed(2)
        self.assertIn("m-1", self.worker.ok("memory.get_status")["loaded_models"])
        self.assertIsNotNone(next(model for model in self.worker.ok("memory.pressure_check")["models"]
                                  if model["model_id"] == "m-1")["reload_seconds"])
        self.refused("CONFLICT", "memory.load_model", model_id="m-1")
        self.refused("MODEL_FORMAT_INVALID", "memory.load_model", model_id="m-2", path="broken")
        self.refused("MISSING_PARAMETER", "memory.load_model")
        self.assertIn("memory.load_model", self.worker.hello["data"]["capabilities"])
        self.assertNotIn("memory.park_model", self.worker.hello["data"]["capabilities"])

    def test_what_goes_wrong_inside_is_said(self):
        answer = self.worker.ask("memory.fail")
        self.assertEqual(("INTERNAL_ERROR", "OSError: nothing works"), (answer["error_code"], answer["error"]))
        self.assertTrue(self.worker.ask("ping")["success"])

    def cancels(self, name):
        """Whether it says that this was under way; other answers that come meanwhile are in worker.events."""
        return self.worker.ok("cancel", request_id=name)["cancelled"]

    def test_what_is_cancelled_says_so_itself(self):
        name = self.worker.send("memory.linger")
        self.moves(name)
        self.assertTrue(self.worker.ask("ping")["success"])  # meanwhile
        self.assertTrue(self.cancels(name))
        told = [line for line in self.worker.events if line.get("request_id") == name and "success" in line]
        self.assertEqual("CANCELLED", (told[0] if told else self.worker.answer(name))["error_code"])
        self.assertFalse(self.cancels(name))

    def test_those_that_wait_are_not_silent_and_can_be_cancelled(self):
        first, second = self.worker.send("memory.linger"), self.worker.send("memory.cleanup")
        third = self.worker.send("memory.clear", clear_type="cache")
        while (line := self.worker.read())["request_id"] != third:
            self.assertEqual("progress", line["event"])
        self.worker.send("cancel", request_id=second)
        answers = {}
        while second not in answers:
            line = self.worker.read()
            answers.update({line["request_id"]: line} if "success" in line else {})
        self.assertEqual("CANCELLED", answers[second]["error_code"])
        self.worker.send("cancel", request_id=first)
        self.assertEqual(CACHE, self.worker.answer(third)["data"]["cleared_bytes"])
        self.assertEqual(["small", "large"], self.worker.ok("memory.get_status")["loaded_models"])

    def test_more_than_may_wait_are_refused(self):
        running = self.worker.send("memory.linger")
        self.moves(running)
        names = [self.worker.send("memory.cleanup") for _ in range(257)]
        while (line := self.worker.read())["request_id"] != names[-1] or "success" not in line:
            self.assertEqual("progress", line["event"])
        self.assertEqual("WORKER_UNAVAILABLE", line["error_code"])

    def test_the_end_of_stdin_in_the_middle_of_work_is_a_clean_end(self):
        self.moves(self.worker.send("memory.linger"))
        self.worker.process.stdin.close()
        self.assertEqual(0, self.worker.process.wait(20))


class Pinned(Worker):
    unloaded = ()

    def unload(self, held):
        if held.model_id == "stuck":
            raise memkeep.DeviceUnavailable("it does not let go")
        self.unloaded += (held.model_id,)


class Models(unittest.TestCase):
    def setUp(self):
        self.worker = Pinned("pinned", limit=100)
        for name, size in (("a", 10), ("b", 20), ("c", 30)):
            self.worker.hold(Held(name, size))

    def test_who_is_used_or_pinned_stays(self):
        self.worker.manager.get("b").pinned = True
        with self.worker.using("a"):
            self.assertRaises(memkeep.ModelBusy, self.worker.release, "a")
            self.assertRaises(memkeep.ModelBusy, self.worker.release, "b")
            self.assertEqual((30, ["c"]), self.worker.give(100))
        self.assertEqual((10, ["a"]), self.worker.give(100))
        self.assertEqual((20, ["b"]), self.worker.give(100, force=True))

    def test_the_order_is_the_strategys(self):
        with self.worker.using("a"), self.worker.using("b"):
            pass
        with self.worker.using("a"):
            pass
        order = lambda strategy: [held.model_id for held in self.worker.manager.candidates(strategy)]
        self.assertEqual(["c", "b", "a"], order("lru"))
        self.assertEqual(["c", "b", "a"], order("lfu"))
        self.assertEqual(["a", "b", "c"], order("fifo"))
        self.assertEqual(["b", "c"], [held.model_id for held in self.worker.manager.candidates("fifo", exclude=["a"])])

    def test_one_that_cannot_go_is_still_there(self):
        self.worker.hold(Held("stuck", 5))
        self.assertRaises(memkeep.DeviceUnavailable, self.worker.release, "stuck")
        self.assertEqual(65, self.worker.memory_bytes(None))
        self.assertRaises(memkeep.Conflict, self.worker.hold, Held("stuck", 5))
        self.assertRaises(memkeep.ModelNotFound, self.worker.release, "none")

    def test_what_is_not_here_is_made_by_who_uses_it(self):
        with self.assertRaises(memkeep.ModelNotFound):
            with self.worker.using("new"):
                pass
        for _ in range(2):
            with self.worker.using("new", lambda: Held("new", 5, "what")) as what:
                self.assertEqual(("what", 65, True), (what, self.worker.memory_bytes(None),
                                                      self.worker.manager.get("new").busy))

    def test_two_who_make_it_have_one(self):
        def make():
            self.worker.hold(Held("new", 5, "first"))
            return Held("new", 5, "second")
        with self.worker.using("new", make) as what:
            self.assertEqual("first", what)
            self.assertRaises(memkeep.ModelBusy, self.worker.release, "new")
        self.assertFalse(self.worker.manager.get("new").busy)

    def test_only_of_one_device(self):
        self.worker.hold(Held("d", 40, device_id="cuda:0", on_device=True))
        self.assertEqual((40, ["d"]), self.worker.give(1000, device_id="cuda:0"))


class Beside(SharedDaemonCase):
    """A program that is a worker beside its own business."""

    def listed(self, worker):
        name = f"{worker.name}-{os.getpid()}"
        return next((found for found in self.workers() if found["workerId"] == name), None)

    def run_worker(self, worker, path):
        thread = worker.start(path)

        def end():
            worker.stop()
            thread.join(30)
            self.assertFalse(thread.is_alive())
        self.addCleanup(end)

    def test_what_it_holds_is_known_and_asked_for(self):
        worker = Worker("beside")
        self.run_worker(worker, self.daemon.socket_path)
        wait_until(lambda: self.listed(worker), "it to be listed")
        worker.hold(Held("m", 1000, bytearray(1000)))
        wait_until(lambda: self.listed(worker)["memoryBytes"] == 1000, "its memory to be known")
        done = self.ok(self.daemon.post("/api/memory/models/optimize", {"workerId": f"beside-{os.getpid()}",
                                                                        "minBytesToFree": 500}))
        self.assertTrue(done["triggered"])
        self.assertEqual([], worker.manager.list())
        wait_until(lambda: self.listed(worker)["memoryBytes"] == 0, "that it is gone to be known")

    def test_one_whose_name_is_taken_says_so(self):
        first, second = Worker("twice"), Worker("twice")
        self.run_worker(first, self.daemon.socket_path)
        wait_until(lambda: self.listed(first), "it to be listed")
        said = io.StringIO()
        with contextlib.redirect_stderr(said):
            self.run_worker(second, self.daemon.socket_path)
            wait_until(lambda: "twice" in said.getvalue(), "a word why not")
            second.stop()

    def test_it_waits_for_a_daemon(self):
        said = io.StringIO()
        worker = Worker("early")
        with contextlib.redirect_stderr(said):
            self.run_worker(worker, str(self.daemon.folder / "nobody.sock"))
            wait_until(lambda: "no daemon listens" in said.getvalue(), "a word why not")
            worker.stop()

    def test_it_may_ask_too(self):
        os.environ["MEMKEEP_SOCKET"] = self.daemon.socket_path
        self.addCleanup(os.environ.pop, "MEMKEEP_SOCKET")
        self.assertEqual(2, Worker("asks").client.status()["device_count"])


if __name__ == "__main__":
    unittest.main()
