"""What the vault holds when a daemon starts, or does not hold any more: nothing is lost in silence, and nobody's memory
is touched where the books do not add up."""

import os
import shutil
import signal
import subprocess
import sys
import time
import unittest

import kernel
from doors import Http
from harness import BIN, MEMORY, MIB, Daemon, name_of, run_program, wait_until
from restart import (ALLOCATION, DEVICE_NAMES, LIMIT, SEGMENT, TEXT, Ledger, RestartCase, held_by_anybody)


# A vault that has its lock, listens, and never answers.
HUNG = f"""#!{sys.executable}
import fcntl, os, signal, socket, sys
os.chdir(sys.argv[sys.argv.index("--runtime-dir") + 1])
lock = open("vault.lock", "w")
fcntl.flock(lock, fcntl.LOCK_EX)
os.unlink("vault.sock")
listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
listener.bind("vault.sock")
listener.listen()
with open("hung.new", "w") as file:
    file.write(str(os.getpid()))
os.rename("hung.new", "hung")
os.close(1)
signal.pause()
"""


class VaultThatDies(RestartCase):
    def test_it_is_replaced_and_filled_and_then_nothing_is_lost(self):
        made = [self.allocate(size, device) for device in DEVICE_NAMES for size in (100, 3 * MIB)]
        sums = {name_of(a): self.fill(a, 5)["checksum"] for a in made}
        vault = self.vault()
        for _ in range(3):
            os.kill(vault, signal.SIGKILL)
            vault = self.durable_again(vault)
            self.crash()
            self.assertEqual(sums, {a: self.checksum(a) for a in sums})
            self.assert_books_are_the_kernels()

    def test_a_stop_waits_until_the_next_one_has_all(self):
        allocation = self.allocate(3 * MIB, persistent=True)
        checksum = self.fill(allocation, 4)["checksum"]
        for _ in range(5):
            vault = self.vault()
            os.kill(vault, signal.SIGKILL)
            wait_until(lambda: f"the vault (pid {vault}) is gone" in self.daemon.log(), "it to be missed")
            self.stop()
            self.assertEqual(checksum, self.checksum(allocation))

    def test_a_stop_while_it_is_replaced_is_a_clean_one(self):
        for _ in range(10):
            os.kill(self.vault(), signal.SIGKILL)
            self.daemon.stop()
            self.daemon.release_vault()
            self.daemon.start()

    def test_a_thousand_segments_are_with_the_next_one_within_half_a_second(self):
        made = {name_of(self.allocate(MIB)) for _ in range(1000)}
        times = []
        vault = self.vault()
        for _ in range(3):
            os.kill(vault, signal.SIGKILL)
            start = time.monotonic()
            vault = self.durable_again(vault)
            times.append(time.monotonic() - start)
        self.assertLess(min(times), 0.5, times)
        self.crash()
        self.assertEqual(made, {name_of(a) for a in self.allocations()})

    def own_programs(self):
        """The daemon runs from this folder now, in which the vault's program can be moved away."""
        folder = self.daemon.folder / "bin"
        folder.mkdir()
        for name in ("memkeepd", "memkeep-vault", "memkeep-worker"):
            shutil.copy2(BIN / name, folder)
        self.daemon.stop()
        self.next_daemon(start=False)
        self.daemon.command[0] = str(folder / "memkeepd")
        self.daemon.start()
        return folder

    def test_meanwhile_health_says_so(self):
        folder = self.own_programs()
        self.assertIs(True, self.health()["durable"])
        (folder / "memkeep-vault").rename(folder / "away")
        allocation = self.allocate(3 * MIB)
        os.kill(self.vault(), signal.SIGKILL)
        wait_until(lambda: not self.health()["durable"], "it to be missed")
        health = self.health()
        self.assertEqual("degraded", health["status"])
        self.assertIn("vault", [p["name"] for p in health["parts"] if p["status"] != "ok"])
        meanwhile = self.allocate(3 * MIB, label="without a vault")
        sums = {name_of(a): self.fill(a, 6)["checksum"] for a in (allocation, meanwhile)}
        (folder / "away").rename(folder / "memkeep-vault")
        self.durable_again(None)
        self.crash()
        self.assertEqual(sums, {a: self.checksum(a) for a in sums})

    def test_one_that_hangs_from_its_beginning_is_replaced_too(self):
        folder = self.own_programs()
        allocation = self.allocate(3 * MIB)
        checksum = self.fill(allocation, 8)["checksum"]
        (folder / "memkeep-vault").rename(folder / "away")
        (folder / "memkeep-vault").write_text(HUNG)
        (folder / "memkeep-vault").chmod(0o755)
        os.kill(self.vault(), signal.SIGKILL)
        wait_until((self.daemon.runtime / "hung").exists, "the one that hangs to be started")
        (folder / "away").rename(folder / "memkeep-vault")
        self.durable_again(None)
        hung = int((self.daemon.runtime / "hung").read_text())
        self.assertFalse(kernel.is_alive(hung))
        self.crash()
        self.assertEqual(checksum, self.checksum(allocation))

    def test_one_that_is_full_says_so_and_the_next_has_all(self):
        """It may have some ten descriptors beside its own."""
        folder = self.own_programs()
        vault, program = self.vault(), folder / "memkeep-vault"
        (folder / "real").mkdir()
        program.rename(folder / "real/memkeep-vault")
        program.write_text(f'#!/bin/sh\nulimit -n 140\nexec {folder}/real/memkeep-vault "$@"\n')
        program.chmod(0o755)
        os.kill(vault, signal.SIGKILL)
        vault = self.durable_again(vault)
        made = {name_of(self.allocate(3 * MIB)) for _ in range(20)}
        wait_until(lambda: "the vault is full" in [p["reason"] for p in self.health()["parts"]], "it to be full")
        self.assertIs(False, self.health()["durable"])
        (folder / "real/memkeep-vault").rename(program)
        os.kill(vault, signal.SIGKILL)
        self.durable_again(vault)
        self.crash()
        self.assertEqual(made, {name_of(a) for a in self.allocations()})

    def test_it_and_the_daemon_at_once_is_a_clean_start(self):
        """The daemon is stopped first, or it might start another vault before its own end."""
        for size in (100, 3 * MIB, 64 * MIB):
            self.fill(self.allocate(size, persistent=True), 1)
        vault, daemon = self.vault(), self.daemon.pid
        inodes = kernel.memfds(vault, daemon).keys()
        self.assertTrue(inodes)
        os.kill(daemon, signal.SIGSTOP)
        os.kill(vault, signal.SIGKILL)
        self.daemon.kill()
        wait_until(lambda: not held_by_anybody(inodes), "the pages to be let go")
        self.daemon.start()
        self.assert_empty()
        self.fill(self.allocate(3 * MIB), 1)
        self.assert_books_are_the_kernels()

    def test_one_that_dies_while_a_daemon_starts(self):
        """Stopped first, so that the daemon has asked it and waits for the answer."""
        def sockets():
            folder = f"/proc/{self.daemon.pid}/fd"
            return [fd for fd in os.listdir(folder) if os.readlink(f"{folder}/{fd}").startswith("socket:")]
        vault = self.vault()
        os.kill(vault, signal.SIGSTOP)
        self.daemon.kill()
        self.daemon.spawn()
        wait_until(sockets, "the daemon to be connected")
        os.kill(vault, signal.SIGKILL)
        self.daemon.facts = wait_until(self.daemon._ready, "the daemon to be ready")
        self.assertNotEqual(vault, self.daemon.facts["vaultPid"])
        self.assertIs(True, Http(self.daemon.port).get("/health/detailed").data["durable"])

    def test_a_memkeepd_json_that_names_it(self):
        os.kill(self.vault(), signal.SIGKILL)
        pid = self.durable_again(self.daemon.facts["vaultPid"])
        wait_until(lambda: (self.daemon._ready() or {}).get("vaultPid") == pid, "memkeepd.json to name the new one")


