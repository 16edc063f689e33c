"""Every row of the contract's table of errors, provoked once and held against the same rules.

A row says on which daemon it happens, what is asked, and what must come. Whatever the row, an answer carries the whole
envelope, repeats the correlation id and the path, says when to try again (429, 503), what else the path knows (405)
and how much space there is (507); and the books are afterwards what they were before.
"""

import contextlib
import gzip
import re
import shutil
import sys
import tempfile
import unittest
from pathlib import Path
from typing import NamedTuple

from doors import HOST, Http, Raw, request_bytes
from harness import ERROR, MEMORY, MIB, SOURCE, Case, Daemon, name_of, program, wait_until

ALLOCATE = f"{MEMORY}/allocations/allocate"
OPERATIONS = f"{MEMORY}/operations"
NONE_A, NONE_T, NONE_J = "a-0123456789abcdef", "t-0123456789abcdef", "j-0123456789abcdef"
STREAMS = 4096  # more than may ever be open
OPTIONAL_ENVELOPE = (408, 414, 431)

# What status.h knows and no row provokes: successes, models, which are not there yet, and memory that a vault lost.
NOT_HERE = {"OK", "PENDING", "MODEL_NOT_FOUND", "MODEL_BUSY", "MODEL_FORMAT_INVALID", "ALLOCATION_LOST"}
ONLY_IN_JOBS = {"CANCELLED", "DAEMON_RESTARTED"}


class Row(NamedTuple):
    """`path` and `body` may hold {names} of what the place has made before."""
    place: str
    code: str
    status: int
    method: str
    path: str
    body: object = None
    headers: dict = {}
    names: str = "."  # must be found in the message or the details


def rows_of_fields():
    """Bodies and queries that are wrong, for every operation that takes any."""
    copy = {"sourceAllocationId": "{small}", "targetAllocationId": "{small}"}
    fill = {"allocationId": "{small}", "value": 1}
    transfer = {"sourceDeviceId": "host:0", "targetDeviceId": "host:1", "allocationId": "{small}"}
    wrong = [
        ("POST", ALLOCATE, {"sizeBytes": 4096}, "sizeBytes", [0, -1, (1 << 62) + 1, 1.5, "4096", True, [1], {"a": 1}]),
        ("POST", f"{ALLOCATE}/host:0", {"sizeBytes": 4096}, "alignmentBytes", [0, 3, 4 * MIB]),
        ("POST", f"{OPERATIONS}/clear", {}, "scope", ["everything", 1]),
        ("POST", f"{OPERATIONS}/clear/host:0", {}, "force", [1, "true"]),
        ("POST", f"{OPERATIONS}/defragment", {}, "strategy", ["slow", 1]),
        ("POST", f"{OPERATIONS}/defragment/host:0", {}, "maxTimeSeconds", [-1, "1"]),
        ("POST", f"{OPERATIONS}/fill", fill, "value", [-1, 256, "1", 1.0]),
        ("POST", f"{OPERATIONS}/copy", copy, "sizeBytes", [-1, "1", 1 << 40]),
        ("POST", f"{MEMORY}/transfer", transfer, "mode", ["swap", 1]),
        ("PUT", f"{MEMORY}/limits/host:0", {}, "maxBytes", [-1, "1GiB"]),
        ("PUT", f"{MEMORY}/pressure/thresholds", {}, "high", [101, -1, "90"]),
    ]
    for method, path, body, field, values in wrong:
        for value in values:
            yield Row("plain", "INVALID_ARGUMENT", 400, method, path, body | {field: value}, names=field)
        yield Row("plain", "UNKNOWN_FIELD", 400, method, path, body | {"colour": 1}, names="colour")
        yield Row("plain", "UNKNOWN_FIELD", 400, method, path + "?colour=1", body, names="colour")
        for text in (b"{", b"[]", b'{"a":1,"a":1}', b'{"a":9223372036854775808}', b'{"a":1e400}', b'{"a":"\xff"}',
                     b'{"a":' * 10_000, b"{}x"):
            yield Row("plain", "INVALID_JSON", 400, method, path, text, names="(?i)line.*column|column.*line")
        yield Row("plain", "BODY_TOO_LARGE", 413, method, path, b"{}".ljust(MIB + 1))
        yield Row("plain", "UNSUPPORTED_MEDIA_TYPE", 415, method, path, b"{}", {"Content-Type": "text/plain"})
        yield Row("plain", "UNSUPPORTED_MEDIA_TYPE", 415, method, path, gzip.compress(b"{}"),
                  {"Content-Encoding": "gzip"})
    for path, body, field in ((ALLOCATE, {}, "sizeBytes"), (f"{OPERATIONS}/fill", {"value": 1}, "allocationId"),
                              (f"{OPERATIONS}/copy", {"sourceAllocationId": "{small}"}, "targetAllocationId"),
                              (f"{MEMORY}/transfer", {"targetDeviceId": "host:1", "allocationId": "{small}"},
                               "sourceDeviceId")):
        yield Row("plain", "MISSING_PARAMETER", 400, "POST", path, body, names=field)
    for query, name in (("limit=0", "limit"), ("limit=x", "limit"), ("order=up", "order"), ("sort=size", "sort"),
                        ("cursor=!", "cursor")):
        yield Row("plain", "INVALID_ARGUMENT", 400, "GET", f"{MEMORY}/allocations?{query}", names=name)


