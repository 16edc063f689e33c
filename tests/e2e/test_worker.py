"""memkeep-worker alone, with our hands on its stdin, its stdout and the socket on which descriptors come."""

import json
import os
import signal
import socket
import struct
import subprocess
import threading
import unittest

import kernel
import xxh3
from harness import MIB, SANITIZERS, clean_environment, program, run_program, wait_until

FAKE = "fake:0=1GiB,rate=20MiB/s"


class Worker:
    """One process, as the daemon would start it."""

    command = (program("memkeep-worker"),)

    def __init__(self, *devices, log=subprocess.DEVNULL):
        self.packets, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        fd = theirs.fileno()
        place = 'exec "$@"' if fd == 3 else f'exec "$@" 3<&{fd} {fd}<&-'
        self.process = subprocess.Popen(
            ["bash", "-c", place, "bash", *self.command], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=log, pass_fds=(fd,), env=clean_environment(MEMKEEP_FD="3"))
        theirs.close()
        self.patience = threading.Timer(60, self.process.kill)
        self.patience.start()
        self.hello = self.read()
        self.count, self.events = 0, []
        if not devices:
            return
        try:
            self.ok("memory.initialize", devices=[{"device_id": d.split("=")[0], "spec": d} for d in devices])
        except BaseException:
            self.close()
            raise

    def close(self):
        self.patience.cancel()
        self.packets.close()
        self.process.stdin.close()
        self.process.stdout.close()
        try:
            self.process.wait(20)
        finally:
            self.process.kill()
            self.process.wait()

    def read(self):
        return json.loads(self.process.stdout.readline())

    def write(self, data):
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def send(self, action, **data):
        self.count += 1
        name = f"r-{self.count}"
        self.write(json.dumps({"request_id": name, "action": action, "data": data}).encode() + b"\n")
        return name

    def answer(self, name):
        """Reads on to the answer of that request; what was said about others is kept in events."""
        while (line := self.read()).get("request_id") != name or "event" in line:
            self.events.append(line)
        return line

    def ask(self, action, **data):
        return self.answer(self.send(action, **data))

    def ok(self, action, **data):
        answer = self.ask(action, **data)
        assert answer["success"], answer
        return answer["data"]

    def segment(self, number, size=MIB, device="host:0", send=True):
        """A new memfd of that size, handed over; returns its fd."""
        fd = os.memfd_create(f"test-{number}", os.MFD_CLOEXEC)
        os.truncate(fd, size)
        if send:
            self.hand_over(number, fd, size, device)
        return fd

    def hand_over(self, number, fd, size=MIB, device="host:0"):
        text = json.dumps({"segment_id": name_of(number), "device_id": device, "size_bytes": size,
                           "handle_type": "memfd"})
        socket.send_fds(self.packets, [text.encode()], [fd])


def name_of(number):
    return f"s-{number:016x}"


def place(number, offset=0):
    return {"segment_id": name_of(number), "offset_bytes": offset}


class WorkerCase(unittest.TestCase):
    kind, devices = Worker, ("host:0=1GiB", "host:1=1GiB", FAKE)

    def setUp(self):
        self.worker = self.kind(*self.devices)
        self.addCleanup(self.worker.close)

    def segment(self, *words, **more):
        fd = self.worker.segment(*words, **more)
        self.addCleanup(os.close, fd)
        return fd

    def hand_over_file(self, number, content):
        fd = os.memfd_create("file", os.MFD_CLOEXEC)
        os.write(fd, content)
        text = json.dumps({"file_id": number, "size_bytes": len(content)})
        socket.send_fds(self.worker.packets, [text.encode()], [fd])
        os.close(fd)

    def refused(self, code, action, **data):
        answer = self.worker.ask(action, **data)
        self.assertEqual((False, code), (answer["success"], answer.get("error_code")), answer)
        self.assertTrue(answer["error"])

    def moves(self, name):
        """Waits until that request has told progress beyond nothing."""
        while True:
            line = self.worker.read()
            self.assertEqual((name, "progress"), (line.get("request_id"), line.get("event")), line)
            if line["data"]["bytes_done"]:
                return line["data"]


