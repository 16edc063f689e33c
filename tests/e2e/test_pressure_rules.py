"""Critical pressure with nothing to take back: a hog that never lets go, a worker that lies, a pin. On a card of 64 MiB,
so nothing here is short of real memory."""

import signal
import time
import unittest

from harness import MEMORY, MIB, DaemonCase, wait_until
from models import MODELS, ModelWords, write_sparse
from test_coordination import Giver

CARD, HOG = "fake:0", 62 * MIB


class PressureCase(ModelWords, DaemonCase):
    devices = ("host:0=256MiB", "fake:0=64MiB")

    def setUp(self):
        super().setUp()
        self.mover()

    def model(self, size, name="model"):
        return write_sparse(self.folder("models") / f"{name}.safetensors", size)

    def kept_out(self, size=MIB, device=CARD, **fields):
        """Refused at once, for pressure."""
        details = self.refused_space(self.try_allocate(size, device, **fields), "INSUFFICIENT_MEMORY")
        self.assertEqual("pressure", details.get("reason"), details)
        return details

    def would_fit(self, device=CARD, **fields):
        return self.ok(self.try_allocate(MIB, device, dryRun=True, **fields))["wouldFit"]

    def is_strained(self, device=CARD):
        placement = self.ok(self.try_allocate(MIB, device, dryRun=True))["placement"]
        return any(one["rejected"] == "pressure" for one in placement["candidates"] if one["deviceId"] == device)


class Hog(PressureCase):
    def test_only_what_is_critical_gets_in_and_waiting_does_not_help(self):
        self.allocate(HOG, CARD)
        details = self.kept_out()
        self.assertEqual((MIB, 2 * MIB, []), (details["requestedBytes"], details["availableBytes"],
                                              details["reclaimable"]))
        self.kept_out(waitMs=3600000, priority="high")
        self.kept_out(evict=True)
        self.allocate(MIB, CARD, priority="critical")
        self.assertEqual("host:0", self.ok(self.try_allocate(MIB))["allocation"]["deviceId"])

    def test_what_wants_memory_is_no_operation_to_offer(self):
        wants = {"memory.allocate", "memory.load_model", "memory.transfer"}
        self.assertLessEqual(wants, self.offered())
        hog = self.allocate(HOG, CARD)
        self.assertFalse(wants & self.offered())
        self.assertIn("memory.clear", self.offered())
        self.free(hog)
        wait_until(lambda: wants <= self.offered(), "the pressure to be gone")

    def offered(self):
        return set(self.ok(self.daemon.get(f"{MODELS}/status"))["availableOperations"])

    def test_nothing_is_transferred_there(self):
        """Neither an allocation nor a model, unless that is critical; and a dry run says so."""
        source, model = self.allocate(MIB, "host:0"), self.load(self.model(MIB - 4096), "host:0")
        self.allocate(HOG, CARD)
        self.kept_out()
        for mode in ("copy", "move"):
            for what in ({"allocationId": source["allocationId"]}, {"modelId": model["modelId"]}):
                with self.subTest(mode, **what):
                    body = {"sourceDeviceId": "host:0", "targetDeviceId": CARD, "mode": mode} | what
                    details = self.refused_space(self.daemon.post(f"{MEMORY}/transfer", body), "INSUFFICIENT_MEMORY")
                    self.assertEqual("pressure", details["reason"])
                    impact = self.ok(self.daemon.post(f"{MEMORY}/transfer", body | {"dryRun": True}))["impact"]
                    self.assertFalse(impact["wouldFit"])
        self.transfer(source, "host:0", CARD, priority="critical")

    def test_what_is_reserved_stays_reserved(self):
        self.ok(self.daemon.put(f"{MEMORY}/limits/{CARD}", {"reservedBytes": MIB}))
        self.allocate(HOG, CARD)
        self.refused_space(self.try_allocate(2 * MIB, CARD, priority="critical"), "INSUFFICIENT_MEMORY")
        self.allocate(MIB, CARD, priority="critical")

    def test_a_load_waits_until_it_is_over_and_that_takes_ten_seconds(self):
        hog = self.allocate(HOG, CARD)
        self.kept_out()
        job = self.start_load(self.model(MIB), CARD)
        self.free(hog)
        self.kept_out()
        self.assertEqual("critical", self.device(CARD)["pressure"]["level"])
        self.assertIn(self.job(job)["status"], ("pending", "in_progress"))
        self.assertEqual("completed", self.job_ends(job)["status"])
        self.assertEqual("low", self.device(CARD)["pressure"]["level"])
        self.allocate(MIB, CARD)

    def test_a_load_that_waits_can_be_cancelled(self):
        self.allocate(HOG, CARD)
        self.kept_out()
        job = self.start_load(self.model(MIB), CARD)
        self.ok(self.daemon.delete(f"{MEMORY}/jobs/{job}"))
        self.assertEqual("cancelled", self.job_ends(job)["status"])

    def test_no_copies_are_made_in_ram_that_is_short(self):
        self.allocate(248 * MIB, "host:0")
        self.kept_out(device="host:0")
        self.load(self.model(2 * MIB), CARD)
        self.assertEqual(0, self.host()["models"]["ramBytes"])


