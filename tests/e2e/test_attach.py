"""Memory handed over the socket: two processes share bytes without a copy, nobody gets more than he may, and what ends
an attachment ends it."""

import ctypes
import fcntl
import mmap
import os
import signal
import subprocess
import sys
import unittest
from pathlib import Path

import kernel
from doors import Unix
from harness import KIB, MEMORY, MIB, NOBODY, DaemonCase, SharedDaemonCase, clean_environment, name_of, wait_until

LIBC = ctypes.CDLL(None, use_errno=True)
PUNCH_HOLE, KEEP_SIZE = 2, 1

# Attaches what it is told to, answers with a line, and then does as it is told: "read", "write TEXT", "end".
OTHER = """
import sys
from test_attach import Client
client = Client(sys.argv[1])
memory = client.attach(sys.argv[2])
print("attached", flush=True)
for line in sys.stdin:
    word, _, text = line.strip().partition(" ")
    if word == "write":
        memory[:len(text)] = text.encode()
    print(bytes(memory[:16]).rstrip(bytes(1)).decode(), flush=True)
"""


class Client:
    """A connection and what it maps."""

    def __init__(self, path):
        self.unix = Unix(path)

    def close(self):
        self.unix.close()

    def call(self, action, data=None, **more):
        """The data of a success and the fds that came with it, which are the caller's."""
        answer = self.unix.call(action, data, **more)
        if not answer["success"]:
            raise Refused(answer)
        fds, self.unix.fds = self.unix.fds, []
        return answer["data"], fds

    def allocate(self, size, device="host:0", **fields):
        """(allocation, attachment, fd)"""
        data, fds = self.call("memory.allocate", {"size_bytes": size, "device_id": device} | fields)
        return data["allocation"], data["attachment"], fds[0]

    def attach_fd(self, name, **fields):
        """(attachment, fd)"""
        data, fds = self.call("memory.attach", {"allocation_id": name} | fields)
        return data, fds[0]

    def attach(self, name, **fields):
        place, fd = self.attach_fd(name, **fields)
        try:
            return view(place, fd)
        finally:
            os.close(fd)

    def detach(self, name):
        return self.call("memory.detach", {"allocation_id": name})[0]


class Refused(Exception):
    def __init__(self, answer):
        super().__init__(answer["error"])
        self.code, self.details, self.text = answer["error_code"], answer["details"], answer["error"]


def view(place, fd, access=mmap.ACCESS_WRITE):
    """The bytes of an allocation, given where in its segment it is."""
    start = place["offset_bytes"] // mmap.PAGESIZE * mmap.PAGESIZE
    skip = place["offset_bytes"] - start
    return memoryview(mmap.mmap(fd, skip + place["size_bytes"], access=access, offset=start))[skip:]


def ways_to_write(fd):
    """Which of all ways to change what is behind an fd work."""
    def mapped():
        mmap.mmap(fd, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE)

    def made_writable():
        LIBC.mmap.restype = ctypes.c_void_p
        LIBC.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
        LIBC.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
        place = LIBC.mmap(None, mmap.PAGESIZE, mmap.PROT_READ, mmap.MAP_SHARED, fd, 0)
        if LIBC.mprotect(place, mmap.PAGESIZE, mmap.PROT_READ | mmap.PROT_WRITE):
            raise OSError(ctypes.get_errno(), "mprotect")

    def punched():
        LIBC.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long]
        if LIBC.fallocate(fd, PUNCH_HOLE | KEEP_SIZE, 0, mmap.PAGESIZE):
            raise OSError(ctypes.get_errno(), "fallocate")

    def opened_anew():
        os.close(os.open(f"/proc/self/fd/{fd}", os.O_RDWR))

    ways = {"written": lambda: os.pwrite(fd, b"x", 0), "mapped": mapped, "made writable": made_writable,
            "punched": punched, "cut": lambda: os.ftruncate(fd, 0), "sealed": lambda: fcntl.fcntl(
                fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE), "opened anew": opened_anew}
    done = []
    for name, way in ways.items():
        try:
            way()
            done.append(name)
        except OSError:
            pass
    return done


