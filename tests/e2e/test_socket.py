"""The Unix socket: JSON lines, every operation under its action name, snake_case, fds where they belong."""

import json
import os
import socket
import subprocess
import sys
import tempfile
import unittest

import kernel
from doors import Unix
from harness import KIB, MEMORY, MIB, DaemonCase, SharedDaemonCase, name_of, wait_until

NOTHING = "a-0123456789abcdef"


class SocketCase(SharedDaemonCase):
    devices = ("host:0=2GiB", "host:1=2GiB", "fake:0=1GiB,rate=50MiB/s")

    def setUp(self):
        self.unix = self.daemon.unix()
        self.addCleanup(self.unix.close)

    def done(self, action, data=None, **more):
        """The data of a success. Fds come with it if it says so."""
        before = len(self.unix.fds)
        answer = self.unix.call(action, data, **more)
        fds = {"fds"} if len(self.unix.fds) > before else set()
        self.assertEqual({"request_id", "success", "data"} | fds, answer.keys(), answer)
        self.assertEqual(len(self.unix.fds) - before, answer.get("fds", 0))
        self.assertIs(True, answer["success"])
        return answer["data"]

    def fails(self, code, action, data=None, **more):
        """The whole refusal."""
        answer = self.unix.call(action, data, **more)
        self.assertLessEqual({"request_id", "success", "error_code", "error"}, answer.keys(), answer)
        self.assertLessEqual(answer.keys(), {"request_id", "success", "error_code", "error", "details"})
        self.assertEqual((False, code), (answer["success"], answer["error_code"]), answer)
        self.assertTrue(answer["error"])
        return answer

    def made(self, size=4096, **fields):
        """Not attached: what is, is e2e/test_attach.py's."""
        allocation = self.done("memory.allocate", {"size_bytes": size, "device_id": "host:0"} | fields,
                               detached=True)["allocation"]
        self.addCleanup(self.try_free, allocation["allocation_id"], True)
        return allocation


class Operations(SocketCase):
    def test_status_of_the_host_and_of_a_device(self):
        host = self.done("memory.get_status")
        self.assertEqual(3, host["device_count"])
        device = self.done("memory.get_status", {"device_id": "host:1"})
        self.assertEqual(("host:1", 2048 * MIB), (device["device_id"], device["total_bytes"]))

    def test_allocate_look_list_free(self):
        allocation = self.made(5000, purpose="kv_cache", label="über")
        self.assertEqual(("kv_cache", "über", 5000),
                         (allocation["purpose"], allocation["label"], allocation["size_bytes"]))
        name = {"allocation_id": allocation["allocation_id"]}
        self.assertEqual(5000, self.done("memory.get_allocation", name)["allocation"]["size_bytes"])
        listed = self.done("memory.list_allocations", {"limit": 1000, "device_id": "host:0"})["allocations"]
        self.assertIn(allocation["allocation_id"], [a["allocation_id"] for a in listed])
        self.assertEqual(5000, self.done("memory.free", name)["freed_bytes"])
        self.fails("ALLOCATION_NOT_FOUND", "memory.free", name)

    def test_fill_copy_transfer(self):
        first, second = self.made(1 * MIB), self.made(1 * MIB)
        filled = self.done("memory.fill", {"allocation_id": first["allocation_id"], "value": 7})
        copied = self.done("memory.copy", {"source_allocation_id": first["allocation_id"],
                                           "target_allocation_id": second["allocation_id"]})
        self.assertEqual(filled["checksum"], copied["checksum"])
        moved = self.done("memory.transfer", {
            "source_device_id": "host:0", "target_device_id": "host:1", "mode": "move", "wait": True,
            "allocation_id": second["allocation_id"]})
        self.assertEqual(("completed", filled["checksum"]), (moved["status"], moved["checksum"]))
        state = self.done("memory.get_transfer", {"transfer_id": moved["transfer_id"]})
        self.assertEqual("completed", state["status"])

    def test_clear_and_defragment(self):
        self.assertIn("cleared_bytes", self.done("memory.clear"))
        self.assertIn("allocations_moved", self.done("memory.defragment", {"device_id": "host:0"}))

    def test_pressure(self):
        self.assertEqual("low", self.done("memory.get_pressure", {"device_id": "host:0"})["level"])

    def test_every_operation_of_the_table_answers_here(self):
        paths = self.daemon.get("/openapi.json").body["paths"]
        actions = {operation["operationId"] for path in paths.values() for operation in path.values()
                   if isinstance(operation, dict) and operation.get("operationId", "").startswith("memory.")}
        self.assertGreaterEqual(len(actions), 16)
        for action in sorted(actions):
            with self.subTest(action):
                answer = self.unix.call(action, {"no_such_field": 1})
                self.assertIn(answer.get("error_code"), ("UNKNOWN_FIELD", "MISSING_PARAMETER"), answer)

    def test_ping(self):
        self.done("ping")

    def test_what_a_request_waits_for_is_cancelled_by_its_id(self):
        allocation = self.made(256 * MIB)
        transfer = self.unix.send("memory.transfer", {
            "source_device_id": "host:0", "target_device_id": "fake:0", "wait": True,
            "allocation_id": allocation["allocation_id"]})
        self.assertEqual({"cancelled": True}, self.done("cancel", {"request_id": transfer}))
        self.assertEqual("cancelled", self.unix.wait(transfer)["data"]["status"])


