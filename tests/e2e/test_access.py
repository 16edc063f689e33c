"""Who may do what when it was configured: tokens and their roles, TLS, the rate, the socket's group."""

import hashlib
import http.client
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import unittest
from pathlib import Path

import kernel
from doors import HOST, Http, Raw, Unix, request_bytes
from harness import MEMORY, MIB, NOBODY, Case, Daemon, run_program, wait_until

ALLOCATE = f"{MEMORY}/allocations/allocate"
GROUP = 54321  # of nobody else


def hashed(name, role, secret=None):
    digest = hashlib.sha256((secret or f"secret-of-{name}").encode()).hexdigest()
    return f'{{ name = "{name}"; sha256 = "{digest}"; role = "{role}"; }}'


class AccessCase(Case):
    def setUp(self):
        self.folder = Path(tempfile.mkdtemp(prefix="memkeep-e2e-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.conf = self.folder / "memkeep.conf"

    def serve(self, *lines, **more):
        self.conf.write_text("\n".join(lines) + "\n")
        self.daemon = Daemon("--config", str(self.conf), folder=self.folder, **more)
        self.addCleanup(lambda: self.daemon.close())

    def as_token(self, name, secret=None):
        return Http(self.daemon.port, {"Authorization": f"Bearer {secret or f'secret-of-{name}'}"})

    def tokens(self, *tokens):
        return f"tokens = ( {', '.join(tokens)} );"


class Tokens(AccessCase):
    def setUp(self):
        super().setUp()
        self.serve(self.tokens(hashed("reader", "read"), hashed("writer", "write"), hashed("other", "write"),
                               hashed("keeper", "admin")))
        self.reader, self.writer, self.other, self.keeper = map(self.as_token, ("reader", "writer", "other", "keeper"))

    def allocated(self, who):
        return self.ok(who.post(ALLOCATE, {"sizeBytes": 4096}))["allocation"]["allocationId"]

    def test_a_reader_reads(self):
        self.ok(self.reader.get(f"{MEMORY}/status"))
        for method, path, body in (("POST", ALLOCATE, {"sizeBytes": 1}), ("POST", f"{MEMORY}/operations/clear", {}),
                                   ("PUT", f"{MEMORY}/limits/host:0", {"maxBytes": 1 << 30})):
            with self.subTest(path):
                self.refused(self.reader.request(method, path, body), 403, "FORBIDDEN")

    def test_a_writer_acts_on_what_is_its_own(self):
        path = f"{MEMORY}/allocations/" + self.allocated(self.writer)
        self.refused(self.other.delete(path), 403, "FORBIDDEN")
        self.refused(self.reader.delete(path), 403, "FORBIDDEN")
        self.ok(self.writer.delete(path))
        self.refused(self.writer.put(f"{MEMORY}/limits/host:0", {"maxBytes": 1 << 30}), 403, "FORBIDDEN")

    def test_an_admin_acts_on_all(self):
        self.ok(self.keeper.delete(f"{MEMORY}/allocations/" + self.allocated(self.writer)))
        self.ok(self.keeper.put(f"{MEMORY}/limits/host:0", {"maxBytes": 1 << 30}))

    def test_nobody_else_does_anything(self):
        digest = hashlib.sha256(b"secret-of-keeper").hexdigest()
        for sent in (None, "", "Bearer", "Bearer wrong", f"Bearer {digest}", "Basic secret-of-keeper",
                     "Bearer secret-of-keepe", "Bearer secret-of-keeper2"):
            with self.subTest(sent):
                answer = Http(self.daemon.port).get(f"{MEMORY}/status",
                                                    {} if sent is None else {"Authorization": sent})
                self.refused(answer, 401, "UNAUTHORIZED")
        self.assertEqual(200, Http(self.daemon.port).get("/health").status)

    def test_secrets_and_digests_are_told_to_nobody(self):
        self.as_token("wrong").get(f"{MEMORY}/status")
        self.ok(self.keeper.get(f"{MEMORY}/status"))
        self.daemon.process.send_signal(signal.SIGHUP)
        said = self.daemon.log() + json.dumps(self.keeper.get(f"{MEMORY}/status").body)
        for word in ("secret-of", hashlib.sha256(b"secret-of-keeper").hexdigest()):
            self.assertNotIn(word, said)

    def test_sighup_changes_them(self):
        self.conf.write_text(self.tokens(hashed("reader", "read", "new"), hashed("keeper", "admin")) + "\n")
        self.daemon.process.send_signal(signal.SIGHUP)
        wait_until(lambda: self.reader.get(f"{MEMORY}/status").status == 401, "the old secret is no more")
        self.ok(self.as_token("reader", "new").get(f"{MEMORY}/status"))
        self.refused(self.writer.get(f"{MEMORY}/status"), 401, "UNAUTHORIZED")
        self.ok(self.keeper.get(f"{MEMORY}/status"))


class BeyondLoopback(AccessCase):
    def test_with_tokens_it_listens_everywhere_and_trusts_nobody_without_one(self):
        self.serve(self.tokens(hashed("keeper", "admin")), listen="0.0.0.0:0")
        self.ok(self.as_token("keeper").get(f"{MEMORY}/status"))
        self.refused(Http(self.daemon.port).get(f"{MEMORY}/status"), 401, "UNAUTHORIZED")

    def test_sighup_cannot_take_the_last_token(self):
        self.serve(self.tokens(hashed("keeper", "admin")), listen="0.0.0.0:0")
        self.conf.write_text("\n")
        self.daemon.process.send_signal(signal.SIGHUP)
        wait_until(lambda: "tokens" in self.daemon.log(), "a word about it")
        self.ok(self.as_token("keeper").get(f"{MEMORY}/status"))
        self.refused(Http(self.daemon.port).get(f"{MEMORY}/status"), 401, "UNAUTHORIZED")


@unittest.skipUnless(shutil.which("openssl"), "needs openssl, to make a certificate")
class Tls(AccessCase):
    def setUp(self):
        super().setUp()
        self.certificate, self.key = self.folder / "certificate.pem", self.folder / "key.pem"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                        "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2",
                        "-keyout", self.key, "-out", self.certificate], check=True, capture_output=True)

    def configured(self):
        self.serve(f'tls = {{ certificate = "{self.certificate}"; key = "{self.key}"; }};',
                   self.tokens(hashed("keeper", "admin")))

    def get(self, context, path=f"{MEMORY}/status"):
        connection = http.client.HTTPSConnection(HOST, self.daemon.port, timeout=60, context=context)
        try:
            connection.request("GET", path, headers={"Authorization": "Bearer secret-of-keeper"})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def test_http_becomes_https(self):
        self.configured()
        status, body = self.get(ssl.create_default_context(cafile=self.certificate))
        self.assertEqual((200, True), (status, body["success"]))

    def test_who_does_not_know_the_certificate_is_warned(self):
        self.configured()
        self.assertRaises(ssl.SSLCertVerificationError, self.get, ssl.create_default_context())

    def test_old_versions_are_not_spoken(self):
        self.configured()
        context = ssl.create_default_context(cafile=self.certificate)
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
        self.assertRaises((ssl.SSLError, ConnectionError), self.get, context)

    def test_plain_http_is_not_answered(self):
        self.configured()
        with Raw(self.daemon.port) as raw:
            raw.send(request_bytes("GET", "/health"))
            self.assertNotIn(b"HTTP/1.1 200", raw.rest())
        self.assertEqual(200, self.get(ssl.create_default_context(cafile=self.certificate), "/health")[0])

    def test_who_says_farewell_and_hangs_up_waits_for_no_memory(self):
        self.configured()
        context = ssl.create_default_context(cafile=self.certificate)
        body = json.dumps({"sizeBytes": 50 * MIB, "waitMs": 3600000, "priority": "high"}).encode()
        with self.daemon.unix() as unix:
            def fits(size):
                return unix.call("memory.allocate", {"device_id": "host:0", "size_bytes": size})["success"]
            self.assertTrue(unix.call("memory.set_limits", {"device_id": "host:0", "max_bytes": 64 * MIB})["success"])
            self.assertTrue(fits(50 * MIB))
            with context.wrap_socket(socket.create_connection((HOST, self.daemon.port)), server_hostname=HOST) as gone:
                bearer = "Authorization: Bearer secret-of-keeper"
                gone.sendall(request_bytes("POST", f"{ALLOCATE}/host:0", body, bearer))
                wait_until(lambda: not fits(4096), "nobody overtakes it")
                gone.setblocking(False)
                self.assertRaises(ssl.SSLWantReadError, gone.unwrap)
            wait_until(lambda: fits(4096), "its place is free")

    def test_a_key_that_is_none_stops_the_start(self):
        self.key.write_text("no key\n")
        self.conf.write_text(f'tls = {{ certificate = "{self.certificate}"; key = "{self.key}"; }};\n')
        daemon = Daemon("--config", str(self.conf), folder=self.folder, start=False).spawn()
        self.addCleanup(daemon.kill)
        self.assertEqual(2, daemon.process.wait(20), daemon.log())
        self.assertRegex(daemon.log(), "(?i)certificate|key")


