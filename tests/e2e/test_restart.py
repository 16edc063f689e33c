"""A daemon that was killed, or stopped, and starts again: what was promised is there, byte for byte, under the same
ids, and what was not promised is given back."""

import os
import subprocess
import sys
import time
import unittest
from pathlib import Path

import kernel
import xxh3
from harness import KIB, MEMORY, MIB, clean_environment, name_of, wait_until
from restart import DEVICE_NAMES, DEVICES, RestartCase, held_by_anybody

TOKENS = """
tokens = ({ name = "alice"; role = "write"; secret = "alices-secret-alices-secret"; },
          { name = "root"; role = "admin"; secret = "roots-secret-roots-secret-00"; });
"""
CLIENT = """
import sys
from doors import Unix
unix = Unix(sys.argv[1])
answer = unix.call("memory.allocate", {"size_bytes": 1 << 20, "device_id": "host:0"})
print(answer["data"]["allocation"]["allocation_id"], flush=True)
sys.stdin.read()
"""


class Kept(RestartCase):
    def some(self):
        """Allocations of every kind that a crash leaves alone."""
        sizes = (1, 100, 4096, 300 * KIB, 3 * MIB, 8 * MIB)
        made = [self.allocate(size, device, label=f"{device} {size}", priority="high", purpose="tensors")
                for device in DEVICE_NAMES for size in sizes]
        made.append(self.allocate(5000, label="é" * 128, persistent=True, alignmentBytes=65536))
        made.append(self.allocate(2 * MIB, pinned=True, share="read", label="x" * 256))
        made.append(self.allocate(2 * MIB, ttlSeconds=3600, label=""))
        made.append(self.allocate(2 * MIB, ownerPid=os.getpid(), label="ours"))
        return made

    def filled(self):
        return {name_of(a): (value, self.fill(a, value)["checksum"])
                for value, a in enumerate(self.some(), 1)}

    def test_everything_that_is_known_of_an_allocation(self):
        made = self.some()
        with self.nothing_changes():
            before = {name_of(a): self.look(a) for a in made}
            for _ in range(3):
                self.crash()
                for allocation, facts in before.items():
                    facts.pop("history", None)
                    now = self.look(allocation)
                    self.assertEqual(([], True), (now.pop("history"), now.pop("historyTruncated")))
                    self.assertEqual(facts, now)
        self.assert_books_are_the_kernels()

    def test_every_byte(self):
        sums = self.filled()
        for _ in range(2):
            self.crash()
            for allocation, (value, checksum) in sums.items():
                self.assertEqual(checksum, self.checksum(allocation), f"filled with {value}")

    def test_every_byte_as_another_process_sees_it(self):
        allocation = self.allocate(3 * MIB + 4096)
        self.fill(allocation, 0x5a)
        self.daemon.kill()
        files = [path for path, size, _ in kernel.memfds(self.vault()).values() if size == 3 * MIB + 4096]
        self.assertEqual(1, len(files))
        self.assertEqual(b"\x5a" * (3 * MIB + 4096), kernel.read_memfd(files[0], 3 * MIB + 4096))
        self.daemon.start()
        self.assertEqual(xxh3.text(b"\x5a" * (3 * MIB + 4096)), self.checksum(allocation))

    def test_what_was_moved_before(self):
        allocation = self.allocate(3 * MIB, label="moved", persistent=True)
        checksum = self.fill(allocation, 7)["checksum"]
        self.transfer(allocation, target="fake:0", mode="move")
        self.crash()
        self.assertEqual("fake:0", self.look(allocation)["deviceId"])
        self.assertEqual(checksum, self.checksum(allocation))
        data = self.transfer(allocation, "fake:0", "host:1", verify=True)
        self.assertEqual((True, checksum), (data["verified"], data["checksum"]))

    def test_a_slab_with_holes_is_used_on(self):
        blocks = [self.allocate(64 * KIB) for _ in range(64)]
        for block in blocks[::2]:
            self.free(block)
        before = self.device()
        self.crash()
        again = [self.allocate(64 * KIB) for _ in range(32)]
        places = {(b["segmentId"], b["offsetBytes"]) for b in again + blocks[1::2]}
        self.assertEqual(64, len(places))
        self.assertEqual(before["committedBytes"], self.device()["committedBytes"])

    def test_ids_are_not_used_again(self):
        seen = {name_of(self.allocate(4096)) for _ in range(10)}
        for _ in range(3):
            self.free(self.allocate(4096))
            self.crash()
            new = {name_of(self.allocate(4096)) for _ in range(10)}
            self.assertFalse(new & seen)
            seen |= new
        self.assertEqual(seen, {name_of(a) for a in self.allocations()})

    def test_an_idempotency_key_finds_what_it_made(self):
        def ask(size=4096):
            return self.daemon.post(f"{MEMORY}/allocations/allocate/host:0", {"sizeBytes": size},
                                    {"Idempotency-Key": "key-1"})
        first = self.ok(ask())["allocation"]
        self.crash()
        self.assertEqual(name_of(first), name_of(self.ok(ask())["allocation"]))
        self.refused(ask(8192), 409, "CONFLICT")
        self.assertEqual(1, len(self.allocations()))

    def test_limits_and_quotas(self):
        uid = f"uid:{os.getuid()}"
        body = {"maxBytes": 512 * MIB, "reservedBytes": 64 * MIB,
                "quotas": [{"domain": uid, "maxBytes": 100 * MIB, "maxAllocations": 9}]}
        set_to = self.ok(self.daemon.put(f"{MEMORY}/limits/host:0", body))
        self.ok(self.daemon.put(f"{MEMORY}/limits/fake:0", {"maxBytes": 100 * MIB}))
        held = self.allocate(60 * MIB)
        for again in (self.crash, self.stop):
            again()
            self.assertEqual(set_to, self.ok(self.daemon.put(f"{MEMORY}/limits/host:0", {})))
            self.assertEqual(100 * MIB, self.device("fake:0")["limits"]["maxBytes"])
            if again == self.crash:  # a stop gives `held` back
                self.refused_space(self.try_allocate(50 * MIB, "host:1"), "QUOTA_EXCEEDED")
                self.assertEqual(512 * MIB - 64 * MIB - 60 * MIB, self.device()["availableBytes"])
        self.assertTrue(self.is_gone(held))
        self.allocate(90 * MIB, "host:1")

    def test_owners_who_are_tokens(self):
        self.daemon.stop()
        (self.daemon.folder / "tokens.conf").write_text(TOKENS)
        self.next_daemon("--config", str(self.daemon.folder / "tokens.conf"))
        self.daemon.http.headers = {"Authorization": "Bearer alices-secret-alices-secret"}
        before = self.look(self.allocate(4096))
        self.assertEqual("token:alice", before["owner"]["name"])
        self.crash()
        self.daemon.http.headers = {"Authorization": "Bearer alices-secret-alices-secret"}
        after = self.look(before)
        self.assertEqual((before["owner"], before["domain"]), (after["owner"], after["domain"]))
        self.free(after)

    def test_the_quota_of_a_token_that_has_not_asked_for_anything(self):
        self.daemon.stop()
        (self.daemon.folder / "tokens.conf").write_text(TOKENS)
        self.next_daemon("--config", str(self.daemon.folder / "tokens.conf"))
        quotas = [{"domain": "token:alice", "maxBytes": 4 * MIB, "maxAllocations": 2}]
        root, alice = ({"Authorization": f"Bearer {secret}"} for secret in
                       ("roots-secret-roots-secret-00", "alices-secret-alices-secret"))
        for body in ({"quotas": quotas}, {}):
            set_to = self.ok(self.daemon.put(f"{MEMORY}/limits/host:0", body, root))["quotas"]
            self.assertEqual(quotas, set_to)
            self.crash()
        for _ in range(2):
            self.daemon.http.headers = alice
            self.refused_space(self.try_allocate(5 * MIB, "host:0"), "QUOTA_EXCEEDED")
            self.allocate(4096)
            self.crash()
        self.daemon.http.headers = alice
        self.refused_space(self.try_allocate(4096, "host:0"), "QUOTA_EXCEEDED")


