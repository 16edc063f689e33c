"""What devices, operations and transfers were like; and who leaks."""

import os
import threading
import time
import unittest

import shapes
from harness import KIB, MEMORY, MIB, DaemonCase, parse_time, wait_until
from restart import Ledger, vault_pid
from test_cli import CliWords
from test_socket_worker import Guest

BYTES = shapes.maybe(shapes.count)
ANALYTICS = {
    "windowStart": shapes.time, "windowEnd": shapes.time,
    "devices": [{"deviceId": shapes.text, "peakBytes": BYTES, "averageBytes": BYTES, "p95Bytes": BYTES,
                 "fragmentation": [{"time": shapes.time, "percent": shapes.percent, "largestFreeBytes": shapes.count}],
                 "busiestHours": [BYTES], "busiestWeekdays": [BYTES],
                 "pressure": [{"level": shapes.word("low", "moderate", "high", "critical"), "seconds": shapes.count}]}],
    "operations": shapes.maybe([{"name": shapes.text, "count": shapes.count, "errors": shapes.count, "p50Ms": shapes.number,
                                 "p95Ms": shapes.number, "p99Ms": shapes.number, "maxMs": shapes.number}]),
    "layers": [{"operation": shapes.text, "count": shapes.count, "decisionMs": shapes.number,
                "wireMs": shapes.maybe(shapes.number), "workerMs": shapes.maybe(shapes.number),
                "deviceMs": shapes.maybe(shapes.number)}],
    "transfers": [{"from": shapes.text, "to": shapes.text, "path": shapes.maybe(shapes.text), "count": shapes.count,
                   "bytes": shapes.count, "p50BytesPerSecond": BYTES, "bestBytesPerSecond": BYTES, "failed": shapes.count}],
    "leaks": [{"owner": shapes.text, "ownerId": shapes.id_of("o"), "pid": shapes.maybe(shapes.count), "deviceId": shapes.text, "bytesPerSecond": shapes.number, "bytes": shapes.count,
               "since": shapes.time}]}


class Analytics(CliWords, DaemonCase):
    devices = ("host:0=512MiB", "fake:0=64MiB")

    def analytics(self, query=""):
        found = self.ok(self.daemon.get(f"{MEMORY}/analytics{query}"))
        self.assertEqual([], shapes.differences(found, ANALYTICS))
        return found

    def host(self):
        return self.analytics()["devices"][0]

    def test_a_device(self):
        blocks = [self.allocate(512 * KIB) for _ in range(128)]
        wait_until(lambda: self.host()["peakBytes"] and self.host()["peakBytes"] >= 64 * MIB, "a sample with all of it")
        for block in blocks[1::2]:
            self.free(block)
        wait_until(lambda: self.host()["fragmentation"][-1]["percent"] > 40, "a sample without half of it")
        host = self.host()
        self.assertGreaterEqual(host["peakBytes"], host["p95Bytes"])
        self.assertGreaterEqual(host["peakBytes"], host["averageBytes"])
        self.assertEqual((24, 7), (len(host["busiestHours"]), len(host["busiestWeekdays"])))
        self.assertTrue(any(host["busiestHours"]))
        self.assertEqual(["low", "moderate", "high", "critical"], [level["level"] for level in host["pressure"]])
        self.assertGreater(host["pressure"][0]["seconds"], 0)

    def test_operations(self):
        for _ in range(20):
            self.allocate(4 * KIB)
        self.daemon.get(f"{MEMORY}/allocation/a-0000000000000001")
        found = {one["name"]: one for one in self.analytics()["operations"]}
        allocate = found["memory.allocate"]
        self.assertEqual((20, 0), (allocate["count"], allocate["errors"]))
        self.assertTrue(0 < allocate["p50Ms"] <= allocate["p95Ms"] <= allocate["p99Ms"] <= allocate["maxMs"])
        self.assertEqual(1, found["memory.get_allocation"]["errors"])

    def layers(self, query=""):
        return {one["operation"]: one for one in self.analytics(query)["layers"]}

    def test_layers(self):
        self.mover()
        block = self.allocate(8 * MIB)
        began = time.monotonic()
        for _ in range(3):
            self.transfer(block, "host:0", "fake:0", mode="copy")
        took = (time.monotonic() - began) * 1e3
        found = self.layers()["memory.transfer"]
        self.assertEqual(3, found["count"])
        parts = [found[key] for key in ("decisionMs", "wireMs", "workerMs", "deviceMs")]
        self.assertTrue(all(part > 0 for part in parts), found)
        self.assertLessEqual(3 * sum(parts), took)
        self.assertEqual({"memory.transfer"}, self.layers().keys())

    def test_layers_of_a_worker_that_does_not_say_its_times(self):
        self.restart_with("--no-worker")
        said = {"cleared_bytes": 0}
        with Guest(self.daemon.socket_path, "quiet", ["memory.clear"], answers={"memory.clear": said}):
            wait_until(self.workers, "a guest")
            self.ok(self.daemon.post(f"{MEMORY}/operations/clear", {}))
            quiet = self.layers()["memory.clear"]
            said["elapsed_us"] = 0
            self.ok(self.daemon.post(f"{MEMORY}/operations/clear", {}))
            found = self.layers()["memory.clear"]
        self.assertEqual((1, None, None, None), tuple(quiet[key] for key in ("count", "wireMs", "workerMs", "deviceMs")))
        self.assertGreater(quiet["decisionMs"], 0)
        self.assertEqual((2, None, None), tuple(found[key] for key in ("count", "workerMs", "deviceMs")))
        self.assertGreater(found["wireMs"], 0)

    def test_transfers(self):
        self.mover()
        block = self.allocate(8 * MIB)
        for _ in range(3):
            self.assertEqual("completed", self.transfer(block, "host:0", "fake:0", mode="copy")["status"])
        found = self.analytics()["transfers"]
        self.assertEqual([("host:0", "fake:0", "staged", 3, 24 * MIB, 0)],
                         [tuple(one[key] for key in ("from", "to", "path", "count", "bytes", "failed")) for one in found])
        self.assertGreaterEqual(found[0]["bestBytesPerSecond"], found[0]["p50BytesPerSecond"])
        self.assertGreater(found[0]["p50BytesPerSecond"], 0)
        def kept():
            found = self.analytics("?window=2d")
            return found["transfers"] and (found["devices"][0]["peakBytes"] or 0) >= 8 * MIB and found
        kept = wait_until(kept, "the history to know")
        self.assertEqual([("host:0", "fake:0", "staged", 3, 24 * MIB, 0)],
                         [tuple(one[key] for key in ("from", "to", "path", "count", "bytes", "failed"))
                          for one in kept["transfers"]])
        points = kept["devices"][0]["fragmentation"]
        self.assertTrue(points)
        self.assertLessEqual(points[-1]["time"], kept["windowEnd"])

    def test_a_window(self):
        self.assertEqual("INVALID_ARGUMENT", self.daemon.get(f"{MEMORY}/analytics?window=x").code)
        for route in ("analytics", "usage", "usage/host:0"):
            for number in ("5", "1.5", "3600", ""):
                with self.subTest(route, number=number):
                    answer = self.daemon.get(f"{MEMORY}/{route}?window={number}")
                    error = self.refused_field(answer, "INVALID_ARGUMENT", "window")
                    self.assertIn("10m", error["message"])
        self.analytics("?window=5m")

    def test_on_the_command_line(self):
        self.allocate(4 * KIB)
        said = self.memkeep("analytics").stdout
        self.assertIn("host:0", said)
        self.assertIn("memory.allocate", said)


