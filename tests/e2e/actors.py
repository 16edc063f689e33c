"""Who uses a daemon that is killed again and again: threads that do at random what can be done with memory, and know
at every moment what must be true of theirs.

An operation whose answer did not come is asked for again, with the same idempotency key, until there is one; so each
actor's own list is exact whenever it stands still. A `Held` is what was promised: place, label, life and every byte.
"""

import contextlib
import http.client
import json
import random
import select
import subprocess
import sys
import threading
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

from doors import Unix
from harness import KIB, MEMORY, MIB, clean_environment, parse_time

SIZES = (1, 100, 4096, 64 * KIB, 300 * KIB, MIB, 5 * MIB // 2, 4 * MIB)
DEVICE_NAMES = ("host:0", "host:1", "fake:0")
LIMITED, LIMITS = "host:1", (256 * MIB, 384 * MIB, 512 * MIB)
MOST = 16  # allocations of one actor
PATIENCE = 60  # seconds for an operation to be answered at last
NO_ROOM = {"INSUFFICIENT_MEMORY", "ALLOCATION_TOO_LARGE", "QUOTA_EXCEEDED"}
NOT_NOW = {"ALLOCATION_BUSY", "WORKER_UNAVAILABLE", "WORKER_TIMEOUT", "DEVICE_UNAVAILABLE", "RATE_LIMITED",
           "CANCELLED", "DAEMON_RESTARTED"}
GONE = {"ALLOCATION_NOT_FOUND", "ALLOCATION_LOST"}
HUNG_UP = (OSError, http.client.HTTPException, json.JSONDecodeError, AssertionError)
CLIENT = """
import random, sys, time
from doors import Unix
path, name = sys.argv[1:]
chance, unix, count = random.Random(name), None, 0
def call(action, data):
    global unix, count
    count += 1
    while True:
        try:
            unix = unix or Unix(path)
            return unix.call(action, data, idempotency_key=f"{name}-{count}")
        except (OSError, AssertionError):
            unix = None
            time.sleep(0.005)
def allocate():
    answer = call("memory.allocate", {"size_bytes": chance.choice((100, 4096, 1 << 20, 3 << 20))})
    return answer["data"]["allocation"]["allocation_id"] if answer["success"] else None
print(" ".join(filter(None, [allocate() for _ in range(3)])), flush=True)
while True:
    more = [allocate() for _ in range(chance.randrange(4))]
    for one in filter(None, more):
        call("memory.free", {"allocation_id": one, "force": True})
    time.sleep(0.005)
"""


class Suspect(Exception):
    """Memory that is not there any more, where that may be."""


@dataclass
class Held:
    id: str
    size: int
    device: str
    label: str
    persistent: bool
    value: int = None  # every byte of it; None: undefined
    expires: str = None


class World:
    """What the actors share: the daemon of the moment, a gate to stand still at, and what went wrong."""

    def __init__(self, daemon, reckless):
        self.daemon, self.reckless = daemon, reckless
        self.up, self.over = threading.Event(), threading.Event()
        self.up.set()
        self.sums = {}  # (size, value): checksum
        self.counts, self.failures = {}, []
        self.limit = LIMITS[-1]  # of LIMITED
        self.gate, self.inside, self.closed = threading.Condition(), 0, False

    def count(self, what, by=1):
        with self.gate:
            self.counts[what] = self.counts.get(what, 0) + by

    def fail(self, text):
        with self.gate:
            self.failures.append(text)
        self.over.set()

    def check_sum(self, size, value, found, where):
        expected = self.sums.setdefault((size, value), found)
        if found != expected:
            raise AssertionError(f"{where}: {size} bytes of {value} read {found}, not {expected}")

    @contextlib.contextmanager
    def moving(self):
        with self.gate:
            self.gate.wait_for(lambda: not self.closed)
            self.inside += 1
        try:
            yield
        finally:
            with self.gate:
                self.inside -= 1
                self.gate.notify_all()

    @contextlib.contextmanager
    def standing_still(self):
        """No actor is in the middle of anything."""
        with self.gate:
            self.closed = True
            if not self.gate.wait_for(lambda: not self.inside, 2 * PATIENCE):
                self.failures.append("an actor hangs")
        try:
            yield
        finally:
            with self.gate:
                self.closed = False
                self.gate.notify_all()


class Actor(threading.Thread):
    def __init__(self, world, number, seed):
        super().__init__(daemon=True, name=f"actor{number}")
        self.world, self.chance, self.count = world, random.Random(f"{seed} {number}"), 0
        self.first = not number
        self.held = {}
        self.operations = [getattr(self, name) for name, weight in (
            ("allocate", 7), ("fill", 5), ("free", 4), ("move", 4), ("duplicate", 2), ("copy", 3), ("defragment", 1),
            ("clear", 1), ("limit", 1), ("look", 1)) for _ in range(weight)]

    def run(self):
        while not self.world.over.is_set():
            try:
                with self.world.moving():
                    operation = self.chance.choice(self.operations)
                    operation()
                self.world.count("operations")
            except Suspect:
                self.world.count("suspects")
            except BaseException:
                self.world.fail(f"{self.name}: {traceback.format_exc()}")

    # -- asking

    def once(self, method, path, body, key):
        headers = {"Idempotency-Key": key} if key else None
        return self.world.daemon.http.request(method, path, body, headers, PATIENCE)

    def ask(self, method, path, body=None, key=None):
        """An answer, whatever becomes of the daemon meanwhile; (answer, whether one did not come before)."""
        end, unanswered = time.monotonic() + PATIENCE, False
        while True:
            self.world.up.wait(PATIENCE)
            try:
                answer = self.once(method, path, body, key)
                if key or answer.code not in NOT_NOW - {"ALLOCATION_BUSY"}:
                    return answer, unanswered
            except HUNG_UP:
                unanswered = True
                self.world.count("unanswered")
            if time.monotonic() > end:
                raise AssertionError(f"no answer in {PATIENCE} s: {method} {path} {body}")
            time.sleep(0.002)

    def until_done(self, method, path, body=None):
        """Repeats what may be repeated until it succeeds. None: the memory is gone."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            answer, _ = self.ask(method, path, body)
            if answer.status == 200:
                return answer.data
            self.expect(answer, NOT_NOW)
            time.sleep(0.002)
        raise AssertionError(f"not done in {PATIENCE} s: {method} {path} {body}: {answer.body}")

    def expect(self, answer, codes):
        if answer.code in GONE and self.world.reckless:
            raise Suspect
        if answer.code not in codes:
            raise AssertionError(f"{answer.status} {answer.body}")

    def next_key(self):
        self.count += 1
        return f"{self.name}-{self.count}"

    def one(self, matches=lambda held: True):
        found = [held for held in self.held.values() if matches(held)]
        return self.chance.choice(found) if found else None

    def keep(self, view, value=None):
        self.held[view["allocationId"]] = Held(view["allocationId"], view["sizeBytes"], view["deviceId"],
                                               view["label"], view["persistent"], value, view["expiresAt"])

    # -- operations

    def allocate(self):
        if len(self.held) >= MOST:
            return self.free()
        key = self.next_key()
        body = {"sizeBytes": self.chance.choice(SIZES), "label": key + self.chance.choice(("", "é" * 100))}
        body |= self.chance.choice(({}, {"persistent": True}, {"persistent": True}, {"ttlSeconds": 36000}))
        body |= self.chance.choice(({}, {}, {"zero": True}, {"commit": True}))
        device = self.chance.choice(("",) + DEVICE_NAMES)
        if self.chance.random() < 0.5:
            return self.allocate_by_socket(body, device, key)
        path = f"{MEMORY}/allocations/allocate" + (device and f"/{device}")
        answer, _ = self.ask("POST", path, body, key)
        if answer.status != 200:
            return self.expect(answer, NO_ROOM | NOT_NOW)
        return self.keep(answer.data["allocation"], 0 if body.get("zero") else None)

    def allocate_by_socket(self, body, device, key):
        names = {"sizeBytes": "size_bytes", "ttlSeconds": "ttl_seconds"}
        data = {names.get(name, name): value for name, value in body.items()}
        data |= {"device_id": device} if device else {}
        answer = None
        while answer is None:
            self.world.up.wait(PATIENCE)
            try:
                with Unix(self.world.daemon.socket_path) as unix:
                    answer = unix.call("memory.allocate", data, idempotency_key=key)
            except HUNG_UP:
                self.world.count("unanswered")
                time.sleep(0.002)
        if answer["success"]:
            view, _ = self.ask("GET", f"{MEMORY}/allocation/{answer['data']['allocation']['allocation_id']}")
            self.expect(view, {None})
            self.keep(view.data["allocation"], 0 if body.get("zero") else None)
        elif answer["error_code"] not in NO_ROOM | NOT_NOW:
            raise AssertionError(answer)

    def free(self):
        held = self.one()
        while held:
            answer, unanswered = self.ask("DELETE", f"{MEMORY}/allocations/{held.id}?force=true")
            if answer.status == 200 or (unanswered and answer.code == "ALLOCATION_NOT_FOUND"):
                del self.held[held.id]
                return
            self.expect(answer, NOT_NOW)
            time.sleep(0.002)

    def fill(self):
        held = self.one()
        if held:
            held.value, value = None, self.chance.randrange(256)
            data = self.until_done("POST", f"{MEMORY}/operations/fill", {"allocationId": held.id, "value": value})
            self.world.check_sum(held.size, value, data["checksum"], f"fill of {held}")
            held.value = value

    def copy(self):
        source = self.one(lambda h: h.value is not None)
        target = source and self.one(lambda h: h is not source and h.size == source.size)
        if target:
            target.value = None
            data = self.until_done("POST", f"{MEMORY}/operations/copy",
                                   {"sourceAllocationId": source.id, "targetAllocationId": target.id})
            self.world.check_sum(source.size, source.value, data["checksum"], f"copy of {source}")
            target.value = source.value

    def transfer(self, held, mode):
        target = self.chance.choice([d for d in DEVICE_NAMES if d != held.device])
        body = {"allocationId": held.id, "sourceDeviceId": held.device, "targetDeviceId": target, "mode": mode,
                "wait": True}
        answer, unanswered = self.ask("POST", f"{MEMORY}/transfer", body, self.next_key())
        if answer.status != 200:
            self.expect(answer, NO_ROOM | NOT_NOW | ({"CONFLICT"} if unanswered else set()))
            return None, unanswered
        if answer.data["status"] != "completed":
            if answer.data["errorCode"] not in NO_ROOM | NOT_NOW:
                raise AssertionError(answer.data)
            return None, unanswered
        if held.value is not None:
            self.world.check_sum(held.size, held.value, answer.data["checksum"], f"{mode} of {held}")
        return answer.data, unanswered

    def move(self):
        held = self.one()
        if held:
            done, _ = self.transfer(held, "move")
            answer, _ = self.ask("GET", f"{MEMORY}/allocation/{held.id}")
            self.expect(answer, {None})
            device = answer.data["allocation"]["deviceId"]
            if done and device != done["targetDeviceId"]:
                raise AssertionError(f"moved to {done['targetDeviceId']}, and is on {device}")
            held.device = device

    def duplicate(self):
        """A transfer that makes a second allocation. Its key is not kept over a restart: what a lost answer made may
        be there beside what the repeated question made."""
        source = self.one()
        if source and len(self.held) < MOST:
            done, unanswered = self.transfer(source, "copy")
            answer, _ = self.ask("GET", f"{MEMORY}/allocations?limit=1000")
            made = [a for a in answer.data["allocations"] if a["label"] == source.label
                    and a["allocationId"] not in self.held]
            if len(made) != bool(done) and not unanswered and not self.world.reckless:
                raise AssertionError(f"{len(made)} copies of {source}")
            self.world.count("copies made twice", max(0, len(made) - bool(done)))
            for view in made:
                self.keep(view, source.value)

    def defragment(self):
        body = {"strategy": self.chance.choice(("quick", "balanced", "thorough"))}
        answer, _ = self.ask("POST", f"{MEMORY}/operations/defragment/{self.chance.choice(DEVICE_NAMES)}", body)
        if answer.status != 200:
            self.expect(answer, NOT_NOW | {"CONFLICT"})

    def clear(self):
        answer, _ = self.ask("POST", f"{MEMORY}/operations/clear", {})
        self.expect(answer, {None})

    def limit(self):
        """By the first actor only, so that one knows what it is."""
        if self.first:
            self.world.limit = self.chance.choice(LIMITS)
            self.until_done("PUT", f"{MEMORY}/limits/{LIMITED}", {"maxBytes": self.world.limit})

    def look(self):
        held = self.one()
        if held:
            answer, _ = self.ask("GET", f"{MEMORY}/allocation/{held.id}")
            self.expect(answer, {None})
            if self.world.reckless and answer.data["allocation"]["status"] == "lost":
                raise Suspect
            self.compare(held, answer.data["allocation"])

    @staticmethod
    def compare(held, view):
        found = Held(view["allocationId"], view["sizeBytes"], view["deviceId"], view["label"], view["persistent"],
                     held.value, held.expires)
        late = held.expires and abs(parse_time(view["expiresAt"]) - parse_time(held.expires)) > 1
        if found != held or late or view["status"] not in ("active", "busy", "moving"):
            raise AssertionError(f"expected {held}, found {view}")


class Client:
    """Another process with memory that lives as long as it does."""

    def __init__(self, path, name):
        self.process = subprocess.Popen([sys.executable, "-S", "-c", CLIENT, path, name], text=True,
                                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                        env=clean_environment(PYTHONPATH=str(Path(__file__).parent)))
        self.ids = None

    @property
    def pid(self):
        return self.process.pid

    def settle(self):
        """Waits until it holds what it will hold all its life. Only while there is a daemon."""
        if self.ids is None:
            if not select.select([self.process.stdout], [], [], PATIENCE)[0]:
                raise AssertionError(f"client {self.pid} gets no answer")
            self.ids = set(self.process.stdout.readline().split())

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