class VaultThatHangs(RestartCase):
    """Stopped by SIGSTOP, so that only the daemon can end it."""

    def hang(self):
        vault = self.vault()
        os.kill(vault, signal.SIGSTOP)
        self.addCleanup(self.end, vault)
        return vault

    def end(self, vault):
        if kernel.is_alive(vault):
            os.kill(vault, signal.SIGKILL)

    def kept(self):
        """Some memory that outlives a stop: {allocation: checksum}."""
        made = [self.allocate(size, device, persistent=True) for device in DEVICE_NAMES for size in (100, 3 * MIB)]
        return {name_of(a): self.fill(a, 7)["checksum"] for a in made}

    def assert_kept(self, sums):
        self.assertEqual(sums, {a: self.checksum(a) for a in sums})
        self.assert_books_are_the_kernels()

    def test_it_is_killed_and_replaced_and_then_nothing_is_lost(self):
        sums = self.kept()
        before = kernel.memfds(self.daemon.pid).keys()
        freed = self.allocate(64 * MIB)
        self.fill(freed, 1)
        inodes = kernel.memfds(self.daemon.pid).keys() - before
        vault = self.hang()
        self.free(freed)
        new = self.allocate(3 * MIB)
        sums[name_of(new)] = self.fill(new, 2)["checksum"]
        wait_until(lambda: not held_by_anybody(inodes), "the pages to be let go")
        self.durable_again(vault)
        self.assertFalse(kernel.is_alive(vault))
        self.assertIn(f"the vault (pid {vault}) does not answer: it is killed", self.daemon.log())
        self.crash()
        self.assert_kept(sums)

    def test_also_when_nothing_is_asked_of_it(self):
        sums = self.kept()
        for _ in range(2):
            self.durable_again(self.hang())
        self.crash()
        self.assert_kept(sums)

    def test_more_than_its_queue_takes_is_allocated_and_freed(self):
        segments = 600  # net.unix.max_dgram_qlen is 10, under systemd 512
        vault = self.hang()
        made = [self.allocate(MIB) for _ in range(segments)]
        for allocation in made[::2]:
            self.free(allocation)
        self.durable_again(vault)
        self.crash()
        self.assertEqual({name_of(a) for a in made[1::2]}, {name_of(a) for a in self.allocations()})
        self.assert_books_are_the_kernels()

    def test_a_daemon_that_starts_leaves_it_alone_and_says_what_to_do(self):
        sums = self.kept()
        os.kill(self.daemon.pid, signal.SIGSTOP)
        vault = self.hang()
        self.daemon.kill()
        self.daemon.spawn()
        self.assertEqual(1, self.daemon.process.wait(20), self.daemon.log())
        for said in (f"memkeep-vault (pid {vault}) does not answer", "SIGCONT wakes one that is stopped"):
            self.assertIn(said, self.daemon.log())
        self.assertTrue(kernel.is_alive(vault))
        os.kill(vault, signal.SIGCONT)
        self.daemon.start()
        self.assertEqual(vault, self.vault())
        self.assert_kept(sums)

    def test_a_stop_ends_in_time_and_leaves_it_alone(self):
        """Also when it is to forget what the stop gives back, less or more than its queue takes."""
        for ends_with_it in (0, 1, 600):
            with self.subTest(ends_with_it):
                sums = self.kept()
                for _ in range(ends_with_it):
                    self.allocate(MIB)
                vault = self.hang()
                self.daemon.stop()
                self.assertNotIn("killed", self.daemon.log().rpartition("Terminated: stopping")[2])
                if kernel.is_alive(vault):  # else we were slower than its deadline
                    os.kill(vault, signal.SIGCONT)
                self.daemon.start()
                self.assert_kept(sums)

    def test_a_stop_that_gives_all_back_ends_it(self):
        for made in (lambda: None, self.kept):
            with self.subTest(made):
                made()
                vault = self.hang()
                inodes = kernel.memfds(vault).keys()
                with self.daemon.unix() as unix:
                    self.assertTrue(unix.call("memory.shutdown", {"release_all": True})["success"])
                self.assertEqual(0, self.daemon.process.wait(5))
                wait_until(lambda: not held_by_anybody(inodes), "the pages to be let go")
                self.assertIsNone(self.vault())
                self.daemon.start()


