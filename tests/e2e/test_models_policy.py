"""Fifty models over a card that holds about eight, asked for as people ask: a few often, most seldom. Everybody gets
his model, nobody in use or pinned goes for it, and in the end the books are right."""

import collections
import contextlib
import random
import threading
import unittest

from harness import KIB, MEMORY, MIB, DaemonCase, wait_until
from models import MODELS, Attached, ModelWords, write_models, write_sparse, zipf
from restart import RestartCase
from test_attach import Refused

MODEL_COUNT, HELD, REQUESTS, CLIENTS = 50, 8, 600, 2
PATIENCE = 20  # seconds for one request


class Zipf(ModelWords, RestartCase):
    devices = ("host:0=8MiB", "fake:0=64MiB")

    def setUp(self):
        super().setUp()
        self.random = random.Random(4)
        self.paths = write_models(self.folder("zipf"), self.random, MODEL_COUNT, 256 * KIB)
        self.by_size = sorted(self.paths, key=lambda name: self.paths[name].stat().st_size)
        mean = sum(path.stat().st_size for path in self.paths.values()) // MODEL_COUNT
        self.daemon.put(f"{MEMORY}/limits/fake:0", {"maxBytes": HELD * mean})
        self.seen, self.lock, self.wrong = collections.Counter(), threading.Lock(), []

    def use(self, name):
        """One request. A model that goes just now, or between its load and the attach, is asked for again."""
        def done():
            loaded = self.try_load(self.paths[name], "fake:0", keepRamCopy=False)
            if loaded.code == "MODEL_BUSY":
                return self.count("busy")
            self.ok(loaded)
            try:
                with contextlib.closing(Attached(self.daemon.socket_path, name)) as attached:
                    with attached.mapped(0) as part:
                        self.assertIn(name.encode(), bytes(part[:200]))
                    self.assertEqual("ready", self.look_model(name)["state"])
            except Refused as refused:
                self.assertEqual("MODEL_BUSY", refused.code)
                return self.count("gone")
            return True
        wait_until(done, f"{name} for one request", PATIENCE)

    def count(self, what):
        with self.lock:
            self.seen[what] += 1

    def client(self, requests):
        try:
            for name in requests:
                self.use(name)
        except BaseException as problem:
            self.wrong.append(repr(problem))

    def test_everybody_gets_his_model(self):
        pinned, held = self.by_size[0], self.by_size[1]
        self.load(self.paths[pinned], "fake:0", pinned=True)
        self.load(self.paths[held], "fake:0")
        requests = zipf(self.random, self.paths, REQUESTS)
        with self.daemon.events("?types=model.*") as events, self.attached(held):
            clients = [threading.Thread(target=self.client, args=(requests[i::CLIENTS],)) for i in range(CLIENTS)]
            for client in clients:
                client.start()
            for client in clients:
                client.join()
            self.assertEqual([], self.wrong)
            for name in (pinned, held):
                self.assertEqual("ready", self.look_model(name)["state"])
            went = self.gone(events)
        self.assertGreater(len(went), HELD)
        self.assertFalse({self.look_model(name)["modelId"] for name in (pinned, held)} & set(went))
        self.books_are_right()

    def gone(self, events):
        """The models that were parked or unloaded, as the event stream told."""
        (path,) = write_models(self.folder("last"), self.random, 1, KIB).values()
        last = self.load(path, "host:0", name="last")["modelId"]
        _, before = events.find(lambda event: event.type == "model.ready" and event.data["modelId"] == last)
        return [event.data["modelId"] for event in before if event.type in ("model.parked", "model.unloaded")]

    def books_are_right(self):
        self.assert_books_are_the_kernels()
        models = self.models()
        ready = [model for model in models if model["state"] == "ready" and model["deviceId"] == "fake:0"]
        device = self.device("fake:0")
        self.assertEqual(sum(-(-m["sizeBytes"] // 4096) * 4096 for m in ready), device["committedBytes"])
        self.assertEqual(device["committedBytes"], device["residentBytes"])
        self.assertLessEqual(device["committedBytes"], device["limits"]["maxBytes"])
        for model in models:
            self.unload(model, force=True)
        for name in ("host:0", "fake:0"):
            self.assertEqual([0, 0], [self.device(name)[key] for key in ("committedBytes", "activeAllocations")])


class Slow(ModelWords, DaemonCase):
    devices = ("host:0=256MiB", "fake:0=64MiB,rate=24MiB/s")

    def test_relief_takes_what_was_being_loaded_when_use_crossed_the_trigger(self):
        """Its memory is taken first, and filled for seconds: when relief looks nobody can go."""
        self.mover()
        model = self.load(write_sparse(self.folder("models") / "m.safetensors", 60 * MIB), "fake:0")
        wait_until(lambda: self.look_model(model)["state"] == "parked", "it to be parked")

    def optimize(self, **fields):
        body = {"deviceId": "fake:0", "targetPercent": 10, "maxTimeMs": 500} | fields
        return self.ok(self.daemon.post(f"{MODELS}/optimize", body))

    def test_who_asks_for_memory_does_not_wait_as_long_as_the_model_took_to_load(self):
        """Relief does; and a preset that leaves the young alone does not find one old enough in that time."""
        self.mover()
        model = self.load(write_sparse(self.folder("models") / "m.safetensors", 36 * MIB), "fake:0", keepRamCopy=False)
        self.assertGreater(model["loadTimeMs"], 1000)
        for strategy, goes in (("balanced", []), ("fifo", [model["modelId"]])):
            for dry in (True, False):
                with self.subTest(strategy, dryRun=dry):
                    self.assertEqual(goes, self.optimize(strategy=strategy, dryRun=dry)["modelsParked"])


if __name__ == "__main__":
    unittest.main()
