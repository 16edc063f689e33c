"""Two layers that know the same: what the daemon tells its workers, and what it believes of what they say."""

import json
import random
import sys
import tempfile
import time
import unittest
from pathlib import Path

from harness import KIB, MEMORY, MIB, DaemonCase, wait_until
from models import ModelWords, some_tensors, write_safetensors
from test_socket_worker import Guest

TOLD = ("memory.initialize", "memory.get_status")


class Coordination(DaemonCase):
    devices = ("host:0=256MiB", "fake:0=64MiB")

    def setUp(self):
        super().setUp()
        self.mover()

    def guest(self, *words, **more):
        guest = Guest(self.daemon.socket_path, *words, **more)
        self.addCleanup(guest.leave)
        wait_until(lambda: self.listed(guest.name), "it to be listed")
        return guest

    def listed(self, name="guest-1"):
        return next((worker for worker in self.workers() if worker["workerId"] == name), None)

    def told(self, guest, event):
        """The data of the next such event; others are passed over."""
        while (line := guest.told.get(timeout=20))[0] != event:
            pass
        return line[1]

    def coordination(self):
        return self.ok(self.daemon.get(f"{MEMORY}/models/status"))["coordination"]

    def is_synchronized(self):
        return wait_until(lambda: self.coordination()["isSynchronized"], "both sides to know the same")


class WhatWorkersAreTold(Coordination):
    def test_it_begins_with_all_the_numbers(self):
        guest = self.guest(capabilities=TOLD)
        action, data = guest.asked.get(timeout=20)
        self.assertEqual("memory.initialize", action)
        self.assertEqual(["host:0", "fake:0"], [device["device_id"] for device in data["devices"]])
        self.assertEqual({"device_id": "fake:0", "max_bytes": 64 * MIB, "reserved_bytes": 0, "pressure_level": "low",
                          "pressure_percent": 0}, data["limits"][1])
        self.assertEqual({"moderate": 75, "high": 90, "critical": 95}, data["thresholds"])
        self.assertEqual({"trigger": 80, "target": 70}, data["relief"])
        self.assertEqual(("fifo", "info"), (data["policy"], data["log_level"]))

    def test_pressure_that_rises_and_falls(self):
        guest = self.guest(capabilities=TOLD)
        most = self.allocate(60 * MIB, "fake:0")
        event = self.told(guest, "memory.pressure")
        wanted = 60 * MIB - 64 * MIB * 70 // 100
        self.assertEqual(("fake:0", "high", 93.75, wanted), tuple(
            event[key] for key in ("device_id", "level", "percent", "bytes_wanted")))
        self.assertGreater(event["deadline_ms"], 0)
        self.free(most)
        event = self.told(guest, "memory.pressure")
        self.assertEqual(("fake:0", "low", 0), tuple(event[key] for key in ("device_id", "level", "bytes_wanted")))

    def test_a_transfer_at_its_start_and_at_its_end(self):
        guest = self.guest(capabilities=TOLD)
        source = self.allocate(4 * MIB)
        transfer = self.transfer(source, "host:0", "fake:0")
        for status in ("in_progress", "completed"):
            self.assertEqual({"transfer_id": transfer["transferId"], "status": status,
                              "allocation_id": source["allocationId"], "model_id": None, "source": "host:0",
                              "target": "fake:0", "bytes": 4 * MIB}, self.told(guest, "memory.transfer"))

    def test_one_that_knows_no_initialize_is_told_all_the_same(self):
        guest = self.guest(capabilities=[])
        self.allocate(50 * MIB, "fake:0")
        self.assertEqual("moderate", self.told(guest, "memory.pressure")["level"])