class Lost(RestartCase):
    """What the books and the vault do not have both."""

    def lose(self, *allocations):
        self.daemon.kill()
        with self.hands() as vault:
            for segment in {a["segmentId"] for a in allocations}:
                vault.drop(segment)
        self.daemon.start()

    def test_a_record_without_memory_is_lost_and_said_to_be(self):
        lost, kept = self.allocate(3 * MIB, label="lost"), self.allocate(3 * MIB)
        checksum = self.fill(kept, 1)["checksum"]
        self.lose(lost)
        self.assertEqual(("lost", "lost"), (self.look(lost)["status"], self.look(lost)["label"]))
        self.assertEqual("active", self.look(kept)["status"])
        self.assertEqual(checksum, self.checksum(kept))
        self.assertRegex(self.daemon.log(), "1 segment.* lost")

    def test_it_is_refused_where_bytes_are_wanted_and_can_be_freed(self):
        lost, kept = self.allocate(3 * MIB), self.allocate(3 * MIB)
        self.lose(lost)
        for path, body in (("copy", {"sourceAllocationId": name_of(lost), "targetAllocationId": name_of(kept)}),
                           ("copy", {"sourceAllocationId": name_of(kept), "targetAllocationId": name_of(lost)}),
                           ("fill", {"allocationId": name_of(lost), "value": 1})):
            self.refused(self.daemon.post(f"{MEMORY}/operations/{path}", body), 410, "ALLOCATION_LOST")
        for mode in ("copy", "move"):
            self.refused(self.try_transfer(lost, "host:0", "host:1", mode=mode), 410, "ALLOCATION_LOST")
        self.assertEqual(3 * MIB, self.free(lost)["freedBytes"])
        self.assertTrue(self.is_gone(lost))
        self.assertEqual(3 * MIB, self.device()["committedBytes"])
        self.free(kept)
        self.assert_empty()

    def test_it_is_cleared_protected_or_not(self):
        lost = [self.allocate(3 * MIB, persistent=True), self.allocate(3 * MIB, pinned=True), self.allocate(4096)]
        kept = self.allocate(3 * MIB)
        checksum = self.fill(kept, 1)["checksum"]
        self.lose(*lost)
        found = self.ok(self.daemon.get(f"{MEMORY}/optimization"))["recommendations"]
        advice = next(one for one in found if one["id"] == "clear_lost:host:0")
        self.assertEqual((3, 6 * MIB + 4096), (advice["evidence"]["lostAllocations"], advice["evidence"]["lostBytes"]))
        cleared = self.ok(self.daemon.post(advice["action"]["path"], advice["action"]["body"]))
        self.assertEqual((3, 0), (cleared["clearedAllocations"], cleared["clearedBytes"]))
        self.assertEqual([name_of(kept)], [name_of(a) for a in self.allocations()])
        self.assertEqual(checksum, self.checksum(kept))
        self.assertEqual([], self.ok(self.daemon.get(f"{MEMORY}/optimization"))["recommendations"])

    def test_all_that_was_in_a_lost_slab(self):
        blocks = [self.allocate(4096) for _ in range(5)]
        self.lose(*blocks)
        self.assertEqual(["lost"] * 5, [self.look(b)["status"] for b in blocks])
        new = self.allocate(4096)
        self.assertNotEqual(blocks[0]["segmentId"], new["segmentId"])
        self.fill(new, 1)
        self.ok(self.daemon.post(f"{MEMORY}/operations/defragment", {"strategy": "thorough"}))
        for block in blocks:
            self.free(block)
        self.free(new)
        self.ok(self.daemon.post(f"{MEMORY}/operations/clear", {}))
        self.assert_empty()

    def test_it_stays_lost(self):
        lost = self.allocate(3 * MIB)
        self.lose(lost)
        self.crash()
        os.kill(self.vault(), signal.SIGKILL)
        wait_until(lambda: self.health()["durable"], "it to be durable again")
        self.assertEqual("lost", self.look(lost)["status"])

    def test_a_stop_waits_until_the_vault_has_forgotten_it(self):
        """Or the stop would free what the answer comes back to: a word from the sanitizers."""
        self.lose(self.allocate(3 * MIB))
        vault = self.vault()
        os.kill(vault, signal.SIGSTOP)
        self.daemon.process.terminate()
        wait_until(lambda: "Terminated: stopping" in self.daemon.log(), "the stop to begin")
        os.kill(vault, signal.SIGCONT)
        self.daemon.stop()

    def test_memory_without_a_record_is_given_back(self):
        kept = self.allocate(3 * MIB)
        checksum = self.fill(kept, 1)["checksum"]
        stray = os.memfd_create("stray")
        self.addCleanup(os.close, stray)
        os.write(stray, b"x" * MIB)
        self.daemon.kill()
        with self.hands() as vault:
            vault.put(max(vault.segments()) + 1, stray, MIB)
            self.assertEqual(3, len(vault.segments()))
        self.daemon.start()
        self.assertEqual(0, os.fstat(stray).st_blocks)
        self.assertEqual(2, len(kernel.memfds(self.vault())))
        self.assertEqual(checksum, self.checksum(kept))


