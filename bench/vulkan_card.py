#!/usr/bin/env python3
"""A card by Vulkan beside the same card by CUDA, and where the time goes: through the daemon, step by step; what each call of the
Vulkan driver takes, and what its link gives by the size of a piece and by how many of them are under way.

    bench/vulkan_card.py [--mib N] [--kinds vulkan,cuda]     N: size of what is moved (default 1024)

A kind that is not here is left out with its reason. Through the daemon each way is gone five times; the first is told apart, for it
makes the context. Of the others a median transfer's spans are told: `decision` (to find, make and keep the new memory), `wire`,
`worker` (to import it), `device` (the copy), and `after` (the old memory dropped and given back, the answer). Then one more is
watched (holders.py): who got and let go of which memory when. `engine` is the worker's copy engine without a daemon (bench_link).
Cards are kept open meanwhile, for to start an NVIDIA card that nobody has open takes its driver seconds. Needs Vulkan's loader; a
driver that the loader does not find by itself is named by VK_DRIVER_FILES.
"""

import argparse
import contextlib
import glob
import os
import statistics
import subprocess
import time

import run
from holders import Holders
from run import MEMORY, MIB, allocate, data, line

from restart import vault_pid

ROUNDS = 4
PATIENCE = 60  # seconds for a program of one question
WAYS = {"in": "host memory to the card", "out": "the card to host memory", "inside": "inside the card", "across": "card to card"}
LAYERS = ("decision", "wire", "worker", "device")
began = time.monotonic()


def part(name):
    print(f"{time.monotonic() - began:6.1f} s  {name}", flush=True)


def keep_open():
    """Every card that has a file of its own; the files' descriptors, which no child gets."""
    held = []
    for path in glob.glob("/dev/nvidia[0-9]*"):
        with contextlib.suppress(OSError):
            held.append(os.open(path, os.O_RDONLY))
    return held


def driver(program):
    part(program)
    try:
        done = subprocess.run([str(run.BENCH / program)], stderr=subprocess.STDOUT, timeout=PATIENCE)
        if done.returncode:
            print(f"  (it ended with {done.returncode})")
    except subprocess.TimeoutExpired:  # what it said until then is there
        print(f"  (it did not end in {PATIENCE} s)")


def engine(kind, mib):
    part(f"{kind}: engine")
    try:
        return run.program("bench_link", kind, str(mib))
    except subprocess.CalledProcessError as error:
        print(f"  (the engine on {kind}: not here: {error.stderr.strip()})")
        return None


# ---- through the daemon


def transfer(daemon, allocation, way):
    """Seconds."""
    card = allocation["card"]
    source, target = ("host:0", card) if way == "in" else (card, "host:0")
    start = time.monotonic()
    end = data(daemon.post(f"{MEMORY}/transfer?timeout=120", {
        "allocationId": allocation["allocationId"], "sourceDeviceId": source, "targetDeviceId": target, "mode": "move",
        "verify": False, "wait": True}))
    assert end["status"] == "completed", end
    return time.monotonic() - start


def layers(daemon, operation):
    """Milliseconds of all so far, by layer."""
    for row in data(daemon.get(f"{MEMORY}/analytics?window=1h"))["layers"]:
        if row["operation"] == operation:
            return {layer: (row[f"{layer}Ms"] or 0) * row["count"] for layer in LAYERS}
    return dict.fromkeys(LAYERS, 0)


def spans(daemon, operation, work):
    """{span: ms} of one call that takes so many seconds; `after` is what no layer has."""
    before = layers(daemon, operation)
    whole = work() * 1e3
    found = {layer: value - before[layer] for layer, value in layers(daemon, operation).items()}
    return found | {"after": whole - sum(found.values()), "whole": whole}


def tell_spans(name, found):
    """The median of each."""
    for span in found[0]:
        values = [one[span] for one in found]
        line(f"{name}, {span}", statistics.median(values), "ms", None, f"{min(values):.1f} to {max(values):.1f}")