class Rate(AccessCase):
    """One a second: of fifty in a row some are too many, unless they took fifty seconds."""

    def answers(self, who, count=50):
        return [who.get(f"{MEMORY}/status") for _ in range(count)]

    def test_too_many_are_told_when_to_come_back(self):
        self.serve("rate_limit = 1;", self.tokens(hashed("keeper", "admin"), hashed("reader", "read")))
        answers = self.answers(self.as_token("keeper"))
        self.ok(answers[0])
        refused = [answer for answer in answers if answer.status != 200]
        self.assertTrue(refused)
        for answer in refused:
            self.refused(answer, 429, "RATE_LIMITED")
            self.assertGreaterEqual(int(answer.headers["Retry-After"]), 1)
        self.ok(self.as_token("reader").get(f"{MEMORY}/status"))
        self.assertEqual(200, Http(self.daemon.port).get("/health").status)

    def test_who_guesses_is_slowed_down_and_costs_others_nothing(self):
        self.serve("rate_limit = 1;", self.tokens(hashed("keeper", "admin")))
        statuses = {answer.status for answer in self.answers(self.as_token("wrong"))}
        self.assertEqual({401, 429}, statuses)
        self.ok(self.as_token("keeper").get(f"{MEMORY}/status"))

    def test_by_default_there_is_none(self):
        self.serve("")
        self.assertEqual({200}, {answer.status for answer in self.answers(self.daemon.http, 300)})


