"""A short torture: tests/torture.py with a fixed seed. `make torture` does it for longer."""

import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from torture import torture  # noqa: E402

SEED, MANY, SLACK = 20261126, 10 ** 6, 10  # times as promised would be a matter of luck beside other tests


class Short(unittest.TestCase):
    def test_kills_that_wait_until_it_is_durable_lose_nothing(self):
        self.assertTrue(torture(SEED, kills=MANY, seconds=35, slack=SLACK))

    def test_kills_that_do_not_wait_lose_nothing_in_silence(self):
        self.assertTrue(torture(SEED, kills=MANY, seconds=20, reckless=True, slack=SLACK))


if __name__ == "__main__":
    unittest.main()
