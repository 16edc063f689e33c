"""Workers that die, hang and talk nonsense. What is asserted is always the same: no byte lost that was promised, no
byte leaked, a clear error, and the next one works."""

import json
import os
import signal
import socket
import subprocess
import sys
import unittest

import kernel
import xxh3
from harness import KIB, MEMORY, MIB, Daemon, DaemonCase, clean_environment, name_of, program, wait_until

SLOW = ("host:0=2GiB", "host:1=1GiB", "fake:0=1GiB,rate=100MiB/s")
SIZE = 400 * MIB


class KilledWorker(DaemonCase):
    devices = SLOW

    def stamped(self, size=SIZE):
        """An allocation with a known first and last MiB, and the checksum of its first 2 MiB."""
        allocation = self.allocate(size)
        self.fill(allocation, 0x42, sizeBytes=MIB)
        self.fill(allocation, 0x43, offsetBytes=MIB, sizeBytes=MIB)
        return allocation

    def assert_stamped(self, allocation):
        scratch = self.allocate(2 * MIB, "host:1")
        data = self.copy(allocation, scratch, sizeBytes=2 * MIB)
        self.assertEqual(xxh3.text(b"\x42" * MIB + b"\x43" * MIB), data["checksum"])
        self.free(scratch)

    def kill_mover(self):
        """Kills the worker that moves bytes, or the one that took its place when it was killed before."""
        self.killed = getattr(self, "killed", set())
        pid = wait_until(lambda: {self.mover()["pid"]} - self.killed, "a worker to kill").pop()
        self.killed.add(pid)
        os.kill(pid, signal.SIGKILL)

    def kill_in_the_middle(self, **fields):
        allocation = self.stamped()
        transfer = self.start_transfer(allocation, target="fake:0", verify=False, **fields)
        self.transfer_moves(transfer)
        self.kill_mover()
        return allocation, transfer

    def test_the_transfer_fails_and_says_why(self):
        _, transfer = self.kill_in_the_middle()
        state = self.transfer_ends(transfer)
        self.assertEqual(("failed", "WORKER_UNAVAILABLE"), (state["status"], state["errorCode"]))
        self.assertTrue(state["errorMessage"])
        self.assertIsNotNone(state["completedAt"])

    def test_the_source_is_intact(self):
        for mode in ("copy", "move"):
            with self.subTest(mode):
                allocation, transfer = self.kill_in_the_middle(mode=mode)
                self.transfer_ends(transfer)
                kept = self.look(allocation)
                self.assertEqual(("host:0", "active"), (kept["deviceId"], kept["status"]))
                self.assert_stamped(allocation)
                self.free(allocation)

    def test_when_it_reads_failed_the_target_is_given_back(self):
        allocation, transfer = self.kill_in_the_middle()
        self.transfer_ends(transfer)
        card = self.device("fake:0")
        self.assertEqual((0, 0, 0), (card["allocatedBytes"], card["committedBytes"], card["activeAllocations"]))
        self.assertEqual(1, len(self.allocations()))
        self.free(allocation)
        wait_until(lambda: self.daemon.resident() < 8 * MIB, "the kernel to have all pages back")

    def test_the_next_one_works(self):
        allocation, transfer = self.kill_in_the_middle()
        self.transfer_ends(transfer)
        data = self.transfer(allocation, target="host:1")
        self.assertEqual(("completed", True), (data["status"], data["verified"]))
        self.assert_stamped(allocation)

    def test_a_client_that_waits_is_told(self):
        allocation = self.stamped()
        with self.daemon.unix() as unix:
            request = unix.send("memory.transfer", {
                "source_device_id": "host:0", "target_device_id": "fake:0", "allocation_id": name_of(allocation),
                "verify": False, "wait": True})
            wait_until(lambda: any(one["transferredBytes"] for one in self.ok(
                self.daemon.get(f"{MEMORY}/transfers"))["transfers"]), "bytes to move")
            self.kill_mover()
            answer = unix.wait(request)
        self.assertEqual("WORKER_UNAVAILABLE", answer.get("error_code") or answer["data"]["error_code"])

    def test_it_is_started_again_and_counted(self):
        before = self.mover()
        os.kill(before["pid"], signal.SIGKILL)
        after = wait_until(lambda: (w := self.mover())["pid"] != before["pid"] and w, "another worker")
        self.assertEqual(before["restarts"] + 1, after["restarts"])
        self.assertEqual(before["workerId"], after["workerId"])
        self.assertFalse(kernel.is_alive(before["pid"]))

    def test_a_request_meets_the_restart_and_waits_for_it(self):
        allocation = self.allocate(1 * MIB)
        for _ in range(3):
            self.kill_mover()
            self.assertEqual(xxh3.text(b"\5" * MIB), self.fill(allocation, 5)["checksum"])

    def test_nothing_of_a_killed_copy_is_left_busy(self):
        target, source = self.allocate(SIZE, "fake:0"), self.allocate(SIZE)
        answer = self.daemon.post(f"{MEMORY}/operations/copy", {
            "sourceAllocationId": name_of(source), "targetAllocationId": name_of(target), "wait": False})
        job = self.ok(answer, 202)["jobId"]
        wait_until(lambda: self.ok(self.daemon.get(f"{MEMORY}/jobs/{job}"))["progressPercent"] > 0, "progress")
        self.kill_mover()
        state = wait_until(lambda: (j := self.ok(self.daemon.get(f"{MEMORY}/jobs/{job}")))["completedAt"] and j,
                           "the job to end")
        self.assertEqual(("failed", "WORKER_UNAVAILABLE"), (state["status"], state["errorCode"]))
        for allocation in (source, target):
            self.assertEqual("active", self.look(allocation)["status"])
            self.free(allocation)

    def test_blocks_survive_a_killed_defragmentation(self):
        self.restart_with(devices=("host:0=1GiB", "fake:0=1GiB,latency=20ms"))
        blocks = {}
        for number in range(128):
            blocks[number] = self.allocate(64 * KIB, "fake:0")
        for number, block in blocks.items():
            self.fill(block, number)
        for number in range(1, 128, 2):
            self.free(blocks.pop(number))
        answer = self.daemon.post(f"{MEMORY}/operations/defragment", {"strategy": "thorough", "wait": False})
        job = self.ok(answer, 202)["jobId"]
        wait_until(lambda: self.ok(self.daemon.get(f"{MEMORY}/jobs/{job}"))["status"] != "pending", "it to begin")
        self.kill_mover()
        wait_until(lambda: self.ok(self.daemon.get(f"{MEMORY}/jobs/{job}"))["completedAt"], "the job to end")
        self.assertEqual({name_of(b) for b in blocks.values()}, {name_of(a) for a in self.allocations()})
        for number, block in blocks.items():
            self.assertEqual(xxh3.text(bytes([number]) * 64 * KIB), self.checksum(block), f"block {number}")
        data = self.ok(self.daemon.post(f"{MEMORY}/operations/defragment", {"strategy": "thorough"}))
        device = self.device("fake:0")
        self.assertLess(device["committedBytes"] - device["allocatedBytes"], 2 * MIB, data)

    def test_health_is_ok_again_afterwards(self):
        for _ in range(3):
            self.kill_mover()
        self.mover()
        wait_until(lambda: self.ok(self.daemon.get("/health"))["status"] == "ok", "health to be ok")

    def test_a_worker_can_be_restarted_by_request(self):
        before = self.mover()
        answer = self.daemon.post(f"{MEMORY}/workers/{before['workerId']}/restart")
        self.assertIn(answer.status, (200, 202), answer.body)
        wait_until(lambda: self.mover()["pid"] != before["pid"], "another worker")
        self.assertEqual(1 * MIB, self.fill(self.allocate(1 * MIB), 1)["bytes"])

    def test_an_unknown_worker_cannot(self):
        answer = self.daemon.post(f"{MEMORY}/workers/nobody/restart")
        self.refused(answer, 404, "WORKER_NOT_FOUND")

    def test_no_fd_is_lost_over_restarts(self):
        self.mover()
        before = kernel.fd_count(self.daemon.pid)
        for _ in range(4):
            self.kill_mover()
            self.fill(self.allocate(4096), 1)
        self.mover()
        wait_until(lambda: kernel.fd_count(self.daemon.pid) <= before + 1, "the fds to be as before")