@unittest.skipUnless(os.geteuid() == 0, "acting as another user needs root")
class SocketRate(AccessCase):
    """The same over the Unix socket, for those who are no admin."""

    def serve_all(self, config):
        self.folder.chmod(0o711)
        self.serve('socket = { mode = "0666"; };', config)
        self.daemon.runtime.chmod(0o711)

    def test_who_is_no_admin_is_told_when_to_come_back(self):
        self.serve_all("rate_limit = 1;")

        def ask_often():
            with Unix(self.daemon.socket_path) as unix:
                plain = [unix.call("memory.get_status") for _ in range(50)]
                whole = [unix.send("memory.get_status", envelope=True) and unix.line() for _ in range(50)]
                pings = [unix.call("ping")["success"] for _ in range(50)]
            return [a for a in plain if not a["success"]], [a for a in whole if not a["success"]], pings, plain[0]
        plain, whole, pings, first = kernel.as_user(NOBODY, ask_often)
        self.assertTrue(first["success"], first)
        self.assertTrue(plain and whole)
        for answer in plain:
            self.assertEqual(("RATE_LIMITED", 1), (answer["error_code"], answer["details"]["retry_after_seconds"]))
        for answer in whole:
            self.assertEqual(("RATE_LIMITED", 429, 1), (answer["error"]["code"], answer["error"]["statusCode"],
                                                        answer["error"]["details"]["retryAfterSeconds"]))
        self.assertEqual([True] * 50, pings)

    def test_all_connections_of_a_user_spend_together_and_an_admin_nothing(self):
        self.serve_all("rate_limit = 5;")

        def ask_with(connections):
            refused = 0
            for _ in range(connections):
                with Unix(self.daemon.socket_path) as unix:
                    refused += not unix.call("memory.get_status")["success"]
            return refused
        self.assertGreater(kernel.as_user(NOBODY, lambda: ask_with(100)), 0)
        self.assertEqual(0, ask_with(100))
        self.assertEqual(0, kernel.as_user(NOBODY - 1, lambda: ask_with(5)))

    def test_what_is_attached_stays(self):
        self.serve_all("rate_limit = 2;")

        def hold():
            with Unix(self.daemon.socket_path) as unix:
                made = unix.call("memory.allocate", {"size_bytes": 4096})["data"]["allocation"]
                name = {"allocation_id": made["allocation_id"]}
                codes = {unix.call("memory.attach", {"allocation_id": "a-1"})["error_code"] for _ in range(50)}
                answers = []

                def looked():
                    answers.append(unix.call("memory.get_allocation", name))
                    return answers[-1]["success"]
                wait_until(looked, "an answer of a daemon that refused")
                return sorted(codes), answers[-1]["data"]["allocation"]["attachments"]
        codes, attachments = kernel.as_user(NOBODY, hold)
        self.assertIn("RATE_LIMITED", codes)
        self.assertEqual(1, attachments)

    def test_by_default_there_is_none(self):
        self.serve_all("")

        def ask_often():
            with Unix(self.daemon.socket_path) as unix:
                return all(unix.call("memory.get_status")["success"] for _ in range(300))
        self.assertTrue(kernel.as_user(NOBODY, ask_often))


