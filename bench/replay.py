"""What a policy makes the daemon load: fifty models over a card that holds eight of the mean size, asked for by Zipf's law.

A request is a load, an attach and a detach. Beside them the card holds a model that is pinned and one that is attached all
the time. A request that is refused, one of those two that is not where it was, or books that do not add up in the end,
fail the run.
"""

import contextlib
import os
import random
import time
from typing import NamedTuple

from harness import GIB, MEMORY, MIB, Daemon
from models import MODELS, write_models, write_sparse, zipf

COUNT, HELD, REQUESTS = 50, 8, 20_000
UNIT = MIB  # models of 1 to 16: the time of a load is that of its bytes, not of its messages
CARD = "fake:0"


class Replayed(NamedTuple):
    bytes: int  # loaded
    loads: int
    seconds: float
    slowest: float  # seconds of one request


def data(answer):
    assert answer.status == 200, answer.body
    return answer.data


class Replay:
    def __init__(self, daemon, session, unix, chance):
        self.daemon, self.session, self.unix = daemon, session, unix
        self.loaded, self.bytes, self.loads = {}, 0, 0
        self.paths = write_models(daemon.folder, chance, COUNT, UNIT)
        self.sizes = {name: path.stat().st_size for name, path in self.paths.items()}
        data(daemon.put(f"{MEMORY}/limits/{CARD}", {"maxBytes": HELD * sum(self.sizes.values()) // COUNT + 4 * UNIT}))
        self.stay = [self.load(write_sparse(daemon.folder / f"stays-{pinned}.safetensors", UNIT), pinned=pinned)
                     for pinned in (True, False)]
        self.call("memory.attach", self.stay[1])

    def load(self, path, **fields):
        return data(self.session.post(f"{MODELS}/load", {"path": str(path), "deviceId": CARD} | fields))["model"]

    def call(self, action, model):
        answer = self.unix.call(action, {"model_id": model["modelId"]})
        assert answer["success"], answer
        while self.unix.fds:
            os.close(self.unix.fds.pop())

    def use(self, name):
        model = self.load(self.paths[name])
        if self.loaded.get(name) != model["loadedAt"]:
            self.bytes += self.sizes[name]
            self.loads += 1
        self.loaded[name] = model["loadedAt"]
        for action in ("memory.attach", "memory.detach"):
            self.call(action, model)

    def look(self):
        """Who must stay is where he was."""
        for model in self.stay:
            found = data(self.session.get(f"{MODELS}/{model['modelId']}"))["model"]
            assert (found["state"], found["loadedAt"]) == ("ready", model["loadedAt"]), found

    def end(self):
        """The books: what is ready is what the card holds, and it all comes back."""
        self.look()
        models = data(self.daemon.get(f"{MODELS}?limit={COUNT + len(self.stay)}"))["models"]
        page = os.sysconf("SC_PAGESIZE")
        ready = sum(-(-model["sizeBytes"] // page) * page for model in models if model["state"] == "ready")
        card = data(self.daemon.get(f"{MEMORY}/status/{CARD}"))
        assert ready == card["committedBytes"] == card["residentBytes"] <= card["limits"]["maxBytes"], (ready, card)
        for model in models:
            data(self.daemon.post(f"{MODELS}/{model['modelId']}/unload", {"force": True}))
        card = data(self.daemon.get(f"{MEMORY}/status/{CARD}"))
        assert not card["committedBytes"] and not card["activeAllocations"], card


def write_trace(folder, seed):
    """The same for bench_policy."""
    chance = random.Random(seed)
    paths = write_models(folder, chance, COUNT, UNIT)
    place = {name: i for i, name in enumerate(paths)}
    words = [path.stat().st_size for path in paths.values()]
    words += [place[name] for name in zipf(chance, paths, REQUESTS)]
    (folder / "trace").write_text(" ".join(map(str, words)))
    return folder / "trace"


def run(policy, seed, requests=REQUESTS):
    """One trace under one policy, on a daemon of its own."""
    chance, slowest = random.Random(seed), 0
    daemon = Daemon("--policy", policy, devices=(f"{CARD}={GIB}",))
    with contextlib.closing(daemon), daemon.unix() as unix, daemon.session() as session:
        trace = Replay(daemon, session, unix, chance)
        began = time.monotonic()
        for name in zipf(chance, trace.paths, requests):
            at = time.monotonic()
            trace.use(name)
            slowest = max(slowest, time.monotonic() - at)
        seconds = time.monotonic() - began
        trace.end()
        return Replayed(trace.bytes, trace.loads, seconds, slowest)
