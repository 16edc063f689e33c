"""Defragment: blocks really move, their bytes stay the same, and the kernel gets the segments back."""

import unittest

import kernel
import shapes
import xxh3
from harness import KIB, MEMORY, MIB, DaemonCase, name_of

DEFRAGMENT = f"{MEMORY}/operations/defragment"
BLOCK = 64 * KIB


def stamp(number):
    """The content of block `number`, unlike every other's."""
    return (bytes([number]) * 300 + bytes([255 - number]) * 300).ljust(BLOCK, bytes([7 * number % 256]))


class Defragment(DaemonCase):
    devices = ("host:0=2GiB", "host:1=2GiB", "fake:0=1GiB")

    def defragment(self, device="", **body):
        data = self.ok(self.daemon.post(f"{DEFRAGMENT}{device and '/'}{device}", body))
        self.assert_shape(data, shapes.DEFRAGMENTED)
        return data

    def holes(self, device="host:0", count=160, **fields):
        """Stamped blocks with a hole beside each: {number: allocation}."""
        blocks = {number: self.allocate(BLOCK, device, **fields) for number in range(count)}
        for number, block in blocks.items():
            self.fill(block, 7 * number % 256)
            self.fill(block, number, sizeBytes=300)
            self.fill(block, 255 - number, offsetBytes=300, sizeBytes=300)
        for number in range(1, count, 2):
            self.free(blocks.pop(number), force=True)
        return blocks

    def assert_intact(self, blocks):
        for number, block in blocks.items():
            self.assertEqual(xxh3.text(stamp(number)), self.checksum(block), f"block {number}")

    def test_half_empty_slabs_are_half_fragmented(self):
        self.holes()
        self.assertAlmostEqual(50, self.device()["fragmentationPercent"], delta=6)

    def test_it_makes_fragments_whole(self):
        blocks = self.holes()
        before = self.device()
        data = self.defragment(strategy="thorough")
        after = self.device()
        self.assertEqual(before["fragmentationPercent"], data["fragmentationBefore"])
        self.assertEqual(after["fragmentationPercent"], data["fragmentationAfter"])
        self.assertAlmostEqual(data["fragmentationBefore"] - data["fragmentationAfter"],
                               data["fragmentationReduced"], delta=0.011)
        self.assertEqual(len(blocks) * BLOCK, after["allocatedBytes"])
        self.assertLess(after["committedBytes"], len(blocks) * BLOCK + 2 * MIB, "more than one slab is half full")
        self.assertGreater(data["allocationsMoved"], 0)
        self.assertEqual(data["allocationsMoved"] * BLOCK, data["defragmentedBytes"])
        self.assertEqual(before["segments"] - after["segments"], data["segmentsReleased"])

    def test_contents_are_identical_afterwards(self):
        for device in ("host:0", "fake:0"):
            with self.subTest(device):
                blocks = self.holes(device, 96)
                self.assertGreater(self.defragment(device, strategy="thorough")["allocationsMoved"], 0)
                self.assert_intact(blocks)

    def test_the_bytes_are_where_the_allocation_now_says(self):
        blocks = self.holes(count=96)
        self.defragment(strategy="thorough")
        memfds = [path for path, _, _ in kernel.memfds(self.daemon.pid).values()]
        for number, block in blocks.items():
            at = self.look(block)["offsetBytes"]
            contents = [kernel.read_memfd(path, BLOCK, at) for path in memfds]
            self.assertEqual(1, contents.count(stamp(number)), f"block {number} at {at}")

    def test_ids_and_sizes_stay(self):
        blocks = self.holes()
        self.defragment(strategy="thorough")
        self.assertEqual({name_of(b) for b in blocks.values()}, {name_of(a) for a in self.allocations()})
        self.assertEqual({BLOCK}, {a["sizeBytes"] for a in self.allocations()})

    def test_the_kernel_gets_the_memory_back(self):
        self.holes()
        before = self.daemon.resident()
        data = self.defragment(strategy="thorough")
        self.assertGreaterEqual(data["releasedBytes"], 4 * MIB)
        self.assertGreaterEqual(before - self.daemon.resident(), 4 * MIB)
        self.assertEqual(0, self.device()["cachedBytes"])

    def test_pinned_blocks_never_move(self):
        blocks = self.holes(count=64, pinned=True)
        places = {name_of(a): (a["segmentId"], a["offsetBytes"]) for a in self.allocations()}
        self.assertEqual(0, self.defragment(strategy="thorough")["allocationsMoved"])
        self.assertEqual(places, {name_of(a): (a["segmentId"], a["offsetBytes"]) for a in self.allocations()})
        self.assert_intact(blocks)

    def test_a_dry_run_moves_nothing_and_foretells_the_real_run(self):
        self.holes()
        odd = [self.allocate(BLOCK - 100, "host:0") for _ in range(160)]
        for number, block in enumerate(odd):
            if number % 8:
                self.free(block)
        with self.nothing_changes():
            plan = self.defragment("host:0", strategy="thorough", dryRun=True)
        self.assertIsNone(plan["jobId"])
        real = self.defragment("host:0", strategy="thorough")
        for name in ("allocationsMoved", "defragmentedBytes", "segmentsReleased", "releasedBytes",
                     "fragmentationBefore", "fragmentationAfter"):
            with self.subTest(name):
                self.assertEqual(plan[name], real[name])

    def test_a_second_time_there_is_nothing_to_do(self):
        self.holes()
        self.defragment(strategy="thorough")
        data = self.defragment(strategy="thorough")
        self.assertEqual((0, 0, 0), (data["allocationsMoved"], data["segmentsReleased"], data["releasedBytes"]))

    def test_balanced_ends_under_ten_percent(self):
        self.holes(count=250)
        self.defragment()
        device = self.device()
        lost = device["committedBytes"] - device["allocatedBytes"]
        self.assertTrue(device["fragmentationPercent"] < 10 or lost < 2 * MIB, device)

    def test_quick_takes_slabs_under_a_quarter_full_only(self):
        blocks = self.holes(count=96)
        self.assertEqual(0, self.defragment(strategy="quick")["allocationsMoved"])
        for number in [n for n in blocks if n % 16]:
            self.free(blocks.pop(number))
        self.assertGreater(self.defragment(strategy="quick")["allocationsMoved"], 0)
        self.assert_intact(blocks)

    def test_one_device_leaves_the_others_alone(self):
        self.holes("host:1", 64)
        self.assertEqual(0, self.defragment("host:0", strategy="thorough")["allocationsMoved"])
        data = self.defragment("host:1", strategy="thorough")
        self.assertGreater(data["allocationsMoved"], 0)
        self.assertEqual(["host:1"], [d["deviceId"] for d in data["devices"]])

    def test_of_one_memory_type(self):
        self.holes("fake:0", 64)
        self.assertEqual(0, self.defragment(strategy="thorough", memoryType="RAM")["allocationsMoved"])
        self.assertGreater(self.defragment(strategy="thorough", memoryType="VRAM")["allocationsMoved"], 0)

    def test_nothing_to_do_is_a_success(self):
        data = self.defragment()
        self.assertEqual((0, 0, 0), (data["allocationsMoved"], data["fragmentationBefore"],
                                     data["fragmentationReduced"]))

    def test_a_moved_block_can_be_used_and_freed(self):
        blocks = self.holes(count=64)
        self.defragment(strategy="thorough")
        for block in blocks.values():
            self.assertEqual(xxh3.text(b"\x42" * BLOCK), self.fill(block, 0x42)["checksum"])
            self.free(block)
        self.assertEqual((0, 0), (self.device()["allocatedBytes"], self.device()["committedBytes"]))

    def test_what_is_refused(self):
        for body, code, field in (({"strategy": "fast"}, "INVALID_ARGUMENT", "strategy"),
                                  ({"maxTimeSeconds": -1}, "INVALID_ARGUMENT", "maxTimeSeconds"),
                                  ({"maxTimeSeconds": "5"}, "INVALID_ARGUMENT", "maxTimeSeconds"),
                                  ({"dryRun": 1}, "INVALID_ARGUMENT", "dryRun"), ({"how": 1}, "UNKNOWN_FIELD", "how")):
            with self.subTest(body), self.nothing_changes():
                self.refused_field(self.daemon.post(DEFRAGMENT, body), code, field)

    def test_of_an_unknown_device(self):
        self.refused(self.daemon.post(f"{DEFRAGMENT}/cuda:0", {}), 404, "DEVICE_NOT_FOUND")


class FailingCopies(DaemonCase):
    """wrap: every 20th copy of the device fails."""

    devices = ("fake:0=1GiB,fail=copy:20",)
    holes, assert_intact = Defragment.holes, Defragment.assert_intact

    def test_blocks_that_could_not_move_are_where_they_were(self):
        blocks = self.holes("fake:0", 96)
        self.daemon.post(DEFRAGMENT, {"strategy": "thorough"})
        self.assertEqual({name_of(b) for b in blocks.values()}, {name_of(a) for a in self.allocations()})
        self.assertEqual(len(blocks) * BLOCK, self.device("fake:0")["allocatedBytes"])
        memfds = [path for path, _, _ in kernel.memfds(self.daemon.pid).values()]
        for number, block in blocks.items():
            at = self.look(block)["offsetBytes"]
            self.assertIn(stamp(number), [kernel.read_memfd(path, BLOCK, at) for path in memfds])


if __name__ == "__main__":
    unittest.main()
