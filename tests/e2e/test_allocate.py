"""Allocate: routes 8 and 9, every field of the body, what is refused, and where things go."""

import threading
import unittest

import kernel
import shapes
from harness import GIB, HOSTS, KIB, MEMORY, MIB, DaemonCase, SharedDaemonCase, parse_time

ALLOCATE = f"{MEMORY}/allocations/allocate"


class TheAnswer(SharedDaemonCase):
    def made(self, size, device="host:0", **fields):
        data = self.ok(self.try_allocate(size, device, **fields))
        self.addCleanup(self.free, data["allocation"], force=True)
        return data

    def test_it_has_exactly_the_fields_of_the_contract(self):
        self.assert_shape(self.made(4096), shapes.ALLOCATED)

    def test_what_was_not_said_has_the_defaults(self):
        allocation = self.made(4096)["allocation"]
        expected = {"sizeBytes": 4096, "alignmentBytes": 256, "purpose": "buffers", "priority": "normal",
                    "persistent": False, "pinned": False, "share": "none", "status": "active", "attachments": 0,
                    "expiresAt": None, "modelId": None, "deviceId": "host:0"}
        self.assertEqual(expected, {name: allocation[name] for name in expected})

    def test_what_was_said_comes_back(self):
        said = {"alignmentBytes": 4096, "purpose": "kv_cache", "label": "layer 3 – ключ", "priority": "high",
                "persistent": True, "pinned": True, "share": "read"}
        allocation = self.made(12345, **said)["allocation"]
        self.assertEqual(said | {"sizeBytes": 12345}, {k: allocation[k] for k in said | {"sizeBytes": 0}})

    def test_it_is_listed_at_once_and_the_same_everywhere(self):
        allocation = self.made(4096, label="everywhere")["allocation"]
        looked = self.look(allocation)
        looked.pop("history")
        looked.pop("historyTruncated", None)
        self.assertEqual(allocation, looked)
        self.assertIn(allocation, self.allocations())

    def test_the_owner_over_http_is_the_api(self):
        owner = self.made(4096)["allocation"]["owner"]
        self.assertEqual("api", owner["kind"])

    def test_available_bytes_are_those_of_the_device(self):
        data = self.made(8 * MIB)
        self.assertEqual(self.device()["availableBytes"], data["availableBytes"])

    def test_every_purpose_is_known(self):
        for purpose in ("model_weights", "kv_cache", "activations", "tensors", "buffers", "staging", "cache",
                        "temporary", "system"):
            with self.subTest(purpose):
                self.assertEqual(purpose, self.made(4096, purpose=purpose)["allocation"]["purpose"])

    def test_every_priority_is_known(self):
        for priority in ("low", "normal", "high", "critical"):
            with self.subTest(priority):
                self.assertEqual(priority, self.made(4096, priority=priority)["allocation"]["priority"])

    def test_every_alignment_is_kept(self):
        for power in range(22):
            with self.subTest(alignment=1 << power):
                allocation = self.made(300, alignmentBytes=1 << power)["allocation"]
                self.assertEqual(0, allocation["offsetBytes"] % (1 << power))
                self.assertEqual(1 << power, allocation["alignmentBytes"])

    def test_a_label_may_have_256_bytes(self):
        label = "é" * 128
        self.assertEqual(label, self.made(4096, label=label)["allocation"]["label"])

    def test_a_lease_says_when_it_ends(self):
        allocation = self.made(4096, ttlSeconds=1000)["allocation"]
        lasts = parse_time(allocation["expiresAt"]) - parse_time(allocation["createdAt"])
        self.assertAlmostEqual(1000, lasts, delta=2)

    def test_one_byte_can_be_had(self):
        self.assertEqual(1, self.made(1)["allocation"]["sizeBytes"])

    def test_small_ones_share_a_segment(self):
        first, second = (self.made(4 * KIB)["allocation"] for _ in range(2))
        self.assertEqual(("slab", first["segmentId"]), (second["type"], second["segmentId"]))
        self.assertNotEqual(first["offsetBytes"], second["offsetBytes"])

    def test_large_ones_have_their_own(self):
        first, second = (self.made(4 * MIB)["allocation"] for _ in range(2))
        self.assertEqual("dedicated", first["type"])
        self.assertNotEqual(first["segmentId"], second["segmentId"])

    def test_a_shared_small_one_has_its_own_too(self):
        for share in ("read", "write"):
            with self.subTest(share):
                self.assertEqual("dedicated", self.made(4096, share=share)["allocation"]["type"])

    def test_words_are_read_without_regard_to_case(self):
        for memory in ("RAM", "ram", "CPU", "cpu", "Any"):
            with self.subTest(memory):
                self.made(4096, memoryType=memory)


