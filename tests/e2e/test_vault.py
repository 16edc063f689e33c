"""The vault: what reached it is kept whatever becomes of the sender, and nothing that is not to be kept stays open."""

import array
import contextlib
import fcntl
import os
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import unittest
from pathlib import Path

from harness import NOBODY, program, run_program, wait_until

HELLO, PUT, REFUSED, DROP, DROPPED, LIST, LISTED, STATUS, RELEASE, RELEASED = range(1, 11)
MAGIC, BATCH = 0x314b4d56, 64
HEAD, ENTRY = struct.Struct("<IHHQQQQQ"), struct.Struct("<QQ")
LEDGER = (0xfeed, 0xbeef)


def message(kind, entries=(), cursor=0, ledger=(0, 0)):
    return HEAD.pack(MAGIC, kind, len(entries), *ledger, cursor, 0, 0) + b"".join(ENTRY.pack(*e) for e in entries)


class Answer:
    def __init__(self, data, files):
        _, self.kind, count, *ledger, self.cursor, self.total, self.bytes = HEAD.unpack_from(data)
        self.ledger = tuple(ledger)
        self.entries = [ENTRY.unpack_from(data, HEAD.size + i * ENTRY.size) for i in range(count)]
        self.files = files


class Peer:
    """What a daemon is to the vault. Waits 20 s for an answer, no longer."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.settimeout(20)
        try:
            self.socket.connect(str(path))
        except OSError:
            self.socket.close()
            raise

    def send(self, data, files=()):
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", files))] if files else []
        self.socket.sendmsg([data], rights)

    def receive(self):
        """None: the vault has hung up."""
        data, controls, flags, _ = self.socket.recvmsg(4096, socket.CMSG_SPACE(BATCH * 4))
        files = array.array("i")
        for _, _, fds in controls:
            files.frombytes(fds)
        assert not flags & (socket.MSG_CTRUNC | socket.MSG_TRUNC), flags
        return Answer(data, list(files)) if data else None

    def ask(self, kind, entries=(), **more):
        self.send(message(kind, entries, **more))
        return self.receive()

    def put(self, number, text=b"", ledger=(0, 0)):
        """A file of `text`, of which nobody but the vault has a descriptor afterwards."""
        fd = memory(text)
        try:
            self.send(message(PUT, [(number, len(text))], ledger=ledger), [fd])
        finally:
            os.close(fd)

    def hello(self):
        return self.ask(HELLO)

    def list(self):
        """{id: what is in the file}"""
        found, cursor = {}, None
        while cursor != 0:
            batch = self.ask(LIST, cursor=cursor or 0)
            assert batch.kind == LISTED and len(batch.entries) == len(batch.files) <= BATCH
            for (number, size), fd in zip(batch.entries, batch.files):
                assert number not in found
                found[number] = os.pread(fd, 4096, 0)
                assert os.fstat(fd).st_size == size
                os.close(fd)
            cursor = batch.cursor
        return found

    def close(self):
        self.socket.close()


def memory(text=b""):
    fd = os.memfd_create("test_vault")
    os.write(fd, text)
    return fd


def text_of(number):
    return b"segment %d" % number


class VaultCase(unittest.TestCase):
    flags = ()

    def setUp(self):
        self.folder = Path(tempfile.mkdtemp(prefix="memkeep-vault-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.path = self.folder / "vault.sock"
        self.start()

    def start(self, *prefix):
        self.spawn(*prefix)
        self.peer = self.connect()

    def spawn(self, *prefix):
        command = [*prefix, program("memkeep-vault"), "--runtime-dir", str(self.folder), *self.flags]
        self.vault = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        self.addCleanup(self.vault.stderr.close)
        self.addCleanup(self.vault.wait)
        self.addCleanup(self.vault.kill)

    def connect(self):
        def connected():
            try:
                return Peer(self.path)
            except (FileNotFoundError, ConnectionRefusedError):
                self.assertIsNone(self.vault.poll())
                return None
        peer = wait_until(connected, "a vault that listens")
        self.addCleanup(peer.close)
        return peer

    def again(self):
        """Another connection after the first."""
        self.peer.close()
        self.peer = self.connect()
        return self.peer

    def ends(self):
        self.assertEqual(0, self.vault.wait(20), self.vault.stderr.read())
        self.assertEqual(["vault.lock"], os.listdir(self.folder))

    def open_files(self):
        return len(os.listdir(f"/proc/{self.vault.pid}/fd"))

    def files(self):
        """The paths of what it has open now."""
        folder = f"/proc/{self.vault.pid}/fd"
        found = []
        for fd in os.listdir(folder):
            with contextlib.suppress(FileNotFoundError):
                found.append(os.readlink(f"{folder}/{fd}"))
        return found

    def ask_vault(self, *words):
        return run_program("memkeep-vault", "--runtime-dir", str(self.folder), *words)

    def in_a_process_that_is_killed(self, acts):
        """Runs acts(peer) in a child over the present connection; SIGKILL comes with its last word."""
        child = os.fork()
        if not child:
            try:
                acts(self.peer)
                os.kill(os.getpid(), signal.SIGKILL)
            finally:
                os._exit(1)
        self.peer.close()
        self.assertEqual(signal.SIGKILL, os.WTERMSIG(os.waitpid(child, 0)[1]))


class Keeps(VaultCase):
    def test_what_was_put_is_listed_in_batches_of_64(self):
        everything = {number: text_of(number) for number in range(200)}
        for number, text in everything.items():
            self.peer.put(number, text, LEDGER)
        answer = self.again().hello()
        self.assertEqual((HELLO, 200, sum(map(len, everything.values())), LEDGER),
                         (answer.kind, answer.total, answer.bytes, answer.ledger))
        self.assertEqual(everything, self.peer.list())

    def test_an_id_put_again_replaces(self):
        self.peer.put(7, b"old")
        before = self.peer.hello() and self.open_files()
        self.peer.put(7, b"new and longer")
        self.assertEqual({7: b"new and longer"}, self.peer.list())
        self.assertEqual(14, self.peer.ask(STATUS).bytes)
        self.assertEqual(before, self.open_files())

    def test_what_is_dropped_is_closed(self):
        before = self.peer.hello() and self.open_files()
        self.peer.put(1, b"one")
        self.peer.put(2, b"two")
        for _ in range(2):  # also when there is none any more
            answer = self.peer.ask(DROP, [(1, 0)])
            self.assertEqual((DROPPED, [(1, 0)]), (answer.kind, answer.entries))
        self.assertEqual({2: b"two"}, self.peer.list())
        self.assertEqual(before + 1, self.open_files())

    def test_the_ledger_names_itself_until_it_is_dropped(self):
        self.peer.put(0, b"ledger", LEDGER)
        self.peer.put(1, b"segment", (1, 2))
        self.assertEqual(LEDGER, self.peer.hello().ledger)
        self.peer.ask(DROP, [(0, 0)])
        self.assertEqual((0, 0), self.peer.hello().ledger)

    def test_memory_lives_as_long_as_the_vault_holds_it(self):
        fd = memory(b"before")
        self.peer.send(message(PUT, [(1, 6)]), [fd])
        os.pwrite(fd, b"after ", 0)
        os.close(fd)
        self.assertEqual({1: b"after "}, self.again().list())

    def test_it_refuses_what_it_cannot_hold_and_says_which(self):
        self.peer.ask(RELEASE)
        self.ends()
        self.start("prlimit", "--nofile=256:256")  # of which 128 are no entries
        for number in range(1, 131):
            self.peer.put(number, b"x")
        self.assertEqual([(REFUSED, [(129, 1)]), (REFUSED, [(130, 1)])],
                         [(a.kind, a.entries) for a in (self.peer.receive(), self.peer.receive())])
        self.assertEqual(set(range(1, 129)), self.peer.list().keys())


class SurvivesItsDaemon(VaultCase):
    def test_what_a_killed_sender_had_put_is_there(self):
        def put_all(peer):
            for number in range(100):
                peer.put(number, text_of(number))
        self.in_a_process_that_is_killed(put_all)
        self.assertEqual({number: text_of(number) for number in range(100)}, self.connect().list())

    def test_also_behind_answers_that_it_never_read(self):
        def act(peer):
            for number in range(50):
                peer.put(2 * number, text_of(2 * number))
                peer.send(message(STATUS))
                peer.send(message(DROP, [(1000, 0)]))
                peer.send(message(LIST))
                peer.put(2 * number + 1, text_of(2 * number + 1))
        self.in_a_process_that_is_killed(act)
        self.assertEqual({number: text_of(number) for number in range(100)}, self.connect().list())

    def test_also_behind_a_message_that_is_none(self):
        def act(peer):
            peer.put(1, b"one")
            peer.send(b"rubbish")
            peer.put(2, b"two")
        self.in_a_process_that_is_killed(act)
        self.assertEqual({1: b"one", 2: b"two"}, self.connect().list())

    def test_a_release_whose_sender_is_dead_is_not_obeyed(self):
        # Stopped, so that it cannot read before the sender is dead.
        self.peer.put(1, b"one")
        self.peer.hello()
        self.vault.send_signal(signal.SIGSTOP)
        self.in_a_process_that_is_killed(lambda peer: peer.send(message(RELEASE)))
        self.vault.send_signal(signal.SIGCONT)
        self.assertEqual({1: b"one"}, self.connect().list())

    def test_another_connection_waits_until_the_first_has_ended_and_was_read(self):
        self.peer.put(1, b"one")
        second = self.connect()
        second.send(message(HELLO))
        self.peer.put(2, b"two")
        self.assertEqual(2, self.peer.hello().total)
        second.socket.setblocking(False)
        self.assertRaises(BlockingIOError, second.receive)
        second.socket.settimeout(20)
        self.peer.put(3, b"three")
        self.peer.close()
        self.assertEqual(3, second.receive().total)


class HearsRubbish(VaultCase):
    RUBBISH = {
        "nothing of it": b"rubbish" * 20,
        "no whole head": message(PUT, [(1, 1)])[:HEAD.size - 1],
        "no whole entry": message(PUT, [(1, 1)])[:-1],
        "more than it says": message(PUT, [(1, 1)]) + b"x",
        "kind 0": message(0),
        "an unknown kind": message(11),
        "another protocol": b"VMK2" + message(HELLO)[4:],
        "65 entries": message(PUT, [(n, n) for n in range(65)]),
        "longer than any": bytes(100_000),
        "a put of two": message(PUT, [(1, 1), (2, 2)]),
        "a put of none": message(PUT),
        "a drop of none": message(DROP),
        "an answer": message(DROPPED, [(1, 1)]),
        "empty, but for a file": b"",
    }

    def rubbish(self, data, files):
        """Its sender is hung up on; what it sent before and after is kept, no file of the rubbish is."""
        self.peer.put(100, b"before")
        before = self.again().hello() and self.open_files()
        fd = memory()
        self.peer.send(data, [fd] * files)
        os.close(fd)
        self.assertIsNone(self.peer.receive())
        self.peer.put(100, b"after")
        self.assertEqual({100: b"after"}, self.again().list())
        self.assertEqual(before, self.open_files())

    def test_rubbish_with_a_file(self):
        for name, data in self.RUBBISH.items():
            with self.subTest(name):
                self.rubbish(data, 1)

    def test_rubbish_with_many_files(self):
        for name, data in self.RUBBISH.items():
            for files in (64, 65, 253):
                with self.subTest(name, files=files):
                    self.rubbish(data, files)

    def test_a_put_without_a_file_or_with_too_many(self):
        for files in (0, 2, 64, 65, 253):
            with self.subTest(files=files):
                self.rubbish(message(PUT, [(1, 1)]), files)

    def test_files_where_none_belong(self):
        for kind, entries in ((HELLO, ()), (STATUS, ()), (LIST, ()), (DROP, [(100, 0)]), (RELEASE, ())):
            with self.subTest(kind):
                self.rubbish(message(kind, entries), 1)

    def test_a_cursor_beyond_the_end_lists_nothing(self):
        self.peer.put(1, b"one")
        for cursor in (2 ** 31, 2 ** 32, 2 ** 64 - 1):
            answer = self.peer.ask(LIST, cursor=cursor)
            self.assertEqual(([], 0), (answer.entries, answer.cursor))


class IsTheOnlyOne(VaultCase):
    def test_a_second_one_says_so_and_ends(self):
        second = self.ask_vault()
        self.assertEqual(1, second.returncode)
        self.assertIn(f"another vault runs in {self.folder}", second.stderr)
        self.assertEqual(HELLO, self.peer.hello().kind)

    def test_a_daemon_that_only_looks_is_no_vault(self):
        self.peer.ask(RELEASE)
        self.ends()
        with open(self.folder / "vault.lock", "rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH)
            self.spawn()
            wait_until(lambda: str(self.folder / "vault.lock") in self.files(), "a vault that tries to lock")
            fcntl.flock(lock, fcntl.LOCK_UN)
        self.assertEqual(0, self.connect().hello().total)

    def test_one_that_was_killed_is_replaced(self):
        self.vault.kill()
        self.vault.wait()
        self.start()
        self.assertEqual(0, self.peer.hello().total)

    def test_a_folder_that_is_not_there_is_named(self):
        answer = run_program("memkeep-vault", "--runtime-dir", str(self.folder / "none"))
        self.assertEqual(1, answer.returncode)
        self.assertIn("no lock can be had in", answer.stderr)
        self.assertIn("No such file", answer.stderr)

    def test_its_socket_is_its_users_alone(self):
        self.assertEqual(0o600, self.path.stat().st_mode & 0o777)

    @unittest.skipUnless(os.geteuid() == 0, "needs root")
    def test_another_user_is_not_heard(self):
        self.peer.put(1, b"one")
        self.folder.chmod(0o755)
        self.path.chmod(0o666)
        self.again().hello()
        child = os.fork()
        if not child:
            code = 1
            try:
                os.setgid(NOBODY)
                os.setuid(NOBODY)
                stranger = Peer(self.path)
                try:
                    stranger.send(message(HELLO))
                    self.peer.close()
                    code = 0 if stranger.receive() is None else 2
                except (BrokenPipeError, ConnectionResetError):
                    code = 0
            finally:
                os._exit(code)
        self.peer.close()
        self.assertEqual(0, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        self.assertEqual({1: b"one"}, self.connect().list())


class Ends(VaultCase):
    def test_when_it_is_empty_and_orphaned(self):
        self.peer.put(1, b"one")
        self.peer.ask(DROP, [(1, 0)])
        self.assertIsNone(self.vault.poll())
        self.peer.close()
        self.ends()

    def test_not_while_it_holds_something(self):
        self.peer.put(1, b"one")
        self.assertEqual(1, self.again().hello().total)

    def test_not_while_another_waits(self):
        self.peer.hello()
        second = self.connect()
        second.send(message(HELLO))
        self.peer.close()
        self.assertEqual(HELLO, second.receive().kind)

    def test_when_it_is_told(self):
        self.peer.put(1, b"one")
        self.assertEqual(RELEASED, self.peer.ask(RELEASE).kind)
        self.ends()

    def test_ctrl_c_is_not_for_it(self):
        self.peer.hello()
        self.vault.send_signal(signal.SIGINT)
        self.vault.send_signal(signal.SIGHUP)
        self.assertEqual(0, self.peer.hello().total)


class Answers(VaultCase):
    BUSY = "a daemon is connected"

    def test_status(self):
        self.peer.put(0, b"ledger", LEDGER)
        self.peer.put(1, b"one")
        self.peer.close()
        answer = self.ask_vault("--status")
        self.assertEqual((0, "2 entries, 9 bytes, ledger 000000000000feed000000000000beef\n"),
                         (answer.returncode, answer.stdout), answer.stderr)
        self.assertEqual(2, self.connect().hello().total)

    def test_release_all(self):
        self.peer.put(1, b"one")
        self.peer.close()
        answer = self.ask_vault("--release-all")
        self.assertEqual((0, "released\n"), (answer.returncode, answer.stdout), answer.stderr)
        self.ends()

    def test_neither_while_a_daemon_is_connected_nor_later(self):
        self.peer.put(1, b"one")
        self.peer.hello()
        for question in ("--status", "--release-all"):
            answer = self.ask_vault(question)
            self.assertEqual((1, ""), (answer.returncode, answer.stdout))
            self.assertIn(self.BUSY, answer.stderr)
        self.assertEqual({1: b"one"}, self.again().list())

    def test_nobody_answers_where_no_vault_is(self):
        self.vault.kill()
        self.vault.wait()
        answer = self.ask_vault("--status")
        self.assertEqual(1, answer.returncode)
        self.assertIn("no vault answers in", answer.stderr)

    def test_usage(self):
        for words in ((), ("--runtime-dir",), ("--runtime-dir", "/tmp", "more"), ("--nonsense",),
                      ("--runtime-dir", "/tmp", "--stay", "--status")):
            with self.subTest(words):
                self.assertEqual(2, run_program("memkeep-vault", *words).returncode)
        self.assertIn("--release-all", run_program("memkeep-vault", "--help").stdout)
        self.assertRegex(run_program("memkeep-vault", "--version").stdout, r"^memkeep-vault \d+\.\d+\.\d+")


class StaysAsAService(VaultCase):
    flags = ("--stay",)

    def test_empty_and_orphaned_until_it_is_told(self):
        for _ in range(3):
            self.assertEqual(0, self.again().hello().total)
        self.assertEqual(RELEASED, self.peer.ask(RELEASE).kind)
        self.ends()

    def test_it_tells_systemd_once_it_listens(self):
        self.peer.ask(RELEASE)
        self.ends()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.bind(str(self.folder / "notify"))
            notify.settimeout(20)
            with subprocess.Popen([program("memkeep-vault"), "--runtime-dir", str(self.folder), "--stay"],
                                  stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                  env={"NOTIFY_SOCKET": str(self.folder / "notify")}) as vault:
                try:
                    self.assertEqual(b"READY=1", notify.recv(4096))
                    peer = Peer(self.path)
                    self.addCleanup(peer.close)
                    self.assertEqual(RELEASED, peer.ask(RELEASE).kind)
                finally:
                    vault.kill()


if __name__ == "__main__":
    unittest.main()