class Slow(Giver):
    """Takes longer than anybody may be silent."""

    def _answer(self, line):
        for _ in range(16 if line["action"] == "memory.optimize" else 0):
            self.say({"request_id": line["request_id"], "event": "progress", "data": {"bytes_done": 0}})
            time.sleep(0.25)
        super()._answer(line)


class Promises(PressureCase):
    """A worker that says it has memory of the card's to give."""

    def giver(self, name, answers=True, kind=Giver, **more):
        guest = kind(self, name, **more)
        if not answers:
            guest.answers["memory.optimize"] = None
        self.known(name)
        return guest

    def known(self, name):
        """Its promise is, and the daemon counts on it."""
        wait_until(lambda: self.ok(self.try_allocate(50 * MIB, CARD, dryRun=True, evict=True))["wouldFit"],
                   f"{name} to be counted on")

    def was_not_pressed(self, guest):
        """It still has what the wire gives a worker that is silent."""
        self.assertNotIn("cancel", [action for action, _ in list(guest.asked.queue)])


class Refused(Promises):
    def test_what_workers_promise_is_told_with_the_refusal(self):
        with self.giver("honest", mine=20 * MIB):
            self.allocate(10 * MIB, CARD)
            for evict in (False, True):
                details = self.refused_space(self.try_allocate(60 * MIB, CARD, evict=evict), "INSUFFICIENT_MEMORY")
                self.assertEqual([{"kind": "worker", "modelId": None, "workerId": "honest", "bytes": 20 * MIB}],
                                 details["reclaimable"])


    def promised(self, device, size):
        """Who is named for a device that has no room for that."""
        details = self.refused_space(self.try_allocate(size, device), "INSUFFICIENT_MEMORY")
        return [(one["workerId"], one["bytes"]) for one in details["reclaimable"] if one["kind"] == "worker"]

    def test_what_is_elsewhere_is_not_told(self):
        self.allocate(10 * MIB, CARD)
        self.allocate(10 * MIB, "host:0")
        card, host, other = {"device_id": CARD}, {"device_id": "host:0"}, {"device_id": "cuda:7"}
        for told, on_card, on_host in (
                ([(20 * MIB, card)], 20, 0), ([(12 * MIB, card), (8 * MIB, host)], 12, 8), ([(20 * MIB, other)], 0, 0),
                ([(30 * MIB, host)], 0, 20), ([(8 * MIB, host), (12 * MIB, {})], 20, 20)):
            with self.subTest(told), self.giver("honest", mine=20 * MIB, told=told) as guest:
                for device, size, there in ((CARD, 60 * MIB, on_card), ("host:0", 250 * MIB, on_host)):
                    expected = [("honest", there * MIB)] if there else []
                    wait_until(lambda: self.promised(device, size) == expected, f"{expected} to be named for {device}")
            self.free(guest.held)