class Refusals(SharedDaemonCase):
    """Each leaves everything as it was."""

    devices = HOSTS + ("fake:0=1GiB",)

    def refuses(self, body, code, field, path=ALLOCATE):
        with self.nothing_changes():
            return self.refused_field(self.daemon.post(path, body), code, field)

    def test_sizes_that_are_none(self):
        for text in ("0", "-1", "-9223372036854775808", "4611686018427387905", "9223372036854775807", "1.0", "1e3",
                     '"4096"', "true", "[4096]", '{"bytes":1}', '""'):
            with self.subTest(sizeBytes=text):
                self.refuses('{"sizeBytes":%s}' % text, "INVALID_ARGUMENT", "sizeBytes")

    def test_numbers_that_do_not_fit_are_no_json_and_are_located(self):
        for text in ("9223372036854775808", "18446744073709551616", "-9223372036854775809", "1e400", "-1e999"):
            with self.subTest(sizeBytes=text), self.nothing_changes():
                error = self.refused(self.daemon.post(ALLOCATE, '{\n"sizeBytes": %s}' % text), 400, "INVALID_JSON")
                told = str([error["message"], error["details"]])
                self.assertRegex(told, "(?i)line.{0,4}2")
                self.assertRegex(told, "(?i)column")

    def test_no_size_at_all(self):
        for body in ({}, {"label": "x"}, None):
            with self.subTest(body=body):
                self.refuses(body, "MISSING_PARAMETER", "sizeBytes")

    def test_null_is_no_size(self):
        with self.nothing_changes():
            self.assertEqual(400, self.daemon.post(ALLOCATE, {"sizeBytes": None}).status)

    def test_unknown_fields(self):
        for field in ("size", "sizebytes", "size_bytes", "deviceId", ""):
            with self.subTest(field):
                self.refuses({"sizeBytes": 4096, field: 1}, "UNKNOWN_FIELD", field)

    def test_wrong_types_and_words(self):
        wrong = {"memoryType": ["DISK", 5, ""], "alignmentBytes": [0, 3, -256, 4 * MIB, 1 << 40, "256", 1.5],
                 "purpose": ["fun", 7], "label": [7, ["x"], "x" * 257], "priority": ["urgent", 3],
                 "persistent": [1, "true"], "pinned": ["yes"], "ttlSeconds": [-1, "5", 1.5],
                 "ownerPid": [-1, "self", 1.0], "zero": [0], "commit": ["no"], "strategy": ["first-fit", 1],
                 "evict": [1], "share": ["all", True], "waitMs": [-1, "1s"], "dryRun": ["false"]}
        for field, values in wrong.items():
            for value in values:
                with self.subTest(**{field: value}):
                    self.refuses({"sizeBytes": 4096, field: value}, "INVALID_ARGUMENT", field)

    def test_a_label_with_a_nul_or_control_characters(self):
        for label in (r"a\u0000b", r"a\u0001b", r"a\nb"):
            with self.subTest(label), self.nothing_changes():
                answer = self.daemon.post(ALLOCATE, '{"sizeBytes":4096,"label":"%s"}' % label)
                self.assertEqual(400, answer.status, answer.body)

    def test_a_memory_type_that_the_device_in_the_path_is_not(self):
        for device, memory in (("host:0", "VRAM"), ("host:1", "gpu"), ("fake:0", "RAM"), ("fake:0", "CPU")):
            with self.subTest(device=device, memory=memory):
                self.refuses({"sizeBytes": 4096, "memoryType": memory}, "INVALID_ARGUMENT", "memoryType",
                             f"{ALLOCATE}/{device}")

    def test_an_unknown_device(self):
        with self.nothing_changes():
            self.refused(self.daemon.post(f"{ALLOCATE}/host:9", {"sizeBytes": 4096}), 404, "DEVICE_NOT_FOUND")

    def test_the_fields_are_judged_before_the_device(self):
        self.refuses({"sizeBytes": 0}, "INVALID_ARGUMENT", "sizeBytes", f"{ALLOCATE}/host:9")

    def test_the_device_is_judged_before_the_space(self):
        self.refused(self.daemon.post(f"{ALLOCATE}/host:9", {"sizeBytes": 1 << 62}), 404, "DEVICE_NOT_FOUND")

    def test_more_than_the_device_could_ever_hold(self):
        for size in (2 * GIB + 1, 1 << 40, 1 << 62):
            with self.subTest(size=size), self.nothing_changes():
                details = self.refused_space(self.try_allocate(size, "host:0"), "ALLOCATION_TOO_LARGE")
                self.assertEqual(size, details["requestedBytes"])
                self.assertEqual(2 * GIB, details["availableBytes"])

    def test_more_than_is_left(self):
        held = self.allocate(1536 * MIB)
        self.addCleanup(self.free, held)
        with self.nothing_changes():
            details = self.refused_space(self.try_allocate(1 * GIB, "host:0"), "INSUFFICIENT_MEMORY")
        self.assertEqual((1 * GIB, 512 * MIB), (details["requestedBytes"], details["availableBytes"]))
        self.assertLessEqual(details["largestFreeBytes"], 512 * MIB)
        self.assertEqual(0, details["fragmentationPercent"])
        self.assertIsInstance(details["reclaimable"], list)

    def test_an_owner_that_does_not_exist(self):
        pid = kernel.finished_pid()
        self.refuses({"sizeBytes": 4096, "ownerPid": pid}, "INVALID_ARGUMENT", "ownerPid")

    def test_a_query_that_nobody_asked_for(self):
        self.refuses({"sizeBytes": 4096}, "UNKNOWN_FIELD", "fast", f"{ALLOCATE}?fast=true")


