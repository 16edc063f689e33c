"""The n-th malloc, write, mmap, … of memkeepd fails, for every n that an act reaches: it lives, it answers with a
success, an error of the contract or the end of the connection, its books are right, and nothing is left behind.

Each act runs on its own: an unarmed preparation, the act with the n-th call failing, and then, unarmed again, the
books, the cleaning up, the books as they were before, and the same act, which succeeds.

MEMKEEP_NTH=all runs every n; otherwise all up to FIRST and of the rest a sample, the same each time.
"""

import contextlib
import http.client
import json
import os
import random
import time
import unittest
from collections import Counter

import kernel
from doors import Http, Unix
from fail_nth import KINDS, NEVER, FailNth, why_not
from harness import KIB, MEMORY, MIB, Case, Daemon, wait_until

CODES = set("""INVALID_ARGUMENT MISSING_PARAMETER INVALID_JSON UNKNOWN_FIELD UNAUTHORIZED FORBIDDEN NOT_FOUND
    ALLOCATION_NOT_FOUND TRANSFER_NOT_FOUND CONFLICT ALLOCATION_BUSY RATE_LIMITED CANCELLED INTERNAL_ERROR
    WORKER_UNAVAILABLE DEVICE_UNAVAILABLE HISTORY_UNAVAILABLE WORKER_TIMEOUT INSUFFICIENT_MEMORY""".split())
CLOSED = (ConnectionError, http.client.BadStatusLine, http.client.IncompleteRead)
PATIENCE = 15  # seconds for an answer
FIRST, SAMPLE = 25, 15  # of the calls of one act
MOST_FAILURES = 10
SEED = 20261126
# What ends the process or loses a wake inside a library, and nothing that calls it can help. write: both libraries wake
# a thread by adding to an eventfd's counter, which no kernel refuses; libuv aborts (uv__async_send), libmicrohttpd
# leaves a connection waiting. realloc: libuv aborts when its table of watchers cannot grow (maybe_resize). pipe2: libuv
# aborts when its first loop cannot have its pipe for signals (uv__signal_global_once_init).
SPARED = [("write", "libuv"), ("write", "libmicrohttpd"), ("realloc", "libuv"), ("pipe2", "libuv")]


def numbers(calls):
    """Which of them fail, one after the other."""
    if os.environ.get("MEMKEEP_NTH") == "all" or calls <= FIRST + SAMPLE:
        return range(1, calls + 1)
    return [*range(1, FIRST + 1), *sorted(random.Random(SEED).sample(range(FIRST + 1, calls + 1), SAMPLE))]


class Doors:
    """Asks as a client that expects trouble: what comes is counted, what may not come fails the test."""

    def __init__(self, test, daemon):
        self.test, self.daemon = test, daemon
        self.outcomes = Counter()

    def ask(self, method, path, body=None):
        """The data of a success, else None."""
        try:
            answer = Http(self.daemon.port).request(method, f"{MEMORY}/{path}" if path[0] != "/" else path, body,
                                                    timeout=PATIENCE)
        except CLOSED:
            self.outcomes["closed"] += 1
            return None
        if path[0] == "/" and answer.status == 200:
            return answer.body
        if answer.status == 503 and answer.body == b"":
            self.outcomes["refused at the gate"] += 1
            return None
        self.test.assert_envelope(answer)
        if answer.body["success"]:
            self.test.assertIn(answer.status, (200, 202))
            self.outcomes["ok"] += 1
            return answer.data
        self._error(answer.code, answer.body["error"]["message"])
        self.test.assertEqual(answer.status, answer.body["error"]["statusCode"])
        return None

    def _error(self, code, message):
        self.test.assertIn(code, CODES, message)
        self.test.assertTrue(message)
        self.outcomes[code] += 1

    def line(self, unix, action, data=None):
        """The same over the socket; ConnectionError when it ended."""
        request = unix.send(action, data)
        while (line := unix.line()) is not None and line.get("request_id") != request:
            pass
        if line is None:
            raise ConnectionResetError
        if line["success"]:
            self.outcomes["ok"] += 1
            return line["data"]
        self._error(line["error_code"], line["error"])
        return None


class Act:
    """prepare() may do what it likes, act() is what calls fail in, and returns the ids of allocations that it was
    promised; `good` is what is answered when none fails."""

    good = {"ok"}

    def prepare(self, test):
        return None

    def act(self, doors, world):
        raise NotImplementedError


