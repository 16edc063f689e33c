"""A disk that hangs: the history's thread is stopped where it waits, as if a write never came back. Nobody else waits for
it, who asks about long windows is told so in time, and when it goes on nothing is missing.

A stopped thread is traced (ptrace), which asks for the right to."""

import concurrent.futures
import ctypes
import os
import unittest
from pathlib import Path

from harness import MEMORY, DaemonCase, wait_until
from test_history import DEVICES, opened, part, usage

SEIZE, INTERRUPT, DETACH, WALL = 0x4206, 0x4207, 17, 0x40000000
LONG = f"{MEMORY}/usage?window=2d"
WAITING = 32  # questions that may wait


def ptrace(request, thread):
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.restype = ctypes.c_long
    libc.ptrace.argtypes = (ctypes.c_long,) * 4
    if libc.ptrace(request, thread, 0, 0):
        raise AssertionError(f"the thread cannot be stopped: {os.strerror(ctypes.get_errno())}")


class Stopped:
    """A thread of the daemon's that does not go on; it holds no lock."""

    def __init__(self, pid, name):
        tasks = Path(f"/proc/{pid}/task")
        self.thread = next(int(task.name) for task in tasks.iterdir() if (task / "comm").read_text().strip() == name)
        self.proc = tasks / str(self.thread)
        while not self._stop():
            self.go_on()

    def _call(self):
        return (self.proc / "syscall").read_text().split()[0]

    def _stop(self):
        """Whether it is asleep then, waiting for work."""
        wait_until(lambda: "futex" in (self.proc / "wchan").read_text(), "it waits")
        call = self._call()
        ptrace(SEIZE, self.thread)
        ptrace(INTERRUPT, self.thread)
        os.waitpid(self.thread, WALL)
        return call.isdigit() and call == self._call()

    def go_on(self):
        ptrace(DETACH, self.thread)

    def end(self):
        """Waits for its end: nobody else sees that of the process before."""
        os.waitpid(self.thread, WALL)


class Hangs(DaemonCase):
    devices = DEVICES

    def setUp(self):
        super().setUp()
        self.assertEqual("ok", opened(self.daemon)["status"])
        self.allocate(4096, "fake:0")
        wait_until(lambda: usage(self.daemon, "2d")["totalAllocations"], "it is sampled")
        self.stopped = Stopped(self.daemon.pid, "history")
        self.addCleanup(self.go_on)

    def go_on(self):
        if self.stopped:
            self.stopped.go_on()
        self.stopped = None

    def test_nobody_waits_for_it_for_long(self):
        with concurrent.futures.ThreadPoolExecutor(2 * WAITING) as pool:
            asked = [pool.submit(self.daemon.get, LONG) for _ in range(2 * WAITING)]
            for _ in range(50):
                self.allocate(4096, "fake:0")
            self.assertTrue(usage(self.daemon, "5m")["samples"])
            short = self.ok(self.daemon.get(f"{MEMORY}/analytics?window=5m"))
            self.assertIsNone(short["operations"])
            self.assertTrue(short["devices"][0]["fragmentation"])
            for one in asked:
                self.refused(one.result(), 503, "HISTORY_UNAVAILABLE")
        self.refused(self.daemon.get(f"{MEMORY}/analytics?window=2d"), 503, "HISTORY_UNAVAILABLE")
        self.assertIn("hangs", wait_until(lambda: (now := part(self.daemon))["status"] == "degraded" and now,
                                          "it is told")["reason"])
        self.go_on()
        wait_until(lambda: part(self.daemon)["status"] == "ok", "it goes on")
        wait_until(lambda: usage(self.daemon, "2d")["totalAllocations"] == 51, "nothing is missing")

    def test_it_ends_all_the_same(self):
        self.daemon.get(LONG)
        self.daemon.process.terminate()
        self.stopped.end()
        self.stopped = None
        self.assertIn(self.daemon.process.wait(10), (0, 1))
        self.daemon.start()
        self.assertEqual(("ok", None), (opened(self.daemon)["status"], part(self.daemon)["reason"]))


if __name__ == "__main__":
    unittest.main()