class AttachWords:
    def client(self):
        client = Client(self.daemon.socket_path)
        self.addCleanup(client.close)
        return client

    def refused(self, code, call, *words, **fields):
        with self.assertRaises(Refused) as caught:
            call(*words, **fields)
        self.assertEqual(code, caught.exception.code, caught.exception.text)
        return caught.exception

    def made(self, size, device="host:0", **fields):
        """By nobody's process, attached by nobody."""
        allocation = self.allocate(size, device, **fields)
        self.addCleanup(self.try_free, allocation, True)
        return allocation

    def until_detached(self, name, count=0):
        wait_until(lambda: self.look(name)["attachments"] == count, f"{count} attachments of {name}")

    def other(self, name):
        """Another process that has it attached; tell(word) is its answer."""
        process = subprocess.Popen([sys.executable, "-c", OTHER, self.daemon.socket_path, name], text=True,
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                   env=clean_environment(PYTHONPATH=str(Path(__file__).parent)))
        for clean in (process.stdin.close, process.stdout.close, process.wait, process.kill):
            self.addCleanup(clean)
        self.assertEqual("attached\n", process.stdout.readline())

        def tell(words):
            process.stdin.write(words + "\n")
            process.stdin.flush()
            return process.stdout.readline().strip()
        process.tell = tell
        return process

    def as_nobody(self, work):
        self.daemon.open_to_everybody()
        return kernel.as_user(NOBODY, work)


class AttachCase(AttachWords, SharedDaemonCase):
    devices = ("host:0=512MiB", "host:1=512MiB", "fake:0=256MiB")