class WhatTheySayOfThemselves(Coordination):
    """Figures are those of the newest generation, and none is older than 2 s."""

    def reporter(self, **answer):
        guest = self.guest(capabilities=["memory.get_status"], answers={"memory.get_status": answer})
        self.is_synchronized()
        return guest

    def test_what_changes_is_asked_again_at_once(self):
        guest = self.reporter(memory_usage_bytes=5000, reclaimable_bytes=4096, generation=1)
        self.assertEqual((5000, 4096), (self.listed()["memoryBytes"], self.listed()["reclaimableBytes"]))
        guest.answers["memory.get_status"] = {"memory_usage_bytes": 7000, "reclaimable_bytes": 1, "generation": 2}
        guest.say({"event": "memory.changed", "data": {"generation": 2}})
        wait_until(lambda: self.listed()["memoryBytes"] == 7000, "the newer figures")
        self.is_synchronized()

    def test_what_changes_unsaid_is_known_when_somebody_asks(self):
        guest = self.reporter(memory_usage_bytes=5000, reclaimable_bytes=4096, generation=1)
        guest.answers["memory.get_status"] = {"memory_usage_bytes": 6000, "reclaimable_bytes": 0, "generation": 1}
        wait_until(lambda: self.listed()["memoryBytes"] == 6000, "figures that are not too old")

    def test_an_answer_of_an_older_generation_is_none(self):
        guest = self.reporter(memory_usage_bytes=5000, reclaimable_bytes=0, generation=1)
        guest.say({"event": "memory.changed", "data": {"generation": 9}})
        wait_until(lambda: not self.coordination()["isSynchronized"], "the daemon to notice")
        self.assertIn({"operation": "synchronize", "modelId": None, "name": "guest-1"},
                      self.coordination()["pendingActions"])
        self.assertEqual("warning", self.coordination()["healthStatus"])
        self.assertIsNone(self.listed()["memoryBytes"])

    def test_one_that_does_not_say_holds_nobody_up_and_is_not_known(self):
        guest = self.guest(capabilities=["memory.get_status"], answers={"memory.get_status": None})
        self.assertEqual("memory.get_status", guest.asked.get(timeout=20)[0])
        self.assertIsNone(self.listed()["memoryBytes"])
        self.assertFalse(self.coordination()["isSynchronized"])
        self.assertTrue(guest.asked.empty())  # one question at a time

    def test_however_often_it_changes_one_question_is_under_way(self):
        guest = self.guest(capabilities=["memory.get_status"], answers={"memory.get_status": None})
        for generation in range(1, 200):
            guest.say({"event": "memory.changed", "data": {"generation": generation}})
        guest.say({"request_id": "mine", "action": "ping", "data": {}})
        guest.mine.get(timeout=20)
        self.assertEqual("memory.get_status", guest.asked.get(timeout=20)[0])
        self.assertTrue(guest.asked.empty())

    def test_a_model_that_only_the_worker_has_is_a_conflict(self):
        guest = self.reporter(loaded_models=[{"model_id": "llama", "size_bytes": MIB}, "m-0000000000000007"],
                              memory_usage_bytes=MIB, generation=1)
        self.assertEqual((2, "warning"), tuple(self.coordination()[key] for key in ("conflictCount", "healthStatus")))
        self.assertEqual(2, self.host()["coordination"]["conflictCount"])
        self.assertEqual(["llama", "m-0000000000000007"], self.listed()["models"])
        guest.answers["memory.get_status"] = {"loaded_models": [], "memory_usage_bytes": 0, "generation": 2}
        guest.say({"event": "memory.changed", "data": {"generation": 2}})
        wait_until(lambda: not self.coordination()["conflictCount"], "the conflict to be over")
        self.is_synchronized()


    def test_what_was_said_too_long_ago_is_not_said_again(self):
        """It answers once, and then it hangs."""
        guest = self.guest(capabilities=["memory.get_status", "memory.optimize"], answers={"memory.get_status": {
            "loaded_models": ["llama"], "memory_usage_bytes": MIB, "reclaimable_bytes": MIB, "generation": 1,
            "optimization_opportunities": [{"kind": "unload", "bytes": MIB}]}})
        wait_until(lambda: self.listed()["models"] == ["llama"] and self.said_by(guest), "all that it says")
        guest.answers["memory.get_status"] = None
        wait_until(lambda: not self.listed()["models"] and not self.said_by(guest), "it to be too old")
        self.assertEqual((None, None, 0), (self.listed()["memoryBytes"], self.listed()["reclaimableBytes"],
                                           self.coordination()["conflictCount"]))

    def said_by(self, guest):
        status = self.ok(self.daemon.get(f"{MEMORY}/models/status"))
        return [one for one in status["recommendations"] if one["source"] == guest.name]


