"""What is done before anybody asks: room that is made when use is foretold to be high, and a model that is brought into
RAM because it usually comes next. Each act is told and judged, and whoever is wrong too often ends."""

import time
import unittest

from harness import MEMORY, MIB, DaemonCase, wait_until
from models import ModelWords, write_sparse

CARD, RAM = "fake:0", "host:0"
PATIENCE = 90


class PredictCase(ModelWords, DaemonCase):
    devices = (f"{RAM}=512MiB", f"{CARD}=256MiB")
    predict = ("--predict", "on")
    relief = ("--relief-trigger", "100")

    def setUp(self):
        super().setUp()
        self.restart_with(*self.predict, *self.relief)
        self.mover()

    def model(self, name, size=16 * MIB):
        return write_sparse(self.folder("models") / f"{name}.safetensors", size)

    def rise(self, until, rate=6 * MIB):
        """Use rises by so much a second until something is so."""
        began, given = time.monotonic(), 0

        def so():
            nonlocal given
            step = int((time.monotonic() - began) * rate) // MIB * MIB - given
            if step > 0:
                self.allocate(step, CARD)
                given += step
            return until()
        return wait_until(so, "what a rise is to bring", PATIENCE)

    def kind(self, name):
        found = {row["kind"]: row for row in self.ok(self.daemon.get("/health/detailed"))["predictions"]}
        return found[name]

    def metric(self, name, **labels):
        text = self.daemon.get("/metrics").body.decode()
        wanted = name + "{" + ",".join(f'{key}="{value}"' for key, value in labels.items()) + "} "
        return next(float(line[len(wanted):]) for line in text.splitlines() if line.startswith(wanted))


class Room(PredictCase):

    def percent(self):
        return self.device(CARD)["pressure"]["percent"]

    def test_a_model_is_parked_before_use_is_high_and_the_act_is_judged(self):
        idle, pinned, held = (self.load(self.model(name), CARD, pinned=name == "pinned") for name in ("idle", "pinned", "held"))
        with self.attached(held), self.daemon.events("?types=prediction.*,model.parked,pressure.changed") as events:
            self.rise(lambda: self.look_model(idle)["state"] == "parked")
            self.assertLess(self.percent(), 90)
            made, before = events.find(lambda event: event.type == "prediction.made")
            parked = [event.data for event in before if event.type == "model.parked"]
            self.assertEqual([idle["modelId"]], [data["modelId"] for data in parked])
            self.assertEqual("prediction", parked[0]["correlationId"])
            self.assertNotIn("high", [event.data["level"] for event in before if event.type == "pressure.changed"])
            self.assertEqual(("park", CARD), (made.data["kind"], made.data["deviceId"]))
            self.assertGreaterEqual(made.data["sizeBytes"], 16 * MIB)
            self.assertTrue(0 < made.data["forecast"]["secondsToHigh"] <= 60, made.data)
            self.rise(lambda: self.percent() > 90 - 100 * 16 / 256)
            judged, _ = events.find(lambda event: event.type == "prediction.judged")
        self.assertEqual((made.data["predictionId"], True), (judged.data["predictionId"], judged.data["needed"]))
        for other in (pinned, held):
            self.assertEqual("ready", self.look_model(other)["state"])
        kind = self.kind("park")
        self.assertEqual(("on", 1, 1, 1, None), tuple(kind[key] for key in ("state", "made", "judged", "needed", "reason")))
        self.assertEqual(1, self.metric("memkeep_predictions_judged_total", kind="park", needed="true"))
        self.assertEqual(1, self.metric("memkeep_prediction_on", kind="park"))


class RoomInVain(PredictCase):
    predict = ("--predict", "on", "--predict-seconds", "8")

    def test_an_act_that_was_not_needed_is_judged_so(self):
        model = self.load(self.model("idle"), CARD)
        with self.daemon.events("?types=prediction.*") as events:
            self.rise(lambda: self.look_model(model)["state"] == "parked", 12 * MIB)
            judged, _ = events.find(lambda event: event.type == "prediction.judged", PATIENCE)
        self.assertIs(False, judged.data["needed"])
        self.assertEqual((1, 0), (self.kind("park")["judged"], self.kind("park")["needed"]))


