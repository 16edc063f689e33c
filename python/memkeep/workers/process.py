"""Which processes a server is, as Linux tells it: the one that listens on a port, and its children. Elsewhere: nobody."""

from __future__ import annotations

import contextlib
import os
from typing import Dict, Iterator, List, Optional, Set

_LISTENS = "0A"


def is_here(host: str) -> bool:
    """Whether a server's name can only mean this machine."""
    return host in ("localhost", "::1") or host.startswith("127.")


def listener(port: int) -> Optional[int]:
    """Who listens there; None: nobody that this user may look at."""
    wanted = {f"socket:[{inode}]" for inode in _inodes(port)}
    for pid in _pids() if wanted else ():
        with contextlib.suppress(OSError):
            for fd in os.listdir(f"/proc/{pid}/fd"):
                with contextlib.suppress(OSError):
                    if os.readlink(f"/proc/{pid}/fd/{fd}") in wanted:
                        return pid
    return None


def family(pid: int) -> Set[int]:
    """It and all that it started and that runs: servers hold a card's memory in children."""
    children: Dict[int, List[int]] = {}
    for each in _pids():
        with contextlib.suppress(OSError, ValueError, IndexError):
            with open(f"/proc/{each}/stat", encoding="utf-8", errors="replace") as file:
                children.setdefault(int(file.read().rsplit(")", 1)[1].split()[1]), []).append(each)
    found, todo = {pid}, [pid]
    while todo:
        new = [child for child in children.get(todo.pop(), ()) if child not in found]
        found.update(new)
        todo += new
    return found


def _pids() -> Iterator[int]:
    with contextlib.suppress(OSError):
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                yield int(entry)


def _inodes(port: int) -> Iterator[str]:
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            with open(f"/proc/self/net/{table}", encoding="ascii") as file:
                for line in list(file)[1:]:
                    words = line.split()
                    if words[3] == _LISTENS and int(words[1].rsplit(":", 1)[1], 16) == port:
                        yield words[9]
