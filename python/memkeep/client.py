"""A connection to memkeepd, and what can be asked over it."""

from __future__ import annotations

import ctypes
import json
import operator
import os
import weakref
from typing import Any, Dict, Optional, Sequence

from . import _library, errors, events, models
from ._wire import Wire
from .allocation import Allocation

_FLAGS = {"persistent": _library.PERSISTENT, "pinned": _library.PINNED, "zero": _library.ZERO,
          "commit": _library.COMMIT, "evict": _library.EVICT}
_WORDS = {"memory_type": "memory", "label": "label", "purpose": "purpose", "priority": "priority", "share": "share",
          "strategy": "strategy"}
_NUMBERS = {"alignment_bytes": "alignment", "ttl_seconds": "ttl_seconds", "wait_ms": "wait_ms"}


class Connection:
    """libmemkeep's client; it ends when the last who refers to it does: allocations do, and Client."""

    def __init__(self, socket: Optional[str], reconnect_ms: int) -> None:
        library, out = _library.library(), ctypes.c_void_p()
        path = os.fsencode(socket) if socket is not None else None
        options = _library.Options(socket=path, reconnect_ms=reconnect_ms)
        _library.check(library.mk_connect(ctypes.byref(options), ctypes.byref(out)))
        self.handle, self.pid, self.socket = out.value, os.getpid(), socket
        self._end = weakref.finalize(self, library.mk_close, out.value)
        self._end.atexit = False
        self.holds: "weakref.WeakSet[models.Hold]" = weakref.WeakSet()

    def check_process(self) -> None:
        if os.getpid() != self.pid:
            raise errors.Conflict(f"this client belongs to process {self.pid}, and this one was forked off it: "
                                  "connect here, and attach what both are to use by its id")

    def renew(self) -> None:
        """Models that are attached are so also after a restart: before libmemkeep says what else this process holds."""
        for hold in list(self.holds):
            hold.renew()

    def call(self, action: str, fields: Dict[str, Any]) -> Dict[str, Any]:
        self.check_process()
        self.renew()
        data = json.dumps(fields).encode()
        looks = action.startswith(("memory.get_", "memory.list_"))  # which never takes long
        return json.loads(self._call(action, data) if looks else _library.wait(lambda: self._call(action, data)))

    def _call(self, action: str, data: bytes) -> str:
        library, out = _library.library(), ctypes.c_void_p()
        _library.check(library.mk_call(self.handle, action.encode(), data, ctypes.byref(out)))
        return _library.take_text(out)


