#!/usr/bin/env python3
"""The history's size and speed: a year of one device, made up to be worse than most, then asked over the daemon.

    bench/history.py

Every second's use is another bucket within a doubling; 12 operations are called in every minute; events and transfers are
at their caps. Prints the file's size and how long `usage` takes over 30 days and a year.
"""

import os
import random
import sqlite3
import statistics
import struct
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests/e2e"))

from harness import GIB, MEMORY, MIB, Daemon, wait_until  # noqa: E402

DEVICE, ROUNDS = "fake:0", 20
TIERS = ((0, 1, 6 * 3600), (1, 60, 32 * 86400), (2, 3600, 366 * 86400))
OPERATIONS, ROWS, OPERATION_ROWS = 12, 50_000, 100_000


def spread(seconds):
    buckets = sorted(random.sample(range(800, 840), min(seconds, 40)))
    return b"".join(struct.pack("<HH", bucket, max(1, seconds // len(buckets))) for bucket in buckets)


def samples(now):
    for tier, step, kept in TIERS:
        for at in range((now - kept) // step * step, now // step * step, step):
            used = random.randrange(GIB, 8 * GIB)
            yield (DEVICE, tier, at, step, *[used] * 6, random.randrange(10000), used, used, step, 0, 0, 0, step, used,
                   step, spread(step) if tier else None)


def operations(now):
    buckets = b"".join(struct.pack("<BI", bucket, 9) for bucket in range(20, 40))
    for tier, kept in ((60, 86400), (3600, OPERATION_ROWS // OPERATIONS * 3600)):
        for at in range((now - kept) // tier * tier, now, tier):
            for name in range(OPERATIONS):
                yield tier, at, f"memory.operation_{name}", 1, 10 ** 9, 10 ** 6, buckets


def fill(path, now):
    base = sqlite3.connect(path)
    base.execute("PRAGMA journal_mode=WAL")
    base.execute("INSERT OR IGNORE INTO device VALUES(?)", (DEVICE,))
    base.executemany(f"INSERT OR REPLACE INTO sample VALUES({','.join('?' * 21)})", samples(now))
    base.executemany("INSERT OR REPLACE INTO operation VALUES(?,?,?,?,?,?,?)", operations(now))
    base.executemany("INSERT INTO event(time,type,device,subject,bytes,other,text) VALUES(?,?,?,?,?,?,?)",
                     ((now * 10 ** 9, "model.ready", DEVICE, 10 ** 9, GIB, 0, "x" * 36) for _ in range(ROWS)))
    base.executemany("INSERT INTO transfer(time,source,target,path,bytes,ns,failed) VALUES(?,?,?,?,?,?,0)",
                     ((now * 10 ** 9, DEVICE, "host:0", "pinned", GIB, 10 ** 8) for _ in range(ROWS)))
    base.commit()
    base.close()


def is_open(daemon):
    parts = daemon.get("/health/detailed").data["parts"]
    return any(part["name"] == "history" and part["status"] == "ok" for part in parts)


def main():
    daemon = Daemon(devices=(f"{DEVICE}=8GiB",))
    try:
        wait_until(lambda: is_open(daemon), "the history is open")
        daemon.stop()
        fill(daemon.state / "history.db", int(time.time()))
        print(f"  a year of one device  {os.path.getsize(daemon.state / 'history.db') / MIB:.1f} MiB  (<= 50)")
        daemon.start()
        wait_until(lambda: is_open(daemon), "the history is open")
        for window in ("6h", "30d", "365d"):
            times = []
            for _ in range(ROUNDS):
                start = time.perf_counter()
                assert daemon.get(f"{MEMORY}/usage?window={window}&points=1000").data["devices"][0]["samples"]
                times.append((time.perf_counter() - start) * 1000)
            print(f"  usage over {window:<5} {statistics.median(times):.1f} ms median, {max(times):.1f} ms at most  (30d: <= 20)")
    finally:
        daemon.close()


if __name__ == "__main__":
    main()
