"""Status: routes 1 and 2, devices, usage, the memory map, health. Every figure adds up."""

import os
import unittest
from datetime import datetime, timezone

import kernel
import shapes
from harness import GIB, HOSTS, KIB, MEMORY, MIB, DaemonCase, SharedDaemonCase, parse_time, wait_until


class TheHost(SharedDaemonCase):
    devices = HOSTS + ("fake:0=1GiB",)

    def test_status_has_exactly_the_fields_of_the_contract(self):
        self.assert_shape(self.host(), shapes.HOST)

    def test_the_short_path_is_an_alias(self):
        data = self.ok(self.daemon.get(MEMORY))
        self.assert_shape(data, shapes.HOST)
        self.assertEqual([d["deviceId"] for d in self.host()["devices"]], [d["deviceId"] for d in data["devices"]])

    def test_it_lists_the_devices_that_were_asked_for(self):
        host = self.host()
        self.assertEqual({"host:0", "host:1", "fake:0"}, {d["deviceId"] for d in host["devices"]})
        self.assertEqual(3, host["deviceCount"])

    def test_its_figures_are_sums_over_the_devices(self):
        allocation = self.allocate(3 * MIB)
        self.addCleanup(self.free, allocation)
        host = self.host()
        for name in ("totalBytes", "allocatedBytes", "committedBytes", "cachedBytes", "activeAllocations"):
            with self.subTest(name):
                self.assertEqual(sum(d[name] for d in host["devices"]), host[name])

    def test_host_pools_together_offer_no_more_than_the_machine_has(self):
        host = self.host()
        pools = sum(d["availableBytes"] for d in host["devices"] if d["backend"] == "host")
        others = sum(d["availableBytes"] for d in host["devices"] if d["backend"] != "host")
        self.assertLessEqual(host["availableBytes"], pools + others)
        self.assertLessEqual(host["availableBytes"] - others, kernel.meminfo()["MemTotal"])

    def test_no_models_are_invented(self):
        self.assertEqual({"loaded": 0, "deviceBytes": 0, "ramBytes": 0}, self.host()["models"])

    def test_workers_are_counted(self):
        self.mover()
        workers = self.host()["workers"]
        self.assertGreaterEqual(workers["total"], 1)
        self.assertEqual(workers["total"], workers["healthy"])

    def test_refresh_drops_the_cache_of_slow_facts(self):
        age = wait_until(lambda: (a := self.host()["cacheAgeMs"]) >= 500 and a, "the cache to age")
        self.assertLess(self.ok(self.daemon.get(f"{MEMORY}/status?refresh=true"))["cacheAgeMs"], age)

    def test_refresh_takes_true_and_false_only(self):
        self.refused_field(self.daemon.get(f"{MEMORY}/status?refresh=maybe"), "INVALID_ARGUMENT", "refresh")

    def test_times_are_now_and_in_utc(self):
        now = datetime.now(timezone.utc).timestamp()
        answer = self.daemon.get(f"{MEMORY}/status")
        self.assertLess(abs(parse_time(answer.body["timestamp"]) - now), 60)
        self.assertLess(abs(parse_time(self.ok(answer)["lastUpdated"]) - now), 60)


