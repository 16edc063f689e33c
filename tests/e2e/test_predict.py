"""Room that is made before anybody asks, when use is foretold to be high. Each act is told and judged."""

import unittest

from harness import MIB
from predict_case import CARD, PATIENCE, PredictCase


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


if __name__ == "__main__":
    unittest.main()
