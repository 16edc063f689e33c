"""memkeepd as a service: our units under a real systemd."""

import os
import random
import unittest

from harness import KIB, MIB, Case, name_of, wait_until
from machine import DAEMON, SOCKET, VAULT, Machine
from models import ModelWords, some_tensors, write_safetensors
from test_mk import sanitized


@unittest.skipUnless(os.geteuid() == 0, "booting a machine needs root")
@unittest.skipIf(sanitized(), "what a sanitizer does, the units' sandbox refuses")
class Service(ModelWords, Case):
    @classmethod
    def setUpClass(cls):
        cls.daemon = Machine()
        cls.addClassCleanup(cls.daemon.close)

    def setUp(self):
        """A daemon with 3 MiB that are known, started by its unit; the vault's comes along."""
        self.daemon.systemctl("stop", SOCKET)
        self.daemon.systemctl("start", DAEMON)
        self.kept = self.allocate(3 * MIB, persistent=True, label="kept")
        self.sum = self.fill(self.kept, 0x5a)["checksum"]
        self.vault = self.daemon.pid(VAULT)
        self.addCleanup(self.free, self.kept, force=True)

    def assert_kept(self):
        """The same allocation and bytes, the same vault, and all is well."""
        self.assertEqual(["active", "active"], [self.daemon.state(unit) for unit in (DAEMON, VAULT)])
        self.assertEqual("kept", self.look(self.kept)["label"])
        self.assertEqual(self.sum, self.checksum(self.kept))
        self.assertEqual(self.vault, self.daemon.pid(VAULT))
        self.assertIs(True, self.ok(self.daemon.get("/health/detailed"))["durable"])

    def kill(self, unit, how="KILL"):
        """A signal to its main process; once systemd has started another."""
        before = self.daemon.pid(unit)
        self.daemon.run("kill", f"-{how}", str(before))
        wait_until(lambda: self.daemon.state(unit) == "active" and self.daemon.pid(unit) not in (0, before),
                   f"{unit} to be started again")

    def test_a_restart(self):
        """And many at once, more than systemd allows a unit that says nothing about it."""
        before = self.daemon.pid(DAEMON)
        for _ in range(7):
            self.daemon.systemctl("restart", DAEMON)
        self.assertNotEqual(before, self.daemon.pid(DAEMON))
        self.assert_kept()

    def test_a_daemon_that_is_killed_is_started_again(self):
        for _ in range(3):
            self.kill(DAEMON)
            self.assert_kept()

    def test_a_vault_that_dies_or_hangs_is_replaced_by_its_unit(self):
        """And is not the daemon's child, which would make the unit's own one end again and again."""
        for how in ("KILL", "STOP", "KILL"):
            self.kill(VAULT, how)
            self.vault = self.daemon.pid(VAULT)
            wait_until(lambda: self.ok(self.daemon.get("/health/detailed"))["durable"], "the new one to have all")
            self.assert_kept()
            self.kill(DAEMON)
            self.assert_kept()

    def test_the_vault_is_not_restarted_by_hand(self):
        """Nor by whatever restarts all that uses a library, the daemon with it: then nobody would hold the memory."""
        for words in (("stop", VAULT), ("try-restart", VAULT), ("restart", VAULT, DAEMON)):
            with self.subTest(words):
                with self.assertRaisesRegex(AssertionError, f"refused, unit {VAULT}"):
                    self.daemon.systemctl(*words)
                self.assert_kept()

    def test_an_upgrade(self):
        """A package's: other files in the place of the old ones, and what its scripts do then."""
        self.daemon.install()
        self.daemon.systemctl("daemon-reload")
        self.daemon.systemctl("restart", DAEMON)
        self.assert_kept()
        exe = {unit: self.daemon.run("readlink", f"/proc/{self.daemon.pid(unit)}/exe").strip()
               for unit in (DAEMON, VAULT)}
        self.assertTrue(exe[DAEMON].endswith("/memkeepd"), exe)
        self.assertTrue(exe[VAULT].endswith("/memkeep-vault (deleted)"), exe)

    def test_a_stop_keeps_the_vault(self):
        self.daemon.systemctl("stop", DAEMON)
        self.assertEqual(["inactive", "active"], [self.daemon.state(unit) for unit in (DAEMON, VAULT)])
        self.assertIn("2 entries", self.daemon.run("/usr/local/bin/memkeep-vault", "--runtime-dir", "/run/memkeep",
                                                   "--status"))
        self.daemon.systemctl("start", DAEMON)
        self.assert_kept()

    def test_the_first_client_starts_the_daemon(self):
        self.daemon.systemctl("stop", DAEMON)
        self.daemon.systemctl("start", SOCKET)
        self.assertEqual("inactive", self.daemon.state(DAEMON))
        self.assertIn(name_of(self.kept), self.daemon.memkeep("ps"))
        self.assert_kept()

    def test_the_socket_is_there_over_a_restart(self):
        self.daemon.systemctl("stop", DAEMON)
        self.daemon.systemctl("start", SOCKET, DAEMON)
        self.daemon.systemctl("--no-block", "restart", DAEMON)
        self.assertIn(name_of(self.kept), self.daemon.memkeep("ps"))
        wait_until(lambda: self.daemon.state(DAEMON) == "active", "the restart to end")
        self.assert_kept()

    def test_a_model_is_loaded(self):
        """By the inspector and a worker, from a place that the sandbox shows them."""
        tensors = some_tensors(random.Random(1), 5, 100 * KIB)
        write_safetensors(self.daemon.root / "root/m.safetensors", tensors)
        model = self.load("/root/m.safetensors", "host:0")
        self.daemon.systemctl("restart", DAEMON)
        self.assertEqual("ram", self.look_model(model)["residency"])
        self.unload(model)
        self.assert_kept()

    def test_all_are_in_the_sandbox(self):
        pids = [self.daemon.pid(DAEMON), self.vault, self.mover()["pid"]]
        for pid in pids:
            status = dict(line.split(":\t", 1) for line in self.daemon.run("cat", f"/proc/{pid}/status").splitlines())
            self.assertEqual(("1", "2"), (status["NoNewPrivs"], status["Seccomp"]), pid)

    def test_a_device_that_is_not_named_is_not_there(self):
        """For whoever is in the units' cgroups; outside of them it can be opened."""
        self.daemon.run("mknod", "-m", "666", "/dev/stranger", "c", "1", "11")
        self.addCleanup(self.daemon.run, "rm", "/dev/stranger")
        opens = "echo $$ >/sys/fs/cgroup/$0/cgroup.procs; : </dev/null; : <>/dev/stranger && echo opened"
        for cgroup, said in (("init.scope", "^opened"), (f"system.slice/{DAEMON}", "not permitted"),
                             (f"system.slice/{VAULT}", "not permitted")):
            self.assertRegex(self.daemon.run("sh", "-c", opens, cgroup, check=False), said)


if __name__ == "__main__":
    unittest.main()
