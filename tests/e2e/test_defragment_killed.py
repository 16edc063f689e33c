"""The daemon is killed after a defragmentation on a card has answered, while its segments are on their way back: to the
worker that has them mapped, to the vault, to the driver. FAKE cards (tests/fake_libcuda.h, tests/vk_pretend.h)."""

import os
import random
import signal
import tempfile
import time
import unittest
from pathlib import Path

from harness import wait_until
from test_cuda import CardCase
from test_vulkan import VulkanCase


class Killed:
    """A card, and what is the same however far the segments were."""

    where = "cuda:0"

    def answered(self):
        """Sums of the blocks, and the job, which has ended."""
        sums = self.scatter(self.where, 256)
        return sums, self.job(self.defragmented()["jobId"])

    def defragmented(self):
        data = self.ok(self.defragment(self.where))
        self.assertGreaterEqual(data["segmentsReleased"], 3)
        return data

    def job(self, number):
        return self.ok(self.daemon.get(f"/api/memory/jobs/{number}"))

    def assert_not_yet_back(self):
        self.assertNotIn("segments were back", self.daemon.log())

    def assert_whole(self, sums, job):
        """What it moved is where it says, what it emptied is nobody's any more."""
        again = self.job(job["jobId"])
        self.assertEqual("completed", again["status"], again)
        self.assertEqual(len(sums), self.device(self.where)["activeAllocations"])
        wait_until(lambda: self.device(self.where)["usedBytes"] == self.committed(self.where),
                   "that nobody holds what is not ours, neither the vault nor a worker")
        self.assertEqual(sums, {name: self.checksum(name) for name in sums})
        for name in sums:
            self.free(name)
        self.ok(self.daemon.post("/api/memory/operations/clear", {"scope": "cache"}))
        self.assert_empty()


class InTheVault(Killed):
    """It takes what comes, and does not say that it let go of anything."""

    def test_on_their_way_out_of_the_vault(self):
        sums = self.scatter(self.where, 256)
        vault = self.vault()
        os.kill(vault, signal.SIGSTOP)
        try:
            job = self.job(self.defragmented()["jobId"])
            self.assert_not_yet_back()
            self.daemon.kill()
        finally:
            os.kill(vault, signal.SIGCONT)
        self.daemon.start()
        self.assert_whole(sums, job)


class OnCudasCard(InTheVault, CardCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.slow = Path(folder.name) / "slow"
        self.start_daemon(FAKE_CUDA_SLOW=f"cuMemUnmap:5000:{self.slow}")

    def in_the_worker(self):
        """It has them mapped, and is busy with giving them back."""
        self.slow.touch()
        sums, job = self.answered()
        self.assert_not_yet_back()
        self.slow.unlink()
        return sums, job

    def test_on_their_way_out_of_the_worker(self):
        sums, job = self.in_the_worker()
        self.crash()
        self.assert_whole(sums, job)

    def test_the_worker_first(self):
        sums, job = self.in_the_worker()
        os.kill(self.worker()["pid"], signal.SIGKILL)
        self.crash()
        self.assert_whole(sums, job)

    def test_and_again_while_the_next_daemon_gives_them_back(self):
        sums, job = self.in_the_worker()
        for before in range(3):
            self.daemon.kill()
            self.daemon.spawn()
            wait_until(lambda: self.daemon.log().count("taken over from the vault") > before, "its books")
        self.daemon.kill()
        self.daemon.start()
        self.assert_whole(sums, job)


class Anywhere(Killed, CardCase):
    """A few at random, some of them after the end."""

    def setUp(self):
        self.start_daemon(FAKE_CUDA_SLOW="cuMemUnmap:80")

    def test_wherever_they_are(self):
        dice = random.Random(5)
        for round_ in range(8):
            with self.subTest(round_):
                sums, job = self.answered()
                time.sleep(dice.uniform(0, 0.12))
                self.crash()
                self.assert_whole(sums, job)


class OnVulkansCard(InTheVault, VulkanCase):
    where, devices = "vulkan:0", ("host:0=2GiB", "vulkan:0")


if __name__ == "__main__":
    unittest.main()
