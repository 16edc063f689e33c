"""The command line over HTTP (--url): the same words, answers and exit codes as over the socket."""

import json
import shutil
import socket
import subprocess
import unittest

from harness import ENVELOPE, MIB, DaemonCase, SharedDaemonCase, name_of, run_program
from test_access import AccessCase, hashed

OK, FAILED, USAGE, UNREACHABLE = range(4)
NO_PROXY = {"http_proxy": "http://127.0.0.1:9", "all_proxy": "http://127.0.0.1:9"}  # nobody may be asked there


class UrlWords:
    """Running the CLI with --url; mixed into the cases."""

    scheme = "http"

    def url(self):
        return f"{self.scheme}://127.0.0.1:{self.daemon.port}"

    def memkeep(self, *words, code=OK, **more):
        result = run_program("memkeep", "--url", self.url(), *words, **({"environment": NO_PROXY} | more))
        self.assertEqual(code, result.returncode, f"{words}: {result.stdout}{result.stderr}")
        return result

    def over_socket(self, *words):
        return run_program("memkeep", "--socket", self.daemon.socket_path, *words)

    def data(self, *words):
        return json.loads(self.memkeep("--json", *words).stdout)["data"]


class Looking(UrlWords, SharedDaemonCase):
    devices = ("host:0=2GiB", "host:1=512MiB", "fake:0=1GiB")

    def test_json_is_the_answer_as_it_came(self):
        answer = json.loads(self.memkeep("--json", "status", "host:1").stdout)
        self.assertEqual(ENVELOPE, answer.keys())
        self.assertEqual("host:1", answer["data"]["deviceId"])

    def test_every_view_is_the_one_of_the_socket(self):
        for words in (("devices",), ("limits",), ("pressure",), ("ps",), ("jobs",), ("ps", "host:1", "--label", "a b&c")):
            with self.subTest(words):
                self.assertEqual(self.over_socket(*words).stdout, self.memkeep(*words).stdout)

    def test_ps_shows_more_than_one_page(self):
        made = [self.allocate(256) for _ in range(3)]
        for allocation in made:
            self.addCleanup(self.free, allocation)
        out = self.memkeep("ps", "--limit", "2").stdout
        self.assertEqual(3, sum(name_of(a) in out for a in made))

    def test_tls_where_there_is_none(self):
        result = run_program("memkeep", "--url", self.url().replace("http:", "https:"), "status", environment=NO_PROXY)
        self.assertEqual((UNREACHABLE, True), (result.returncode, "http://" in result.stderr), result.stderr)

    def test_a_refusal_says_the_same_as_over_the_socket(self):
        for code, *words in ((FAILED, "free", "a-0123456789abcdef"), (FAILED, "alloc", "3GiB", "--device", "host:0"),
                             (FAILED, "status", "cuda:0"), (FAILED, "status", "b?c#d%zz&é +"),
                             (USAGE, "alloc", "4096", "--purpose", "fun"), (USAGE, "usage", "--points", "0"),
                             (USAGE, "exec", "memory.allocate", '{"size_bytes":1,"surprise":1}')):
            with self.subTest(words):
                result = self.memkeep(*words, code=code)
                other = self.over_socket(*words)
                self.assertEqual((code, other.stderr), (other.returncode, result.stderr))

    def test_a_refusal_as_json_is_the_envelope(self):
        error = json.loads(self.memkeep("--json", "free", "a-0123456789abcdef", code=FAILED).stdout)["error"]
        self.assertEqual(("ALLOCATION_NOT_FOUND", 404), (error["code"], error["statusCode"]))

    def test_a_field_that_nobody_knows(self):
        for action in ("memory.get_status", "memory.clear", "memory.get_segments"):
            with self.subTest(action):
                error = self.memkeep("exec", action, '{"device_id":"host:0","surprise":1}', code=USAGE).stderr
                self.assertIn("surprise", error)

    def test_a_device_stays_one_part_of_the_path(self):
        for device in ("..", "../allocations", "host:0/../host:0", "%68ost:0"):
            with self.subTest(device):
                self.memkeep("status", device, code=FAILED)

    def test_what_http_does_not_have_is_told(self):
        for action in ("memory.attach", "memory.events", "no.such"):
            with self.subTest(action):
                self.assertIn(action, self.memkeep("exec", action, code=FAILED).stderr)
        self.assertIn("allocationId", self.memkeep("exec", "memory.free", code=USAGE).stderr)

    def test_flags_that_contradict_each_other(self):
        for words in (("--socket", "/x"), ("--url", "ftp://host"), ("--url", "host:1"), ("--url", "http://"),
                      ("--url", "http://a@127.0.0.1"), ("--url", "http://127.0.0.1/?x"),
                      ("--token-file", "/no/such")):
            with self.subTest(words):
                self.assertTrue(self.memkeep("status", *words, code=USAGE).stderr)
        self.assertEqual(USAGE, run_program("memkeep", "--token-file", "/dev/null", "status").returncode)

    def test_a_slash_at_the_end_changes_nothing(self):
        result = run_program("memkeep", "status", "--url", self.url() + "/")
        self.assertEqual(OK, result.returncode, result.stderr)

    def test_nobody_there_is_3(self):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        for url in (f"http://127.0.0.1:{port}", "http://no-such-host.invalid"):
            result = run_program("memkeep", "--url", url, "status")
            self.assertEqual(UNREACHABLE, result.returncode, result.stderr)
            self.assertIn(url, result.stderr)

    def test_who_never_answers_is_waited_for_as_long_as_was_said(self):
        with socket.create_server(("127.0.0.1", 0)) as silent:
            result = run_program("memkeep", "--url", f"http://127.0.0.1:{silent.getsockname()[1]}", "--timeout",
                                 "200ms", "status")
        self.assertEqual(FAILED, result.returncode, result.stderr)
        self.assertIn("no answer within the time", result.stderr)


