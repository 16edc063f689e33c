"""Which process of a daemon's gets, and lets go of, which descriptor, and when: what /proc tells, looked at again and again from
outside. It tells the steps of a transfer that no figure of the daemon's does: when new memory came, when a worker had it imported,
when the old was dropped by whom. A look takes about a millisecond, and no step is told more exactly than that."""

import contextlib
import os
import threading
import time

from kernel import arguments, ids_of_children


def _name(pid):
    words = arguments(pid)
    program = os.path.basename(words[0])
    return "owner" if "--own" in words else {"memkeepd": "daemon"}.get(program, program.removeprefix("memkeep-"))


def _family(pid):
    """The process, its children, and theirs."""
    return [pid] + [each for child in ids_of_children(pid) for each in _family(child)]


def _held(pid, known):
    """{descriptor: what it is}; what was known by number is not asked again: memory is not often closed and opened in between."""
    held = {}
    with contextlib.suppress(OSError):  # it has just ended
        for fd in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                held[fd] = known.get(fd) or os.readlink(f"/proc/{pid}/fd/{fd}")
    return held


def _is_memory(link):
    return link.startswith(("/memfd:", "/dev/nvidia", "/dmabuf", "/dev/dri"))


class Holders:
    """with Holders(daemon's pid, vault's) as holders: …; then holders.steps is [(seconds since the beginning, process, "+" or "-", what)]."""

    def __init__(self, pid, vault):
        self.names = {each: _name(each) for each in (*_family(pid), vault)}
        self.held = {each: _held(each, {}) for each in self.names}
        self.steps, self.over = [], threading.Event()
        self.thread = threading.Thread(target=self._look)

    def __enter__(self):
        self.began = time.monotonic()
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()

    def _look(self):
        while not self.over.is_set():
            for pid, name in self.names.items():
                self._compare(name, pid)

    def _compare(self, name, pid):
        before, now = self.held[pid], _held(pid, self.held[pid])
        when = time.monotonic() - self.began
        for sign, one, other in (("+", now, before), ("-", before, now)):
            self.steps += [(when, name, sign, one[fd]) for fd in one.keys() - other.keys() if _is_memory(one[fd])]
        self.held[pid] = now
