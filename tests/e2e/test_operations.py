"""Fill, copy, clear, defragment, and jobs. Bytes are judged by checksums computed here and by reading the memfds."""

import json
import unittest

import kernel
import shapes
import xxh3
from doors import request_bytes
from harness import KIB, MEMORY, MIB, DaemonCase, SharedDaemonCase, name_of, wait_until

OPERATIONS = f"{MEMORY}/operations"


class Fill(DaemonCase):
    devices = ("host:0=2GiB", "host:1=2GiB", "fake:0=1GiB")

    def test_it_answers_what_it_wrote(self):
        data = self.fill(self.allocate(1 * MIB), 0x5A)
        self.assert_shape(data, shapes.BYTES_DONE)
        self.assertEqual((1 * MIB, xxh3.text(b"\x5a" * MIB)), (data["bytes"], data["checksum"]))

    def test_the_bytes_are_really_there(self):
        for device in ("host:0", "fake:0"):
            with self.subTest(device):
                allocation = self.allocate(97 * MIB, device)
                self.fill(allocation, 0xC3)
                self.fill(allocation, 0x11, offsetBytes=5 * MIB + 3, sizeBytes=7)
                path = next(path for path, size, _ in kernel.memfds(self.daemon.pid).values() if size == 97 * MIB)
                at = allocation["offsetBytes"] + 5 * MIB
                self.assertEqual(b"\xc3\xc3\xc3" + b"\x11" * 7 + b"\xc3", kernel.read_memfd(path, 11, at))
                self.assertEqual(b"\xc3", kernel.read_memfd(path, 1, allocation["offsetBytes"] + 97 * MIB - 1))
                self.free(allocation)

    def test_a_part_only(self):
        allocation = self.allocate(8 * KIB, zero=True)
        self.assertEqual(1000, self.fill(allocation, 7, offsetBytes=100, sizeBytes=1000)["bytes"])
        self.assertEqual(xxh3.text(bytes(100) + b"\7" * 1000 + bytes(8 * KIB - 1100)), self.checksum(allocation))

    def test_neighbours_are_not_touched(self):
        left, middle, right = (self.allocate(4 * KIB) for _ in range(3))
        for allocation, value in ((left, 1), (right, 3), (middle, 2)):
            self.fill(allocation, value)
        self.assertEqual([xxh3.text(bytes([v]) * 4 * KIB) for v in (1, 2, 3)],
                         [self.checksum(a) for a in (left, middle, right)])

    def test_what_is_refused(self):
        allocation = self.allocate(4096)
        good = {"allocationId": name_of(allocation), "value": 1}
        for change, code, field in (
                ({"value": 256}, "INVALID_ARGUMENT", "value"), ({"value": -1}, "INVALID_ARGUMENT", "value"),
                ({"value": 1.0}, "INVALID_ARGUMENT", "value"), ({"value": "1"}, "INVALID_ARGUMENT", "value"),
                ({"offsetBytes": -1}, "INVALID_ARGUMENT", "offsetBytes"),
                ({"sizeBytes": "all"}, "INVALID_ARGUMENT", "sizeBytes"),
                ({"colour": 1}, "UNKNOWN_FIELD", "colour"), ({"wait": 1}, "INVALID_ARGUMENT", "wait")):
            with self.subTest(change), self.nothing_changes():
                self.refused_field(self.daemon.post(f"{OPERATIONS}/fill", good | change), code, field)
        for missing in good:
            with self.subTest(missing=missing):
                body = {k: v for k, v in good.items() if k != missing}
                self.refused_field(self.daemon.post(f"{OPERATIONS}/fill", body), "MISSING_PARAMETER", missing)

    def test_beyond_the_end_is_refused_and_nothing_is_written(self):
        allocation = self.allocate(4096)
        self.fill(allocation, 9)
        for offset, size in ((0, 4097), (4096, 1), (4095, 2), (1, 1 << 62), ((1 << 62), 1 << 62)):
            with self.subTest(offset=offset, size=size):
                body = {"allocationId": name_of(allocation), "value": 1, "offsetBytes": offset, "sizeBytes": size}
                answer = self.daemon.post(f"{OPERATIONS}/fill", body)
                self.assertEqual((400, "INVALID_ARGUMENT"), (answer.status, answer.code), answer.body)
        self.assertEqual(xxh3.text(b"\x09" * 4096), self.checksum(allocation))

    def test_of_nothing(self):
        body = {"allocationId": "a-0123456789abcdef", "value": 1}
        self.refused(self.daemon.post(f"{OPERATIONS}/fill", body), 404, "ALLOCATION_NOT_FOUND")