class Refusals(SocketCase):
    def test_fields_in_camel_case_are_unknown(self):
        self.fails("UNKNOWN_FIELD", "memory.allocate", {"sizeBytes": 4096})

    def test_errors_carry_their_details(self):
        answer = self.fails("DEVICE_NOT_FOUND", "memory.get_status", {"device_id": "cuda:7"})
        self.assertEqual("cuda:7", answer["details"]["device_id"])
        answer = self.fails("ALLOCATION_TOO_LARGE", "memory.allocate", {"size_bytes": 1 << 50})
        self.assertLessEqual({"requested_bytes", "available_bytes", "largest_free_bytes", "fragmentation_percent",
                              "reclaimable"}, answer["details"].keys())

    def test_the_same_refusals_as_over_http(self):
        for code, action, data in (
                ("MISSING_PARAMETER", "memory.allocate", {}),
                ("INVALID_ARGUMENT", "memory.allocate", {"size_bytes": 0}),
                ("INVALID_ARGUMENT", "memory.allocate", {"size_bytes": "4096"}),
                ("MISSING_PARAMETER", "memory.free", {}), ("INVALID_ARGUMENT", "memory.free", {"allocation_id": 5}),
                ("ALLOCATION_NOT_FOUND", "memory.free", {"allocation_id": NOTHING}),
                ("ALLOCATION_NOT_FOUND", "memory.free", {"allocation_id": "x"}),
                ("TRANSFER_NOT_FOUND", "memory.get_transfer", {"transfer_id": "t-0123456789abcdef"}),
                ("ALLOCATION_NOT_FOUND", "memory.fill", {"allocation_id": NOTHING, "value": 1})):
            with self.subTest(f"{action} {data}"):
                self.fails(code, action, data)

    def test_an_unknown_action(self):
        for action in ("memory.dance", "", "memory.", "x" * 5000):
            with self.subTest(action[:20]):
                self.assertIs(False, self.unix.call(action)["success"])

    def test_lines_that_are_no_object_have_a_null_id_and_the_connection_goes_on(self):
        for number, line in enumerate((b"nonsense", b"[1,2]", b'"x"', b"5", b"{", b"\xff", b"",
                                       b'{"request_id":"r","request_id":"s"}', b"[" * 10_000), 1):
            with self.subTest(line[:20]):
                self.unix.send_bytes(line + b"\n")
                answer = self.unix.line()
                self.assertEqual((None, False, "INVALID_JSON"),
                                 (answer["request_id"], answer["success"], answer["error_code"]))
                self.assertRegex(answer["error"], f"^line {number} is not a JSON object")
        self.done("memory.get_status")

    def test_members_of_the_line_are_read_strictly(self):
        for code, name, value in (("UNKNOWN_FIELD", "key", "k"), ("UNKNOWN_FIELD", "idempotencyKey", "k"),
                                  ("INVALID_ARGUMENT", "idempotency_key", 5),
                                  ("INVALID_ARGUMENT", "idempotency_key", "a b"),
                                  ("INVALID_ARGUMENT", "detached", "yes"), ("INVALID_ARGUMENT", "deadline_ms", "5")):
            with self.subTest(f"{name} {value}"):
                answer = self.fails(code, "memory.get_status", **{name: value})
                self.assertEqual(name, answer["details"]["field"])
                self.assertIn(name, answer["error"])

    def test_what_is_missing_in_the_line_itself(self):
        for line in ({"request_id": "r-x", "data": {}}, {"request_id": "r-x", "action": 5},
                     {"request_id": "r-x", "action": "memory.get_status", "data": []}):
            with self.subTest(line):
                self.unix.send_bytes(json.dumps(line).encode() + b"\n")
                answer = self.unix.line()
                self.assertIs(False, answer["success"])
                self.assertEqual("r-x", answer["request_id"])

    def test_a_line_over_four_mebibytes_is_the_last(self):
        self.done("ping")
        try:
            self.unix.send_bytes(b" " * (5 << 20) + b"\n")
        except OSError:
            pass
        answer = self.unix.line()
        self.assertEqual((None, False, "BODY_TOO_LARGE"),
                         (answer["request_id"], answer["success"], answer["error_code"]))
        self.assertIn("line 2 ", answer["error"])
        self.assertIsNone(self.unix.line())
        self.ok(self.daemon.get("/health"))