class Liar(Promises):
    def test_what_a_worker_promised_and_did_not_give_is_no_way_out(self):
        liar = Giver(self, "liar", gives=False)
        wait_until(lambda: any(w["workerId"] == "liar" and w["reclaimableBytes"] for w in self.workers()), "its promise")
        self.allocate(42 * MIB, CARD)
        liar.optimize()
        wait_until(lambda: "liar gave 0 of" in self.daemon.log(), "the lie to be noticed")
        wait_until(self.is_strained, "nobody to be believed any more")
        self.kept_out()

    def test_who_wants_room_is_told_who_did_not_give_it(self):
        for name, answers in (("liar", True), ("silent", False)):
            with self.subTest(name), self.giver(name, answers, gives=False) as guest:
                answer = self.try_allocate(50 * MIB, CARD, evict=True)
                self.refused_space(answer, "INSUFFICIENT_MEMORY")
                self.assertIn(f"worker {name} gave 0 B of the 6.0 MiB asked of it", answer.body["error"]["message"])
                self.was_not_pressed(guest)
                self.free(guest.held)

    def test_one_that_is_silent_is_passed_over(self):
        with self.giver("honest", mine=12 * MIB), self.giver("silent", False, gives=False, mine=20 * MIB) as silent:
            allocation = self.ok(self.try_allocate(40 * MIB, CARD, evict=True))["allocation"]
            self.assertEqual(CARD, allocation["deviceId"])
            self.was_not_pressed(silent)

    def test_one_that_says_it_is_at_it_is_waited_for(self):
        with self.giver("slow", kind=Slow):
            self.assertEqual(CARD, self.ok(self.try_allocate(50 * MIB, CARD, evict=True))["allocation"]["deviceId"])

    def test_a_question_under_way_does_not_keep_the_daemon(self):
        """Nor does one that was given up."""
        with self.giver("silent", False, gives=False) as silent:
            self.refused_space(self.try_allocate(50 * MIB, CARD, evict=True), "INSUFFICIENT_MEMORY")
            with self.daemon.unix() as unix:
                unix.send("memory.model_optimize", {"worker_id": "silent", "min_bytes_to_free": MIB})
                for _ in range(2):
                    silent.optimize()
                self.daemon.stop(signal.SIGTERM)

    def test_an_optimization_waits_for_it_as_long_as_the_user_said(self):
        with self.giver("silent", False, gives=False) as silent:
            optimize = {"workerId": "silent", "minBytesToFree": MIB, "maxTimeMs": 500}
            self.refused(self.daemon.post(f"{MODELS}/optimize", optimize), 504, "WORKER_TIMEOUT")
            self.was_not_pressed(silent)


class RoomForAModel(Promises):
    """Workers make room for a load as for an allocation, where models do not."""

    def trial(self, path, **fields):
        return self.ok(self.try_load(path, CARD, dryRun=True, **fields))

    def test_what_workers_give(self):
        path = self.model(50 * MIB)
        with self.giver("giver") as guest:
            for evict in (False, True):
                data = self.trial(path, evict=evict)
                self.assertEqual((evict, []), (data["wouldFit"], data["wouldEvict"]))
            self.refused_space(self.try_load(path, CARD, evict=False), "INSUFFICIENT_MEMORY")
            self.assertNotIn("memory.optimize", [action for action, _ in list(guest.asked.queue)])
            self.assertEqual("ready", self.load(path, CARD)["state"])

    def test_with_models_for_the_rest(self):
        first = self.load(self.model(20 * MIB, "first"), CARD, keepRamCopy=False)
        with self.giver("giver"):
            self.assertEqual("ready", self.load(self.model(55 * MIB, "second"), CARD)["state"])
        self.assertEqual("parked", self.look_model(first)["state"])

    def test_who_did_not_give_it_is_named(self):
        for name, answers in (("liar", True), ("silent", False)):
            with self.subTest(name), self.giver(name, answers, gives=False) as guest:
                answer = self.try_load(self.model(50 * MIB, name), CARD)
                self.refused_space(answer, "INSUFFICIENT_MEMORY")
                self.assertIn(f"worker {name} gave 0 B", answer.body["error"]["message"])
                self.free(guest.held)


