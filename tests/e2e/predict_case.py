"""A daemon that acts before anybody asks, with a card and host memory; what test_predict*.py share."""

import time

from harness import MIB, DaemonCase, wait_until
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
