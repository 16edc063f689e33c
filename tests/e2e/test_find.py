"""Which cards memkeepd finds by itself, and what the kernel says of them: FAKE cards (tests/vk_pretend.h, tests/fake_libcuda.h)
at the addresses of recorded trees (tests/drm)."""

import unittest
from pathlib import Path

from harness import BIN, GIB, MIB, Daemon, run_program, wait_until
from restart import RestartCase
from test_cuda import fake_cards
from test_vulkan import environment

TREES = Path(__file__).parents[1] / "drm"
FAKE_INTEL = BIN.parent / "tests/fake_intel.so"
ONE, OTHER, FAKE_CUDA = "0000:03:00.0", "0000:43:00.0", "0000:fa:00.0"


class FindCase(RestartCase):
    flags, devices = ("--mover-idle", "1h"), ("host:0=2GiB",)

    def setUp(self):
        pass  # each has a daemon of its own

    def find(self, *flags, tree=TREES / "amd-discrete", pci=f"{ONE},{OTHER}", pretend=True, cards=2, **more):
        self.daemon = Daemon(*self.flags, *flags, devices=self.devices, start=False)
        self.addCleanup(self.daemon.close)
        self.daemon.command.remove("--no-gpu")
        self.daemon.environment |= environment(self.daemon.folder / "cards", cards=cards, pretend=pretend)
        self.daemon.environment |= {"MEMKEEP_DRM": str(tree), "VK_PRETEND_PCI": pci, "MEMKEEP_LIBCUDA": "none"} | more
        self.daemon.start()
        return [device["deviceId"] for device in self.host()["devices"]]

    def shown(self, verb):
        shown = run_program("memkeep", "--socket", self.daemon.socket_path, verb)
        self.assertEqual((0, ""), (shown.returncode, shown.stderr))
        return shown.stdout

    def part(self, name):
        parts = self.ok(self.daemon.get("/health/detailed"))["parts"]
        return next((part for part in parts if part["name"] == name), None)


class Found(FindCase):
    def test_cards_have_the_kernels_figures(self):
        self.assertEqual(["host:0", "vulkan:0", "vulkan:1"], self.find())
        card, other = self.device(ONE), self.device(OTHER)
        self.assertEqual({"vulkan:0", "vulkan:1"}, {card["deviceId"], other["deviceId"]})
        self.assertEqual((25753026560, 3 * GIB + 16 * MIB, 3 * GIB + 16 * MIB, "VRAM", "gpu", ONE),
                         tuple(card[name] for name in ("totalBytes", "usedBytes", "externalBytes", "memoryType", "type",
                                                       "pciAddress")))
        self.assertEqual(24 * MIB, other["usedBytes"])
        self.assertIsNone(self.part("cards"))
        self.assertNotIn("memkeep health", self.shown("devices"))

    def test_processes_are_named(self):
        self.find()
        self.device(ONE)  # somebody looks
        wait_until(lambda: self.device(ONE)["processes"], "processes")
        self.assertEqual([(3456, "python3", 2 * GIB + 512 * MIB, False), (1200, "Xorg", 96 * MIB, False)],
                         [(p["pid"], p["name"], p["usedBytes"], p["managed"]) for p in self.device(ONE)["processes"]])

    def test_memory_is_made_filled_and_kept_over_a_crash(self):
        self.find()
        device = self.device(ONE)["deviceId"]
        allocation = self.allocate(5 * MIB, device, persistent=True)
        checksum = self.fill(allocation, 9)["checksum"]
        self.crash()
        self.assertEqual(device, self.device(ONE)["deviceId"])
        self.assertEqual(checksum, self.checksum(allocation))

    @unittest.skipUnless(FAKE_INTEL.exists(), "a sanitizer's own library stands where it would")
    def test_intels_driver_is_asked(self):
        """Answers that are FAKE (tests/shim/fake_intel.c)."""
        self.find(tree=TREES / "intel-arc-xe", cards=1, pci=ONE, LD_PRELOAD=str(FAKE_INTEL))
        card = self.device(ONE)
        self.assertEqual((12 * GIB - 240 * MIB, 4 * GIB + 64 * MIB, 4 * GIB + 64 * MIB),
                         tuple(card[name] for name in ("totalBytes", "usedBytes", "externalBytes")))
        self.fill(self.allocate(5 * MIB, "vulkan:0"), 1)

    def test_where_intels_driver_tells_nothing_vulkan_does(self):
        self.find(tree=TREES / "intel-arc-xe", cards=1, pci=ONE)
        self.assertEqual(0, self.device(ONE)["usedBytes"])
        self.assertEqual(self.device(ONE)["availableBytes"], self.device(ONE)["totalBytes"])

    def test_graphics_of_the_processor_have_one_budget(self):
        self.assertEqual(["host:0", "vulkan:0"], self.find(tree=TREES / "amd-apu", cards=1, pci="0000:c1:00.0",
                                                           VK_PRETEND_INTEGRATED="1"))
        card = self.device("vulkan:0")
        self.assertEqual(("UNIFIED", 15 * GIB + 512 * MIB, 2 * GIB + 400 * MIB),
                         tuple(card[name] for name in ("memoryType", "totalBytes", "usedBytes")))

    def test_memory_that_is_the_hosts_is_counted_once(self):
        self.devices = ("host:0",)
        self.find(tree=TREES / "amd-apu", cards=1, pci="0000:c1:00.0", VK_PRETEND_INTEGRATED="1")
        self.allocate(5 * MIB, "vulkan:0")
        host = self.host()
        ram = next(device for device in host["devices"] if device["deviceId"] == "host:0")
        for name in ("totalBytes", "usedBytes", "externalBytes"):
            self.assertEqual(ram[name], host[name], name)
        self.assertLessEqual(host["availableBytes"], ram["totalBytes"])
        self.assertEqual(5 * MIB, host["allocatedBytes"])

    def test_one_that_was_named_is_not_there_twice(self):
        self.devices = ("host:0=2GiB", "vulkan:1=100MiB")
        self.assertEqual(["host:0", "vulkan:0", "vulkan:1"], sorted(self.find()))
        self.assertEqual(100 * MIB, self.device("vulkan:1")["limits"]["maxBytes"])

    def test_one_that_was_named_by_its_uuid_has_that_number(self):
        self.find()
        uuid = self.device(ONE)["uuid"]
        self.daemon.close()
        self.devices = ("host:0=2GiB", f"vulkan:7,uuid={uuid.upper()}")
        found = self.find()
        self.assertEqual((3, "vulkan:7"), (len(found), self.device(ONE)["deviceId"]))