class Sharing(AttachCase):
    def test_what_is_allocated_is_attached_at_once(self):
        client = self.client()
        allocation, place, fd = client.allocate(3 * MIB)
        self.assertEqual({"device_id": "host:0", "segment_id": allocation["segment_id"],
                          "offset_bytes": allocation["offset_bytes"], "size_bytes": 3 * MIB, "handle_type": "memfd"},
                         place)
        self.assertEqual((1, 1), (allocation["attachments"], allocation["access_count"]))
        view(place, fd)[:5] = b"hello"
        os.close(fd)
        scratch = self.made(3 * MIB)
        self.copy(allocation["allocation_id"], scratch)
        self.assertEqual(b"hello", bytes(client.attach(name_of(scratch))[:5]))

    def test_two_processes_share_bytes(self):
        for size in (100, 5000, 20 * MIB):
            with self.subTest(size):
                client = self.client()
                allocation, place, fd = client.allocate(size)
                memory = view(place, fd)
                os.close(fd)
                other = self.other(allocation["allocation_id"])
                self.assertEqual(2, self.look(allocation["allocation_id"])["attachments"])
                memory[:16] = b"abcdef".ljust(16, b"\0")
                self.assertEqual("abcdef", other.tell("read"))
                self.assertEqual("ABCdef", other.tell("write ABC"))
                self.assertEqual(b"ABCdef", bytes(memory[:6]))
                client.call("memory.free", {"allocation_id": allocation["allocation_id"], "force": True})

    def test_small_ones_of_a_process_lie_in_one_segment(self):
        client = self.client()
        first, second = (client.allocate(4 * KIB) for _ in range(2))
        self.assertEqual(first[1]["segment_id"], second[1]["segment_id"])
        self.assertNotEqual(first[1]["offset_bytes"], second[1]["offset_bytes"])
        view(*first[1:])[:] = b"1" * 4 * KIB
        view(*second[1:])[:] = b"2" * 4 * KIB
        self.assertEqual({49}, set(view(*first[1:])))
        self.assertNotEqual(first[1]["segment_id"], self.made(4 * KIB)["segmentId"])
        for allocation, _, fd in (first, second):
            os.close(fd)
            client.call("memory.free", {"allocation_id": allocation["allocation_id"]})

    def test_memory_of_a_card(self):
        client = self.client()
        allocation, place, fd = client.allocate(1 * MIB, "fake:0")
        self.assertEqual(("fake:0", "memfd"), (place["device_id"], place["handle_type"]))
        os.close(fd)
        client.call("memory.free", {"allocation_id": allocation["allocation_id"]})

    def test_also_in_the_form_of_http(self):
        client, allocation = self.client(), self.made(4 * KIB)
        client.unix.send("memory.attach", {"allocationId": name_of(allocation)}, envelope=True)
        answer = client.unix.line()
        self.assertEqual((1, allocation["segmentId"]), (answer["fds"], answer["data"]["segmentId"]))
        self.assertEqual(1, len(client.unix.fds))

    def test_over_http_nothing_is_attached(self):
        data = self.ok(self.try_allocate(4 * KIB))
        self.assertNotIn("attachment", data)
        self.assertEqual(0, data["allocation"]["attachments"])
        self.free(data["allocation"])

    def test_nor_by_a_detached_request(self):
        client = self.client()
        data, fds = client.call("memory.allocate", {"size_bytes": 4096}, detached=True)
        self.assertEqual(([], 0), (fds, data["allocation"]["attachments"]))
        self.assertNotIn("attachment", data)
        self.free(data["allocation"]["allocation_id"])

    def test_a_brief_request_is_told_what_it_takes_to_use_the_memory(self):
        client = self.client()
        data, (fd,) = client.call("memory.allocate", {"size_bytes": 4096, "device_id": "host:0"}, brief=True)
        self.assertEqual({"allocation", "attachment"}, set(data))
        self.assertEqual({"allocation_id"}, set(data["allocation"]))
        self.assertEqual({0}, set(view(data["attachment"], fd)))
        os.close(fd)
        self.assertEqual(({}, []), client.call("memory.free", data["allocation"], brief=True))

    def test_a_repeated_key_brings_the_fd_again(self):
        client = self.client()
        ask = {"size_bytes": 4096, "device_id": "host:0"}
        first, fds = client.call("memory.allocate", ask, idempotency_key="attach-again")
        again, more = client.call("memory.allocate", ask, idempotency_key="attach-again")
        self.assertEqual(first["attachment"], again["attachment"])
        for fd in fds + more:
            os.close(fd)
        self.free(first["allocation"]["allocation_id"], force=True)