class SilentWorker(DaemonCase):
    devices = SLOW

    def test_one_that_hangs_is_killed_after_its_deadline(self):
        allocation = self.allocate(SIZE)
        transfer = self.start_transfer(allocation, target="fake:0", verify=False)
        self.transfer_moves(transfer)
        pid = self.mover()["pid"]
        os.kill(pid, signal.SIGSTOP)
        try:
            state = self.transfer_ends(transfer, 180)
            self.assertEqual("failed", state["status"])
            self.assertEqual("WORKER_TIMEOUT", state["errorCode"])
            wait_until(lambda: not kernel.is_alive(pid), "the silent worker to be killed")
        finally:
            if kernel.is_alive(pid):
                os.kill(pid, signal.SIGKILL)
        self.assertEqual(0, self.device("fake:0")["committedBytes"])
        self.assertEqual("completed", self.transfer(self.allocate(1 * MIB))["status"])


class FailingBytes(DaemonCase):
    """wrap: the card's every third write fails."""

    devices = ("host:0=1GiB", "fake:0=1GiB,fail=write:3")

    def test_a_transfer_that_fails_leaves_nothing_behind(self):
        source = self.allocate(1 * MIB)
        self.fill(source, 0x42)
        states = [self.try_transfer(source, "host:0", "fake:0", wait=True) for _ in range(6)]
        failed = [a for a in states if a.status != 200 or a.data["status"] != "completed"]
        self.assertTrue(0 < len(failed) <= 6, [a.status for a in states])
        done = 6 - len(failed)
        self.assertEqual((done, done * MIB), (self.device("fake:0")["activeAllocations"],
                                              self.device("fake:0")["allocatedBytes"]))
        self.assertEqual(xxh3.text(b"\x42" * MIB), self.checksum(source))

    def test_the_worker_lives_on(self):
        pid = self.mover()["pid"]
        source = self.allocate(1 * MIB)
        for _ in range(6):
            self.try_transfer(source, "host:0", "fake:0", wait=True)
        self.assertEqual(pid, self.mover()["pid"])


