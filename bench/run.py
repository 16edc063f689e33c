#!/usr/bin/env python3
"""Measures Memkeep beside its limits: every figure is a ratio within this run, or stands beside the machine's own.

    bench/run.py [PART…]     parts: span policy forecast predict http million transfer footprint defragment restart client load
                             models history vulkan (default: all)

The daemon runs on core 0, the load on core 1, as far as there are two. A line is `ok` or `MISSED` against the floor that
the project set itself; the exit code is 1 when one was missed. On a shared machine repeat before you believe a miss.
"""

import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(SOURCE / "tests/e2e"))

from doors import request_bytes  # noqa: E402
from harness import GIB, KIB, MEMORY, MIB, Daemon, Http, clean_environment, wait_until  # noqa: E402
from kernel import ids_of_children, meminfo  # noqa: E402
from models import MODELS, WHO_ATTACHES, WHO_LOOKS, write_sparse  # noqa: E402

import replay  # noqa: E402
from history import figures as figures_of_history  # noqa: E402
from replay import data  # noqa: E402
from vulkan import figures as figures_of_vulkan  # noqa: E402

BENCH = Path(os.environ.get("MEMKEEP_BIN", SOURCE / "build/bin")).parent / "bench"
CORES = sorted(os.sched_getaffinity(0))
SERVER, LOAD = {CORES[0]}, {CORES[-1]}
ROUNDS, SECONDS = 3, 4
SEEDS = range(1, 4)  # traces: one says little
MILLION = 1_000_000
missed = []


def line(name, value, unit, floor=None, beside=""):
    """One figure; `floor` is (">=", 0.6) or ("<=", 350)."""
    verdict = ""
    if floor:
        holds = value >= floor[1] if floor[0] == ">=" else value <= floor[1]
        verdict = f"{'ok' if holds else 'MISSED'}  ({floor[0]} {floor[1]:g})"
        if not holds:
            missed.append(name)
    print(f"  {name:<44} {value:>11.4g} {unit:<10} {verdict:<22} {beside}", flush=True)


def program(name, *words):
    """The figures that a bench program prints."""
    output = subprocess.run([str(BENCH / name), *words], check=True, capture_output=True, text=True).stdout
    return {key: float(value) for key, value in re.findall(r"^([\w.]+)=(\S+)$", output, re.M)}


def pin(pid, cores):
    for thread in os.listdir(f"/proc/{pid}/task"):
        os.sched_setaffinity(int(thread), cores)


def wrk(port, path="/", script=None, seconds=SECONDS, connections=32):
    """(requests per second, p99 in ms) of one run over keep-alive."""
    words = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency"]
    words += ["-s", str(SOURCE / "bench" / script)] if script else []
    output = subprocess.run([*words, f"http://127.0.0.1:{port}{path}"], check=True, capture_output=True, text=True,
                            preexec_fn=lambda: os.sched_setaffinity(0, LOAD)).stdout
    if failed := re.search(r"Non-2xx.*", output):
        raise AssertionError(f"{path}: {failed[0]}")
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", output)[1])
    value, unit = re.search(r"99%\s+([\d.]+)(\w+)", output).groups()
    return rate, float(value) * {"us": 1e-3, "ms": 1, "s": 1e3}[unit]


