"""Jobs and transfers when the daemon is killed: what had ended reads as it did, under its key too; what had not reads
failed, its source intact and its target given back."""

import unittest

from harness import MEMORY, MIB, DaemonCase, name_of

SLOW = ("host:0=2GiB", "host:1=1GiB", "fake:0=1GiB,rate=50MiB/s")
SIZE = 300 * MIB


class JobsCase(DaemonCase):
    devices = SLOW

    def crash(self):
        self.daemon.kill()
        self.daemon.start()

    def job(self, number):
        return self.ok(self.daemon.get(f"{MEMORY}/jobs/{number}"))

    def transfers(self):
        return self.ok(self.daemon.get(f"{MEMORY}/transfers"))["transfers"]

    def transfer_with_key(self, key, allocation, **fields):
        body = {"sourceDeviceId": "host:0", "targetDeviceId": "host:1", "allocationId": name_of(allocation), "wait": True}
        return self.daemon.post(f"{MEMORY}/transfer", body | fields, {"Idempotency-Key": key})


class Killed(JobsCase):
    """SIGKILL in the middle of a transfer to a slow card."""

    def kill_in_the_middle(self, **fields):
        self.source = self.allocate(SIZE)
        self.sum = self.fill(self.source, 0x42)["checksum"]
        self.before = self.books()
        transfer = self.start_transfer(self.source, target="fake:0", verify=False, **fields)
        self.transfer_moves(transfer)
        self.crash()
        return transfer

    def assert_restarted(self, state):
        self.assertEqual(("failed", "DAEMON_RESTARTED"), (state["status"], state["errorCode"]))
        self.assertTrue(state["errorMessage"])
        self.assertLessEqual(state["createdAt"], state["startedAt"])
        self.assertLess(state["startedAt"], state["completedAt"])

    def test_it_has_failed_and_says_why(self):
        for mode in ("copy", "move"):
            with self.subTest(mode):
                transfer = self.kill_in_the_middle(mode=mode)
                state = self.transfer_state(transfer)
                self.assert_restarted(state)
                same = ("transferId", "sourceDeviceId", "targetDeviceId", "allocationId", "mode", "sizeBytes", "createdAt")
                self.assertEqual([transfer[name] for name in same], [state[name] for name in same])
                self.assertEqual([state], [t for t in self.transfers() if t["transferId"] == state["transferId"]])
                self.free(self.source)

    def test_it_stays_as_it_ended(self):
        state = self.transfer_state(self.kill_in_the_middle())
        for _ in range(2):
            self.crash()
            self.assertEqual(state, self.transfer_state(state))

    def test_the_source_is_intact(self):
        for mode in ("copy", "move"):
            with self.subTest(mode):
                self.kill_in_the_middle(mode=mode)
                kept = self.look(self.source)
                self.assertEqual(("host:0", "active"), (kept["deviceId"], kept["status"]))
                self.assertEqual(self.sum, self.checksum(self.source))
                self.free(self.source)

    def test_the_target_is_given_back(self):
        self.kill_in_the_middle()
        card = self.device("fake:0")
        self.assertEqual([0] * 4, [card[name] for name in ("allocatedBytes", "committedBytes", "cachedBytes", "segments")])
        self.assertEqual(self.before[1], self.books()[1])

    def test_the_next_one_works(self):
        self.kill_in_the_middle(mode="move")
        state = self.transfer(self.source, target="host:1", mode="move")
        self.assertEqual(("completed", True, self.sum), (state["status"], state["verified"], state["checksum"]))
        self.assertEqual("host:1", self.look(self.source)["deviceId"])

    def test_a_copy_between_allocations_too(self):
        source, card = self.allocate(SIZE), self.allocate(SIZE, "fake:0")
        body = {"sourceAllocationId": name_of(source), "targetAllocationId": name_of(card), "wait": False}
        started = self.ok(self.daemon.post(f"{MEMORY}/operations/copy", body), 202)
        self.crash()
        state = self.job(started["jobId"])
        self.assert_restarted(state)
        self.assertEqual(("copy", None), (state["kind"], state["result"]))
        self.assertEqual(["active"] * 2, [self.look(a)["status"] for a in (source, card)])