class Ids(SocketCase):
    def ask(self, request_id):
        line = {"request_id": request_id, "action": "memory.get_status", "data": {}}
        self.unix.send_bytes(json.dumps(line).encode() + b"\n")
        return self.unix.line()

    def test_any_string_up_to_256_bytes_is_echoed(self):
        for request_id in ("r-17", "", "ünï", "\x01\n\"", "x" * 256):
            with self.subTest(request_id[:20]):
                answer = self.ask(request_id)
                self.assertEqual((request_id, True), (answer["request_id"], answer["success"]))

    def test_longer_ids_and_other_types_are_refused(self):
        for request_id in ("x" * 257, "ü" * 129, "x" * ((4 << 20) - 100), 17, None, True, {}, ["r"]):
            with self.subTest(str(request_id)[:20]):
                answer = self.ask(request_id)
                self.assertEqual((None, False, "INVALID_ARGUMENT", "request_id"),
                                 (answer["request_id"], answer["success"], answer["error_code"],
                                  answer["details"]["field"]))
        self.done("ping")

    def test_data_may_be_left_out(self):
        self.unix.send_bytes(b'{"request_id":"r","action":"memory.get_status"}\n')
        self.assertTrue(self.unix.line()["success"])

    def test_many_lines_in_one_write(self):
        lines = [json.dumps({"request_id": str(i), "action": "memory.get_status", "data": {}}) + "\n" for i in range(200)]
        self.unix.send_bytes("".join(lines).encode())
        self.assertEqual({str(i) for i in range(200)}, {self.unix.line()["request_id"] for _ in range(200)})

    def test_a_line_in_many_writes(self):
        for byte in b'{"request_id":"slow","action":"memory.get_status","data":{}}\n':
            self.unix.send_bytes(bytes([byte]))
        self.assertEqual("slow", self.unix.line()["request_id"])

    def test_a_quick_request_overtakes_a_slow_one(self):
        allocation = self.made(200 * MIB)
        slow = self.unix.send("memory.transfer", {
            "source_device_id": "host:0", "target_device_id": "fake:0", "wait": True, "verify": False,
            "allocation_id": allocation["allocation_id"]})
        self.done("memory.get_status")
        self.assertNotIn(slow, self.unix.answers)
        answer = self.unix.wait(slow)
        self.assertEqual("completed", answer["data"]["status"])
        self.try_free(answer["data"]["target_allocation_id"])

    def test_a_slow_one_is_answered_to_a_client_that_sends_no_more(self):
        allocation = self.made(64 * MIB)
        slow = self.unix.send("memory.transfer", {
            "source_device_id": "host:0", "target_device_id": "fake:0", "wait": True, "verify": False,
            "allocation_id": allocation["allocation_id"]})
        self.unix.socket.shutdown(socket.SHUT_WR)
        answer = self.unix.wait(slow)
        self.assertEqual("completed", answer["data"]["status"])
        self.assertIsNone(self.unix.line())
        self.try_free(answer["data"]["target_allocation_id"])

    def test_a_slow_one_can_be_cancelled_from_the_same_connection(self):
        allocation = self.made(500 * MIB)
        started = self.done("memory.transfer", {
            "source_device_id": "host:0", "target_device_id": "fake:0", "wait": False, "verify": False,
            "allocation_id": allocation["allocation_id"]})
        self.done("memory.cancel_transfer", {"transfer_id": started["transfer_id"]})
        wait_until(lambda: self.done("memory.get_transfer", {"transfer_id": started["transfer_id"]})["status"]
                   == "cancelled", "the transfer to be cancelled")

    def test_a_key_answers_with_the_first_result(self):
        ask = {"size_bytes": 4096, "device_id": "host:0"}
        first = self.done("memory.allocate", ask, idempotency_key="socket-key")["allocation"]["allocation_id"]
        self.addCleanup(self.try_free, first)
        again = self.done("memory.allocate", ask, idempotency_key="socket-key")["allocation"]["allocation_id"]
        self.assertEqual(first, again)
        self.fails("CONFLICT", "memory.allocate", ask | {"size_bytes": 1}, idempotency_key="socket-key")