class Looks(Act):
    def act(self, doors, world):
        for path in ("status", "status/host:0?refresh=true", "devices", "pressure", "segments/host:0", "workers",
                     "usage", "/health/detailed"):
            doors.ask("GET", path)


class Allocates(Act):
    ways = (("/host:0", {"sizeBytes": 4 * KIB}), ("/host:0", {"sizeBytes": 4 * MIB, "commit": True}),
            ("", {"sizeBytes": 64 * KIB, "label": "a name", "zero": True}),
            ("/host:1", {"sizeBytes": MIB // 2, "ttlSeconds": 3600}),
            ("/host:1", {"sizeBytes": KIB, "ownerPid": os.getpid()}))

    def act(self, doors, world):
        answers = [doors.ask("POST", f"allocations/allocate{device}", fields) for device, fields in self.ways]
        return [answer["allocation"]["allocationId"] for answer in answers if answer]


class Lists(Act):
    def prepare(self, test):
        return [test.allocate(KIB, label=f"x{i}") for i in range(3)]

    def act(self, doors, world):
        doors.ask("GET", "allocations?limit=2&sort=sizeBytes")
        doors.ask("GET", "allocations/device/host:0?label=x1")
        doors.ask("GET", f"allocation/{world[0]['allocationId']}")


class Frees(Act):
    def prepare(self, test):
        return [test.allocate(size) for size in (KIB, 4 * MIB)]

    def act(self, doors, world):
        for allocation in world:
            doors.ask("DELETE", f"allocations/{allocation['allocationId']}")


class Fills(Act):
    def prepare(self, test):
        return test.allocate(2 * MIB)

    def act(self, doors, world):
        doors.ask("POST", "operations/fill", {"allocationId": world["allocationId"], "value": 7})


class Copies(Act):
    def prepare(self, test):
        return test.allocate(64 * KIB), test.allocate(64 * KIB, "host:1")

    def act(self, doors, world):
        doors.ask("POST", "operations/copy", {"sourceAllocationId": world[0]["allocationId"],
                                              "targetAllocationId": world[1]["allocationId"]})


class Transfers(Act):
    mode = "copy"

    def prepare(self, test):
        return test.allocate(MIB)

    def act(self, doors, world):
        transfer = doors.ask("POST", "transfer", {
            "sourceDeviceId": "host:0", "targetDeviceId": "host:1", "allocationId": world["allocationId"],
            "mode": self.mode, "wait": True})
        if transfer:
            doors.ask("GET", f"transfer/{transfer['transferId']}")
            doors.ask("GET", "transfers")


class Moves(Transfers):
    mode = "move"


class Defragments(Act):
    def prepare(self, test):
        made = [test.allocate(768 * KIB) for _ in range(8)]
        for allocation in made[::2] + made[1:3]:
            if not test.is_gone(allocation):
                test.free(allocation)

    def act(self, doors, world):
        doors.ask("POST", "operations/defragment/host:0", {"strategy": "thorough"})


class Clears(Act):
    def prepare(self, test):
        test.free(test.allocate(KIB))
        test.allocate(4 * MIB)

    def act(self, doors, world):
        doors.ask("POST", "operations/clear", {})
        doors.ask("POST", "operations/clear/host:0", {"scope": "all"})


class SpeaksLines(Act):
    def act(self, doors, world):
        try:
            with Unix(doors.daemon.socket_path, PATIENCE) as unix:
                self.speak(doors, unix)
        except ConnectionError:
            doors.outcomes["closed"] += 1

    def speak(self, doors, unix):
        made = doors.line(unix, "memory.allocate", {"size_bytes": 8 * KIB, "device_id": "host:0"})
        doors.line(unix, "memory.allocate", {"size_bytes": 2 * MIB, "device_id": "host:1", "share": "read"})
        doors.line(unix, "memory.list_allocations", {})
        if made:
            name = {"allocation_id": made["allocation"]["allocation_id"]}
            for action in ("detach", "attach", "free"):
                doors.line(unix, f"memory.{action}", name)


class StartsAWorker(Act):
    """What is asked for meanwhile waits for the new one, unless the old one had begun with it."""

    good = {"ok", "WORKER_UNAVAILABLE"}

    def prepare(self, test):
        return test.allocate(64 * KIB), test.workers()[0]["workerId"]

    def act(self, doors, world):
        doors.ask("POST", f"workers/{world[1]}/restart")
        doors.ask("POST", "operations/fill", {"allocationId": world[0]["allocationId"], "value": 1})


ACTS = (Looks, Allocates, Lists, Frees, Fills, Copies, Transfers, Moves, Defragments, Clears, SpeaksLines,
        StartsAWorker)


@unittest.skipIf(why_not(), why_not())
class NthFails(Case):
    def setUp(self):
        self.daemon = None
        self.start()
        self.addCleanup(lambda: self.daemon.close())

    def start(self):
        self.daemon = Daemon(start=False)
        self.fails = FailNth(self.daemon.folder / "fail-nth", SPARED)
        self.daemon.environment |= self.fails.environment()
        self.daemon.start()

    # -- what must hold

    def jobs_are_over(self):
        transfers = self.ok(self.daemon.get(f"{MEMORY}/transfers?limit=1000"))["transfers"]
        return all(t["status"] not in ("pending", "in_progress") for t in transfers)

    def misbooked(self):
        """What of the books does not add up, None if all does."""
        allocations = self.allocations()
        for device in self.host()["devices"]:
            name = device["deviceId"]
            segments = self.ok(self.daemon.get(f"{MEMORY}/segments/{name}?limit=1000"))["segments"]
            mine = [a["sizeBytes"] for a in allocations if a["deviceId"] == name]
            found = {"allocatedBytes": sum(mine), "activeAllocations": len(mine),
                     "committedBytes": sum(s["sizeBytes"] for s in segments if s["blocks"]),
                     "cachedBytes": sum(s["sizeBytes"] for s in segments if not s["blocks"]),
                     "segments": len(segments)}
            said = {figure: device[figure] for figure in found}
            if said != found:
                return f"{name} says {said}, there is {found}"
            moving = [a for a in allocations if a["status"] != "active"]
            if moving:
                return f"not active: {moving}"
        return None

    def worker_is_ready(self):
        """A worker that was ended again and again waits before it starts anew, unless an admin says otherwise."""
        state = self.workers()[0]["state"]
        if state == "failed":
            self.daemon.post(f"{MEMORY}/workers/{self.workers()[0]['workerId']}/restart")
        return state == "ready"

    def clean_up(self):
        wait_until(self.worker_is_ready, "the worker", PATIENCE)
        for allocation in self.allocations():
            self.try_free(allocation, force=True)
        self.ok(self.daemon.post(f"{MEMORY}/operations/clear", {}))

    def figures(self):
        pids = {"daemon": self.daemon.pid, "vault": self.daemon.facts["vaultPid"]}
        return self.books(), {name: kernel.fd_count(pid) for name, pid in pids.items()}

    def figures_at_rest(self):
        """When the vault has all and no end of a connection is on its way any more."""
        wait_until(lambda: self.ok(self.daemon.get("/health/detailed"))["durable"], "the vault", PATIENCE)
        seen = None
        while (now := self.figures()) != seen:
            seen = now
            time.sleep(0.05)
        return seen

    def settles(self, condition, what):
        """Like wait_until, but says what it saw last."""
        end = time.monotonic() + PATIENCE
        while (seen := condition()) is not None:
            if time.monotonic() > end:
                self.fail(f"{what}: {seen}")
            time.sleep(0.005)

    def differs(self, before):
        after = self.figures()
        return None if after == before else f"{after} is not {before}"

    # -- one act

    def run_once(self, act, arm):
        """The act's outcomes; afterwards all is as it was."""
        world = act.prepare(self)
        doors = Doors(self, self.daemon)
        arm()
        try:
            promised = act.act(doors, world) or []
        finally:
            self.fails.disarm()
        self.assertIsNone(self.daemon.process.poll(), "the daemon is gone")
        wait_until(self.jobs_are_over, "the end of all transfers")
        self.settles(self.misbooked, "the books")
        self.assertLessEqual(set(promised), {a["allocationId"] for a in self.allocations()}, "promised")
        self.clean_up()
        return doors.outcomes

    def try_nth(self, act, kind, n, before):
        """(whether a call failed, outcomes)"""
        try:
            outcomes = self.run_once(act, lambda: self.fails.arm(kind, n))
            hit = self.fails.hits > 0
            self.settles(lambda: self.differs(before), "what is left")
            if hit:
                again = self.run_once(act, lambda: None)
                self.assertLessEqual(again.keys(), act.good, f"the same act afterwards: {again}")
                self.settles(lambda: self.differs(before), "what is left the second time")
            return hit, outcomes
        except Exception as problem:
            place = "\n  ".join(self.fails.place())
            words = f"{type(act).__name__}: {kind} {n}: {problem!r}; the call came from\n  {place}"
            print(f"{words}\n{self.daemon.log()[-1500:]}", flush=True)
            raise AssertionError(words) from None

    def prepare(self, act):
        """How things are between two runs of the act."""
        for _ in range(2):
            self.run_once(act, lambda: None)  # what is made once is made
        return self.figures_at_rest()

    def every_nth(self, kind):
        summary, failures = Counter(), 0
        for act in (each() for each in ACTS):
            before = self.prepare(act)
            self.run_once(act, lambda: self.fails.arm(kind))
            calls, started = self.fails.calls, time.monotonic()
            for n in numbers(calls):
                with self.subTest(act=type(act).__name__, kind=kind, n=n):
                    hit, outcomes = self.try_nth(act, kind, n, before)
                    summary.update(outcomes, failed=hit)
                    continue
                failures += 1
                self.assertLess(failures, MOST_FAILURES, "enough is known")
                before = self.start_over(act)
            print(f"  {kind:9} {type(act).__name__:13} {calls:4} calls {time.monotonic() - started:5.1f} s", flush=True)
        spared = "".join(f"; {n} {call} of {library} spared" for call, library, n in self.fails.times_spared() if n)
        print(f"{kind}: {json.dumps(summary)}{spared}", flush=True)

    def start_over(self, act):
        """Another daemon, after one that may be broken."""
        with contextlib.suppress(Exception):
            self.daemon.close()
        self.start()
        return self.prepare(act)


@unittest.skipIf(why_not(), why_not())
class NthFailsAtStart(Case):
    """A daemon that takes over what the vault holds. It becomes ready or ends with a reason, and loses nothing either
    way."""

    def setUp(self):
        self.daemon = Daemon(start=False)
        self.addCleanup(lambda: self.daemon.close())
        self.fails = FailNth(self.daemon.folder / "fail-nth", SPARED)
        self.daemon.environment |= self.fails.environment()
        self.daemon.start()
        for device in ("host:0", "host:1"):
            self.allocate(4 * KIB, device, persistent=True, label="kept")
            self.allocate(2 * MIB, device, ownerPid=os.getpid())
        self.before = self.books()

    def has_decided(self):
        """Whether it has ended or become ready, while calls fail."""
        return self.daemon.process.poll() is not None or (self.daemon.runtime / "memkeepd.json").exists()

    def start_with(self, kind, n=NEVER):
        """Whether it became ready."""
        self.daemon.kill()
        self.fails.arm(kind, n)
        said = len(self.daemon.log())
        self.daemon.spawn()
        wait_until(self.has_decided, "a decision", PATIENCE)
        self.fails.disarm()
        code = self.daemon.process.poll()
        if code is None:
            self.daemon.facts = self.daemon._ready()
            self.daemon.http = Http(self.daemon.port)
            return True
        self.assertIn(code, (1, 2), self.daemon.log()[said:])
        self.assertTrue(self.daemon.log()[said:].strip(), "a reason")
        self.daemon.start()
        return False

    def books_are_as_before(self):
        """Within a few samples: a figure of the host's that could not be read at the start is read with the next."""
        with contextlib.suppress(AssertionError):
            wait_until(lambda: self.before == self.books(), "the books", 5)
        self.assertEqual(self.before, self.books())

    def every_nth(self, kind):
        self.start_with(kind)
        calls, outcomes = self.fails.calls, Counter()
        for n in numbers(calls):
            with self.subTest(kind=kind, n=n):
                try:
                    outcomes["ready" if self.start_with(kind, n) else "refused"] += 1
                    self.books_are_as_before()
                except Exception as problem:
                    place = "\n  ".join(self.fails.place())
                    print(f"start: {kind} {n}: {problem!r}; from\n  {place}\n{self.daemon.log()[-800:]}", flush=True)
                    raise AssertionError(f"{problem!r}; the call came from\n  {place}") from None
        print(f"{kind} at start: {calls} calls; {json.dumps(outcomes)}", flush=True)
        for name in self.before[1]:
            self.free(name, force=True)


def _add_tests():
    for kind in KINDS:
        setattr(NthFails, f"test_{kind}", lambda self, kind=kind: self.every_nth(kind))
        setattr(NthFailsAtStart, f"test_{kind}", lambda self, kind=kind: self.every_nth(kind))


_add_tests()

if __name__ == "__main__":
    unittest.main()
