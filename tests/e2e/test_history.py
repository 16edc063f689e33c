"""The history: windows longer than the daemon remembers, over restarts, kills, and disks that do not work."""

import unittest

from harness import GIB, MEMORY, Daemon, wait_until

DEVICES = ("fake:0=8GiB",)


def part(daemon):
    parts = daemon.get("/health/detailed").data["parts"]
    return next(found for found in parts if found["name"] == "history")


def opened(daemon):
    """The history's part of the health once its file was tried."""
    return wait_until(lambda: (now := part(daemon))["reason"] != "being opened" and now, "the history is open")


def usage(daemon, window):
    return daemon.get(f"{MEMORY}/usage/fake:0?window={window}").data["devices"][0]


def operations(daemon, window):
    return {one["name"]: one for one in daemon.get(f"{MEMORY}/analytics?window={window}").data["operations"]}


class History(unittest.TestCase):
    def daemon(self, **more):
        daemon = Daemon(devices=DEVICES, **more)
        self.addCleanup(daemon.close)
        opened(daemon)
        return daemon

    def test_a_long_window_outlives_kills(self):
        daemon = self.daemon()
        answer = daemon.post(f"{MEMORY}/allocations/allocate/fake:0", {"sizeBytes": GIB})
        self.assertEqual(answer.status, 200)
        wait_until(lambda: any(sample["allocatedBytes"] for sample in usage(daemon, "2h")["samples"]), "it is sampled")
        daemon.kill()
        daemon.start()
        opened(daemon)
        for window in ("2h", "30d", "300d"):
            self.assertEqual(usage(daemon, window)["totalAllocations"], 1, window)

    def test_how_long_operations_took_outlives_a_stop(self):
        daemon = self.daemon()
        for _ in range(20):
            daemon.post(f"{MEMORY}/allocations/allocate/fake:0", {"sizeBytes": 4096})
        self.assertEqual(operations(daemon, "10m")["memory.allocate"]["count"], 20)
        daemon.post(f"{MEMORY}/allocations/allocate/fake:0", {"sizeBytes": 4096})
        daemon.stop()
        daemon.start()
        opened(daemon)
        for window in ("10m", "2h", "30d"):
            allocate = operations(daemon, window)["memory.allocate"]
            self.assertEqual((allocate["count"], allocate["errors"]), (21, 0), window)
            self.assertTrue(0 < allocate["p50Ms"] <= allocate["p99Ms"] <= allocate["maxMs"], window)

    def test_what_cannot_be_a_folder_degrades_and_heals(self):
        daemon = self.daemon()
        daemon.stop()
        folder = daemon.state / "history"
        folder.write_text("in the way")
        daemon.command[daemon.command.index("--state-dir") + 1] = str(folder)
        daemon.start()
        found = opened(daemon)
        self.assertEqual(found["status"], "degraded")
        self.assertIn("cannot be made", found["reason"])
        self.assertEqual(daemon.get("/health").data["status"], "degraded")
        wait_until(lambda: usage(daemon, "2h")["samples"], "kept in memory meanwhile")
        folder.unlink()
        wait_until(lambda: part(daemon)["status"] == "ok", "it heals by itself", 60)
        self.assertTrue((folder / "history.db").exists())

    def test_a_corrupt_file_refuses_no_start(self):
        daemon = self.daemon()
        daemon.stop()
        (daemon.state / "history.db").write_bytes(b"no database at all" * 1000)
        daemon.start()
        found = opened(daemon)
        self.assertEqual("ok", found["status"])
        self.assertIn("history.db.corrupt", found["reason"])


if __name__ == "__main__":
    unittest.main()
