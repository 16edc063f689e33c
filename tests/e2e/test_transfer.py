"""Transfers: routes 15 and 16, their list and cancelling. Real bytes between two pools and to a fake card."""

import contextlib
import itertools
import mmap
import os
import signal
import unittest

import kernel
import shapes
import xxh3
from harness import GIB, KIB, MEMORY, MIB, DaemonCase, SharedDaemonCase, name_of

DEVICES = ("host:0=2GiB", "host:1=2GiB", "fake:0=1GiB", "fake:1=1GiB")
UNKNOWN = "a-0123456789abcdef"


class Copy(DaemonCase):
    devices = DEVICES

    def filled(self, size, value, device="host:0", **fields):
        allocation = self.allocate(size, device, **fields)
        self.fill(allocation, value)
        return allocation

    def test_it_answers_with_exactly_the_fields_of_the_contract(self):
        data = self.transfer(self.filled(1 * MIB, 1))
        self.assert_shape(data, shapes.TRANSFER)
        self.assert_shape(self.transfer_state(data), shapes.TRANSFER)

    def test_bytes_arrive_and_are_verified(self):
        for source, target in (("host:0", "host:1"), ("host:1", "fake:0"), ("fake:0", "fake:1"), ("fake:1", "host:0")):
            for size in (1000, 300 * KIB + 1, 5 * MIB):
                with self.subTest(source=source, target=target, size=size):
                    data = self.transfer(self.filled(size, 0xA5, source), source, target)
                    expected = xxh3.text(b"\xa5" * size)
                    self.assertEqual(("completed", True, expected),
                                     (data["status"], data["verified"], data["checksum"]))
                    self.assertEqual((size, size, 100),
                                     (data["sizeBytes"], data["transferredBytes"], data["progressPercent"]))
                    self.assertEqual(expected, self.checksum(data["targetAllocationId"]))

    def test_the_target_is_a_new_allocation_and_the_source_stays(self):
        source = self.filled(3 * MIB, 7, label="weights", purpose="tensors")
        data = self.transfer(source)
        self.assertNotEqual(name_of(source), data["targetAllocationId"])
        target = self.look(data["targetAllocationId"])
        self.assertEqual(("host:1", 3 * MIB, "active"), (target["deviceId"], target["sizeBytes"], target["status"]))
        self.assertEqual("host:0", self.look(source)["deviceId"])
        self.assertEqual(xxh3.text(b"\7" * 3 * MIB), self.checksum(source))

    def test_the_targets_bytes_are_in_the_kernels_memory(self):
        data = self.transfer(self.filled(77 * MIB, 0x3C))
        copies = [path for path, size, _ in kernel.memfds(self.daemon.pid).values() if size == 77 * MIB]
        self.assertEqual(2, len(copies))
        for path in copies:
            self.assertEqual(b"\x3c" * MIB, kernel.read_memfd(path, MIB, 76 * MIB))
        self.free(data["targetAllocationId"])

    def test_a_part_only(self):
        source = self.filled(1 * MIB, 1)
        self.fill(source, 2, offsetBytes=100_000, sizeBytes=50_000)
        data = self.transfer(source, offsetBytes=90_000, sizeBytes=20_000)
        self.assertEqual(20_000, data["sizeBytes"])
        self.assertEqual(20_000, self.look(data["targetAllocationId"])["sizeBytes"])
        self.assertEqual(xxh3.text(b"\1" * 10_000 + b"\2" * 10_000), data["checksum"])

    def test_without_verifying_nothing_is_claimed(self):
        data = self.transfer(self.filled(1 * MIB, 1), verify=False)
        self.assertEqual("completed", data["status"])
        self.assertIsNot(True, data["verified"])
        self.assertEqual(xxh3.text(b"\1" * MIB), self.checksum(data["targetAllocationId"]))

    def test_its_times_are_in_order(self):
        data = self.transfer(self.filled(1 * MIB, 1))
        self.assertTrue(data["createdAt"] <= data["startedAt"] <= data["completedAt"], data)
        self.assertGreater(data["bytesPerSecond"], 0)
        self.assertEqual((None, None), (data["errorCode"], data["errorMessage"]))

    def test_a_started_one_is_202_and_its_job_has_its_id(self):
        data = self.start_transfer(self.filled(4 * MIB, 9))
        self.assertEqual(data["transferId"], data.get("jobId", data["transferId"]))
        self.assertEqual("completed", self.transfer_ends(data)["status"])
        job = self.ok(self.daemon.get(f"{MEMORY}/jobs/{data['transferId']}"))
        self.assertEqual((data["transferId"], "transfer", "completed"), (job["jobId"], job["kind"], job["status"]))

    def test_every_202_carries_the_job_id(self):
        data = self.start_transfer(self.filled(4 * MIB, 9))
        self.assertEqual(data["transferId"], data["jobId"])

    def test_pools_of_the_same_host_are_one_step(self):
        self.assertIn(self.transfer(self.filled(1 * MIB, 1))["path"], ("same-device", "peer"))
        self.assertEqual("staged", self.transfer(self.filled(1 * MIB, 1), target="fake:0")["path"])


