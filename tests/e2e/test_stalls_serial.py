"""The kernel's word on stalls: programs wait for memory while most of it is free, and host memory is given back all the
same. The stalls are real: a program that lets go of the pages of a file that it works on, and reads them from the disk
again at once, as one that has too little memory does."""

import contextlib
import os
import subprocess
import sys
import tempfile
import time
import unittest

from harness import KIB, MEMORY, MIB, DaemonCase, wait_until

FOLDER = "/var/tmp"  # on a disk; /tmp is often none
STALLS = "/proc/pressure/memory"
ENOUGH = 0.1  # of the time: what the daemon asks to be told of
PATIENCE = 20
# Pages that come back soon after they were taken are part of a working set, and who waits for those is stalled.
THRASH = """
import mmap, sys
with open(sys.argv[1], "r+b") as file, mmap.mmap(file.fileno(), 0) as place:
    place.madvise(mmap.MADV_RANDOM)
    print("begins", flush=True)
    while True:
        for at in range(0, len(place), mmap.PAGESIZE):
            place[at]
        place.madvise(21)  # MADV_PAGEOUT
"""


def stalled():
    """Seconds that some program had waited for memory since the start of the machine."""
    with open(STALLS, encoding="ascii") as file:
        return int(file.readline().rpartition("total=")[2]) / 1e6


class Stalls(DaemonCase):
    devices = ("host:0=1000MiB", "fake:0=64MiB")

    def setUp(self):
        try:
            os.close(os.open(STALLS, os.O_RDWR))
        except OSError as problem:
            self.skipTest(f"the kernel does not tell of stalls: {problem}")
        super().setUp()

    @contextlib.contextmanager
    def thrashing(self):
        """Programs wait for memory: as the kernel counts it, not as we hope."""
        with tempfile.NamedTemporaryFile(dir=FOLDER) as file:
            for _ in range(32):
                file.write(os.urandom(MIB))
            file.flush()
            os.fsync(file.fileno())
            words = [sys.executable, "-c", THRASH, file.name]
            with subprocess.Popen(words, stdout=subprocess.PIPE) as hog:
                try:
                    self.assertEqual(b"begins\n", hog.stdout.readline())
                    self.until_stalled()
                    yield
                    self.assertIsNone(hog.poll())
                finally:
                    hog.kill()

    def until_stalled(self):
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            before, began = stalled(), time.monotonic()
            time.sleep(2)  # this is the measurement: a window of the kernel's
            if (stalled() - before) / (time.monotonic() - began) > 2 * ENOUGH:
                return
        self.skipTest(f"nobody waits for memory here: {FOLDER} is too fast, or in memory")

    def pressure(self, device="host:0"):
        return self.ok(self.daemon.get(f"{MEMORY}/pressure/{device}"))

    def cached(self):
        return self.device()["cachedBytes"]

    def test_caches_go_though_memory_is_free_and_come_again_when_it_is_over(self):
        self.fill_cache()
        with self.daemon.events("?types=pressure.changed") as events:
            with self.thrashing():
                event, _ = events.find(lambda event: event.data["deviceId"] == "host:0")
                self.assertIn(event.data["level"], ("moderate", "high"))
                wait_until(lambda: not self.cached(), "the cache to be given back", PATIENCE)
                self.assertLess(self.pressure()["percent"], self.pressure()["thresholds"]["moderate"])
                self.assertEqual("low", self.pressure("fake:0")["level"])
            wait_until(lambda: self.pressure()["level"] == "low", "calm", PATIENCE)
        self.fill_cache()

    def fill_cache(self):
        for allocation in [self.allocate(512 * KIB) for _ in range(40)]:
            self.free(allocation)
        self.assertGreater(self.cached(), 0)


if __name__ == "__main__":
    unittest.main()