class Bytes(WorkerCase):
    def test_a_copy_arrives_and_says_its_checksum(self):
        source, target = self.segment(1), self.segment(2, device="host:1")
        content = os.urandom(100_001)
        os.pwrite(source, content, 5)
        data = self.worker.ok("memory.copy", source=place(1, 5), target=place(2, 77), size_bytes=len(content),
                              verify=True)
        self.assertEqual(content, os.pread(target, len(content), 77))
        self.assertEqual((b"\0" * 77, b"\0"), (os.pread(target, 77, 0), os.pread(target, 1, 77 + len(content))))
        self.assertEqual((len(content), xxh3.text(content), True),
                         (data["bytes"], data["checksum"], data["verified"]))
        self.assertGreaterEqual(data["elapsed_us"], data["device_us"])

    def test_without_verifying_nothing_is_claimed(self):
        self.segment(1)
        self.segment(2)
        data = self.worker.ok("memory.copy", source=place(1), target=place(2), size_bytes=MIB, verify=False)
        self.assertEqual((None, None), (data["checksum"], data["verified"]))

    def test_a_fill_is_read_back(self):
        fd = self.segment(1)
        data = self.worker.ok("memory.fill", target=place(1, 100), size_bytes=5000, value=0xAB)
        self.assertEqual(b"\0" * 100 + b"\xab" * 5000 + b"\0", os.pread(fd, 5101, 0))
        self.assertEqual(xxh3.text(b"\xab" * 5000), data["checksum"])

    def test_a_fill_that_nobody_asks_about_is_not(self):
        fd = self.segment(1)
        data = self.worker.ok("memory.fill", target=place(1, 100), size_bytes=5000, value=0xAB, verify=False)
        self.assertEqual(b"\0" * 100 + b"\xab" * 5000 + b"\0", os.pread(fd, 5101, 0))
        self.assertEqual((5000, None, None), (data["bytes"], data["checksum"], data["verified"]))

    def test_the_path_is_said(self):
        self.segment(1)
        self.segment(2)
        self.segment(3, device="fake:0")
        for target, path in ((2, "same-device"), (3, "staged")):
            data = self.worker.ok("memory.transfer", source=place(1), target=place(target), size_bytes=4096)
            self.assertEqual(path, data["path"])

    def test_a_defragmentation_tells_which_blocks_moved(self):
        fd = self.segment(1)
        os.pwrite(fd, b"A" * 4096 + b"B" * 4096, 8192)
        rows = [(0, 0, 8192, 0, 4096), (0, 0, MIB, 0, 1), (0, 0, 0, MIB, 1), (0, 0, 0, 0, 0), (1, 0, 0, 0, 4096),
                (2, 0, 0, 0, 4096), (0, 0, 12288, 4096, 4096), (0, 0, (1 << 64) - 1, 0, 2)]
        data = self.defragment(rows, 7)
        self.assertEqual(([0, 6], 8192), (data["moved"], data["bytes"]))
        self.assertEqual(b"A" * 4096 + b"B" * 4096, os.pread(fd, 8192, 0))
        data = self.defragment(rows, 8, brief=True)
        self.assertEqual(([1, 2, 3, 4, 5, 7], 8192), (data["failed"], data["bytes"]))
        self.assertNotIn("moved", data)

    def defragment(self, rows, number, **more):
        """Moves within the first of two segments, of which there is but one."""
        self.hand_over_file(number, b"".join(struct.pack("=IIQQQ", *row) for row in rows))
        moves = [{"segments": [name_of(1), name_of(9)], "file_id": number, "count": len(rows)}]
        return self.worker.ok("memory.defragment", device_id="host:0", moves=moves, **more)

    def test_a_list_of_moves_that_is_not_there_or_too_short_is_refused(self):
        self.segment(1)
        self.hand_over_file(7, bytes(63))
        for moves in ([{"segments": [name_of(1)], "file_id": 7, "count": 2}], [], [{}], [7],
                      [{"segments": [name_of(1)], "file_id": 8, "count": 1}],
                      [{"segments": [name_of(1)], "file_id": 8, "count": 1 << 40}]):
            with self.subTest(moves=moves):
                self.refused("INVALID_ARGUMENT", "memory.defragment", device_id="host:0", moves=moves)
        self.assertTrue(self.worker.ask("ping")["success"])

    def test_ranges_that_leave_their_segment_are_refused(self):
        self.segment(1)
        for offset, size in ((0, MIB + 1), (MIB, 1), (MIB - 1, 2), ((1 << 63) - 1, 1), (1, (1 << 63) - 1), (0, 0)):
            with self.subTest(offset=offset, size=size):
                self.refused("INVALID_ARGUMENT", "memory.fill", target=place(1, offset), size_bytes=size, value=1)
        self.assertTrue(self.worker.ask("ping")["success"])

    def test_overlapping_ranges_of_one_segment_are_refused(self):
        fd = self.segment(1)
        os.pwrite(fd, bytes(range(256)), 0)
        for verify in (True, False):
            with self.subTest(verify=verify):
                self.refused("INVALID_ARGUMENT", "memory.copy", source=place(1), target=place(1, 100), size_bytes=200,
                             verify=verify)
                self.assertEqual(bytes(range(256)), os.pread(fd, 256, 0))


