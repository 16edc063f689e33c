#!/usr/bin/env python3
"""PyTorch's caching allocator and Memkeep's on a card, with the same traces (bench/record_torch.py), in one run.

    bench/torch_card.py [TRACE…]      default: those of bench/traces/torch

Each has a process of its own; the two take turns, and times are the best of their rounds. Needs a card and a PyTorch that
takes other allocators (2.0), in the Python that runs this; what is not there is left out with its reason. The line's form
is run.py's.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import card as cards
import run
from run import GIB, MEMORY, MIB, SOURCE, line

TRACES = SOURCE / "bench/traces/torch"
EMPTY = 4 * GIB  # to be given back under pressure
BEST_OF = 5

# Plays traces, and tells what it measured; one word a line on stdin, one line of JSON each.
PLAYER = """
import json, sys, time
import torch
ours = sys.argv[1] == "ours"
if ours:
    import memkeep.torch
    memkeep.torch.use()
BLOCK, PAIRS = 64 << 20, 5000

def reserved():
    return memkeep.torch.figures(0).reserved_bytes if ours else torch.cuda.memory_reserved(0)

def make(size):
    return torch.empty(size, dtype=torch.uint8, device="cuda:0")

def play(path):
    events = [int(line) for line in open(path) if not line.startswith("#")]
    held, number = {}, 0
    began = time.perf_counter()
    for event in events:
        if event > 0:
            held[number] = make(event)
            number += 1
        else:
            del held[number + event]
    took = time.perf_counter() - began
    return {"seconds": took, "events": len(events), "reserved": reserved()}

def pairs():
    make(BLOCK)
    began = time.perf_counter()
    for _ in range(PAIRS):
        make(BLOCK)
    return {"seconds": (time.perf_counter() - began) / PAIRS}

def fill(size):
    make(int(size))

def empty():
    torch.cuda.empty_cache()
    return {"reserved": reserved()}

make(1)
empty()
print(json.dumps({"torch": torch.__version__}), flush=True)
for text in sys.stdin:
    word, _, rest = text.strip().partition(" ")
    words = {"play": play, "pairs": pairs, "empty": empty, "fill": fill}
    answer = words[word](*[rest] * bool(rest))
    print(json.dumps(answer), flush=True)
"""


class Player:
    def __init__(self, who, daemon):
        environment = run.clean_environment(
            MEMKEEP_SOCKET=daemon.socket_path, MEMKEEP_LIB=os.environ.get("MEMKEEP_LIB", str(SOURCE / "build/lib")),
            PYTHONPATH=os.pathsep.join([str(SOURCE / "python"), os.environ.get("PYTHONPATH", "")]))
        self.process = subprocess.Popen([sys.executable, "-c", PLAYER, who], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True, env=environment)
        self.answer()

    def answer(self):
        text = self.process.stdout.readline()
        if not text:
            raise RuntimeError((self.process.stderr.read().strip().splitlines() or ["it ended"])[-1])
        return json.loads(text)

    def __call__(self, words):
        self.process.stdin.write(words + "\n")
        self.process.stdin.flush()
        return self.answer()

    def close(self):
        self.process.kill()
        self.process.communicate()


def in_turns(ours, theirs, words):
    """The fastest of each."""
    rounds = [(ours(words), theirs(words)) for _ in range(BEST_OF)]
    return [min(one, key=lambda answer: answer["seconds"]) for one in zip(*rounds)]


def replay(ours, theirs, path):
    for player in (ours, theirs):
        player("empty")
    mine, other = ours(f"play {path}"), theirs(f"play {path}")  # what is reserved never falls in a trace
    line(f"torch {path.stem}: reserved / the caching allocator's", mine["reserved"] / other["reserved"], "", ("<=", 1.05),
         f"{mine['reserved'] / MIB:.0f} of {other['reserved'] / MIB:.0f} MiB; at first {mine['seconds'] * 1e3:.0f} and "
         f"{other['seconds'] * 1e3:.0f} ms")
    mine, other = in_turns(ours, theirs, f"play {path}")
    per = [1e6 * found["seconds"] / found["events"] for found in (mine, other)]
    line(f"torch {path.stem}: time / the caching allocator's", per[0] / per[1], "", ("<=", 1.05),
         f"{per[0]:.2f} of {per[1]:.2f} us for an event, from Python")


def under_pressure(daemon, ours, name):
    """From the moment at which the daemon finds memory short until the card has back what is empty."""
    ours("empty")
    ours(f"fill {min(EMPTY, cards.used(daemon, name)['availableBytes'] // 2)}")
    before = cards.used(daemon, name)["committedBytes"]
    thresholds = cards.data(daemon.get(f"{MEMORY}/pressure"))["thresholds"]
    began = time.monotonic()
    cards.data(daemon.put(f"{MEMORY}/pressure/thresholds", {"moderate": 1, "high": 2, "critical": 99}))
    run.wait_until(lambda: cards.used(daemon, name)["committedBytes"] < before // 4, "what is empty to be given back", 20)
    took = time.monotonic() - began
    cards.data(daemon.put(f"{MEMORY}/pressure/thresholds",
                          {word: thresholds[word] for word in ("moderate", "high", "critical")}))
    line(f"torch: {before / GIB:.1f} GiB given back under pressure", took * 1e3, "ms", ("<=", 200))


def measure(daemon, name, paths=()):
    players = []
    try:
        for who in ("ours", "theirs"):
            players.append(Player(who, daemon))
        ours, theirs = players
        for path in paths or sorted(TRACES.glob("*.txt")):
            replay(ours, theirs, path)
        mine, other = in_turns(ours, theirs, "pairs")  # after the traces: of processes that just began it is twice as long
        line("torch: 64 MiB taken and given back", mine["seconds"] * 1e6, "us", ("<=", 3.5),
             f"the caching allocator: {other['seconds'] * 1e6:.2f} us")
        under_pressure(daemon, ours, name)
    except RuntimeError as problem:
        print(f"  (PyTorch's allocators: not here: {problem})")
    finally:
        for player in players:
            player.close()


def main():
    with cards.CardBench() as daemon:
        names = [card["deviceId"] for card in cards.cards(daemon)]
        if not names:
            sys.exit("bench: there is no card")
        measure(daemon, names[0], [Path(word).resolve() for word in sys.argv[1:]])
    print(f"bench: {len(run.missed)} missed: {', '.join(run.missed)}" if run.missed else "bench: all floors hold")
    return 1 if run.missed else 0


if __name__ == "__main__":
    sys.exit(main())