BAD_WORKER = """#!{python} -IS
import json, os, sys, time
how = sys.argv[1]
def say(text):
    sys.stdout.write(text + "\\n")
    sys.stdout.flush()
if how == "exits":
    sys.exit(3)
if how != "speechless":
    say(json.dumps({{"event": "hello", "data": {{"protocol": 1, "worker": how, "version": "0", "capabilities":
        ["memory.get_status", "memory.clear"], "models": []}}}}))
if how == "babbles":
    for _ in range(5):
        say("this is no JSON")
        say("[1, 2")
if how == "foreign":
    say('{{"request_id":"r-from-nowhere","success":true,"data":{{}}}}')
    say('{{"event":"memory.no_such_event","data":{{}}}}')
if how == "endless":
    sys.stdout.write("x" * (5 << 20))
    sys.stdout.flush()
if how == "chatters":
    sys.stderr.write("noise\\n" * 200000)
for line in sys.stdin:
    request = json.loads(line)
    if "request_id" in request:
        say(json.dumps({{"request_id": request["request_id"], "success": True,
            "data": {{"cleared_bytes": 0, "loaded_models": 0, "memory_usage_bytes": 0, "memory_limit_bytes": 0,
                      "reclaimable_bytes": 0, "pressure_level": "low", "generation": 1}}}}))
"""


class StrangeWorkers(DaemonCase):
    """Workers of other people: --worker NAME=COMMAND."""

    def strange(self, how):
        folder = self.daemon.folder
        script = folder / "bad-worker"
        script.write_text(BAD_WORKER.format(python=sys.executable))
        script.chmod(0o755)
        self.daemon.stop()
        self.daemon = Daemon("--worker", f"{how}={script} {how}", folder=folder)
        self.daemon.owns_folder = True

    def other(self, name):
        nobody = {"state": None, "restarts": 0}
        return next((w for w in self.workers() if w["workerId"] == name), nobody)

    def assert_serves(self):
        self.assertEqual("completed", self.transfer(self.allocate(1 * MIB))["status"])

    def test_a_good_one_is_ready(self):
        self.strange("good")
        wait_until(lambda: self.other("good")["state"] == "ready", "the worker")
        self.assertEqual({"memory.get_status", "memory.clear"}, set(self.other("good")["capabilities"]))
        self.assert_serves()

    def test_one_that_exits_at_once_is_restarted_with_back_off(self):
        self.strange("exits")
        wait_until(lambda: self.other("exits")["restarts"] >= 2, "restarts")
        self.assert_serves()
        self.assertEqual("degraded", self.ok(self.daemon.get("/health"))["status"])

    def test_one_that_never_says_hello_is_not_ready(self):
        self.strange("speechless")
        self.assert_serves()
        self.assertNotEqual("ready", self.other("speechless")["state"])

    def test_lines_that_are_no_json_are_counted_and_restart_it(self):
        self.strange("babbles")
        wait_until(lambda: self.other("babbles")["restarts"] >= 1, "a restart")
        self.assert_serves()

    def test_answers_to_nobody_and_unknown_events_are_dropped(self):
        self.strange("foreign")
        wait_until(lambda: self.other("foreign")["state"] == "ready", "the worker")
        self.assert_serves()

    def test_a_line_without_end_is_cut(self):
        self.strange("endless")
        wait_until(lambda: self.other("endless")["restarts"] >= 1, "a restart")
        self.assert_serves()

    def test_its_stderr_is_always_drained(self):
        self.strange("chatters")
        wait_until(lambda: self.other("chatters")["state"] == "ready", "the worker")
        self.assert_serves()

    def test_clear_asks_every_worker(self):
        self.strange("good")
        wait_until(lambda: self.other("good")["state"] == "ready", "the worker")
        data = self.ok(self.daemon.post(f"{MEMORY}/operations/clear", {}))
        self.assertIn("good", {w["workerId"] for w in data["workers"]})