class OneDevice(SharedDaemonCase):
    devices = ("host:0=2GiB", "host:1=512MiB", "fake:0=1GiB")

    def assert_adds_up(self, device):
        """The identities of host:N=SIZE; the machine has far more free RAM than the pools ask for."""
        limit, reserved = device["limits"]["maxBytes"], device["limits"]["reservedBytes"]
        self.assertEqual(device["committedBytes"] + device["cachedBytes"], device["usedBytes"])
        self.assertEqual(limit - device["committedBytes"] - reserved, device["availableBytes"])
        self.assertEqual((0, 0), (device["overheadBytes"], device["externalBytes"]))
        self.assertEqual(reserved, device["reservedBytes"])
        self.assertAlmostEqual(100 * device["usedBytes"] / device["totalBytes"], device["utilizationPercent"], 2)
        committed = device["committedBytes"]
        lost = 100 * (1 - device["allocatedBytes"] / committed) if committed else 0
        self.assertAlmostEqual(lost, device["fragmentationPercent"], delta=0.0101)
        self.assertLessEqual(device["allocatedBytes"], committed)

    def test_each_has_exactly_the_fields_of_the_contract(self):
        for name in ("host:0", "host:1", "fake:0"):
            with self.subTest(name):
                self.assert_shape(self.device(name), shapes.DEVICE)

    def test_the_list_and_the_single_device_agree(self):
        listed = {d["deviceId"]: d for d in self.host()["devices"]}
        for name in ("totalBytes", "committedBytes", "allocatedBytes", "type", "memoryType", "limits", "name"):
            self.assertEqual(listed["host:1"][name], self.device("host:1")[name])

    def test_a_host_pool_is_ram(self):
        device = self.device("host:0")
        self.assertEqual(("cpu", "host", "RAM"), (device["type"], device["backend"], device["memoryType"]))

    def test_a_fake_card_is_a_gpu_and_says_that_it_is_fake(self):
        device = self.device("fake:0")
        self.assertEqual(("gpu", "fake", "VRAM"), (device["type"], device["backend"], device["memoryType"]))
        self.assertEqual(GIB, device["totalBytes"])

    def test_a_pool_is_as_large_as_was_asked_for(self):
        device = self.device("host:1")
        self.assertEqual(512 * MIB, device["totalBytes"])
        self.assertEqual(512 * MIB, device["limits"]["maxBytes"])

    def test_an_empty_pool_offers_all_of_it(self):
        device = self.device("host:1")
        self.assert_adds_up(device)
        self.assertEqual(512 * MIB, device["availableBytes"])
        self.assertEqual(512 * MIB, device["largestFreeBytes"])
        self.assertEqual((0, 0, 0), (device["allocatedBytes"], device["activeAllocations"], device["segments"]))

    def test_the_figures_add_up_with_large_and_small_allocations(self):
        made = [self.allocate(size) for size in (1, 100, 4096, 70_000, 5 * MIB + 1, 64 * MIB)]
        device = self.device()
        self.assert_adds_up(device)
        self.assertEqual(sum(a["sizeBytes"] for a in made), device["allocatedBytes"])
        self.assertEqual(6, device["activeAllocations"])
        for allocation in made:
            self.free(allocation)
        device = self.device()
        self.assert_adds_up(device)
        self.assertEqual((0, 0), (device["allocatedBytes"], device["activeAllocations"]))

    def test_a_number_that_an_operation_changes_is_live(self):
        before = self.device()["allocatedBytes"]
        allocation = self.allocate(7 * MIB)
        self.assertEqual(before + 7 * MIB, self.device()["allocatedBytes"])
        self.free(allocation)
        self.assertEqual(before, self.device()["allocatedBytes"])

    def test_resident_is_what_the_kernel_gave(self):
        allocation = self.allocate(96 * MIB, commit=True)
        self.addCleanup(self.free, allocation)
        wait_until(lambda: self.device()["residentBytes"] >= 96 * MIB, "residentBytes to be sampled")
        self.assertLessEqual(self.device()["residentBytes"], self.daemon.resident())

    def test_a_device_is_known_by_its_percent_decoded_id(self):
        self.assertEqual("host:0", self.ok(self.daemon.get(f"{MEMORY}/status/host%3A0"))["deviceId"])

    def test_a_device_is_known_by_its_uuid(self):
        uuids = {d["uuid"]: d["deviceId"] for d in self.host()["devices"] if d["uuid"]}
        for uuid, device in uuids.items():
            self.assertEqual(device, self.device(uuid)["deviceId"])

    def test_an_unknown_device_is_answered_with_those_there_are(self):
        error = self.refused(self.daemon.get(f"{MEMORY}/status/cuda:7"), 404, "DEVICE_NOT_FOUND")
        self.assertEqual(f"{MEMORY}/status/cuda:7", error["path"])
        self.assertEqual("cuda:7", error["details"]["deviceId"])
        self.assertEqual({"host:0", "host:1", "fake:0"}, set(error["details"]["available"]))

    def test_processes_that_end_are_soon_no_longer_listed(self):
        def all_live():
            return all(kernel.is_alive(p["pid"]) or p["deadPid"] for p in self.device()["processes"])
        wait_until(all_live, "the list to hold living processes only")


