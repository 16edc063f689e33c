"""memkeepd on FAKE cards (tests/fake_libcuda.h): what a daemon does with cards, as far as none is needed for that."""

import contextlib
import os
import random
import signal
import subprocess
import unittest
import uuid
from pathlib import Path

from harness import BIN, KIB, MIB, Daemon, wait_until
from models import Attached, ModelWords, Tensor, some_tensors, write_safetensors
from restart import RestartCase

FAKE = BIN.parent / "tests/fake_libcuda.so"
OLD = FAKE.with_name("fake_libcuda_old.so")  # starts no kernels
CARD, CONTEXT, RESERVED = 256 * MIB, 16 * MIB, 8 * MIB
LAUNCH_FAILED = 719  # CUDA_ERROR_LAUNCH_FAILED
SLOW = 40 * MIB  # to the fake card, which takes 16 MiB/s: longer than the idle time of IdleMovers


def fake_cards(count=2, **more):
    """Cards that nobody else sees."""
    return {"MEMKEEP_LIBCUDA": str(FAKE), "MEMKEEP_LIBNVML": str(FAKE), "FAKE_CUDA_SESSION": uuid.uuid4().hex[:12],
            "FAKE_CUDA_CARDS": str(count), "FAKE_CUDA_BYTES": str(CARD), "FAKE_CUDA_CONTEXT": str(CONTEXT)} | more


@unittest.skipUnless(FAKE.exists(), f"{FAKE} is not built")
class CardCase(RestartCase, ModelWords):
    flags, devices = ("--mover-idle", "1h"), ("host:0=2GiB",)

    def setUp(self):
        self.start_daemon()

    def start_daemon(self, **more):
        daemon = Daemon(*self.flags, devices=self.devices, environment=fake_cards(**more), start=False)
        daemon.command.remove("--no-gpu")
        if "CUDA_VISIBLE_DEVICES" not in more:
            daemon.environment.pop("CUDA_VISIBLE_DEVICES", None)  # of real cards
        self.daemon = daemon.start()
        self.addCleanup(self.daemon.close)

    def used(self, device="cuda:0"):
        return self.device(device)["usedBytes"]

    def worker(self, name="cuda:0"):
        return next(worker for worker in self.workers() if worker["workerId"] == name)

    def contexts_become(self, *pids, device="cuda:0"):
        """Waits until the card says that these and no others have one on it."""
        wait_until(lambda: {process["pid"] for process in self.device(device)["processes"]} == set(pids),
                   f"contexts of {pids} on {device}")


class Cards(CardCase):
    def test_are_found(self):
        self.assertEqual(["host:0", "cuda:0", "cuda:1"], [d["deviceId"] for d in self.host()["devices"]])
        card = self.device("cuda:1")
        self.assertEqual(("gpu", "cuda", "VRAM", "FAKE card 1", "healthy", CARD),
                         tuple(card[name] for name in ("type", "backend", "memoryType", "name", "health", "totalBytes")))
        self.assertEqual("cuda:1", self.device(card["uuid"])["deviceId"])
        self.assertEqual("cuda:1", self.device(card["pciAddress"])["deviceId"])
        self.assertEqual((0, CARD - RESERVED), (card["usedBytes"], card["availableBytes"]))

    def test_are_left_alone_with_no_gpu(self):
        with_none = Daemon(devices=self.devices, environment=fake_cards())
        self.addCleanup(with_none.close)
        self.assertEqual(["host:0"], [d["deviceId"] for d in with_none.get("/api/memory/status").body["data"]["devices"]])

    def test_are_left_out_if_they_cannot_share_memory(self):
        self.daemon.close()
        self.start_daemon(FAKE_CUDA_LACKS="103")
        self.assertEqual(["host:0"], [d["deviceId"] for d in self.host()["devices"]])
        self.assertIn("device cuda:1 cannot be opened: no such device; it is left out", self.daemon.log())

    def test_the_daemon_makes_no_context(self):
        allocation = self.allocate(20 * MIB, "cuda:0", share="read")
        self.fill(allocation, 1)
        self.contexts_become(self.worker()["pid"])
        self.assertEqual(20 * MIB + CONTEXT, self.used())
        self.free(allocation)
        wait_until(lambda: self.used() == CONTEXT, "the memory is the driver's again")

    def test_memory_that_others_use_is_external(self):
        before = self.device("cuda:0")
        other = Daemon("--device", "cuda:0", devices=self.devices, environment=self.daemon.environment)
        self.addCleanup(other.close)
        answer = other.post("/api/memory/allocations/allocate/cuda:0", {"sizeBytes": 60 * MIB, "share": "read"})
        self.assertEqual(200, answer.status, answer.body)

        def seen():
            card = self.device("cuda:0")
            return card["externalBytes"] >= 60 * MIB and card
        card = wait_until(seen, "the other's memory")
        self.assertLessEqual(card["availableBytes"], before["availableBytes"] - 60 * MIB)
        self.refused_space(self.try_allocate(190 * MIB, "cuda:0"), "INSUFFICIENT_MEMORY")

    def test_a_full_card(self):
        self.refused_space(self.try_allocate(252 * MIB, "cuda:0"), "ALLOCATION_TOO_LARGE")
        whole = self.allocate(200 * MIB, "cuda:0", share="read")
        self.refused_space(self.try_allocate(50 * MIB, "cuda:0"), "INSUFFICIENT_MEMORY")
        self.free(whole)
        self.free(self.allocate(200 * MIB, "cuda:0", share="read", waitMs=10000))