class Client:
    """Made by connect(). Any thread may use it; threads do not wait for each other's answers. After a restart of the
    daemon the next call connects again by itself, and says what this process still holds."""

    def __init__(self, socket: Optional[str] = None, *, reconnect_ms: int = 0) -> None:
        self._connection: Optional[Connection] = Connection(socket, reconnect_ms)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Nothing can be asked any more. Allocations that are still used keep the connection until they end."""
        self._connection = None

    @property
    def closed(self) -> bool:
        return self._connection is None

    def _get(self) -> Connection:
        connection = self._connection
        if connection is None:
            raise ValueError("the client is closed")
        connection.check_process()
        connection.renew()
        return connection

    # -- memory

    def allocate(self, size: int, *, device: Optional[str] = None, **fields: Any) -> Allocation:
        """Memory of that many bytes, on `device` or on the best one.

        Fields are those of docs/api.md in snake_case: memory_type ("RAM", "VRAM"), label, purpose, priority, share,
        strategy, alignment_bytes, ttl_seconds, wait_ms, persistent, pinned, zero, commit, evict, owner_pid."""
        connection = self._get()
        if fields.get("owner_pid") is not None:
            return self._allocate_for(size, device, fields)
        fields.pop("owner_pid", None)
        request = _request(size, device, fields)
        if request.wait_ms or request.flags & _library.EVICT:
            return _library.wait(lambda: _allocate(connection, request))
        return _allocate(connection, request)

    def _allocate_for(self, size: int, device: Optional[str], fields: Dict[str, Any]) -> Allocation:
        """For another process, which libmemkeep cannot ask for."""
        wire = Wire(self.socket)
        try:
            made, fds = wire.ask("memory.allocate", _fields(size, device, fields))
            for fd in fds:
                os.close(fd)
            return self.attach(made["allocation"]["allocation_id"])
        finally:
            wire.close()

    def plan(self, size: int, *, device: Optional[str] = None, **fields: Any) -> Dict[str, Any]:
        """What allocate would do now, and nothing is done: would_fit, placement, would_evict."""
        return self.ask("memory.allocate", {**_fields(size, device, fields), "dry_run": True}, ())

    def attach(self, id: str, *, read_only: bool = False) -> Allocation:
        """Memory that some process allocated, by its id ("a-…"). While it is attached it is neither moved nor freed, but
        by force. What this client has attached already, or allocated, has one mapping: it is writable if that is."""
        connection, out = self._get(), ctypes.c_void_p()
        flags = _library.READ_ONLY if read_only else 0
        code = _library.library().mk_attach(connection.handle, str(id).encode(), flags, ctypes.byref(out))
        _library.check(code)
        return Allocation(connection, out.value or 0, False, not read_only)

    # -- models

    def load_model(self, path: models.PathLike, **fields: Any) -> Dict[str, Any]:
        """Loads a model (safetensors, a folder or an index of them, GGUF) once, whoever asks; waits for it; what the daemon
        says of it. Fields are those of docs/api.md: name, device_id, priority, pinned, …"""
        return models.load(self, path, fields)

    def attach_model(self, name: str, *, device: Optional[str] = None) -> models.Model:
        """A model in host memory, by its name or id, or on the card `device`. One that has left for its files comes back from
        there; ModelBusy for one that is on a card only, Conflict for one that is not on this card."""
        connection = self._get()
        model = models.attach(self, name, device if device and not device.startswith("host:") else None)
        connection.holds.add(model.hold)
        return model

    def open_model(self, name_or_path: models.PathLike, *, device: Optional[str] = None, **fields: Any) -> models.Model:
        """Attaches a model by its name, or by its file or folder, which is loaded if it is not there: into host memory, or to
        `device`. More fields are those of load_model."""
        if not models.is_path(name_or_path):
            return self.attach_model(str(name_or_path), device=device)
        where = device or models.best_host(self)
        loaded = self.load_model(name_or_path, **({"device_id": where} if where else {}), **fields)
        return self.attach_model(loaded["model_id"], device=device)

    # -- everything else

    def ask(self, action: str, fields: Dict[str, Any], fds: Sequence[int]) -> Dict[str, Any]:
        """A call that carries descriptors, on a connection of its own."""
        wire = Wire(self.socket)
        try:
            return wire.ask(action, fields, fds)[0]
        finally:
            wire.close()

    def call(self, action: str, **fields: Any) -> Dict[str, Any]:
        """Any operation of docs/api.md by its action name ("memory.get_usage"); the answer's data, names in snake_case.
        What cannot be known is None."""
        return self._get().call(action, fields)

    def status(self, device: Optional[str] = None) -> Dict[str, Any]:
        """Of the whole host, or of one device."""
        return self.call("memory.get_status", **({"device_id": device} if device else {}))

    def events(self, types: Optional[str] = None) -> events.Events:
        """What happens from now on; types as "allocation.created,pressure.*", None for all."""
        return events.Events(self.socket, types)

    @property
    def socket(self) -> Optional[str]:
        """As said to connect()."""
        return self._get().socket

    def __repr__(self) -> str:
        return f"<memkeep.Client{', closed' if self.closed else ''}>"

    def __reduce__(self) -> Any:
        raise TypeError("a Client belongs to its process: connect in each")


def _allocate(connection: Connection, request: _library.Request) -> Allocation:
    out = ctypes.c_void_p()
    _library.check(_library.library().mk_allocate(connection.handle, ctypes.byref(request), ctypes.byref(out)))
    ours = not (request.flags & _library.PERSISTENT or request.ttl_seconds)
    return Allocation(connection, out.value or 0, ours, True)


def _fields(size: int, device: Optional[str], fields: Dict[str, Any]) -> Dict[str, Any]:
    said = {name: value for name, value in fields.items() if value is not None}
    return {"size_bytes": _number("size", size), **({"device_id": device} if device else {}), **said}


def _request(size: int, device: Optional[str], fields: Dict[str, Any]) -> _library.Request:
    request = _library.Request(size=_number("size", size), device=str(device).encode() if device else None)
    for name, value in fields.items():
        if name in _FLAGS:
            request.flags |= _FLAGS[name] if value else 0
        elif name in _WORDS:
            setattr(request, _WORDS[name], None if value is None else str(value).encode())
        elif name in _NUMBERS:
            setattr(request, _NUMBERS[name], 0 if value is None else _number(name, value))
        else:
            known = ", ".join(sorted([*_FLAGS, *_WORDS, *_NUMBERS, "owner_pid"]))
            raise errors.InvalidArgument(f"an allocation has no field {name!r}; there are {known}")
    return request


def _number(name: str, value: Any) -> int:
    number = operator.index(value)
    if not 0 <= number < 1 << 63:  # JSON's on the wire
        raise errors.InvalidArgument(f"{name} is {number}, which is not 0 … 2^63 - 1")
    return number


def connect(socket: Optional[str] = None, *, reconnect_ms: int = 0) -> Client:
    """A client of the daemon at that Unix socket; without one, at MEMKEEP_SOCKET, else this session's daemon, else the
    system's. DaemonNotFound at once if nobody listens. `reconnect_ms`: how long a call waits for a daemon that went away
    (0: 10 s)."""
    return Client(socket, reconnect_ms=reconnect_ms)