class Renumbered(FindCase):
    """A card that the drivers list elsewhere than before."""

    def keep(self, device):
        kept = self.allocate(5 * MIB, device, persistent=True)
        return kept, self.fill(kept, 9)["checksum"]

    def again(self, cards, **more):
        self.daemon.environment |= environment(self.daemon.folder / "cards", cards=cards) | more
        self.crash()
        return [device["deviceId"] for device in self.host()["devices"]]

    def test_keeps_its_id_and_its_memory(self):
        self.assertEqual(["host:0", "vulkan:0"], self.find(cards=1, VK_PRETEND_UUIDS="5"))
        uuid = self.device("vulkan:0")["uuid"]
        kept, checksum = self.keep("vulkan:0")
        found = self.again(2, VK_PRETEND_UUIDS="5,3")
        self.assertEqual(["host:0", "vulkan:0", "vulkan:1"], sorted(found))
        self.assertEqual((uuid, "healthy"), tuple(self.device("vulkan:0")[name] for name in ("uuid", "health")))
        self.assertNotEqual(uuid, self.device("vulkan:1")["uuid"])
        self.assertEqual(checksum, self.checksum(kept))
        self.fill(self.allocate(MIB, "vulkan:1"), 1)

    def test_another_one_is_not_taken_for_it(self):
        self.find(cards=1, VK_PRETEND_UUIDS="5")
        uuid = self.device("vulkan:0")["uuid"]
        kept, checksum = self.keep("vulkan:0")
        self.assertEqual({"host:0", "vulkan:0", "vulkan:1"}, set(self.again(1, VK_PRETEND_UUIDS="6")))
        self.assertEqual("error", self.device("vulkan:0")["health"])
        self.assertEqual(("healthy", 0), tuple(self.device("vulkan:1")[name] for name in ("health", "activeAllocations")))
        self.assertEqual("lost", self.look(kept)["status"])
        self.again(1, VK_PRETEND_UUIDS="5")
        self.assertEqual((uuid, "healthy"), tuple(self.device("vulkan:0")[name] for name in ("uuid", "health")))
        self.assertEqual(checksum, self.checksum(kept))

    def test_one_that_was_named_by_its_number_is_not_another(self):
        self.devices = ("host:0=2GiB", "vulkan:0")
        self.find("--no-vulkan", cards=1, VK_PRETEND_UUIDS="5")
        kept, checksum = self.keep("vulkan:0")
        self.daemon.environment["VK_PRETEND_UUIDS"] = "6"
        self.daemon.kill()
        self.assertEqual(1, self.daemon.spawn().process.wait(60))
        self.assertIn("vulkan:0 is another card than the one with memory on it", self.daemon.log())
        self.daemon.environment["VK_PRETEND_UUIDS"] = "5"
        self.daemon.start()
        self.assertEqual(checksum, self.checksum(kept))


