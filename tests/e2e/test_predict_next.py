"""A model that is brought into RAM because it usually comes next; guesses that are wrong; and nothing while it is off."""

import os
import shutil
import signal
import unittest

from harness import MEMORY, MIB, wait_until
from predict_case import CARD, RAM, PredictCase


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

    def test_who_asks_while_it_is_brought_gets_it_where_he_wants_it(self):
        """The worker stands still: the load that was begun ahead cannot be over when it is joined."""
        for _ in range(3):
            self.load(self.paths["a"], CARD)
            self.use("b")
        before, worker = self.look_model("b.safetensors"), self.mover()["pid"]
        with self.daemon.events("?types=prediction.*") as events:
            os.kill(worker, signal.SIGSTOP)
            try:
                self.load(self.paths["a"], CARD)
                wait_until(lambda: self.look_model("b.safetensors")["state"] == "loading", "b to be brought")
                job = self.start_load(self.paths["b"], CARD, pinned=True)
            finally:
                os.kill(worker, signal.SIGCONT)
            self.assertEqual("completed", self.job_ends(job)["status"])
            judged, _ = events.find(lambda event: event.type == "prediction.judged")
        self.assertIs(True, judged.data["needed"])
        model = self.look_model("b.safetensors")
        self.assertEqual(("ready", "device", True), (model["state"], model["residency"], model["pinned"]))
        self.assertEqual(before["useCount"] + 1, model["useCount"])
        with self.attached(model) as attached, attached.mapped(0) as part:
            self.assertEqual(self.paths["b"].stat().st_size, len(part))

    def test_who_follows_whom_is_known_after_a_restart(self):
        self.use("a", "b", "a", "b", "a", "b")
        self.daemon.stop()
        self.daemon.start()
        self.mover()
        self.use("b", "a")
        self.assertEqual("ram", self.is_brought("b")["residency"])

    def test_a_file_that_is_gone_is_no_fault_of_the_model(self):
        self.use("a", "b", "a", "b", "a", "b")
        self.paths["b"].rename(away := self.paths["b"].with_suffix(".away"))
        with self.daemon.events("?types=model.*") as events:
            self.use("a")
            _, before = events.find(lambda event: event.type == "model.unloaded" and event.data["modelId"] == self.look_model("b.safetensors")["modelId"])
        self.assertNotIn("model.failed", [event.type for event in before])
        self.assertEqual(("unloaded", None), tuple(self.look_model("b.safetensors")[key] for key in ("state", "error")))
        wait_until(lambda: self.kind("prefetch")["made"] == 0, "an act that came to nothing to count no more")
        away.rename(self.paths["b"])
        self.load(self.paths["a"], CARD)  # and stays: after b nobody is brought, which would end the wait as well
        self.use("b")
        self.load(self.paths["a"], CARD)  # somebody has asked for b meanwhile: it is tried again
        self.is_brought("b")

    def test_nobody_is_brought_into_memory_that_is_short(self):
        self.allocate(400 * MIB, RAM)
        wait_until(lambda: self.device(RAM)["pressure"]["level"] == "moderate", "pressure that is not low")
        self.use("a", "b", "a", "b", "a", "b", "a")
        self.use("a")  # its load has passed the thread that guesses
        self.assertEqual("unloaded", self.look_model("b.safetensors")["state"])
        self.assertEqual(("on", 0), (self.kind("prefetch")["state"], self.kind("prefetch")["made"]))

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


class Reload(PredictCase):
    def setUp(self):
        super().setUp()
        self.conf = self.daemon.folder / "memkeep.conf"
        self.conf.write_text('predict = "on"\n')
        folder, self.daemon.owns_folder = self.daemon.folder, False
        self.addCleanup(shutil.rmtree, folder, ignore_errors=True)
        self.restart_with("--config", str(self.conf))

    def says(self, word, state):
        self.conf.write_text(f'predict = "{word}"\n')
        self.daemon.process.send_signal(signal.SIGHUP)
        wait_until(lambda: self.kind("park")["state"] == self.kind("prefetch")["state"] == state, state)

    def test_sighup_switches_it(self):
        self.assertEqual("on", self.kind("park")["state"])
        self.says("off", "off")
        self.says("on", "on")


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