def rows_of_things():
    """What is not there, whichever operation asks for it."""
    for method, path, body in (
            ("GET", "status/{}", None), ("GET", "usage/{}", None), ("GET", "allocations/device/{}", None),
            ("POST", "allocations/allocate/{}", {"sizeBytes": 4096}), ("POST", "operations/clear/{}", {}),
            ("POST", "operations/defragment/{}", {}), ("GET", "devices/{}", None), ("GET", "pressure/{}", None),
            ("GET", "segments/{}", None), ("PUT", "limits/{}", {"maxBytes": 4096})):
        for name in ("host:9", "cuda:0", "a%2Fb", "%00", "%zz", "x" * 10_000):
            yield Row("plain", "DEVICE_NOT_FOUND", 404, method, f"{MEMORY}/{path.format(name)}", body)
    transfer = {"sourceDeviceId": "host:0", "targetDeviceId": "host:1", "allocationId": "{small}"}
    for field in ("sourceDeviceId", "targetDeviceId"):
        yield Row("plain", "DEVICE_NOT_FOUND", 404, "POST", f"{MEMORY}/transfer", transfer | {field: "host:9"},
                  names="host:9")
    for name in (NONE_A, "a-1", "a%2Fb", "%00", "x" * 10_000):
        yield Row("plain", "ALLOCATION_NOT_FOUND", 404, "GET", f"{MEMORY}/allocation/{name}")
        yield Row("plain", "ALLOCATION_NOT_FOUND", 404, "DELETE", f"{MEMORY}/allocations/{name}")
    for path, body in (("operations/fill", {"allocationId": NONE_A, "value": 1}),
                       ("operations/copy", {"sourceAllocationId": "{small}", "targetAllocationId": NONE_A}),
                       ("transfer", transfer | {"allocationId": NONE_A})):
        yield Row("plain", "ALLOCATION_NOT_FOUND", 404, "POST", f"{MEMORY}/{path}", body, names=NONE_A)
    for method in ("GET", "DELETE"):
        for name in (NONE_T, "t-1", "a%2Fb", "%00", "x" * 10_000):
            yield Row("plain", "TRANSFER_NOT_FOUND", 404, method, f"{MEMORY}/transfer/{name}")
        yield Row("plain", "NOT_FOUND", 404, method, f"{MEMORY}/jobs/{NONE_J}")
    yield Row("plain", "WORKER_NOT_FOUND", 404, "POST", f"{MEMORY}/workers/nobody/restart", names="nobody")
    yield Row("plain", "NOT_FOUND", 404, "GET", f"{MEMORY}/nothing")
    for method, path in (("DELETE", "status"), ("POST", "allocations"), ("GET", "allocations/allocate"),
                         ("PUT", f"transfer/{NONE_T}"), ("PATCH", "limits/host:0"), ("GET", "operations/fill")):
        yield Row("plain", "METHOD_NOT_ALLOWED", 405, method, f"{MEMORY}/{path}")
    yield Row("plain", "URI_TOO_LONG", 414, "GET", f"{MEMORY}/" + "x" * 40_000)
    yield Row("plain", "HEADERS_TOO_LARGE", 431, "GET", f"{MEMORY}/status", None, {"X-Name": "y" * 40_000})


