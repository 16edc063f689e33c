"""Models against enemies: hostile files are refused with their code and leave nothing; whoever is killed at whatever
moment, a model is whole afterwards, every byte of it, or absent, and the books are the kernel's."""

import contextlib
import json
import os
import random
import signal
import socket
import struct
import threading
import time
import unittest

import kernel
from harness import KIB, MIB, DaemonCase, SharedDaemonCase, wait_until
from models import (PLAIN, STRING, UINT32, Attached, ModelWords, Tensor, gguf_pair, gguf_string, pack_gguf,
                    pack_safetensors, safetensors_header, some_tensors, write_gguf, write_safetensors, write_sharded,
                    write_split)
from restart import RestartCase

ROUNDS, MOST_ROUNDS = 60, 240
CUT = {"load", "resume", "unload to ram"}
TENSORS = [Tensor("a", "U8", [64], bytes(range(64))), Tensor("b", "F32", [4, 4], bytes(64))]
DATA = b"".join(tensor.data for tensor in TENSORS)


def entry(begin, end, dtype="U8", shape=None):
    return {"dtype": dtype, "shape": [end - begin] if shape is None else shape, "data_offsets": [begin, end]}


def raw_gguf(tensors=1, pairs=b"", pair_count=0, infos=b"", data=bytes(64), version=3):
    return b"GGUF" + struct.pack("<IQQ", version, tensors, pair_count) + pairs + infos + data


def info(name="t", shape=(16,), kind=0, offset=0):
    return gguf_string(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)


