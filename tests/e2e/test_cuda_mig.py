"""memkeepd on FAKE cards (tests/fake_libcuda.h) of which one is divided into MIG instances: each is a device of its own,
owned by a process of its own, and seen by no other worker than its own."""

import os
import random
import signal
import unittest

from harness import GIB, MEMORY, MIB, Daemon, wait_until
from models import some_tensors, write_safetensors
from test_cuda import CONTEXT, RESERVED, CardCase, fake_cards

UUID = "fafafafa-fafa-fafa-fafa-fafafafafa"
INSTANCE = GIB // 4


def environment_of(pid):
    with open(f"/proc/{pid}/environ", "rb") as file:
        return dict(row.split("=", 1) for row in file.read().decode().split("\0") if row)


class MigCase(CardCase):
    def start_daemon(self, **more):
        super().start_daemon(**{"FAKE_CUDA_BYTES": str(GIB), "FAKE_CUDA_MIG": "0:2"} | more)

    def brokers(self):
        """{device: pid} of the processes that own for this daemon."""
        found = {}
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/cmdline", "rb") as file:
                    words = file.read().decode().split("\0")
                if "--own" in words and environment_of(pid).get("FAKE_CUDA_SESSION") == self.session():
                    found[words[words.index("--own") + 1].split("=")[0]] = int(pid)
            except (FileNotFoundError, ProcessLookupError):
                pass  # it has just ended
        return found

    def session(self):
        return self.daemon.environment["FAKE_CUDA_SESSION"]


class Instances(MigCase):
    def test_are_devices_and_their_card_is_none(self):
        self.assertEqual(["host:0", "cuda:0", "mig:0", "mig:1"], [d["deviceId"] for d in self.host()["devices"]])
        self.assertEqual(f"GPU-{UUID}01", self.device("cuda:0")["uuid"])
        for name, number in (("mig:0", 2), ("mig:1", 3)):
            view = self.device(name)
            self.assertEqual(("gpu", "cuda", "VRAM", f"FAKE instance {number}", "healthy", INSTANCE, f"MIG-{UUID}0{number}"),
                             tuple(view[field] for field in ("type", "backend", "memoryType", "name", "health",
                                                             "totalBytes", "uuid")))
            self.assertEqual(name, self.device(view["uuid"])["deviceId"])
            self.assertEqual((0, INSTANCE - RESERVED), (view["usedBytes"], view["availableBytes"]))

    def test_are_owned_and_used_by_processes_that_see_nothing_else(self):
        brokers = self.brokers()
        self.assertEqual({"cuda:0", "mig:0", "mig:1"}, set(brokers))
        for device in ("mig:0", "mig:1", "cuda:0"):
            self.fill(self.allocate(20 * MIB, device, share="read"), 1)
            mover = self.worker(device)["pid"]
            self.contexts_become(mover, device=device)
            for pid in (brokers[device], mover):
                self.assertEqual(self.device(device)["uuid"], environment_of(pid)["CUDA_VISIBLE_DEVICES"])
            self.assertEqual(20 * MIB + CONTEXT, self.used(device))
        self.assertNotIn("CUDA_VISIBLE_DEVICES", environment_of(self.daemon.process.pid))

    def test_are_full_on_their_own(self):
        whole = self.allocate(200 * MIB, "mig:0", share="read")
        self.refused_space(self.try_allocate(100 * MIB, "mig:0"), "INSUFFICIENT_MEMORY")
        self.allocate(200 * MIB, "mig:1", share="read")
        self.free(whole)
        wait_until(lambda: self.used("mig:0") == 0, "the memory is the driver's again")

    def test_bytes_come_and_go_by_way_of_host_memory(self):
        one = self.allocate(40 * MIB + 5, "mig:0")
        checksum = self.fill(one, 0x3c)["checksum"]
        for other in ("mig:1", "cuda:0"):
            failed = self.transfer(one, "mig:0", other, mode="copy")
            self.assertEqual(("failed", "CONFLICT"), (failed["status"], failed["errorCode"]))
            self.assertEqual(0, self.device(other)["committedBytes"])
        for there in ("host:0", "mig:1", "host:0", "cuda:0", "host:0", "mig:0"):
            sent = self.transfer(one, self.look(one)["deviceId"], there, mode="move", verify=True)
            self.assertEqual(("completed", checksum), (sent["status"], sent["checksum"]))

    def test_hold_models(self):
        path = self.daemon.folder / "m.safetensors"
        content = write_safetensors(path, some_tensors(random.Random("mig"), 12, 4 * MIB))
        model = self.load(path, "mig:1", keepRamCopy=False)
        with self.attached(model) as attached:
            self.assertEqual({path.name: content}, attached.files())
        parked = self.unload(model, "ram")
        self.assertEqual(("ram", True), (parked["model"]["residency"], parked["confirmed"]))
        self.assertEqual("ready", self.load(path, "mig:1")["state"])

    def test_that_nobody_has_named_are_left_alone(self):
        self.daemon.close()
        self.start_daemon(CUDA_VISIBLE_DEVICES=f"MIG-{UUID}03")
        self.assertEqual([("host:0", None), ("mig:0", f"MIG-{UUID}03")],
                         [(d["deviceId"], d["uuid"]) for d in self.host()["devices"]])

    def test_one_that_is_not_there_cannot_be_opened(self):
        daemon = Daemon("--device", "mig:2", devices=self.devices, start=False,
                        environment=fake_cards(FAKE_CUDA_MIG="0:2"))
        daemon.command.remove("--no-gpu")
        self.addCleanup(daemon.close)
        with self.assertRaises(AssertionError):
            daemon.start()
        self.assertIn("device mig:2 cannot be opened: no such device", daemon.log())

    def test_a_size_is_a_limit(self):
        daemon = Daemon("--device", "mig:1=64MiB", devices=self.devices, environment=self.daemon.environment, start=False)
        daemon.command.remove("--no-gpu")
        self.addCleanup(daemon.close)
        daemon.start()
        devices = daemon.get(f"{MEMORY}/status").body["data"]["devices"]
        self.assertEqual({"mig:0": INSTANCE - RESERVED, "mig:1": 64 * MIB},
                         {d["deviceId"]: d["limits"]["maxBytes"] for d in devices if d["deviceId"].startswith("mig")})