class Refuses(RestartCase):
    """Where the books are not understood nothing is touched."""

    def setUp(self):
        super().setUp()
        self.made = [self.allocate(100, label="é" * 100), self.allocate(3 * MIB, persistent=True)]
        self.sums = [self.fill(a, 0x33)["checksum"] for a in self.made]
        self.daemon.kill()
        self.ledger = Ledger(self.vault())

    def held(self):
        with self.hands() as vault:
            return vault.segments(), vault.facts.total, vault.facts.ledger

    def refused_to_start(self):
        seen = len(self.daemon.log())
        self.daemon.spawn()
        self.assertEqual(1, self.daemon.process.wait(20), self.daemon.log())
        return self.daemon.log()[seen:]

    def assert_refused(self, told):
        before, ledger = self.held(), self.ledger.read()
        said = self.refused_to_start()
        self.assertRegex(said, told)
        self.assertRegex(said, r"holds 2 segments, \d+\.\d [KMG]iB")
        self.assertIn("the version of memkeepd that wrote it", said)
        self.assertIn(f"memkeep-vault --runtime-dir {self.daemon.runtime} --release-all", said)
        self.assertEqual(before, self.held())
        self.assertEqual(ledger, self.ledger.read())
        self.assertFalse((self.daemon.runtime / "memkeepd.json").exists())

    def assert_damage(self, offset, bytes_, told):
        right = self.ledger.read()[offset:offset + len(bytes_)]
        self.assertNotEqual(right, bytes_)
        self.ledger.write(offset, bytes_)
        self.assert_refused(told)
        self.ledger.write(offset, right)

    def test_a_damaged_ledger_and_starts_once_it_is_repaired(self):
        ledger, records = self.ledger.read(), self.ledger.records
        self.assertTrue(records(TEXT))
        for what, offset, told in (("magic", 0, "begin"), ("identity", 16, "header"), ("format", 8, "version"),
                                   ("state", records(SEGMENT)[0], "live nor free"),
                                   *((kind, records(kind)[0] + 40, "checksum")
                                     for kind in (SEGMENT, ALLOCATION, TEXT, LIMIT))):
            with self.subTest(what):
                self.assert_damage(offset, bytes([ledger[offset] ^ 0x55]), told)
        self.daemon.start()
        self.assertEqual(self.sums, [self.checksum(a) for a in self.made])

    def test_a_ledger_of_which_a_record_is_gone(self):
        self.assert_damage(self.ledger.records(SEGMENT)[0], b"\0", "segment is missing")

    def test_a_vault_without_a_ledger(self):
        with self.hands() as vault:
            vault.drop("s-0000000000000000")
        seen = len(self.daemon.log())
        self.daemon.spawn()
        self.assertEqual(1, self.daemon.process.wait(20), self.daemon.log())
        self.assertRegex(self.daemon.log()[seen:], "(?s)2 segments.*--release-all.*no ledger")
        with self.hands() as vault:
            self.assertEqual(2, len(vault.segments()))

    def test_the_way_out(self):
        self.ledger.write(0, b"x")
        self.refused_to_start()
        vault = self.vault()
        answer = run_program("memkeep-vault", "--runtime-dir", str(self.daemon.runtime), "--release-all")
        self.assertEqual(0, answer.returncode, answer.stderr)
        wait_until(lambda: not kernel.is_alive(vault), "the vault to end")
        self.daemon.start()
        self.assert_empty()


class Two(RestartCase):
    def test_the_second_daemon_refuses_and_the_first_is_not_disturbed(self):
        allocation = self.allocate(3 * MIB)
        checksum = self.fill(allocation, 1)["checksum"]
        second = Daemon(devices=self.devices, folder=self.daemon.folder, start=False)
        result = subprocess.run(second.command, capture_output=True, text=True, env=second.environment, timeout=20,
                                stdin=subprocess.DEVNULL, cwd=self.daemon.folder)
        self.assertEqual(1, result.returncode, result.stderr)
        self.assertRegex(result.stderr, str(self.daemon.pid))
        self.assertIs(True, self.health()["durable"])
        self.assertEqual(checksum, self.checksum(allocation))
        self.crash()
        self.assertEqual(checksum, self.checksum(allocation))


if __name__ == "__main__":
    unittest.main()
