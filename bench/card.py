#!/usr/bin/env python3
"""Measures Memkeep on a card beside what the card, its link and the disk give to the plainest program in the same run.

    bench/card.py [--gib N]     N: size of the model that is moved (default 8)

Needs a card, and room for N GiB on the disk of --folder (default: the temporary folder) and twice in RAM. What is not
there (a second card, PyTorch, leave to drop the page cache) is left out with its reason. The line's form is run.py's.
"""

import argparse
import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import run
from run import GIB, KIB, MEMORY, MIB, MODELS, Bench, allocate, data, line, load_model, program, unload

from models import Tensor, safetensors_header

ROUNDS = 5
SETTLE = 0.3  # seconds after a park: the driver clears memory that came back, and new memory waits for that
FREED = 0.01  # seconds after a free, for the same reason
SEGMENTS_BACK = re.compile(r"segments were back ([0-9.]+) ms after the last")
WHO_ATTACHES = """
import sys, time
from doors import Unix
began = time.monotonic()
with Unix(sys.argv[1]) as unix:
    place = unix.call("memory.attach", {"model_id": sys.argv[2]})
    assert place["success"] and unix.fds, place
    print((time.monotonic() - began) * 1e3)
"""
SAFETENSORS = """
import sys, time, torch
from safetensors.torch import load_file
torch.zeros(1, device="cuda")
torch.cuda.synchronize()
began = time.monotonic()
tensors = load_file(sys.argv[1], device="cuda")
torch.cuda.synchronize()
print(time.monotonic() - began)
"""
MEMKEEP_TORCH = """
import sys, time, memkeep, memkeep.torch, torch
torch.zeros(1, device="cuda")
torch.cuda.synchronize()
client = memkeep.connect(sys.argv[1])
began = time.monotonic()
tensors = memkeep.torch.load(sys.argv[2], "cuda", client=client)
torch.cuda.synchronize()
print(time.monotonic() - began)
"""


def rate(size, seconds):
    return size / 1e9 / seconds


def timed(work):
    began = time.monotonic()
    result = work()
    return time.monotonic() - began, result


