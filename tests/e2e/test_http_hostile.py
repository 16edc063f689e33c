"""HTTP by hand: what is malformed, too large, too slow or from the wrong place is refused and changes nothing."""

import contextlib
import gzip
import os
import signal
import socket
import time
import unittest

import kernel
from doors import HOST, Raw, request_bytes
from harness import MEMORY, MIB, DaemonCase, SharedDaemonCase, name_of, wait_until

ALLOCATE = f"{MEMORY}/allocations/allocate"
BODY = b'{"sizeBytes":4096}'


class Bodies(SharedDaemonCase):
    def bad_json(self, body):
        with self.nothing_changes():
            return self.refused(self.daemon.post(ALLOCATE, body), 400, "INVALID_JSON")

    def test_what_is_no_json_is_located(self):
        for body in (b"{", b'{"sizeBytes":4096', b'{"sizeBytes":4096,}', b"{'sizeBytes':4096}", b'{"sizeBytes":04096}',
                     b'{"sizeBytes":NaN}', b'{"sizeBytes":4096} x', b'{"sizeBytes":4096}{}', b'{sizeBytes:4096}',
                     b'{"sizeBytes":4096,"label":"\xff"}', b'{"sizeBytes":4096,"label":"\xc0\xaf"}',
                     b'{"sizeBytes":4096,"label":"\\ud800"}', b'{"sizeBytes":4096,"label":"a\tb"}',
                     b'\xef\xbb\xbf{"sizeBytes":4096}', b'{"sizeBytes":4096/*c*/}', b'sizeBytes=4096', b"\0"):
            with self.subTest(body):
                error = self.bad_json(body)
                told = str([error["message"], error["details"]])
                self.assertRegex(told, "(?i)line")
                self.assertRegex(told, "(?i)column")

    def test_what_is_no_object(self):
        for body in (b"[]", b"null", b"4096", b'"text"', b"true", b'[{"sizeBytes":4096}]'):
            with self.subTest(body):
                self.bad_json(body)

    def test_duplicate_keys(self):
        self.bad_json(b'{"sizeBytes":4096,"sizeBytes":4096}')
        self.bad_json(b'{"sizeBytes":4096,"label":"a","label":"b"}')

    def test_nesting_of_ten_thousand(self):
        for opened, closed in ((b"[", b"]"), (b'{"a":', b"}")):
            with self.subTest(opened):
                self.bad_json(b'{"sizeBytes":4096,"label":' + opened * 10_000 + b"1" + closed * 10_000 + b"}")
                self.bad_json(b'{"sizeBytes":4096,"label":' + opened * 10_000)

    def test_nesting_of_33_is_too_deep_and_of_32_is_only_a_wrong_type(self):
        def nested(depth):
            return b'{"sizeBytes":4096,"label":' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"
        self.bad_json(nested(33))
        self.refused_field(self.daemon.post(ALLOCATE, nested(32)), "INVALID_ARGUMENT", "label")

    def test_a_body_of_one_mebibyte_is_read(self):
        answer = self.daemon.post(ALLOCATE, BODY.ljust(MIB))
        self.free(self.ok(answer)["allocation"])

    def test_one_byte_more_is_too_large(self):
        with self.nothing_changes():
            self.refused(self.daemon.post(ALLOCATE, BODY.ljust(MIB + 1)), 413, "BODY_TOO_LARGE")

    def test_a_hundred_megabytes_are_refused_when_they_are_announced(self):
        head = f"POST {ALLOCATE} HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/json\r\n" \
               "Content-Length: 100000000\r\n\r\n"
        with self.nothing_changes(), self.daemon.raw(head.encode()) as raw:
            answer = raw.answer()
            self.refused(answer, 413, "BODY_TOO_LARGE")

    def test_a_chunked_body_is_cut_at_the_same_size(self):
        head = f"POST {ALLOCATE} HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/json\r\n" \
               "Transfer-Encoding: chunked\r\n\r\n"
        with self.nothing_changes(), self.daemon.raw(head.encode()) as raw:
            try:
                for _ in range(100):
                    raw.send(b"10000\r\n" + b" " * 0x10000 + b"\r\n")
                raw.send(b"0\r\n\r\n")
            except OSError:
                pass  # the daemon had enough before all of it was sent
            answer = raw.answer()
            self.assertTrue(answer is None or (answer.status, answer.code) == (413, "BODY_TOO_LARGE"), answer)

    def test_a_chunked_body_is_read(self):
        head = f"POST {ALLOCATE} HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/json\r\n" \
               "Transfer-Encoding: chunked\r\n\r\n"
        with self.daemon.raw(head.encode() + b"5\r\n{\"siz\r\nd\r\neBytes\":4096}\r\n0\r\n\r\n") as raw:
            self.free(self.ok(raw.answer())["allocation"])

    def test_a_truncated_body_does_nothing(self):
        head = f"POST {ALLOCATE} HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/json\r\n" \
               "Content-Length: 100\r\n\r\n"
        with self.nothing_changes():
            with self.daemon.raw(head.encode() + BODY) as raw:
                raw.half_close()
                answer = raw.answer()
                self.assertTrue(answer is None or answer.status in (400, 408), answer)
            with self.daemon.raw(head.encode() + BODY):
                pass
            self.ok(self.daemon.get("/health"))

    def test_compressed_bodies_are_not_read(self):
        for coding, body in (("gzip", gzip.compress(BODY)), ("deflate", BODY), ("br", BODY)):
            with self.subTest(coding), self.nothing_changes():
                answer = self.daemon.post(ALLOCATE, body, {"Content-Encoding": coding})
                self.refused(answer, 415, "UNSUPPORTED_MEDIA_TYPE")

    def test_identity_is_no_compression(self):
        answer = self.daemon.post(ALLOCATE, BODY, {"Content-Encoding": "identity"})
        self.free(self.ok(answer)["allocation"])

    def test_a_body_that_does_not_say_it_is_json(self):
        for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "json"):
            with self.subTest(kind), self.nothing_changes():
                answer = self.daemon.post(ALLOCATE, BODY, {"Content-Type": kind})
                self.refused(answer, 415, "UNSUPPORTED_MEDIA_TYPE")

    def test_a_body_without_a_type(self):
        head = f"POST {ALLOCATE} HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {len(BODY)}\r\n\r\n"
        with self.nothing_changes(), self.daemon.raw(head.encode() + BODY) as raw:
            self.refused(raw.answer(), 415, "UNSUPPORTED_MEDIA_TYPE")

    def test_json_in_utf_8_is_json(self):
        answer = self.daemon.post(ALLOCATE, BODY, {"Content-Type": "application/json; charset=utf-8"})
        self.free(self.ok(answer)["allocation"])

    def test_no_body_needs_no_type(self):
        with self.daemon.raw(request_bytes("POST", f"{MEMORY}/operations/clear", b"", "Content-Length: 0")) as raw:
            self.ok(raw.answer())