class Bytes(CardCase):
    def test_come_and_go(self):
        here = self.allocate(48 * MIB + 5, "host:0")
        checksum = self.fill(here, 0x77)["checksum"]
        there = self.transfer(here, target="cuda:0", mode="copy", verify=True)
        self.assertEqual("completed", there["status"])
        self.assertEqual(checksum, there["checksum"])
        moved = self.transfer(here, target="cuda:1", mode="move", verify=True)
        self.assertEqual(checksum, moved["checksum"])
        again = self.transfer(here, "cuda:1", "cuda:0", mode="move", verify=True)
        self.assertEqual(checksum, again["checksum"])
        home = self.transfer(here, "cuda:0", "host:0", mode="move", verify=False)
        self.assertEqual("completed", home["status"])
        self.assertEqual(checksum, self.checksum(here))

    def test_go_from_card_to_card(self):
        for path, more in (("peer", {}), ("staged", {"FAKE_CUDA_APART": "1"}),
                           ("staged", {"FAKE_CUDA_FAIL": "cuMemSetAccess:3:1"})):
            with self.subTest(path=path, **more):
                self.daemon.close()
                self.start_daemon(**more)
                one = self.allocate(40 * MIB + 5, "cuda:0")
                checksum = self.fill(one, 0x3c)["checksum"]
                sent = self.transfer(one, "cuda:0", "cuda:1", mode="move", verify=False)
                self.assertEqual(("completed", path), (sent["status"], sent["path"]))
                back = self.transfer(one, "cuda:1", "cuda:0", mode="move", verify=True)
                self.assertEqual((checksum, True), (back["checksum"], back["verified"]))
                self.assertEqual(checksum, self.checksum(one))

    def test_that_cannot_be_sent_stay(self):
        self.daemon.close()
        self.start_daemon(FAKE_CUDA_FAIL="cuMemcpyDtoDAsync_v2:1:1")
        one = self.allocate(MIB, "cuda:0")
        checksum = self.fill(one, 0x3d)["checksum"]
        failed = self.transfer(one, "cuda:0", "cuda:1", mode="move", verify=False)
        self.assertEqual("failed", failed["status"])
        self.assertEqual(checksum, self.checksum(one))
        self.assertEqual("cuda:0", self.look(one)["deviceId"])

    def test_are_mapped_by_the_next_operation_when_the_driver_failed_once(self):
        self.daemon.close()
        self.start_daemon(FAKE_CUDA_FAIL="cuMemImportFromShareableHandle:1:2")
        one = self.allocate(MIB, "cuda:0")
        body = {"allocationId": one["allocationId"], "value": 7}
        self.assertEqual("INSUFFICIENT_MEMORY", self.daemon.post("/api/memory/operations/fill", body).code)
        self.assertEqual(self.fill(one, 7)["checksum"], self.checksum(one))

    def test_survive_the_daemon_and_its_worker(self):
        allocation = self.allocate(5 * MIB, "cuda:0", persistent=True)
        small = [self.allocate(100000 + i, "cuda:1", persistent=True) for i in range(20)]
        sums = {a["allocationId"]: self.fill(a, i)["checksum"] for i, a in enumerate([allocation, *small])}
        os.kill(self.worker()["pid"], signal.SIGKILL)
        self.crash()
        for name, checksum in sums.items():
            self.assertEqual(checksum, self.checksum(name))
        self.assert_books_are_the_kernels()

    def test_a_thousand_small_ones_leave_nothing(self):
        before = self.used()
        for _ in range(20):
            made = [self.allocate(4096, "cuda:0") for _ in range(50)]
            for one in made:
                self.free(one)
        self.ok(self.daemon.post("/api/memory/operations/clear/cuda:0", {}))
        context = CONTEXT if self.device("cuda:0")["processes"] else 0
        wait_until(lambda: self.used() <= before + context, "all of it is the driver's again")


