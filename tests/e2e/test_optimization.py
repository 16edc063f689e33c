"""Advice, each with a request that does it, and the doing of the best of it."""

import unittest

import shapes
from harness import KIB, MEMORY, MIB, DaemonCase, name_of, wait_until
from models import ModelWords, write_sparse
from restart import Ledger, vault_pid
from test_cli import CliWords
from test_models import RECOMMENDATION

APPLIED = {"jobId": shapes.maybe(shapes.id_of("j")), "freedBytes": shapes.count,
           "applied": [{"id": shapes.text, "deviceId": shapes.text, "expectedBytes": shapes.count, "freedBytes": shapes.count}]}


class AdviceCase(ModelWords, DaemonCase):
    flags = ("--relief-trigger", "100")

    def advice(self):
        found = self.ok(self.daemon.get(f"{MEMORY}/optimization"))
        self.assertEqual([], shapes.differences(found, {"recommendations": [RECOMMENDATION]}))
        return {one["id"]: one for one in found["recommendations"]}

    def send(self, recommendation):
        """As it stands."""
        action = recommendation["action"]
        return self.ok(self.daemon.post(action["path"], action["body"]))

    def age(self):
        """Nobody has touched an allocation for an hour."""
        Ledger(vault_pid(self.daemon.runtime)).age(3601)