# A worker of the daemon's (its word: a file with what it says is loaded). Loads are done as soon as they are asked for.
WHO_LISTS = """#!{python} -IS
import json, sys
def say(line):
    print(json.dumps(line), flush=True)
say({{"event": "hello", "data": {{"protocol": 1, "worker": "lister", "version": "0", "models": [],
     "capabilities": ["memory.get_status", "memory.load_model"]}}}})
for line in sys.stdin:
    request = json.loads(line)
    if "request_id" in request:
        size = sum(target["size_bytes"] for target in request["data"].get("targets", []))
        data = {{"memory_usage_bytes": 0, "reclaimable_bytes": 0, "generation": 1, "size_bytes": size}}
        with open(sys.argv[1]) as said:
            data["loaded_models"] = json.load(said)
        say({{"request_id": request["request_id"], "success": True, "data": data}})
"""


class WhatBothSidesHave(ModelWords, Coordination):
    """A model that only one side has, or has more of than the other, is a conflict."""

    def model(self, **fields):
        path = self.daemon.folder / "m.safetensors"
        write_safetensors(path, some_tensors(random.Random(3), 3, 100 * KIB))
        return self.load(path, "host:0", **fields)

    def conflicts(self, count):
        wait_until(lambda: self.coordination()["conflictCount"] == count, f"{count} conflicts")
        self.is_synchronized()

    def test_a_size_that_differs_by_more_than_1_mib(self):
        model = self.model()
        for generation, (differs, conflicts) in enumerate(((MIB + 1, 1), (MIB, 0)), 1):
            said = {"model_id": model["modelId"], "size_bytes": model["sizeBytes"] + differs}
            guest = self.guest(f"guest-{generation}", capabilities=["memory.get_status"], answers={
                "memory.get_status": {"memory_usage_bytes": 0, "generation": 1, "loaded_models": [said]}})
            self.conflicts(conflicts)
            guest.leave()
            wait_until(lambda: not self.listed(guest.name), "it to be gone")

    def test_one_that_its_worker_does_not_name(self):
        folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        script, said = folder / "lister", folder / "said.json"
        script.write_text(WHO_LISTS.format(python=sys.executable))
        script.chmod(0o755)
        said.write_text(json.dumps(["other"]))  # it has to do with models
        self.restart_with("--worker", f"lister={script} {said}")
        wait_until(lambda: (w := self.listed("lister")) and w["state"] == "ready", "the worker")
        self.conflicts(1)
        model = self.model(workerId="lister", verify=False)
        self.assertEqual("lister", model["workerId"])
        self.conflicts(2)
        said.write_text(json.dumps([model["modelId"]]))
        self.conflicts(0)
        self.unload(model)
        self.conflicts(1)  # now it is the one that only the worker has
        said.write_text("[]")
        self.conflicts(0)


# A worker of the daemon's that knows nothing at all.
WHO_KNOWS_NOTHING = """#!{python} -IS
import json, sys
print(json.dumps({{"event": "hello", "data": {{"protocol": 1, "worker": "simple", "version": "0", "capabilities": [],
     "models": []}}}}), flush=True)
for line in sys.stdin:
    request = json.loads(line)
    if "request_id" in request:
        print(json.dumps({{"request_id": request["request_id"], "success": False, "error_code": "NOT_FOUND",
                          "error": "I do not know that"}}), flush=True)
"""


class WhoNeedNotKnowAll(Coordination):
    def test_one_that_knows_no_status_is_no_gap(self):
        script = Path(self.enterContext(tempfile.TemporaryDirectory())) / "simple"
        script.write_text(WHO_KNOWS_NOTHING.format(python=sys.executable))
        script.chmod(0o755)
        self.restart_with("--worker", f"simple={script}")
        wait_until(lambda: (w := self.listed("simple")) and w["state"] == "ready", "the worker")
        self.is_synchronized()
        self.assertEqual((None, []), (self.listed("simple")["memoryBytes"], self.coordination()["pendingActions"]))


class Flood(Coordination):
    def test_what_waits_for_one_worker_has_an_end(self):
        guest = self.guest(capabilities=["memory.optimize"], answers={"memory.optimize": None})
        optimize = {"workerId": guest.name, "minBytesToFree": MIB, "maxTimeMs": 30000, "wait": False}
        jobs = [self.ok(self.daemon.post(f"{MEMORY}/models/optimize", optimize), 202)["jobId"] for _ in range(257)]
        wait_until(lambda: self.end_of(jobs[-1]), "one too many to be refused")
        self.assertEqual(("failed", "WORKER_UNAVAILABLE"), self.end_of(jobs[-1]))
        self.assertIsNone(self.end_of(jobs[0]))

    def end_of(self, job):
        job = self.ok(self.daemon.get(f"{MEMORY}/jobs/{job}"))
        return (job["status"], job["errorCode"]) if job["completedAt"] else None