@unittest.skipUnless(os.geteuid() == 0, "acting as another user needs root")
class SocketGroup(AccessCase):
    def asked(self, group):
        """What a user with this further group is answered; None: it could not even connect."""
        def ask():
            with Unix(self.daemon.socket_path) as unix:
                return unix.call("memory.get_status", {})["success"]
        child = os.fork()
        if not child:
            code = 3
            try:
                os.setgroups([group])
                os.setresgid(NOBODY, NOBODY, NOBODY)
                os.setresuid(NOBODY, NOBODY, NOBODY)
                code = 0 if ask() else 1
            except PermissionError:
                code = 2
            finally:
                os._exit(code)
        return {0: True, 1: False, 2: None}[os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])]

    def test_a_group_is_let_in_and_nobody_else(self):
        self.folder.chmod(0o711)
        self.serve(f'socket = {{ mode = "0660"; group = "{GROUP}"; }};')
        self.assertEqual((0o660, GROUP), (os.stat(self.daemon.socket_path).st_mode & 0o777,
                                          os.stat(self.daemon.socket_path).st_gid))
        self.assertIs(True, self.asked(GROUP))
        self.assertIsNone(self.asked(GROUP + 1))
        self.assertEqual(0o710, self.daemon.runtime.stat().st_mode & 0o777)

    def test_without_one_the_folder_stays_closed(self):
        self.folder.chmod(0o711)
        self.serve("")
        self.assertEqual(0o700, self.daemon.runtime.stat().st_mode & 0o777)
        self.assertIsNone(self.asked(GROUP))


class Configuration(AccessCase):
    def test_a_digest_that_is_none_is_refused_without_repeating_it(self):
        self.conf.write_text('tokens = ( { name = "a"; sha256 = "secret"; role = "read"; } );\n')
        answer = run_program("memkeepd", "--check-config", "--config", str(self.conf))
        self.assertEqual(2, answer.returncode)
        self.assertIn(f"{self.conf}:1", answer.stderr)
        self.assertNotIn("secret\"", answer.stderr)


if __name__ == "__main__":
    unittest.main()