class Rights(AttachCase):
    def test_read_only_is_enforced_by_the_kernel(self):
        client, allocation = self.client(), self.made(1 * MIB)
        self.fill(allocation, 7)
        place, fd = client.attach_fd(name_of(allocation), read_only=True)
        self.assertEqual(["opened anew"], ways_to_write(fd), "only who is of the same user may open it anew")
        self.assertEqual({7}, set(view(place, fd, mmap.ACCESS_READ)))
        os.close(fd)

    def test_another_user_gets_what_is_shared(self):
        names = {share: name_of(self.made(64 * KIB, share=share)) for share in ("none", "read", "write")}
        for name in names.values():
            self.fill(name, 7)

        def work():
            results, client = {}, Client(self.daemon.socket_path)
            for share, name in names.items():
                for read_only in (True, False):
                    try:
                        place, fd = client.attach_fd(name, read_only=read_only)
                        bytes_seen = set(view(place, fd, mmap.ACCESS_READ))
                        results[f"{share} {read_only}"] = [list(bytes_seen), ways_to_write(fd)]
                    except Refused as refused:
                        results[f"{share} {read_only}"] = [refused.code, name in str(refused.details), refused.text]
            client.close()
            return results

        results = self.as_nobody(work)
        self.assertEqual(["FORBIDDEN", True], results["none True"][:2])
        self.assertEqual(["FORBIDDEN", True], results["none False"][:2])
        self.assertEqual([[7], []], results["read True"])
        self.assertEqual(["FORBIDDEN", True], results["read False"][:2])
        self.assertIn("read-only", results["read False"][2])
        self.assertEqual([[7], []], results["write True"])
        self.assertEqual([7], results["write False"][0])
        self.assertLessEqual({"written", "mapped", "punched"}, set(results["write False"][1]))
        self.assertNotIn("opened anew", results["write False"][1])
        for name in names.values():
            self.until_detached(name)

    def test_nobody_can_cut_what_others_have_mapped(self):
        client = self.client()
        allocation, _, fd = client.allocate(1 * MIB)
        for way in (lambda: os.ftruncate(fd, 0), lambda: os.ftruncate(fd, 8 * MIB),
                    lambda: fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)):
            self.assertRaises(PermissionError, way)
        os.close(fd)
        self.free(allocation["allocation_id"], force=True)

    def test_of_another_user_nothing_else_lies_in_the_segment(self):
        beside = [self.made(4 * KIB) for _ in range(3)]
        shared = self.made(4 * KIB, share="write")
        self.assertEqual("dedicated", shared["type"])
        self.assertNotIn(shared["segmentId"], [a["segmentId"] for a in beside])

    def test_what_is_not_there_or_not_said(self):
        client = self.client()
        self.refused("ALLOCATION_NOT_FOUND", client.attach_fd, "a-0123456789abcdef")
        self.refused("ALLOCATION_NOT_FOUND", client.attach_fd, "x")
        self.refused("ALLOCATION_NOT_FOUND", client.detach, "a-0123456789abcdef")
        for action in ("memory.attach", "memory.detach", "memory.resume"):
            self.refused("MISSING_PARAMETER", client.call, action, {})
        self.assertEqual([], client.unix.fds)


