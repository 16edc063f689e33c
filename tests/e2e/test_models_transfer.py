"""Whole models move and are copied between devices: every byte of every shard, the books, the name and the workers'
knowledge of it; whoever is killed meanwhile, it is here or there."""

import os
import random
import signal
import time
import unittest

import shapes
from harness import MEMORY, MIB, DaemonCase, wait_until
from models import PLAIN, ModelWords, Tensor, some_tensors, table_of, write_sharded
from restart import RestartCase
from test_cli import CliWords
from test_socket_worker import Guest

IMPACT = {"wouldFit": shapes.flag, "wouldEvict": [shapes.anything], "expectedSeconds": shapes.maybe(shapes.number),
          "targetAvailableBytesAfter": shapes.count, "targetPressureAfter": shapes.text,
          "sourcePressureAfter": shapes.text, "attachments": shapes.count,
          "models": [{"modelId": shapes.id_of("m"), "name": shapes.text, "busy": shapes.flag,
                      "expectedResumeSecondsBefore": shapes.maybe(shapes.number),
                      "expectedResumeSecondsAfter": shapes.maybe(shapes.number)}]}


class TransferWords(ModelWords):
    def try_transfer(self, model, source, target, **fields):
        return self.daemon.post(f"{MEMORY}/transfer", {"modelId": model, "sourceDeviceId": source,
                                                       "targetDeviceId": target, "wait": True} | fields)

    def transferred(self, model, source, target, **fields):
        end = self.ok(self.try_transfer(model, source, target, **fields))
        self.assertEqual("completed", end["status"], end)
        return end

    def assert_holds(self, name):
        with self.attached(name) as attached:
            self.assertEqual(self.files, attached.files())


