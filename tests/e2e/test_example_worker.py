"""examples/worker.py does what docs/worker.md says, over stdin and stdout and over the socket: it is listed with its
memory, a clear reaches it, and every line it says has the fields of the contract."""

import json
import subprocess
import sys
import unittest

from harness import MEMORY, MIB, SOURCE, DaemonCase, clean_environment, wait_until

EXAMPLE = SOURCE / "examples/worker.py"
ACTIONS = {"ping"} | {f"memory.{word}" for word in (
    "initialize", "get_status", "get_model_info", "pressure_check", "optimize", "model_status", "clear", "cleanup",
    "unload_model")}
SMALL, LARGE, CACHE = 8 * MIB, 32 * MIB, 4 * MIB
ALL = SMALL + LARGE + CACHE


class Alone(unittest.TestCase):
    """With our hands on its stdin and stdout."""

    example, actions = EXAMPLE, ACTIONS

    def setUp(self):
        self.process = subprocess.Popen([sys.executable, str(self.example)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True, env=clean_environment(MEMKEEP_FD="3"))
        self.addCleanup(self.process.communicate)
        self.addCleanup(self.process.kill)
        self.hello = self.read()

    def read(self):
        return json.loads(self.process.stdout.readline())

    def say(self, line):
        self.process.stdin.write(json.dumps(line) + "\n")
        self.process.stdin.flush()

    def ask(self, action, **data):
        self.say({"request_id": "r-1", "action": action, "data": data, "deadline_ms": 30000})
        answer = self.read()
        self.assertEqual("r-1", answer["request_id"])
        return answer

    def ok(self, action, **data):
        answer = self.ask(action, **data)
        self.assertTrue(answer["success"], answer)
        return answer["data"]

    def has_changed(self, generation):
        self.assertEqual({"event": "memory.changed", "data": {"generation": generation}}, self.read())

    def holds(self, size, *models):
        status = self.ok("memory.get_status")
        self.assertEqual((size, size, list(models)),
                         (status["memory_usage_bytes"], status["reclaimable_bytes"], status["loaded_models"]))

    def test_it_says_hello_and_ends_with_its_input(self):
        self.assertEqual("hello", self.hello["event"])
        self.assertEqual(1, self.hello["data"]["protocol"])
        self.assertEqual(self.actions, set(self.hello["data"]["capabilities"]))
        self.assertEqual(["small", "large"], self.hello["data"]["models"])
        self.process.stdin.close()
        self.assertEqual(0, self.process.wait(20))
        self.process.stdin = None

    def test_what_it_is_asked_changes_nothing(self):
        self.assertEqual({"ok": True}, self.ok("ping"))
        self.assertLessEqual({"memory_limit_bytes", "available_bytes", "pressure_level", "pressure_category",
                              "optimization_opportunities", "generation", "initialized"},
                             self.ok("memory.get_status").keys())
        check = self.ok("memory.pressure_check")
        self.assertEqual(("low", ["drain_caches", "unload"]),
                         (check["pressure_category"], check["recommended_actions"]))
        self.assertEqual({"model_id", "bytes", "reclaimable_bytes", "busy", "pinned", "idle_seconds", "reload_seconds"},
                         check["models"][0].keys())
        models = self.ok("memory.get_model_info", model_id="small")["loaded_models"]
        self.assertEqual({"small": SMALL}, {name: model["size_bytes"] for name, model in models.items()})
        self.assertEqual(SMALL + LARGE, self.ok("memory.model_status")["bytes"]["ram"])
        self.assertEqual("MODEL_NOT_FOUND", self.ask("memory.get_model_info", model_id="none")["error_code"])
        self.assertEqual("MODEL_NOT_FOUND", self.ask("memory.unload_model", model_id="none")["error_code"])
        self.assertEqual("NOT_FOUND", self.ask("memory.dance")["error_code"])
        self.holds(ALL, "small", "large")

    def test_thresholds_are_those_that_it_was_told(self):
        self.ok("memory.initialize", thresholds={"moderate": 10, "high": 20, "critical": 99})
        self.assertEqual("high", self.ok("memory.pressure_check")["pressure_category"])
        self.say({"event": "memory.thresholds", "data": {"moderate": 10, "high": 20, "critical": 30, "relief": {}}})
        self.assertEqual("critical", self.ok("memory.pressure_check")["pressure_category"])

    def test_each_way_to_give_memory_up(self):
        self.assertEqual(CACHE, self.ok("memory.clear", clear_type="cache")["cleared_bytes"])
        self.has_changed(2)
        self.assertEqual(SMALL, self.ok("memory.unload_model", model_id="small")["freed_bytes"])
        self.has_changed(3)
        self.holds(LARGE, "large")
        done = self.ok("memory.cleanup")
        self.assertEqual((LARGE, ["large"], []), (done["freed_bytes"], done["unloaded_models"], done["failed"]))
        self.has_changed(4)
        self.holds(0)
        self.assertEqual(0, self.ok("memory.clear", clear_type="all")["cleared_bytes"])
        self.holds(0)

    def test_an_optimisation_frees_what_is_wanted_and_spares_what_is_excluded(self):
        done = self.ok("memory.optimize", min_memory_to_free=CACHE + 1, exclude_models=["large"])
        self.assertEqual((True, ["small"], CACHE + SMALL),
                         (done["optimized"], done["unloaded_models"], done["freed_bytes"]))
        self.has_changed(2)
        done = self.ok("memory.optimize", target_pressure_level=10, max_models_to_unload=0)
        self.assertEqual((False, []), (done["optimized"], done["unloaded_models"]))
        self.assertEqual(["large"], self.ok("memory.optimize", target_pressure_level=10)["unloaded_models"])
        self.has_changed(3)

    def presses(self, level, wanted):
        self.say({"event": "memory.pressure", "data": {"device_id": "host:0", "level": level, "percent": 91,
                                                       "bytes_wanted": wanted, "deadline_ms": 1000}})

    def test_pressure_is_answered_by_memory(self):
        self.presses("low", 0)
        self.holds(ALL, "small", "large")
        self.presses("high", ALL)
        self.has_changed(2)
        self.holds(0)


class Listed(DaemonCase):
    example, actions = EXAMPLE, ACTIONS

    def start(self):
        worker = subprocess.Popen([sys.executable, str(self.example)], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                  env=clean_environment(MEMKEEP_SOCKET=self.daemon.socket_path))
        self.addCleanup(worker.wait)
        self.addCleanup(worker.kill)
        return f"example-{worker.pid}"

    def look(self, name, size):
        """The worker, once it is listed with so much memory."""
        return wait_until(lambda: next((worker for worker in self.workers() if worker["workerId"] == name
                                        and worker["memoryBytes"] == size), None), f"{name} with {size} bytes")

    def is_cleared(self, name):
        done = self.ok(self.daemon.post(f"{MEMORY}/operations/clear", {}))["workers"]
        self.assertIn({"workerId": name, "clearedBytes": CACHE}, done)
        self.assertEqual(ALL - CACHE, self.look(name, ALL - CACHE)["reclaimableBytes"])

    def test_over_the_socket(self):
        name = self.start()
        worker = self.look(name, ALL)
        self.assertEqual(("socket", "ready", self.actions),
                         (worker["transport"], worker["state"], set(worker["capabilities"])))
        self.is_cleared(name)

    def test_started_by_the_daemon(self):
        self.restart_with("--worker", f"mine={sys.executable} {self.example}")
        worker = self.look("mine", ALL)
        self.assertEqual(("stdio", "ready"), (worker["transport"], worker["state"]))
        self.is_cleared("mine")

    def test_it_comes_back_to_a_daemon_that_was_restarted(self):
        name = self.start()
        self.look(name, ALL)
        self.daemon.kill()
        self.daemon.start()
        self.look(name, ALL)


if __name__ == "__main__":
    unittest.main()