class Movers(CardCase):
    """Each card has its own, while it is needed."""

    devices = ("host:0=2GiB", "fake:0=1GiB,rate=16MiB/s")

    def states(self):
        return {worker["workerId"]: worker["state"] for worker in self.workers()}

    def test_none_runs_before_it_is_needed(self):
        self.mover()
        self.assertEqual({"host": "ready", "cuda:0": "stopped", "cuda:1": "stopped"}, self.states())
        self.assertEqual((None, 0), (self.worker()["pid"], self.worker()["restarts"]))
        host = self.host()
        self.assertEqual({"total": 3, "healthy": 3}, host["workers"])
        self.assertTrue(host["coordination"]["isSynchronized"])
        wait_until(lambda: self.ok(self.daemon.get("/health"))["status"] == "ok", "health to be ok")
        self.copy(self.allocate(MIB), self.allocate(MIB))
        self.assertEqual({"host": "ready", "cuda:0": "stopped", "cuda:1": "stopped"}, self.states())

    def test_one_that_has_a_context_maps_new_slabs_before_they_are_needed(self):
        def mapped():
            return sum("/memfd:FAKE-cuda-" in row and "-m (deleted)" in row
                       for row in Path(f"/proc/{self.worker()['pid']}/maps").read_text().splitlines())
        self.allocate(64 * KIB, "cuda:1")  # whose worker has none, and makes none for this
        self.fill(self.allocate(64 * KIB, "cuda:0"), 1)
        before, committed = mapped(), self.device("cuda:0")["committedBytes"]
        while self.device("cuda:0")["committedBytes"] == committed:
            self.allocate(64 * KIB, "cuda:0")
        wait_until(lambda: mapped() > before, "the new slab")
        self.assertEqual([], self.device("cuda:1")["processes"])

    def test_bytes_go_by_the_card_that_they_leave(self):
        here = self.allocate(3 * MIB)
        checksum = self.fill(here, 9)["checksum"]
        self.transfer(here, target="cuda:1", mode="move", verify=True)
        self.assertEqual("stopped", self.worker("cuda:0")["state"])
        second = self.worker("cuda:1")["pid"]
        self.contexts_become(second, device="cuda:1")
        there = self.transfer(here, "cuda:1", "cuda:0", mode="move", verify=True)
        self.assertEqual(checksum, there["checksum"])
        self.assertEqual("stopped", self.worker("cuda:0")["state"])
        self.contexts_become(second, device="cuda:0")
        self.transfer(here, "cuda:0", "host:0", mode="move", verify=True)
        self.contexts_become(second, self.worker("cuda:0")["pid"], device="cuda:0")
        self.contexts_become(second, device="cuda:1")

    def test_a_dead_one_is_missed_by_its_card_alone(self):
        slow, other = self.allocate(SLOW, "cuda:0"), self.allocate(MIB, "cuda:1")
        sums = [self.fill(one, 7)["checksum"] for one in (slow, other)]
        transfer = self.start_transfer(slow, "cuda:0", "fake:0", mode="copy", verify=False)
        self.transfer_moves(transfer)
        os.kill(self.worker("cuda:1")["pid"], signal.SIGKILL)
        wait_until(lambda: self.worker("cuda:1")["restarts"] == 1, "its death")
        self.assertEqual("completed", self.transfer_ends(transfer)["status"])
        self.assertEqual(0, self.worker()["restarts"])
        self.assertEqual(sums, [self.checksum(slow), self.checksum(other)])

    def test_one_that_dies_in_a_copy_loses_that_copy_only(self):
        slow, other = self.allocate(SLOW, "cuda:0"), self.allocate(MIB, "cuda:1")
        sums = [self.fill(one, 7)["checksum"] for one in (slow, other)]
        before = self.worker("cuda:1")
        transfer = self.start_transfer(slow, "cuda:0", "fake:0", mode="move", verify=False)
        self.transfer_moves(transfer)
        os.kill(self.worker()["pid"], signal.SIGKILL)
        self.assertEqual("failed", self.transfer_ends(transfer)["status"])
        self.assertEqual(sums, [self.checksum(slow), self.checksum(other)])
        after = self.worker("cuda:1")
        self.assertEqual((before["pid"], 0), (after["pid"], after["restarts"]))

    def test_none_comes_with_a_new_daemon(self):
        allocation = self.allocate(MIB, "cuda:0", persistent=True)
        checksum = self.fill(allocation, 6)["checksum"]
        old = self.worker()["pid"]
        self.crash()
        self.mover()
        self.contexts_become(device="cuda:0")
        self.assertEqual({"host": "ready", "cuda:0": "stopped", "cuda:1": "stopped"}, self.states())
        self.assertEqual(checksum, self.checksum(allocation))
        self.assertNotEqual(old, self.worker()["pid"])


