"""Models by an independent writer (models.py): every byte and every row of the table comes through, in all formats,
on both kinds of device; one file is in memory once, under however many names."""

import json
import os
import random
import unittest

import kernel
from doors import Unix
from harness import KIB, MEMORY, MIB, SharedDaemonCase
from models import (GGML, MODELS, PLAIN, UINT64, ModelWords, Tensor, safetensors_header, some_tensors, table_of,
                    write_gguf, write_safetensors, write_sharded, write_sparse, write_split)
from restart import RestartCase
from test_attach import ways_to_write

DEVICES = ("host:0=512MiB", "fake:0=256MiB")
NAMES = ("host:0", "fake:0")


class Formats(ModelWords, SharedDaemonCase):
    devices = DEVICES

    def setUp(self):
        self.random = random.Random(self.id())
        self.place = self.folder(self.id().rpartition(".")[2])

    def comes_through(self, path, tensors, files, kind):
        """Loads it on each device and compares all that can be seen of it."""
        for device in NAMES:
            with self.subTest(device=device, path=path.name):
                model = self.load(path, device, name=f"{self.id()} {path.name}")
                self.assertEqual(("ready", device, kind, len(tensors), sum(map(len, files.values()))),
                                 (model["state"], model["deviceId"], model["format"], model["tensors"],
                                  model["sizeBytes"]))
                self.assertEqual(sum(len(tensor.data) for tensor in tensors), model["estimate"]["weightsBytes"])
                self.assertEqual(("measured", 1), (model["estimate"]["source"], model["estimate"]["correction"]))
                with self.attached(model) as attached:
                    self.assertEqual(files, attached.files())
                    self.assertEqual(table_of(tensors), attached.table())
                self.unload(model)

    def tensors(self, kinds, count=40, most=200 * KIB):
        return some_tensors(self.random, count, most, kinds)

    def test_one_safetensors_file(self):
        tensors = self.tensors(PLAIN) + [Tensor("scalar", "F32", [], b"\1\2\3\4"),
                                         Tensor("nothing", "F16", [0, 7], b""),
                                         Tensor("näme \"\\\u2028\U0001f600", "U8", [3], b"abc")]
        content = write_safetensors(self.place / "m.safetensors", tensors, {"format": "pt", "é": "\n"})
        self.comes_through(self.place / "m.safetensors", tensors, {"m.safetensors": content}, "safetensors")

    def test_three_shards_by_their_index_and_by_their_folder(self):
        tensors = self.tensors(PLAIN)
        files = write_sharded(self.place, tensors, 3)
        for path in (self.place, self.place / "model.safetensors.index.json"):
            self.comes_through(path, tensors, files, "safetensors")

    def test_a_hundred_shards(self):
        tensors = self.tensors(PLAIN, 200, 20 * KIB)
        self.comes_through(self.place, tensors, write_sharded(self.place, tensors, 100), "safetensors")

    def test_a_folder_of_one_file(self):
        tensors = self.tensors(PLAIN, 3)
        content = write_safetensors(self.place / "only.safetensors", tensors)
        (self.place / "config.json").write_text("{}")
        self.comes_through(self.place, tensors, {"only.safetensors": content}, "safetensors")

    def test_gguf_of_both_versions_and_other_alignments(self):
        for version, alignment in ((2, 32), (3, 32), (3, 64), (3, 4096), (3, 8)):
            tensors = self.tensors(GGML)
            path = self.place / f"v{version}-{alignment}.gguf"
            content = write_gguf(path, tensors, [("general.size", UINT64, 1 << 40)], version, alignment)
            self.comes_through(path, tensors, {path.name: content}, "gguf")

    def test_gguf_in_three_parts_by_any_of_them(self):
        tensors = self.tensors(GGML)
        files = write_split(self.place, tensors, 3)
        for name in files:
            self.comes_through(self.place / name, tensors, files, "gguf")

    def test_a_link_is_the_file_that_it_leads_to(self):
        tensors = self.tensors(PLAIN, 2)
        content = write_safetensors(self.place / "blob", tensors)
        (self.place / "link.safetensors").symlink_to(self.place / "blob")
        model = self.load(self.place / "link.safetensors", "host:0")
        with self.attached(model) as attached:
            self.assertEqual([content], list(attached.files().values()))
        self.unload(model)

    def test_a_large_table_comes_in_a_file_of_its_own(self):
        tensors = [Tensor(f"layers.{i}.self_attn.projection.weight", "U8", [1], bytes([i % 251])) for i in range(5000)]
        content = write_safetensors(self.place / "m.safetensors", tensors)
        for device in NAMES:
            model = self.load(self.place / "m.safetensors", device, name=self.id())
            with self.attached(model) as attached:
                self.assertTrue(attached.in_fd)
                self.assertNotIn("tensors", attached.data)
                self.assertEqual(len(attached.data["segments"]) + 1, len(attached.fds))
                self.assertEqual(table_of(tensors), attached.table())
                self.assertEqual({"m.safetensors": content}, attached.files())
                with self.assertRaises(OSError):
                    os.pwrite(attached.fds[-1], b"x", 0)
            self.unload(model)

    def test_a_small_table_is_in_the_line(self):
        write_safetensors(self.place / "m.safetensors", self.tensors(PLAIN, 3))
        model = self.load(self.place / "m.safetensors", "host:0", name=self.id())
        with self.attached(model) as attached:
            self.assertEqual((False, 1), (attached.in_fd, len(attached.fds)))
        self.unload(model)

    def test_nobody_writes_into_weights(self):
        write_safetensors(self.place / "m.safetensors", self.tensors(PLAIN, 3))
        model = self.load(self.place / "m.safetensors", "host:0", name=self.id())
        with self.attached(model) as attached:
            for fd in attached.fds:
                self.assertLessEqual(set(ways_to_write(fd)), {"opened anew"})  # root may, and it helps nobody:
                again = os.open(f"/proc/self/fd/{fd}", os.O_RDWR)
                self.addCleanup(os.close, again)
                self.assertLessEqual(set(ways_to_write(again)), {"opened anew"})
        self.unload(model)