class Transfer(CliWords, TransferWords, DaemonCase):
    devices = ("host:0=256MiB", "host:1=256MiB", "fake:0=64MiB", "fake:1=64MiB")

    def setUp(self):
        super().setUp()
        self.tensors = some_tensors(random.Random(4), 12, MIB)
        self.files = write_sharded(self.folder("m"), self.tensors, 3)
        self.size = sum(len(content) for content in self.files.values())

    def loaded(self, device="fake:0", **fields):
        return self.load(self.folder("m"), device, name="m", **fields)

    def test_a_move(self):
        model = self.loaded(keepRamCopy=True)
        before = self.committed("fake:0")
        end = self.transferred("m", "fake:0", "fake:1", mode="move")
        self.assert_shape(end, shapes.TRANSFER)
        self.assertEqual((model["modelId"],) * 2, (end["modelId"], end["targetModelId"]))
        self.assertEqual((self.size, self.size, True, None), tuple(
            end[key] for key in ("sizeBytes", "transferredBytes", "verified", "allocationId")))
        self.assertEqual((0, before), (self.committed("fake:0"), self.committed("fake:1")))
        moved = self.look_model("m")
        self.assertEqual(("fake:1", "ready", "device"), tuple(moved[key] for key in ("deviceId", "state", "residency")))
        self.assert_holds("m")
        with self.attached("m") as attached:
            self.assertEqual(table_of(self.tensors), attached.table())
        self.unload("m", "ram")  # its copy there went along
        self.assertEqual("parked", self.look_model("m")["state"])

    def test_a_copy(self):
        self.loaded(keepRamCopy=False)
        with self.attached("m"):
            end = self.transferred("m", "fake:0", "host:1")
        second = self.look_model("m@host:1")
        self.assertEqual((end["targetModelId"], "host:1", "ram"),
                         (second["modelId"], second["deviceId"], second["residency"]))
        self.assertEqual("fake:0", self.look_model("m")["deviceId"])
        self.unload("m")
        self.assert_holds("m@host:1")
        self.refused(self.try_transfer("m", "fake:0", "fake:1"), 409, "MODEL_BUSY")
        self.unload("m@host:1")
        for device in ("host:0", "host:1", "fake:0"):
            self.assertEqual(0, self.committed(device))

    def test_the_history_keeps_it(self):
        self.loaded()
        self.transferred("m", "fake:0", "fake:1", mode="move")
        self.transferred("m", "fake:1", "host:1")
        kept = self.ok(self.daemon.get(f"{MEMORY}/analytics?window=2d"))["transfers"]
        self.assertEqual([("fake:0", "fake:1", 1, self.size, 0), ("fake:1", "host:1", 1, self.size, 0)],
                         [tuple(one[key] for key in ("from", "to", "count", "bytes", "failed")) for one in kept])
        self.assertTrue(all(one["bestBytesPerSecond"] > 0 for one in kept))

    def test_its_worker_hears_of_it(self):
        guest = Guest(self.daemon.socket_path, capabilities=[])
        self.addCleanup(guest.leave)
        model = self.loaded()
        self.transferred(model["modelId"], "fake:0", "fake:1", mode="move")
        told = []
        while not told or told[-1][0] != "memory.model" or told[-1][1]["device_id"] != "fake:1":
            told.append(guest.told.get(timeout=20))
        self.assertEqual({"model_id": model["modelId"], "state": "ready", "residency": "device",
                          "device_id": "fake:1"}, told[-1][1])
        starts = [data for event, data in told if event == "memory.transfer"]
        self.assertEqual((model["modelId"], None, self.size), tuple(
            starts[0][key] for key in ("model_id", "allocation_id", "bytes")))

    def test_what_it_would_do(self):
        self.loaded(keepRamCopy=False)
        before = self.committed("fake:0")
        with self.attached("m"):
            self.refused(self.try_transfer("m", "fake:0", "fake:1", mode="move"), 409, "MODEL_BUSY")
        impact = self.ok(self.try_transfer("m", "fake:0", "host:0", mode="move", dryRun=True))["impact"]
        self.assert_shape(impact, IMPACT)
        self.assertTrue(impact["wouldFit"])
        self.assertIsNone(impact["expectedSeconds"])
        self.assertEqual(["m"], [model["name"] for model in impact["models"]])
        self.assertEqual(before, self.committed("fake:0"))
        self.transferred("m", "fake:0", "host:0", mode="move")
        self.transferred("m", "host:0", "fake:0", mode="move")
        impact = self.ok(self.try_transfer("m", "fake:0", "host:0", dryRun=True))["impact"]
        self.assertGreater(impact["expectedSeconds"], 0)

    def test_what_is_refused(self):
        self.loaded()
        for code, status, words in (("MODEL_NOT_FOUND", 404, ("none", "fake:0", "fake:1")),
                                    ("CONFLICT", 409, ("m", "fake:1", "fake:0")),
                                    ("DEVICE_NOT_FOUND", 404, ("m", "fake:0", "fake:7"))):
            self.refused(self.try_transfer(*words), status, code)
        self.refused_field(self.try_transfer("m", "fake:0", "fake:1", sizeBytes=1), "INVALID_ARGUMENT", "modelId")
        self.ok(self.daemon.http.request("PATCH", f"{MEMORY}/models/m", {"pinned": True}))
        self.refused(self.try_transfer("m", "fake:0", "fake:1", mode="move"), 409, "CONFLICT")
        self.allocate(63 * MIB, "fake:1")
        details = self.refused(self.try_transfer("m", "fake:0", "fake:1"), 507, "INSUFFICIENT_MEMORY")["details"]
        self.assertGreaterEqual(details["requestedBytes"], self.size)

    def test_the_command_line(self):
        self.loaded()
        said = self.table("transfer", "m", "--from", "fake:0", "--to", "fake:1", "--mode", "move")
        self.assertIn("completed", said)
        self.assertEqual("fake:1", self.look_model("m")["deviceId"])
        said = self.table("transfer", self.look_model("m")["modelId"], "--from", "fake:1", "--to", "host:0")
        self.assertIn(self.look_model("m@host:0")["modelId"], said)