def watch(daemon, name, work):
    """A step that several processes took at once is one of each."""
    with Holders(daemon.pid, vault_pid(daemon.runtime)) as holders:
        whole = work()
    print(f"  {name}: who has what memory, ms since the request was sent")
    for when, who, sign, what in holders.steps:
        print(f"    {when * 1e3:7.1f}  {who:<8} {sign} {what}")
    print(f"    {whole * 1e3:7.1f}  answered", flush=True)


def alone(daemon, kind, size):
    """New memory of a card, and its end, with nothing moved: to make it is to fill it with zeros, too."""
    card, made, freed = f"{kind}:0", [], []

    def take():
        start = time.monotonic()
        taken.append(allocate(daemon, size, card)["allocationId"])
        return time.monotonic() - start

    for _ in range(ROUNDS):
        taken = []
        made.append(spans(daemon, "memory.fill", take))
        start = time.monotonic()
        data(daemon.delete(f"{MEMORY}/allocations/{taken[0]}"))
        freed.append({"freed": (time.monotonic() - start) * 1e3})
    tell_spans(f"{kind}: allocate", made)
    tell_spans(f"{kind}: allocate", freed)


def through_daemon(kind, mib):
    """{way: [spans of each round]}; None: no such device."""
    part(f"{kind}: through the daemon")
    size, found = mib * MIB, {"in": [], "out": []}
    daemon = run.Daemon("--mover-idle", "1h", devices=(f"host:0={max(4, 4 * mib // 1024)}GiB", f"{kind}:0"), start=False)
    try:
        daemon.start()
    except Exception as error:  # the harness says in its own words what the daemon said
        print(f"  (the daemon on {kind}: not here: {str(error).strip().splitlines()[-1:]})")
        return None
    try:
        allocation = allocate(daemon, size, "host:0") | {"card": f"{kind}:0"}
        data(daemon.post(f"{MEMORY}/operations/fill", {"allocationId": allocation["allocationId"], "value": 5}))
        for _ in range(ROUNDS + 1):
            for way, rounds in found.items():
                rounds.append(spans(daemon, "memory.transfer", lambda: transfer(daemon, allocation, way)))
        for way, rounds in found.items():
            tell_spans(f"{kind}: {WAYS[way]}", rounds[1:])
        for way in found:
            watch(daemon, f"{kind}: {WAYS[way]}", lambda: transfer(daemon, allocation, way))
        alone(daemon, kind, size)
        return {way: [size / 1e6 / one["whole"] for one in rounds] for way, rounds in found.items()}
    finally:
        daemon.close()


def measure(kinds, mib):
    """{(kind, way): GB/s}, of the engine and through the daemon."""
    rates, engines = {}, {}
    for kind in kinds:
        for way, found in (through_daemon(kind, mib) or {}).items():
            rates[kind, way] = statistics.median(found[1:])
            line(f"{kind}: through the daemon, {WAYS[way]}", rates[kind, way], "GB/s", None, f"the first {found[0]:.2f}")
    for kind in kinds:
        for name, value in (engine(kind, mib) or {}).items():
            way = name.removeprefix("link.")
            engines[kind, way] = value
            line(f"{kind}: engine, {WAYS.get(way, way)}", value, "" if way.endswith(("_memcpy", "_sum")) else "GB/s")
    return rates, engines


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--kinds", default="cuda,vulkan")
    words = parser.parse_args()
    print(f"bench: {run.machine()}")
    held = keep_open()
    part(f"{len(held)} cards are open")
    rates, engines = measure(words.kinds.split(","), words.mib)
    for what, found in (("the engine", engines), ("through the daemon", rates)):
        for way in ("in", "out"):
            if ("cuda", way) in found and ("vulkan", way) in found:
                line(f"vulkan / cuda, {what}, {WAYS[way]}", found["vulkan", way] / found["cuda", way], "", (">=", 0.9))
    if "vulkan" in words.kinds:
        driver("bench_vulkan_calls")
        driver("bench_vulkan_flow")
    part("the end")
    for fd in held:
        os.close(fd)


if __name__ == "__main__":
    main()
