"""The wire of a worker: lines in, lines out (docs/worker.md). Any thread may send, whole lines only; one reads."""

from __future__ import annotations

import json
import os
import socket as sockets
import threading
from typing import Any, Dict, Iterator, List, Optional, Tuple

from .._wire import connect_socket, default_path

LINE_MAX = 4 << 20
_PIECE = 1 << 16


class LineTooLong(Exception):
    """Nothing that follows can be told apart any more."""


class Instructor:
    """Two descriptors, which it closes: they may be one and the same."""

    def __init__(self, into: int, out: int) -> None:
        self._into, self._out, self._lock, self._closed = into, out, threading.Lock(), False
        self._pid = os.getpid()

    def lines(self) -> Iterator[bytes]:
        """Each line without its end, until the other side closes or is gone. What is left without an end is none."""
        buffer = bytearray()
        while piece := self._read():
            seen = len(buffer)
            buffer += piece
            while (end := buffer.find(b"\n", seen)) >= 0:
                yield bytes(buffer[:end])
                del buffer[:end + 1]
                seen = 0
            if len(buffer) > LINE_MAX:
                raise LineTooLong(f"a line is longer than {LINE_MAX >> 20} MiB")

    def _read(self) -> bytes:
        try:
            return os.read(self._into, _PIECE)
        except OSError:
            return b""

    def say(self, line: Dict[str, Any]) -> None:
        """To nobody, if nobody is there any more, or from a forked child, which is not the worker."""
        if os.getpid() != self._pid:
            return
        data = memoryview(json.dumps(line).encode() + b"\n")
        with self._lock:
            try:
                while data and not self._closed:
                    data = data[os.write(self._out, data):]
            except OSError:
                pass

    def close(self) -> None:
        """For who has read to the end."""
        with self._lock:
            if not self._closed:
                self._closed = True
                for fd in {self._into, self._out}:
                    os.close(fd)


def over_stdio() -> Instructor:
    """stdin, and what was stdout: from now on print() goes to stderr, so that it cannot get between two lines."""
    out = os.dup(1)
    os.dup2(2, 1)
    return Instructor(os.dup(0), out)


def over_socket(path: Optional[str]) -> Tuple[Instructor, sockets.socket]:
    """Connected to the daemon, or DaemonNotFound. A shutdown of the socket ends the reading."""
    connection = connect_socket(path or default_path())
    return Instructor(os.dup(connection.fileno()), os.dup(connection.fileno())), connection


def parse(line: bytes) -> Dict[str, Any]:
    """ValueError: it is no JSON object, or has a name twice."""
    found = json.loads(line, object_pairs_hook=_once)
    if not isinstance(found, dict):
        raise ValueError("it is something else")
    return found


def _once(pairs: List[Tuple[str, Any]]) -> Dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name is there twice")
    return found
