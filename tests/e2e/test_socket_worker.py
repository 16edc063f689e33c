"""A client of the socket that says hello is a worker: it is listed, told and asked, and goes when it goes."""

import json
import os
import queue
import signal
import threading
import unittest

from doors import Unix
from harness import MEMORY, MIB, DaemonCase, wait_until

ACTIONS = ("memory.clear", "memory.get_status")


class Guest:
    """Says hello, and answers on a thread of its own: `answers` is action -> data, or None for silence. What it is
    asked and told is in `asked` and `told`, actions and events by name."""

    def __init__(self, path, name="guest-1", capabilities=ACTIONS, answers=None, **more):
        self.unix, self.name = Unix(path), name
        self.answers = {"memory.get_status": {"memory_usage_bytes": 5000, "reclaimable_bytes": 4096}} | (answers or {})
        self.asked, self.told, self.refusals, self.mine = (queue.Queue() for _ in range(4))
        data = {"protocol": 1, "worker": name, "version": "1", "capabilities": list(capabilities), "models": []} | more
        self.say({"event": "hello", "data": data})
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.leave()

    def say(self, line):
        self.unix.send_bytes(json.dumps(line).encode() + b"\n")

    def leave(self):
        try:
            self.unix.socket.shutdown(2)
        except OSError:
            pass
        self.thread.join(20)
        self.unix.close()

    def _serve(self):
        try:
            while (line := self.unix.line()) is not None:
                self._hear(line)
        except OSError:  # it was to be the end
            pass
        self.refusals.put(None)

    def _hear(self, line):
        if "event" in line:
            self.told.put((line["event"], line["data"]))
        elif "success" in line:
            (self.mine if line["request_id"] else self.refusals).put(line)
        else:
            self.asked.put((line["action"], line["data"]))
            self._answer(line)

    def _answer(self, line):
        answer = self.answers.get(line["action"], {})
        if answer is not None:
            self.say({"request_id": line["request_id"], "success": True, "data": answer})