class OneCopy(ModelWords, SharedDaemonCase):
    devices = DEVICES

    def write(self, name):
        tensors = some_tensors(random.Random(name), 4, 4 * MIB)
        path = self.folder("files") / f"{name}.safetensors"
        return path, write_safetensors(path, tensors), tensors

    def both(self):
        return [self.committed(device) for device in NAMES]

    def test_two_names_of_one_file(self):
        for device in NAMES:
            with self.subTest(device):
                path, content, _ = self.write(f"two on {device[:4]}")
                names = [f"first on {device}", f"second on {device}"]
                first = self.load(path, device, name=names[0])
                before, bytes_before = self.both(), kernel.resident(self.daemon.pid)
                second = self.load(path, device, name=names[1])
                self.assertNotEqual(first["modelId"], second["modelId"])
                self.assertEqual((before, bytes_before), (self.both(), kernel.resident(self.daemon.pid)))
                self.assertEqual(first["fingerprint"], second["fingerprint"])
                self.unload(first)
                self.assertEqual(("unloaded", "ready"), (self.look_model(first)["state"],
                                                         self.look_model(second)["state"]))
                self.assertEqual(before, self.both())
                with self.attached(second) as attached:
                    self.assertEqual([content], list(attached.files().values()))
                self.unload(second)
                self.assertEqual([0, 0], self.both())

    def test_a_pin_of_one_name_holds_the_other(self):
        path, _, _ = self.write("pinned")
        free, pinned = (self.load(path, "fake:0", name=name, pinned=name == "pinned") for name in ("free", "pinned"))
        self.refused(self.try_unload(free, "ram"), 409, "MODEL_BUSY")
        self.assertEqual("ready", self.look_model(pinned)["state"])
        status = self.ok(self.daemon.get(f"{MODELS}/status"))["modelMemory"]
        self.assertEqual(len(status["loadedModels"]), status["count"])
        self.unload(free)  # the other name keeps the bytes
        self.assertEqual("ready", self.look_model(pinned)["state"])
        self.unload(pinned, "ram", force=True)
        status = self.ok(self.daemon.get(f"{MODELS}/status"))["modelMemory"]
        self.assertIn(pinned["modelId"], [model["modelId"] for model in status["loadedModels"]])
        self.assertEqual(len(status["loadedModels"]), status["count"])
        self.unload(pinned, force=True)

    def test_a_job_that_had_nothing_to_do_began_all_the_same(self):
        path, _, _ = self.write("again")
        self.load(path, "fake:0", name="first")
        job = self.job_ends(self.start_load(path, "fake:0", name="second"))
        self.assertEqual("completed", job["status"])
        self.assertLessEqual(job["createdAt"], job["startedAt"] or "")
        self.assertLessEqual(job["startedAt"], job["completedAt"])
        for name in ("first", "second"):
            self.unload(name)

    def test_shares_of_owners_add_up_beside_a_model(self):
        path, _, _ = self.write("shares")
        model = self.load(path, "fake:0", name="shares")  # its table is the daemon's own memory
        small = self.allocate(KIB)
        for used in self.ok(self.daemon.get(f"{MEMORY}/usage"))["devices"]:
            with self.subTest(used["deviceId"]):
                figures = self.device(used["deviceId"])
                for shares in (used["byOwner"], used["byPurpose"]):
                    self.assertEqual((figures["activeAllocations"], figures["allocatedBytes"]),
                                     tuple(sum(one[key] for one in shares) for key in ("count", "bytes")))
        self.free(small)
        self.unload(model)

    def test_a_load_is_told_from_its_beginning(self):
        path, _, _ = self.write("told")
        with self.daemon.events("?types=model.*") as events:
            model = self.load(path, "fake:0", name="told")
            _, before = events.find(lambda event: event.type == "model.ready"
                                    and event.data["modelId"] == model["modelId"])
        self.assertIn(("model.loading", model["modelId"]), [(event.type, event.data["modelId"]) for event in before])
        self.unload(model)

    def test_two_names_at_the_same_time(self):
        path, content, _ = self.write("at once")
        jobs = [self.start_load(path, "fake:0", name=f"n{i}", keepRamCopy=False) for i in range(6)]
        self.assertEqual(["completed"] * 6, [self.job_ends(job)["status"] for job in jobs])
        segments = self.ok(self.daemon.get("/api/memory/segments/fake:0"))["segments"]
        self.assertEqual(1, len(segments), segments)
        for i in range(5):
            self.unload(f"n{i}")
        with self.attached("n5") as attached:
            self.assertEqual([content], list(attached.files().values()))
        self.unload("n5")
        self.assertEqual([0, 0], self.both())

    def test_another_name_of_what_is_parked_makes_room(self):
        first, content, _ = self.write("parked")
        size = -(-len(content) // 4096) * 4096
        self.load(first, "fake:0", name="low", keepRamCopy=False)
        self.unload("low", "ram")
        other, _, _ = self.write("in its place")
        self.ok(self.daemon.put("/api/memory/limits/fake:0", {"maxBytes": max(size, other.stat().st_size + 4096)}))
        self.load(other, "fake:0", name="other", keepRamCopy=False)
        self.load(first, "fake:0", name="high")
        with self.attached("high") as attached:
            self.assertEqual([content], list(attached.files().values()))
        self.assertNotEqual("ready", self.look_model("other")["state"])
        self.ok(self.daemon.put("/api/memory/limits/fake:0", {"maxBytes": 256 * MIB}))
        for name in ("low", "high", "other"):
            self.unload(name)
        self.assertEqual([0, 0], self.both())

    def test_a_link_is_the_same_file(self):
        path, _, _ = self.write("linked")
        first = self.load(path, "host:0", name="plain")
        (path.parent / "soft.safetensors").symlink_to(path)
        before = self.both()
        second = self.load(path.parent / "soft.safetensors", "host:0", name="soft")
        self.assertEqual(before, self.both())
        self.unload(first)
        self.unload(second)

    def test_another_files_name_is_taken(self):
        first, _, _ = self.write("one file")
        other, _, _ = self.write("other file")
        self.load(first, "host:0", name="taken")
        for more in ({}, {"wait": False}, {"dryRun": True}):
            with self.subTest(more):
                self.refused(self.try_load(other, "host:0", name="taken", **more), 409, "CONFLICT")
                for path, status, code in ((other.with_name("none"), 404, "MODEL_NOT_FOUND"),
                                           ("/dev/null", 403, "FORBIDDEN"), ("no/root", 400, "INVALID_ARGUMENT")):
                    self.refused(self.try_load(path, "host:0", name="taken", **more), status, code)
        self.unload("taken")


class Parked(ModelWords, SharedDaemonCase):
    devices = DEVICES

    def test_what_was_parked_comes_back_whole(self):
        tensors = some_tensors(random.Random("parked"), 12, MIB)
        files = write_sharded(self.folder("parked"), tensors, 3)
        for copy in (False, True):
            with self.subTest(keepRamCopy=copy):
                model = self.load(self.daemon.folder / "parked", "fake:0", keepRamCopy=copy)
                parked = self.unload(model, "ram")
                self.assertEqual(("parked", "ram"), (parked["model"]["state"], parked["model"]["residency"]))
                self.assertEqual(0, self.committed("fake:0"))
                self.refused_attach(model, "MODEL_BUSY")
                names = [self.daemon.folder / "parked" / name for name in os.listdir(self.daemon.folder / "parked")]
                for name in names:
                    name.rename(f"{name}.away")
                self.assertEqual("ready", self.load(self.daemon.folder / "parked")["state"])
                for name in names:
                    os.rename(f"{name}.away", name)
                with self.attached(model) as attached:
                    self.assertEqual((files, table_of(tensors)), (attached.files(), attached.table()))
                self.unload(model)
                self.assertEqual([0, 0], [self.committed(device) for device in NAMES])


class LoadedAnew(ModelWords, SharedDaemonCase):
    """What a load does not name stays as it was, wherever the weights are."""

    devices = DEVICES

    def settings(self, model):
        now = self.look_model(model)
        return now["priority"], now["pinned"]

    def test_what_is_not_said_stays(self):
        path = self.folder("anew") / "anew.safetensors"
        write_safetensors(path, some_tensors(random.Random("anew"), 3, MIB))
        model = self.load(path, "fake:0", pinned=True, priority="critical")
        mine = "critical", True
        for to in (None, "ram", "disk"):
            with self.subTest(to):
                if to:
                    self.unload(model, to, force=True)
                self.assertEqual(model["modelId"], self.load(path)["modelId"])
                self.assertEqual(("ready", mine), (self.look_model(model)["state"], self.settings(model)))
        self.unload(model, "ram", force=True)
        self.load(path, pinned=False)
        self.assertEqual(("critical", False), self.settings(model))
        self.unload(model, "ram")
        self.load(path, priority="low")
        self.assertEqual(("low", False), self.settings(model))
        self.unload(model)


class WhereTheWeightsBegin(ModelWords, RestartCase):
    """On a card at a multiple of 256, in whatever way they came there; in host memory a file is a file."""

    devices = ("host:0=512MiB", "fake:0=256MiB", "fake:1=256MiB")

    def place(self, model, files, **copy):
        """Where the first file begins in its segment, and its weights there."""
        with self.attached(model, **copy) as attached:
            self.assertEqual(files, attached.files())
            pieces = [piece["offset_bytes"] for piece in attached.data["segments"]]
            weights = [pieces[number] + min(tensor["offset_bytes"] for tensor in attached.tensors
                                            if tensor.get("segment", 0) == number) for number in range(len(pieces))]
        return pieces, weights

    def on_256(self, model, files):
        pieces, weights = self.place(model, files)
        self.assertEqual([0] * len(files), [weight % 256 for weight in weights])
        return pieces

    def whole(self, path, size):
        """A safetensors file of exactly so many bytes."""
        start = len(write_safetensors(path, [Tensor("t", "U8", [size], b"")]))
        return write_safetensors(path, [Tensor("t", "U8", [size - start], random.Random(8).randbytes(size - start))])

    def test_in_each_format_and_after_each_move(self):
        tensors, folder = some_tensors(random.Random("256"), 12, 100 * KIB), self.folder("formats")
        odd = safetensors_header(tensors)
        odd += b" " * (1 - len(odd) % 2)
        data = b"".join(tensor.data for tensor in tensors)
        (folder / "odd.safetensors").write_bytes(len(odd).to_bytes(8, "little") + odd + data)
        quants = some_tensors(random.Random("256"), 8, 100 * KIB, GGML)
        for path, files in ((folder / "m.safetensors", {"m.safetensors": write_safetensors(folder / "m.safetensors", tensors)}),
                            (folder / "m.gguf", {"m.gguf": write_gguf(folder / "m.gguf", quants)}),
                            (folder / "odd.safetensors", {"odd.safetensors": (folder / "odd.safetensors").read_bytes()}),
                            (folder / "shards", write_sharded(folder / "shards", tensors, 3))):
            with self.subTest(path=path.name):
                model = self.load(path, "fake:0", keepRamCopy=False)
                self.on_256(model, files)
                self.unload(model, "ram")
                self.assertEqual([0] * len(files), self.place(model, files, copy="ram")[0])
                self.load(path)
                self.on_256(model, files)
                self.crash()
                self.on_256(model, files)
                self.transfer(None, "fake:0", "fake:1", mode="move", modelId=model["modelId"])
                self.on_256(model, files)
                self.unload(model)

    def test_but_not_for_a_granule_more(self):
        """The ledger says then what it said before there was a pad, and a daemon finds the file there."""
        path = self.folder("whole") / "m.safetensors"
        files = {path.name: self.whole(path, 4 * MIB)}
        model = self.load(path, "fake:0", keepRamCopy=False)
        self.assertEqual(4 * MIB, self.committed("fake:0"))
        self.assertEqual([0], self.place(model, files)[0])
        self.crash()
        self.assertEqual([0], self.place(model, files)[0])
        self.unload(model, "ram")
        self.load(path)
        self.assertEqual([0], self.place(model, files)[0])


class CopiesInRam(ModelWords, SharedDaemonCase):
    devices = ("host:0=128MiB", "host:1=128MiB", "fake:0=256MiB")

    def test_they_go_where_most_is_available(self):
        self.allocate(16 * MIB, "host:0")
        for here, there in (("host:1", "host:0"), ("host:0", "host:1")):
            path = write_sparse(self.folder("copies") / f"{here}.safetensors", 20 * MIB)
            before = {name: self.committed(name) for name in (here, there)}
            self.load(path, "fake:0")
            self.assertGreater(self.committed(here), before[here] + 20 * MIB)
            self.assertLess(self.committed(there), before[there] + MIB)


class OverARestart(ModelWords, RestartCase):
    devices = ("host:0=512MiB", "fake:0=256MiB,rate=256MiB/s")

    def test_a_resident_model_is_there_without_its_file(self):
        tensors = some_tensors(random.Random("restart"), 9, MIB)
        files = write_sharded(self.folder("m"), tensors, 3)
        single = some_tensors(random.Random("single"), 3, MIB)
        content = write_gguf(self.folder("g") / "g.gguf", [t._replace(dtype="I8", shape=[len(t.data)]) for t in single])
        sharded = self.load(self.daemon.folder / "m", "fake:0", name="sharded", pinned=True)
        self.load(self.daemon.folder / "g/g.gguf", "host:0", name="alone", keepAliveSeconds=3600)
        parked = self.load(self.daemon.folder / "g/g.gguf", "host:0", name="again")
        for end in (self.crash, self.stop):
            before = {model["name"]: model for model in self.models()}
            for folder in ("m", "g"):
                if (self.daemon.folder / folder).exists():
                    (self.daemon.folder / folder).rename(self.daemon.folder / f"{folder}.away")
            end()
            after = {model["name"]: model for model in self.models()}
            self.assertEqual(before.keys(), after.keys())
            for name in before:
                for key in set(before[name]) - {"busy", "workerId", "lastUsedAt", "useCount"}:
                    self.assertEqual(before[name][key], after[name][key], (name, key))
            with self.attached(sharded) as attached:
                self.assertEqual((files, table_of(tensors)), (attached.files(), attached.table()))
            with self.attached("alone") as attached:
                self.assertEqual({"g.gguf": content}, attached.files())
            self.assert_books_are_the_kernels()
        committed = self.committed("host:0")
        self.unload("alone")
        self.assertEqual(committed, self.committed("host:0"))
        with self.attached(parked) as attached:
            self.assertEqual({"g.gguf": content}, attached.files())

    def test_a_file_known_before_is_still_one_copy(self):
        path = self.folder("m") / "m.safetensors"
        write_safetensors(path, some_tensors(random.Random("one"), 3, MIB))
        self.load(path, "host:0", name="before")
        self.crash()
        committed = self.committed("host:0")
        self.load(path, "host:0", name="after")
        self.assertEqual(committed, self.committed("host:0"))

    def test_a_key_finds_what_it_loaded(self):
        path = self.folder("m") / "m.safetensors"
        write_safetensors(path, some_tensors(random.Random("key"), 3, MIB))
        body, key = {"path": str(path), "deviceId": "host:0", "pinned": False}, {"Idempotency-Key": "load-1"}
        first = self.ok(self.daemon.post(f"{MODELS}/load", body, key))["model"]["modelId"]
        self.assertEqual(first, self.ok(self.daemon.post(f"{MODELS}/load", body, key))["model"]["modelId"])
        self.refused(self.daemon.post(f"{MODELS}/load", body | {"pinned": True}, key), 409, "CONFLICT")
        self.crash()
        path.unlink()  # nothing is read again
        with Unix(self.daemon.socket_path) as unix:
            ask = {"path": str(path), "device_id": "host:0", "pinned": False}
            again = unix.call("memory.load_model", ask, idempotency_key="load-1")
            self.assertEqual(first, again["data"]["model"]["model_id"])
            other = unix.call("memory.load_model", ask | {"path": "/elsewhere"}, idempotency_key="load-1")
            self.assertEqual("CONFLICT", other["error_code"])


class WithoutHostMemory(ModelWords, RestartCase):
    devices = ("fake:0=64MiB",)

    def test_a_table_that_could_not_be_kept(self):
        """There is nowhere to put it: the model is there after a restart, and is loaded anew before it is attached."""
        path = self.folder("m") / "m.safetensors"
        content = write_safetensors(path, some_tensors(random.Random("none"), 3, MIB))
        model = self.load(path, "fake:0")
        self.crash()
        self.assertEqual("ready", self.look_model(model)["state"])
        self.refused_attach(model, "MODEL_BUSY")
        self.unload(model)
        self.load(path, "fake:0")
        with self.attached(model) as attached:
            self.assertEqual([content], list(attached.files().values()))


if __name__ == "__main__":
    unittest.main()