def rows_of_callers():
    """Who asks, and from where."""
    foreign = {"Host": "evil.example"}
    for method, path, body in (("GET", f"{MEMORY}/status", None), ("POST", ALLOCATE, {"sizeBytes": 4096}),
                               ("DELETE", f"{MEMORY}/allocations/{{small}}", None)):
        yield Row("plain", "HOST_NOT_ALLOWED", 421, method, path, body, foreign)
        for origin in ("http://evil.example", "null"):
            yield Row("plain", "ORIGIN_NOT_ALLOWED", 403, method, path, body, {"Origin": origin})
    reader, writer = ({"Authorization": f"Bearer secret-of-{name}"} for name in ("reader", "writer"))
    acts = [("POST", ALLOCATE, {"sizeBytes": 4096}), ("DELETE", f"{MEMORY}/allocations/{{small}}", None),
            ("POST", f"{OPERATIONS}/clear", {}), ("POST", f"{OPERATIONS}/defragment", {}),
            ("POST", f"{OPERATIONS}/fill", {"allocationId": "{small}", "value": 1}),
            ("POST", f"{MEMORY}/transfer", {"sourceDeviceId": "host:0", "targetDeviceId": "host:1",
                                            "allocationId": "{small}"}),
            ("PUT", f"{MEMORY}/limits/host:0", {"maxBytes": 4096}),
            ("PUT", f"{MEMORY}/pressure/thresholds", {"high": 80}),
            ("POST", f"{MEMORY}/workers/host/restart", None)]
    for method, path, body in acts:
        yield Row("tokens", "FORBIDDEN", 403, method, path, body, reader)
        for wrong in ("Bearer nonsense", "Bearer ", "Basic c2VjcmV0", ""):
            yield Row("tokens", "UNAUTHORIZED", 401, method, path, body, {"Authorization": wrong})
    yield Row("tokens", "UNAUTHORIZED", 401, "GET", f"{MEMORY}/status", None, {"Authorization": ""})
    for method, path, body in acts[1:2] + acts[4:]:
        yield Row("tokens", "FORBIDDEN", 403, method, path, body, writer)


def rows_of_states():
    """Objects that do not allow it now, and space that is not there."""
    def transfer(**fields):
        return {"sourceDeviceId": "host:0", "targetDeviceId": "host:1", "allocationId": "{small}"} | fields
    yield Row("plain", "CONFLICT", 409, "POST", f"{MEMORY}/transfer", transfer(sourceDeviceId="fake:0"))
    yield Row("plain", "CONFLICT", 409, "DELETE", f"{MEMORY}/transfer/{{done}}")
    yield Row("plain", "CONFLICT", 409, "POST", ALLOCATE, {"sizeBytes": 8192}, {"Idempotency-Key": "mine"})
    yield Row("plain", "ALLOCATION_BUSY", 409, "DELETE", f"{MEMORY}/allocations/{{busy}}", names="busy|use")
    yield Row("plain", "ALLOCATION_BUSY", 409, "POST", f"{MEMORY}/transfer",
              transfer(allocationId="{busy}", mode="move"))
    for path in (ALLOCATE, f"{ALLOCATE}/fake:0"):
        yield Row("plain", "ALLOCATION_TOO_LARGE", 507, "POST", path, {"sizeBytes": 1 << 62})
    yield Row("plain", "ALLOCATION_TOO_LARGE", 507, "POST", f"{ALLOCATE}/fake:1", {"sizeBytes": 64 * MIB + 1})
    yield Row("plain", "INSUFFICIENT_MEMORY", 507, "POST", f"{ALLOCATE}/fake:1", {"sizeBytes": 32 * MIB})
    yield Row("plain", "INSUFFICIENT_MEMORY", 507, "POST", f"{MEMORY}/transfer",
              transfer(allocationId="{large}", targetDeviceId="fake:1", wait=True))
    yield Row("quota", "QUOTA_EXCEEDED", 507, "POST", f"{ALLOCATE}/host:1", {"sizeBytes": 2 * MIB})
    yield Row("quota", "QUOTA_EXCEEDED", 507, "POST", f"{MEMORY}/transfer", transfer(allocationId="{small}", wait=True))
    yield Row("hosts", "DEVICE_UNAVAILABLE", 503, "POST", ALLOCATE, {"sizeBytes": 4096, "memoryType": "VRAM"})
    yield Row("hosts", "WORKER_UNAVAILABLE", 503, "POST", f"{OPERATIONS}/fill", {"allocationId": "{small}", "value": 1})