class Next(PredictCase):
    """a, b, a, b …: who asks for a, asks for b next. Models leave memory after each use."""

    def use(self, *names):
        for name in names:
            self.unload(self.load(self.paths[name], CARD, keepRamCopy=False))

    def setUp(self):
        super().setUp()
        self.paths = {name: self.model(name) for name in "ab"}

    def is_brought(self, name):
        return wait_until(lambda: (model := self.look_model(f"{name}.safetensors"))["state"] == "parked" and model,
                          f"{name} in RAM", 30)

    def test_the_next_model_is_in_ram_before_it_is_asked_for(self):
        with self.daemon.events("?types=prediction.*") as events:
            self.use("a", "b", "a", "b", "a", "b")
            before = self.look_model("b.safetensors")
            self.use("a")
            model = self.is_brought("b")
            self.assertEqual(("ram", CARD), (model["residency"], model["deviceId"]))
            self.assertEqual((before["useCount"], before["lastUsedAt"]), (model["useCount"], model["lastUsedAt"]))
            self.assertEqual(0, self.committed(CARD))
            made, _ = events.find(lambda event: event.type == "prediction.made")
            self.assertEqual(("prefetch", model["modelId"]), (made.data["kind"], made.data["forecast"]["modelId"]))
            self.assertGreaterEqual(made.data["forecast"]["confidencePercent"], 60)
            self.assertEqual("ready", self.load(self.paths["b"], CARD)["state"])
            judged, _ = events.find(lambda event: event.type == "prediction.judged")
        self.assertEqual((made.data["predictionId"], True), (judged.data["predictionId"], judged.data["needed"]))

    def test_who_is_wrong_too_often_ends_and_says_so(self):
        """Eleven times a pair comes three times, and then its first alone: the second is brought in vain."""
        with self.daemon.events("?types=prediction.*") as events:
            for pair in range(11):
                self.paths |= {f"{pair}{half}": self.model(f"{pair}{half}", MIB) for half in "xy"}
                self.use(*[f"{pair}{half}" for half in "xyxyxyx"])
                self.is_brought(f"{pair}y")
            self.use("a", "b")
            ended, before = events.find(lambda event: event.type == "prediction.disabled")
        needed = [event.data["needed"] for event in before if event.type == "prediction.judged"]
        self.assertGreaterEqual(len(needed), 10)
        self.assertLess(100 * sum(needed) / len(needed), 60)
        self.assertEqual("prefetch", ended.data["kind"])
        self.assertLess(ended.data["neededPercent"], 60)
        self.assertRegex(self.kind("prefetch")["reason"], r"of its last \d+ acts \d+ % were needed")
        self.assertEqual(0, self.metric("memkeep_prediction_on", kind="prefetch"))
        self.assertEqual("on", self.kind("park")["state"])
        wait_until(lambda: "prediction (prefetch) is off" in self.daemon.log(), "the log to say so")


class Off(PredictCase):
    predict = ()

    def test_nothing_is_done(self):
        paths = {name: self.model(name) for name in "abc"}
        idle = self.load(paths["c"], CARD)
        with self.daemon.events("?types=prediction.*,model.unloaded") as events:
            for name in "abababa":
                self.unload(self.load(paths[name], CARD, keepRamCopy=False))
            self.rise(lambda: (self.ok(self.daemon.get(f"{MEMORY}/pressure/{CARD}"))["timeToCriticalSeconds"] or 99) < 30)
            self.assertEqual("ready", self.look_model(idle)["state"])
            self.assertEqual("unloaded", self.look_model("b.safetensors")["state"])
            self.unload(idle)
            _, before = events.find(lambda event: event.type == "model.unloaded" and event.data["modelId"] == idle["modelId"])
        self.assertEqual([], [event.type for event in before if event.type.startswith("prediction.")])
        self.assertEqual(["off", "off"], [self.kind(name)["state"] for name in ("park", "prefetch")])


if __name__ == "__main__":
    unittest.main()