def write_model(path, size, behind=0):
    """Tensors of float16 of 32 MiB each, of bytes that no two pages share; the first one so far behind a multiple of 256."""
    count, each = size // (32 * MIB), 32 * MIB
    header = json.loads(safetensors_header([Tensor(f"t{i}", "F16", [each // 2], b"") for i in range(count)]))
    for i in range(count):
        header[f"t{i}"]["data_offsets"] = [i * each, (i + 1) * each]
    text = json.dumps(header).encode()
    text += b" " * ((behind - len(text) - 8) % 256)
    block = os.urandom(each)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for i in range(count):
            file.write(block[i % 64 * 4096 + i:] + block[:i % 64 * 4096 + i])
        file.flush()
        os.fsync(file.fileno())
    return path


def drop_cache():
    """False: not ours to do."""
    try:
        os.sync()
        Path("/proc/sys/vm/drop_caches").write_text("1")
        return True
    except OSError:
        return False


def seconds_of(what, script, *words):
    """What a Python script that needs PyTorch measures; None: it cannot run here."""
    done = subprocess.run([sys.executable, "-c", script, *words], capture_output=True, text=True)
    if done.returncode:
        print(f"  ({what}: not here: {done.stderr.strip().splitlines()[-1:]})")
        return None
    return float(done.stdout)


def safetensors_rate(path, size):
    seconds = seconds_of("safetensors", SAFETENSORS, str(path))
    return rate(size, seconds) if seconds else None


class CardBench(Bench):
    """A daemon that finds the cards there are, and host memory by its default."""

    def __init__(self, *flags):
        self.daemon = run.Daemon(*flags, devices=(), start=False)
        self.daemon.command.remove("--no-gpu")
        self.daemon.start()


def cards(daemon):
    return [device for device in data(daemon.get(f"{MEMORY}/devices"))["devices"]
            if device["deviceId"].startswith("cuda:")]


def used(daemon, device):
    return data(daemon.get(f"{MEMORY}/status/{device}"))


def owning(daemon, card):
    """What it costs to own most of a card."""
    before = used(daemon, card)["usedBytes"]
    size = used(daemon, card)["availableBytes"] * 3 // 4 // GIB * GIB
    allocation = allocate(daemon, size, card)
    run.wait_until(lambda: used(daemon, card)["usedBytes"] - before >= size, "the driver's figure", 10)
    extra = used(daemon, card)["usedBytes"] - before - size
    line(f"card: used beyond {size // GIB} GiB that are owned", extra / MIB, "MiB", ("<=", 64))
    data(daemon.delete(f"{MEMORY}/allocations/{allocation['allocationId']}"))


def allocating(daemon, card):
    with daemon.unix() as unix:
        def allocate_times(size, pause):
            times = []
            for _ in range(50):
                time.sleep(pause)
                took, answer = timed(lambda: unix.call("memory.allocate", {"device_id": card, "size_bytes": size}))
                assert answer["success"], answer
                times.append(took * 1e6)
                unix.call("memory.free", {"allocation_id": answer["data"]["allocation"]["allocation_id"]})
                while unix.fds:
                    os.close(unix.fds.pop())
            return statistics.median(times)

        line("card: allocate 1 GiB over the socket, p50", allocate_times(GIB, FREED), "us", ("<=", 1500))
        line("card: the same right after a free", allocate_times(GIB, 0), "us", None, "the driver still takes that back")
        line("card: allocate 64 KiB, asked from Python", allocate_times(64 * KIB, 0), "us", None, "most of it is Python's")
    spent = program("bench_client", daemon.facts["socket"], card)["client.allocate_us"]
    line("card: allocate 64 KiB over the socket, p50", spent, "us", ("<=", 60), "libmemkeep, with a descriptor")


def from_disk(daemon, card, path, size, link):
    colds, directs = [], []
    for _ in range(3):
        if not drop_cache():
            print("  (no leave to drop the page cache: cold figures are left out)")
            return None
        directs.append(program("bench_card", "disk", str(path))["disk.direct"])
        drop_cache()
        took, model = timed(lambda: load_model(daemon, path, card, keepRamCopy=False, verify=False))
        colds.append(rate(size, took))
        unload(daemon, model)
    limit = min(statistics.median(directs), link["card.h2d"])
    line("card: disk to card / direct reads", statistics.median(colds) / limit, "", (">=", 0.95),
         f"{statistics.median(colds):.2f} of {limit:.2f} GB/s")
    drop_cache()
    peer = safetensors_rate(path, size)
    if peer:
        line("card: disk to card / safetensors cold", statistics.median(colds) / peer, "", None, f"{peer:.2f} GB/s")


def residency(daemon, card, path, size, link):
    model = load_model(daemon, path, card, keepRamCopy=True)
    name = model["modelId"]
    parks, resumes, verified, at_once = [], [], [], []
    with daemon.unix() as unix:  # the door of who is on this host
        def ask(action, **fields):
            answer = unix.call(f"memory.{action}", fields)
            assert answer["success"], answer

        def resume(verify):
            took, _ = timed(lambda: ask("load_model", path=str(path), device_id=card, verify=verify))
            return rate(size, took)

        def park():
            ask("unload_model", model_id=name, to="ram")

        park()
        line("card: RAM to card, the first resume", resume(False), "GB/s")
        for _ in range(ROUNDS):
            for verify, found, pause in ((True, verified, SETTLE), (False, resumes, SETTLE), (False, at_once, 0)):
                took, _ = timed(park)
                parks.append(took * 1e3)
                time.sleep(pause)
                found.append(resume(verify))
    line(f"card: park {size / GIB:.0f} GiB with a copy in RAM", statistics.median(parks), "ms", ("<=", 30))
    line("card: RAM to card / pinned copy", statistics.median(resumes) / link["card.h2d"], "", (">=", 0.97),
         f"{statistics.median(resumes):.1f} of {link['card.h2d']:.1f} GB/s")
    line("card: the same right after a park", statistics.median(at_once) / link["card.h2d"], "", None,
         "the driver still clears what it got back")
    line("card: the same, verified", statistics.median(verified) / link["card.h2d"], "", (">=", 0.9),
         f"{statistics.median(verified):.1f} GB/s")
    words = [sys.executable, "-c", WHO_ATTACHES, daemon.socket_path, name]
    environment = run.clean_environment(PYTHONPATH=str(run.SOURCE / "tests/e2e"))
    times = [float(subprocess.run(words, check=True, capture_output=True, text=True, env=environment).stdout)
             for _ in range(9)]
    line("card: a process attaches the model", statistics.median(times), "ms", ("<=", 3))
    path.read_bytes()
    peer = safetensors_rate(path, size)
    if peer:
        line("card: RAM to card / safetensors warm", statistics.median(resumes) / peer, "", (">=", 7),
             f"{peer:.2f} GB/s")
        into_torch(daemon, path, size, size / 1e9 / peer)
    unload(daemon, model)


def padded(daemon, card, folder, size, link):
    """Weights that do not begin at a multiple of 256 in their file do so on the card, so their bytes lie a pad apart in RAM."""
    size = min(size, 2 * GIB)
    for behind in (0, 8):
        path = write_model(Path(folder) / f"behind{behind}.safetensors", size, behind)
        model = load_model(daemon, path, card, keepRamCopy=True, verify=False)
        found = []
        for _ in range(ROUNDS):
            unload(daemon, model, "ram")
            time.sleep(SETTLE)
            found.append(rate(size, timed(lambda: load_model(daemon, path, card, keepRamCopy=True, verify=False))[0]))
        got = statistics.median(found)
        line(f"card: RAM to card, weights {behind} behind a multiple of 256 / pinned copy", got / link["card.h2d"], "", None,
             f"{got:.1f} GB/s, {size / GIB:.1f} GiB")
        unload(daemon, model)
        path.unlink()


def to_ram(daemon, card, link):
    """Into memory that was never touched, and into the same again."""
    size = 2 * GIB
    source = allocate(daemon, size, card)
    data(daemon.post(f"{MEMORY}/operations/fill", {"allocationId": source["allocationId"], "value": 7}))
    for verify, how in ((False, ""), (True, ", verified")):
        fresh, again = [], []
        for _ in range(ROUNDS):
            target = allocate(daemon, size, "host:0")
            for found in (fresh, again):
                found.append(rate(size, data(daemon.post(f"{MEMORY}/operations/copy", {
                    "sourceAllocationId": source["allocationId"], "targetAllocationId": target["allocationId"],
                    "verify": verify}))["timeMs"] / 1e3))
            data(daemon.delete(f"{MEMORY}/allocations/{target['allocationId']}"))
        for found, what in ((fresh, "fresh memory"), (again, "memory that was written before")):
            line(f"card: to RAM, {what}{how}", statistics.median(found), "GB/s", None, f"the link: {link['card.d2h']:.1f}")
    data(daemon.delete(f"{MEMORY}/allocations/{source['allocationId']}"))


def into_torch(daemon, path, size, theirs):
    """What is resident as tensors of a process that has its context; theirs: seconds of safetensors, from the page cache."""
    found = [seconds_of("memkeep.torch", MEMKEEP_TORCH, daemon.socket_path, str(path)) for _ in range(ROUNDS)]
    if None in found:
        return
    ours = statistics.median(found)
    line(f"card: memkeep.torch.load of resident {size / GIB:.0f} GiB", ours * 1e3, "ms", ("<=", 30))
    line("card: safetensors warm / the same", theirs / ours, "", (">=", 30))


def between(daemon, names, link):
    size = used(daemon, names[0])["availableBytes"] * 2 // 5 // GIB * GIB  # 20 ms and more: an empty job takes 0.2
    for source, target, limit in ((names[0], names[0], "card.d2d"), (names[0], names[-1], "card.peer")):
        if limit not in link or (source == target) != (limit == "card.d2d"):
            print(f"  (no second card: {limit} is left out)")
            continue
        first, second = allocate(daemon, size, source), allocate(daemon, size, target)
        times = []
        for _ in range(ROUNDS):
            times.append(data(daemon.post(f"{MEMORY}/operations/copy", {
                "sourceAllocationId": first["allocationId"], "targetAllocationId": second["allocationId"],
                "verify": False}))["timeMs"] / 1e3)
        got = rate(size, statistics.median(times))
        line(f"card: copy {source} to {target} / the driver's own", got / link[limit], "", (">=", 0.97),
             f"{got:.0f} of {link[limit]:.0f} GB/s")
        for allocation in (first, second):
            data(daemon.delete(f"{MEMORY}/allocations/{allocation['allocationId']}"))


def checksum(daemon, allocation, scratch):
    return data(daemon.post(f"{MEMORY}/operations/copy", {
        "sourceAllocationId": allocation["allocationId"], "targetAllocationId": scratch["allocationId"],
        "sizeBytes": allocation["sizeBytes"], "verify": True}))["checksum"]


def defragmented(daemon, card):
    """8 GiB, or what fits, of blocks of 64 KiB to 1 MiB, after every second was freed: what came of it, and of how many."""
    chance, total = random.Random(8), min(16 * GIB, used(daemon, card)["availableBytes"] * 3 // 4)
    bodies, size = [], 0
    while size < total:
        bodies.append(json.dumps({"sizeBytes": chance.randrange(64 * KIB, MIB + 1, 4 * KIB)}).encode())
        size += json.loads(bodies[-1])["sizeBytes"]
    with daemon.raw(timeout=300) as raw:
        def pipelined(requests):
            for start in range(0, len(requests), 500):
                batch = requests[start:start + 500]
                raw.send(b"".join(batch))
                yield from (data(raw.answer()) for _ in batch)

        path = f"{MEMORY}/allocations/allocate/{card}"
        made = [one["allocation"] for one in pipelined([run.request_bytes("POST", path, body) for body in bodies])]
        for _ in pipelined([run.request_bytes("DELETE", f"{MEMORY}/allocations/{one['allocationId']}")
                            for one in made[::2]]):
            pass
        scratch = allocate(daemon, MIB, card)
        looked = chance.sample(made[1::2], min(200, len(made) // 2))
        for i, one in enumerate(looked):
            data(daemon.post(f"{MEMORY}/operations/fill", {"allocationId": one["allocationId"], "value": i}))
        sums = [checksum(daemon, one, scratch) for one in looked]
        moved = data(daemon.http.request("POST", f"{MEMORY}/operations/defragment/{card}?timeout=300",
                                         {"strategy": "thorough"}, timeout=320))
        assert sums == [checksum(daemon, one, scratch) for one in looked], "bytes changed"
    run.free_all(daemon)
    return moved, len(made) // 2


def defragmenting(daemon, card, link):
    """Each time the same; the median, for the cores of a virtual machine are faster by half at times."""
    rates, last = [], None
    for _ in range(ROUNDS):
        last, blocks = defragmented(daemon, card)
        rates.append(last["defragmentedBytes"] / 1e6 / last["defragmentationTimeMs"])
    back = [float(found) for found in SEGMENTS_BACK.findall(daemon.log())]
    line("card: the segments are back, after its last move", statistics.median(back), "ms")
    line("card: defragment / the card's own copies", statistics.median(rates) / link["card.d2d"], "", (">=", 0.3),
         f"{statistics.median(rates):.0f} GB/s, from {min(rates):.0f} to {max(rates):.0f}; {last['allocationsMoved']:,} of "
         f"{blocks:,} blocks, {last['defragmentedBytes'] / GIB:.1f} GiB, {last['segmentsReleased']} segments given back")


def batches():
    found = program("bench_batch")
    whole = found["card.batch_whole"]
    for name, what in (("card.batch", "64 KiB to 1 MiB"), ("card.batch_small", "64 KiB")):
        line(f"card: blocks of {what}, compared / one copy", found[name] / whole, "", None,
             f"{found[name]:.0f} of {whole:.0f} GB/s")
    for name, what in (("card.sum", "summed up by the card"), ("card.sum_idle", "the same, after 0.3 s of doing nothing")):
        line(f"card: 8 GiB {what}", found[name], "GB/s")


def torch_allocator(daemon, card):
    import torch_card  # it stands on this file
    torch_card.measure(daemon, card)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gib", type=float, default=8)
    parser.add_argument("--folder", default=tempfile.gettempdir())
    words = parser.parse_args()
    size = int(words.gib * GIB) // (32 * MIB) * 32 * MIB
    print(f"bench: {run.machine()}")
    link = program("bench_card", "link")
    for name, value in sorted(link.items()):
        line(f"card: {name.removeprefix('card.')}, the driver's own", value, "GB/s")
    batches()
    with tempfile.TemporaryDirectory(dir=words.folder) as folder:
        path = write_model(Path(folder) / "m.safetensors", size)
        with CardBench("--model-dir", folder) as daemon:
            names = [card["deviceId"] for card in cards(daemon)]
            owning(daemon, names[0])
            allocating(daemon, names[0])
            between(daemon, names, link)
            defragmenting(daemon, names[0], link)
            from_disk(daemon, names[0], path, size, link)
            residency(daemon, names[0], path, size, link)
            padded(daemon, names[0], folder, size, link)
            to_ram(daemon, names[0], link)
        with CardBench() as daemon:
            torch_allocator(daemon, names[0])
    print(f"bench: {len(run.missed)} missed: {', '.join(run.missed)}" if run.missed else "bench: all floors hold")
    return 1 if run.missed else 0


if __name__ == "__main__":
    sys.exit(main())