class Scribbled(DaemonCase):
    """Somebody writes to the source while it is read, time and again."""
    devices = ("host:0=1GiB", "host:1=1GiB", "fake:0=1GiB,rate=64MiB/s")

    @contextlib.contextmanager
    def scribbler(self, size, device, read_only=False):
        """A process that has an allocation attached and fills it with one value after another."""
        name = name_of(self.allocate(size, device))
        reader, writer = os.pipe()

        def scribble():
            unix = self.daemon.unix()
            place = unix.call("memory.attach", {"allocation_id": name, "read_only": read_only})["data"]
            bytes_of = mmap.mmap(unix.fds[0], place["offset_bytes"] + size, access=mmap.ACCESS_READ if read_only
                                 else mmap.ACCESS_WRITE)
            os.write(writer, b"1")
            for value in itertools.cycle(range(256)):
                if not read_only:
                    bytes_of[place["offset_bytes"]:] = bytes([value]) * size
        pid = os.fork()
        if not pid:
            try:
                scribble()
            finally:
                os._exit(1)
        os.close(writer)  # the child's death is an end of the pipe
        self.assertEqual(b"1", os.read(reader, 1))
        try:
            yield name
        finally:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            os.close(reader)

    def outcome(self, name, source, target):
        data = self.transfer(name, source, target)
        self.assertEqual(("completed", None), (data["status"], data["errorCode"]))
        self.free(data["targetAllocationId"])
        return data["verified"]

    def test_what_changes_meanwhile_is_read_once_and_verified_as_it_was_read(self):
        for source, target in (("host:0", "fake:0"), ("host:0", "host:1"), ("fake:0", "host:1")):
            with self.subTest(source=source, target=target), self.scribbler(4 * MIB, source) as name:
                self.assertIs(True, self.outcome(name, source, target))

    def test_who_only_reads_changes_nothing(self):
        with self.scribbler(4 * MIB, "host:0", read_only=True) as name:
            self.assertIs(True, self.outcome(name, "host:0", "fake:0"))


class Move(DaemonCase):
    devices = DEVICES

    def test_the_id_stays_and_the_device_changes(self):
        for size in (10_000, 5 * MIB):
            with self.subTest(size):
                allocation = self.allocate(size, label="mobile")
                self.fill(allocation, 0x66)
                before = len(self.allocations())
                data = self.transfer(allocation, mode="move")
                self.assertEqual(("completed", "move"), (data["status"], data["mode"]))
                moved = self.look(allocation)
                self.assertEqual(("host:1", size, "mobile", "active"),
                                 (moved["deviceId"], moved["sizeBytes"], moved["label"], moved["status"]))
                self.assertEqual(before, len(self.allocations()))
                self.assertEqual(xxh3.text(b"\x66" * size), self.checksum(allocation))

    def test_the_old_place_is_given_back(self):
        allocation = self.allocate(96 * MIB)
        self.fill(allocation, 1)
        before = self.daemon.resident()
        self.transfer(allocation, mode="move")
        self.assertEqual(0, self.device("host:0")["committedBytes"])
        self.assertEqual(96 * MIB, self.device("host:1")["allocatedBytes"])
        self.assertLess(self.daemon.resident() - before, 4 * MIB)

    def test_there_and_back_again(self):
        allocation = self.allocate(2 * MIB)
        self.fill(allocation, 0x99)
        for source, target in (("host:0", "fake:0"), ("fake:0", "fake:1"), ("fake:1", "host:1"), ("host:1", "host:0")):
            self.assertEqual("completed", self.transfer(allocation, source, target, mode="move")["status"])
        self.assertEqual(xxh3.text(b"\x99" * 2 * MIB), self.checksum(allocation))
        self.assertEqual({"host:0"}, {d["deviceId"] for d in self.host()["devices"] if d["allocatedBytes"]})

    def test_a_pinned_one_is_never_moved(self):
        allocation = self.allocate(1 * MIB, pinned=True)
        with self.nothing_changes():
            answer = self.try_transfer(allocation, "host:0", "host:1", mode="move", wait=True)
            self.assertEqual(409, answer.status, answer.body)
        self.assertEqual("completed", self.transfer(allocation, mode="copy")["status"])

    def test_a_part_cannot_be_moved(self):
        allocation = self.allocate(1 * MIB)
        with self.nothing_changes():
            for fields in ({"sizeBytes": 4096}, {"offsetBytes": 4096}):
                answer = self.try_transfer(allocation, "host:0", "host:1", mode="move", wait=True, **fields)
                self.assertEqual((400, "INVALID_ARGUMENT"), (answer.status, answer.code), answer.body)