def rows_of_failures():
    """Devices whose nth call fails, and a worker that breaks its word: see LIAR for what a value makes it do."""
    commit = {"sizeBytes": 4 * MIB, "commit": True}
    for number, (code, status, body) in enumerate((
            ("INSUFFICIENT_MEMORY", 507, {"sizeBytes": 4 * MIB}), ("INSUFFICIENT_MEMORY", 507, commit),
            ("DEVICE_UNAVAILABLE", 503, commit), ("DEVICE_UNAVAILABLE", 503, commit | {"zero": True}))):
        yield Row("wrapped", code, status, "POST", f"{ALLOCATE}/fake:{number}", body)
    yield Row("wrapped", "DEVICE_UNAVAILABLE", 503, "POST", f"{ALLOCATE}/fake:4", commit, names="fake:4")
    for code, status, value in (("INTERNAL_ERROR", 500, 1), ("INTERNAL_ERROR", 500, 2), ("CHECKSUM_MISMATCH", 500, 3),
                                ("WORKER_UNAVAILABLE", 503, 4), ("WORKER_TIMEOUT", 504, 5)):
        yield Row("liar", code, status, "POST", f"{OPERATIONS}/fill", {"allocationId": "{small}", "value": value})


ROWS = [*rows_of_fields(), *rows_of_things(), *rows_of_callers(), *rows_of_states(), *rows_of_failures()]

LIAR = """#!{python} -IS
import json, sys
def say(line):
    print(json.dumps(line), flush=True)
say({{"event": "hello", "data": {{"protocol": 1, "worker": "liar", "version": "0", "capabilities":
    ["memory.get_status", "memory.clear", "memory.fill", "memory.transfer"], "models": []}}}})
def fails(code):
    return {{"success": False, "error_code": code, "error": "so it is"}}
answers = {{1: {{"success": True, "data": {{"bytes": 1}}}}, 2: fails("NO_SUCH_WORD"), 3: fails("CHECKSUM_MISMATCH")}}
for line in sys.stdin:
    request = json.loads(line)
    answer = {{"success": True, "data": {{"cleared_bytes": 0}}}}
    if request["action"] == "memory.fill":
        if request["data"]["value"] == 4:
            say({{"request_id": request["request_id"], "event": "progress", "data": {{"bytes_done": 0}}}})
            sys.exit(1)
        if request["data"]["value"] == 5:
            continue
        answer = answers[request["data"]["value"]]
    say({{"request_id": request["request_id"]}} | answer)
"""


