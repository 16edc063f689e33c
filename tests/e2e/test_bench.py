"""`memkeep bench`: it measures, says what, and leaves nothing behind, however it ends."""

import json
import signal
import subprocess
import unittest

from harness import MIB, SharedDaemonCase, clean_environment, program, run_program, wait_until

NAMES = ["memcpy", "allocate and free", "attach and detach", "copy by the daemon", "copy, both ends compared"]


class Bench(SharedDaemonCase):
    devices = ("host:0=256MiB", "fake:0=64MiB")

    def bench(self, *words, code=0):
        result = run_program("memkeep", "--socket", self.daemon.socket_path, "bench", *words, seconds=120)
        self.assertEqual(code, result.returncode, result.stdout + result.stderr)
        return result

    def tearDown(self):
        super().tearDown()
        self.assertEqual([], self.allocations())
        self.assertEqual((0, 0), (self.device()["allocatedBytes"], self.device("fake:0")["allocatedBytes"]))

    def test_a_table(self):
        out = self.bench("--size", "1MiB").stdout
        for text in (*NAMES, "transfer host:0 to fake:0", "1.0 MiB", "OF MEMCPY", "medians"):
            self.assertIn(text, out)

    def test_json(self):
        data = json.loads(self.bench("--size", "1MiB", "--json").stdout)
        self.assertEqual(1 * MIB, data["sizeBytes"])
        found = {one["name"]: one for one in data["measurements"]}
        self.assertEqual([*NAMES, "transfer host:0 to fake:0"], list(found))
        self.assertEqual(1, found["memcpy"]["ofMemcpy"])
        for one in found.values():
            self.assertGreater(one["medianMs"], 0)
            self.assertGreater(one.get("bytesPerSecond", one.get("perSecond")), 0)

    def test_one_target(self):
        self.assertNotIn("transfer", self.bench("host:0", "--size", "1MiB").stdout)
        self.bench("cuda:7", code=1)

    def test_what_does_not_fit_is_said(self):
        self.assertIn("more than host:0", self.bench("--size", "1GiB", code=1).stderr)
        result = self.bench("--size", "100MiB", code=1)  # not on fake:0; the rest is shown
        self.assertIn("transfer host:0 to fake:0:", result.stderr)
        self.assertIn("memcpy", result.stdout)

    def test_words_that_are_wrong(self):
        for words in (("--size", "1"), ("--size", "1TiB"), ("--size", "much"), ("--surprise",),
                      ("--url", "http://127.0.0.1:1")):
            with self.subTest(words):
                result = run_program("memkeep", "bench", *words)
                self.assertEqual((2, ""), (result.returncode, result.stdout))
        self.assertEqual(3, run_program("memkeep", "bench", "--socket", "/nowhere").returncode)

    def test_whatever_ends_it(self):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            with self.subTest(number):
                with subprocess.Popen([program("memkeep"), "--socket", self.daemon.socket_path, "bench", "--size", "32MiB"],
                                      env=clean_environment(), stdout=subprocess.PIPE) as process:
                    wait_until(lambda: len(self.allocations()) >= 2, "it has begun")
                    process.send_signal(number)
                    self.assertEqual(b"", process.stdout.read())
                    self.assertEqual(-number, process.wait(60))
                wait_until(lambda: not self.allocations(), "all is freed")


if __name__ == "__main__":
    unittest.main()