class Paths(SharedDaemonCase):
    def test_what_is_not_there(self):
        for path in ("/nope", "/api", f"{MEMORY}/nope", f"{MEMORY}/status/host:0/more", "/api/memory2", "/API/MEMORY",
                     f"{MEMORY}/allocation"):
            with self.subTest(path):
                error = self.refused(self.daemon.get(path), 404, "NOT_FOUND")
                self.assertEqual(path, error["path"])

    def test_slashes_and_nuls_in_ids_are_ids_that_do_not_exist(self):
        cases = {"allocation": "ALLOCATION_NOT_FOUND", "transfer": "TRANSFER_NOT_FOUND", "status": "DEVICE_NOT_FOUND",
                 "jobs": "NOT_FOUND"}
        for kind, code in cases.items():
            for text in ("a%2Fb", "a%2fb", "%00", "a%00b", "host:0%00", "%2e%2e%2f", "%zz", "%2", "%", "a%ffb"):
                with self.subTest(f"{kind}/{text}"):
                    self.refused(self.daemon.get(f"{MEMORY}/{kind}/{text}"), 404, code)

    def test_an_id_of_ten_kilobytes(self):
        for kind, code in (("allocation", "ALLOCATION_NOT_FOUND"), ("status", "DEVICE_NOT_FOUND"),
                           ("transfer", "TRANSFER_NOT_FOUND")):
            with self.subTest(kind):
                self.refused(self.daemon.get(f"{MEMORY}/{kind}/{'x' * 10_000}"), 404, code)

    def test_escapes_that_are_broken_elsewhere(self):
        for path in ("/api/mem%zzory", "/api/memory/st%00atus", f"{MEMORY}/allocations?owner=%zz",
                     f"{MEMORY}/allocations?owner=%00", f"{MEMORY}/allocations?owner=%2"):
            with self.subTest(path):
                self.assertEqual(400, self.daemon.get(path).status)

    def test_an_escaped_slash_is_no_slash(self):
        self.assertIn(self.daemon.get("/api%2Fmemory%2Fstatus").status, (400, 404))

    def test_escaped_letters_are_letters(self):
        self.ok(self.daemon.get("/api/memor%79/st%61tus"))

    def test_dots_are_not_resolved(self):
        self.assertEqual(404, self.daemon.get("/api/x/../memory/status").status)

    def test_a_query_twice(self):
        self.assertEqual(400, self.daemon.get(f"{MEMORY}/allocations?limit=1&limit=2").status)

    def test_methods_that_the_path_does_not_know(self):
        for method, path, allowed in (("DELETE", f"{MEMORY}/status", "GET"), ("POST", f"{MEMORY}/allocations", "GET"),
                                      ("GET", ALLOCATE, "POST"), ("GET", f"{MEMORY}/transfer", "POST"),
                                      ("PUT", f"{MEMORY}/transfer/t-1", "GET, DELETE"),
                                      ("POST", f"{MEMORY}/limits/host:0", "PUT"), ("PATCH", f"{MEMORY}/status", "GET"),
                                      ("OPTIONS", f"{MEMORY}/status", "GET")):
            with self.subTest(f"{method} {path}"):
                answer = self.daemon.http.request(method, path)
                self.refused(answer, 405, "METHOD_NOT_ALLOWED")
                names = {name.strip() for name in answer.headers["Allow"].split(",")} - {"HEAD", "OPTIONS"}
                self.assertEqual(set(allowed.split(", ")), names)


