#!/usr/bin/env python3
"""The history's size, speed and memory: months made up to be worse than most, then asked over the daemon.

    bench/history.py

Every second's use is another bucket within a doubling; 12 operations are called in every minute; events and transfers are
at their caps. Also run.py's part `history`.
"""

import contextlib
import os
import random
import sqlite3
import statistics
import struct
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests/e2e"))

from harness import GIB, MEMORY, MIB, NOBODY, Daemon, wait_until  # noqa: E402

ROUNDS, DEVICES, ALLOCATIONS = 20, 8, 10_000
HOUR, DAY = 3600, 86400
OPERATIONS, ROWS, OPERATION_ROWS = 12, 50_000, 100_000
SPREADS = [b"".join(struct.pack("<HH", bucket, 90) for bucket in sorted(random.sample(range(800, 840), 40)))
           for _ in range(64)]


def names(count):
    return [f"fake:{number}" for number in range(count)]


def samples(now, device, days):
    for tier, step, kept in ((0, 1, 6 * HOUR), (1, 60, 32 * DAY), (2, HOUR, days * DAY)):
        for at in range((now - kept) // step * step, now // step * step, step):
            used = random.randrange(GIB, 8 * GIB)
            yield (device, tier, at, step, *[used] * 6, random.randrange(10000), used, used, step, 0, 0, 0, step, used,
                   step, random.choice(SPREADS) if tier else None)


def operations(now):
    buckets = b"".join(struct.pack("<BI", bucket, 9) for bucket in range(20, 40))
    for tier, kept in ((60, DAY), (HOUR, OPERATION_ROWS // OPERATIONS * HOUR)):
        for at in range((now - kept) // tier * tier, now, tier):
            for name in range(OPERATIONS):
                yield tier, at, f"memory.operation_{name}", 1, 10 ** 9, 10 ** 6, buckets


def fill(path, devices, days):
    now = int(time.time())
    base = sqlite3.connect(path)
    base.execute("PRAGMA journal_mode=WAL")
    for device in devices:
        base.execute("INSERT OR IGNORE INTO device VALUES(?)", (device,))
        base.executemany(f"INSERT OR REPLACE INTO sample VALUES({','.join('?' * 21)})", samples(now, device, days))
    base.executemany("INSERT OR REPLACE INTO operation VALUES(?,?,?,?,?,?,?)", operations(now))
    base.executemany("INSERT INTO event(time,type,device,subject,bytes,other,text) VALUES(?,?,?,?,?,?,?)",
                     ((now * 10 ** 9, "model.ready", devices[0], 10 ** 9, GIB, 0, "x" * 36) for _ in range(ROWS)))
    base.executemany("INSERT INTO transfer(time,source,target,path,bytes,ns,failed) VALUES(?,?,?,?,?,?,0)",
                     ((now * 10 ** 9, devices[0], "host:0", "pinned", GIB, 10 ** 8) for _ in range(ROWS)))
    base.commit()
    base.close()


def is_open(daemon):
    parts = daemon.get("/health/detailed").data["parts"]
    return any(part["name"] == "history" and part["status"] == "ok" for part in parts)


@contextlib.contextmanager
def filled(count, days):
    """A daemon with so many devices, and so many days of each."""
    daemon = Daemon(devices=[f"{name}=8GiB" for name in names(count)])
    try:
        wait_until(lambda: is_open(daemon), "the history is open")
        daemon.stop()
        fill(daemon.state / "history.db", names(count), days)
        daemon.start()
        wait_until(lambda: is_open(daemon), "the history is open")
        yield daemon
    finally:
        daemon.close()


def asked(daemon, path):
    """How long answers took, in ms."""
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        assert daemon.get(f"{MEMORY}/{path}").status == 200
        times.append((time.perf_counter() - start) * 1000)
    return statistics.median(times), max(times)


def resident(kept):
    """Bytes, after a month was asked for. Who is not root and has no home keeps no history."""
    daemon = Daemon(devices=[f"{name}=8GiB" for name in names(DEVICES)], start=False)
    try:
        for folder in (daemon.folder, daemon.runtime, daemon.state):
            folder.mkdir(mode=0o700, exist_ok=True)
            os.chown(folder, NOBODY, NOBODY)
        daemon.command = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", *daemon.command]
        if not kept:
            at = daemon.command.index("--state-dir")
            del daemon.command[at:at + 2], daemon.environment["HOME"]
        daemon.start()
        assert any(part["name"] == "history" for part in daemon.get("/health/detailed").data["parts"]) == kept
        if kept:
            wait_until(lambda: is_open(daemon), "the history is open")
            daemon.stop()
            fill(daemon.state / "history.db", names(DEVICES), 32)
            daemon.start()
            wait_until(lambda: is_open(daemon), "the history is open")
        for number in range(ALLOCATIONS):
            daemon.post(f"{MEMORY}/allocations/allocate/fake:{number % DEVICES}", {"sizeBytes": 4096})
        for window in ("6h", "30d"):
            asked(daemon, f"usage?window={window}&points=1000")
            asked(daemon, f"analytics?window={window}")
        return int(Path(f"/proc/{daemon.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    finally:
        daemon.close()


def figures():
    """(name, value, unit, floor, beside) of each."""
    with filled(1, 366) as daemon:
        yield "a year of one device", (daemon.state / "history.db").stat().st_size / MIB, "MiB", ("<=", 50), ""
        for window in ("6h", "365d"):
            median, most = asked(daemon, f"usage?window={window}&points=1000")
            yield f"usage over {window}, 1000 points", median, "ms", None, f"{most:.1f} ms at most"
    with filled(DEVICES, 32) as daemon:
        for name, path, floor in (("usage", "usage?window=30d", ("<=", 20)), ("analytics", "analytics?window=30d", None)):
            median, most = asked(daemon, path)
            yield f"{name} over 30d, {DEVICES} devices", median, "ms", floor, f"{most:.1f} ms at most"
    with_it, without = resident(True), resident(False)
    yield "resident, more than without", (with_it - without) / MIB, "MiB", ("<=", 8), f"{with_it / MIB:.1f} in all"


def main():
    for name, value, unit, floor, beside in figures():
        print(f"  {name:<44} {value:>8.1f} {unit:<4} {' '.join(map(str, floor or ())):<8} {beside}", flush=True)


if __name__ == "__main__":
    main()
