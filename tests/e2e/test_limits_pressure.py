"""Limits and quotas at run time, thresholds, pressure."""

import unittest

import shapes
from harness import GIB, HOSTS, MEMORY, MIB, DaemonCase, SharedDaemonCase, wait_until

LIMITS = f"{MEMORY}/limits/host:0"
THRESHOLDS = f"{MEMORY}/pressure/thresholds"


class Limits(DaemonCase):
    devices = HOSTS + ("fake:0=1GiB",)

    def put(self, body, device="host:0"):
        return self.ok(self.daemon.put(f"{MEMORY}/limits/{device}", body))

    def test_it_answers_the_new_values(self):
        data = self.put({"maxBytes": 512 * MIB, "reservedBytes": 64 * MIB})
        self.assertEqual((512 * MIB, 64 * MIB), (data["maxBytes"], data["reservedBytes"]))
        self.assertEqual({"maxBytes": 512 * MIB, "reservedBytes": 64 * MIB}, self.device()["limits"])

    def test_what_was_not_said_stays(self):
        self.put({"maxBytes": 512 * MIB, "reservedBytes": 64 * MIB})
        data = self.put({"reservedBytes": 32 * MIB})
        self.assertEqual((512 * MIB, 32 * MIB), (data["maxBytes"], data["reservedBytes"]))

    def test_available_follows(self):
        self.put({"maxBytes": 512 * MIB, "reservedBytes": 64 * MIB})
        self.allocate(100 * MIB)
        device = self.device()
        self.assertEqual(348 * MIB, device["availableBytes"])
        self.assertEqual(64 * MIB, device["reservedBytes"])
        self.assertEqual(2 * GIB, device["totalBytes"])

    def test_over_the_limit_is_too_large(self):
        self.put({"maxBytes": 512 * MIB})
        self.refused_space(self.try_allocate(513 * MIB, "host:0"), "ALLOCATION_TOO_LARGE")
        self.allocate(512 * MIB)

    def test_what_is_reserved_is_not_given(self):
        self.put({"reservedBytes": 2 * GIB - 10 * MIB})
        self.refused_space(self.try_allocate(11 * MIB, "host:0"), "INSUFFICIENT_MEMORY")
        self.allocate(10 * MIB)

    def test_a_limit_below_what_is_used_lets_nothing_new_in_and_takes_nothing(self):
        held = [self.allocate(100 * MIB) for _ in range(3)]
        self.put({"maxBytes": 150 * MIB})
        self.assertEqual(0, self.device()["availableBytes"])
        self.assertEqual(300 * MIB, self.device()["allocatedBytes"])
        self.assertEqual(100, self.device()["pressure"]["percent"])
        self.refused_space(self.try_allocate(4096, "host:0"), "INSUFFICIENT_MEMORY")
        for allocation in held:
            self.free(allocation)
        self.allocate(100 * MIB)

    def test_it_can_be_raised_again(self):
        self.put({"maxBytes": 1 * MIB})
        self.put({"maxBytes": 2 * GIB})
        self.allocate(1 * GIB)

    def test_other_devices_are_not_touched(self):
        self.put({"maxBytes": 1 * MIB})
        self.assertEqual(2 * GIB, self.device("host:1")["limits"]["maxBytes"])

    def test_a_card_has_limits_too(self):
        self.put({"maxBytes": 100 * MIB}, "fake:0")
        self.refused_space(self.try_allocate(101 * MIB, "fake:0"), "ALLOCATION_TOO_LARGE")

    def test_a_waiting_request_is_let_in_by_a_raised_limit(self):
        self.put({"maxBytes": 100 * MIB})
        self.allocate(90 * MIB)
        with self.daemon.unix() as unix:
            waiter = unix.send("memory.allocate", {"size_bytes": 50 * MIB, "device_id": "host:0", "wait_ms": 60000})
            unix.call("memory.get_status", {})
            self.put({"maxBytes": 200 * MIB})
            self.assertTrue(unix.wait(waiter)["success"])

    def test_what_is_refused(self):
        for body, code, field in (({"maxBytes": -1}, "INVALID_ARGUMENT", "maxBytes"),
                                  ({"maxBytes": "1GiB"}, "INVALID_ARGUMENT", "maxBytes"),
                                  ({"maxBytes": 1.5}, "INVALID_ARGUMENT", "maxBytes"),
                                  ({"reservedBytes": -1}, "INVALID_ARGUMENT", "reservedBytes"),
                                  ({"quotas": {}}, "INVALID_ARGUMENT", "quotas"),
                                  ({"quotas": [{"maxBytes": 5}]}, "MISSING_PARAMETER", "domain"),
                                  ({"quotas": [{"domain": "uid:0", "bytes": 5}]}, "UNKNOWN_FIELD", "bytes"),
                                  ({"quotas": [{"domain": "uid:0", "maxBytes": -5}]}, "INVALID_ARGUMENT", "maxBytes"),
                                  ({"limit": 5}, "UNKNOWN_FIELD", "limit")):
            with self.subTest(body), self.nothing_changes():
                self.refused_field(self.daemon.put(LIMITS, body), code, field)

    def test_of_an_unknown_device(self):
        self.refused(self.daemon.put(f"{MEMORY}/limits/cuda:0", {"maxBytes": 1}), 404, "DEVICE_NOT_FOUND")