class Optimization(CliWords, AdviceCase):
    devices = ("host:0=2GiB", "fake:0=64MiB")

    def optimize(self, **body):
        answer = self.ok(self.daemon.post(f"{MEMORY}/operations/optimize", body))
        self.assertEqual([], shapes.differences(answer, APPLIED))
        return answer

    def cache(self):
        """Empty segments of 64 MiB and more: anew where the kernel's word on stalls made them go."""
        def so():
            for block in [self.allocate(512 * KIB) for _ in range(400)]:
                self.free(block)
            return self.device("host:0")["cachedBytes"] >= 64 * MIB
        wait_until(so, "a cache")

    def scatter(self, **fields):
        blocks = [self.allocate(512 * KIB, **fields) for _ in range(400)]
        for block in blocks[::2]:
            self.free(block, force=True)
        return blocks[1::2]

    def test_nothing_to_say(self):
        self.allocate(3 * MIB)
        self.assertEqual({}, self.advice())
        self.assertEqual(([], 0), (self.optimize()["applied"], self.optimize()["freedBytes"]))

    def test_cached_memory(self):
        self.cache()
        before = self.device("host:0")
        advice = self.advice()["drain_caches:host:0"]
        self.assertEqual(("info", before["cachedBytes"]), (advice["severity"], advice["expectedBytes"]))
        self.assertEqual(before["cachedBytes"], self.send(advice)["clearedBytes"])
        self.assertEqual({}, self.advice())

    def test_scattered_blocks(self):
        self.mover()
        self.scatter()
        advice = self.advice()["defragment:host:0"]
        self.assertGreaterEqual(advice["expectedBytes"], 64 * MIB)
        self.assertEqual(advice["expectedBytes"], self.send(advice)["releasedBytes"])
        self.assertNotIn("defragment:host:0", self.advice())

    def test_scattered_blocks_that_may_not_move(self):
        self.scatter(pinned=True)
        self.assertGreaterEqual(self.device("host:0")["fragmentationPercent"], 40)
        self.assertNotIn("defragment:host:0", self.advice())

    def test_models_that_nobody_uses(self):
        self.mover()
        model = self.load(write_sparse(self.folder("models") / "m.safetensors", 60 * MIB), "fake:0", keepRamCopy=True)
        advice = self.advice()["park:fake:0"]
        self.assertEqual(model["sizeBytes"] // MIB, advice["expectedBytes"] // MIB)
        self.assertEqual([model["modelId"]], self.send(advice)["modelsParked"])
        self.assertNotIn("park:fake:0", self.advice())

    def test_what_nobody_touches(self):
        untouched, pinned = self.allocate(65 * MIB), self.allocate(65 * MIB, pinned=True)
        self.age()
        touched = self.allocate(65 * MIB)
        advice = self.advice()["clear_idle:host:0"]
        self.assertEqual((65 * MIB, 1), (advice["expectedBytes"], advice["evidence"]["idleAllocations"]))
        self.assertEqual(65 * MIB, self.send(advice)["clearedBytes"])
        self.assertTrue(self.is_gone(untouched))
        self.assertEqual({name_of(pinned), name_of(touched)}, {name_of(a) for a in self.allocations()})
        self.assertEqual({}, self.advice())

    def test_a_quota_that_is_nearly_full(self):
        old = [self.allocate(MIB) for _ in range(8)]
        self.age()
        young = [self.allocate(MIB) for _ in range(2)]
        domain = self.look(old[0])["domain"]
        quotas = {"quotas": [{"domain": domain, "maxBytes": 11 * MIB, "maxAllocations": 1000}]}
        self.ok(self.daemon.put(f"{MEMORY}/limits/host:0", quotas))
        advice = self.advice()[f"quota:{domain}"]
        self.assertEqual(("warning", 8 * MIB, 8), (advice["severity"], advice["expectedBytes"],
                                                   advice["evidence"]["idleAllocations"]))
        self.assertEqual(8, self.send(advice)["clearedAllocations"])
        self.assertEqual({name_of(a) for a in young}, {name_of(a) for a in self.allocations()})
        self.assertEqual({}, self.advice())

    def test_more_than_the_limit(self):
        self.mover()
        model = self.load(write_sparse(self.folder("models") / "m.safetensors", 40 * MIB), "fake:0", keepRamCopy=True)
        over = self.device("fake:0")["committedBytes"] - 20 * MIB
        self.ok(self.daemon.put(f"{MEMORY}/limits/fake:0", {"maxBytes": 20 * MIB}))
        advice = self.advice()["over_limit:fake:0"]
        self.assertEqual(("critical", over), (advice["severity"], advice["expectedBytes"]))
        self.assertEqual(["park:fake:0"], [one["id"] for one in self.send(advice)["applied"]])
        self.assertEqual("parked", self.look_model(model)["state"])
        self.assertEqual(0, self.device("fake:0")["committedBytes"])
        self.assertNotIn("over_limit:fake:0", self.advice())

    def test_all_of_it_in_one_go(self):
        self.mover()
        kept = self.scatter()
        self.fill(kept[0], 7)
        pinned = self.allocate(512 * KIB, pinned=True)
        places = self.look(pinned)["segmentId"]
        before = self.device("host:0")
        plan = self.optimize(dryRun=True)
        self.assertIsNone(plan["jobId"])
        self.assertEqual(before["committedBytes"], self.device("host:0")["committedBytes"])
        done = self.optimize()
        self.assertEqual(["defragment:host:0"], [one["id"] for one in plan["applied"]])
        self.assertIn("defragment:host:0", [one["id"] for one in done["applied"]])
        after = self.device("host:0")
        self.assertEqual(before["committedBytes"] + before["cachedBytes"] - after["committedBytes"] - after["cachedBytes"],
                         done["freedBytes"])
        self.assertEqual(done["freedBytes"], sum(one["freedBytes"] for one in done["applied"]))
        self.assertEqual(places, self.look(pinned)["segmentId"])
        self.assertEqual(len(kept) + 1, after["activeAllocations"])

    def test_no_more_than_is_wanted(self):
        self.mover()
        self.cache()
        self.load(write_sparse(self.folder("models") / "m.safetensors", 60 * MIB), "fake:0", keepRamCopy=True)
        self.assertEqual(["drain_caches:host:0"], [one["id"] for one in self.optimize(minBytesToFree=1)["applied"]])
        self.assertEqual([], self.optimize(targetPercent=100)["applied"])
        done = self.optimize(deviceId="fake:0", targetPercent=50)
        self.assertEqual(["park:fake:0"], [one["id"] for one in done["applied"]])
        self.assertLessEqual(self.device("fake:0")["utilizationPercent"], 50)

    def test_as_a_job(self):
        self.cache()
        started = self.ok(self.daemon.post(f"{MEMORY}/operations/optimize", {"wait": False}), 202)
        job = self.job_ends(started["jobId"])
        self.assertEqual(("apply", "completed"), (job["kind"], job["status"]))
        self.assertEqual(["drain_caches:host:0"], [one["id"] for one in job["result"]["applied"]])

    def test_on_the_command_line(self):
        self.assertIn("nothing to be done", self.memkeep("advise").stdout)
        self.cache()
        self.assertIn("drain_caches:host:0", self.memkeep("advise").stdout)
        self.assertIn("drain_caches:host:0", self.memkeep("optimize", "--dry-run").stdout)
        self.assertIn("in all", self.memkeep("optimize", "host:0").stdout)
        self.assertIn("nothing had to be done", self.memkeep("optimize").stdout)

    def test_what_is_refused(self):
        for body, code in (({"targetPercent": 101}, "INVALID_ARGUMENT"), ({"target": 5}, "UNKNOWN_FIELD"),
                           ({"deviceId": "cuda:7"}, "DEVICE_NOT_FOUND")):
            self.assertEqual(code, self.daemon.post(f"{MEMORY}/operations/optimize", body).code)


class CopiesInRam(AdviceCase):
    devices = ("host:0=256MiB", "fake:0=128MiB")

    def test_nobody_needs_them_when_host_memory_is_short(self):
        self.mover()
        model = self.load(write_sparse(self.folder("models") / "m.safetensors", 40 * MIB), "fake:0", keepRamCopy=True)
        self.allocate(160 * MIB)
        before = self.device("host:0")
        advice = self.advice()["drain_caches:host:0"]
        self.assertGreaterEqual(advice["evidence"]["spareCopyBytes"], 40 * MIB)
        self.assertEqual(advice["evidence"]["cachedBytes"] + advice["evidence"]["spareCopyBytes"], advice["expectedBytes"])
        self.assertEqual(advice["expectedBytes"], self.send(advice)["clearedBytes"])
        self.assertEqual(before["usedBytes"] - advice["expectedBytes"], self.device("host:0")["usedBytes"])
        self.assertEqual("ready", self.look_model(model)["state"])
        self.assertNotIn("drain_caches:host:0", self.advice())


if __name__ == "__main__":
    unittest.main()
