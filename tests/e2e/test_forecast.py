"""What the daemon foretells from its own samples: a memory that fills, and one that does not."""

import unittest

from harness import KIB, MEMORY, DaemonCase, run_program, wait_until


class Forecast(DaemonCase):
    def trend(self, device="host:0"):
        return self.ok(self.daemon.get(f"{MEMORY}/usage/{device}"))["devices"][0]["trend"]

    def pressure(self, device="host:0"):
        return self.ok(self.daemon.get(f"{MEMORY}/pressure/{device}"))

    def grows(self):
        self.allocate(256 * KIB, commit=True)
        trend = self.trend()
        return trend["direction"] == "rising" and trend

    def test_a_memory_that_fills_is_told_when_it_is_full(self):
        trend = wait_until(self.grows, "a rise that is seen as one", 60)
        self.assertGreater(trend["bytesPerSecond"], 0)
        until_full, until_critical = trend["timeToFullSeconds"], self.pressure()["timeToCriticalSeconds"]
        self.assertTrue(0 < until_critical < until_full, (until_critical, until_full))
        self.assertLessEqual(trend["timeToFullEarliestSeconds"], until_full)
        self.assertGreaterEqual(trend["timeToFullLatestSeconds"] or until_full, until_full)
        shown = run_program("memkeep", "--socket", self.daemon.socket_path, "usage", "host:0")
        self.assertRegex(shown.stdout, r"rising .* \d+[smhd] \(\d+[smhd] to (\d+[smhd]|-)\)\n")
        still = self.trend("host:1")
        self.assertEqual(("steady", None, None, None), (still["direction"], still["timeToFullSeconds"], still["timeToFullEarliestSeconds"],
                                                        still["timeToFullLatestSeconds"]))
        self.assertIsNone(self.pressure("host:1")["timeToCriticalSeconds"])
        whole = self.ok(self.daemon.get(f"{MEMORY}/pressure"))["timeToCriticalSeconds"]
        self.assertAlmostEqual(until_critical, whole, delta=until_critical / 2)


if __name__ == "__main__":
    unittest.main()