class Copy(DaemonCase):
    devices = ("host:0=2GiB", "host:1=2GiB", "fake:0=1GiB", "fake:1=1GiB")

    def patterned(self, size, device="host:0"):
        """An allocation and the bytes that it now holds."""
        allocation, content = self.allocate(size, device, zero=True), bytearray(size)
        for i in range(1, 8):
            self.fill(allocation, 31 * i, offsetBytes=i * size // 9, sizeBytes=size // 10)
            content[i * size // 9:i * size // 9 + size // 10] = bytes([31 * i]) * (size // 10)
        return allocation, bytes(content)

    def test_bytes_arrive_on_every_pair_of_devices(self):
        for source_device in ("host:0", "fake:0"):
            source, content = self.patterned(300_001, source_device)
            for target_device in ("host:0", "host:1", "fake:0", "fake:1"):
                with self.subTest(source=source_device, target=target_device):
                    target = self.allocate(300_001, target_device)
                    self.assertEqual(xxh3.text(content), self.copy(source, target, verify=True)["checksum"])
                    self.assertEqual(xxh3.text(content), self.checksum(target))

    def test_it_answers_what_it_moved(self):
        source, target = self.allocate(1 * MIB), self.allocate(1 * MIB)
        data = self.copy(source, target)
        self.assert_shape(data, shapes.BYTES_DONE)
        self.assertEqual(1 * MIB, data["bytes"])

    def test_a_part_to_another_place(self):
        source, content = self.patterned(64 * KIB)
        target = self.allocate(64 * KIB, "host:1", zero=True)
        self.copy(source, target, sourceOffsetBytes=12345, targetOffsetBytes=777, sizeBytes=20_000)
        expected = bytes(777) + content[12345:32345] + bytes(64 * KIB - 20_777)
        self.assertEqual(xxh3.text(expected), self.checksum(target))

    def test_within_one_allocation_apart(self):
        source, content = self.patterned(64 * KIB)
        self.copy(source, source, sourceOffsetBytes=0, targetOffsetBytes=32 * KIB, sizeBytes=32 * KIB)
        self.assertEqual(xxh3.text(content[:32 * KIB] * 2), self.checksum(source))

    def test_onto_itself_is_refused(self):
        source, content = self.patterned(64 * KIB)
        body = {"sourceAllocationId": name_of(source), "targetAllocationId": name_of(source),
                "targetOffsetBytes": 100, "sizeBytes": 1000}
        answer = self.daemon.post(f"{OPERATIONS}/copy", body)
        self.assertEqual((400, "INVALID_ARGUMENT"), (answer.status, answer.code), answer.body)
        self.assertEqual(xxh3.text(content), self.checksum(source))

    def test_the_source_stays_as_it_was(self):
        source, content = self.patterned(2 * MIB)
        self.copy(source, self.allocate(2 * MIB, "fake:0"))
        self.assertEqual(xxh3.text(content), self.checksum(source))

    def test_beyond_an_end_is_refused(self):
        small, large = self.allocate(4096), self.allocate(8192)
        for body in ({"sizeBytes": 4097}, {"sourceOffsetBytes": 1, "sizeBytes": 8192}, {"targetOffsetBytes": 4097},
                     {"targetOffsetBytes": 4000, "sizeBytes": 97}, {"sizeBytes": 1 << 62}):
            with self.subTest(body):
                body |= {"sourceAllocationId": name_of(large), "targetAllocationId": name_of(small)}
                answer = self.daemon.post(f"{OPERATIONS}/copy", body)
                self.assertEqual((400, "INVALID_ARGUMENT"), (answer.status, answer.code), answer.body)

    def test_what_is_missing_is_named(self):
        allocation = self.allocate(4096)
        for field in ("sourceAllocationId", "targetAllocationId"):
            answer = self.daemon.post(f"{OPERATIONS}/copy", {field: name_of(allocation)})
            other = ({"sourceAllocationId", "targetAllocationId"} - {field}).pop()
            self.refused_field(answer, "MISSING_PARAMETER", other)

    def test_from_or_to_nothing(self):
        allocation = name_of(self.allocate(4096))
        for source, target in ((allocation, "a-0123456789abcdef"), ("a-0123456789abcdef", allocation)):
            body = {"sourceAllocationId": source, "targetAllocationId": target}
            self.refused(self.daemon.post(f"{OPERATIONS}/copy", body), 404, "ALLOCATION_NOT_FOUND")


class Clear(DaemonCase):
    def clear(self, device="", **body):
        data = self.ok(self.daemon.post(f"{OPERATIONS}/clear{device and '/'}{device}", body))
        self.assert_shape(data, shapes.CLEARED)
        return data

    def test_the_cache_is_given_back_to_the_system(self):
        made = [self.allocate(256 * KIB) for _ in range(48)]
        for allocation in made:
            self.fill(allocation, 1)
        for allocation in made:
            self.free(allocation)
        cached, before = self.device()["cachedBytes"], self.daemon.resident()
        self.assertGreaterEqual(cached, 12 * MIB)
        cleared = self.clear()["clearedBytes"]
        self.assertTrue(12 * MIB <= cleared <= cached, cleared)
        self.assertEqual(0, self.device()["cachedBytes"])
        self.assertGreaterEqual(before - self.daemon.resident(), 12 * MIB)

    def test_the_cache_leaves_allocations_alone(self):
        kept = [self.allocate(size) for size in (4096, 3 * MIB)]
        for allocation in kept:
            self.fill(allocation, 0x77)
        self.assertEqual(0, self.clear()["clearedAllocations"])
        self.assertEqual(xxh3.text(b"\x77" * 4096), self.checksum(kept[0]))
        self.assertEqual(2, len(self.allocations()))

    def test_an_empty_body_means_the_cache(self):
        self.allocate(4096)
        data = self.ok(self.daemon.post(f"{OPERATIONS}/clear"))
        self.assertEqual(0, data["clearedAllocations"])

    def test_one_device_answers_in_the_same_shape_and_spares_the_others(self):
        for device in ("host:0", "host:1"):
            self.free(self.allocate(4096, device))
        data = self.clear("host:1")
        self.assertEqual(["host:1"], [d["deviceId"] for d in data["devices"]])
        self.assertEqual(0, self.device("host:1")["cachedBytes"])
        self.assertGreater(self.device("host:0")["cachedBytes"], 0)

    def test_all_frees_what_is_not_protected(self):
        loose = [self.allocate(size) for size in (4096, 2 * MIB)]
        kept = [self.allocate(4096, pinned=True), self.allocate(4096, persistent=True)]
        data = self.clear(scope="all")
        self.assertEqual(len(loose), data["clearedAllocations"])
        self.assertEqual({name_of(a) for a in kept}, {name_of(a) for a in self.allocations()})

    def test_force_frees_everything(self):
        self.allocate(4096, pinned=True)
        self.allocate(2 * MIB, persistent=True, device="host:1")
        self.assertEqual(2, self.clear(scope="all", force=True)["clearedAllocations"])
        self.assertEqual([], self.allocations())
        self.assertEqual(0, self.host()["committedBytes"] + self.host()["cachedBytes"])

    def test_idle_frees_what_nobody_touched(self):
        old, kept = self.allocate(4096), self.allocate(4096, persistent=True)
        self.assertEqual(0, self.clear(scope="idle", idleSeconds=3600)["clearedAllocations"])
        self.assertEqual(1, self.clear(scope="idle", idleSeconds=0)["clearedAllocations"])
        self.assertTrue(self.is_gone(old))
        self.assertFalse(self.is_gone(kept))

    def test_of_one_memory_type(self):
        self.restart_with(devices=("host:0=1GiB", "fake:0=1GiB"))
        ram, card = self.allocate(4096, "host:0"), self.allocate(4096, "fake:0")
        self.assertEqual(1, self.clear(scope="all", memoryType="VRAM")["clearedAllocations"])
        self.assertTrue(self.is_gone(card))
        self.assertFalse(self.is_gone(ram))

    def test_its_figures_are_the_devices(self):
        self.free(self.allocate(4096))
        used = self.device()["usedBytes"]
        device = next(d for d in self.clear()["devices"] if d["deviceId"] == "host:0")
        self.assertEqual((used, 0), (device["usedBytesBefore"], device["usedBytesAfter"]))
        self.assertLessEqual(device["clearedBytes"], used)

    def test_what_is_refused(self):
        self.allocate(4096)
        for body, code, field in (({"scope": "everything"}, "INVALID_ARGUMENT", "scope"),
                                  ({"force": 1}, "INVALID_ARGUMENT", "force"),
                                  ({"idleSeconds": -1}, "INVALID_ARGUMENT", "idleSeconds"),
                                  ({"memoryType": "disk"}, "INVALID_ARGUMENT", "memoryType"),
                                  ({"all": True}, "UNKNOWN_FIELD", "all")):
            with self.subTest(body), self.nothing_changes():
                self.refused_field(self.daemon.post(f"{OPERATIONS}/clear", body), code, field)

    def test_a_kind_of_memory_that_the_device_has_not(self):
        for operation in ("clear", "defragment"):
            with self.subTest(operation), self.nothing_changes():
                path = f"{OPERATIONS}/{operation}"
                self.refused_field(self.daemon.post(f"{path}/host:0", {"memoryType": "GPU"}), "INVALID_ARGUMENT",
                                   "memoryType")
                for word in ("all", "any", "CPU", "ram"):
                    devices = self.ok(self.daemon.post(f"{path}/host:0", {"memoryType": word}))["devices"]
                    self.assertEqual(["host:0"], [device["deviceId"] for device in devices])

    def test_of_an_unknown_device(self):
        self.refused(self.daemon.post(f"{OPERATIONS}/clear/cuda:0", {}), 404, "DEVICE_NOT_FOUND")


class Jobs(DaemonCase):
    devices = ("host:0=2GiB", "fake:0=1GiB,rate=50MiB/s")

    def job(self, job_id):
        return self.ok(self.daemon.get(f"{MEMORY}/jobs/{job_id}"))

    def ends(self, job_id):
        def ended():
            job = self.job(job_id)
            return job if job["status"] not in ("pending", "in_progress") else None
        return wait_until(ended, f"the end of {job_id}", 60)

    def start(self, operation, body):
        return self.ok(self.daemon.post(f"{OPERATIONS}/{operation}", body | {"wait": False}), 202)["jobId"]

    def slow_copy(self, size=150 * MIB):
        """The body of a copy that takes six seconds (it reads the target again), and what it reads and writes."""
        source, target = self.allocate(size, "host:0"), self.allocate(size, "fake:0")
        return {"sourceAllocationId": name_of(source), "targetAllocationId": name_of(target)}, source, target

    def test_every_operation_can_be_started_without_waiting(self):
        first, second = self.allocate(1 * MIB), self.allocate(1 * MIB)
        bodies = {"fill": {"allocationId": name_of(first), "value": 1}, "clear": {}, "defragment": {},
                  "copy": {"sourceAllocationId": name_of(first), "targetAllocationId": name_of(second)}}
        for operation, body in bodies.items():
            with self.subTest(operation):
                job = self.ends(self.start(operation, body))
                self.assert_shape(job, shapes.JOB)
                self.assertEqual(("completed", 100, None), (job["status"], job["progressPercent"], job["errorCode"]))
                self.assertEqual(operation, job["kind"])

    def test_its_result_is_what_waiting_would_have_answered(self):
        allocation = self.allocate(1 * MIB)
        job = self.ends(self.start("fill", {"allocationId": name_of(allocation), "value": 3}))
        self.assertEqual((1 * MIB, xxh3.text(b"\3" * MIB)), (job["result"]["bytes"], job["result"]["checksum"]))

    def test_a_waited_for_operation_leaves_its_job(self):
        job_id = self.fill(self.allocate(4096), 1)["jobId"]
        self.assertEqual("completed", self.job(job_id)["status"])

    def test_a_wait_that_is_too_short_answers_with_the_job(self):
        body, _, _ = self.slow_copy(40 * MIB)
        job_id = self.ok(self.daemon.post(f"{OPERATIONS}/copy?timeout=1", body), 202)["jobId"]
        self.assertEqual("completed", self.ends(job_id)["status"])

    def test_a_timeout_of_more_than_ten_minutes_is_refused(self):
        answer = self.daemon.post(f"{OPERATIONS}/clear?timeout=601", {})
        self.refused_field(answer, "INVALID_ARGUMENT", "timeout")

    def test_a_client_that_hangs_up_cancels_nothing(self):
        body, _, target = self.slow_copy(60 * MIB)
        with self.daemon.raw() as raw:
            raw.send(request_bytes("POST", f"{OPERATIONS}/copy", json.dumps(body).encode()))
            wait_until(lambda: self.look(target)["status"] != "active", "the copy to start")
        wait_until(lambda: self.look(target)["status"] == "active", "the copy to end")
        self.assertEqual(1, self.look(target)["accessCount"])

    def test_they_are_listed_in_pages_and_by_state(self):
        allocation = self.allocate(4096)
        done = [self.fill(allocation, value)["jobId"] for value in range(5)]
        body, _, _ = self.slow_copy()
        runs = self.start("copy", body)
        pages, cursor = [], ""
        while cursor is not None:
            page = self.ok(self.daemon.get(f"{MEMORY}/jobs?order=asc&limit=2{cursor and '&cursor=' + cursor}"))
            pages.append([job["jobId"] for job in page["jobs"]])
            cursor = page["nextCursor"]
        self.assertEqual([done[:2], done[2:4], [done[4], runs]], pages)
        page = self.ok(self.daemon.get(f"{MEMORY}/jobs?status=completed&limit=3"))
        self.assertEqual([self.job(job) for job in reversed(done[2:])], page["jobs"])
        page = self.ok(self.daemon.get(f"{MEMORY}/jobs?status=completed&limit=3&cursor={page['nextCursor']}"))
        self.assertEqual(([self.job(job) for job in reversed(done[:2])], None), (page["jobs"], page["nextCursor"]))
        self.refused_field(self.daemon.get(f"{MEMORY}/jobs?status=asleep"), "INVALID_ARGUMENT", "status")
        self.ok(self.daemon.delete(f"{MEMORY}/jobs/{runs}"))

    def test_a_running_one_can_be_cancelled(self):
        body, source, target = self.slow_copy()
        job_id = self.start("copy", body)
        self.assertIn(self.daemon.delete(f"{MEMORY}/jobs/{job_id}").status, (200, 202))
        job = self.ends(job_id)
        self.assertEqual(("cancelled", "CANCELLED"), (job["status"], job["errorCode"]))
        for allocation in (source, target):
            self.assertEqual("active", self.look(allocation)["status"])
            self.free(allocation)

    def test_a_finished_one_cannot_be_cancelled(self):
        job_id = self.fill(self.allocate(4096), 1)["jobId"]
        self.refused(self.daemon.delete(f"{MEMORY}/jobs/{job_id}"), 409, "CONFLICT")

    def test_what_a_job_touches_is_busy(self):
        body, source, target = self.slow_copy()
        job_id = self.start("copy", body)
        for allocation in (source, target):
            self.assertEqual("busy", self.look(allocation)["status"])
            self.refused(self.try_free(allocation), 409, "ALLOCATION_BUSY")
        self.daemon.delete(f"{MEMORY}/jobs/{job_id}")
        self.ends(job_id)

    def test_unknown_ones(self):
        for job in ("j-0123456789abcdef", "j-1", "x", "a-0123456789abcdef"):
            with self.subTest(job):
                self.refused(self.daemon.get(f"{MEMORY}/jobs/{job}"), 404, "NOT_FOUND")
                self.refused(self.daemon.delete(f"{MEMORY}/jobs/{job}"), 404, "NOT_FOUND")


class WithoutWorkers(SharedDaemonCase):
    flags = ("--no-worker",)

    def test_nobody_can_move_bytes(self):
        allocation = self.allocate(4096)
        self.addCleanup(self.free, allocation)
        with self.nothing_changes():
            answer = self.daemon.post(f"{OPERATIONS}/fill", {"allocationId": name_of(allocation), "value": 1})
            self.refused(answer, 503, "WORKER_UNAVAILABLE")
        self.assertGreater(int(answer.headers["Retry-After"]), 0)

    def test_allocating_needs_no_worker(self):
        self.free(self.allocate(4096))
        self.free(self.allocate(4 * MIB, zero=True))


if __name__ == "__main__":
    unittest.main()