class Effects(TransferWords, DaemonCase):
    """What a transfer does to models is kept with it."""
    devices = ("host:0=256MiB", "fake:0=64MiB,rate=16MiB/s", "fake:1=64MiB")

    def loaded(self, name, device, mib):
        write_sharded(self.folder(name), [Tensor("t", "I8", [mib * MIB], bytes(mib * MIB))], 1)
        self.load(self.folder(name), device, name=name, keepRamCopy=False)

    def effects_become(self, transfer, *want):
        def effects():
            end = self.ok(self.daemon.get(f"{MEMORY}/transfer/{transfer}"))
            return (end["requestsWaited"], end["modelsEvicted"]) == want
        wait_until(effects, f"{transfer} to have done {want}", 20)

    def test_models_make_room_for_it(self):
        self.loaded("old", "fake:1", 24)
        self.loaded("m", "fake:0", 2)
        self.loaded("large", "fake:0", 30)
        small = self.transferred("m", "fake:0", "fake:1", mode="move")["transferId"]
        large = self.transferred("large", "fake:0", "fake:1", mode="move")["transferId"]
        self.effects_become(large, 0, 1)  # once it is idle; it may be over by then
        self.effects_become(small, 0, 0)  # there was room enough for this one
        self.assertEqual("parked", self.look_model("old")["state"])
        self.daemon.kill()
        self.daemon.start()
        self.effects_become(large, 0, 1)

    def test_an_allocation_waits_for_what_it_took(self):
        self.loaded("old", "fake:1", 8)
        source = self.allocate(40 * MIB)
        body = {"allocationId": source["allocationId"], "sourceDeviceId": "host:0", "targetDeviceId": "fake:1"}
        transfer = self.ok(self.daemon.post(f"{MEMORY}/transfer", body | {"wait": True}))["transferId"]
        self.allocate(20 * MIB, "fake:1", evict=True)  # 16 are left, 56 would be
        self.effects_become(transfer, 1, 1)

    def test_requests_wait_for_it(self):
        self.loaded("m", "fake:0", 8)
        job = self.ok(self.try_transfer("m", "fake:0", "fake:1", mode="move", wait=False), 202)["jobId"]
        self.load(self.folder("m"), "fake:1", name="other")
        self.job_ends(job)
        self.effects_become(job, 1, 0)
        self.load(self.folder("m"), "fake:1", name="third")
        self.effects_become(job, 1, 0)


class Killed(TransferWords, RestartCase):
    """One in turn is killed, at a random moment of a transfer."""
    devices = ("host:0=256MiB", "fake:0=64MiB,rate=96MiB/s", "fake:1=64MiB,rate=96MiB/s")

    def test_here_or_there(self):
        chance, seen = random.Random(5), set()
        tensors = [Tensor(f"t{i}", "I8", [2 * MIB], chance.randbytes(2 * MIB)) for i in range(4)]
        self.files = write_sharded(self.folder("m"), tensors + some_tensors(chance, 4, MIB, PLAIN), 3)
        self.load(self.folder("m"), "fake:0", name="m", keepRamCopy=False)
        os.rename(self.folder("m"), self.daemon.folder / "away")
        for number in range(16):
            with self.subTest(round=number):
                self.mover()
                source = self.look_model("m")["deviceId"]
                target = chance.choice([name for name in ("host:0", "fake:0", "fake:1") if name != source])
                job = self.ok(self.try_transfer("m", source, target, mode="move", wait=False), 202)["jobId"]
                time.sleep(chance.random() * 0.3)
                if number % 2:
                    os.kill(self.mover()["pid"], signal.SIGKILL)
                else:
                    self.crash()
                end = self.job_ends(job)
                there = target if end["status"] == "completed" else source
                seen.add((number % 2, there == target))
                self.assertEqual((there, "ready"), tuple(self.look_model("m")[key] for key in ("deviceId", "state")))
                self.mover()
                self.assert_holds("m")
                for name in {"fake:0", "fake:1"} - {there}:
                    wait_until(lambda name=name: not self.committed(name), f"{name} to be empty")
                self.assert_books_are_the_kernels()
        self.assertGreaterEqual(seen, {(0, False), (1, False)})


if __name__ == "__main__":
    unittest.main()
