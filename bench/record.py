#!/usr/bin/env python3
"""Records traces for bench_forecast: the daemon's own samples of used bytes, one a second, while somebody uses memory.

    bench/record.py [--seconds N] [--loads NAME… | --host NAME]

Each load is a client of its own on a FAKE card of its own, all on one daemon; default: all of them. --host is a program
beside the daemon, and the whole machine is recorded. A file in bench/traces is a line on what it is, then "second KiB" a
line.
"""

import argparse
import contextlib
import random
import subprocess
import sys
import threading
import time
from datetime import datetime
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(SOURCE / "tests/e2e"))

from harness import GIB, KIB, MEMORY, MIB, Daemon, parse_time  # noqa: E402
from models import MODELS, write_models, zipf  # noqa: E402

CARD = 12 * GIB
SAMPLES = 1000  # of one answer


class Client:
    """Allocates and frees on one card until the time is up."""

    def __init__(self, daemon, device, end):
        self.daemon, self.device, self.end = daemon, device, end
        self.chance = random.Random(device)

    def on(self):
        return time.monotonic() < self.end

    def sleep(self, seconds):
        time.sleep(max(0, min(seconds, self.end - time.monotonic())))

    def take(self, size):
        answer = self.daemon.post(f"{MEMORY}/allocations/allocate/{self.device}", {"sizeBytes": int(size)})
        assert answer.status == 200, answer.body
        return answer.data["allocation"]["allocationId"]

    def give(self, names):
        for name in names:
            answer = self.daemon.delete(f"{MEMORY}/allocations/{name}")
            assert answer.status == 200, answer.body


def leak(client):
    """requests take 0.25 to 4 MiB for some seconds; one in two forgets to free"""
    held = []
    while client.on():
        held.append((time.monotonic() + client.chance.expovariate(1 / 8), client.take(client.chance.uniform(0.25, 4) * MIB)))
        due = [one for one in held if one[0] < time.monotonic()]
        held = [one for one in held if one not in due]
        client.give(name for _, name in due if client.chance.random() < 0.5)
        client.sleep(client.chance.expovariate(1))


def serving(client):
    """a server of language models: sequences come by chance, grow by 16 MiB each 2 s, and end"""
    running = []
    while client.on():
        if client.chance.random() < 0.25:
            running.append([client.chance.randrange(2, 40)])
        for one in running:
            one.append(client.take(16 * MIB))
        for one in [one for one in running if len(one) > one[0]]:
            client.give(one[1:])
            running.remove(one)
        client.sleep(2)


def training(client):
    """steps of 4 s take 40 times 8 MiB and give them back; each leaves 3 MiB behind"""
    while client.on():
        names = []
        for _ in range(40):
            names.append(client.take(8 * MIB))
            client.sleep(0.08)
        client.give(reversed(names))
        client.take(3 * MIB)
        client.sleep(0.8)


def batch(client):
    """jobs of some minutes read their data, 4 MiB each 0.4 s, work on it and end"""
    while client.on():
        names = []
        for _ in range(client.chance.randrange(150, 500)):
            names.append(client.take(4 * MIB))
            client.sleep(0.4)
        client.sleep(20)
        client.give(names)
        client.sleep(10)


def tenants(client):
    """eight tenants of 0.3 to 1.5 GiB come and go by chance"""
    held = []
    while client.on():
        if held and (len(held) == 8 or client.chance.random() < 0.45):
            client.give([held.pop(client.chance.randrange(len(held)))])
        else:
            held.append(client.take(client.chance.uniform(0.3, 1.5) * GIB))
        client.sleep(client.chance.expovariate(1 / 40))


def backlog(client):
    """a queue of 1 MiB items whose producer becomes faster than its consumer"""
    names, began = [], time.monotonic()
    while client.on():
        rate = 1 + (time.monotonic() - began) / 150
        names += [client.take(MIB) for _ in range(int(client.chance.uniform(0, 2 * rate)))]
        client.give(names[:2])
        del names[:2]
        client.sleep(1)