class Fds(SocketCase):
    def test_answers_that_hand_nothing_out_bring_no_fds(self):
        self.made(4096)
        self.done("memory.get_status")
        self.assertEqual([], self.unix.fds)

    def test_fds_in_a_line_that_takes_none_are_closed(self):
        self.mover()
        self.done("ping")  # the daemon has accepted this connection: it counts
        before = kernel.fd_count(self.daemon.pid)
        with tempfile.TemporaryFile() as file:
            for _ in range(100):
                self.unix.wait(self.send_with_fds(file.fileno(), 5))
        wait_until(lambda: kernel.fd_count(self.daemon.pid) <= before, "the fds to be closed")

    def send_with_fds(self, fd, count):
        self.unix.count += 1
        line = {"request_id": f"f-{self.unix.count}", "action": "memory.get_status", "data": {}, "fds": count}
        self.unix.send_bytes(json.dumps(line).encode() + b"\n", [fd] * count)
        return line["request_id"]

    def test_another_number_of_fds_than_announced_ends_the_connection(self):
        with tempfile.TemporaryFile() as file:
            for announced, sent in ((1, 0), (3, 2)):
                with self.subTest(announced=announced, sent=sent), self.daemon.unix() as unix:
                    line = {"request_id": "r", "action": "memory.get_status", "data": {}, "fds": announced}
                    unix.send_bytes(json.dumps(line).encode() + b"\n", [file.fileno()] * sent)
                    while (answer := unix.line()) is not None:
                        self.assertIs(False, answer["success"])

    def test_a_flood_of_fds_is_not_kept(self):
        self.mover()
        self.done("ping")  # the daemon has accepted this connection: it counts
        before = kernel.fd_count(self.daemon.pid)
        with tempfile.TemporaryFile() as file, self.daemon.unix() as unix:
            try:
                for _ in range(50):
                    unix.send_bytes(b" ", [file.fileno()] * 100)
            except OSError:
                pass
        wait_until(lambda: kernel.fd_count(self.daemon.pid) <= before, "the fds to be closed")