class Origins(SharedDaemonCase):
    """A page in a browser must not be able to drive the daemon."""

    def test_hosts_that_are_ours(self):
        for host in ("127.0.0.1", "localhost", "LOCALHOST", "[::1]", f"127.0.0.1:{self.daemon.port}",
                     f"localhost:{self.daemon.port}"):
            with self.subTest(host):
                self.ok(self.daemon.get("/health", {"Host": host}))

    def test_hosts_that_are_not(self):
        for host in ("evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "evil.example:7171",
                     "10.0.0.1", "localhost@evil.example"):
            with self.subTest(host), self.nothing_changes():
                self.refused(self.daemon.post(ALLOCATE, BODY, {"Host": host}), 421, "HOST_NOT_ALLOWED")

    def test_foreign_origins(self):
        for origin in ("https://evil.example", "null", "http://127.0.0.1.evil.example", "file://", "x"):
            for method, path, body in (("GET", f"{MEMORY}/status", None), ("POST", ALLOCATE, BODY)):
                with self.subTest(f"{method} from {origin}"), self.nothing_changes():
                    answer = self.daemon.http.request(method, path, body, {"Origin": origin})
                    self.refused(answer, 403, "ORIGIN_NOT_ALLOWED")

    def test_our_own_origin(self):
        self.ok(self.daemon.get(f"{MEMORY}/status", {"Origin": f"http://127.0.0.1:{self.daemon.port}"}))

    def test_no_cors_header_is_ever_sent(self):
        ours = f"http://127.0.0.1:{self.daemon.port}"
        for method, headers in (("GET", {"Origin": ours}), ("GET", {"Origin": "https://evil.example"}),
                                ("OPTIONS", {"Origin": ours, "Access-Control-Request-Method": "POST"})):
            answer = self.daemon.http.request(method, f"{MEMORY}/status", headers=headers)
            self.assertEqual([], [k for k in answer.headers.keys() if k.lower().startswith("access-control")])