class HostsOnly(SharedDaemonCase):
    def test_a_kind_of_memory_that_no_device_has(self):
        with self.nothing_changes():
            answer = self.try_allocate(4096, memoryType="VRAM")
            self.refused(answer, 503, "DEVICE_UNAVAILABLE")
        self.assertGreater(int(answer.headers["Retry-After"]), 0)


class Placement(DaemonCase):
    devices = ("host:0=1GiB", "host:1=2GiB", "fake:0=4GiB")

    def where(self, size=100 * MIB, **fields):
        return self.ok(self.try_allocate(size, **fields))

    def test_the_best_device_has_most_available_bytes(self):
        self.assertEqual("fake:0", self.where()["allocation"]["deviceId"])
        self.assertEqual("host:1", self.where(memoryType="RAM")["allocation"]["deviceId"])

    def test_the_reason_and_all_candidates_are_told(self):
        placement = self.where(memoryType="RAM")["placement"]
        self.assertEqual("host:1", placement["deviceId"])
        self.assertTrue(placement["reason"])
        self.assertEqual({"host:0", "host:1", "fake:0"}, {c["deviceId"] for c in placement["candidates"]})
        rejected = {c["deviceId"] for c in placement["candidates"] if c["rejected"]}
        self.assertEqual({"fake:0"}, rejected)

    def test_vram_is_a_card(self):
        for memory in ("VRAM", "GPU"):
            self.assertEqual("fake:0", self.where(memoryType=memory)["allocation"]["deviceId"])

    def test_best_fit_leaves_least_over(self):
        answer = self.where(strategy="best-fit")
        self.assertEqual("host:0", answer["allocation"]["deviceId"])
        scores = [c["score"] for c in answer["placement"]["candidates"] if not c["rejected"]]
        self.assertEqual(sorted(scores, reverse=True), scores)
        self.assertTrue(all(-2**62 <= score <= 0 for score in scores), scores)  # a JSON integer's range

    def test_pack_takes_the_fullest_that_fits(self):
        self.allocate(1 * GIB, "host:1")
        self.assertEqual("host:1", self.where(strategy="pack")["allocation"]["deviceId"])
        self.assertEqual("host:0", self.where(1000 * MIB, strategy="pack", memoryType="RAM")["allocation"]["deviceId"])

    def test_spread_is_the_default(self):
        self.assertEqual("fake:0", self.where(strategy="spread")["allocation"]["deviceId"])

    def test_what_does_not_fit_on_one_goes_to_another(self):
        self.allocate(3 * GIB + 512 * MIB, "fake:0")
        self.allocate(1536 * MIB, "host:1")
        self.assertEqual("host:0", self.where(900 * MIB)["allocation"]["deviceId"])

    def test_a_dry_run_says_where_and_takes_nothing(self):
        with self.nothing_changes():
            data = self.ok(self.try_allocate(100 * MIB, dryRun=True))
        self.assertEqual({"wouldFit", "placement", "wouldEvict"}, data.keys())
        self.assertEqual((True, "fake:0", []), (data["wouldFit"], data["placement"]["deviceId"], data["wouldEvict"]))

    def test_a_dry_run_of_too_much_says_that_it_would_not_fit(self):
        with self.nothing_changes():
            data = self.ok(self.try_allocate(1 << 50, dryRun=True))
        self.assertIs(False, data["wouldFit"])
        self.assertIsNone(data["placement"]["deviceId"])