class Places:
    """The daemons of the table, and what each has made before it is asked."""

    def __init__(self, case):
        self.case, self.folder = case, Path(tempfile.mkdtemp(prefix="memkeep-e2e-"))
        case.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)

    @contextlib.contextmanager
    def started(self, name):
        self.case.daemon = daemon = getattr(self, name)()
        self.case.addCleanup(daemon.close)
        try:
            yield getattr(self, f"made_in_{name}", self.made)()
        finally:
            daemon.close()

    def made(self):
        return {"small": name_of(self.case.allocate(4096, "host:0"))}

    def plain(self):
        return Daemon(devices=("host:0=1GiB", "host:1=1GiB", "fake:0=256MiB,rate=1MiB/s", "fake:1=64MiB"))

    def made_in_plain(self):
        """Among them a transfer that takes a minute, and so lasts until the daemon is stopped."""
        case = self.case
        made = self.made() | {"large": name_of(case.allocate(32 * MIB, "host:0"))}
        case.allocate(48 * MIB, "fake:1")
        busy = case.allocate(64 * MIB, "host:0")
        done = case.transfer(made["small"])
        case.ok(case.daemon.post(ALLOCATE, {"sizeBytes": 4096, "memoryType": "RAM"}, {"Idempotency-Key": "mine"}))
        case.transfer_moves(case.start_transfer(busy, target="fake:0", verify=False))
        return made | {"busy": name_of(busy), "done": done["transferId"]}

    def quota(self):
        return Daemon()

    def made_in_quota(self):
        small = self.case.allocate(4096)
        quota = {"domain": small["domain"], "maxBytes": 6144}
        self.case.ok(self.case.daemon.put(f"{MEMORY}/limits/host:0", {"quotas": [quota]}))
        return {"small": name_of(small)}

    def hosts(self):
        return Daemon("--no-worker")

    def tokens(self):
        tokens = ", ".join(f'{{ name = "{role}"; secret = "secret-of-{name}"; role = "{role}"; }}' for name, role in
                           (("reader", "read"), ("writer", "write"), ("keeper", "admin")))
        (self.folder / "memkeep.conf").write_text(f"tokens = ( {tokens} );\n")
        daemon = Daemon("--config", str(self.folder / "memkeep.conf"))
        daemon.http = Http(daemon.port, {"Authorization": "Bearer secret-of-keeper"})
        return daemon

    def wrapped(self):
        calls = ("create", "commit", "import", "fill", "budget")
        return Daemon(devices=("host:0=1GiB", *(f"fake:{i}=1GiB,fail={call}:1" for i, call in enumerate(calls))))

    def liar(self):
        """memkeepd and its vault beside a worker that is not ours."""
        for name in ("memkeepd", "memkeep-vault"):
            shutil.copy(program(name), self.folder)
        worker = self.folder / "memkeep-worker"
        worker.write_text(LIAR.format(python=sys.executable))
        worker.chmod(0o755)
        daemon = Daemon(start=False)
        daemon.command[0] = str(self.folder / "memkeepd")
        return daemon.start()