class Segments(WorkerCase):
    def test_a_line_may_come_before_its_descriptor(self):
        fd = self.segment(1, send=False)
        name = self.worker.send("memory.fill", target=place(1), size_bytes=4096, value=1)
        self.assertEqual(name, self.worker.read()["request_id"])  # it has read the line
        self.worker.hand_over(1, fd)
        self.assertTrue(self.worker.answer(name)["success"])

    def test_a_drop_may_come_before_its_descriptor(self):
        """Of one that was offered, and that nobody asked for: what came late would stay for ever."""
        fd = self.segment(1, send=False)
        name = self.worker.send("segment.drop", segment_id=name_of(1))
        self.worker.ask("ping")
        self.worker.hand_over(1, fd)
        self.assertTrue(self.worker.answer(name)["data"]["dropped"])
        self.assertEqual((0, 0), self.mapped())

    def test_one_that_never_comes_is_refused(self):
        self.refused("INVALID_ARGUMENT", "memory.fill", target=place(1), size_bytes=4096, value=1)

    def test_one_of_an_unknown_device_is_refused(self):
        self.segment(1, device="host:7")
        self.refused("DEVICE_NOT_FOUND", "memory.fill", target=place(1), size_bytes=4096, value=1)

    def test_a_drop_gives_mapping_and_descriptor_back(self):
        self.segment(1)
        self.worker.ok("memory.fill", target=place(1), size_bytes=MIB, value=1)
        self.assertEqual(1, len(kernel.memfds(self.worker.process.pid)))
        self.assertEqual((MIB, 1), self.mapped())
        self.assertTrue(self.worker.ok("segment.drop", segment_id=name_of(1))["dropped"])
        self.assertEqual({}, kernel.memfds(self.worker.process.pid))
        self.assertEqual((0, 0), self.mapped())

    def mapped(self):
        data = self.worker.ok("memory.get_status")
        return data["mapped_bytes"], data["mapped_segments"]

    def test_a_segment_that_was_never_used_is_dropped_too(self):
        self.segment(1)
        wait_until(lambda: self.mapped() == (MIB, 1), "the segment")
        self.assertTrue(self.worker.ok("segment.drop", segment_id=name_of(1))["dropped"])
        self.assertEqual({}, kernel.memfds(self.worker.process.pid))

    def test_dropping_what_is_not_there_is_no_error(self):
        self.assertFalse(self.worker.ok("segment.drop", segment_id=name_of(1))["dropped"])
        self.assertFalse(self.worker.ok("segment.drop", segment_id="nonsense")["dropped"])

    def test_a_drop_waits_for_who_uses_it(self):
        fd = self.segment(1, 100 * MIB)
        self.segment(2, 100 * MIB, device="fake:0")
        copying = self.worker.send("memory.copy", source=place(1), target=place(2), size_bytes=100 * MIB, verify=False)
        self.moves(copying)
        dropping = self.worker.send("segment.drop", segment_id=name_of(1))
        self.worker.ask("ping")
        self.assertIn(os.fstat(fd).st_ino, kernel.memfds(self.worker.process.pid))
        self.worker.ask("cancel", request_id=copying)
        self.assertTrue(self.worker.answer(dropping)["data"]["dropped"])
        self.assertNotIn(os.fstat(fd).st_ino, kernel.memfds(self.worker.process.pid))

    def test_nonsense_beside_a_descriptor_is_dropped_and_the_descriptor_closed(self):
        before = kernel.fd_count(self.worker.process.pid)
        fd = self.segment(1, send=False)
        for text in (b"nonsense", b"{}", b'{"segment_id":"s-1","device_id":"host:0","size_bytes":1}', b"x" * 600):
            socket.send_fds(self.worker.packets, [text], [fd])
        socket.send_fds(self.worker.packets, [b"{}"], [fd] * 6)
        self.worker.packets.send(json.dumps({"segment_id": name_of(1), "device_id": "host:0", "size_bytes": MIB,
                                             "handle_type": "memfd"}).encode())
        self.worker.hand_over(2, fd)
        self.worker.ok("memory.fill", target=place(2), size_bytes=1, value=1)
        self.assertLessEqual(kernel.fd_count(self.worker.process.pid), before + 1)  # of the one that is in use

    def test_the_same_segment_twice_is_one(self):
        fd = self.segment(1)
        other = self.segment(1)
        self.worker.ok("memory.fill", target=place(1), size_bytes=1, value=9)
        self.assertEqual((b"\x09", b"\0"), (os.pread(fd, 1, 0), os.pread(other, 1, 0)))