class RealMemory(DaemonCase):
    devices = HOSTS + ("fake:0=1GiB",)

    def test_a_promise_costs_no_page(self):
        before = self.daemon.resident()
        self.allocate(512 * MIB)
        self.assertLess(self.daemon.resident() - before, 4 * MIB)

    def test_commit_really_commits_before_the_answer(self):
        before = self.daemon.resident()
        self.allocate(128 * MIB, commit=True)
        self.assertGreaterEqual(self.daemon.resident() - before, 128 * MIB)

    def test_commit_of_a_small_one_commits_its_pages(self):
        self.allocate(4 * KIB)
        before = self.daemon.resident()
        self.allocate(512 * KIB, commit=True)
        self.assertGreaterEqual(self.daemon.resident() - before, 508 * KIB)

    def test_touching_commits(self):
        allocation = self.allocate(64 * MIB)
        before = self.daemon.resident()
        self.fill(allocation, 0x5A)
        self.assertGreaterEqual(self.daemon.resident() - before, 64 * MIB)

    def test_freeing_gives_the_pages_back(self):
        before = self.daemon.resident()
        allocation = self.allocate(128 * MIB)
        self.fill(allocation, 1)
        self.free(allocation)
        self.assertLess(self.daemon.resident() - before, 4 * MIB)

    def test_segments_are_sealed_against_resizing_and_private(self):
        self.allocate(96 * MIB)
        path = next(path for path, size, _ in kernel.memfds(self.daemon.pid).values() if size == 96 * MIB)
        self.assertEqual(0o600, kernel.mode(path))
        self.assertLessEqual({"SHRINK", "GROW"}, kernel.seals(path))

    def test_zero_gives_zeros_where_something_else_was(self):
        for device in ("host:0", "fake:0"):
            for size in (8 * KIB, 2 * MIB):
                with self.subTest(device=device, size=size):
                    dirty = [self.allocate(size, device) for _ in range(4)]
                    for allocation in dirty:
                        self.fill(allocation, 0xEE)
                    for allocation in dirty[1:]:
                        self.free(allocation)
                    clean = self.allocate(size, device, zero=True)
                    expected = self.fill(dirty[0], 0)["checksum"]
                    self.assertEqual(expected, self.checksum(clean))

    def test_an_owner_never_sees_anothers_bytes(self):
        first = self.allocate(16 * KIB)
        self.fill(first, 0xEE)
        with kernel.sleeping_process() as pid:
            other = self.allocate(16 * KIB, ownerPid=pid)
            self.assertNotEqual(first["segmentId"], other["segmentId"])
            self.free(first)
            another = self.allocate(16 * KIB, ownerPid=pid)
            self.assertNotEqual(first["segmentId"], another["segmentId"])


class FailingDevice(DaemonCase):
    """wrap: every third creation of a segment fails."""

    devices = ("host:0=1GiB", "fake:0=1GiB,fail=create:3")

    def test_the_third_segment_is_refused_and_nothing_is_lost(self):
        for _ in range(2):
            self.allocate(8 * MIB, "fake:0")
        with self.nothing_changes():
            answer = self.try_allocate(8 * MIB, "fake:0")
            self.assertIn((answer.status, answer.code), ((503, "DEVICE_UNAVAILABLE"), (507, "INSUFFICIENT_MEMORY")))
            self.assert_envelope(answer)
        self.allocate(8 * MIB, "fake:0")
        self.assertEqual(24 * MIB, self.device("fake:0")["committedBytes"])

    def test_other_devices_go_on(self):
        answers = [self.try_allocate(8 * MIB, "fake:0").status for _ in range(6)]
        self.assertEqual(4, answers.count(200), answers)
        self.allocate(8 * MIB, "host:0")

    def test_small_ones_survive_the_failure_of_their_slab(self):
        made = [self.try_allocate(700 * KIB, "fake:0") for _ in range(12)]
        good = [a.data["allocation"] for a in made if a.status == 200]
        self.assertLess(len(good), 12)
        self.assertEqual({a["allocationId"] for a in good}, {a["allocationId"] for a in self.allocations()})
        self.assertEqual(len(good) * 700 * KIB, self.device("fake:0")["allocatedBytes"])


class FailingCommit(DaemonCase):
    devices = ("fake:0=1GiB,fail=commit:1",)

    def test_a_commit_that_fails_leaves_no_allocation(self):
        with self.nothing_changes():
            answer = self.try_allocate(8 * MIB, "fake:0", commit=True)
            self.assertIn(answer.status, (503, 507), answer.body)


class ManyAtOnce(DaemonCase):
    def test_clients_at_once_never_get_the_same_bytes(self):
        made, problems = [], []

        def client():
            try:
                with self.daemon.session() as session:
                    for _ in range(100):
                        answer = session.post(f"{ALLOCATE}/host:0", {"sizeBytes": 3000})
                        made.append(self.ok(answer)["allocation"])
            except BaseException as problem:
                problems.append(problem)

        threads = [threading.Thread(target=client) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual([], problems)
        self.assertEqual(800, len({a["allocationId"] for a in made}))
        ranges = sorted((a["segmentId"], a["offsetBytes"]) for a in made)
        for (segment, offset), (next_segment, next_offset) in zip(ranges, ranges[1:]):
            self.assertTrue(segment != next_segment or next_offset >= offset + 3000)
        self.assertEqual(800 * 3000, self.device()["allocatedBytes"])


if __name__ == "__main__":
    unittest.main()