class Brokers(MigCase):
    def test_what_one_made_outlives_it(self):
        before = self.allocate(4 * MIB, "mig:0", share="read")
        checksum = self.fill(before, 5)["checksum"]
        old = self.brokers()
        os.kill(old["mig:0"], signal.SIGKILL)
        after = self.allocate(4 * MIB, "mig:0", share="read")
        self.fill(after, 6)
        self.assertEqual(checksum, self.checksum(before))
        new = self.brokers()
        self.assertNotEqual(old["mig:0"], new["mig:0"])
        self.assertEqual([old[name] for name in ("mig:1", "cuda:0")], [new[name] for name in ("mig:1", "cuda:0")])
        self.assertEqual("healthy", self.device("mig:0")["health"])

    def test_one_that_hangs_costs_its_device_alone(self):
        """Until it is replaced; others are served meanwhile."""
        os.kill(self.brokers()["mig:0"], signal.SIGSTOP)
        wait_until(lambda: self.device("mig:0")["health"] == "error", "its device to be in error")
        self.fill(self.allocate(4 * MIB, "mig:1", share="read"), 6)
        wait_until(lambda: self.device("mig:0")["health"] != "error", "another one", 60)
        self.fill(self.allocate(4 * MIB, "mig:0", share="read"), 6)

    def test_they_end_with_the_daemon_and_memory_stays(self):
        allocation = self.allocate(5 * MIB, "mig:0", persistent=True)
        checksum = self.fill(allocation, 9)["checksum"]
        old = set(self.brokers().values())
        self.crash()
        wait_until(lambda: not old & set(self.brokers().values()), "the end of the old ones")
        self.assertEqual({"cuda:0", "mig:0", "mig:1"}, set(self.brokers()))
        self.assertEqual(checksum, self.checksum(allocation))
        self.assert_books_are_the_kernels()
        session = self.session()
        self.daemon.stop()
        self.assertEqual({}, self.brokers(), session)

    def test_memory_stays_with_an_instance_that_is_not_wanted_any_more(self):
        allocation = self.allocate(5 * MIB, "mig:1", persistent=True)
        checksum = self.fill(allocation, 9)["checksum"]
        self.daemon.kill()
        self.daemon.command.append("--no-gpu")
        self.daemon.start()
        self.assertEqual(f"MIG-{UUID}03", self.device("mig:1")["uuid"])
        self.assertEqual("mig:1", self.look(allocation)["deviceId"])
        self.daemon.kill()
        self.daemon.command.remove("--no-gpu")
        self.daemon.start()
        self.assertEqual(checksum, self.checksum(allocation))

    def test_an_instance_that_falls_off_is_the_only_one(self):
        self.daemon.close()
        lost = self.daemon.folder.with_suffix(".lost")
        flag = lost.with_suffix(".lost.2")
        self.start_daemon(FAKE_CUDA_LOST=str(lost))
        self.addCleanup(flag.unlink, missing_ok=True)
        bad = self.allocate(MIB, "mig:0")
        checksum = self.fill(bad, 4)["checksum"]
        flag.touch()
        wait_until(lambda: self.look(bad)["status"] == "lost", "its loss")
        self.assertEqual(["error", "healthy"], [self.device(name)["health"] for name in ("mig:0", "mig:1")])
        flag.unlink()
        wait_until(lambda: self.look(bad)["status"] == "active", "its return")
        self.assertEqual(checksum, self.checksum(bad))


if __name__ == "__main__":
    unittest.main()