class Calls(WorkerCase):
    def slow(self, number=1, size=100 * MIB, **more):
        """A copy that takes seconds."""
        self.segment(2 * number, size)
        self.segment(2 * number + 1, size, device="fake:0")
        return self.worker.send("memory.transfer", source=place(2 * number), target=place(2 * number + 1),
                                size_bytes=size, verify=False, **more)

    def test_its_first_word_is_that_it_has_read_the_request(self):
        name = self.slow()
        self.assertEqual({"request_id": name, "event": "progress",
                          "data": {"bytes_done": 0, "bytes_total": 100 * MIB}}, self.worker.read())

    def test_progress_rises(self):
        name, last = self.slow(), 0
        for _ in range(3):
            data = self.moves(name)
            self.assertEqual(100 * MIB, data["bytes_total"])
            self.assertGreater(data["bytes_done"], last)
            last = data["bytes_done"]

    def test_what_was_cancelled_says_so_itself(self):
        name = self.slow()
        self.moves(name)
        self.assertTrue(self.worker.ok("cancel", request_id=name)["cancelled"])
        answer = next((e for e in self.worker.events if "success" in e), None) or self.worker.answer(name)
        self.assertEqual((name, False, "CANCELLED"), (answer["request_id"], answer["success"], answer["error_code"]))

    def test_cancelling_what_is_not_under_way_says_so(self):
        self.assertFalse(self.worker.ok("cancel", request_id="r-77")["cancelled"])
        self.assertFalse(self.worker.ok("cancel")["cancelled"])

    def test_transfers_are_known_by_their_id(self):
        name = self.slow(transfer_id="t-0000000000000001")
        self.moves(name)
        data = self.worker.ok("memory.get_transfer", transfer_id="t-0000000000000001")
        self.assertEqual("in_progress", data["status"])
        self.assertGreater(data["bytes"], 0)
        self.assertTrue(self.worker.ok("memory.cancel_transfer", transfer_id="t-0000000000000001")["cancelled"])
        for action in ("memory.get_transfer", "memory.cancel_transfer"):
            self.refused("TRANSFER_NOT_FOUND", action, transfer_id="t-0000000000000002")
            self.refused("TRANSFER_NOT_FOUND", action)

    def test_small_questions_overtake_long_work(self):
        name = self.slow()
        self.moves(name)
        self.assertTrue(self.worker.ask("ping")["success"])
        self.assertFalse([e for e in self.worker.events if "success" in e])

    def test_more_than_can_move_at_once_wait_and_none_is_silent(self):
        names = [self.slow(number) for number in range(1, 8)]
        signs = {name: 0 for name in names}
        while min(signs.values()) < 3:
            line = self.worker.read()
            self.assertEqual("progress", line.get("event"), line)
            signs[line["request_id"]] += 1

    def test_who_waits_tells_no_more_when_others_come_and_go(self):
        movers = {self.slow(number) for number in range(1, 5)}
        while movers:
            line = self.worker.read()
            movers -= {line["request_id"]} if line["data"]["bytes_done"] else set()
        name = self.worker.send("memory.defragment", device_id="fake:0", moves=[])
        for _ in range(50):
            self.worker.ok("cancel", request_id="r-77")  # all that wait look whether they are meant
        told = [event for event in self.worker.events if event.get("request_id") == name]
        self.assertLess(len(told), 10)

    def test_those_that_wait_can_be_cancelled(self):
        names = [self.slow(number) for number in range(1, 8)]
        for name in names:
            self.worker.send("cancel", request_id=name)
        ends = {}
        while len(ends) < len(names):
            line = self.worker.read()
            if line["request_id"] in names and "success" in line:
                ends[line["request_id"]] = line.get("error_code")
        self.assertEqual({name: "CANCELLED" for name in names}, ends)


