"""The daemon's memory in a worker's hands: segments and files whose descriptors come over MEMKEEP_FD, one message each.

Only host memory is mapped here: a card's is loaded by its mover. A segment stays mapped until the daemon says segment.drop."""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import re
import socket as sockets
import sys
import threading
import time
from typing import Any, Dict, Iterable, Iterator, List, Optional, Tuple

from .. import errors

_TEXT, _FDS = 512, 8
_SEGMENTS_MAX, _FILES_MAX = 4096, 2048
_ARRIVAL = 1.0  # seconds: a line may come before what it names
_CHUNK = 4 << 20


class _Segment:
    def __init__(self, device: str, size: int, fd: int) -> None:
        self.device, self.size, self.fd, self.users = device, size, fd, 0
        self.memory: Optional[mmap.mmap] = None

    def map(self) -> mmap.mmap:
        """All of it that there is: `size` may be rounded up to a whole page."""
        if self.memory is None:
            try:
                self.memory = mmap.mmap(self.fd, min(self.size, os.fstat(self.fd).st_size))
            except (OSError, ValueError) as problem:
                raise errors.InvalidArgument(f"the segment is not what was said: {problem}") from None
            os.close(self.fd)
            self.fd = -1
        return self.memory

    def let_go(self) -> None:
        if self.memory is not None:
            self.memory.close()
        elif self.fd >= 0:
            os.close(self.fd)


class Segments:
    """Any thread."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._segments: Dict[str, _Segment] = {}
        self._files: Dict[int, int] = {}  # id: descriptor, in order of arrival
        self._devices: set = set()

    def know(self, devices: Iterable[str]) -> None:
        """As memory.initialize names them."""
        with self._changed:
            self._devices.update(devices)

    # -- arrivals

    def receive(self, number: int) -> None:
        """From that inherited descriptor, on a thread of its own, until nobody is at the other end."""
        fd = -1
        try:
            fd = os.dup(number)
            packets = sockets.socket(fileno=fd)
        except OSError:  # started by hand: there is none, or something else
            if fd >= 0:
                os.close(fd)
            return
        threading.Thread(target=self._receive, args=(packets,), name="memkeep descriptors", daemon=True).start()

    def _receive(self, packets: sockets.socket) -> None:
        with packets:
            while True:
                try:
                    text, fds, flags, _ = sockets.recv_fds(packets, _TEXT, _FDS, sockets.MSG_CMSG_CLOEXEC)
                except OSError:
                    return
                if not text:
                    return
                if flags & (sockets.MSG_TRUNC | sockets.MSG_CTRUNC) or len(fds) != 1 or not self._take(text, fds[0]):
                    print("a message on MEMKEEP_FD that is none of ours", file=sys.stderr)
                    for fd in fds:
                        os.close(fd)

    def _take(self, text: bytes, fd: int) -> bool:
        """False: it is not taken, nor is its descriptor."""
        try:
            said = json.loads(text)
            file, name, size = said.get("file_id"), str(said.get("segment_id")), said.get("size_bytes")
        except (ValueError, AttributeError):
            return False
        with self._changed:
            if isinstance(file, int):
                return self._take_file(file, fd)
            usable = re.fullmatch(r"s-[0-9a-f]{16}", name) and isinstance(size, int) and size > 0
            if not usable or said.get("handle_type") is None or len(self._segments) >= _SEGMENTS_MAX:
                return False
            memfd = said["handle_type"] == "memfd"
            if name in self._segments or not memfd:
                os.close(fd)
            self._segments.setdefault(name, _Segment(str(said.get("device_id")), size, fd if memfd else -1))
            self._changed.notify_all()
            return True

    def _take_file(self, file: int, fd: int) -> bool:
        if len(self._files) >= _FILES_MAX:  # the oldest is nobody's
            os.close(self._files.pop(next(iter(self._files))))
        if file in self._files:
            return False
        self._files[file] = fd
        self._changed.notify_all()
        return True

    # -- use

    @contextlib.contextmanager
    def use(self, name: Any, offset: int, size: int) -> Iterator[mmap.mmap]:
        """The memory that a segment is, which stays mapped meanwhile. InvalidArgument: it did not come within a second, or
        the range leaves it."""
        with self._changed:
            if not self._changed.wait_for(lambda: name in self._segments, _ARRIVAL):
                raise errors.InvalidArgument(f"segment {name} did not arrive")
            segment = self._segments[name]
            if segment.device not in self._devices:
                raise errors.DeviceNotFound(f"{name} is on {segment.device}, which was not said")
            if segment.memory is None and segment.fd < 0:
                raise errors.DeviceUnavailable(f"{name} is not host memory: the mover of {segment.device} reaches it")
            memory = segment.map()
            if min(offset, size - 1) < 0 or offset + size > len(memory):
                raise errors.InvalidArgument("a range that leaves its segment")
            segment.users += 1
        try:
            yield memory
        finally:
            with self._changed:
                segment.users -= 1
                self._changed.notify_all()

    def drop(self, name: Any) -> bool:
        """Unmapped and closed once nobody uses it; False: it is not here, and did not come within a second."""
        with self._changed:
            if not self._changed.wait_for(lambda: name in self._segments, _ARRIVAL):
                return False
            segment = self._segments[name]
            while segment.users:
                self._changed.wait()
            if self._segments.pop(name, None) is None:
                return False
            segment.let_go()
            return True

    def take_files(self, ids: Iterable[Any]) -> List[int]:
        """Descriptors, the caller's to close; InvalidArgument: one of them did not come within a second."""
        wanted = list(ids)
        with self._changed:
            whole = self._changed.wait_for(lambda: all(each in self._files for each in wanted), _ARRIVAL)
            found = [self._files.pop(each) for each in dict.fromkeys(wanted) if each in self._files]
        if not whole or len(found) < len(wanted):
            for fd in found:
                os.close(fd)
            raise errors.InvalidArgument("a file of file_ids did not arrive")
        return found

    def mapped(self, device: Optional[str]) -> Tuple[int, int]:
        """(bytes, segments) here, used or not; of a device, or all."""
        with self._changed:
            found = [segment.size for segment in self._segments.values() if device in (None, segment.device)]
        return sum(found), len(found)


