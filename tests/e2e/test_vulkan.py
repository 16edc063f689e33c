"""memkeepd on Vulkan's cards: Mesa's software driver twice, as FAKE cards (tests/vk_pretend.h) with a validation layer over
them, or bare. Owned by processes of their own, moved by workers; what is used is what the driver says, or null."""

import os
import random
import signal
import threading
import time
import unittest

from harness import BIN, GIB, MIB, Daemon, wait_until
from models import ModelWords, some_tensors, write_safetensors, write_sparse
from restart import RestartCase

FOLDER = BIN.parent / "tests/vulkan"
LAYERS = "/usr/share/vulkan/explicit_layer.d"
CARD = 512 * MIB
WRONG = ("VUID-", "Validation Error")


def environment(folder, cards=2, pretend=True, **more):
    folder.mkdir(exist_ok=True)
    layers = ["VK_LAYER_KHRONOS_validation"] + ["VK_LAYER_MEMKEEP_pretend"] * pretend
    return {"VK_ICD_FILENAMES": ":".join(str(FOLDER / f"card{i}.json") for i in range(cards)) or "/nowhere",
            "VK_LAYER_PATH": f"{FOLDER}:{LAYERS}", "VK_INSTANCE_LAYERS": ":".join(layers), "VK_PRETEND_DIR": str(folder),
            "VK_PRETEND_MIB": str(CARD // MIB)} | more


class VulkanCase(RestartCase, ModelWords):
    flags, devices, pretend = ("--mover-idle", "1h"), ("host:0=2GiB", "vulkan:0", "vulkan:1"), True
    card = CARD

    def setUp(self):
        self.daemon = Daemon(*self.flags, devices=self.devices, start=False)
        self.cards = self.daemon.folder / "cards"
        self.daemon.environment |= environment(self.cards, pretend=self.pretend, VK_PRETEND_MIB=str(self.card // MIB))
        self.addCleanup(self.daemon.close)
        self.daemon.start()

    def tearDown(self):
        said = self.daemon.log()
        for word in WRONG:
            self.assertNotIn(word, said)
        super().tearDown()

    def set_budget(self, mib):
        fresh = self.cards / "budget.new"
        fresh.write_text(str(mib))
        fresh.rename(self.cards / "budget")

    def used(self, device="vulkan:0"):
        return self.device(device)["usedBytes"]

    def worker(self, name="vulkan:0"):
        return next(worker for worker in self.workers() if worker["workerId"] == name)

    def brokers(self):
        """{device: pid} of the processes that own for this daemon."""
        found = {}
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/cmdline", "rb") as file:
                    words = file.read().decode().split("\0")
                with open(f"/proc/{pid}/status", encoding="ascii") as file:
                    parent = next(int(line.split()[1]) for line in file if line.startswith("PPid:"))
            except (FileNotFoundError, ProcessLookupError):
                continue  # it has just ended
            if "--own" in words and parent == self.daemon.process.pid:
                found[words[words.index("--own") + 1].split(",")[0].split("=")[0]] = int(pid)
        return found


class Cards(VulkanCase):
    def test_say_what_they_are(self):
        self.assertEqual(["host:0", "vulkan:0", "vulkan:1"], [d["deviceId"] for d in self.host()["devices"]])
        one, other = self.device("vulkan:0"), self.device("vulkan:1")
        self.assertEqual(("gpu", "vulkan", "VRAM", "healthy", CARD, None),
                         tuple(one[name] for name in ("type", "backend", "memoryType", "health", "totalBytes",
                                                      "overheadBytes")))
        self.assertNotEqual(one["uuid"], other["uuid"])
        self.assertEqual("vulkan:1", self.device(other["uuid"])["deviceId"])
        self.assertEqual((0, CARD), (one["usedBytes"], one["availableBytes"]))

    def test_the_daemon_has_no_driver(self):
        self.assertEqual({"vulkan:0", "vulkan:1"}, set(self.brokers()))
        self.fill(self.allocate(MIB, "vulkan:0"), 1)
        with open(f"/proc/{self.daemon.process.pid}/maps", encoding="ascii") as file:
            self.assertNotIn("libvulkan", file.read())

    def test_what_is_used_is_the_drivers_figure(self):
        allocation = self.allocate(20 * MIB, "vulkan:0", share="read")
        self.fill(allocation, 1)
        wait_until(lambda: self.used() == 20 * MIB, "the driver's figure")
        self.assertEqual(0, self.used("vulkan:1"))
        self.free(allocation)
        wait_until(lambda: self.used() == 0, "the memory is the driver's again")

    def test_new_memory_is_zeros_and_is_not_read_again(self):
        self.free(self.allocate(MIB, "vulkan:0"))  # who copies has started
        trace = self.cards / "trace"
        trace.touch()
        new = self.allocate(64 * MIB, "vulkan:0", share="read")
        self.assertLess(trace.read_text().count("s"), 10)
        trace.unlink()
        old = self.allocate(64 * MIB, "host:0")
        self.fill(old, 0)
        self.assertEqual(self.checksum(old), self.checksum(new))

    def test_a_full_card(self):
        self.refused_space(self.try_allocate(CARD + MIB, "vulkan:0"), "ALLOCATION_TOO_LARGE")
        whole = self.allocate(400 * MIB, "vulkan:0", share="read")
        self.refused_space(self.try_allocate(120 * MIB, "vulkan:0"), "INSUFFICIENT_MEMORY")
        self.free(whole)
        self.free(self.allocate(400 * MIB, "vulkan:0", share="read", waitMs=10000))

    def test_a_budget_that_falls_is_pressure_and_rises_again(self):
        self.allocate(100 * MIB, "vulkan:0")
        self.set_budget(101)
        wait_until(lambda: self.device("vulkan:0")["pressure"]["level"] == "critical", "pressure")
        self.refused_space(self.try_allocate(50 * MIB, "vulkan:0"), "INSUFFICIENT_MEMORY")
        self.set_budget(CARD // MIB)
        wait_until(lambda: self.device("vulkan:0")["pressure"]["level"] == "low", "no pressure")
        self.free(self.allocate(50 * MIB, "vulkan:0"))


class Falling(VulkanCase):
    """Somebody else takes most of a card on which models are."""

    devices, card, models_mib, fallen = ("host:0=2GiB", "vulkan:0"), GIB, 64, 300 * MIB

    def setUp(self):
        super().setUp()
        for i in range(10):
            path = write_sparse(self.folder(f"m{i}") / "m.safetensors", self.models_mib * MIB)
            self.load(path, "vulkan:0", name=f"m{i}", verify=False)
        self.ended, self.answers = threading.Event(), []

    def ask(self):
        """Requests that have room as soon as others made it, one after the other."""
        with self.daemon.session() as session:
            while not self.ended.is_set():
                answer = session.post("/api/memory/allocations/allocate/vulkan:0", {"sizeBytes": 24 * MIB, "waitMs": 60000})
                self.answers.append(answer.status)
                if answer.status == 200:
                    session.delete(f"/api/memory/allocations/{answer.data['allocation']['allocationId']}")

    def test_models_make_room_and_every_request_is_served(self):
        asker = threading.Thread(target=self.ask)
        self.addCleanup(self.ended.set)
        with self.daemon.events("?types=pressure.changed") as events:
            asker.start()
            wait_until(lambda: self.answers, "a first request")
            self.set_budget(self.fallen // MIB)
            began = time.monotonic()
            events.find(lambda e: e.data["deviceId"] == "vulkan:0" and e.data["level"] in ("high", "critical"), 60)
            raised = time.monotonic() - began
        wait_until(lambda: self.device("vulkan:0")["committedBytes"] <= self.fallen, "models are gone", 60)
        relieved = time.monotonic() - began
        wait_until(lambda: self.device("vulkan:0")["pressure"]["level"] in ("low", "moderate"), "the pressure falls", 60)
        seen = len(self.answers)
        wait_until(lambda: len(self.answers) > seen + 1, "requests after it", 60)
        self.ended.set()
        asker.join(60)
        print(f"a budget of 1 GiB fell to 300 MiB under 640 MiB of models: pressure after {raised:.2f} s, below it after "
              f"{relieved:.2f} s, {len(self.answers)} requests meanwhile", flush=True)
        self.assertEqual({200}, set(self.answers))


class Small(VulkanCase):
    """A driver that makes less at once than the card has."""

    devices = ("host:0=2GiB", "vulkan:0")

    def setUp(self):
        super().setUp()
        self.daemon.stop()
        self.daemon.environment["VK_PRETEND_MOST"] = "64"
        self.daemon.start()

    def test_what_no_waiting_gets_is_refused_at_once(self):
        self.refused(self.try_allocate(100 * MIB, "vulkan:0", waitMs=60000), 507, "ALLOCATION_TOO_LARGE")
        self.assertIn("makes 64 MiB of memory at once", self.daemon.log())
        self.fill(self.allocate(60 * MIB, "vulkan:0"), 1)


class Bytes(VulkanCase):
    def test_come_and_go(self):
        here = self.allocate(48 * MIB + 5, "host:0")
        checksum = self.fill(here, 0x77)["checksum"]
        there = self.transfer(here, target="vulkan:0", mode="copy", verify=True)
        self.assertEqual(("completed", "staged", checksum), (there["status"], there["path"], there["checksum"]))
        moved = self.transfer(here, target="vulkan:1", mode="move", verify=True)
        self.assertEqual(checksum, moved["checksum"])
        again = self.transfer(here, "vulkan:1", "vulkan:0", mode="move", verify=True)
        self.assertEqual((checksum, "staged"), (again["checksum"], again["path"]))
        home = self.transfer(here, "vulkan:0", "host:0", mode="move", verify=False)
        self.assertEqual("completed", home["status"])
        self.assertEqual(checksum, self.checksum(here))

    def test_go_straight_where_drivers_pass_dmabufs(self):
        for dmabufs, path in (("yes", "peer"), ("refuses", "staged"), ("lies", "staged")):
            with self.subTest(dmabufs=dmabufs):
                self.daemon.stop()
                self.daemon.environment["VK_PRETEND_DMABUF"] = dmabufs
                self.daemon.start()
                one = self.allocate(40 * MIB + 5, "vulkan:0")
                checksum = self.fill(one, 0x3c)["checksum"]
                sent = self.transfer(one, "vulkan:0", "vulkan:1", mode="move", verify=False)
                self.assertEqual(("completed", path), (sent["status"], sent["path"]))
                back = self.transfer(one, "vulkan:1", "vulkan:0", mode="move", verify=True)
                self.assertEqual((checksum, True, path), (back["checksum"], back["verified"], back["path"]))
                self.assertEqual(checksum, self.checksum(one))
                self.free(one)
                wait_until(lambda: self.used() == self.used("vulkan:1") == 0, "both cards are empty")

    def test_survive_the_daemon_and_all_its_processes(self):
        allocation = self.allocate(5 * MIB, "vulkan:0", persistent=True)
        small = [self.allocate(100000 + i, "vulkan:1", persistent=True) for i in range(20)]
        sums = {a["allocationId"]: self.fill(a, i)["checksum"] for i, a in enumerate([allocation, *small])}
        os.kill(self.worker()["pid"], signal.SIGKILL)
        for pid in self.brokers().values():
            os.kill(pid, signal.SIGKILL)
        self.crash()
        for name, checksum in sums.items():
            self.assertEqual(checksum, self.checksum(name))
        self.fill(self.allocate(30 * MIB, "vulkan:0"), 3)
        for device in self.devices[1:]:
            wait_until(lambda name=device: self.used(name) == self.committed(name), "the driver's figure to be ours")

    def test_an_owner_that_died_is_replaced(self):
        before = self.brokers()
        allocation = self.allocate(5 * MIB, "vulkan:0")
        checksum = self.fill(allocation, 1)["checksum"]
        os.kill(before["vulkan:0"], signal.SIGKILL)
        self.fill(self.allocate(5 * MIB, "vulkan:0"), 2)
        after = self.brokers()
        self.assertNotEqual(before["vulkan:0"], after["vulkan:0"])
        self.assertEqual(before["vulkan:1"], after["vulkan:1"])
        self.assertEqual(checksum, self.checksum(allocation))

    def test_of_a_model(self):
        path = self.folder("m") / "m.safetensors"
        write_safetensors(path, some_tensors(random.Random(8), 8, 8 * MIB))
        model = self.load(path, "vulkan:0", name="m")
        self.assertEqual("vulkan:0", model["deviceId"])
        end = self.ok(self.daemon.post("/api/memory/transfer", {
            "modelId": "m", "sourceDeviceId": "vulkan:0", "targetDeviceId": "host:0", "mode": "copy", "wait": True}))
        self.assertEqual("completed", end["status"], end)
        with self.attached("m@host:0") as attached:
            self.assertEqual({"m.safetensors": path.read_bytes()}, attached.files())


class Bare(VulkanCase):
    """A driver that does not say what is used, as this one of itself."""

    devices, pretend = ("host:0=2GiB", "vulkan:0=1GiB"), False

    def test_nothing_is_said_that_is_not_known(self):
        self.fill(self.allocate(20 * MIB, "vulkan:0", share="read"), 7)
        card = self.device("vulkan:0")
        self.assertEqual([None] * 4, [card[name] for name in ("usedBytes", "externalBytes", "overheadBytes",
                                                              "utilizationPercent")])
        self.assertEqual((GIB - 20 * MIB, 20 * MIB), (card["availableBytes"], card["committedBytes"]))
        self.assertEqual("UNIFIED", card["memoryType"])
        self.assertEqual(0, self.host()["usedBytes"])
        self.assertNotIn('memkeep_device_used_bytes{device="vulkan:0"}', self.daemon.get("/metrics").body.decode())


class Shared(VulkanCase):
    """Cards whose memory is the host's, beside a pool of it: one RAM."""

    devices = ("host:0=64MiB", "vulkan:0", "vulkan:1")

    def again(self, mib):
        self.daemon.stop()
        self.daemon.environment |= {"VK_PRETEND_INTEGRATED": "1", "VK_PRETEND_MIB": str(mib)}
        self.daemon.start()
        self.assertEqual({"UNIFIED"}, {self.device(name)["memoryType"] for name in self.devices[1:]})

    def test_is_not_more_than_there_is(self):
        with open("/proc/meminfo", encoding="ascii") as file:
            ram = int(file.readline().split()[1]) * 1024
        self.again(ram // MIB)
        self.fill(self.allocate(5 * MIB, "vulkan:0"), 1)
        host, pressure = self.host(), self.ok(self.daemon.get("/api/memory/pressure"))
        self.assertEqual((ram, ram), (host["totalBytes"], pressure["totalBytes"]))
        self.assertLess(host["availableBytes"], ram)
        self.assertLess(pressure["availableBytes"], ram)
        self.assertEqual(ram // MIB * MIB, self.ok(self.daemon.get("/api/memory/pressure/vulkan:0"))["totalBytes"])

    def test_is_added_up_where_there_is_enough(self):
        self.again(32)
        self.allocate(5 * MIB, "vulkan:0", share="read")
        self.allocate(7 * MIB, "vulkan:1", share="read")
        wait_until(lambda: [self.used(name) for name in self.devices[1:]] == [5 * MIB, 7 * MIB], "the drivers' figures")
        host = self.host()
        self.assertEqual((128 * MIB, 12 * MIB), (host["totalBytes"], host["usedBytes"]))
        self.assertEqual(128 * MIB, self.ok(self.daemon.get("/api/memory/pressure"))["totalBytes"])


class Absent(unittest.TestCase):
    def test_no_driver_is_no_error_but_where_one_was_named(self):
        with_none = Daemon(devices=("host:0=64MiB",), start=False)
        self.addCleanup(with_none.close)
        with_none.environment |= environment(with_none.folder / "cards", cards=0)
        with_none.start()
        self.assertEqual(200, with_none.get("/api/memory/status").status)
        with_none.stop()
        with_none.command += ["--device", "vulkan:0"]
        with_none.spawn()
        self.assertEqual(2, with_none.process.wait(60))
        self.assertIn("device vulkan:0 cannot be opened", with_none.log())


if __name__ == "__main__":
    unittest.main()