class Ends(AttachCase):
    def test_each_attach_needs_its_detach(self):
        client, name = self.client(), name_of(self.made(4 * KIB))
        self.refused("CONFLICT", client.detach, name)
        for _ in range(2):
            client.attach(name)
        self.assertEqual({"allocation_id": name, "attachments": 1}, client.detach(name))
        self.assertEqual(1, self.look(name)["attachments"])
        self.assertEqual(0, client.detach(name)["attachments"])
        self.assertIn(name, str(self.refused("CONFLICT", client.detach, name).details))

    def test_a_closed_connection_detaches(self):
        client, names = self.client(), [name_of(self.made(4 * KIB)) for _ in range(20)]
        for name in names:
            client.attach(name)
            self.assertEqual(1, self.look(name)["attachments"])
        client.close()
        for name in names:
            self.until_detached(name)

    def test_a_killed_process_detaches(self):
        name = name_of(self.made(4 * KIB))
        other = self.other(name)
        self.assertEqual(1, self.look(name)["attachments"])
        other.kill()
        self.until_detached(name)

    def test_answers_to_clients_that_left_attach_nothing(self):
        for size in (4 * KIB, 2 * MIB):  # in a slab: at once; a new segment: later, on another thread
            for _ in range(30):
                with self.daemon.unix() as unix:
                    unix.send("memory.allocate", {"size_bytes": size, "device_id": "host:0", "label": "left"})

        def left():
            found = self.ok(self.daemon.get(f"{MEMORY}/allocations?label=left&limit=1000"))["allocations"]
            return found if not any(a["attachments"] for a in found) else None
        client = self.client()
        client.call("ping")
        for allocation in wait_until(left, "nothing to be attached any more"):
            self.free(allocation)

    def test_what_is_attached_is_not_freed_but_by_its_holder(self):
        client, name = self.client(), name_of(self.made(4 * KIB))
        client.attach(name)
        other = self.other(name)
        self.assertEqual("ALLOCATION_BUSY", self.try_free(name).code)
        self.refused("ALLOCATION_BUSY", client.call, "memory.free", {"allocation_id": name})
        self.assertEqual(2, self.look(name)["attachments"])
        other.kill()
        self.until_detached(name, 1)
        self.assertEqual("ALLOCATION_BUSY", self.try_free(name).code)
        client.call("memory.free", {"allocation_id": name})
        self.assertTrue(self.is_gone(name))

    def test_force_punches_what_a_holder_keeps(self):
        client, allocation = self.client(), self.made(8 * MIB)
        self.fill(allocation, 9)
        place, fd = client.attach_fd(name_of(allocation))
        memory = view(place, fd)
        self.assertEqual(9, memory[0])
        self.assertGreaterEqual(os.fstat(fd).st_blocks * 512, 8 * MIB)
        before = self.device()["lingeringBytes"]
        self.free(allocation, force=True)
        self.assertEqual(0, os.fstat(fd).st_blocks)
        self.assertEqual(0, memory[0])
        self.assertEqual(before + 8 * MIB, self.device()["lingeringBytes"])
        self.refused("ALLOCATION_NOT_FOUND", client.attach_fd, name_of(allocation))
        client.detach(name_of(allocation))
        self.assertEqual(before, self.device()["lingeringBytes"])
        self.assertEqual(before, self.host()["devices"][0]["lingeringBytes"])
        os.close(fd)

    def test_what_is_attached_does_not_move(self):
        client, allocation = self.client(), self.made(1 * MIB)
        client.attach(name_of(allocation))
        self.assertEqual("ALLOCATION_BUSY",
                         self.try_transfer(allocation, "host:0", "host:1", mode="move", wait=True).code)
        client.detach(name_of(allocation))
        self.transfer(allocation, mode="move")
        self.assertEqual("host:1", client.attach_fd(name_of(allocation))[0]["device_id"])

    def test_a_defragmentation_leaves_it_where_it_is(self):
        client = self.client()
        blocks = [client.allocate(64 * KIB) for _ in range(64)]
        kept = blocks[::16]
        for allocation, place, fd in kept:
            view(place, fd)[:16] = allocation["allocation_id"][:16].encode()
        for allocation, _, fd in blocks:
            if allocation["allocation_id"] not in [a[0]["allocation_id"] for a in kept]:
                client.call("memory.free", {"allocation_id": allocation["allocation_id"]})
                os.close(fd)
        client.call("memory.defragment", {"device_id": "host:0", "strategy": "thorough"})
        for allocation, place, fd in kept:
            looked = self.look(allocation["allocation_id"])
            self.assertEqual((place["segment_id"], place["offset_bytes"]), (looked["segmentId"], looked["offsetBytes"]))
            self.assertEqual(allocation["allocation_id"][:16].encode(), bytes(view(place, fd)[:16]))
            client.call("memory.free", {"allocation_id": allocation["allocation_id"]})
            os.close(fd)

    def test_no_fd_is_left_in_the_daemon(self):
        name = name_of(self.made(2 * MIB))
        self.mover()
        client = self.client()
        client.call("ping")
        before = kernel.fd_count(self.daemon.pid)
        for i in range(200):
            _, fd = client.attach_fd(name, read_only=bool(i % 2))
            os.close(fd)
            client.detach(name)
        for _ in range(50):
            with self.daemon.unix() as unix:
                unix.send("memory.attach", {"allocation_id": name})
        for _ in range(20):
            with self.daemon.unix() as unix:
                unix.call("memory.attach", {"allocation_id": name})
        self.until_detached(name)
        wait_until(lambda: kernel.fd_count(self.daemon.pid) <= before, "all fds to be closed")