class SocketWorker(DaemonCase):
    def guest(self, *words, **more):
        guest = Guest(self.daemon.socket_path, *words, **more)
        self.addCleanup(guest.leave)
        return guest

    def listed(self, name="guest-1"):
        return next((worker for worker in self.workers() if worker["workerId"] == name), None)

    def is_listed(self, name="guest-1"):
        return wait_until(lambda: self.listed(name), f"{name} to be listed")

    def refusal(self, code, **more):
        """A hello that is refused: why, and then the connection ends."""
        guest = self.guest(**more)
        line = guest.refusals.get(timeout=20)
        self.assertEqual((None, False, code), (line["request_id"], line["success"], line["error_code"]))
        self.assertIsNone(guest.refusals.get(timeout=20))
        return line

    def clear(self):
        return self.ok(self.daemon.post(f"{MEMORY}/operations/clear", {}))["workers"]

    def test_it_is_listed_as_what_it_says_it_is(self):
        self.guest()
        worker = self.is_listed()
        self.assertEqual(("socket", "ready", os.getpid(), None, 0),
                         tuple(worker[key] for key in ("transport", "state", "pid", "command", "restarts")))
        self.assertEqual(list(ACTIONS), worker["capabilities"])
        worker = wait_until(lambda: (w := self.listed()) and w["memoryBytes"] and w, "its figures")
        self.assertEqual((5000, 4096), (worker["memoryBytes"], worker["reclaimableBytes"]))

    def test_it_is_gone_with_its_connection(self):
        self.mover()  # it has told of itself
        with self.daemon.events("?types=worker.*") as events:
            guest = self.guest()
            for word in ("started", "ready"):
                event = events.next()
                self.assertEqual((f"worker.{word}", "guest-1"), (event.type, event.data["workerId"]))
            guest.leave()
            event = events.next()
            self.assertEqual(("worker.exited", "guest-1"), (event.type, event.data["workerId"]))
        wait_until(lambda: not self.listed(), "it to be gone")
        self.guest()
        self.is_listed()

    def test_it_is_gone_when_it_says_it_sends_no_more(self):
        guest = self.guest()
        self.is_listed()
        guest.unix.socket.shutdown(1)
        wait_until(lambda: not self.listed(), "it to be gone")

    def test_a_clear_asks_it_and_tells_what_it_gave(self):
        guest = self.guest(answers={"memory.clear": {"cleared_bytes": 12345}})
        self.is_listed()
        self.assertIn({"workerId": "guest-1", "clearedBytes": 12345}, self.clear())
        actions = [guest.asked.get(timeout=20) for _ in range(2)]
        self.assertIn(("memory.clear", {"clear_type": "cache"}), actions)

    def test_a_clear_says_what_and_where(self):
        guest = self.guest(capabilities=["memory.clear"])
        self.is_listed()
        self.ok(self.daemon.post(f"{MEMORY}/operations/clear/host:1", {"scope": "idle"}))
        self.assertEqual(("memory.clear", {"device_id": "host:1", "clear_type": "idle"}), guest.asked.get(timeout=20))

    def test_it_is_asked_only_what_it_can(self):
        guest = self.guest(capabilities=["memory.optimize"])
        self.is_listed()
        self.assertNotIn("guest-1", [part["workerId"] for part in self.clear()])
        self.assertTrue(guest.asked.empty())

    def test_one_that_leaves_in_the_middle_is_left_out(self):
        guest = self.guest(answers={"memory.clear": None})
        self.mover()
        self.is_listed()
        answers = queue.Queue()
        thread = threading.Thread(target=lambda: answers.put(self.clear()))
        thread.start()
        while guest.asked.get(timeout=20)[0] != "memory.clear":
            pass
        guest.leave()
        thread.join(20)
        self.assertEqual(["host"], [part["workerId"] for part in answers.get_nowait()])

    def test_thresholds_are_told_at_once_and_when_they_change(self):
        guest = self.guest()
        relief = {"relief": {"trigger": 80, "target": 70}}
        self.assertEqual({"moderate": 75, "high": 90, "critical": 95} | relief, self.numbers_told(guest)[0])
        numbers = {"moderate": 50, "high": 60, "critical": 70}
        self.ok(self.daemon.put(f"{MEMORY}/pressure/thresholds", numbers))
        self.assertEqual(numbers | relief, self.numbers_told(guest)[0])

    def numbers_told(self, guest):
        """Of the next such event: the numbers, and the limits by device."""
        event, data = guest.told.get(timeout=20)
        self.assertEqual("memory.thresholds", event)
        limits = data.pop("limits")
        return data, {limit["device_id"]: (limit["max_bytes"], limit["reserved_bytes"]) for limit in limits}

    def test_limits_are_told_at_once_and_when_they_change(self):
        guest = self.guest()
        before = self.numbers_told(guest)[1]
        self.assertEqual(["host:0", "host:1"], list(before))
        self.ok(self.daemon.put(f"{MEMORY}/limits/host:1", {"maxBytes": 64 * MIB, "reservedBytes": MIB}))
        self.assertEqual(before | {"host:1": (64 * MIB, MIB)}, self.numbers_told(guest)[1])
        self.ok(self.daemon.put(f"{MEMORY}/limits/host:1", {"maxBytes": 64 * MIB}))
        self.ok(self.daemon.put(f"{MEMORY}/limits/host:1", {"reservedBytes": 0}))
        self.assertEqual((64 * MIB, 0), self.numbers_told(guest)[1]["host:1"], "what stays as it is is not told")

    def test_one_that_can_be_initialized_is(self):
        guest = self.guest(capabilities=["memory.initialize"])
        action, data = guest.asked.get(timeout=20)
        self.assertEqual("memory.initialize", action)
        self.assertEqual(["host:0", "host:1"], [device["device_id"] for device in data["devices"]])
        self.assertTrue(guest.told.empty())

    def test_it_is_a_client_all_the_same(self):
        guest = self.guest()
        guest.say({"request_id": "mine", "action": "memory.list_workers", "data": {}})
        line = guest.mine.get(timeout=20)
        self.assertEqual("mine", line["request_id"])
        self.assertIn("guest-1", [worker["worker_id"] for worker in line["data"]["workers"]])

    def test_it_never_moves_bytes(self):
        actions = ("memory.transfer", "memory.copy", "memory.fill", "memory.defragment", "memory.clear")
        guest = self.guest(capabilities=actions)
        self.is_listed()
        self.mover()
        self.transfer(self.allocate(4096))
        self.fill(self.allocate(4096), 7)
        self.assertTrue(guest.asked.empty())

    def test_names_are_ones_own(self):
        self.mover()
        self.guest()
        self.is_listed()
        for name in ("guest-1", "host"):
            with self.subTest(name):
                self.assertIn(name, self.refusal("CONFLICT", name=name)["error"])
        self.assertEqual(1, len([w for w in self.workers() if w["workerId"] == "guest-1"]))

    def test_names_that_are_none(self):
        for name in ("", "a b", "x" * 40, 5, None):
            with self.subTest(name):
                self.assertEqual("worker", self.refusal("INVALID_ARGUMENT", name=name)["details"]["field"])

    def test_another_protocol(self):
        self.assertEqual("protocol", self.refusal("INVALID_ARGUMENT", protocol=2)["details"]["field"])

    def test_not_more_than_there_is_room_for(self):
        for number in range(16):
            self.guest(f"guest-{number}")
        self.is_listed("guest-15")
        self.refusal("RATE_LIMITED", name="one-more")

    def test_it_is_not_ours_to_restart(self):
        self.guest()
        self.is_listed()
        self.refused(self.daemon.post(f"{MEMORY}/workers/guest-1/restart"), 409, "CONFLICT")
        self.assertEqual("ready", self.listed()["state"])

    def test_ten_lines_that_are_nothing_are_its_end(self):
        guest = self.guest()
        self.is_listed()
        for _ in range(10):
            guest.say({"what": "is this"})
        self.assertIsNone(guest.refusals.get(timeout=20))
        wait_until(lambda: not self.listed(), "it to be gone")

    def test_a_clear_under_way_does_not_keep_the_daemon(self):
        guest = self.guest(answers={"memory.clear": None})
        self.is_listed()
        with self.daemon.unix() as unix:
            unix.send("memory.clear")
            while guest.asked.get(timeout=20)[0] != "memory.clear":
                pass
            self.daemon.stop(signal.SIGTERM)


class WithoutHello(DaemonCase):
    def test_other_events_are_no_request(self):
        with self.daemon.unix() as unix:
            unix.send_bytes(b'{"event":"memory.changed","data":{}}\n')
            self.assertEqual("MISSING_PARAMETER", unix.line()["error_code"])
            self.assertTrue(unix.call("ping")["success"])


if __name__ == "__main__":
    unittest.main()