class TheTable(Case):
    def filled(self, value, made):
        if isinstance(value, dict):
            return {name: self.filled(inner, made) for name, inner in value.items()}
        return re.sub(r"\{(\w+)\}", lambda match: made[match[1]], value) if isinstance(value, str) else value

    def assert_error(self, row, path, answer):
        error = self.refused(answer, row.status, row.code)
        self.assertEqual("the-row", answer.body["correlationId"])
        self.assertEqual(path.partition("?")[0], error["path"].partition("?")[0])
        self.assertRegex(str([error["message"], error["details"]]), row.names)
        self.assertEqual([], [name for name in answer.headers if name.lower().startswith("access-control")])
        if row.status in (429, 503):
            self.assertGreater(int(answer.headers["Retry-After"]), 0)
        if row.status == 405:
            self.assertRegex(answer.headers["Allow"], "^[A-Z]+(, [A-Z]+)*$")
            self.assertNotIn(row.method, answer.headers["Allow"])
        if row.status == 507:
            self.assert_space(error["details"])
        if row.code == "DEVICE_NOT_FOUND":
            self.assertIn("host:0", error["details"]["available"])

    def assert_space(self, details):
        for name in ("requestedBytes", "availableBytes", "largestFreeBytes"):
            self.assertIs(int, type(details[name]), details)
            self.assertGreaterEqual(details[name], 0)
        self.assertTrue(0 <= details["fragmentationPercent"] <= 100, details)
        self.assertIsInstance(details["reclaimable"], list)

    def provoke(self, row, made):
        path, body = self.filled(row.path, made), self.filled(row.body, made)
        headers = {"X-Correlation-ID": "the-row"} | row.headers
        self.assert_error(row, path, self.daemon.http.request(row.method, path, body, headers))

    def test_every_row(self):
        places = Places(self)
        for place in dict.fromkeys(row.place for row in ROWS):
            with places.started(place) as made:
                before = self.books()
                for row in (row for row in ROWS if row.place == place):
                    with self.subTest(f"{place}: {row.code} {row.method} {row.path[:60]} {str(row.body)[:60]}"):
                        self.provoke(row, made)
                        self.assertEqual(before, self.books())

    def test_no_row_is_missing(self):
        table = (SOURCE / "src/base/status.h").read_text()
        known = dict(re.findall(r"X\((\w+), (\d+),", table))
        provoked = {row.code: str(row.status) for row in ROWS} | {"RATE_LIMITED": "429", "HISTORY_UNAVAILABLE": "503"}
        self.assertGreater(len(known), 30)
        self.assertEqual(known.keys() - NOT_HERE - ONLY_IN_JOBS, provoked.keys())
        self.assertEqual({code: known[code] for code in provoked}, provoked)


class TooMany(Case):
    """The rows that take more than one request, or one that is no request."""

    def setUp(self):
        self.daemon = Daemon()
        self.addCleanup(self.daemon.close)

    def test_event_streams(self):
        streams = []
        before = self.books()
        try:
            while len(streams) < STREAMS:
                streams.append(Raw(self.daemon.port).send(request_bytes("GET", f"{MEMORY}/events")))
                head = streams[-1].file.readline()
                if not head.startswith(b"HTTP/1.1 200"):
                    break
            self.assertRegex(head, b"^HTTP/1.1 429 ")
            answer = self.daemon.get(f"{MEMORY}/events")
            self.refused(answer, 429, "RATE_LIMITED")
            self.assertGreater(int(answer.headers["Retry-After"]), 0)
            self.assertEqual(before, self.books())
        finally:
            for stream in streams:
                stream.close()
        wait_until(self.stream_opens, "the daemon to hear that they are closed")

    def stream_opens(self):
        with Raw(self.daemon.port) as raw:
            return raw.send(request_bytes("GET", f"{MEMORY}/events")).file.readline().startswith(b"HTTP/1.1 200")

    def assert_ends(self, raw, statuses):
        answer = raw.answer()
        self.assertIn(answer.status if answer else None, statuses)
        if answer and answer.status not in OPTIONAL_ENVELOPE:
            self.assertEqual(ERROR, answer.body["error"].keys())

    def test_lines_beyond_all_bounds(self):
        allocate = request_bytes("POST", ALLOCATE, b'{"sizeBytes":4096}', "X-Name: " + "y" * 100_000)
        target = request_bytes("DELETE", f"{MEMORY}/allocations/" + "x" * 100_000)
        for data, statuses in ((allocate, (431, None)), (target, (414, 431, None))):
            with self.nothing_changes(), Raw(self.daemon.port, 60) as raw:
                with contextlib.suppress(OSError):
                    raw.send(data)
                self.assert_ends(raw, statuses)

    def test_a_request_that_never_ends(self):
        head = f"POST {ALLOCATE} HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/json\r\n"
        starts = (head, head + 'Content-Length: 99\r\n\r\n{"sizeBytes":4096}')
        with self.nothing_changes(), contextlib.ExitStack() as stack:
            for raw in [stack.enter_context(Raw(self.daemon.port, 120)).send(start.encode()) for start in starts]:
                self.assert_ends(raw, (408, None))


if __name__ == "__main__":
    unittest.main()