class Giver(Guest):
    """Holds memory of the daemon's, and says it can give it; `gives`: and does; `told`: and where it is."""

    def __init__(self, case, name, gives=True, mine=20 * MIB, told=()):
        self.case, self.gives = case, gives
        self.held = case.allocate(mine, "fake:0")
        figures = {"memory_usage_bytes": mine, "reclaimable_bytes": mine, "generation": 1,
                   "optimization_opportunities": [{"kind": "park", "bytes": part} | where for part, where in told]}
        super().__init__(case.daemon.socket_path, name, ["memory.get_status", "memory.optimize"],
                         {"memory.get_status": figures, "memory.optimize": {"freed_bytes": mine}})
        case.addCleanup(self.leave)

    def _answer(self, line):
        if line["action"] == "memory.optimize" and self.gives and self.held:
            self.case.free(self.held)
            self.held = None
        super()._answer(line)

    def optimize(self):
        while (line := self.asked.get(timeout=20))[0] != "memory.optimize":
            pass
        return line[1]


class Relief(Coordination):
    """Over the trigger workers are asked first, once a crossing; what counts is what the device got back."""

    def giver(self, name, **more):
        guest = Giver(self, name, **more)
        wait_until(lambda: (w := self.listed(name)) and w["reclaimableBytes"], "its figures")
        return guest

    def quiet(self, guest):
        """It was asked nothing but how it is."""
        return all(action == "memory.get_status" for action, _ in list(guest.asked.queue))

    def test_a_worker_gives_what_is_wanted(self):
        guest = self.giver("giver")
        self.allocate(34 * MIB, "fake:0")
        data = guest.optimize()
        wanted = 54 * MIB - 64 * MIB * 70 // 100
        self.assertEqual(("fake:0", wanted, "low"), tuple(
            data[key] for key in ("device_id", "min_memory_to_free", "target_pressure_level")))
        self.assertGreater(data["deadline_ms"], 0)
        wait_until(lambda: self.device("fake:0")["usedBytes"] <= 34 * MIB, "the memory to be back")

    def test_below_the_trigger_nobody_is_asked(self):
        guest = self.giver("giver")
        self.allocate(30 * MIB, "fake:0")
        self.told(guest, "memory.pressure")
        self.assertTrue(self.quiet(guest))

    def test_one_that_lies_is_asked_last_from_then_on(self):
        liar = self.giver("liar", gives=False)
        more = self.allocate(34 * MIB, "fake:0")
        liar.optimize()
        wait_until(lambda: "liar gave 0 of" in self.daemon.log(), "the lie to be noticed")
        self.free(more)
        honest = self.giver("honest")
        self.look_passes()
        self.allocate(14 * MIB, "fake:0")
        honest.optimize()
        wait_until(lambda: "honest gave" in self.daemon.log(), "it to be believed")
        self.assertTrue(liar.asked.empty() or self.quiet(liar))

    def look_passes(self):
        """The daemon has looked at the use as it is now: it does so whenever it takes a sample."""
        def samples():
            usage = self.ok(self.daemon.get(f"{MEMORY}/usage/fake:0?window=5m&points=300"))["devices"][0]
            return [sample["time"] for sample in usage["samples"]]

        newest = samples()[-1]
        wait_until(lambda: len([time for time in samples() if time > newest]) >= 2, "two more samples")

    def test_one_that_is_silent_holds_nobody_up(self):
        honest = self.giver("honest", mine=10 * MIB)
        silent = self.giver("silent", mine=10 * MIB, gives=False)  # the newest one is asked first
        silent.answers["memory.optimize"] = None
        self.allocate(34 * MIB, "fake:0")
        silent.optimize()
        honest.optimize()


class Idle(Coordination):
    def test_where_nothing_happens_nothing_is_said_but_pings(self):
        guest = self.guest(capabilities=[*TOLD, "memory.optimize", "memory.clear"],
                           answers={"memory.get_status": {"memory_usage_bytes": 5, "reclaimable_bytes": 5,
                                                          "generation": 1}})
        for action in TOLD:
            self.assertEqual(action, guest.asked.get(timeout=20)[0])
        time.sleep(10)
        self.assertEqual([], [action for action, _ in list(guest.asked.queue) if action != "ping"])
        self.assertEqual([], list(guest.told.queue))


if __name__ == "__main__":
    unittest.main()
