"""A daemon that starts again, and our hands on the vault while none runs: what it holds is looked at, dropped, put
and damaged.
"""

import contextlib
import os
import struct
import time

import kernel
from harness import KIB, MEMORY, Daemon, DaemonCase, wait_until
from test_vault import DROP, HELLO, LIST, PUT, Peer, message

RECORD = 128  # bytes; the first is the ledger's header
LAST_ACCESS = 112  # in a record
LIVE = 1
SEGMENT, ALLOCATION, OWNER, LIMIT, TEXT = 1, 2, 3, 7, 8  # kinds of records
DEVICES = ("host:0=2GiB", "host:1=1GiB", "fake:0=1GiB")
DEVICE_NAMES = [device.split("=")[0] for device in DEVICES]


def number_of(segment_id):
    """s-0123456789abcdef as the vault's number."""
    return int(segment_id[2:], 16)


def vault_pid(runtime):
    """The vault of this runtime folder, found in /proc as anybody could; None: there is none."""
    for entry in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            words = kernel.arguments(int(entry))
            if words and words[0].endswith("memkeep-vault") and str(runtime) in words and kernel.is_alive(int(entry)):
                return int(entry)
    return None


def held_by_anybody(inodes):
    """Those of these memfds' inodes that some process still has open or mapped."""
    pids = [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]
    return set(inodes) & kernel.memfds(*pids).keys()


class VaultHands:
    def __init__(self, runtime):
        self.pid = vault_pid(runtime)
        self.peer = Peer(runtime / "vault.sock")
        self.facts = self.peer.ask(HELLO)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.peer.close()

    def drop(self, segment_id):
        self.peer.ask(DROP, [(number_of(segment_id), 0)])

    def put(self, number, fd, size):
        self.peer.send(message(PUT, [(number, size)]), [fd])

    def segments(self):
        """{number: (inode, size, resident bytes)}, the ledger's with number 0."""
        found, cursor = {}, None
        while cursor != 0:
            batch = self.peer.ask(LIST, cursor=cursor or 0)
            for (number, _), fd in zip(batch.entries, batch.files):
                info = os.fstat(fd)
                found[number] = (info.st_ino, info.st_size, info.st_blocks * 512)
                os.close(fd)
            cursor = batch.cursor
        return found


def ledger_path(pid):
    """The ledger's memfd in /proc/PID/fd."""
    folder = f"/proc/{pid}/fd"
    for name in os.listdir(folder):
        if os.readlink(f"{folder}/{name}").startswith("/memfd:memkeep-ledger"):
            return f"{folder}/{name}"
    raise AssertionError("the vault holds no ledger")


class Ledger:
    """The bytes of a ledger that a vault holds."""

    def __init__(self, pid):
        self.path = ledger_path(pid)

    def read(self):
        with open(self.path, "rb") as file:
            return file.read()

    def write(self, offset, data):
        fd = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
        try:
            assert os.pwrite(fd, data, offset) == len(data)
        finally:
            os.close(fd)

    def records(self, kind):
        """Offsets of the live records of a kind."""
        data = self.read()
        return [at for at in range(RECORD, len(data), RECORD) if data[at] == LIVE and data[at + 1] == kind]


    def age(self, seconds):
        """All allocations were touched so long ago, and not since; also while a daemon runs."""
        then = struct.pack("<Q", time.time_ns() - seconds * 10**9)
        for at in self.records(ALLOCATION):
            self.write(at + LAST_ACCESS, then)


class RestartCase(DaemonCase):
    devices = DEVICES

    def crash(self):
        self.daemon.kill()
        self.daemon.start()

    def stop(self):
        self.daemon.stop()
        self.daemon.start()

    def next_daemon(self, *flags, devices=None, start=True):
        """Another one in the folder of the last, which has ended."""
        folder, self.daemon.owns_folder = self.daemon.folder, False
        self.daemon = Daemon(*flags, devices=devices or self.devices, folder=folder, start=False)
        self.daemon.owns_folder = True
        return self.daemon.start() if start else self.daemon

    def scatter(self, device, count=96):
        """Blocks of which every second was freed, with their sums."""
        blocks = [self.allocate(512 * KIB, device) for _ in range(count)]  # on a card 32 a slab
        for block in blocks[::2]:
            self.free(block)
        return {block["allocationId"]: self.fill(block, number)["checksum"] for number, block in enumerate(blocks[1::2])}

    def defragment(self, device):
        return self.daemon.post(f"{MEMORY}/operations/defragment/{device}", {"strategy": "thorough"})

    def vault(self):
        return vault_pid(self.daemon.runtime)

    def hands(self):
        return VaultHands(self.daemon.runtime)

    def health(self):
        return self.ok(self.daemon.get("/health/detailed"))

    def durable_again(self, before):
        """Once another vault than `before` has all."""
        def so():
            pid = self.vault()
            return pid and pid != before and self.health()["durable"] and pid
        return wait_until(so, "another vault that has all")

    def figures(self):
        names = "allocatedBytes", "committedBytes", "cachedBytes", "residentBytes", "activeAllocations", "segments"
        return {device["deviceId"]: [device[name] for name in names] for device in self.host()["devices"]}

    def assert_empty(self):
        """Nobody has anything, and what was had goes all the way back: that takes a moment where no answer waited for it."""
        self.assertEqual([], self.allocations())
        wait_until(lambda: not any(map(any, self.figures().values())), "all to be given back")

    def assert_books_are_the_kernels(self):
        """Segment by segment: what the books say, the vault holds once it has read it, and nothing else."""
        segments = {}
        for device in self.host()["devices"]:
            page = self.ok(self.daemon.get(f"{MEMORY}/segments/{device['deviceId']}?limit=1000"))
            self.assertIsNone(page["nextCursor"])
            segments |= {s["segmentId"]: s["sizeBytes"] for s in page["segments"]}
        sizes = sorted(segments.values())
        wait_until(lambda: sizes == self.sizes_in_vault(), f"the vault to hold {sizes}")

    def sizes_in_vault(self):
        """Of the segments that it has open."""
        found = []
        for path, size, _ in kernel.memfds(self.vault()).values():
            with contextlib.suppress(FileNotFoundError):
                if "memkeep-ledger" not in os.readlink(path):
                    found.append(size)
        return sorted(found)
