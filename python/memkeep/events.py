"""What happens in the daemon, as it happens."""

from __future__ import annotations

import json
import os
import socket as sockets
import time
from typing import Any, Dict, Iterator, NamedTuple, Optional

from . import errors
from ._wire import connect_socket, default_path, end_socket

_PATIENCE, _LOOK = 10.0, 0.1  # seconds


class Event(NamedTuple):
    """`type` is "allocation.created" and the like, `data` the event's fields in snake_case."""
    type: str
    data: Dict[str, Any]


class Events(Iterator[Event]):
    """Made by Client.events: `for event in client.events("allocation.*")`. All that happens from then on. After a restart of
    the daemon comes one of type "client.reconnected": events may have been missed. close(), from any thread, ends it."""

    def __init__(self, path: Optional[str], types: Optional[str] = None) -> None:
        self._path, self._types, self._closed = path or default_path(), types, False
        self._pid = os.getpid()
        self._open()

    def _open(self) -> None:
        self._socket = connect_socket(self._path)
        self._file = self._socket.makefile("rb")
        data = {"types": self._types} if self._types else {}
        try:
            self._socket.sendall(json.dumps({"request_id": "r-1", "action": "memory.events", "data": data}).encode() + b"\n")
            answer = self._read()
        except OSError as problem:
            self._end()
            raise errors.DaemonRestarted(f"the daemon ended the connection: {problem}") from None
        if not answer.get("success"):
            self._end()
            raise errors.of_code(answer.get("error_code", ""), answer.get("error", "the daemon gave no reason"))

    def _read(self) -> Dict[str, Any]:
        line = self._file.readline()
        if not line.endswith(b"\n"):
            raise ConnectionResetError("it is gone")
        return json.loads(line)

    def __next__(self) -> Event:
        """Waits for one. DaemonNotFound when the daemon went away and did not come back within 10 s; Conflict in a forked
        child, which would take them from its parent."""
        if os.getpid() != self._pid:
            raise errors.Conflict(f"these events belong to process {self._pid}, and this one was forked off it: connect here")
        if self._closed:
            raise StopIteration
        try:
            line = self._read()
            return Event(line["event"], line["data"])
        except (OSError, ValueError):
            if self._closed:
                raise StopIteration from None
            return self._again()

    def _again(self) -> Event:
        self._end()
        end = time.monotonic() + _PATIENCE
        while True:
            try:
                self._open()
                return Event("client.reconnected", {})
            except (errors.DaemonNotFound, errors.DaemonRestarted):
                if self._closed:
                    raise StopIteration from None
                if time.monotonic() > end:
                    raise
                time.sleep(_LOOK)

    def _end(self) -> None:
        self._file.close()
        end_socket(self._socket, self._pid)

    def close(self) -> None:
        self._closed = True
        if os.getpid() != self._pid:
            return
        try:
            self._socket.shutdown(sockets.SHUT_RDWR)  # wakes who waits, and lets him close
        except OSError:
            pass

    def __enter__(self) -> "Events":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            self._end()
