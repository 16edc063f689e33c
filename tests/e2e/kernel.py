"""What the kernel says about a process and its memory: the truth that the daemon's own figures are held against.

Our segments are memfds. A process may hold one by an fd, by a mapping, or both, so both tables are read; every
inode counts once, with the pages that the kernel really gave it (st_blocks).
"""

import contextlib
import fcntl
import json
import os
import re
import stat
import subprocess
import sys
import traceback


def ids_of_children(pid):
    """Direct children of a process."""
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{entry}/stat") as file:
                fields = file.read().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            found.append(int(entry))
    return found


def is_alive(pid):
    """Runs, sleeps or is stopped: a zombie is not alive."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def arguments(pid):
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        return [word.decode() for word in file.read().split(b"\0")[:-1]]


def environment(pid):
    with open(f"/proc/{pid}/environ", "rb") as file:
        return dict(word.decode().split("=", 1) for word in file.read().split(b"\0") if b"=" in word)


# The daemon opens its history some time after it is ready, SQLite the folder to sync it, and whoever samples /proc.
_OWN = re.compile(r"/proc/|.*/state(/history\.db.*)?$")


def fds(pid):
    """What the fds of a process lead to, without what comes and goes by itself."""
    found = []
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            found.append(os.readlink(f"/proc/{pid}/fd/{fd}"))
    return [path for path in found if not _OWN.match(path)]


def fd_count(pid):
    return len(fds(pid))


def _links(pid):
    """Paths under /proc of everything memfd that the process has open or mapped."""
    for folder in ("fd", "map_files"):
        try:
            names = os.listdir(f"/proc/{pid}/{folder}")
        except OSError:
            continue
        for name in names:
            path = f"/proc/{pid}/{folder}/{name}"
            try:
                if os.readlink(path).startswith("/memfd:"):
                    yield path
            except OSError:
                continue


def memfds(*pids):
    """{inode: (path under /proc, size, resident bytes)} of all memfds that these processes hold."""
    found = {}
    for pid in pids:
        for path in _links(pid):
            try:
                info = os.stat(path)
            except OSError:
                continue
            if stat.S_ISREG(info.st_mode):
                found.setdefault(info.st_ino, (path, info.st_size, info.st_blocks * 512))
    return found


def resident(*pids):
    """Bytes of RAM in the memfds of these processes and their children."""
    family = set(pids)
    for pid in pids:
        family.update(ids_of_children(pid))
    return sum(entry[2] for entry in memfds(*family).values())


def read_memfd(path, size, offset=0):
    with open(path, "rb") as file:
        file.seek(offset)
        return file.read(size)


def meminfo():
    """{name: bytes} of /proc/meminfo."""
    with open("/proc/meminfo") as file:
        lines = re.findall(r"^(\w+):\s+(\d+) kB$", file.read(), re.M)
    return {name: int(value) * 1024 for name, value in lines}


def as_user(uid, work):
    """Runs work() in a forked child that has become another user; returns its result (JSON)."""
    "".encode("idna")  # loaded now: another user may not be allowed to read Python's library
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            os.write(writer, json.dumps(work()).encode())
            status = 0
        except BaseException:
            traceback.print_exc(file=sys.stderr)
        finally:
            os._exit(status)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        result = file.read()
    _, status = os.waitpid(pid, 0)
    if status != 0:
        raise AssertionError(f"the child that acts as uid {uid} failed")
    return json.loads(result)


def mode(path):
    return stat.S_IMODE(os.stat(path).st_mode)


def seals(path):
    """The seals of a memfd, as words."""
    with open(path, "rb") as file:
        bits = fcntl.fcntl(file, fcntl.F_GET_SEALS)
    words = {fcntl.F_SEAL_SEAL: "SEAL", fcntl.F_SEAL_SHRINK: "SHRINK", fcntl.F_SEAL_GROW: "GROW",
             fcntl.F_SEAL_WRITE: "WRITE"}
    return {text for bit, text in words.items() if bits & bit}


def finished_pid():
    """A pid that nobody has any more."""
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


@contextlib.contextmanager
def sleeping_process():
    """The pid of a process that sleeps until it is killed, here or by the test."""
    process = subprocess.Popen(["sleep", "600"])
    try:
        yield process.pid
    finally:
        process.kill()
        process.wait()