class Acting(UrlWords, DaemonCase):
    devices = ("host:0=2GiB", "host:1=2GiB")

    def test_from_alloc_to_free(self):
        made = self.data("alloc", "8MiB", "--device", "host:0", "--label", 'a "b" é')["allocation"]
        self.assertEqual((8 * MIB, 'a "b" é', "host:0"), tuple(made[k] for k in ("sizeBytes", "label", "deviceId")))
        self.fill(made, 7)
        moved = self.data("transfer", name_of(made), "--from", "host:0", "--to", "host:1", "--mode", "move")
        self.assertEqual(("completed", True), (moved["status"], moved["verified"]))
        self.assertEqual("host:1", self.look(made)["deviceId"])
        self.assertEqual(8 * MIB, self.data("free", name_of(made))["freedBytes"])
        self.assertTrue(self.is_gone(made))

    def test_force_and_limits_reach_the_daemon(self):
        made = self.allocate(4096, pinned=True)
        self.memkeep("free", name_of(made), code=FAILED)
        self.memkeep("free", name_of(made), "--force")
        self.memkeep("limits", "host:1", "--max", "1GiB")
        self.assertEqual(1024 * MIB, self.device("host:1")["limits"]["maxBytes"])
        self.memkeep("clear", "host:0", "--scope", "all", "--timeout", "30")


class Tokens(UrlWords, AccessCase):
    def setUp(self):
        super().setUp()
        self.serve(self.tokens(hashed("reader", "read"), hashed("keeper", "admin")))

    def file(self, content):
        path = self.folder / "token"
        path.write_text(content)
        return str(path)

    def test_the_file_says_who_asks(self):
        self.memkeep("status", "--token-file", self.file("\n secret-of-keeper \r\n"))
        self.memkeep("alloc", "4096", "--token-file", self.file("secret-of-keeper"))

    def test_a_role_that_is_too_low(self):
        reader = self.file("secret-of-reader\n")
        self.memkeep("status", "--token-file", reader)
        self.assertIn("FORBIDDEN", self.memkeep("alloc", "4096", "--token-file", reader, code=FAILED).stderr)

    def test_without_a_token_it_is_told_how_to_name_one(self):
        for words in ((), ("--token-file", self.file("wrong"))):
            with self.subTest(words):
                error = self.memkeep("status", *words, code=FAILED).stderr
                self.assertIn("UNAUTHORIZED", error)
                self.assertIn("--token-file", error)

    def test_a_file_without_a_token(self):
        for content in ("", " \n", "two words", "a\r\nX-Evil: 1", "é", "x" * 5000):
            with self.subTest(content[:20]):
                error = self.memkeep("status", "--token-file", self.file(content), code=USAGE).stderr
                self.assertNotIn("two words", error)


@unittest.skipUnless(shutil.which("openssl"), "needs openssl, to make a certificate")
class OverTls(UrlWords, AccessCase):
    scheme = "https"

    def test_its_own_certificate_must_be_named(self):
        certificate, key = self.folder / "certificate.pem", self.folder / "key.pem"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                        "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2",
                        "-keyout", key, "-out", certificate], check=True, capture_output=True)
        self.serve(f'tls = {{ certificate = "{certificate}"; key = "{key}"; }};',
                   self.tokens(hashed("keeper", "admin")))
        token = self.folder / "token"
        token.write_text("secret-of-keeper")
        words = ("status", "--token-file", str(token))
        self.memkeep(*words, environment={"SSL_CERT_FILE": str(certificate)})
        self.assertIn("not trusted", self.memkeep(*words, code=UNREACHABLE).stderr)


if __name__ == "__main__":
    unittest.main()
