"""The daemon's Unix socket by hand, for what libmemkeep has no function for: one JSON object a line, and descriptors that
ride along (docs/attach.md)."""

from __future__ import annotations

import json
import os
import socket as sockets
import threading
from typing import Any, Dict, List, Optional, Sequence, Tuple

from . import errors

_FDS_MAX = 253  # of one message: the kernel's SCM_MAX_FD
_PIECE = 1 << 18


def default_path() -> str:
    """As libmemkeep finds it."""
    said = os.environ.get("MEMKEEP_SOCKET")
    if said:
        return said
    session, user = os.environ.get("XDG_RUNTIME_DIR", ""), os.geteuid()
    own = f"{session}/memkeep" if session.startswith("/") else f"/tmp/memkeep-{user}"
    if session.startswith("/") and os.path.exists(f"{own}/memkeep.sock"):
        return f"{own}/memkeep.sock"
    return f"{own if user else '/run/memkeep'}/memkeep.sock"


def connect_socket(path: str) -> sockets.socket:
    connection = sockets.socket(sockets.AF_UNIX, sockets.SOCK_STREAM | sockets.SOCK_CLOEXEC)
    try:
        connection.connect(path)
    except PermissionError:
        connection.close()
        raise errors.Forbidden(f"{path} may not be used by this user") from None
    except OSError as problem:
        connection.close()
        raise errors.DaemonNotFound(f"no daemon listens on {path}: {problem.strerror or problem}") from None
    return connection


def end_socket(connection: sockets.socket, pid: int) -> None:
    """Closes it; in the process that made it also what forked children have of it, in a child nobody else's."""
    if os.getpid() == pid:
        try:
            connection.shutdown(sockets.SHUT_RDWR)
        except OSError:
            pass
    connection.close()


class Wire:
    """One connection; its questions are put one after the other, from any thread. It comes back by nobody: a question
    whose connection breaks is a DaemonRestarted, and so are all that follow."""

    def __init__(self, path: Optional[str] = None) -> None:
        self._socket, self._pid = connect_socket(path or default_path()), os.getpid()
        self._lock = threading.Lock()
        self._buffer, self._fds, self._count = bytearray(), [], 0  # type: bytearray, List[int], int

    def close(self) -> None:
        """What was attached over it is detached. Nobody may be asking."""
        self._drop_fds()
        end_socket(self._socket, self._pid)

    def is_open(self) -> bool:
        """Whether the other end is there, without a question."""
        try:
            return self._socket.recv(1, sockets.MSG_PEEK | sockets.MSG_DONTWAIT) != b""
        except BlockingIOError:
            return True
        except OSError:
            return False

    def ask(self, action: str, data: Dict[str, Any], fds: Sequence[int] = ()) -> Tuple[Dict[str, Any], List[int]]:
        """The data of the answer, and the descriptors that came with it, which are the caller's to close."""
        with self._lock:
            self._count += 1
            request: Dict[str, Any] = {"request_id": f"r-{self._count}", "action": action, "data": data}
            if fds:
                request["fds"] = len(fds)
            try:
                self._send(json.dumps(request).encode() + b"\n", fds)
                answer = self._wait(f"r-{self._count}")
            except OSError as problem:
                raise errors.DaemonRestarted(f"the connection broke at {action}: {problem}") from None
            taken, self._fds = self._fds, []
        if answer.get("success"):
            return answer.get("data") or {}, taken
        for fd in taken:
            os.close(fd)
        raise errors.of_code(answer.get("error_code", ""), answer.get("error", "the daemon gave no reason"))

    def _send(self, line: bytes, fds: Sequence[int]) -> None:
        sent = sockets.send_fds(self._socket, [line], list(fds)) if fds else 0
        if sent < len(line):
            self._socket.sendall(line[sent:])

    def _wait(self, request_id: str) -> Dict[str, Any]:
        while True:
            line = self._line()
            if line.get("request_id") == request_id and "event" not in line:
                return line

    def _line(self) -> Dict[str, Any]:
        seen = 0
        while (end := self._buffer.find(b"\n", seen)) < 0:
            seen = len(self._buffer)
            data, fds, flags, _ = sockets.recv_fds(self._socket, _PIECE, _FDS_MAX, sockets.MSG_CMSG_CLOEXEC)
            self._fds += fds
            if not data or flags & sockets.MSG_CTRUNC:
                raise ConnectionResetError("the daemon ended it" if not data else "descriptors were lost on the way")
            self._buffer += data
        line = bytes(self._buffer[:end])
        del self._buffer[:end + 1]
        return json.loads(line)

    def _drop_fds(self) -> None:
        for fd in self._fds:
            os.close(fd)
        self._fds = []
