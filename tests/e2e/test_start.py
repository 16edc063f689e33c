"""Starting and stopping memkeepd: flags, configuration, what it refuses and how it says so."""

import fcntl
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import unittest
from pathlib import Path

import kernel
from doors import Unix
from harness import GIB, HOSTS, MEMORY, MIB, Case, Daemon, DaemonCase, name_of, run_program, wait_until


class StartCase(Case):
    def setUp(self):
        self.folder = Path(tempfile.mkdtemp(prefix="memkeep-e2e-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)

    def started(self, *flags, **more):
        self.daemon = Daemon(*flags, folder=self.folder, **more)
        self.addCleanup(self.daemon.close)
        return self.daemon

    def refuses_to_start(self, code, *flags, told="", **more):
        """The start fails with this code, soon, and says why in words that match."""
        (self.folder / "stderr").unlink(missing_ok=True)
        daemon = Daemon(*flags, folder=self.folder, start=False, **more).spawn()
        self.addCleanup(daemon.kill)
        self.assertEqual(code, daemon.process.wait(20), daemon.log())
        self.assertRegex(daemon.log(), f"(?i){told}")
        self.assertFalse((daemon.runtime / "memkeepd.json").exists())
        return daemon.log()

    def config(self, text):
        path = self.folder / "memkeep.conf"
        path.write_text(text)
        return str(path)


class Ready(StartCase):
    def test_the_file_says_where_it_is(self):
        facts = self.started().facts
        self.assertEqual({"pid", "address", "port", "socket", "version", "vaultPid"}, facts.keys())
        self.assertEqual((self.daemon.pid, "127.0.0.1"), (facts["pid"], facts["address"]))
        self.assertEqual("memkeep-vault", Path(f"/proc/{facts['vaultPid']}/comm").read_text().strip())
        self.assertGreater(facts["port"], 0)
        self.assertTrue(os.path.exists(facts["socket"]))

    def test_when_the_file_is_there_both_doors_answer(self):
        self.started()
        self.ok(self.daemon.get("/health"))
        with self.daemon.unix() as unix:
            self.assertTrue(unix.call("memory.get_status")["success"])

    def test_systemd_is_told(self):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.bind(str(self.folder / "notify"))
            notify.settimeout(20)
            self.started(environment={"NOTIFY_SOCKET": str(self.folder / "notify")})
            self.assertIn(b"READY=1", notify.recv(4096))

    def test_a_listener_and_a_socket_where_they_were_asked_for(self):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        path = str(self.folder / "my.sock")
        facts = self.started("--socket", path, listen=f"127.0.0.1:{port}").facts
        self.assertEqual((port, path), (facts["port"], facts["socket"]))

    def test_devices_as_they_were_asked_for(self):
        self.started(devices=("host:0=64MiB", "host:1=1.5GiB", "fake:0=512M,rate=1GiB/s,latency=50us"))
        self.assertEqual({"host:0": 64 * MIB, "host:1": 1536 * MIB, "fake:0": 512 * MIB},
                         {d["deviceId"]: d["totalBytes"] for d in self.host()["devices"]})

    def test_without_devices_there_is_the_hosts_memory(self):
        self.started(devices=())
        self.assertIn("host:0", [d["deviceId"] for d in self.host()["devices"]])

    def test_no_fake_unless_asked_for(self):
        self.started(devices=())
        self.assertNotIn("fake", [d["backend"] for d in self.host()["devices"]])

    def test_flags_come_from_the_environment_too(self):
        self.started(listen=None, environment={"MEMKEEP_LISTEN": "127.0.0.1:0"})
        self.assertNotEqual(7171, self.daemon.port)

    def test_ipv6_loopback(self):
        try:
            socket.create_server(("::1", 0), family=socket.AF_INET6).close()
        except OSError:
            self.skipTest("no IPv6 here")
        facts = self.started(listen="[::1]:0").facts
        with socket.create_connection(("::1", facts["port"]), timeout=20) as connection:
            connection.sendall(b"GET /health HTTP/1.1\r\nHost: [::1]\r\n\r\n")
            self.assertTrue(connection.recv(100).startswith(b"HTTP/1.1 200"))


class Words(unittest.TestCase):
    def test_version(self):
        result = run_program("memkeepd", "--version")
        self.assertEqual(0, result.returncode, result.stderr)
        self.assertRegex(result.stdout, r"\d+\.\d+\.\d+")

    def test_help(self):
        result = run_program("memkeepd", "--help")
        self.assertEqual(0, result.returncode)
        for flag in ("--config", "--listen", "--socket", "--state-dir", "--runtime-dir", "--device", "--no-gpu",
                     "--worker", "--no-worker", "--no-vault", "--log-level", "--check-config", "--version"):
            self.assertIn(flag, result.stdout)

    def test_the_worker_has_a_version_too(self):
        result = run_program("memkeep-worker", "--version")
        self.assertEqual(0, result.returncode, result.stderr)


class AfterACrash(StartCase):
    def test_doors_that_a_dying_process_still_holds(self):
        """As a process that was just being started when its daemon was killed does, until its exec."""
        daemon = Daemon(folder=self.folder, start=False)
        daemon.runtime.mkdir(mode=0o700)
        with socket.socket(socket.AF_UNIX) as held:
            held.bind(str(daemon.runtime / "memkeep.sock"))
            held.listen()
            held.settimeout(20)
            self.addCleanup(daemon.spawn().close)
            held.accept()[0].close()
        daemon.facts = wait_until(daemon._ready, "memkeepd.json", 20)
        with daemon.unix() as unix:
            self.assertTrue(unix.call("memory.get_status")["success"])


class Refused(StartCase):
    def test_flags_that_are_none(self):
        for flags, told in ((("--no-such-flag",), "no-such-flag"), (("--listen",), "listen"), (("extra",), "extra"),
                            (("--log-level", "loud"), "loud"), (("--worker", "nameless"), "worker|nameless")):
            with self.subTest(flags):
                self.refuses_to_start(2, *flags, told=told)

    def test_a_vault_that_it_may_not_start(self):
        self.refuses_to_start(1, "--no-vault", told="memkeep-vault does not answer")

    def test_devices_that_are_none(self):
        for device in ("host:0=lots", "host=1GiB", "moon:0=1GiB", "host:x=1GiB", "fake:0=1GiB,speed=5", "fake:0",
                       "host:0=0", "host:0=-1", "fake:0=1GiB,rate=fast", "fake:0=1GiB,fail=dance:3", "host:1000=1GiB",
                       ""):
            with self.subTest(device):
                self.refuses_to_start(2, devices=(device,), told=re.escape(device.split(",")[-1].split("=")[0]))

    def test_one_device_twice(self):
        self.refuses_to_start(2, devices=("host:0=1GiB", "host:0=2GiB"), told="host:0")

    def test_a_host_without_a_size_beside_another(self):
        self.refuses_to_start(2, devices=("host:0", "host:1=1GiB"), told="host:0|size")

    def test_addresses_that_are_none(self):
        for listen in ("nowhere", "127.0.0.1", "127.0.0.1:x", "127.0.0.1:70000", "300.1.1.1:0", ":"):
            with self.subTest(listen):
                self.refuses_to_start(2, listen=listen, told="listen|address|port")

    def test_beyond_loopback_without_tokens(self):
        for listen in ("0.0.0.0:0", "[::]:0"):
            with self.subTest(listen):
                self.refuses_to_start(2, listen=listen, told="token|loopback")

    def test_a_port_that_is_taken(self):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            self.refuses_to_start(1, listen=f"127.0.0.1:{port}", told=f"{port}.*in use")

    def test_a_second_daemon_in_the_same_folder(self):
        first = self.started()
        second = Daemon(folder=self.folder, start=False)
        second.log_path = self.folder / "second"
        facts = (first.runtime / "memkeepd.json").read_text()
        with open(second.log_path, "w") as log:
            code = subprocess.run(second.command, stdout=log, stderr=log, env=second.environment, timeout=20,
                                  stdin=subprocess.DEVNULL).returncode
        self.assertEqual(1, code, second.log())
        self.assertRegex(second.log(), rf"(?i){first.pid}|running|lock")
        self.assertEqual(facts, (first.runtime / "memkeepd.json").read_text())
        self.ok(first.get("/health"))
        with first.unix() as unix:
            self.assertTrue(unix.call("memory.get_status")["success"])

    def test_a_socket_path_that_is_too_long(self):
        self.refuses_to_start(2, "--socket", str(self.folder / ("x" * 120)), told="107|long")

    def test_a_runtime_folder_that_others_can_write(self):
        (self.folder / "run").mkdir()
        (self.folder / "run").chmod(0o777)
        daemon = Daemon(folder=self.folder, start=False).spawn()
        self.addCleanup(daemon.close)

        def decided():
            ready = (daemon.runtime / "memkeepd.json").exists()
            return daemon.process.poll() is not None or ready
        wait_until(decided, "the daemon to decide")
        if daemon.process.poll() is None:
            self.assertEqual(0o700, daemon.runtime.stat().st_mode & 0o777, "it serves in a folder open to all")
        else:
            self.assertIn(daemon.process.returncode, (1, 2))


class Configuration(StartCase):
    def test_keys_of_the_file_are_flags(self):
        self.started("--config", self.config('listen = "127.0.0.1:0";\n'), listen=None)
        self.assertNotEqual(7171, self.daemon.port)

    def test_a_flag_beats_the_file(self):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            text = f'listen = "127.0.0.1:{taken.getsockname()[1]}";\n'
            self.started("--config", self.config(text), listen="127.0.0.1:0")
        self.ok(self.daemon.get("/health"))

    def test_a_flag_beats_the_environment(self):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            self.started(environment={"MEMKEEP_LISTEN": f"127.0.0.1:{taken.getsockname()[1]}"})
        self.ok(self.daemon.get("/health"))

    def test_errors_have_file_line_and_reason(self):
        for text, line, told in (('listen = "127.0.0.1:0";\nno_such_key = 5;\n', 2, "no_such_key"),
                                 ('\n\nlisten = 5;\n', 3, "listen"),
                                 ('listen = "127.0.0.1:0"\n\n= broken', 3, "syntax"),
                                 ('\nlisten = "nowhere";\n', 2, "nowhere|listen")):
            with self.subTest(text):
                path = self.config(text)
                log = self.refuses_to_start(2, "--config", path, listen=None, told=told)
                self.assertIn(f"{path}:{line}", log)

    def test_a_file_that_is_not_there(self):
        self.refuses_to_start(2, "--config", str(self.folder / "none.conf"), told="none.conf")

    def test_check_config_starts_nothing(self):
        for text, code in (('listen = "127.0.0.1:0";\n', 0), ("no_such_key = 5;\n", 2)):
            with self.subTest(text):
                result = run_program("memkeepd", "--check-config", "--config", self.config(text),
                                     "--runtime-dir", str(self.folder / "run"))
                self.assertEqual(code, result.returncode, result.stderr)
                self.assertFalse((self.folder / "run/memkeepd.json").exists())

    def test_the_users_file_is_read(self):
        (self.folder / "memkeep").mkdir()
        (self.folder / "memkeep/memkeep.conf").write_text("no_such_key = 5;\n")
        self.refuses_to_start(2, told="memkeep.conf:1")


class Activation(StartCase):
    """The Unix socket was made by whoever starts the daemon, as systemd does for memkeepd.socket."""

    def setUp(self):
        super().setUp()
        self.path = self.folder / "run/memkeep.sock"
        self.path.parent.mkdir(mode=0o700)
        self.listener = self.listens_at(self.path)

    def listens_at(self, path):
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.addCleanup(listener.close)
        listener.bind(str(path))
        listener.listen()
        return listener

    def activated(self, *passed, pid="$$", count=None):
        """A daemon, not started yet, that finds these from descriptor 3 on."""
        copies = [fcntl.fcntl(one.fileno(), fcntl.F_DUPFD, 100) for one in passed]
        self.addCleanup(lambda: [os.close(fd) for fd in copies])
        moves = " ".join(f"{3 + i}<&{fd} {fd}<&-" for i, fd in enumerate(copies))
        daemon = Daemon(folder=self.folder, start=False)
        daemon.command = ["bash", "-c", f'exec {moves}; LISTEN_PID={pid} LISTEN_FDS={len(passed)} '
                          'LISTEN_FDNAMES=memkeepd.socket exec "$@"', "bash", *daemon.command]
        daemon.pass_fds = copies
        self.addCleanup(daemon.close)
        self.daemon = daemon
        return daemon

    def asks(self):
        with Unix(str(self.path)) as unix:
            return unix.call("memory.get_status")["success"]

    def test_who_came_before_the_daemon_is_answered(self):
        with Unix(str(self.path)) as unix:
            request = unix.send("memory.get_status")
            facts = self.activated(self.listener).start().facts
            self.assertTrue(unix.wait(request)["success"])
        self.assertEqual(str(self.path), facts["socket"])
        self.assertTrue(self.asks())

    def test_the_socket_outlives_it(self):
        inode = self.path.stat().st_ino
        self.activated(self.listener).start().stop()
        self.assertEqual(inode, self.path.stat().st_ino)
        with Unix(str(self.path)) as unix:
            request = unix.send("memory.get_status")
            self.activated(self.listener).start()
            self.assertTrue(unix.wait(request)["success"])

    def test_its_children_have_neither_the_socket_nor_the_variables(self):
        daemon = self.activated(self.listener).start()
        name = f"socket:[{os.fstat(self.listener.fileno()).st_ino}]"

        def opened(pid):
            return [os.readlink(fd) for fd in Path(f"/proc/{pid}/fd").iterdir() if fd.is_symlink()]
        self.assertEqual(1, opened(daemon.pid).count(name))
        for pid in (daemon.facts["vaultPid"], self.mover()["pid"]):
            self.assertNotIn(name, opened(pid))
            self.assertNotIn("LISTEN_", Path(f"/proc/{pid}/environ").read_text())

    def test_what_is_meant_for_another_process_is_not_taken(self):
        self.path.unlink()
        self.activated(self.listener, pid=1).start()
        self.assertTrue(self.asks())

    def test_what_is_no_socket_is_closed(self):
        self.path.unlink()
        with open(os.devnull, "rb") as nothing:
            daemon = self.activated(nothing).start()
        self.assertRegex(daemon.log(), "descriptor 3 .*closed")
        self.assertTrue(self.asks())

    def test_one_at_another_place_is_refused(self):
        daemon = self.activated(self.listens_at(self.folder / "other.sock")).spawn()
        self.assertEqual(2, daemon.process.wait(20), daemon.log())
        self.assertRegex(daemon.log(), "other.sock.*memkeep.sock")


class Stopping(DaemonCase):
    devices = HOSTS + ("fake:0=1GiB,rate=50MiB/s",)

    def test_both_signals_end_it_cleanly(self):
        for how in (signal.SIGTERM, signal.SIGINT):
            with self.subTest(how):
                self.restart_with()
                self.daemon.stop(how)

    def test_with_memory_held(self):
        for size in (100, 5000, 3 * MIB, 256 * MIB):
            self.allocate(size, commit=True)
        self.daemon.stop()

    def test_memory_is_given_back_to_the_machine(self):
        before = kernel.meminfo()["Shmem"]
        self.allocate(1 * GIB, commit=True)
        self.assertGreater(kernel.meminfo()["Shmem"] - before, GIB // 2)
        self.daemon.stop()
        wait_until(lambda: kernel.meminfo()["Shmem"] - before < GIB // 2, "the pages to come back")

    def test_in_the_middle_of_a_transfer(self):
        transfer = self.start_transfer(self.allocate(500 * MIB), target="fake:0", verify=False)
        self.transfer_moves(transfer)
        self.daemon.stop()

    def test_with_clients_that_wait(self):
        self.allocate(2 * GIB - 16 * MIB)
        unix = self.daemon.unix()
        self.addCleanup(unix.close)
        unix.send("memory.allocate", {"size_bytes": 64 * MIB, "device_id": "host:0", "wait_ms": 600000})
        stream, raw = self.daemon.events(), self.daemon.raw(b"POST /half HTTP/1.1\r\nHost: ")
        self.addCleanup(stream.close)
        self.addCleanup(raw.close)
        self.daemon.stop()

    def test_its_workers_end_too(self):
        self.mover()
        children = kernel.ids_of_children(self.daemon.pid)
        self.daemon.stop()
        self.assertFalse([pid for pid in children if kernel.is_alive(pid)])

    def test_it_ends_while_its_worker_hangs(self):
        pid = self.mover()["pid"]
        os.kill(pid, signal.SIGSTOP)
        try:
            self.daemon.stop()
            wait_until(lambda: not kernel.is_alive(pid), "the worker to be gone")
        finally:
            if kernel.is_alive(pid):
                os.kill(pid, signal.SIGKILL)

    def test_it_can_be_started_again_in_the_same_folder(self):
        self.allocate(1 * MIB)
        self.daemon.stop()
        self.daemon.start()
        self.free(self.allocate(1 * MIB))

    def test_after_a_crash_too(self):
        self.allocate(1 * MIB)
        self.daemon.kill()
        self.assertTrue(os.path.exists(self.daemon.socket_path))
        self.daemon.start()
        self.ok(self.daemon.get(f"{MEMORY}/status"))
        self.free(self.allocate(1 * MIB))

    def test_ids_of_the_last_life_are_not_used_again(self):
        old = name_of(self.allocate(4096))
        self.daemon.stop()
        self.daemon.start()
        self.assertTrue(self.is_gone(old))
        self.assertNotEqual(old, name_of(self.allocate(4096)))


if __name__ == "__main__":
    unittest.main()