class Merged(FindCase):
    """A card that NVIDIA's driver has under Vulkan too."""

    def test_by_its_address_it_is_cudas(self):
        found = self.find(pci=f"{FAKE_CUDA},{OTHER}", **fake_cards(1))
        self.assertEqual(["host:0", "cuda:0"], found[:2])
        self.assertEqual(3, len(found))
        self.assertEqual("cuda:0", self.device(FAKE_CUDA)["deviceId"])
        self.assertEqual("vulkan", self.device(OTHER)["backend"])
        self.assertRegex(self.daemon.log(), "vulkan:[01] is the card that cuda:0 is")

    def test_by_its_uuid_it_is_cudas(self):
        found = self.find(VK_PRETEND_TWIN="1", VK_PRETEND_LACKS="VK_EXT_pci_bus_info", **fake_cards(2))
        self.assertEqual(["host:0", "cuda:0", "cuda:1"], found)

    def test_a_divided_one_is_its_parts(self):
        found = self.find(pci=FAKE_CUDA, cards=1, **fake_cards(1, FAKE_CUDA_MIG="0:2"))
        self.assertEqual(["host:0", "mig:0", "mig:1"], found)

    def test_where_it_was_named_it_is_vulkans(self):
        self.devices = ("host:0=2GiB", "vulkan:0")
        found = self.find(pci=FAKE_CUDA, cards=1, **fake_cards(1))
        self.assertEqual(["host:0", "vulkan:0"], found)
        self.assertIn("cuda:0 is the card that vulkan:0 is", self.daemon.log())


class NotFound(FindCase):
    def test_software_is_no_card(self):
        self.assertEqual(["host:0"], self.find(pretend=False))
        self.assertIn(f"the card AMD 1002:744c at {ONE} is not served", self.daemon.log())
        self.assertEqual({"name": "cards", "status": "ok",
                          "reason": f"no driver offers the memory of AMD at {ONE}, AMD at {OTHER}"}, self.part("cards"))

    def test_no_driver_is_no_error(self):
        self.assertEqual(["host:0"], self.find(cards=0))
        wait_until(lambda: self.ok(self.daemon.get("/health"))["status"] == "ok", "all to be well")
        self.assertIn("host:0", self.shown("devices"))
        self.assertRegex(self.shown("health"), f"cards +ok +no driver offers the memory of AMD at {ONE}")

    def test_no_driver_is_asked_without_a_card(self):
        self.assertEqual(["host:0"], self.find(tree=TREES / "none", VK_PRETEND_TROUBLE="crash"))
        self.assertIsNone(self.part("cards"))

    def test_none_is_asked_where_that_is_said(self):
        self.assertEqual(["host:0"], self.find("--no-vulkan", VK_PRETEND_TROUBLE="crash"))
        self.assertIsNone(self.part("cards"))


class Trouble(FindCase):
    def in_trouble(self, how, reason):
        self.assertEqual(["host:0"], self.find(VK_PRETEND_TROUBLE=how))
        self.assertEqual({"name": "cards", "status": "degraded",
                          "reason": f"cards may be missing: {reason}; the next start asks again"}, self.part("cards"))
        self.assertIn("memkeep health says whether one is missing", self.shown("devices"))
        self.assertRegex(self.shown("health"), rf"cards +degraded +cards may be missing: {reason}")
        self.ok(self.daemon.get("/health"))
        self.fill(self.allocate(MIB, "host:0"), 1)

    def test_a_driver_that_crashes_costs_a_warning(self):
        self.in_trouble("crash", "the process that asks Vulkan's drivers died, most likely of one of them")

    def test_a_driver_that_hangs_costs_a_warning(self):
        self.in_trouble("hang", "Vulkan's drivers did not answer within 2 s")

    def test_memory_outlives_a_start_at_which_the_driver_crashed(self):
        self.find()
        device = self.device(ONE)["deviceId"]
        allocation = self.allocate(5 * MIB, device, persistent=True)
        checksum = self.fill(allocation, 9)["checksum"]
        self.daemon.environment["VK_PRETEND_TROUBLE"] = "crash"
        self.crash()
        self.assertEqual("error", self.device(device)["health"])
        del self.daemon.environment["VK_PRETEND_TROUBLE"]
        self.stop()
        self.assertEqual(("healthy", checksum), (self.device(device)["health"], self.checksum(allocation)))

    def test_memory_outlives_a_start_without_its_driver(self):
        found = self.find(tree=TREES / "none", **fake_cards(1))
        self.assertEqual(["host:0", "cuda:0"], found)
        kept = self.allocate(5 * MIB, "cuda:0", persistent=True)
        checksum = self.fill(kept, 9)["checksum"]
        given_back = self.allocate(3 * MIB, "cuda:0", share="read")
        library, self.daemon.environment["MEMKEEP_LIBCUDA"] = self.daemon.environment["MEMKEEP_LIBCUDA"], "none"
        self.crash()
        card = self.device("cuda:0")
        self.assertEqual(("error", None), (card["health"], card["usedBytes"]))
        self.assertEqual("lost", self.look(kept)["status"])
        self.refused(self.try_transfer(kept, "cuda:0", "host:0"), 410, "ALLOCATION_LOST")
        self.free(given_back)
        self.daemon.environment["MEMKEEP_LIBCUDA"] = library
        self.stop()
        self.assertEqual(("healthy", checksum), (self.device("cuda:0")["health"], self.checksum(kept)))
        self.assertEqual(1, self.device("cuda:0")["activeAllocations"])


if __name__ == "__main__":
    unittest.main()