class Lines(WorkerCase):
    devices = ()

    def test_what_it_can_do_is_what_it_says(self):
        for action in self.worker.hello["data"]["capabilities"]:
            with self.subTest(action):
                self.assertNotEqual("NOT_FOUND", self.worker.ask(action).get("error_code"))
        self.refused("NOT_FOUND", "memory.dance")

    def test_the_alias_answers_as_the_name_does(self):
        for name, alias in (("memory.pressure_check", "memory.get_pressure"),
                            ("memory.optimize", "memory.model_optimize"),
                            ("memory.model_status", "memory.get_model_status")):
            with self.subTest(name):
                self.assertEqual(*(self.worker.ok(action).keys() for action in (name, alias)))

    def test_of_models_and_caches_it_says_that_it_has_none(self):
        self.assertEqual({}, self.worker.ok("memory.get_model_info")["loaded_models"])
        data = self.worker.ok("memory.model_status")
        self.assertEqual(([], {"device": 0, "ram": 0, "disk": 0}), (data["models"], data["bytes"]))
        data = self.worker.ok("memory.optimize", min_memory_to_free=MIB, target_pressure_level="low")
        self.assertEqual((False, [], 0), tuple(data[key] for key in ("optimized", "unloaded_models", "freed_bytes")))
        data = self.worker.ok("memory.cleanup")
        self.assertEqual((0, [], []), tuple(data[key] for key in ("freed_bytes", "unloaded_models", "failed")))
        for kind in ("cache", "idle", "all"):
            self.assertEqual(0, self.worker.ok("memory.clear", clear_type=kind)["cleared_bytes"])
        self.refused("INVALID_ARGUMENT", "memory.clear", clear_type="everything")
        for action in ("memory.unload_model", "memory.park_model"):
            with self.subTest(action):
                self.refused("MODEL_NOT_FOUND", action, model_id="m-8")
                self.refused("MISSING_PARAMETER", action)
        self.refused("MODEL_NOT_FOUND", "memory.get_model_info", model_id="m-8")

    def test_it_knows_of_pressure_what_it_was_told(self):
        def pressure(**data):
            answer = self.worker.ok("memory.pressure_check", **data)
            return answer["pressure_level"], answer["pressure_percent"]

        self.assertEqual((None, None), pressure())
        limits = [{"device_id": "host:0", "max_bytes": 4 * MIB, "reserved_bytes": 0, "pressure_level": "low",
                   "pressure_percent": 12.5}, {"device_id": "host:1", "max_bytes": MIB}]
        self.worker.ok("memory.initialize", devices=[{"device_id": "host:0", "spec": "host:0=4MiB"}], limits=limits)
        status = self.worker.ok("memory.get_status")
        self.assertEqual((5 * MIB, "low", "low", None), tuple(status[key] for key in (
            "memory_limit_bytes", "pressure_level", "pressure_category", "available_bytes")))
        self.worker.write(json.dumps({"event": "memory.thresholds", "data": {
            "limits": [{"device_id": "host:1", "max_bytes": 2 * MIB}]}}).encode() + b"\n")
        self.assertEqual(6 * MIB, self.worker.ok("memory.get_status")["memory_limit_bytes"])
        self.assertEqual((None, None), pressure(device_id="host:1"))
        self.worker.write(json.dumps({"event": "memory.pressure", "data": {
            "device_id": "host:1", "level": "high", "percent": 91.25, "bytes_wanted": 5, "deadline_ms": 9}}).encode() + b"\n")
        self.assertEqual(("high", 91.25), pressure(device_id="host:1"))
        self.assertEqual(("high", 91.25), pressure())
        self.assertEqual(("low", 12.5), pressure(device_id="host:0"))
        thresholds = {"moderate": 10, "high": 12.5, "critical": 50}
        self.assertEqual(("high", 12.5), pressure(device_id="host:0", thresholds=thresholds))
        self.assertEqual(("critical", 91.25), pressure(thresholds=thresholds))

    def test_it_says_whether_it_was_initialized(self):
        self.assertFalse(self.worker.ok("memory.get_status")["initialized"])
        self.worker.ok("memory.initialize", devices=[{"device_id": "host:0", "spec": "host:0=1MiB"}])
        self.assertTrue(self.worker.ok("memory.get_status")["initialized"])

    def test_a_device_that_is_none_is_refused(self):
        self.refused("INVALID_ARGUMENT", "memory.initialize", devices=[{"device_id": "moon", "spec": "moon"}])

    def test_lines_without_a_usable_id_are_answered_with_null(self):
        for line in (b"{}", b'{"action":"ping"}', b'{"request_id":5,"action":"ping"}',
                     b'{"request_id":"","action":"ping"}', b'{"request_id":"%s","action":"ping"}' % (b"x" * 100)):
            with self.subTest(line):
                self.worker.write(line + b"\n")
                answer = self.worker.read()
                self.assertEqual((None, False, "MISSING_PARAMETER"),
                                 (answer["request_id"], answer["success"], answer["error_code"]))

    def test_a_line_that_is_no_object_is_told_by_its_number(self):
        for number, line in enumerate((b"", b"no", b"[]", b'{"action":}', b'{"a":1,"a":2}'), 1):
            with self.subTest(line):
                self.worker.write(line + b"\n")
                answer = self.worker.read()
                self.assertEqual((None, False, "INVALID_JSON"),
                                 (answer["request_id"], answer["success"], answer["error_code"]))
                self.assertTrue(answer["error"].startswith(f"line {number} is not a JSON object: "), answer["error"])

    def test_an_id_is_echoed_as_it_came(self):
        for name in ('a"b', "\u00e9\u4e16", "x" * 64, "back\\slash"):
            with self.subTest(name):
                self.worker.write(json.dumps({"request_id": name, "action": "ping"}).encode() + b"\n")
                answer = self.worker.read()
                self.assertEqual((name, True), (answer["request_id"], answer["success"]))

    def test_events_are_heard_in_silence(self):
        self.worker.write(b'{"event":"memory.thresholds","data":{"moderate":50,"high":60,"critical":70}}\n'
                          b'{"event":"memory.no_such_event"}\n')
        self.worker.ok("ping")
        self.assertEqual([], self.worker.events)

    def test_many_lines_at_once_are_all_answered(self):
        names = [f"q-{n}" for n in range(500)]
        self.worker.write(b"".join(b'{"request_id":"%s","action":"ping"}\n' % n.encode() for n in names))
        self.assertEqual(names, [self.worker.read()["request_id"] for _ in names])

    def test_a_line_in_pieces_is_one(self):
        for piece in (b'{"request_id"', b':"r-1","act', b'ion":"ping"}', b"\n"):
            self.worker.write(piece)
        self.assertEqual("r-1", self.worker.read()["request_id"])

    def test_a_line_beyond_the_cap_ends_it_with_an_error(self):
        with self.assertRaises(BrokenPipeError):
            while True:
                os.write(self.worker.process.stdin.fileno(), b"x" * MIB)
        self.assertEqual(1, self.worker.process.wait(20))