class Lifetimes(RestartCase):
    """The table of lifetimes, over a crash and over a clean stop."""

    def client(self):
        """A process that holds an allocation over the socket; (process, allocation id)."""
        process = subprocess.Popen([sys.executable, "-c", CLIENT, self.daemon.socket_path], stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, text=True,
                                   env=clean_environment(PYTHONPATH=str(Path(__file__).parent)))
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.stdin.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process, process.stdout.readline().strip()

    def test_memory_of_a_process_that_lives(self):
        with kernel.sleeping_process() as pid:
            process, held = self.client()
            owned = name_of(self.allocate(2 * MIB, ownerPid=pid))
            for again in (self.crash, self.stop, self.crash):
                again()
                self.assertEqual({held, owned}, {name_of(a) for a in self.allocations()})
                self.assertEqual({process.pid, pid}, {a["owner"]["pid"] for a in self.allocations()})
            process.kill()
            wait_until(lambda: self.is_gone(held), "its process to be missed")
        wait_until(lambda: self.is_gone(owned), "its process to be missed")
        self.assert_empty()

    def test_memory_of_a_process_that_died_meanwhile(self):
        for end in (self.daemon.kill, self.daemon.stop):
            with self.subTest(end.__name__):
                with kernel.sleeping_process() as pid:
                    process, _ = self.client()
                    for size in (100, 5 * MIB):
                        self.fill(self.allocate(size, ownerPid=pid), 1)
                    kept = self.allocate(4096, ownerPid=pid, persistent=True)
                    end()
                    process.kill()
                    process.wait()
                self.daemon.start()
                wait_until(lambda: [name_of(a) for a in self.allocations()] == [name_of(kept)], "only one to be left")
                self.assertEqual("orphaned", self.look(kept)["status"])
                self.free(kept, force=True)
                self.ok(self.daemon.post(f"{MEMORY}/operations/clear", {}))
                self.assert_empty()

    def test_memory_without_a_word_ends_with_a_stop_only(self):
        allocation = self.allocate(5 * MIB)
        self.fill(allocation, 1)
        self.crash()
        self.look(allocation)
        self.stop()
        self.assertTrue(self.is_gone(allocation))
        self.assert_empty()

    def test_persistent_memory_outlives_both(self):
        made = [self.allocate(size, device, persistent=True) for device in DEVICE_NAMES for size in (100, 3 * MIB)]
        sums = {name_of(a): self.fill(a, 9)["checksum"] for a in made}
        for again in (self.crash, self.stop, self.stop, self.crash):
            again()
            self.assertEqual(sums.keys(), {name_of(a) for a in self.allocations()})
        self.assertEqual(sums, {a: self.checksum(a) for a in sums})
        self.refused(self.try_free(made[0]), 409, "ALLOCATION_BUSY")
        for allocation in made:
            self.free(allocation, force=True)

    def test_memory_for_a_time_outlives_both(self):
        allocation = self.allocate(3 * MIB, ttlSeconds=3600)
        for again in (self.crash, self.stop):
            again()
            self.assertEqual(allocation["expiresAt"], self.look(allocation)["expiresAt"])

    def test_its_time_also_ends_while_the_daemon_is_down(self):
        short = [self.allocate(size, ttlSeconds=1) for size in (100, 3 * MIB)]
        long = self.allocate(100, ttlSeconds=3600)
        end = time.clock_gettime(time.CLOCK_BOOTTIME) + 1
        self.daemon.kill()
        time.sleep(max(0, end - time.clock_gettime(time.CLOCK_BOOTTIME)))
        self.daemon.start()
        for allocation in short:
            wait_until(lambda a=allocation: self.is_gone(a), "it to be given back")
        self.look(long)

    def test_its_time_goes_on_after_the_start(self):
        allocation = self.allocate(3 * MIB, ttlSeconds=2)
        self.crash()
        wait_until(lambda: self.is_gone(allocation), "it to expire")
        self.assert_empty()

    def test_the_last_line_says_what_stays(self):
        self.allocate(3 * MIB, persistent=True)
        self.allocate(3 * MIB)
        self.daemon.stop()
        last = self.daemon.log().strip().splitlines()[-1]
        self.assertRegex(last, "1 allocation.*3.0 MiB.*shutdown --release-all")

    def test_a_stop_with_nothing_held_ends_the_vault_too(self):
        vault = self.vault()
        self.free(self.allocate(3 * MIB))
        self.allocate(100)
        self.daemon.stop()
        wait_until(lambda: not kernel.is_alive(vault), "the vault to end")
        self.assertFalse((self.daemon.runtime / "vault.sock").exists())
        self.daemon.start()
        self.assert_empty()

    def test_release_all_ends_the_vault_and_gives_all_back(self):
        vault = self.vault()
        for allocation in (self.allocate(64 * MIB, persistent=True), self.allocate(100, ttlSeconds=3600)):
            self.fill(allocation, 1)
        inodes = kernel.memfds(vault).keys()
        with self.daemon.unix() as unix:
            self.assertTrue(unix.call("memory.shutdown", {"release_all": True})["success"])
        self.assertEqual(0, self.daemon.process.wait(60))
        wait_until(lambda: not kernel.is_alive(vault), "the vault to end")
        wait_until(lambda: not held_by_anybody(inodes), "the pages to be let go")
        self.daemon.start()
        self.assert_empty()


