#!/usr/bin/env python3
"""A card by Vulkan beside the same card by CUDA, and where the time goes: what each call of the Vulkan driver takes, and what its link
gives by the size of a piece and by how many of them are under way.

    bench/vulkan_card.py [--mib N] [--kinds vulkan,cuda]     N: size of what is moved (default 1024)

A kind that is not here is left out with its reason. Through the daemon each way is gone three times; the first is told too, for it
makes the context. `engine` is the worker's copy engine without a daemon (bench_link). Needs Vulkan's loader; a driver that the
loader does not find by itself is named by VK_DRIVER_FILES.
"""

import argparse
import subprocess
import statistics
import time

import run
from run import MEMORY, MIB, allocate, data, line

ROUNDS = 3
WAYS = {"in": "host memory to the card", "out": "the card to host memory", "inside": "inside the card", "across": "card to card"}


def driver(program):
    done = subprocess.run([str(run.BENCH / program)], capture_output=True, text=True)
    print("  " + "\n  ".join((done.stdout + done.stderr).strip().splitlines()))


def engine(kind, mib):
    try:
        return run.program("bench_link", kind, str(mib))
    except subprocess.CalledProcessError as error:
        print(f"  (the engine on {kind}: not here: {error.stderr.strip()})")
        return None


def moved(daemon, allocation, source, target, size):
    began = time.monotonic()
    end = data(daemon.post(f"{MEMORY}/transfer?timeout=120", {
        "allocationId": allocation["allocationId"], "sourceDeviceId": source, "targetDeviceId": target, "mode": "move",
        "verify": False, "wait": True}))
    assert end["status"] == "completed", end
    return size / 1e9 / (time.monotonic() - began)


def tell_layers(daemon, kind):
    """Where the time of a transfer goes: to make and give back memory is the daemon's, to import it the worker's, the copy the device's."""
    for row in data(daemon.get(f"{MEMORY}/analytics?window=1h"))["layers"]:
        if row["operation"] == "memory.transfer":
            for layer in ("decision", "wire", "worker", "device"):
                line(f"{kind}: of a transfer, {layer}", row[f"{layer}Ms"], "ms")


def through_daemon(kind, mib):
    """{way: [GB/s of each round]}; None: no such device."""
    card, size, found = f"{kind}:0", mib * MIB, {"in": [], "out": []}
    daemon = run.Daemon("--mover-idle", "1h", devices=(f"host:0={max(4, 4 * mib // 1024)}GiB", card), start=False)
    try:
        daemon.start()
    except Exception as error:  # the harness says in its own words what the daemon said
        print(f"  (the daemon on {kind}: not here: {str(error).strip().splitlines()[-1:]})")
        return None
    try:
        allocation = allocate(daemon, size, "host:0")
        data(daemon.post(f"{MEMORY}/operations/fill", {"allocationId": allocation["allocationId"], "value": 5}))
        for _ in range(ROUNDS + 1):
            found["in"].append(moved(daemon, allocation, "host:0", card, size))
            found["out"].append(moved(daemon, allocation, card, "host:0", size))
        tell_layers(daemon, kind)
        return found
    finally:
        daemon.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--kinds", default="cuda,vulkan")
    words = parser.parse_args()
    print(f"bench: {run.machine()}")
    rates, engines = {}, {}
    for kind in words.kinds.split(","):
        for name, value in (engine(kind, words.mib) or {}).items():
            way = name.removeprefix("link.")
            engines[kind, way] = value
            line(f"{kind}: engine, {WAYS.get(way, way)}", value, "" if way.endswith(("_memcpy", "_sum")) else "GB/s")
        for way, found in (through_daemon(kind, words.mib) or {}).items():
            rates[kind, way] = statistics.median(found[1:])
            line(f"{kind}: through the daemon, {WAYS[way]}", rates[kind, way], "GB/s", None, f"the first {found[0]:.2f}")
    for what, found in (("the engine", engines), ("through the daemon", rates)):
        for way in ("in", "out"):
            if ("cuda", way) in found and ("vulkan", way) in found:
                line(f"vulkan / cuda, {what}, {WAYS[way]}", found["vulkan", way] / found["cuda", way], "", (">=", 0.9))
    if "vulkan" in words.kinds:
        driver("bench_vulkan_calls")
        driver("bench_vulkan_flow")


if __name__ == "__main__":
    main()
