"""memkeep.worker.torch passes the C worker's tests of the wire and of files. (Of segments, where nothing is its own:
test_workers.py.)"""

import sys
import unittest

import test_load
import test_worker as wire


class OnHost(wire.Worker):
    command = (sys.executable, "-m", "memkeep.worker.torch", "--device", "host:0")


class Lines(wire.Lines):
    kind = OnHost


class Files(test_load.OfTheWorker):
    kind = OnHost

    def is_measured(self, data):
        self.assertIsNone(data["checksum"])
        self.assertGreater(data["elapsed_us"], 0)


if __name__ == "__main__":
    unittest.main()