class DeviceNotConfigured(RestartCase):
    def assert_nothing_reaches_it(self, here, there):
        to, back = ({"sourceDeviceId": source, "targetDeviceId": target, "wait": True}
                    for source, target in (("host:0", "fake:0"), ("fake:0", "host:0")))
        for route, body in (("transfer", to | {"allocationId": here}), ("transfer", to | {"sizeBytes": 4096}),
                            ("transfer", back | {"allocationId": there, "mode": "move"}),
                            ("transfer", back | {"sizeBytes": 4096}),
                            ("operations/fill", {"allocationId": there, "value": 1}),
                            ("operations/copy", {"sourceAllocationId": there, "targetAllocationId": here}),
                            ("operations/copy", {"sourceAllocationId": here, "targetAllocationId": there})):
            with self.subTest(route, body=body):
                self.refused(self.daemon.post(f"{MEMORY}/{route}", body), 503, "DEVICE_UNAVAILABLE")

    def test_it_stays_listed_with_its_memory_and_comes_back(self):
        here = self.allocate(100, "host:0")
        there = [self.allocate(size, "fake:0", persistent=True) for size in (100, 3 * MIB)]
        sums = [self.fill(a, 3)["checksum"] for a in there]
        before = self.device("fake:0")
        self.daemon.kill()
        self.next_daemon(devices=DEVICES[:2])
        gone = self.device("fake:0")
        self.assertEqual(("error", 0), (gone["health"], gone["availableBytes"]))
        for name in ("allocatedBytes", "committedBytes", "activeAllocations", "segments"):
            self.assertEqual(before[name], gone[name], name)
        self.assertEqual({name_of(a) for a in there + [here]}, {name_of(a) for a in self.allocations()})
        self.assertIn(self.try_allocate(100, "fake:0").status, (503, 507))
        self.assert_nothing_reaches_it(name_of(here), name_of(there[0]))
        self.assertNotEqual("fake:0", self.allocate(100, None)["deviceId"])
        self.daemon.stop()
        self.next_daemon()
        self.assertEqual("healthy", self.device("fake:0")["health"])
        self.assertEqual(sums, [self.checksum(a) for a in there])

    def test_its_memory_can_be_freed_and_then_it_is_forgotten(self):
        allocation = self.allocate(3 * MIB, "fake:0", persistent=True)
        self.daemon.kill()
        self.next_daemon(devices=DEVICES[:2])
        self.free(allocation, force=True)
        self.assertEqual(0, self.device("fake:0")["committedBytes"])
        self.crash()
        self.assertEqual(["host:0", "host:1"], [d["deviceId"] for d in self.host()["devices"]])

    def test_smaller_than_what_it_holds_nothing_new_goes_in(self):
        held = self.allocate(600 * MIB, "fake:0", persistent=True)
        self.daemon.kill()
        self.next_daemon(devices=("host:0=2GiB", "host:1=1GiB", "fake:0=512MiB"))
        shown = self.device("fake:0")
        self.assertEqual((0, 100, 100), (shown["availableBytes"], shown["utilizationPercent"], shown["pressure"]["percent"]))
        self.assertEqual(507, self.try_allocate(100, "fake:0").status)
        self.free(held, force=True)
        self.allocate(100, "fake:0")


if __name__ == "__main__":
    unittest.main()