class OverARestart(AttachWords, DaemonCase):
    devices = ("host:0=512MiB",)

    def again(self, how=signal.SIGKILL):
        if how == signal.SIGKILL:
            self.daemon.kill()
        else:
            self.daemon.stop(how)
        self.daemon.start()

    def held(self):
        """(client, allocation, memory) of this process."""
        client = self.client()
        allocation, place, fd = client.allocate(2 * MIB)
        memory = view(place, fd)
        os.close(fd)
        memory[:4] = b"kept"
        return allocation, memory

    def resume(self, client, *claims, **more):
        return client.call("memory.resume", {"attachments": list(claims)} | more)[0]

    def test_what_is_attached_stays_until_the_client_says(self):
        for how in (signal.SIGKILL, signal.SIGTERM):
            with self.subTest(how.name):
                (kept, memory), (dropped, _) = self.held(), self.held()
                self.again(how)
                names = [a["allocation_id"] for a in (kept, dropped)]
                for name in names:
                    self.assertEqual(1, self.look(name)["attachments"])
                    self.assertEqual("ALLOCATION_BUSY", self.try_free(name).code)
                client = self.client()
                claims = [{"allocation_id": names[0], "writable": True}, {"allocation_id": "a-0123456789abcdef"}]
                self.assertEqual({"resumed": names[:1], "unknown": ["a-0123456789abcdef"]},
                                 self.resume(client, *claims))
                self.assertEqual([1, 0], [self.look(name)["attachments"] for name in names])
                self.assertEqual(b"kept", bytes(memory[:4]))
                memory[:4] = b"more"
                self.assertEqual(b"more", bytes(client.attach(names[0])[:4]))
                client.close()
                self.until_detached(names[0])
                for name in names:
                    self.free(name)

    def test_what_was_http_memory_survives_a_clean_stop_while_attached(self):
        client, attached, other = self.client(), self.allocate(1 * MIB), self.allocate(1 * MIB)
        client.attach(name_of(attached))
        self.again(signal.SIGTERM)
        self.assertTrue(self.is_gone(other))
        self.assertEqual(1, self.look(attached)["attachments"])

    def test_with_more_to_come_nothing_is_dropped_yet(self):
        allocation, _ = self.held()
        self.again()
        client = self.client()
        self.assertEqual({"resumed": [], "unknown": []}, self.resume(client, more=True))
        self.assertEqual(1, self.look(allocation["allocation_id"])["attachments"])
        self.resume(client)
        self.assertEqual(0, self.look(allocation["allocation_id"])["attachments"])

    def test_two_connections_of_a_process_find_their_own(self):
        (first, _), (second, _) = self.held(), self.held()
        self.again()
        for allocation in (first, second):
            client = self.client()
            claim = {"allocation_id": allocation["allocation_id"], "segment_id": allocation["segment_id"]}
            self.assertEqual([allocation["allocation_id"]], self.resume(client, claim)["resumed"])
            self.assertEqual(1, self.look(allocation["allocation_id"])["attachments"])

    def test_of_a_process_that_died_meanwhile_nothing_stays_attached(self):
        name = name_of(self.allocate(1 * MIB, persistent=True))
        other = self.other(name)
        self.daemon.kill()
        other.kill()
        other.wait()
        self.daemon.start()
        self.until_detached(name)
        self.again()
        self.assertEqual(0, self.look(name)["attachments"])

    def test_of_one_that_dies_before_it_says_either(self):
        name = name_of(self.allocate(1 * MIB, persistent=True))
        other = self.other(name)
        self.again()
        self.assertEqual(1, self.look(name)["attachments"])
        other.kill()
        self.until_detached(name)

    def test_what_left_the_house_is_punched_also_after_a_restart(self):
        client = self.client()
        allocation, place, fd = client.allocate(4 * MIB)
        view(place, fd)[:] = b"\1" * 4 * MIB
        self.again()
        self.free(allocation["allocation_id"], force=True)
        self.assertEqual(0, os.fstat(fd).st_blocks)
        os.close(fd)


if __name__ == "__main__":
    unittest.main()