class Kept(JobsCase):
    """What had ended before."""

    def test_transfers_read_as_before(self):
        first, second = self.allocate(3 * MIB), self.allocate(4096)
        self.transfer(first)
        self.transfer(first, mode="move")
        self.transfer(second, verify=False)
        self.transfer(None, target="fake:0", sizeBytes=MIB)
        before = self.transfers()
        self.assertEqual(["completed"] * 4, [t["status"] for t in before])
        for _ in range(2):
            self.crash()
            self.assertEqual(before, self.transfers())
            self.assertEqual(before, [self.transfer_state(t) for t in before])

    def test_a_cancelled_one_stays_cancelled(self):
        transfer = self.start_transfer(self.allocate(SIZE), target="fake:0", verify=False)
        self.transfer_moves(transfer)
        self.daemon.delete(f"{MEMORY}/transfer/{transfer['transferId']}")
        before = self.transfer_ends(transfer)
        self.crash()
        after = self.transfer_state(transfer)
        self.assertEqual(("cancelled", "CANCELLED"), (after["status"], after["errorCode"]))
        self.assertEqual(before | {"errorMessage": None}, after | {"errorMessage": None})

    def test_other_jobs_read_as_before(self):
        allocation = self.allocate(3 * MIB)
        other = self.allocate(3 * MIB)
        jobs = [self.job(self.fill(allocation, 5)["jobId"]), self.job(self.copy(allocation, other)["jobId"])]
        self.crash()
        self.assertEqual(jobs, [self.job(job["jobId"]) for job in jobs])

    def test_a_lost_result_is_null(self):
        """Of a clear it is kept that it ended, not what it cleared."""
        body = {"scope": "cache", "wait": False}
        started = self.ok(self.daemon.post(f"{MEMORY}/operations/clear", body), 202)
        before = self.ok(self.daemon.get(f"{MEMORY}/jobs/{started['jobId']}"))
        while before["status"] != "completed":
            before = self.job(started["jobId"])
        self.assertIsNotNone(before["result"])
        self.crash()
        self.assertEqual(before | {"result": None}, self.job(started["jobId"]))

    def test_what_has_ended_cannot_be_cancelled(self):
        transfer = self.transfer(self.allocate(4096))
        self.crash()
        self.refused(self.daemon.delete(f"{MEMORY}/transfer/{transfer['transferId']}"), 409, "CONFLICT")


class Keys(JobsCase):
    def test_the_same_key_answers_with_the_first_result(self):
        source = self.allocate(3 * MIB)
        first = self.ok(self.transfer_with_key("mine", source))
        for _ in range(2):
            self.crash()
            with self.nothing_changes():
                self.assertEqual(first, self.ok(self.transfer_with_key("mine", source)))
                self.refused(self.transfer_with_key("mine", source, mode="move"), 409, "CONFLICT")
                self.refused(self.transfer_with_key("mine", source, sizeBytes=4096), 409, "CONFLICT")
        second = self.ok(self.transfer_with_key("yours", source))
        self.assertNotEqual(first["transferId"], second["transferId"])

    def test_one_that_the_crash_ended_too(self):
        source = self.allocate(SIZE)
        fields = {"targetDeviceId": "fake:0", "verify": False, "wait": False}
        started = self.ok(self.transfer_with_key("slow", source, **fields), 202)
        self.transfer_moves(started)
        self.crash()
        again = self.transfer_with_key("slow", source, **fields).body["data"]
        self.assertEqual((started["transferId"], "failed"), (again["transferId"], again["status"]))
        self.assertEqual("completed", self.ok(self.transfer_with_key("anew", source))["status"])


if __name__ == "__main__":
    unittest.main()