class Fixed:
    """The peer: the same library, a fixed body."""

    def __init__(self, size):
        self.process = subprocess.Popen([str(BENCH / "bench_http"), str(size)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline())
        pin(self.process.pid, SERVER)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.communicate()


class Bench:
    """A daemon for one part."""

    def __init__(self, *flags, devices):
        self.daemon = Daemon(*flags, devices=devices)

    def __enter__(self):
        return self.daemon

    def __exit__(self, *_):
        self.daemon.close()


def allocate(daemon, size, device):
    return data(daemon.post(f"{MEMORY}/allocations/allocate/{device}", {"sizeBytes": size}))["allocation"]


def free_all(daemon):
    return data(daemon.http.request("POST", f"{MEMORY}/operations/clear?timeout=600",
                                    {"scope": "all", "force": True}, timeout=620))


def touch(daemon, size):
    """Lets the machine give this much memory once, and takes it back."""
    allocation = allocate(daemon, size, "host:0")
    data(daemon.post(f"{MEMORY}/operations/fill", {"allocationId": allocation["allocationId"], "value": 1}))
    data(daemon.delete(f"{MEMORY}/allocations/{allocation['allocationId']}"))


def medians(*measures):
    """Runs the measures by turns, ROUNDS times; the median of each (rates and latencies apart)."""
    results = [[] for _ in measures]
    for _ in range(ROUNDS):
        for measure, found in zip(measures, results):
            found.append(measure())
    return [tuple(statistics.median(column) for column in zip(*found)) for found in results]


def span():
    figures = program("bench_span")
    beside = f"a random access here: {figures['span.machine_random_access_ns']:.0f} ns"
    line("span: free one of 1M + take, median", figures["span.free_take_median_ns"], "ns", ("<=", 350), beside)
    line("span: free one of 1M + take, p99", figures["span.free_take_p99_ns"], "ns", ("<=", 1200))
    line("span: take and free the same block", figures["span.same_block_ns"], "ns", ("<=", 50))


def policy():
    figures = program("bench_policy")
    for kind, floor in (("zipf0.8", None), ("zipf1.0", ("<=", 0.75)), ("zipf1.2", None), ("shift1.0", None)):
        beside = " ".join(f"{name} {figures[f'policy.{kind}.{name}']:.3f}" for name in ("lru", "lfu", "foreseen"))
        line(f"policy: {kind}: bytes reloaded, cost / fifo", figures[f"policy.{kind}.cost"], "", floor, beside)


def forecast():
    figures = program("bench_forecast", *map(str, sorted((SOURCE / "bench/traces").glob("*.txt"))))
    for horizon in ("60s", "120s", "300s"):
        found, plain = ({key: figures[f"{who}.{horizon}.{key}"] for key in ("foretold", "error", "held")}
                        for who in ("forecast", "line"))
        line(f"forecast: {horizon} before: median error", found["error"], "", None,
             f"a line of least squares: {plain['error']:.2f}; foretold: {found['foretold']:.2f}, in the band: {found['held']:.2f}")
    wrong = [figures[f"{who}.false"] * figures[f"{who}.alarms"] for who in ("forecast", "line")]
    line("forecast: false alarms / those of the line", wrong[0] / wrong[1], "", None,
         f"{wrong[0]:.0f} of {figures['forecast.alarms']:.0f}; the line: {wrong[1]:.0f} of {figures['line.alarms']:.0f}")
    line("forecast: a client that leaks: median error", figures["forecast.leak.error"], "", None,
         f"in the band: {figures['forecast.leak.held']:.2f}")


def torch():
    traces = sorted((SOURCE / "bench/traces/torch").glob("*.txt"))
    figures = program("bench_torch", *map(str, traces))
    for name in (path.stem for path in traces):
        ours, rule, asked = (figures[f"torch.{name}.{what}_bytes"] for what in ("reserved", "rule", "requested"))
        line(f"torch: {name}: reserved / the caching rule's", ours / rule, "", ("<=", 1.05),
             f"simulated; {ours / asked:.3f} and {rule / asked:.3f} of what is asked for")
        line(f"torch: {name}: an operation", figures[f"torch.{name}.ns"], "ns", ("<=", 400))
    line("torch: take and give 64 MiB", figures["torch.same_block_ns"], "ns", ("<=", 200))


def predict():
    figures = program("bench_predict", *map(str, sorted((SOURCE / "bench/traces").glob("*.txt"))))
    for what, name in (("room", "wait for an eviction"), ("chain", "wait for a file")):
        found = {key: figures[f"predict.{what}.{key}"] for key in ("waits", "waits_with", "bytes", "acts", "needed")}
        line(f"predict: {what}: requests that {name}, with it / without", found["waits_with"] / found["waits"], "", ("<=", 1),
             f"{found['waits_with']:.0f} of {found['waits']:.0f}; {found['acts']:.0f} acts, needed {found['needed']:.2f}")
        line(f"predict: {what}: bytes loaded, with it / without", found["bytes"], "", ("<=", 1.05))


def http():
    with Bench(devices=("host:0=8GiB",)) as daemon:
        pin(daemon.pid, SERVER)
        status = f"{MEMORY}/status"
        wait_until(lambda: data(daemon.get(status))["devices"][0]["processes"], "the first sample")
        with Fixed(len(json.dumps(daemon.get(status).body, separators=(",", ":")))) as fixed:
            base, get, pairs = medians(lambda: wrk(fixed.port), lambda: wrk(daemon.port, status),
                                       lambda: wrk(daemon.port, script="allocate_free.lua"))
    line("http: fixed body, the same library", base[0], "req/s")
    line("http: GET status / fixed body", get[0] / base[0], "", (">=", 0.6), f"{get[0]:.0f} req/s")
    line("http: GET status, p99 at 32 connections", get[1], "ms", ("<=", 2), f"of the fixed body {base[1]:.2f} ms")
    line("http: POST + DELETE of 4 KiB / fixed body", pairs[0] / base[0], "", (">=", 0.35), f"{pairs[0]:.0f} req/s")


def active(daemon):
    return data(daemon.get(f"{MEMORY}/status"))["activeAllocations"]


def live(daemon, count):
    """Allocates 4 KiB until so many are alive; a pipelined connection tops up what wrk left."""
    while count - active(daemon) > 50_000:
        missing = count - active(daemon)
        wrk(daemon.port, script="allocate.lua", seconds=max(1, min(10, missing // 100_000)))
    request = request_bytes("POST", f"{MEMORY}/allocations/allocate/host:0", b'{"sizeBytes":4096}')
    with daemon.raw(timeout=120) as raw:
        for _ in range(max(0, count - active(daemon)) // 500):
            raw.send(request * 500)
            for _ in range(500):
                assert raw.answer().status == 200


def rss(pid):
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(re.search(r"^Rss:\s+(\d+) kB", text, re.M)[1]) * KIB


def million():
    with Bench(devices=("host:0=16GiB",)) as daemon:
        pin(daemon.pid, SERVER)
        idle = rss(daemon.pid)
        live(daemon, 1000)
        few = [wrk(daemon.port, script="allocate_free.lua")[0] for _ in range(ROUNDS)]
        base = rss(daemon.pid)
        live(daemon, MILLION)
        count = active(daemon)
        bytes_each = (rss(daemon.pid) - base) / (count - 1000)
        many = [wrk(daemon.port, script="allocate_free.lua")[0] for _ in range(ROUNDS)]
        listing = wrk(daemon.port, f"{MEMORY}/allocations?limit=100", seconds=2)
    line("million: POST + DELETE at 1M / at 1,000 live", statistics.median(many) / statistics.median(few), "",
         (">=", 0.7), f"{statistics.median(many):.0f} req/s at {count:,}")
    line("million: daemon's bytes per live allocation", bytes_each, "B", ("<=", 300),
         f"idle {idle / MIB:.1f} MiB")
    line("million: a page of 100 allocations", listing[0], "req/s")


def transfer():
    with Bench(devices=("host:0=4GiB", "host:1=4GiB")) as daemon:
        touch(daemon, 3 * GIB)
        source, target = allocate(daemon, GIB, "host:0"), allocate(daemon, GIB, "host:0")
        for allocation in (source, target):
            data(daemon.post(f"{MEMORY}/operations/fill", {"allocationId": allocation["allocationId"], "value": 7}))

        def gib(answer, start):
            data(answer)
            return GIB / GIB / (time.monotonic() - start)

        def move(verify):
            start = time.monotonic()
            answer = daemon.post(f"{MEMORY}/transfer", {
                "sourceDeviceId": "host:0", "targetDeviceId": "host:1", "allocationId": source["allocationId"],
                "verify": verify, "wait": True})
            rate = gib(answer, start)
            data(daemon.delete(f"{MEMORY}/allocations/{answer.data['targetAllocationId']}"))
            return (rate,)

        def copy(verify):
            start = time.monotonic()
            return (gib(daemon.post(f"{MEMORY}/operations/copy", {
                "sourceAllocationId": source["allocationId"], "targetAllocationId": target["allocationId"],
                "verify": verify}), start),)

        def peer():
            figures = program("bench_memcpy")
            return figures["memcpy.fresh_memfd"], figures["memcpy.touched"]

        (first,) = copy(False)
        # copies before moves: what a move's end gives back goes to the kernel beside what follows
        (fresh, touched), *rates = medians(peer, lambda: copy(False), lambda: copy(True), lambda: move(False),
                                           lambda: move(True))
    copied, copied_verified, moved, moved_verified = (rate for (rate,) in rates)
    line("transfer: memcpy into a fresh memfd", fresh, "GiB/s")
    line("transfer: memcpy between touched memory", touched, "GiB/s")
    line("transfer: 1 GiB host to host / memcpy fresh", moved / fresh, "", (">=", 1.5), f"{moved:.2f} GiB/s")
    line("transfer: the same, verified", moved_verified / fresh, "", (">=", 0.5), f"{moved_verified:.2f} GiB/s")
    line("transfer: copy / memcpy touched", copied / touched, "", (">=", 0.85),
         f"{copied:.2f} GiB/s, the first time {first:.2f}")
    line("transfer: the same, verified", copied_verified / touched, "", (">=", 0.5), f"{copied_verified:.2f} GiB/s")


def cpu_seconds(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def footprint():
    starts = []
    for _ in range(2 * ROUNDS + 1):
        daemon = Daemon(start=False)
        began = time.monotonic()
        daemon.spawn()
        while not (daemon.runtime / "memkeepd.json").exists():
            time.sleep(0.001)
        starts.append((time.monotonic() - began) * 1e3)
        daemon.facts = json.loads((daemon.runtime / "memkeepd.json").read_text())
        daemon.close()
    line("footprint: start to ready", statistics.median(starts), "ms", ("<=", 100))
    with Bench(devices=()) as daemon:
        wait_until(lambda: data(daemon.get(f"{MEMORY}/status"))["workers"]["healthy"], "the worker")
        daemon.get(f"{MEMORY}/status")
        before, began = cpu_seconds(daemon.pid), time.monotonic()
        time.sleep(20)  # this is the measurement: what it does when nobody asks
        used = 100 * (cpu_seconds(daemon.pid) - before) / (time.monotonic() - began)
        line("footprint: resident memory, idle", rss(daemon.pid) / MIB, "MiB", ("<=", 12))
        line("footprint: idle CPU over 20 s", used, "%", ("<=", 0.2))


def defragment():
    count, size = 100_000, 16 * KIB
    with Bench(devices=("host:0=4GiB",)) as daemon, daemon.raw(timeout=120) as raw:
        def pipelined(requests):
            for start in range(0, len(requests), 500):
                batch = requests[start:start + 500]
                raw.send(b"".join(batch))
                yield from (data(raw.answer()) for _ in batch)

        body = json.dumps({"sizeBytes": size, "commit": True}).encode()
        make = request_bytes("POST", f"{MEMORY}/allocations/allocate/host:0", body)
        ids = [made["allocation"]["allocationId"] for made in pipelined([make] * count)]
        for _ in pipelined([request_bytes("DELETE", f"{MEMORY}/allocations/{name}") for name in ids[::2]]):
            pass
        before, resident = data(daemon.get(f"{MEMORY}/status/host:0")), daemon.resident()
        answer = daemon.http.request("POST", f"{MEMORY}/operations/defragment?timeout=300", {"strategy": "thorough"},
                                     timeout=320)
        after, moved = data(daemon.get(f"{MEMORY}/status/host:0")), data(answer)
        line("defragment: every second of 100,000 freed", before["fragmentationPercent"], "%", (">=", 45))
        line("defragment: afterwards", after["fragmentationPercent"], "%", ("<=", 3),
             f"{moved['defragmentedBytes'] / MIB:.0f} MiB moved in {moved['defragmentationTimeMs']:.0f} ms")
        line("defragment: the kernel got back / freed", (resident - daemon.resident()) / (count / 2 * size), "",
             (">=", 0.9))


def kill_and_start(daemon):
    """Milliseconds from the start of the program to memkeepd.json, after a crash."""
    daemon.kill()
    began = time.monotonic()
    daemon.spawn()
    while not (daemon.runtime / "memkeepd.json").exists():
        time.sleep(0.001)
    took = (time.monotonic() - began) * 1e3
    daemon.facts = wait_until(daemon._ready, "memkeepd.json")
    daemon.http = Http(daemon.port)
    return took


def restart():
    segments = 1000
    with Bench(devices=("host:0=16GiB",)) as daemon:
        for _ in range(segments):
            allocate(daemon, 8 * MIB, "host:0")
        for count, floor in ((100_000, 250), (MILLION, 1500)):
            live(daemon, count)
            found = active(daemon)
            times = [kill_and_start(daemon) for _ in range(2 * ROUNDS + 1)]
            assert active(daemon) == found
            line(f"restart: ready with {count:,} allocations", statistics.median(times), "ms", ("<=", floor),
                 f"{data(daemon.get(f'{MEMORY}/status/host:0'))['segments']:,} segments")


def client():
    with Bench(devices=()) as daemon:
        figures = program("bench_client", daemon.facts["socket"])
    trip, cycle = figures["client.round_trip_us"], figures["client.cycle_us"]
    line("client: an empty round trip", trip, "us")
    line("client: a cycle of 1 MiB beyond two of them", cycle - 2 * trip, "us", ("<=", 40), f"{cycle:.0f} us")
    small, large = figures["client.attach_small_us"], figures["client.attach_large_us"]
    line("client: attach and detach 1 GiB", large, "us", ("<=", 150), f"64 KiB: {small:.0f} us")
    line("client: 1 GiB / 64 KiB", large / small, "", ("<=", 1.5))


def load():
    figures = program("bench_load")
    found = {key.removeprefix("load."): value for key, value in figures.items()}
    cold, warm = found["cold_peer"], found["warm_peer"]
    line("load: direct reads by two threads, cold", cold, "GiB/s")
    line("load: 1 GiB cold / the same", found["cold"] / cold, "", (">=", 0.9), f"{found['cold']:.2f} GiB/s")
    line("load: memcpy from the page cache, fresh", warm, "GiB/s")
    line("load: 1 GiB warm / the same", found["warm"] / warm, "", (">=", 1.2), f"{found['warm']:.2f} GiB/s")
    line("load: warm and verified / the same", found["verified"] / warm, "")
    line("load: of a fake link of 256 MiB/s", found["link_rate"], "", (">=", 0.9))
    line("load: fake link of 20 GiB/s / one thread's loop", found["fast_link"] / found["fast_peer"], "", None,
         f"{found['fast_link']:.2f} GiB/s")


def load_model(daemon, path, device, **fields):
    body = {"path": str(path), "deviceId": device} | fields
    return data(daemon.http.request("POST", f"{MODELS}/load?timeout=600", body, timeout=620))["model"]


def unload(daemon, model, to="disk"):
    return data(daemon.post(f"{MODELS}/{model['modelId']}/unload", {"to": to}))


def full_memfd(size):
    """The peer: what the kernel alone takes to get so many bytes back is measured with it."""
    fd, block = os.memfd_create("peer"), bytes(16 * MIB)
    for offset in range(0, size, len(block)):
        os.pwrite(fd, block, offset)
    return fd


def close_ms(fd):
    began = time.monotonic()
    os.close(fd)
    return (time.monotonic() - began) * 1e3


def models_park():
    rate, size = 256 * MIB, 64 * MIB
    with Bench(devices=("host:0=1GiB", f"fake:0=1GiB,rate={rate}")) as daemon:
        path = write_sparse(daemon.folder / "m.safetensors", size)
        model = load_model(daemon, path, "fake:0", keepRamCopy=True)
        movers, parks, resumes, verified, used = ids_of_children(daemon.pid), [], [], [], 0
        for _ in range(2 * ROUNDS + 1):
            before, began = sum(map(cpu_seconds, movers)), time.monotonic()
            unload(daemon, model, "ram")
            parks.append((time.monotonic() - began) * 1e3)
            used += sum(map(cpu_seconds, movers)) - before
            for verify, found in ((True, verified), (False, resumes)):
                began = time.monotonic()
                load_model(daemon, path, "fake:0", verify=verify)
                found.append(model["sizeBytes"] / rate / (time.monotonic() - began))
                if verify:
                    unload(daemon, model, "ram")
        peer = statistics.median(close_ms(full_memfd(size)) for _ in parks)
    line("models: park 64 MiB with a copy in RAM", statistics.median(parks), "ms", ("<=", 20),
         f"closing a memfd: {peer:.1f} ms; the movers' CPU over {len(parks)} of them: {used * 1e3:.0f} ms")
    line("models: resume / the link of 256 MiB/s", statistics.median(resumes), "", (">=", 0.9),
         f"verified: {statistics.median(verified):.2f}")


def script(words, **more):
    """A Python process of its own."""
    return subprocess.Popen([sys.executable, "-c", *map(str, words)], stdout=subprocess.PIPE, text=True,
                            env=clean_environment(PYTHONPATH=str(SOURCE / "tests/e2e")), **more)


def attach_times(daemon, model):
    """Milliseconds from connect to the last byte."""
    words = (WHO_ATTACHES, daemon.socket_path, model["modelId"])
    return statistics.median(float(script(words).communicate()[0]) for _ in range(4 * ROUNDS + 1))


def looks_beside(daemon, path, work):
    """(seconds of the work, the ms of each GET of the path meanwhile: what follows is disturbed by us)"""
    with script((WHO_LOOKS, daemon.port, path), stdin=subprocess.PIPE) as looks:
        looks.stdout.readline()
        began = time.monotonic()
        work()
        ended = time.monotonic()
        return ended - began, [ms for there, ms in json.loads(looks.communicate()[0]) if began < there < ended]


def models_host():
    size = 4 * GIB if meminfo()["MemAvailable"] > 12 * GIB else 2 * GIB
    with Bench(devices=("host:0=8GiB",)) as daemon:
        path = write_sparse(daemon.folder / "large.safetensors", size)
        large = load_model(daemon, path, "host:0")
        small = load_model(daemon, write_sparse(daemon.folder / "small.safetensors", 64 * MIB), "host:0")
        times = [attach_times(daemon, model) for model in (small, large)]
        rounds = {"look at a model meanwhile": [], "status meanwhile": [], "look while a memfd is closed": [],
                  "look without either": []}
        model, status = f"{MODELS}/{small['modelId']}", f"{MEMORY}/status/host:0"
        for _ in range(ROUNDS):
            for found, asked in zip(rounds.values(), (model, status)):
                found.append(looks_beside(daemon, asked, lambda: unload(daemon, large)))
                large = load_model(daemon, path, "host:0")
            peer = full_memfd(size)
            for found, work in zip(list(rounds.values())[2:], (lambda: os.close(peer), lambda: time.sleep(0.5))):
                found.append(looks_beside(daemon, model, work))
    took, _, closed, _ = (statistics.median(took for took, _ in found) for found in rounds.values())
    line(f"models: a process attaches {size // GIB} GiB", times[1], "ms", ("<=", 5), f"64 MiB: {times[0]:.2f} ms")
    line(f"models: {size // GIB} GiB / 64 MiB", times[1] / times[0], "", ("<=", 1.5))
    line(f"models: unload {size // GIB} GiB / closing a memfd", took / closed, "", ("<=", 1.2),
         f"{took * 1e3 / (size / GIB):.0f} ms a GiB")
    for name, found in rounds.items():
        looks = sorted(ms for _, round_s in found for ms in round_s)
        line(f"models: slowest {name}", statistics.median(max(round_s) for _, round_s in found), "ms",
             ("<=", 2) if name.endswith("meanwhile") else None,
             f"99.9 % within {looks[len(looks) * 999 // 1000]:.2f} ms, half within {looks[len(looks) // 2]:.2f}")


def models_trace():
    """Three traces say little of the policy (that is bench_policy's, of sixty), but whether the daemon does what it can."""
    ratios, alone, slowest = [], [], 0
    for seed in SEEDS:
        fifo, cost = (replay.run(policy, seed) for policy in ("fifo", "cost"))
        ratios.append(cost.bytes / fifo.bytes)
        slowest = max(slowest, fifo.slowest, cost.slowest)
        with tempfile.TemporaryDirectory() as folder:
            alone += program("bench_policy", replay.write_trace(Path(folder), seed)).values()
    line("models: 20,000 requests by Zipf's law, fifo", replay.REQUESTS / fifo.seconds, "req/s", None,
         f"{fifo.bytes / GIB:.1f} GiB in {fifo.loads} loads; slowest of all {slowest * 1e3:.0f} ms")
    line("models: bytes loaded, cost / fifo", statistics.median(ratios), "", None,
         " ".join(f"{ratio:.3f}" for ratio in ratios))
    line("models: the same / the policy alone", statistics.median(r / a for r, a in zip(ratios, alone)), "",
         ("<=", 1.03), " ".join(f"{ratio:.3f}" for ratio in alone))


def models():
    models_park()
    models_host()
    models_trace()


def vulkan():
    for name, value, unit, floor, beside in figures_of_vulkan(str(BENCH / "bench_link"), BENCH.parent / "tests/vulkan"):
        line(f"vulkan: {name}", value, unit, floor, beside)


def history():
    for name, value, unit, floor, beside in figures_of_history():
        line(f"history: {name}", value, unit, floor, beside)


PARTS = {part.__name__: part for part in (span, torch, policy, forecast, predict, http, million, transfer, footprint, defragment, restart, client,
                                          load, models, history, vulkan)}


def machine():
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return f"{cpu[1] if cpu else '?'}, {len(CORES)} cores, load {os.getloadavg()[0]:.1f}, kernel {os.uname().release}"


def main():
    names = sys.argv[1:] or list(PARTS)
    if unknown := set(names) - set(PARTS):
        sys.exit(f"bench: no such part: {', '.join(unknown)} (there are: {' '.join(PARTS)})")
    print(f"bench: {machine()}")
    for name in names:
        PARTS[name]()
    print(f"bench: {len(missed)} missed: {', '.join(missed)}" if missed else "bench: all floors hold")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