class Trial(DaemonCase):
    devices = DEVICES

    def test_it_measures_and_leaves_nothing(self):
        with self.nothing_changes():
            data = self.transfer(None, "host:0", "fake:0", sizeBytes=64 * MIB)
        self.assert_shape(data, shapes.TRANSFER)
        self.assertEqual(("completed", 64 * MIB, None, None),
                         (data["status"], data["transferredBytes"], data["allocationId"], data["targetAllocationId"]))
        self.assertGreater(data["bytesPerSecond"], 0)

    def test_its_memory_is_given_back_to_the_kernel(self):
        before = self.daemon.resident()
        self.transfer(None, sizeBytes=128 * MIB)
        self.assertLess(self.daemon.resident() - before, 8 * MIB)

    def test_a_trial_that_does_not_fit(self):
        with self.nothing_changes():
            answer = self.try_transfer(None, "host:0", "fake:0", sizeBytes=2 * GIB, wait=True)
            self.refused_space(answer, "ALLOCATION_TOO_LARGE")

    def test_devices_are_judged_before_allocations(self):
        for words in (("a-none", "host:7", "host:1"), ("a-none", "host:0", "host:7")):
            self.refused(self.try_transfer(*words), 404, "DEVICE_NOT_FOUND")
        for fields in ({}, {"sizeBytes": 1}, {"mode": "move"}):
            self.refused(self.try_transfer("a-none", "host:0", "host:1", **fields), 404, "ALLOCATION_NOT_FOUND")

    def test_a_trial_cannot_move(self):
        answer = self.try_transfer(None, "host:0", "host:1", sizeBytes=1 * MIB, mode="move")
        self.assertEqual((400, "INVALID_ARGUMENT"), (answer.status, answer.code), answer.body)


class DryRun(DaemonCase):
    devices = DEVICES
    IMPACT = {"wouldFit", "wouldEvict", "expectedSeconds", "targetAvailableBytesAfter", "targetPressureAfter",
              "sourcePressureAfter", "attachments", "models"}

    def impact(self, allocation, **fields):
        with self.nothing_changes():
            data = self.ok(self.try_transfer(allocation, "host:0", "host:1", dryRun=True, **fields))
        self.assertEqual(self.IMPACT, data["impact"].keys())
        return data["impact"]

    def test_it_foretells_and_moves_nothing(self):
        allocation = self.allocate(100 * MIB)
        impact = self.impact(allocation)
        self.assertEqual((True, [], 0, []), (impact["wouldFit"], impact["wouldEvict"], impact["attachments"],
                                             impact["models"]))
        self.transfer(allocation)
        self.assertEqual(self.device("host:1")["availableBytes"], impact["targetAvailableBytesAfter"])

    def test_no_time_is_promised_before_the_first_measurement(self):
        allocation = self.allocate(32 * MIB)
        self.assertIsNone(self.impact(allocation)["expectedSeconds"])
        self.transfer(allocation)
        self.assertGreater(self.impact(allocation)["expectedSeconds"], 0)

    def test_what_would_not_fit(self):
        allocation = self.allocate(1 * GIB)
        self.allocate(1536 * MIB, "host:1")
        self.assertIs(False, self.impact(allocation)["wouldFit"])


