"""What workers say they could free becomes a request that can be sent as it stands, and what they promise is weighed by
what they gave."""

import unittest

from harness import MEMORY, MIB, wait_until
from test_coordination import Coordination
from test_socket_worker import Guest

MINE = 20 * MIB


class Offering(Guest):
    """Holds memory of the daemon's, offers to give it, and gives `gives` of it when it is asked."""

    def __init__(self, case, gives):
        self.case, self.generation = case, 1
        self.held = case.allocate(gives, "fake:0") if gives else None
        super().__init__(case.daemon.socket_path, "offering", ["memory.get_status", "memory.optimize"],
                         {"memory.get_status": self.status(), "memory.optimize": {"freed_bytes": MINE}})
        case.addCleanup(self.leave)

    def status(self, **more):
        return {"memory_usage_bytes": MINE, "reclaimable_bytes": MINE, "generation": self.generation,
                "optimization_opportunities": [{"kind": "park", "device_id": "fake:0", "model_id": "mine", "bytes": MINE,
                                                "why": "idle for an hour"}]} | more

    def _answer(self, line):
        if line["action"] == "memory.optimize" and self.held:
            self.case.free(self.held)
            self.held = None
        super()._answer(line)


class Recommendations(Coordination):
    def recommendations(self):
        return self.ok(self.daemon.get(f"{MEMORY}/models/status"))["recommendations"]

    def theirs(self):
        return next((one for one in self.recommendations() if one["source"] == "offering"), None)

    def offer(self, gives):
        guest = Offering(self, gives)
        return guest, wait_until(self.theirs, "its offer")

    def send(self, recommendation):
        """As it stands."""
        action = recommendation["action"]
        self.assertEqual("POST", action["method"])
        return self.daemon.post(action["path"], action["body"])

    def asked(self, guest):
        while (line := guest.asked.get(timeout=20))[0] != "memory.optimize":
            pass
        return line[1]

    def test_an_offer_is_taken_up_by_its_action(self):
        guest, offer = self.offer(MINE)
        self.assertEqual((MINE, "idle for an hour"), (offer["expectedBytes"], offer["why"]))
        self.assertEqual({"kind": "park", "deviceId": "fake:0", "modelId": "mine", "bytes": MINE, "promisedBytes": 0,
                          "freedBytes": 0}, offer["evidence"])
        result = self.ok(self.send(offer))
        data = self.asked(guest)
        self.assertEqual(("fake:0", MINE), (data["device_id"], data["min_memory_to_free"]))
        self.assertEqual((True, MINE), (result["triggered"], result["freedBytes"]))
        self.assertLess(result["utilizationAfter"], result["utilizationBefore"])
        again = self.theirs()
        self.assertEqual((MINE, MINE, MINE), (again["expectedBytes"], again["evidence"]["promisedBytes"],
                                              again["evidence"]["freedBytes"]))

    def test_one_that_gave_a_quarter_is_expected_to_give_a_quarter(self):
        _, offer = self.offer(MINE // 4)  # and says that it gave all
        self.assertEqual(MINE // 4, self.ok(self.send(offer))["freedBytes"])
        again = self.theirs()
        self.assertEqual(MINE // 4, again["expectedBytes"])
        self.assertEqual(MINE, again["action"]["body"]["minBytesToFree"])  # it is asked for what it offers
        trial = self.ok(self.daemon.post(again["action"]["path"], again["action"]["body"] | {"dryRun": True}))
        self.assertEqual((True, MINE // 4), (trial["triggered"], trial["freedBytes"]))

    def test_what_models_do_not_give_is_asked_of_workers(self):
        guest, _ = self.offer(MINE)
        result = self.ok(self.daemon.post(f"{MEMORY}/models/optimize", {
            "force": True, "minBytesToFree": MINE, "maxModels": 3, "strategy": "lru"}))
        self.assertEqual({"target_pressure_level": "low", "strategy": "lru", "max_models_to_unload": 3,
                          "min_memory_to_free": MINE, "exclude_models": [], "force": True},
                         {name: value for name, value in self.asked(guest).items() if name != "deadline_ms"})
        self.assertEqual((True, MINE), (result["triggered"], result["freedBytes"]))

    def test_one_that_leaves_when_it_is_asked_gives_nothing(self):
        guest, _ = self.offer(0)
        guest.answers["memory.optimize"] = None
        answer = self.daemon.post(f"{MEMORY}/models/optimize", {"force": True, "minBytesToFree": MINE, "wait": False})
        path = f"{MEMORY}/jobs/{self.ok(answer, 202)['jobId']}"
        self.asked(guest)
        guest.leave()
        job = wait_until(lambda: (j := self.ok(self.daemon.get(path)))["completedAt"] and j, "the end")
        self.assertEqual(("completed", True, 0), (job["status"], job["result"]["triggered"],
                                                  job["result"]["freedBytes"]))

    def test_it_goes_with_the_offer(self):
        guest, _ = self.offer(0)
        guest.generation = 2
        guest.answers["memory.get_status"] = guest.status(optimization_opportunities=[])
        guest.say({"event": "memory.changed", "data": {"generation": 2}})
        wait_until(lambda: not self.theirs(), "the offer to be over")

    def test_one_that_cannot_be_asked_offers_nothing(self):
        guest = Guest(self.daemon.socket_path, "mute", ["memory.get_status"], {"memory.get_status": Offering.status(
            type("", (), {"generation": 1}))})
        self.addCleanup(guest.leave)
        wait_until(lambda: (w := self.listed("mute")) and w["reclaimableBytes"], "its figures")
        self.assertEqual([], self.recommendations())

    def test_nobody_of_that_name(self):
        self.refused(self.daemon.post(f"{MEMORY}/models/optimize", {"workerId": "nobody"}), 404, "WORKER_NOT_FOUND")


if __name__ == "__main__":
    unittest.main()
