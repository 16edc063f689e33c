"""memkeep.worker.torch passes the C worker's tests of the wire, of segments and of files."""

import sys
import unittest

import test_load
import test_worker as wire


class OnHost(wire.Worker):
    command = (sys.executable, "-m", "memkeep.worker.torch", "--device", "host:0")


class Lines(wire.Lines):
    kind = OnHost


class Segments(wire.Segments):
    """One thread does all that is slow, so a drop cannot meet who uses it."""
    kind = OnHost
    test_a_drop_waits_for_who_uses_it = None


class Files(test_load.OfTheWorker):
    kind = OnHost

    def is_measured(self, data):
        self.assertIsNone(data["checksum"])
        self.assertGreater(data["elapsed_us"], 0)


if __name__ == "__main__":
    unittest.main()