class Refusals(SharedDaemonCase):
    devices = DEVICES

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.allocation = cls.daemon.post(f"{MEMORY}/allocations/allocate/host:0", {"sizeBytes": MIB}).data["allocation"]

    def body(self, **change):
        body = {"sourceDeviceId": "host:0", "targetDeviceId": "host:1", "allocationId": name_of(self.allocation)}
        return {k: v for k, v in (body | change).items() if v is not ...}

    def post(self, **change):
        with self.nothing_changes():
            return self.daemon.post(f"{MEMORY}/transfer", self.body(**change))

    def test_fields_that_are_missing(self):
        for field in ("sourceDeviceId", "targetDeviceId", "allocationId"):
            with self.subTest(field):
                self.refused_field(self.post(**{field: ...}), "MISSING_PARAMETER", field)

    def test_fields_that_are_wrong(self):
        for field, value in (("mode", "swap"), ("mode", 1), ("verify", 1), ("wait", "yes"), ("sizeBytes", -1),
                             ("sizeBytes", "1"), ("offsetBytes", -1), ("offsetBytes", 1.0), ("priority", "urgent"),
                             ("allocationId", 7), ("sourceDeviceId", 0), ("dryRun", 1)):
            with self.subTest(**{field: value}):
                self.refused_field(self.post(**{field: value}), "INVALID_ARGUMENT", field)

    def test_fields_that_are_unknown(self):
        self.refused_field(self.post(source="host:0"), "UNKNOWN_FIELD", "source")

    def test_a_device_to_itself(self):
        answer = self.post(targetDeviceId="host:0")
        self.assertEqual((400, "INVALID_ARGUMENT"), (answer.status, answer.code), answer.body)

    def test_unknown_devices(self):
        self.refused(self.post(sourceDeviceId="cuda:0"), 404, "DEVICE_NOT_FOUND")
        self.refused(self.post(targetDeviceId="cuda:0"), 404, "DEVICE_NOT_FOUND")

    def test_an_unknown_allocation(self):
        self.refused(self.post(allocationId=UNKNOWN), 404, "ALLOCATION_NOT_FOUND")

    def test_the_devices_are_judged_before_the_allocation(self):
        self.refused(self.post(allocationId=UNKNOWN, targetDeviceId="cuda:0"), 404, "DEVICE_NOT_FOUND")

    def test_a_source_where_the_allocation_does_not_live(self):
        self.refused(self.post(sourceDeviceId="fake:0"), 409, "CONFLICT")

    def test_beyond_the_end(self):
        for offset, size in ((0, MIB + 1), (MIB, 1), (MIB - 1, 2), (1 << 62, 1 << 62)):
            with self.subTest(offset=offset, size=size):
                answer = self.post(offsetBytes=offset, sizeBytes=size)
                self.assertEqual((400, "INVALID_ARGUMENT"), (answer.status, answer.code), answer.body)

    def test_a_target_that_is_full(self):
        held = self.allocate(GIB - 512 * KIB, "fake:0")
        self.addCleanup(self.free, held)
        with self.nothing_changes():
            answer = self.try_transfer(self.allocation, "host:0", "fake:0", wait=True)
            self.refused_space(answer, "INSUFFICIENT_MEMORY")

    def test_unknown_transfers(self):
        for text in ("t-0123456789abcdef", "t-1", "j-0123456789abcdef", "x", UNKNOWN):
            with self.subTest(text):
                self.refused(self.daemon.get(f"{MEMORY}/transfer/{text}"), 404, "TRANSFER_NOT_FOUND")
                self.refused(self.daemon.delete(f"{MEMORY}/transfer/{text}"), 404, "TRANSFER_NOT_FOUND")