class CorrelationIds(SharedDaemonCase):
    def test_a_good_one_is_taken(self):
        for text in ("a", "A-b_c.9", "x" * 64):
            answer = self.daemon.get(f"{MEMORY}/status", {"X-Correlation-ID": text})
            self.ok(answer)
            self.assertEqual(text, answer.body["correlationId"])

    def test_another_is_replaced(self):
        for text in ("", "x" * 65, "a b", "a/b", "<script>", '"'):
            with self.subTest(text):
                answer = self.daemon.get(f"{MEMORY}/status", {"X-Correlation-ID": text})
                self.ok(answer)
                self.assertRegex(answer.body["correlationId"], "^[0-9a-f]{16}$")

    def test_each_request_has_its_own(self):
        self.assertEqual(50, len({self.daemon.get("/health").body["correlationId"] for _ in range(50)}))

    def test_refusals_carry_it_too(self):
        answer = self.daemon.get("/nope", {"X-Correlation-ID": "mine"})
        self.refused(answer, 404, "NOT_FOUND")
        self.assertEqual("mine", answer.body["correlationId"])


class Smuggling(SharedDaemonCase):
    """One reading of a request, or none."""

    SHAPES = {
        "length and chunked": "Content-Length: 18\r\nTransfer-Encoding: chunked",
        "two lengths": "Content-Length: 18\r\nContent-Length: 0",
        "two equal lengths": "Content-Length: 18\r\nContent-Length: 18",
        "a length with a blank before the colon": "Content-Length : 18",
        "a length with a sign": "Content-Length: +18",
        "a negative length": "Content-Length: -1",
        "a length that is hexadecimal": "Content-Length: 0x12",
        "a list of lengths": "Content-Length: 18, 18",
        "a length beyond 64 bits": "Content-Length: 36893488147419103250",
        "an unknown coding": "Transfer-Encoding: xchunked",
        "chunked twice": "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "chunked and something else": "Transfer-Encoding: chunked, identity",
        "a folded header": "Content-Length: 18\r\n X: y",
        "two hosts": "Content-Length: 18\r\nHost: localhost",
        "a name with a blank": "Bad Header: 1\r\nContent-Length: 18",
        "a NUL in a header": "X: a\0b\r\nContent-Length: 18",
    }

    def test_shapes_that_can_be_read_in_two_ways(self):
        for name, lines in self.SHAPES.items():
            head = f"POST {ALLOCATE} HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/json\r\n{lines}\r\n\r\n"
            with self.subTest(name), self.nothing_changes():
                with self.daemon.raw(head.encode() + BODY, timeout=60) as raw:
                    answer = raw.answer()
                    self.assertTrue(answer is None or 400 <= answer.status < 600, answer)
                    # The library sends the head of its own refusals twice, so: whatever comes, no success, and the end.
                    self.assertNotIn(b"HTTP/1.1 2", raw.rest() if answer else b"", "the connection is used again")

    def test_http_1_1_without_host(self):
        with self.daemon.raw(b"GET /health HTTP/1.1\r\n\r\n") as raw:
            answer = raw.answer()
            self.assertTrue(answer is None or answer.status in (400, 421), answer)

    def test_a_request_hidden_in_a_body_is_not_run(self):
        hidden = request_bytes("POST", ALLOCATE, BODY)
        head = f"GET /health HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {len(hidden)}\r\n\r\n"
        with self.nothing_changes():
            with self.daemon.raw(head.encode() + hidden) as raw:
                raw.answer()
                raw.half_close()
                self.assertTrue(raw.is_closed())

    def test_rubbish_is_no_request(self):
        for data in (b"\0\0\0\0\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"GET\r\n\r\n", b"\r\n" * 50,
                     b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n", b"HELO there\r\n\r\n"):
            with self.subTest(data):
                with self.daemon.raw(data, timeout=60) as raw:
                    raw.half_close()
                    answer = raw.answer()
                    self.assertTrue(answer is None or answer.status >= 400, answer)
        self.ok(self.daemon.get("/health"))


class SizesAndNumbers(SharedDaemonCase):
    def test_headers_beyond_32_kib(self):
        for lines in ("X: " + "y" * 40_000, "\r\n".join(f"X-{i}: {'z' * 100}" for i in range(10_000))):
            with self.daemon.raw(timeout=60) as raw:
                try:
                    raw.send(request_bytes("GET", "/health", b"", lines))
                except OSError:
                    pass
                answer = raw.answer()
                self.assertTrue(answer is None or answer.status in (400, 413, 431), answer)
        self.ok(self.daemon.get("/health"))

    def test_a_path_beyond_32_kib(self):
        with self.daemon.raw(request_bytes("GET", "/" + "x" * 40_000), timeout=60) as raw:
            answer = raw.answer()
            self.assertTrue(answer is None or answer.status in (400, 404, 414, 431), answer)

    def test_pipelined_requests_are_answered_in_order(self):
        paths = ["/health", f"{MEMORY}/status/host:0", "/nope", f"{MEMORY}/status/host:1"] * 25
        with self.daemon.raw(b"".join(request_bytes("GET", path) for path in paths)) as raw:
            answers = [raw.answer() for _ in paths]
        self.assertEqual([200, 200, 404, 200] * 25, [a.status for a in answers])
        self.assertEqual(["host:0", "host:1"] * 25, [a.data["deviceId"] for a in answers[1::2]])

    def test_pipelined_changes_happen_once_each(self):
        with self.daemon.raw(request_bytes("POST", ALLOCATE, BODY) * 20) as raw:
            made = [self.ok(raw.answer())["allocation"] for _ in range(20)]
        self.assertEqual(20, len({name_of(a) for a in made}))
        for allocation in made:
            self.free(allocation)

    def test_a_thousand_requests_over_one_connection(self):
        with self.daemon.session() as session:
            self.assertEqual({200}, {session.get(f"{MEMORY}/status/host:0").status for _ in range(1000)})


class SlowAndMany(DaemonCase):
    def test_any_number_that_ask_at_once_are_answered(self):
        """Also as many as the library takes at a time: it slept on them, for it waited for more (http/server.c)."""
        for count in (127, 128, 129, 256):
            with self.subTest(count), contextlib.ExitStack() as stack:
                asking = [stack.enter_context(Raw(self.daemon.port)) for _ in range(count)]
                for _ in range(4):
                    os.kill(self.daemon.pid, signal.SIGSTOP)
                    for connection in asking:
                        connection.send(request_bytes("GET", "/health"))
                    os.kill(self.daemon.pid, signal.SIGCONT)
                    self.assertEqual({200}, {connection.answer().status for connection in asking})

    def test_slow_senders_are_ended_and_others_are_served(self):
        """One byte every half second keeps no connection for ever, nor does silence."""
        head = f"POST {ALLOCATE} HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/json\r\n"
        starts = {"headers": b"GET /health HTTP/1.1\r\nX-Name: ", "silent": b"",
                  "body": head.encode() + b"Content-Length: 9000\r\n\r\n"}
        open_ones = {name: self.daemon.raw(start, timeout=0.2) for name, start in starts.items()}
        end = time.monotonic() + 120
        while open_ones and time.monotonic() < end:
            self.assertEqual(200, self.daemon.get("/health").status)
            for name, raw in list(open_ones.items()):
                if self.is_ended(raw, b" " if name == "body" else b"x" if name == "headers" else b""):
                    open_ones.pop(name).close()
        self.assertEqual({}, open_ones)
        self.assertEqual([], self.allocations())

    @staticmethod
    def is_ended(raw, data):
        try:
            raw.socket.sendall(data)
            return raw.socket.recv(4096) == b""
        except TimeoutError:
            return False
        except OSError:
            return True

    def test_two_thousand_idle_connections(self):
        idle = []
        try:
            for _ in range(2000):
                idle.append(socket.create_connection((HOST, self.daemon.port), timeout=30))
            self.ok(self.daemon.get("/health"))
            self.free(self.allocate(4096))
            idle[777].sendall(request_bytes("GET", "/health"))
            self.assertTrue(idle[777].recv(100).startswith(b"HTTP/1.1 200"))
        finally:
            for connection in idle:
                connection.close()
        for _ in range(20):
            self.ok(self.daemon.get("/health"))

    def test_their_fds_are_given_back(self):
        self.daemon.get("/health")
        before = kernel.fd_count(self.daemon.pid)
        connections = [socket.create_connection((HOST, self.daemon.port), timeout=30) for _ in range(500)]
        wait_until(lambda: kernel.fd_count(self.daemon.pid) >= before + 400, "the connections to be accepted")
        for connection in connections:
            connection.close()
        wait_until(lambda: kernel.fd_count(self.daemon.pid) <= before + 2, "the fds to come back", 60)

    def test_clients_that_hang_up_after_the_request(self):
        for _ in range(200):
            with Raw(self.daemon.port) as raw:
                raw.send(request_bytes("GET", f"{MEMORY}/status"))
        self.ok(self.daemon.get("/health"))


if __name__ == "__main__":
    unittest.main()