class Connections(DaemonCase):
    def test_memory_of_a_client_goes_with_its_process(self):
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            unix = Unix(self.daemon.socket_path)
            made = unix.call("memory.allocate", {"size_bytes": 2 * MIB, "device_id": "host:0"})
            os.write(writer, made["data"]["allocation"]["allocation_id"].encode())
            os.close(writer)
            unix.line()  # until it is killed
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader) as file:
            name = file.read()
        owner = self.look(name)["owner"]
        self.assertEqual(("process", pid), (owner["kind"], owner["pid"]))
        os.kill(pid, 9)
        os.waitpid(pid, 0)
        wait_until(lambda: self.is_gone(name), "the dead client's memory to be freed")
        wait_until(lambda: self.device()["committedBytes"] == 0, "its bytes to come back")

    def test_memory_of_a_live_process_outlasts_its_connection(self):
        with self.daemon.unix() as unix:
            name = unix.call("memory.allocate", {"size_bytes": 2 * MIB})["data"]["allocation"]["allocation_id"]
        with self.daemon.unix() as unix:
            unix.call("memory.get_status")
        self.assertFalse(self.is_gone(name))

    def test_slabs_are_not_shared_by_processes(self):
        with self.daemon.unix() as unix:
            ours = unix.call("memory.allocate", {"size_bytes": 4 * KIB, "device_id": "host:0"})["data"]["allocation"]
        self.assertNotEqual(ours["segment_id"], self.allocate(4 * KIB)["segmentId"])

    def test_clients_that_leave_in_the_middle_of_a_line(self):
        for data in (b"", b"{", b'{"request_id":"r","action":"memory.get_status","data":{}}'):
            with self.daemon.unix() as unix:
                unix.send_bytes(data) if data else None
        self.ok(self.daemon.get("/health"))

    def test_detached_processes_of_a_user_are_one_owner(self):
        program = ("import sys; from doors import Unix; unix = Unix(sys.argv[1]); "
                   "made = unix.call('memory.allocate', {'size_bytes': 4096, 'device_id': 'host:0'}, detached=True); "
                   "print(made['data']['allocation']['allocation_id'])")
        names = [subprocess.run([sys.executable, "-c", program, self.daemon.socket_path], check=True, text=True,
                                stdout=subprocess.PIPE, cwd=os.path.dirname(__file__)).stdout.strip()
                 for _ in range(2)]
        first, second = (self.look(name) for name in names)
        self.assertEqual("api", first["owner"]["kind"])
        self.assertEqual(first["owner"], second["owner"])
        self.assertEqual(first["segmentId"], second["segmentId"])

    def test_a_client_that_never_reads_holds_up_nobody(self):
        line = json.dumps({"request_id": "r", "action": "memory.get_status", "data": {}}).encode() + b"\n"
        with self.daemon.unix() as unix:
            unix.socket.settimeout(1)
            try:
                for _ in range(200):
                    unix.socket.sendall(line * 100)
            except OSError:
                pass
            with self.daemon.unix() as other:
                self.assertTrue(other.call("memory.get_status")["success"])
            self.ok(self.daemon.get(f"{MEMORY}/status"))

    def test_five_hundred_clients(self):
        clients = [self.daemon.unix() for _ in range(500)]
        try:
            for unix in clients:
                unix.send("memory.get_status")
            for unix in clients:
                self.assertTrue(unix.wait("r-1")["success"])
        finally:
            for unix in clients:
                unix.close()

    def test_their_fds_are_given_back(self):
        self.mover()
        before = kernel.fd_count(self.daemon.pid)
        for _ in range(100):
            with self.daemon.unix() as unix:
                unix.call("memory.get_status")
        wait_until(lambda: kernel.fd_count(self.daemon.pid) <= before, "the fds to come back")

    def test_it_does_not_speak_http(self):
        with self.daemon.unix() as unix:
            unix.send_bytes(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            unix.socket.shutdown(socket.SHUT_WR)
            while (line := unix.line()) is not None:
                self.assertEqual("INVALID_JSON", line["error_code"])

    def test_both_doors_see_the_same(self):
        with self.daemon.unix() as unix:
            made = unix.call("memory.allocate", {"size_bytes": 4096, "device_id": "host:0"})["data"]["allocation"]
            looked = self.look(made["allocation_id"])
            self.assertEqual((made["segment_id"], made["offset_bytes"]), (looked["segmentId"], looked["offsetBytes"]))
            ours = self.allocate(4096)
            there = unix.call("memory.get_allocation", {"allocation_id": name_of(ours)})["data"]["allocation"]
            self.assertEqual(ours["createdAt"], there["created_at"])


if __name__ == "__main__":
    unittest.main()