class Quotas(DaemonCase):
    def quota(self, **fields):
        domain = self.allocate(4096)["domain"]
        return self.ok(self.daemon.put(LIMITS, {"quotas": [{"domain": domain} | fields]}))["quotas"]

    def test_they_are_answered(self):
        quotas = self.quota(maxBytes=10 * MIB, maxAllocations=5)
        self.assertEqual([(10 * MIB, 5)], [(q["maxBytes"], q["maxAllocations"]) for q in quotas])

    def test_of_bytes(self):
        self.quota(maxBytes=10 * MIB)
        self.allocate(8 * MIB)
        with self.nothing_changes():
            self.refused_space(self.try_allocate(4 * MIB, "host:0"), "QUOTA_EXCEEDED")
        self.allocate(1 * MIB)

    def test_of_allocations(self):
        self.quota(maxAllocations=3)
        made = [self.allocate(4096) for _ in range(2)]
        with self.nothing_changes():
            self.refused_space(self.try_allocate(4096, "host:0"), "QUOTA_EXCEEDED")
        self.free(made[0])
        self.allocate(4096)

    def test_what_no_device_could_hold_is_too_large_whatever_the_quota(self):
        self.quota(maxBytes=10 * MIB)
        with self.nothing_changes():
            self.refused_space(self.try_allocate(100 * GIB, "host:0"), "ALLOCATION_TOO_LARGE")

    def test_it_counts_transfers_too(self):
        self.quota(maxBytes=10 * MIB)
        allocation = self.allocate(8 * MIB)
        with self.nothing_changes():
            answer = self.try_transfer(allocation, "host:0", "host:1", wait=True)
            self.refused_space(answer, "QUOTA_EXCEEDED")
        self.assertEqual("completed", self.transfer(allocation, mode="move")["status"])

    def test_it_can_be_lifted(self):
        self.quota(maxBytes=1 * MIB)
        self.refused_space(self.try_allocate(4 * MIB, "host:0"), "QUOTA_EXCEEDED")
        self.quota(maxBytes=1 * GIB)
        self.allocate(4 * MIB)


class Thresholds(SharedDaemonCase):
    DEFAULT = {"moderate": 75, "high": 90, "critical": 95}

    def setUp(self):
        self.ok(self.daemon.put(THRESHOLDS, self.DEFAULT))

    def thresholds(self):
        return self.ok(self.daemon.get(f"{MEMORY}/pressure"))["thresholds"]

    def test_new_ones_hold_everywhere(self):
        wanted = {"moderate": 50, "high": 60.5, "critical": 80}
        self.ok(self.daemon.put(THRESHOLDS, wanted))
        self.assertEqual(wanted, self.thresholds())
        self.assertEqual(wanted, self.ok(self.daemon.get(f"{MEMORY}/pressure/host:1"))["thresholds"])

    def test_what_was_not_said_stays(self):
        self.ok(self.daemon.put(THRESHOLDS, {"moderate": 60}))
        self.assertEqual(self.DEFAULT | {"moderate": 60}, self.thresholds())

    def test_what_is_refused(self):
        for body, code in (({"moderate": 95, "high": 90, "critical": 80}, "INVALID_ARGUMENT"),
                           ({"high": 101}, "INVALID_ARGUMENT"), ({"moderate": -1}, "INVALID_ARGUMENT"),
                           ({"moderate": 96}, "INVALID_ARGUMENT"), ({"moderate": "75"}, "INVALID_ARGUMENT"),
                           ({"low": 5}, "UNKNOWN_FIELD")):
            with self.subTest(body):
                answer = self.daemon.put(THRESHOLDS, body)
                self.refused(answer, 400, code)
                self.assertEqual(self.DEFAULT, self.thresholds())

    def test_a_number_out_of_range_is_named(self):
        for name in self.DEFAULT:
            for percent in (0, -1, 100.5):
                with self.subTest(name, percent=percent):
                    self.refused_field(self.daemon.put(THRESHOLDS, {name: percent}), "INVALID_ARGUMENT", name)


