"""The test's end of tests/shim/fail_nth.c: a preloaded library that lets the n-th call of a kind fail in one process,
told through a small shared file. The layout is struct control's."""

import mmap
import struct
import subprocess
from pathlib import Path

from harness import BIN

LIBRARY = BIN.parent / "tests/fail_nth.so"
KINDS = ("malloc", "write", "mmap", "sendmsg", "fallocate", "open")
MAGIC = int.from_bytes(b"failnth1", "little")
HEAD = struct.Struct("=5Q")  # magic, armed, countdown, hits, calls
SPARED = struct.Struct("=32s32sQ")
FRAME = struct.Struct("=Q120s")
ROOM_FOR_SPARED, FRAMES = 8, 16
DEPTH = HEAD.size + ROOM_FOR_SPARED * SPARED.size
SIZE = DEPTH + 8 + FRAMES * FRAME.size
NEVER = 1 << 62


class FailNth:
    """The control file. `spared` is [(call, part of a library's path)]: such calls never fail."""

    def __init__(self, path, spared=()):
        self.path, self.spared = path, spared
        Path(path).write_bytes(bytes(SIZE))
        with open(path, "r+b") as file:
            self.memory = mmap.mmap(file.fileno(), SIZE)
        HEAD.pack_into(self.memory, 0, MAGIC, 0, 0, 0, 0)
        for i, (call, library) in enumerate(spared):
            SPARED.pack_into(self.memory, HEAD.size + i * SPARED.size, call.encode(), library.encode(), 0)

    def environment(self):
        return {"LD_PRELOAD": str(LIBRARY), "FAIL_NTH_CONTROL": str(self.path)}

    def _set(self, index, value):
        struct.pack_into("=Q", self.memory, 8 * index, value)

    def arm(self, kind, n=NEVER):
        """From now on calls are counted, and the n-th fails."""
        self.disarm()
        for index, value in ((2, n), (3, 0), (4, 0), (1, KINDS.index(kind) + 1)):
            self._set(index, value)

    def disarm(self):
        self._set(1, 0)

    @property
    def hits(self):
        return HEAD.unpack_from(self.memory)[3]

    @property
    def calls(self):
        return HEAD.unpack_from(self.memory)[4]

    def times_spared(self):
        """[(call, library, how often)]"""
        rows = [SPARED.unpack_from(self.memory, HEAD.size + i * SPARED.size) for i in range(len(self.spared))]
        return [(call.rstrip(b"\0").decode(), library.rstrip(b"\0").decode(), n) for call, library, n in rows]

    def place(self):
        """Where the call that failed last was made: functions, innermost first."""
        depth = min(FRAMES, struct.unpack_from("=Q", self.memory, DEPTH)[0])
        frames = [FRAME.unpack_from(self.memory, DEPTH + 8 + i * FRAME.size) for i in range(depth)]
        return [self._function(offset, path.split(b"\0")[0].decode()) for offset, path in frames
                if b"fail_nth" not in path]

    @staticmethod
    def _function(offset, path):
        if not path.startswith(str(BIN)):
            return f"{Path(path).name}+{offset:#x}"
        try:
            lines = subprocess.run(["addr2line", "-f", "-s", "-e", path, hex(offset - 1)],
                                   capture_output=True, text=True, timeout=60).stdout.split()
            return f"{lines[0]} ({lines[1]})"
        except (OSError, IndexError):
            return f"{Path(path).name}+{offset:#x}"


def why_not():
    """Why this build cannot be tested so; None if it can."""
    program = Path(BIN / "memkeepd").read_bytes()
    if b"__asan_init" in program or b"__tsan_init" in program:
        return "a sanitizer's allocator stands where fail_nth.so would stand"
    return None