class TheWorkersWire(DaemonCase):
    """The worker as the daemon starts it, with our hands on its stdin and stdout."""

    def setUp(self):
        super().setUp()
        pid = self.mover()["pid"]
        words, variables = kernel.arguments(pid), kernel.environment(pid)
        self.ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.addCleanup(self.ours.close)

        fd = theirs.fileno()
        place = 'exec "$@"' if fd == 3 else f'exec "$@" 3<&{fd} {fd}<&-'
        environment = clean_environment(**{k: v for k, v in variables.items() if k.startswith("MEMKEEP_")})
        self.worker = subprocess.Popen(["bash", "-c", place, "bash", program("memkeep-worker"), *words[1:]],
                                       stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                       pass_fds=(fd,), env=environment)
        theirs.close()
        self.addCleanup(self.worker.stdout.close)
        self.addCleanup(self.worker.wait)
        self.addCleanup(self.worker.kill)
        self.hello = json.loads(self.worker.stdout.readline())

    def say(self, data):
        self.worker.stdin.write(data)
        self.worker.stdin.flush()

    def ask(self, action, request_id="r-1", **data):
        self.say(json.dumps({"request_id": request_id, "action": action, "data": data}).encode() + b"\n")
        while (line := json.loads(self.worker.stdout.readline())).get("request_id") != request_id:
            pass
        return line

    def test_its_first_line_is_hello(self):
        self.assertEqual(("hello", 1), (self.hello["event"], self.hello["data"]["protocol"]))
        self.assertLessEqual({"memory.get_status", "memory.pressure_check", "memory.clear", "memory.defragment",
                              "memory.transfer"}, set(self.hello["data"]["capabilities"]))

    def test_it_answers_a_ping(self):
        answer = self.ask("ping")
        self.assertEqual(("r-1", True), (answer["request_id"], answer["success"]))

    def test_the_status_of_an_empty_worker(self):
        answer = self.ask("memory.get_status")
        self.assertTrue(answer["success"], answer)
        self.assertEqual(0, answer["data"]["memory_usage_bytes"])

    def test_what_it_does_not_know_is_refused(self):
        answer = self.ask("memory.dance")
        self.assertIs(False, answer["success"])
        self.assertTrue(answer["error_code"])

    def test_lines_that_are_no_object_are_refused_and_it_goes_on(self):
        for line in (b"nonsense", b"[1]", b'"text"', b"{", b"\xff\xfe", b'{"a":1,"a":2}'):
            with self.subTest(line):
                self.say(line + b"\n")
                answer = json.loads(self.worker.stdout.readline())
                self.assertEqual((None, False, "INVALID_JSON"),
                                 (answer["request_id"], answer["success"], answer["error_code"]))
        self.assertTrue(self.ask("ping")["success"])

    def test_clearing_what_it_does_not_hold_is_no_error(self):
        answer = self.ask("memory.clear", device_id="host:0", clear_type="cache")
        self.assertTrue(answer["success"], answer)

    def test_the_end_of_stdin_is_a_clean_end(self):
        self.worker.stdin.close()
        self.assertEqual(0, self.worker.wait(10))

    def test_a_torn_last_line_is_dropped(self):
        self.say(b'{"request_id":"r-9","action":"pi')
        self.worker.stdin.close()
        self.assertEqual(0, self.worker.wait(10))
        self.assertEqual(b"", self.worker.stdout.read())


class KilledDaemon(DaemonCase):
    def test_its_workers_end_with_it(self):
        vault = self.daemon.facts["vaultPid"]
        workers = wait_until(lambda: set(kernel.ids_of_children(self.daemon.pid)) - {vault}, "a worker")
        self.daemon.kill()
        wait_until(lambda: not any(map(kernel.is_alive, workers)), "the workers to end")
        self.assertTrue(kernel.is_alive(vault))

    def test_another_one_starts_in_its_place(self):
        self.allocate(4 * MIB)
        self.daemon.kill()
        self.daemon.start()
        self.fill(self.allocate(1 * MIB), 1)


if __name__ == "__main__":
    unittest.main()