class Pins(PressureCase):
    def squeeze(self):
        model = self.load(self.model(30 * MIB), CARD, pinned=True)
        self.allocate(32 * MIB, CARD)
        return model

    def test_nothing_goes_against_a_pin(self):
        model = self.squeeze()
        self.kept_out()
        wait_until(self.is_strained, "the strain")
        self.assertEqual("ready", self.look_model(model)["state"])

    def test_unless_that_is_the_last_resort(self):
        self.restart_with("--last-resort", "pinned")
        self.mover()
        model = self.squeeze()
        wait_until(lambda: self.look_model(model)["state"] in ("parked", "unloaded"), "the pin to be broken")
        wait_until(lambda: self.device(CARD)["pressure"]["level"] == "low", "the pressure to be gone")

    def test_the_word_is_checked(self):
        for flags in (("--last-resort", "everything"),):
            with self.assertRaises(AssertionError):
                self.restart_with(*flags)


class WhoWouldGo(PressureCase):
    def test_a_dry_run_of_an_allocation_names_them(self):
        first, second = (self.load(self.model(20 * MIB, name), CARD, keepRamCopy=False)
                         for name in ("first", "second"))
        for evict in (True, False):
            with self.nothing_changes():
                data = self.ok(self.try_allocate(30 * MIB, CARD, dryRun=True, evict=evict))
            bytes_of = -(-first["sizeBytes"] // 4096) * 4096
            self.assertEqual([{"modelId": first["modelId"], "name": first["name"], "bytes": bytes_of, "to": "ram"}],
                             data["wouldEvict"])
            self.assertEqual((evict, CARD if evict else None), (data["wouldFit"], data["placement"]["deviceId"]))
        self.ok(self.try_allocate(30 * MIB, CARD, evict=True))
        # The first took longer to load, with a worker that was new, and may be too young yet.
        wait_until(lambda: {"parked", "ready"} == {self.look_model(model)["state"] for model in (first, second)},
                   "one of them to be parked")

    def test_a_refusal_and_the_pressure_tell_what_could_go(self):
        free, _ = (self.load(self.model(20 * MIB, name), CARD, keepRamCopy=False, pinned=name == "pinned")
                   for name in ("free", "pinned"))
        bytes_of = -(-free["sizeBytes"] // 4096) * 4096
        details = self.refused_space(self.try_allocate(30 * MIB, CARD), "INSUFFICIENT_MEMORY")
        self.assertEqual([{"kind": "model", "modelId": free["modelId"], "bytes": bytes_of}], details["reclaimable"])
        for high, actions in ((90, []), (20, ["park"])):
            self.ok(self.daemon.put(f"{MEMORY}/pressure/thresholds", {"moderate": 10, "high": high}))
            pressure = self.ok(self.daemon.get(f"{MEMORY}/pressure/{CARD}"))
            self.assertEqual((bytes_of, actions), (pressure["reclaimableBytes"], pressure["recommendedActions"]))

    def test_nobody_for_what_fits_or_never_could(self):
        model = self.load(self.model(20 * MIB), CARD, pinned=True)
        for size, fits in ((MIB, True), (50 * MIB, False), (65 * MIB, False)):
            data = self.ok(self.try_allocate(size, CARD, dryRun=True, evict=True))
            self.assertEqual((fits, []), (data["wouldFit"], data["wouldEvict"]))
        self.assertEqual("ready", self.look_model(model)["state"])


if __name__ == "__main__":
    unittest.main()