class TheWholeMachine(DaemonCase):
    devices = ()

    def test_without_flags_host_0_has_half_of_the_ram_as_its_limit(self):
        device, total = self.device(), kernel.meminfo()["MemTotal"]
        self.assertEqual(total, device["totalBytes"])
        self.assertAlmostEqual(total / 2, device["limits"]["maxBytes"], delta=4 * MIB)

    def test_used_is_what_the_machine_uses(self):
        info, device = kernel.meminfo(), self.device()
        self.assertAlmostEqual(info["MemTotal"] - info["MemAvailable"], device["usedBytes"], delta=2 * GIB)
        self.assertGreater(device["usedBytes"], 0)
        self.assertEqual(0, device["overheadBytes"])


class OtherViews(SharedDaemonCase):
    devices = HOSTS + ("fake:0=1GiB",)

    def test_devices_lists_them_with_links(self):
        data = self.ok(self.daemon.get(f"{MEMORY}/devices"))
        self.assertEqual({"devices", "links"}, data.keys())
        self.assertEqual({"host:0", "host:1", "fake:0"}, {d["deviceId"] for d in data["devices"]})
        for link in data["links"]:
            self.assertEqual({"from", "to", "kind", "gigabytesPerSecond"}, link.keys())

    def test_a_link_has_no_rate_before_it_is_measured_and_one_afterwards(self):
        def rate():
            links = self.ok(self.daemon.get(f"{MEMORY}/devices"))["links"]
            return [k["gigabytesPerSecond"] for k in links if (k["from"], k["to"]) == ("host:1", "host:0")]
        self.assertIn(rate(), ([], [None]))
        self.transfer(None, "host:1", "host:0", sizeBytes=32 * MIB)
        self.assertGreater(rate()[0], 0)

    def test_one_device_of_devices(self):
        data = self.ok(self.daemon.get(f"{MEMORY}/devices/host:1"))
        self.assertEqual(["host:1"], [d["deviceId"] for d in data["devices"]])

    def test_usage_of_all_devices_has_the_shape(self):
        data = self.ok(self.daemon.get(f"{MEMORY}/usage"))
        self.assert_shape(data, shapes.USAGE)
        self.assertEqual(3, len(data["devices"]))

    def test_usage_of_one_device_has_the_shape_of_all(self):
        data = self.ok(self.daemon.get(f"{MEMORY}/usage/host:1"))
        self.assert_shape(data, shapes.USAGE)
        self.assertEqual(["host:1"], [d["deviceId"] for d in data["devices"]])

    def test_the_default_window_is_an_hour(self):
        data = self.ok(self.daemon.get(f"{MEMORY}/usage"))
        self.assertAlmostEqual(3600, parse_time(data["windowEnd"]) - parse_time(data["windowStart"]), delta=1)

    def test_the_window_is_as_asked_for(self):
        for text, seconds in (("90s", 90), ("10m", 600), ("2h", 7200), ("1d", 86400)):
            with self.subTest(text):
                data = self.ok(self.daemon.get(f"{MEMORY}/usage?window={text}"))
                length = parse_time(data["windowEnd"]) - parse_time(data["windowStart"])
                self.assertAlmostEqual(seconds, length, delta=1)

    def test_a_window_that_is_none_is_refused(self):
        for text in ("5x", "-1h", "h", "0s", ""):
            with self.subTest(text):
                self.refused_field(self.daemon.get(f"{MEMORY}/usage?window={text}"), "INVALID_ARGUMENT", "window")

    def test_no_more_points_than_asked_for(self):
        def samples():
            return self.ok(self.daemon.get(f"{MEMORY}/usage/host:0?points=2"))["devices"][0]["samples"]
        wait_until(samples, "the first sample")
        self.assertLessEqual(len(samples()), 2)

    def test_usage_counts_allocations_by_purpose(self):
        allocation = self.allocate(3 * MIB, "host:1", purpose="kv_cache")
        self.addCleanup(self.free, allocation)
        usage = self.ok(self.daemon.get(f"{MEMORY}/usage/host:1"))["devices"][0]
        self.assertIn({"purpose": "kv_cache", "bytes": 3 * MIB, "count": 1}, usage["byPurpose"])
        self.assertEqual(1, usage["activeAllocations"])
        self.assertGreaterEqual(usage["totalAllocations"], 1)

    def test_health_is_ok(self):
        self.mover()  # has started
        self.assertEqual("ok", self.ok(self.daemon.get("/health"))["status"])

    def test_health_in_detail_names_the_parts(self):
        self.mover()
        data = self.ok(self.daemon.get("/health/detailed"))
        self.assertLessEqual({"parts", "durable", "version", "uptimeSeconds"}, data.keys())
        for part in data["parts"]:
            self.assertEqual({"name", "status", "reason"}, part.keys())
        self.assertEqual(self.daemon.facts["version"], data["version"])

    def test_a_worker_is_described(self):
        self.mover()
        for worker in self.workers():
            self.assert_shape(worker, shapes.WORKER)

    def test_the_worker_that_is_listed_is_a_child_of_the_daemon(self):
        self.assertIn(self.mover()["pid"], kernel.ids_of_children(self.daemon.pid))