HUGE = (1 << 64) - 1
SAFETENSORS = {
    "empty": b"",
    "shorter than a length": b"\1\0\0",
    "header longer than the file": struct.pack("<Q", 1000) + b"{}",
    "header of 2^64 - 1 bytes": struct.pack("<Q", HUGE) + b"{}",
    "header over the cap": struct.pack("<Q", 100_000_001) + b"{}",
    "no JSON": pack_safetensors(b"hello world!"),
    "an array": pack_safetensors(b"[]"),
    "a hole at the end": pack_safetensors(safetensors_header(TENSORS), DATA + b"x"),
    "truncated weights": pack_safetensors(safetensors_header(TENSORS), DATA[:-1]),
    "overlap": pack_safetensors(json.dumps({"a": entry(0, 8), "b": entry(4, 12)}).encode(), bytes(12)),
    "a hole between": pack_safetensors(json.dumps({"a": entry(0, 4), "b": entry(8, 12)}).encode(), bytes(12)),
    "offsets backwards": pack_safetensors(json.dumps({"a": entry(4, 0, shape=[4])}).encode(), bytes(4)),
    "negative offset": pack_safetensors(json.dumps({"a": entry(-4, 4)}).encode(), bytes(4)),
    "offset over 2^64": pack_safetensors(b'{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,18446744073709551620]}}'),
    "shape that overflows": pack_safetensors(json.dumps({"a": entry(0, 4, "U8", [1 << 32, 1 << 32, 4])}).encode(),
                                             bytes(4)),
    "shape of another size": pack_safetensors(json.dumps({"a": entry(0, 4, "F32", [2])}).encode(), bytes(4)),
    "unknown dtype": pack_safetensors(json.dumps({"a": entry(0, 4, "Q9")}).encode(), bytes(4)),
    "a name twice": pack_safetensors(b'{"a":%s,"a":%s}' % ((json.dumps(entry(0, 4)).encode(),) * 2), bytes(4)),
    "a member twice": pack_safetensors(b'{"a":{"dtype":"U8","dtype":"U8","shape":[4],"data_offsets":[0,4]}}', bytes(4)),
    "broken UTF-8": pack_safetensors(b'{"\xff":%s}' % json.dumps(entry(0, 4)).encode(), bytes(4)),
    "deep nesting": pack_safetensors(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
}
GGUF = {
    "big-endian": b"GGUF" + struct.pack(">IQQ", 3, 0, 0),
    "version 1": raw_gguf(version=1, infos=info()),
    "version 4": raw_gguf(version=4, infos=info()),
    "truncated head": b"GGUF\3\0\0\0\1",
    "2^64 - 1 tensors": raw_gguf(tensors=HUGE),
    "2^64 - 1 pairs": raw_gguf(pair_count=HUGE),
    "a string of 2^64 - 1 bytes": raw_gguf(pair_count=1, pairs=struct.pack("<Q", HUGE) + b"abc"),
    "an array of 2^62 strings": raw_gguf(pair_count=1, pairs=gguf_string("k") + struct.pack("<IIQ", 9, 8, 1 << 62)),
    "a key twice": raw_gguf(pair_count=2, pairs=gguf_pair("k", UINT32, 1) * 2, infos=info()),
    "arrays in arrays without end": raw_gguf(pair_count=1, pairs=gguf_string("k") + struct.pack("<I", 9)
                                             + struct.pack("<IQ", 9, 1) * 10_000),
    "five dimensions": raw_gguf(infos=info(shape=(1, 1, 1, 1, 16))),
    "dimensions that overflow": raw_gguf(infos=info(shape=(1 << 33, 1 << 33))),
    "unknown type": raw_gguf(infos=info(kind=4000)),
    "no whole blocks": raw_gguf(infos=info(shape=(33,), kind=8)),
    "offset behind the end": raw_gguf(infos=info(offset=1 << 40)),
    "offset that overflows": raw_gguf(infos=info(offset=HUGE - 31)),
    "offset off the grid": raw_gguf(infos=info(offset=4), data=bytes(128)),
    "a tensor twice": raw_gguf(tensors=2, infos=info() + info(offset=64), data=bytes(256)),
    "overlap": raw_gguf(tensors=2, infos=info("a") + info("b", offset=32), data=bytes(256)),
    "alignment of 3": raw_gguf(pair_count=1, pairs=gguf_pair("general.alignment", UINT32, 3), infos=info()),
    "alignment of 0": raw_gguf(pair_count=1, pairs=gguf_pair("general.alignment", UINT32, 0), infos=info()),
    "alignment that is a text": raw_gguf(pair_count=1, pairs=gguf_pair("general.alignment", STRING, "32"),
                                         infos=info()),
    "truncated weights": pack_gguf([Tensor("t", "F32", [16], bytes(64))])[:-1],
}


class Nothing:
    """Whatever happens inside costs nothing: no byte of memory, no descriptor, no model that is ready."""

    def left(self):
        return {device["deviceId"]: [device[key] for key in ("allocatedBytes", "committedBytes", "residentBytes",
                                                             "activeAllocations", "segments")]
                for device in self.host()["devices"]}, kernel.resident(self.daemon.pid)

    def descriptors(self):
        return kernel.fd_count(self.daemon.pid), kernel.fd_count(self.mover()["pid"])

    def assert_nothing_left(self, before, models=()):
        self.assertEqual(before, self.left())
        self.assertEqual([], [m for m in self.models() if m["name"] not in models and m["state"] != "failed"])


class Hostile(Nothing, ModelWords, SharedDaemonCase):
    devices = ("host:0=512MiB", "fake:0=256MiB")

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        case = cls()
        write_safetensors(case.folder("warm") / "w.safetensors", TENSORS)
        case.unload(case.load(cls.daemon.folder / "warm/w.safetensors", "fake:0"))
        case.unload(case.load(cls.daemon.folder / "warm/w.safetensors", "host:0"))
        cls.descriptors_before = case.descriptors()

    def setUp(self):
        self.before = self.left()
        self.place = self.folder(self.id().rpartition(".")[2])

    def tearDown(self):
        self.assert_nothing_left(self.before, {"w.safetensors"})
        wait_until(lambda: all(now <= then for now, then in zip(self.descriptors(), self.descriptors_before)),
                   "no more descriptors than before")
        super().tearDown()

    def invalid(self, path, **fields):
        return self.refused(self.try_load(path, **fields), 422, "MODEL_FORMAT_INVALID")["message"]

    def files_are_invalid(self, files, ending):
        path = self.place / f"bad{ending}"
        for name, content in files.items():
            with self.subTest(name):
                path.write_bytes(content)
                self.assertTrue(self.invalid(path, deviceId="fake:0"))

    def test_safetensors(self):
        self.files_are_invalid(SAFETENSORS, ".safetensors")

    def test_gguf(self):
        self.files_are_invalid(GGUF, ".gguf")

    def test_each_truncation(self):
        for name, content in (("m.safetensors", pack_safetensors(safetensors_header(TENSORS), DATA)),
                              ("m.gguf", pack_gguf(TENSORS[1:]))):
            for size in sorted(random.Random(name).sample(range(len(content)), 25)):
                with self.subTest(name, size=size):
                    (self.place / name).write_bytes(content[:size])
                    self.invalid(self.place / name)

    def test_a_header_of_100_MB(self):
        header = b'{"__metadata__":{"a":"' + b"x" * (100_000_000 - 24) + b'"}}'
        (self.place / "m.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
        answer = self.try_load(self.place / "m.safetensors", "host:0", name="hundred")
        self.assertIn(answer.status, (200, 422), answer.body)
        if answer.status == 200:
            self.unload("hundred")
            self.before = self.left()
        header += b" "
        (self.place / "n.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
        self.invalid(self.place / "n.safetensors")

    def test_over_a_million_tensors(self):
        text = ",".join(f'"{i:x}":{{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}' for i in range(1_000_001))
        (self.place / "m.safetensors").write_bytes(pack_safetensors(b"{" + text.encode() + b"}"))
        self.invalid(self.place / "m.safetensors")
        infos = b"".join(info(f"{i:x}", (0,)) for i in range(1_000_001))
        (self.place / "m.gguf").write_bytes(raw_gguf(tensors=1_000_001, infos=infos))
        self.invalid(self.place / "m.gguf")

    def test_what_is_no_file(self):
        os.mkfifo(self.place / "fifo.safetensors")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(self.place / "s.gguf"))
            for name in ("fifo.safetensors", "s.gguf"):
                self.invalid(self.place / name)
        for name, target in (("null", "/dev/null"), ("passwd", "/etc/passwd"), ("outside", "/etc"),
                             ("memory", "/proc/self/mem")):
            (self.place / f"{name}.gguf").symlink_to(target)
            self.refused(self.try_load(self.place / f"{name}.gguf"), 403, "FORBIDDEN")
        for path in ("/dev/zero", "/dev/null", "/etc/passwd", f"{self.place}/../../../../../etc/passwd"):
            self.refused(self.try_load(path), 403, "FORBIDDEN")
        (self.place / "dangling.gguf").symlink_to(self.place / "nowhere")
        (self.place / "loop.gguf").symlink_to(self.place / "loop.gguf")
        self.refused(self.try_load(self.place / "dangling.gguf"), 404, "MODEL_NOT_FOUND")
        self.assertIn("circle", self.refused(self.try_load(self.place / "loop.gguf"), 404, "MODEL_NOT_FOUND")["message"])

    def test_a_folder_of_none_or_two(self):
        self.invalid(self.place)
        for name in ("a", "b"):
            write_safetensors(self.place / f"{name}.safetensors", TENSORS)
        self.assertIn("more than one", self.invalid(self.place))

    def test_a_shard_is_missing_or_another_one(self):
        random_ = random.Random(1)
        files = sorted(write_sharded(self.place, some_tensors(random_, 9, KIB), 3))
        (self.place / files[1]).rename(self.place / "away")
        error = self.refused(self.try_load(self.place, name="shards"), 404, "MODEL_NOT_FOUND")
        self.assertIn(files[1], error["message"])
        (self.place / files[1]).symlink_to("/etc/passwd")
        self.refused(self.try_load(self.place, name="shards"), 403, "FORBIDDEN")
        (self.place / files[1]).unlink()
        os.mkfifo(self.place / files[1])
        self.invalid(self.place, name="shards")
        (self.place / files[1]).unlink()
        write_safetensors(self.place / files[1], TENSORS)
        self.invalid(self.place, name="shards")

    def test_an_index_that_leads_elsewhere(self):
        index = self.place / "model.safetensors.index.json"
        write_safetensors(self.place / "m.safetensors", TENSORS)
        for names in ({"a": "../m.safetensors"}, {"a": "/etc/passwd"}, {"a": "m.safetensors"}, {"a": ".."}, {"a": ""},
                      {"a": "m.safetensors", "b": "m.safetensors", "c": "m.safetensors"},
                      {f"t{i}": f"m{i}.safetensors" for i in range(2000)}, {"a": "m.safetensors\0"}, {"a": 1}):
            with self.subTest(str(names)[:40]):
                index.write_text(json.dumps({"weight_map": names}))
                self.invalid(self.place / index.name)

    def test_a_part_of_a_split_file_is_missing_or_twice(self):
        files = sorted(write_split(self.place, some_tensors(random.Random(2), 6, KIB, {"I8": 1}), 3))
        (self.place / files[2]).rename(self.place / "away")
        error = self.refused(self.try_load(self.place / files[0]), 404, "MODEL_NOT_FOUND")
        self.assertIn(files[2], error["message"])
        (self.place / files[2]).write_bytes((self.place / files[1]).read_bytes())
        self.invalid(self.place / files[0])

    def test_many_enemies_at_once(self):
        answers = []

        def enemy(number):
            path = self.place / f"{number}.gguf"
            for content in list(GGUF.values())[number::4]:
                path.write_bytes(content)
                answers.append(self.try_load(path).code)
        threads = [threading.Thread(target=enemy, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(["MODEL_FORMAT_INVALID"] * len(GGUF), answers)


class Disturbed(Nothing, ModelWords, DaemonCase):
    devices = ("host:0=512MiB", "fake:0=256MiB,rate=12MiB/s")  # two seconds in which to disturb

    def setUp(self):
        super().setUp()
        self.path = self.folder("m") / "m.safetensors"
        write_safetensors(self.path, [Tensor("a", "U8", [24 * MIB], random.Random(3).randbytes(24 * MIB))])
        self.mover()
        self.before = self.left()

    def begun(self, **fields):
        job = self.start_load(self.path, "fake:0", **({"keepRamCopy": False} | fields))
        wait_until(lambda: self.job(job)["progressPercent"], "bytes that are loaded")
        return job

    def test_a_file_that_changes_while_it_is_loaded(self):
        def rewritten():
            with open(self.path, "r+b") as file:
                file.seek(-1, os.SEEK_END)
                file.write(b"!")

        for change in (rewritten, lambda: os.truncate(self.path, MIB), lambda: os.utime(self.path, (1, 1)),
                       self.path.unlink, lambda: os.replace(self.path.with_suffix(".new"), self.path)):
            self.path.with_suffix(".new").write_bytes(b"new")
            write_safetensors(self.path, [Tensor("a", "U8", [24 * MIB], bytes(24 * MIB))])
            job = self.begun()
            change()
            ended = self.job_ends(job)
            self.assertEqual("failed", ended["status"], ended)
            self.assertIn(ended["errorCode"], ("CONFLICT", "MODEL_FORMAT_INVALID"))
            self.assert_nothing_left(self.before)
            self.assertEqual("failed", self.look_model("m.safetensors")["state"])

    def test_what_is_loading_is_busy_and_can_be_cancelled(self):
        job = self.begun()
        self.refused_attach("m.safetensors", "MODEL_BUSY")
        self.refused(self.try_unload("m.safetensors"), 409, "MODEL_BUSY")
        self.ok(self.daemon.delete(f"/api/memory/jobs/{job}"))
        self.assertEqual("cancelled", self.job_ends(job)["status"])
        self.assert_nothing_left(self.before)

    def test_a_forced_unload_while_others_attach(self):
        """Whoever attaches gets all of it or an error, and the daemon lives."""
        write_safetensors(self.path, [Tensor(f"t{i}", "U8", [1], b"x") for i in range(3000)])
        content, stop, wrong = self.path.read_bytes(), threading.Event(), []

        def attach():
            while not stop.is_set():
                try:
                    with contextlib.closing(Attached(self.daemon.socket_path, "m.safetensors")) as attached:
                        if [content] != list(attached.files().values()) or len(attached.tensors) != 3000:
                            wrong.append("other bytes")
                except Exception as problem:
                    if getattr(problem, "code", None) not in ("MODEL_BUSY", "MODEL_NOT_FOUND"):
                        wrong.append(repr(problem))
        threads = [threading.Thread(target=attach) for _ in range(3)]
        self.load(self.path, "host:0")
        for thread in threads:
            thread.start()
        for _ in range(60):
            self.unload("m.safetensors", force=True)
            self.load(self.path, "host:0")
        stop.set()
        for thread in threads:
            thread.join()
        self.assertEqual([], wrong)
        wait_until(lambda: not self.look_model("m.safetensors")["busy"], "nobody attached")
        self.unload("m.safetensors")
        self.assertEqual(0, self.committed("host:0"))


class Killed(ModelWords, RestartCase):
    """Two in turn are killed, at a random moment of a load, a park or a resume."""
    devices = ("host:0=512MiB", "fake:0=256MiB,rate=96MiB/s")

    def setUp(self):
        super().setUp()
        self.random = random.Random(20261123)
        sharded = write_sharded(self.folder("sharded"), self.tensors(PLAIN), 3)
        split = write_split(self.folder("split"), self.tensors({"I8": 1}), 3)
        single = write_gguf(self.folder("single") / "single.gguf", self.tensors({"I8": 1}))
        self.paths = {"sharded": self.daemon.folder / "sharded", "split": self.daemon.folder / "split" / min(split),
                      "single": self.daemon.folder / "single/single.gguf"}
        self.contents = {"sharded": sharded, "split": split, "single": {"single.gguf": single}}
        self.seen = {}

    def tensors(self, kinds):
        made = some_tensors(self.random, 8, MIB, kinds)
        return made + [Tensor("more", "I8", [5 * MIB], self.random.randbytes(5 * MIB))]

    def state(self, name):
        found = [model["state"] for model in self.models() if model["name"] == name]
        return found[0] if found else "absent"

    def begin(self, name):
        """An operation that takes a tenth of a second; (its job, what it is)."""
        keep = self.random.random() < 0.15
        if self.state(name) not in ("ready", "parked") and self.random.random() < 0.4:
            self.load(self.paths[name], "fake:0", name=name, keepRamCopy=keep)
        state = self.state(name)
        if state == "ready":
            to = self.random.choice(("ram", "ram", "disk"))
            return self.ok(self.try_unload(name, to, wait=False), 202)["jobId"], f"unload to {to}"
        return self.start_load(self.paths[name], "fake:0", name=name, keepRamCopy=keep), "resume" if state == "parked" else "load"

    def away(self, name, is_away):
        """Files that are not there cannot have been read."""
        place = self.daemon.folder / name
        os.rename(*((place, f"{place}.away") if is_away else (f"{place}.away", place)))

    def assert_whole_or_absent(self, share=0.3):
        """Of those that are parked a share is looked at, by taking them back."""
        committed = {"host:0": 0, "fake:0": 0}
        for model in self.models():
            self.assertIn(model["state"], ("ready", "parked", "unloaded", "failed"), model)
            if model["state"] == "parked" and self.random.random() < share:
                self.load(self.paths[model["name"]], name=model["name"])
                model["state"] = "ready"
            if model["state"] == "ready":
                with self.attached(model["name"]) as attached:
                    self.assertEqual(self.contents[model["name"]], attached.files(), model)
        for name in committed:
            page = self.ok(self.daemon.get(f"/api/memory/segments/{name}?limit=1000"))["segments"]
            self.assertEqual(self.committed(name), sum(s["sizeBytes"] for s in page if s["allocatedBytes"]))
        self.assert_books_are_the_kernels()

    def round(self, number):
        name = self.random.choice(sorted(self.paths))
        self.mover()
        job, what = self.begin(name)
        time.sleep(self.random.random() ** 2 * 0.12)
        if number % 2:
            was = self.job(job)["status"]
            os.kill(self.mover()["pid"], signal.SIGKILL)
            self.job_ends(job)
        else:
            before = {n: self.state(n) for n in self.paths}
            for n in self.paths:
                self.away(n, True)
            was = self.job(job)["status"]
            self.crash()
            for n, state in before.items():
                if n != name and state in ("ready", "parked"):
                    self.assertEqual(state, self.state(n))
            self.mover()
        self.assert_whole_or_absent()
        if not number % 2:
            for n in self.paths:
                self.away(n, False)
        self.seen[what, was] = self.seen.get((what, was), 0) + 1

    def vault_holds(self):
        for name in self.paths:
            if self.state(name) != "absent":
                self.unload(name)
        for device in ("host:0", "fake:0"):
            self.assertEqual(0, self.committed(device))
        return kernel.fd_count(self.vault()), kernel.resident(self.daemon.pid)

    def cut(self):
        """What was under way when a process died."""
        return {what for what, state in self.seen if state == "in_progress"}

    def test_whole_or_absent(self):
        clean = self.vault_holds()
        for number in range(MOST_ROUNDS):
            if number >= ROUNDS and self.cut() >= CUT:
                break
            with self.subTest(round=number):
                self.round(number)
        self.assert_whole_or_absent(1)
        wait_until(lambda: self.vault_holds() == clean, "the vault to hold what it held before", 10)
        self.assertGreaterEqual(self.cut(), CUT, self.seen)


if __name__ == "__main__":
    unittest.main()
