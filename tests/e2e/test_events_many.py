"""A hundred listen, ten of them never read: the others miss nothing, and the daemon keeps nothing for those who do not."""

import mmap
import re
import selectors
import socket
import time
import unittest

from doors import HOST
from harness import KIB, MEMORY, MIB, DaemonCase
from test_mk import sanitized

READERS, STALLED = 90, 10
PAIRS, BATCH = 8000, 500  # of an allocation and its end: far more than a connection's buffers hold
GROWTH = 24 * MIB         # of the daemon
PATIENCE = 240


class Reader:
    """Only the ids, in order; a gap is an error."""

    def __init__(self, port, buffer=None):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        if buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        self.socket.connect((HOST, port))
        self.socket.sendall(f"GET {MEMORY}/events?types=allocation.* HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
        self.rest, self.last, self.count = b"", 0, 0

    def read(self):
        """False: the stream ended."""
        data = self.socket.recv(1 << 18)
        text = self.rest + data
        end = text.rfind(b"\n") + 1
        self.rest = text[end:]
        for found in re.finditer(rb"^id: ?(\d+)\r?$", text[:end], re.M):
            number = int(found[1])
            assert number > self.last, (number, self.last)
            self.last, self.count = number, self.count + 1
        return bool(data)


def size_of(pid):
    """Resident bytes of its own."""
    with open(f"/proc/{pid}/statm", encoding="ascii") as file:
        _, resident, shared, *_ = (int(word) for word in file.read().split())
    return (resident - shared) * mmap.PAGESIZE


class Many(DaemonCase):
    devices = ("host:0=256MiB",)

    def make_events(self):
        body = b'{"sizeBytes":4096}'
        post = (f"POST {MEMORY}/allocations/allocate/host:0 HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(body)}\r\n\r\n").encode() + body
        with self.daemon.raw(timeout=120) as raw:
            for _ in range(PAIRS // BATCH):
                raw.send(post * BATCH)
                names = [raw.answer().data["allocation"]["allocationId"] for _ in range(BATCH)]
                raw.send(b"".join(f"DELETE {MEMORY}/allocations/{name} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()
                                  for name in names))
                for _ in names:
                    raw.answer()
                yield

    def read_all(self, selector, readers, done):
        end = time.monotonic() + PATIENCE
        while not done():
            self.assertLess(time.monotonic(), end, sorted({reader.count for reader in readers}))
            for key, _ in selector.select(0.1):
                self.assertTrue(key.data.read(), "the stream of one who reads ended")

    def test_those_who_do_not_read_cost_nobody_anything(self):
        readers = [Reader(self.daemon.port) for _ in range(READERS)]
        stalled = [Reader(self.daemon.port, 4 * KIB) for _ in range(STALLED)]
        for one in readers + stalled:
            self.addCleanup(one.socket.close)
        with selectors.DefaultSelector() as selector:
            for reader in readers:
                selector.register(reader.socket, selectors.EVENT_READ, reader)
            self.free(self.allocate(4 * KIB))
            self.read_all(selector, readers, lambda: all(reader.count == 2 for reader in readers))
            before = size_of(self.daemon.pid)
            for number, _ in enumerate(self.make_events(), 1):
                expected = 2 + 2 * BATCH * number
                self.read_all(selector, readers, lambda: all(reader.count >= expected for reader in readers))
        self.assertEqual({2 + 2 * PAIRS}, {reader.count for reader in readers})
        self.assertEqual(1, len({reader.last for reader in readers}))
        if not sanitized():  # one keeps what was freed
            self.assertLess(size_of(self.daemon.pid) - before, GROWTH)
        self.assertEqual(200, self.daemon.get(f"{MEMORY}/status").status)


if __name__ == "__main__":
    unittest.main()