class UnderWay(DaemonCase):
    """A card slow enough to watch: 400 MiB take eight seconds."""

    devices = ("host:0=2GiB", "host:1=1GiB", "fake:0=1GiB,rate=50MiB/s", "fake:1=1GiB")
    SIZE = 400 * MIB

    def under_way(self, **fields):
        allocation = self.allocate(self.SIZE)
        self.fill(allocation, 0x21, sizeBytes=1 * MIB)
        transfer = self.start_transfer(allocation, target="fake:0", verify=False, **fields)
        return allocation, transfer

    def test_it_makes_progress(self):
        _, transfer = self.under_way()
        state = self.transfer_moves(transfer)
        self.assertEqual("in_progress", state["status"])
        self.assertTrue(0 < state["progressPercent"] < 100, state)
        self.assertIsNotNone(state["startedAt"])
        self.assertIsNone(state["completedAt"])
        later = self.transfer_ends(transfer)
        self.assertEqual(("completed", self.SIZE), (later["status"], later["transferredBytes"]))

    def test_what_takes_part_is_busy(self):
        allocation, transfer = self.under_way()
        self.assertEqual("busy", self.look(allocation)["status"])
        self.refused(self.try_free(allocation), 409, "ALLOCATION_BUSY")
        answer = self.try_transfer(allocation, "host:0", "fake:1", mode="move", wait=True)
        self.refused(answer, 409, "ALLOCATION_BUSY")
        self.daemon.delete(f"{MEMORY}/transfer/{transfer['transferId']}")
        self.transfer_ends(transfer)

    def test_what_moves_says_so(self):
        allocation, transfer = self.under_way(mode="move")
        self.assertIn(self.look(allocation)["status"], ("moving", "busy"))
        self.refused(self.try_free(allocation), 409, "ALLOCATION_BUSY")
        answer = self.daemon.post(f"{MEMORY}/operations/fill", {"allocationId": name_of(allocation), "value": 1})
        self.refused(answer, 409, "ALLOCATION_BUSY")
        self.daemon.delete(f"{MEMORY}/transfer/{transfer['transferId']}")
        self.transfer_ends(transfer)

    def test_the_rest_of_the_daemon_goes_on(self):
        _, transfer = self.under_way()
        self.transfer_moves(transfer)
        other = self.allocate(1 * MIB)
        self.assertEqual("completed", self.transfer(other)["status"])
        self.assertEqual("in_progress", self.transfer_state(transfer)["status"])

    def test_cancelling_gives_the_target_back_and_keeps_the_source(self):
        for mode in ("copy", "move"):
            with self.subTest(mode):
                allocation, transfer = self.under_way(mode=mode)
                self.transfer_moves(transfer)
                answer = self.daemon.delete(f"{MEMORY}/transfer/{transfer['transferId']}")
                self.assertIn(answer.status, (200, 202), answer.body)
                state = self.transfer_ends(transfer)
                self.assertEqual(("cancelled", "CANCELLED"), (state["status"], state["errorCode"]))
                card = self.device("fake:0")
                self.assertEqual((0, 0, 0), (card["allocatedBytes"], card["committedBytes"], card["activeAllocations"]))
                kept = self.look(allocation)
                self.assertEqual(("host:0", "active"), (kept["deviceId"], kept["status"]))
                self.free(allocation)

    def test_cancelling_after_the_end_is_a_conflict(self):
        transfer = self.transfer(self.allocate(4096))
        answer = self.daemon.delete(f"{MEMORY}/transfer/{transfer['transferId']}")
        self.refused(answer, 409, "CONFLICT")

    def test_all_are_listed(self):
        done = [self.transfer(self.allocate(4096))["transferId"] for _ in range(3)]
        _, running = self.under_way()
        data = self.ok(self.daemon.get(f"{MEMORY}/transfers"))
        self.assertEqual({"transfers", "nextCursor"}, data.keys())
        self.assert_shape(data["transfers"], [shapes.TRANSFER])
        self.assertEqual(set(done) | {running["transferId"]}, {t["transferId"] for t in data["transfers"]})

    def test_the_list_comes_in_pages(self):
        done = {self.transfer(self.allocate(4096))["transferId"] for _ in range(5)}
        seen, cursor = [], ""
        while cursor is not None:
            page = self.ok(self.daemon.get(f"{MEMORY}/transfers?limit=2" + (cursor and f"&cursor={cursor}")))
            self.assertLessEqual(len(page["transfers"]), 2)
            seen += [t["transferId"] for t in page["transfers"]]
            cursor = page["nextCursor"]
        self.assertEqual((done, 5), (set(seen), len(seen)))


if __name__ == "__main__":
    unittest.main()