class TheMemoryMap(DaemonCase):
    def segments(self, query=""):
        return self.ok(self.daemon.get(f"{MEMORY}/segments/host:0{query}"))

    def test_it_is_empty_at_first(self):
        self.assertEqual([], self.segments()["segments"])

    def test_every_block_is_where_its_allocation_says(self):
        made = [self.allocate(size) for size in (100, 5000, 64 * KIB, 4 * MIB)]
        data = self.segments()
        self.assert_shape(data, shapes.SEGMENTS)
        blocks = {b["allocationId"]: (s["segmentId"], s["type"], b["offsetBytes"], b["sizeBytes"])
                  for s in data["segments"] for b in s["blocks"]}
        self.assertEqual({a["allocationId"]: (a["segmentId"], a["type"], a["offsetBytes"], a["sizeBytes"])
                          for a in made}, blocks)

    def test_blocks_of_a_segment_lie_inside_and_do_not_overlap(self):
        for size in (1, 255, 256, 257, 4095, 100_000, 3):
            self.allocate(size)
        for segment in self.segments()["segments"]:
            end = 0
            for block in segment["blocks"]:
                self.assertGreaterEqual(block["offsetBytes"], end)
                end = block["offsetBytes"] + block["sizeBytes"]
            self.assertLessEqual(end, segment["sizeBytes"])

    def test_it_comes_in_pages(self):
        for _ in range(5):
            self.allocate(2 * MIB)
        seen, cursor = [], ""
        while cursor is not None:
            page = self.segments("?limit=2" + (cursor and f"&cursor={cursor}"))
            self.assertLessEqual(len(page["segments"]), 2)
            seen += [s["segmentId"] for s in page["segments"]]
            cursor = page["nextCursor"]
        self.assertEqual(5, len(set(seen)))
        self.assertEqual(5, len(seen))


@unittest.skipUnless(os.path.exists("/proc/pressure/memory"), "the kernel has no PSI")
class PressureStall(SharedDaemonCase):
    def test_psi_is_told_when_the_kernel_has_it(self):
        psi = self.ok(self.daemon.get(f"{MEMORY}/pressure"))["psi"]
        self.assert_shape(psi, {"some10": shapes.percent, "full10": shapes.percent})


if __name__ == "__main__":
    unittest.main()