# -- what is done there


def fill(segments: Segments, call: Any) -> Dict[str, Any]:
    """memory.fill: a value over a range, read back."""
    began, target, size = time.monotonic(), call.need("target"), call.need("size_bytes")
    at, done = target.get("offset_bytes") or 0, 0
    call.progress(0, size)  # it is read; what it names may still be on its way
    with segments.use(target.get("segment_id"), at, size) as memory:
        while done < size:
            piece = bytes([call.data.get("value") or 0]) * min(_CHUNK, size - done)
            _put(memory, at + done, piece, True)
            done += len(piece)
            call.progress(done, size)
    return {"bytes": size, "checksum": None, "verified": True, "seconds": round(time.monotonic() - began, 6)}


def load(segments: Segments, call: Any) -> Dict[str, Any]:
    """memory.load_model with `targets`: files, verbatim, into segments."""
    began, ids, verify, done = time.monotonic(), call.need("file_ids"), call.data.get("verify", True), 0
    if not ids or not call.data["targets"]:
        raise errors.InvalidArgument("file_ids and targets name at least one")
    total = sum(target["size_bytes"] for target in call.data["targets"])
    call.progress(0, total)
    fds = dict(zip(ids, segments.take_files(ids)))
    try:
        for target in call.data["targets"]:
            if target.get("file_id") not in fds:
                raise errors.InvalidArgument("a target names a file that is not in file_ids")
            for size in _read(segments, fds[target["file_id"]], target, verify):
                done += size
                call.progress(min(done, total - 1), total)
    finally:
        for fd in fds.values():
            os.close(fd)
    return {"loaded": True, "size_bytes": done, "checksum": None, "verified": True if verify else None,
            "seconds": round(time.monotonic() - began, 6)}


def _read(segments: Segments, fd: int, target: Dict[str, Any], verify: bool) -> Iterator[int]:
    """Bytes that were read each time."""
    size, at, before, done = target["size_bytes"], target.get("offset_bytes") or 0, _identity(fd), 0
    with segments.use(target.get("segment_id"), at, size) as memory:
        while done < size:
            piece = os.pread(fd, min(_CHUNK, size - done), done)
            if not piece:
                raise errors.ModelFormatInvalid("a file is shorter than it was")
            _put(memory, at + done, piece, verify)
            done += len(piece)
            yield len(piece)
    if _identity(fd) != before:
        raise errors.Conflict("a file was changed while it was read")


def _put(memory: mmap.mmap, at: int, piece: bytes, verify: bool) -> None:
    memory[at:at + len(piece)] = piece
    if verify and memory[at:at + len(piece)] != piece:
        raise errors.ChecksumMismatch("the bytes in memory are not those that were written")


def _identity(fd: int) -> Tuple[int, ...]:
    facts = os.fstat(fd)
    return facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns
