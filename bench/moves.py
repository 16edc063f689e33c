#!/usr/bin/env python3
"""What a defragmentation costs beside its bytes: processor time a move, on a FAKE card (tests/fake_libcuda.h).

    bench/moves.py [ROUNDS]

Some 15,000 blocks of 128 to 2,048 bytes, after every second was freed, in 30 segments that were filled with what is freed too;
each round the same in a daemon of its own. `decision` plans and reserves, `loop` commits and speaks with the worker, `worker`
reads what it is told (and copies, a KiB a move). Processor time is told because it is the same on a busy machine; moves a second
are not.
"""

import contextlib
import json
import os
import random
import statistics
import sys

import run
from run import GIB, KIB, MEMORY, MIB, data, line

from kernel import ids_of_children
from test_cuda import fake_cards

CARD, SCALE = "cuda:0", 512  # of bench/card.py's defragmentation
EACH, BALLAST = 1000, [{"sizeBytes": 960 * KIB}] * 16  # after so many blocks the rest of a segment of 16 MiB
THREADS = {"decision": "decision", "memkeepd": "loop", "memkeep-worker": "worker"}


def spent(pids):
    """Nanoseconds that each kind of thread has run."""
    found = dict.fromkeys(THREADS.values(), 0)
    for pid in pids:
        for task in os.scandir(f"/proc/{pid}/task"):
            with contextlib.suppress(OSError), open(f"{task.path}/comm") as comm, open(f"{task.path}/schedstat") as stat:
                name = THREADS.get(comm.read().strip())  # OSError: it has just ended
                if name:
                    found[name] += int(stat.read().split()[0])
    return found


def pipelined(raw, requests):
    for start in range(0, len(requests), 500):
        batch = requests[start:start + 500]
        raw.send(b"".join(batch))
        yield from (data(raw.answer()) for _ in batch)


def scatter(daemon):
    chance, bodies, size = random.Random(8), [], 0
    while size < 16 * GIB // SCALE:
        bodies.append({"sizeBytes": chance.randrange(64 * KIB, MIB + 1, 4 * KIB) // SCALE})
        size += bodies[-1]["sizeBytes"]
    with daemon.raw(timeout=120) as raw:
        def ask(method, path, bodies):
            return list(pipelined(raw, [run.request_bytes(method, f"{MEMORY}/{path}", json.dumps(one).encode()) for one in bodies]))

        made, ballast = [], []
        for start in range(0, len(bodies), EACH):
            some = [one["allocation"]["allocationId"]
                    for one in ask("POST", f"allocations/allocate/{CARD}", bodies[start:start + EACH] + BALLAST)]
            made += some[:-len(BALLAST)]
            ballast += some[-len(BALLAST):]
        ask("POST", "operations/fill", [{"allocationId": one, "value": 1} for one in made])
        list(pipelined(raw, [run.request_bytes("DELETE", f"{MEMORY}/allocations/{one}") for one in ballast + made[::2]]))


def measure():
    daemon = run.Daemon("--mover-idle", "1h", devices=("host:0=1GiB",), environment=fake_cards(1, FAKE_CUDA_BYTES=str(GIB)), start=False)
    daemon.command.remove("--no-gpu")
    with contextlib.closing(daemon.start()):
        scatter(daemon)
        pids = [daemon.facts["pid"], *ids_of_children(daemon.facts["pid"])]
        before = spent(pids)
        moved = data(daemon.post(f"{MEMORY}/operations/defragment/{CARD}", {"strategy": "thorough"}))
        after, count = spent(pids), moved["allocationsMoved"]
        found = {name: (after[name] - before[name]) / 1e3 / count for name in after}
        return found | {"rate": count / moved["defragmentationTimeMs"] * 1e3, "moves": count,
                        "segments": moved["segmentsReleased"]}


def main():
    rounds = [measure() for _ in range(int(sys.argv[1]) if sys.argv[1:] else 5)]
    for name in THREADS.values():
        line(f"defragment: processor time a move, {name}", statistics.median(one[name] for one in rounds), "us")
    line("defragment: moves", statistics.median(one["rate"] for one in rounds), "/s", None,
         f"{rounds[0]['moves']:,} moves, {rounds[0]['segments']} segments given back")


if __name__ == "__main__":
    main()