def steady(client):
    """3 GiB from the start, and small things that come and go"""
    client.take(3 * GIB)
    names = []
    while client.on():
        names.append(client.take(client.chance.uniform(64, 4096) * KIB))
        if len(names) > 200:
            client.give([names.pop(client.chance.randrange(len(names)))])
        client.sleep(0.2)


def models(client):
    """fifty models of 16 to 256 MiB, asked for by Zipf's law, leave when nobody asked for a minute"""
    paths = write_models(client.daemon.folder, client.chance, 50, 16 * MIB)
    for name in zipf(client.chance, paths, 100_000):
        if not client.on():
            return
        answer = client.daemon.post(f"{MODELS}/load", {"path": str(paths[name]), "deviceId": client.device,
                                                        "keepAliveSeconds": 60})
        assert answer.status == 200, answer.body
        client.sleep(client.chance.expovariate(1 / 5))


LOADS = {load.__name__: load for load in (leak, serving, training, batch, tenants, backlog, steady, models)}
LEAKS = """
import random, time
kept = []
while True:
    kept.append(bytearray(random.randrange(4 << 20)))
    kept[-1][::4096] = b"x" * len(kept[-1][::4096])
    time.sleep(random.expovariate(1))
"""
INSERTS = """
import random, sqlite3, time
while True:
    base = sqlite3.connect(":memory:")
    base.execute("CREATE TABLE t(a TEXT)")
    for _ in range(random.randrange(100, 300)):
        base.executemany("INSERT INTO t VALUES(?)", (("x" * 1000,) for _ in range(2000)))
        time.sleep(1)
    base.close()
    time.sleep(20)
"""
HOSTS = {"others": ("what its users do, compilers mostly", "import time; time.sleep(1e6)"),
         "leak": ("beside other users a Python process that keeps up to 4 MiB each second", LEAKS),
         "sqlite": ("beside other users SQLite tables in memory that grow for minutes and go", INSERTS)}


def write(daemon, device, name, about):
    samples = daemon.get(f"{MEMORY}/usage/{device}?window=1h&points={SAMPLES}").data["devices"][0]["samples"]
    first = parse_time(samples[0]["time"])
    lines = [f"{parse_time(s['time']) - first:.0f} {s['usedBytes'] // KIB}" for s in samples]
    head = f"# {name}: {about}; {datetime.now():%Y-%m-%d}, {len(lines)} samples"
    (SOURCE / f"bench/traces/{name}.txt").write_text("\n".join([head, *lines]) + "\n")


def record_clients(seconds, names):
    with contextlib.closing(Daemon(devices=[f"fake:{i}={CARD}" for i in range(len(names))])) as daemon:
        end = time.monotonic() + seconds
        threads = [threading.Thread(target=LOADS[name], args=(Client(daemon, f"fake:{i}", end),))
                   for i, name in enumerate(names)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for i, name in enumerate(names):
            write(daemon, f"fake:{i}", name, LOADS[name].__doc__)


def record_host(seconds, name):
    about, program = HOSTS[name]
    with contextlib.closing(Daemon(devices=["host:0"])) as daemon:
        with subprocess.Popen([sys.executable, "-c", program]) as process:
            time.sleep(seconds)
            write(daemon, "host:0", f"host_{name}", f"a machine of 2 cores, {about}")
            process.kill()


def main():
    words = argparse.ArgumentParser()
    words.add_argument("--seconds", type=int, default=900)
    words.add_argument("--loads", nargs="+", choices=LOADS, default=list(LOADS))
    words.add_argument("--host", choices=HOSTS)
    words = words.parse_args()
    if words.host:
        record_host(words.seconds, words.host)
    else:
        record_clients(words.seconds, words.loads)


if __name__ == "__main__":
    main()