class End(WorkerCase):
    def test_the_end_of_stdin_in_the_middle_of_work_is_a_clean_end(self):
        self.segment(1, 100 * MIB)
        self.segment(2, 100 * MIB, device="fake:0")
        name = self.worker.send("memory.copy", source=place(1), target=place(2), size_bytes=100 * MIB)
        self.moves(name)
        self.worker.process.stdin.close()
        self.assertEqual(0, self.worker.process.wait(10))

    def test_sigterm_ends_it(self):
        self.worker.process.terminate()
        self.assertEqual(-signal.SIGTERM, self.worker.process.wait(10))

    def test_it_lives_without_the_other_end_of_its_descriptors(self):
        self.worker.packets.close()
        self.assertTrue(self.worker.ask("ping")["success"])


class ByHand(unittest.TestCase):
    def test_lines_from_a_pipe_are_answered(self):
        result = subprocess.run([program("memkeep-worker")], input='{"request_id":"r-1","action":"ping"}\nhello?\n',
                                capture_output=True, text=True, timeout=20, env=clean_environment())
        lines = [json.loads(line) for line in result.stdout.splitlines()]
        self.assertEqual((0, ["hello", None, None], [None, True, False]),
                         (result.returncode, [line.get("event") for line in lines],
                          [line.get("success") for line in lines]))
        self.assertIsNone(SANITIZERS.search(result.stderr), result.stderr)

    def test_help_and_version(self):
        for flag in ("--help", "--version"):
            result = run_program("memkeep-worker", flag)
            self.assertEqual((0, ""), (result.returncode, result.stderr))
            self.assertIn("memkeep-worker", result.stdout)

    def test_other_flags_are_refused(self):
        for flags in (("--no-such-flag",), ("extra",), ("--help", "--version")):
            with self.subTest(flags):
                self.assertEqual(2, run_program("memkeep-worker", *flags).returncode)


if __name__ == "__main__":
    unittest.main()
