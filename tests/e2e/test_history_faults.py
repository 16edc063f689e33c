"""The history on a disk that is full, that is read-only, and that lost bytes. Needs the right to mount a tmpfs."""

import os
import subprocess
import unittest

from harness import MEMORY, MIB, Daemon, wait_until
from test_history import DEVICES, operations, part, usage

SIZE, HEAL = 16 * MIB, 60
PAGE = 4096


def mount(*words):
    ended = subprocess.run(["mount", *words], capture_output=True, text=True)
    if ended.returncode:
        raise AssertionError(f"these tests mount a tmpfs, and may not: {ended.stderr.strip()}")


class Faults(unittest.TestCase):
    def setUp(self):
        self.daemon = Daemon(devices=DEVICES, start=False)
        self.addCleanup(self.close)
        self.daemon.state.mkdir(mode=0o700)
        mount("-t", "tmpfs", "-o", f"size={SIZE},mode=700", "tmpfs", str(self.daemon.state))
        self.daemon.start()
        self.made = 0
        self.wait_for("ok")

    def close(self):
        subprocess.run(["umount", "--lazy", str(self.daemon.state)], capture_output=True)
        self.daemon.close()

    def wait_for(self, status, seconds=HEAL):
        return wait_until(lambda: (now := part(self.daemon))["status"] == status and now, f"the history is {status}",
                          seconds)

    def allocate(self):
        answer = self.daemon.post(f"{MEMORY}/allocations/allocate/fake:0", {"sizeBytes": 4096})
        self.assertEqual(answer.status, 200)
        self.made += 1

    def assert_knows(self, *windows):
        """What was made is known, and that it took time."""
        for window in windows:
            wait_until(lambda: usage(self.daemon, window)["totalAllocations"] == self.made, f"all of {window} is known")
            self.assertTrue(usage(self.daemon, window)["samples"], window)
            self.assertEqual(operations(self.daemon, window)["memory.allocate"]["count"], self.made, window)

    def test_a_disk_that_is_full_heals_when_there_is_room(self):
        self.allocate()
        ballast = self.daemon.state / "ballast"
        with open(ballast, "wb", buffering=0) as file:
            with self.assertRaises(OSError):
                while True:
                    file.write(bytes(PAGE))
        degraded = self.wait_for("degraded")
        self.assertIn("full", degraded["reason"])
        self.assertEqual("degraded", self.daemon.get("/health").data["status"])
        self.allocate()
        self.assert_knows("5m", "2h", "30d")
        ballast.unlink()
        self.assertIsNone(self.wait_for("ok")["reason"])
        self.assert_knows("5m", "2h", "30d")
        self.daemon.stop()
        self.daemon.start()
        self.wait_for("ok")
        self.assert_knows("2h", "30d")

    def test_a_disk_that_is_read_only_heals_when_it_is_not(self):
        self.allocate()
        wait_until(lambda: usage(self.daemon, "2h")["totalAllocations"], "it is sampled")
        self.daemon.stop()
        mount("-o", "remount,ro", str(self.daemon.state))
        self.daemon.start()
        wait_until(lambda: "readonly" in (part(self.daemon)["reason"] or ""), "it to say why", HEAL)  # opened first
        self.made = 0  # of which the memory knows
        self.allocate()
        wait_until(lambda: usage(self.daemon, "2h")["totalAllocations"] == 1, "it is kept in memory")
        mount("-o", "remount,rw", str(self.daemon.state))
        self.wait_for("ok")
        self.made = 2
        self.assert_knows("2h", "30d")

    def test_a_file_that_lost_bytes_is_set_aside(self):
        self.allocate()
        wait_until(lambda: usage(self.daemon, "2h")["totalAllocations"], "it is sampled")
        self.daemon.stop()
        path = self.daemon.state / "history.db"
        with open(path, "r+b") as file:
            file.seek(PAGE)
            file.write(os.urandom(path.stat().st_size - PAGE))
        self.daemon.start()
        told = wait_until(lambda: (now := part(self.daemon))["status"] == "ok" and now["reason"] and now,
                          "a new file is begun", HEAL)
        self.assertIn("history.db.corrupt", told["reason"])
        self.assertTrue((self.daemon.state / "history.db.corrupt").exists())
        self.made = 0
        self.allocate()
        self.assert_knows("5m", "2h", "30d")


if __name__ == "__main__":
    unittest.main()