class Leaking(DaemonCase):
    devices = ("host:0=2GiB",)

    def free_what_is_idle(self, owner):
        """As the advice about the leak says."""
        Ledger(vault_pid(self.daemon.runtime)).age(301)
        found = self.ok(self.daemon.get(f"{MEMORY}/optimization"))["recommendations"]
        advice = next(one for one in found if one["id"] == "leak:host:0")
        self.assertEqual(("warning", os.getpid()), (advice["severity"], advice["evidence"]["pid"]))
        self.assertGreater(advice["evidence"]["bytesPerSecond"], MIB)
        self.assertEqual(owner, advice["action"]["body"]["owner"])
        cleared = self.ok(self.daemon.post(advice["action"]["path"], advice["action"]["body"]))
        self.assertGreaterEqual(cleared["clearedAllocations"], advice["evidence"]["idleAllocations"])

    def test_who_only_takes_is_named(self):
        """A process that takes a MiB four times a second, beside one that keeps what it has."""
        with self.daemon.unix() as quiet, self.daemon.unix() as leaking:
            kept = quiet.call("memory.allocate", {"size_bytes": 64 * MIB})["data"]
            over = threading.Event()
            began = time.time()

            def leak():
                while not over.wait(0.25):
                    made = leaking.call("memory.allocate", {"size_bytes": MIB})["data"]
                    leaking.call("memory.detach", {"allocation_id": made["allocation"]["allocation_id"]})
                    while leaking.fds:
                        os.close(leaking.fds.pop())

            thread = threading.Thread(target=leak)
            thread.start()
            try:
                leaks = wait_until(lambda: self.ok(self.daemon.get(f"{MEMORY}/analytics"))["leaks"], "a leak", 150)
                self.free_what_is_idle(leaks[0]["ownerId"])
                self.assertEqual(1, self.look(kept["allocation"]["allocation_id"])["attachments"])
            finally:
                over.set()
                thread.join()
        self.assertEqual([("host:0", os.getpid())], [(one["deviceId"], one["pid"]) for one in leaks])
        self.assertGreater(leaks[0]["bytesPerSecond"], MIB)
        self.assertGreater(leaks[0]["bytes"], 64 * MIB)
        self.assertLess(abs(parse_time(leaks[0]["since"]) - began), 30)


if __name__ == "__main__":
    unittest.main()