class DefaultThresholds(SharedDaemonCase):
    def test_they_are_75_90_and_95(self):
        self.assertEqual(Thresholds.DEFAULT, self.ok(self.daemon.get(f"{MEMORY}/pressure"))["thresholds"])


class Pressure(DaemonCase):
    devices = ("host:0=1000MiB", "host:1=1000MiB")

    def pressure(self, device="host:0"):
        data = self.ok(self.daemon.get(f"{MEMORY}/pressure/{device}"))
        self.assert_shape(data, shapes.PRESSURE)
        return data

    def test_the_hosts_has_the_shape(self):
        self.assert_shape(self.ok(self.daemon.get(f"{MEMORY}/pressure")), shapes.PRESSURE)

    def test_levels_follow_the_thresholds(self):
        for size, percent, level in ((740, 74, "low"), (20, 76, "moderate"), (150, 91, "high"), (50, 96, "critical")):
            self.allocate(size * MIB)
            with self.subTest(level):
                pressure = self.pressure()
                self.assertEqual((level, percent), (pressure["level"], pressure["percent"]))

    def test_status_says_the_same(self):
        self.allocate(800 * MIB)
        status = self.device()["pressure"]
        self.assertEqual(("moderate", 80), (status["level"], status["percent"]))
        self.assertEqual("low", self.device("host:1")["pressure"]["level"])

    def test_it_falls_again(self):
        allocation = self.allocate(960 * MIB)
        self.assertEqual("critical", self.pressure()["level"])
        self.free(allocation)
        wait_until(lambda: self.pressure()["level"] == "low", "the pressure to be gone")

    def test_health_of_the_device_follows(self):
        self.assertEqual("healthy", self.device()["health"])
        self.allocate(920 * MIB)
        self.assertEqual("warning", self.device()["health"])
        self.allocate(40 * MIB)
        self.assertEqual("critical", self.device()["health"])
        self.assertEqual("healthy", self.device("host:1")["health"])

    def test_cache_is_reclaimable_and_no_pressure(self):
        made = [self.allocate(512 * 1024) for _ in range(40)]
        for allocation in made:
            self.free(allocation)
        pressure = self.pressure()
        self.assertEqual(self.device()["cachedBytes"], pressure["reclaimableBytes"])
        self.assertGreater(pressure["reclaimableBytes"], 0)
        self.assertEqual(0, pressure["percent"])

    def test_from_moderate_on_no_cache_is_kept(self):
        for allocation in [self.allocate(512 * 1024) for _ in range(40)]:
            self.free(allocation)
        self.allocate(700 * MIB)
        self.assertEqual("low", self.pressure()["level"])
        self.assertGreater(self.device()["cachedBytes"], 0)
        self.allocate(60 * MIB)
        wait_until(lambda: not self.device()["cachedBytes"], "the cache to be given back")
        self.assertEqual("moderate", self.pressure()["level"])

    def test_lower_thresholds_take_effect_at_once(self):
        self.allocate(500 * MIB)
        self.assertEqual("low", self.pressure()["level"])
        self.ok(self.daemon.put(THRESHOLDS, {"moderate": 30, "high": 40, "critical": 60}))
        self.assertEqual("high", self.pressure()["level"])

    def test_a_lower_limit_is_pressure(self):
        self.allocate(500 * MIB)
        self.ok(self.daemon.put(LIMITS, {"maxBytes": 550 * MIB}))
        pressure = self.pressure()
        self.assertEqual(("high", 90.91), (pressure["level"], pressure["percent"]))

    def test_its_bytes_are_the_devices(self):
        self.allocate(100 * MIB)
        pressure, device = self.pressure(), self.device()
        self.assertEqual((device["availableBytes"], device["totalBytes"]),
                         (pressure["availableBytes"], pressure["totalBytes"]))

    def test_of_an_unknown_device(self):
        self.refused(self.daemon.get(f"{MEMORY}/pressure/cuda:0"), 404, "DEVICE_NOT_FOUND")


if __name__ == "__main__":
    unittest.main()