class IdleMovers(CardCase):
    flags, devices = ("--mover-idle", "1s"), ("host:0=2GiB", "fake:0=1GiB,rate=16MiB/s")

    def test_give_back_their_context(self):
        allocation = self.allocate(4 * MIB, "cuda:0")
        checksum = self.fill(allocation, 2)["checksum"]
        wait_until(lambda: self.worker()["pid"] is None, "its end")
        wait_until(lambda: self.used() == 4 * MIB, "the context's memory")
        self.assertEqual(("stopped", 0), (self.worker()["state"], self.worker()["restarts"]))
        wait_until(lambda: self.ok(self.daemon.get("/health"))["status"] == "ok", "health to be ok")
        self.assertEqual(checksum, self.checksum(allocation))

    def test_are_not_idle_while_they_copy(self):
        slow = self.allocate(SLOW, "cuda:0")
        checksum = self.fill(slow, 7)["checksum"]
        copied = self.transfer(slow, "cuda:0", "fake:0", mode="copy", verify=True)
        self.assertEqual(("completed", checksum), (copied["status"], copied["checksum"]))
        self.assertEqual(0, self.worker()["restarts"])


class Models(CardCase):
    def test_go_to_the_card_and_back(self):
        tensors = some_tensors(random.Random("cuda"), 12, 4 * MIB)
        write_safetensors(self.daemon.folder / "m.safetensors", tensors)
        model = self.load(self.daemon.folder / "m.safetensors", "cuda:0", keepRamCopy=True)
        self.assertEqual(("ready", "device", "cuda:0"), (model["state"], model["residency"], model["deviceId"]))
        size = self.device("cuda:0")["committedBytes"]
        self.assertGreaterEqual(size, model["sizeBytes"])
        parked = self.unload(model, "ram")
        self.assertEqual(("parked", "ram"), (parked["model"]["state"], parked["model"]["residency"]))
        wait_until(lambda: self.used() == CONTEXT, "the card is empty")
        again = self.load(self.daemon.folder / "m.safetensors", "cuda:0")
        self.assertEqual("ready", again["state"])
        self.crash()
        self.assertEqual("ready", self.look_model(model)["state"])
        self.unload(model)
        wait_until(lambda: self.used() <= CONTEXT, "the card is empty")

    def test_are_copied_out_where_host_memory_has_no_copy(self):
        path = self.daemon.folder / "m.safetensors"
        content = write_safetensors(path, some_tensors(random.Random("cuda"), 12, 12 * MIB))
        model = self.load(path, "cuda:0", keepRamCopy=False)
        parked = self.unload(model, "ram")
        self.assertEqual(("ram", True), (parked["model"]["residency"], parked["confirmed"]))
        path.rename(path.with_suffix(".away"))
        with self.attached(model, copy="ram") as attached:
            self.assertEqual({path.name: content}, attached.files())
        self.assertEqual("ready", self.load(path)["state"])
        with self.attached(model) as attached:
            self.assertEqual({path.name: content}, attached.files())

    def test_that_are_not_what_was_loaded_are_not_parked(self):
        path = self.daemon.folder / "m.safetensors"
        write_safetensors(path, some_tensors(random.Random("cuda"), 12, 4 * MIB))
        model = self.load(path, "cuda:0", keepRamCopy=False)
        with self.attached(model) as attached:
            last = sum(attached.data["segments"][0][name] for name in ("offset_bytes", "size_bytes")) - 1
            with open(f"/proc/self/fd/{attached.fds[0]}", "r+b") as card:
                card.seek(last)
                byte = card.read(1)[0]
                card.seek(last)
                card.write(bytes([byte ^ 1]))
        before = self.device("host:0")["committedBytes"]
        self.refused(self.try_unload(model, "ram"), 500, "INTERNAL_ERROR")
        self.assertEqual(("ready", "device"), tuple(self.look_model(model)[name] for name in ("state", "residency")))
        self.assertEqual(before, self.device("host:0")["committedBytes"])

    def test_an_unload_is_over_when_the_driver_has_it_back(self):
        """Whoever holds on is named, if the driver or Memkeep knows him; it is waited for, but not for ever."""
        path = self.daemon.folder / "m.safetensors"
        write_safetensors(path, some_tensors(random.Random("cuda"), 12, 4 * MIB))
        gone = self.unload(self.load(path, "cuda:0", keepRamCopy=False))
        self.assertEqual((True, []), (gone["confirmed"], gone["heldBy"]))
        self.assertLessEqual(self.used(), CONTEXT)
        model = self.load(path, "cuda:0", keepRamCopy=False)
        with contextlib.closing(Attached(self.daemon.socket_path, model["modelId"])):
            held = self.unload(model, force=True)
            self.assertEqual((False, [os.getpid()]), (held["confirmed"], [one["pid"] for one in held["heldBy"]]))
            self.assertTrue(held["heldBy"][0]["name"])

    def test_an_unload_waits_for_whom_nobody_knows(self):
        path = self.daemon.folder / "m.safetensors"
        write_safetensors(path, some_tensors(random.Random("cuda"), 12, 4 * MIB))
        model = self.load(path, "cuda:0", keepRamCopy=False)
        with self.attached(model) as attached:
            stranger = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, pass_fds=attached.fds)
        job = self.ok(self.try_unload(model, wait=False), 202)["jobId"]
        wait_until(lambda: self.device("cuda:0")["committedBytes"] == 0, "the books to know")
        self.assertIsNone(self.job(job)["completedAt"])
        stranger.communicate()
        result = self.job_ends(job)["result"]
        self.assertEqual((True, []), (result["confirmed"], result["heldBy"]))

    def test_the_card_reads_what_is_in_host_memory_by_itself(self):
        path = self.daemon.folder / "m.safetensors"
        write_safetensors(path, some_tensors(random.Random("cuda"), 12, 4 * MIB))
        model = self.load(path, "host:0")
        for verify in (False, True):
            copy = self.transfer(None, target="cuda:0", mode="copy", verify=verify, modelId=model["modelId"])
            self.assertEqual(("completed", "pinned"), (copy["status"], copy["path"]))
            self.assertIs(True if verify else None, copy["verified"])
            self.unload({"modelId": copy["targetModelId"]})
        self.unload(model)
        wait_until(lambda: self.device("host:0")["committedBytes"] == 0, "nobody holds it")

    def test_a_copy_in_host_memory_is_mapped_from_the_load_on(self):
        def mapped():
            maps = Path(f"/proc/{self.worker()['pid']}/maps").read_text()
            return any(" r--s " in row and "/memfd:memkeep" in row for row in maps.splitlines())
        path = self.daemon.folder / "m.safetensors"
        write_safetensors(path, some_tensors(random.Random("cuda"), 12, 4 * MIB))
        model = self.load(path, "cuda:0", keepRamCopy=False)
        self.assertFalse(mapped())
        self.unload(model)
        model = self.load(path, "cuda:0", keepRamCopy=True)
        self.assertTrue(mapped())
        self.unload(model)
        self.assertFalse(mapped())

    def test_that_go_in_several_pieces_are_verified_as_a_whole(self):
        path, size = self.daemon.folder / "m.safetensors", 150 * MIB + 77
        write_safetensors(path, [Tensor("t", "U8", [size], random.Random("cuda").randbytes(size))])
        model = self.load(path, "cuda:0", keepRamCopy=True)
        self.unload(model, "ram")
        self.assertEqual("ready", self.load(path, "cuda:0", verify=True)["state"])

    def test_that_the_card_reads_otherwise_are_not_ready(self):
        """What arrived is summed up by the card: from the disk, and from host memory."""
        for kept, nth in ((False, 1), (True, 2)):
            self.daemon.close()
            self.start_daemon(FAKE_CUDA_FAIL=f"sum:{nth}:1")
            path = self.daemon.folder / "m.safetensors"
            write_safetensors(path, some_tensors(random.Random("cuda"), 3, MIB))
            if kept:
                self.unload(self.load(path, "cuda:0", keepRamCopy=True), "ram")
            self.refused(self.try_load(path, "cuda:0", keepRamCopy=kept), 500, "INTERNAL_ERROR")
            self.assertEqual("ready", self.load(path, "cuda:0", keepRamCopy=kept)["state"])

    def test_are_verified_also_by_a_driver_that_starts_no_kernel(self):
        uncompiled = ",".join(f"cuModuleLoadData sum:{n}:221" for n in range(1, 9))
        for more in ({"FAKE_CUDA_FAIL": uncompiled}, {"MEMKEEP_LIBCUDA": str(OLD), "MEMKEEP_LIBNVML": str(OLD)}):
            self.daemon.close()
            self.start_daemon(**more)
            path = self.daemon.folder / "m.safetensors"
            content = write_safetensors(path, some_tensors(random.Random("cuda"), 12, 4 * MIB))
            for kept in (False, True):
                model = self.load(path, "cuda:0", keepRamCopy=kept)
                self.unload(model, "ram")
                model = self.load(path, "cuda:0")
                with self.attached(model) as attached:
                    self.assertEqual({path.name: content}, attached.files())
                self.unload(model)

    def test_are_parked_and_resumed_also_where_nothing_can_be_pinned(self):
        for name, value in (("FAKE_CUDA_FAIL", "cuMemHostRegister_v2:1:2"), ("FAKE_CUDA_LACKS", "113")):
            self.daemon.close()
            self.start_daemon(**{name: value})
            path = self.daemon.folder / "m.safetensors"
            write_safetensors(path, some_tensors(random.Random("cuda"), 12, 4 * MIB))
            model = self.load(path, "cuda:0", keepRamCopy=True)
            for verify in (True, False):
                self.unload(model, "ram")
                self.assertEqual("ready", self.load(path, "cuda:0", verify=verify)["state"])
            self.assertNotIn("<3>", self.daemon.log())


class Broken(CardCase):
    devices = ("host:0=2GiB", "fake:0=1GiB,rate=16MiB/s")

    def start_to_lose(self):
        """A file: while it is there, cuda:0 is not."""
        self.daemon.close()
        lost = self.daemon.folder.with_suffix(".lost")
        self.start_daemon(FAKE_CUDA_LOST=str(lost))
        flag = lost.with_suffix(".lost.0")
        self.addCleanup(flag.unlink, missing_ok=True)
        return flag

    def test_a_card_that_falls_off_is_the_only_one(self):
        flag = self.start_to_lose()
        good = self.allocate(MIB, "cuda:1")
        checksum = self.fill(good, 3)["checksum"]
        bad = self.allocate(MIB, "cuda:0")
        before = self.fill(bad, 4)["checksum"]
        unwanted = self.allocate(20 * MIB, "cuda:0", share="read")
        with self.daemon.events("?types=device.lost,device.changed") as events:
            flag.touch()
            gone = events.next()
            self.assertEqual(("device.lost", "cuda:0"), (gone.type, gone.data["deviceId"]))
            self.assertEqual(["error", "healthy"], [self.device(name)["health"] for name in ("cuda:0", "cuda:1")])
            figures = self.device("cuda:0")
            self.assertEqual([None, None, 0, 0, 21 * MIB],
                             [figures[key] for key in ("usedBytes", "externalBytes", "availableBytes",
                                                       "largestFreeBytes", "allocatedBytes")])
            self.assertEqual(["lost", "active"], [self.look(one)["status"] for one in (bad, good)])
            for answer in (self.daemon.post("/api/memory/operations/fill",
                                            {"allocationId": bad["allocationId"], "value": 1}),
                           self.try_transfer(bad, "cuda:0", "cuda:1", wait=True)):
                self.assertEqual((410, "ALLOCATION_LOST"), (answer.status, answer.code))
            self.free(unwanted)
            self.assertEqual(checksum, self.checksum(good))
            flag.unlink()
            back = events.next()
            self.assertEqual(("device.changed", "cuda:0"), (back.type, back.data["deviceId"]))
        self.assertEqual("active", self.look(bad)["status"])
        self.assertEqual(1, self.daemon.log().count("NVML could not"))
        self.assertEqual(checksum, self.checksum(good))
        old = self.worker()["pid"]
        self.ok(self.daemon.post("/api/memory/workers/cuda:0/restart"))
        wait_until(lambda: self.worker()["pid"] != old, "another worker")
        self.assertEqual(before, self.checksum(bad))

    def test_a_mover_goes_with_the_card_that_it_lost(self):
        flag = self.start_to_lose()
        slow = self.allocate(SLOW, "cuda:0")
        checksum = self.fill(slow, 7)["checksum"]
        transfer = self.start_transfer(slow, "cuda:0", "fake:0", mode="copy", verify=False)
        self.transfer_moves(transfer)
        with self.daemon.events("?types=device.lost,device.changed") as events:
            flag.touch()
            self.assertEqual("DEVICE_UNAVAILABLE", self.transfer_ends(transfer)["errorCode"])
            wait_until(lambda: self.worker()["pid"] is None, "its end")
            events.next()
            flag.unlink()
            events.next()
        self.assertEqual(checksum, self.checksum(slow))
        self.assertEqual(0, self.worker()["restarts"])

    def lose_in_a_defragmentation(self, call, **more):
        """The first one goes well, the second one loses the card, which leaves every block where it was."""
        self.daemon.close()
        self.start_daemon(FAKE_CUDA_FAIL=f"{call}:{LAUNCH_FAILED}", **more)
        sums = self.scatter("cuda:0")
        self.assertEqual(16, self.ok(self.defragment("cuda:0"))["allocationsMoved"])
        sums |= self.scatter("cuda:0")
        places = {name: self.look(name)["segmentId"] for name in sums}
        lost = self.defragment("cuda:0")
        self.assertEqual((503, "DEVICE_UNAVAILABLE"), (lost.status, lost.code))
        self.assertEqual(places, {name: self.look(name)["segmentId"] for name in sums})
        wait_until(lambda: self.worker()["pid"] is None, "its worker's end")
        self.assertEqual(sums, {name: self.transfer(name, "cuda:0", "host:0", mode="copy")["checksum"] for name in sums})

    def test_a_worker_that_maps_all_segments_anew(self):
        sums = self.scatter("cuda:0")
        os.kill(self.worker()["pid"], signal.SIGKILL)
        self.assertEqual(16, self.ok(self.defragment("cuda:0"))["allocationsMoved"])
        self.assertEqual(sums, {name: self.checksum(name) for name in sums})

    def test_what_it_gives_back_is_there_for_who_needs_it_next(self):
        sums = self.scatter("cuda:0")
        wait_until(lambda: self.device("cuda:0")["externalBytes"] >= CONTEXT, "the mover's context, in a figure of up to 100 ms ago")
        data = self.ok(self.defragment("cuda:0"))
        self.assertGreater(data["releasedBytes"], 0)
        room = self.device("cuda:0")["availableBytes"] - 8 * MIB  # the same: the mover takes 4 MiB for its lists
        name = self.allocate(room, "cuda:0")["allocationId"]  # needs the 16 MiB that are on their way back
        wait_until(lambda: f"{data['segmentsReleased']} segments were back" in self.daemon.log(), "the segments")
        self.free(name)
        self.assertEqual(sums, {name: self.checksum(name) for name in sums})

    def test_a_defragmentation_that_loses_its_card_moves_nothing(self):
        self.lose_in_a_defragmentation("cuLaunchKernelEx:2")  # a batch launches one
        self.assertGreater(self.ok(self.defragment("cuda:0"))["allocationsMoved"], 0)

    def test_nor_does_one_that_moves_one_by_one(self):
        self.lose_in_a_defragmentation("cuMemcpyDtoDAsync_v2:18", MEMKEEP_LIBCUDA=str(OLD))


if __name__ == "__main__":
    unittest.main()
