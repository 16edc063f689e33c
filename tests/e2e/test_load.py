"""Models from files to memory over the real programs: what is in memory is what is in the files, byte for byte; hostile
files, changed files and workers that die cost a clear error and nothing else."""

import json
import mmap
import os
import signal
import struct
import tempfile
import unittest
from pathlib import Path

import kernel
from harness import MEMORY, MIB, DaemonCase, SharedDaemonCase, wait_until
from test_attach import Client, view
from test_worker import WorkerCase, name_of

MODELS = f"{MEMORY}/models"
FAKE = "fake:0=256MiB"
SLOW = "fake:0=256MiB,rate=8MiB/s"


def safetensors(path, tensors):
    """Writes a file of these tensors {name: bytes} and returns its bytes."""
    header, data = {}, b""
    for name, content in tensors.items():
        header[name] = {"dtype": "U8", "shape": [len(content)], "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path.read_bytes()


def gguf(path, tensor, content, split=None):
    """A file of one tensor of F32, perhaps a part (number, of how many, tensors of all) of a set."""
    def text(word):
        return struct.pack("<Q", len(word)) + word.encode()
    pairs = [] if split is None else [text("split.no") + struct.pack("<IH", 2, split[0]),
                                      text("split.count") + struct.pack("<IH", 2, split[1]),
                                      text("split.tensors.count") + struct.pack("<Ii", 5, split[2])]
    head = b"GGUF" + struct.pack("<IQQ", 3, 1, len(pairs)) + b"".join(pairs)
    head += text(tensor) + struct.pack("<IQIQ", 1, len(content) // 4, 0, 0)
    path.write_bytes(head + bytes(-len(head) % 32) + content)
    return path.read_bytes()


class Files:
    """What tests of loading want of a daemon and its folder."""

    def path(self, name):
        return self.daemon.folder / name

    def try_load(self, path, device="host:0", **fields):
        return self.daemon.post(f"{MODELS}/load", {"path": str(path), "deviceId": device, "wait": True} | fields)

    def load(self, path, device="host:0", **fields):
        return self.ok(self.try_load(path, device, **fields))["model"]

    def bytes_of(self, model):
        """The files of a model as they are in memory."""
        client = Client(self.daemon.socket_path)
        try:
            place, fds = client.call("memory.attach", {"model_id": model["modelId"], "read_only": True})
            try:
                return {piece["file"]: bytes(view(piece, fd, mmap.ACCESS_READ))
                        for piece, fd in zip(place["segments"], fds)}
            finally:
                client.call("memory.detach", {"model_id": model["modelId"]})
                for fd in fds:
                    os.close(fd)
        finally:
            client.close()

    def unload(self, model):
        self.ok(self.daemon.post(f"{MODELS}/{model['modelId']}/unload", {"to": "disk"}))


class Loaded(Files, SharedDaemonCase):
    devices = ("host:0=256MiB", FAKE)

    def test_a_file_is_in_memory_as_it_is_on_disk(self):
        content = safetensors(self.path("one.safetensors"), {"a": os.urandom(9 * MIB + 5), "b": os.urandom(77)})
        for device in ("host:0", "fake:0"):
            with self.subTest(device):
                model = self.load(self.path("one.safetensors"), device)
                self.assertEqual(("ready", device, len(content), 2, "safetensors"),
                                 (model["state"], model["deviceId"], model["sizeBytes"], model["tensors"],
                                  model["format"]))
                self.assertEqual({"one.safetensors": content}, self.bytes_of(model))
                self.unload(model)

    def test_a_set_of_shards_is_found_beside_its_index(self):
        folder = self.path("sharded")
        folder.mkdir()
        contents = {f"m-{i}.safetensors": safetensors(folder / f"m-{i}.safetensors", {f"t{i}": os.urandom(100 + i)})
                    for i in range(24)}
        (folder / "m.safetensors.index.json").write_text(
            json.dumps({"weight_map": {f"t{i}": f"m-{i}.safetensors" for i in range(24)}}))
        for path in (folder, folder / "m.safetensors.index.json"):
            model = self.load(path)
            self.assertEqual(contents, self.bytes_of(model))
            self.unload(model)

    def test_any_part_stands_for_a_split_file(self):
        contents = {f"s-{i + 1:05}-of-00003.gguf": gguf(self.path(f"s-{i + 1:05}-of-00003.gguf"), f"t{i}",
                                                        os.urandom(4096), (i, 3, 3)) for i in range(3)}
        for device in ("host:0", "fake:0"):
            model = self.load(self.path("s-00002-of-00003.gguf"), device)
            self.assertEqual((contents, "gguf", 3), (self.bytes_of(model), model["format"], model["tensors"]))
            self.unload(model)

    def test_the_same_bytes_have_the_same_fingerprint(self):
        content = safetensors(self.path("f1.safetensors"), {"a": os.urandom(17 * MIB)})
        self.path("f2.safetensors").write_bytes(content)
        self.path("f3.safetensors").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        prints = []
        for name, device in (("f1", "host:0"), ("f2", "fake:0"), ("f3", "host:0")):
            model = self.load(self.path(f"{name}.safetensors"), device)
            prints.append(model["fingerprint"])
            self.unload(model)
        self.assertEqual(prints[0], prints[1])
        self.assertNotEqual(prints[0], prints[2])

    def test_hostile_files_are_refused_with_a_reason(self):
        whole = safetensors(self.path("good.safetensors"), {"a": bytes(1000)})
        for content, reason in ((b"", "empty"), (b"PK\3\4" + bytes(100), ""), (whole[:-1], ""), (whole[:30], ""),
                                (struct.pack("<Q", 1 << 60) + b"{}", ""), (b"GGUF\3\0\0\0" + b"\xff" * 16, ""),
                                (b'{"weight_map":{"a":"../../etc/passwd"}}', "name"),
                                (whole.replace(b'"U8"', b'"\xff8"'), "")):
            with self.subTest(content[:40]):
                path = self.path("bad.safetensors")
                path.write_bytes(content)
                error = self.refused(self.try_load(path), 422, "MODEL_FORMAT_INVALID")
                self.assertIn(reason, error["message"])
        listed = self.ok(self.daemon.get(MODELS))["models"]
        self.assertNotIn("ready", [model["state"] for model in listed if model["name"] == "bad.safetensors"])

    def test_a_shard_that_is_not_there_is_named(self):
        self.path("lone.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "nowhere.safetensors"}}))
        error = self.refused(self.try_load(self.path("lone.safetensors.index.json")), 404, "MODEL_NOT_FOUND")
        self.assertIn("nowhere.safetensors", error["message"])

    def test_only_below_the_folders_of_models(self):
        self.refused(self.try_load("/etc/passwd"), 403, "FORBIDDEN")
        link = self.path("link.safetensors")
        link.symlink_to("/etc/passwd")
        self.refused(self.try_load(link), 403, "FORBIDDEN")

    def test_readers_leave_nothing_behind(self):
        safetensors(self.path("again.safetensors"), {"a": bytes(1000)})
        self.path("again.txt").write_bytes(b"nothing")
        self.unload(self.load(self.path("again.safetensors")))
        self.try_load(self.path("again.txt"))
        def fds():
            return [kernel.fd_count(self.daemon.pid), kernel.fd_count(self.mover()["pid"])]
        before = fds()
        for _ in range(10):
            self.unload(self.load(self.path("again.safetensors")))
            self.refused(self.try_load(self.path("again.txt")), 422, "MODEL_FORMAT_INVALID")
        # Fewer where one of the first reader's was still open.
        wait_until(lambda: all(now <= then for now, then in zip(fds(), before)), "no more descriptors than before")


class Folders(Files, DaemonCase):
    def test_a_flag_says_which_they_are(self):
        folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        for name in ("yes", "no"):
            (folder / name).mkdir()
            safetensors(folder / name / "m.safetensors", {"a": bytes(100)})
        (folder / "alias").symlink_to(folder / "yes")
        self.restart_with("--model-dir", str(folder / "alias"), "--model-dir", "/nowhere")
        self.load(folder / "yes/m.safetensors")
        self.refused(self.try_load(folder / "no/m.safetensors", name="other"), 403, "FORBIDDEN")


class Disturbed(Files, DaemonCase):
    devices = ("host:0=256MiB", SLOW)

    def start_load(self):
        """A load that takes seconds and has begun: (its job, the file)."""
        path = self.path("slow.safetensors")
        safetensors(path, {"a": os.urandom(20 * MIB)})
        answer = self.daemon.post(f"{MODELS}/load", {"path": str(path), "deviceId": "fake:0",
                                                         "keepRamCopy": False, "wait": False})
        job = self.ok(answer, 202)["jobId"]
        wait_until(lambda: self.job(job)["progressPercent"], "bytes that are loaded")
        return job, path

    def job(self, name):
        return self.ok(self.daemon.get(f"{MEMORY}/jobs/{name}"))

    def ended(self, name):
        return wait_until(lambda: (state := self.job(name))["status"] not in ("pending", "in_progress") and state,
                          "the job's end")

    def is_as_before(self):
        self.assertEqual(0, self.device("fake:0")["committedBytes"])
        self.assertFalse([m for m in self.ok(self.daemon.get(MODELS))["models"] if m["state"] == "ready"])

    def test_a_worker_that_dies_costs_the_load(self):
        job, path = self.start_load()
        os.kill(self.mover()["pid"], signal.SIGKILL)
        self.assertEqual("failed", self.ended(job)["status"])
        self.is_as_before()
        content = safetensors(path, {"a": os.urandom(MIB)})
        model = self.load(path, "fake:0")
        self.assertEqual({path.name: content}, self.bytes_of(model))

    def test_a_cancelled_load_leaves_nothing(self):
        job, _ = self.start_load()
        self.ok(self.daemon.delete(f"{MEMORY}/jobs/{job}"))
        self.assertEqual("cancelled", self.ended(job)["status"])
        self.is_as_before()

    def test_a_file_that_changes_meanwhile_is_not_loaded(self):
        job, path = self.start_load()
        with open(path, "r+b") as file:
            file.seek(-1, os.SEEK_END)
            file.write(b"x")
        state = self.ended(job)
        self.assertEqual("failed", state["status"], state)
        self.assertIn("changed", state["errorMessage"])
        self.is_as_before()


class OfTheWorker(WorkerCase):
    """memory.load_model, said by us."""

    @staticmethod
    def target(number, segment, size, offset=0):
        return {"file_id": number, "segment_id": name_of(segment), "offset_bytes": offset, "size_bytes": size}

    def load(self, files, targets, **more):
        return {"model_id": f"m-{1:016x}", "file_ids": files, "targets": targets} | more

    def test_files_go_where_they_are_told_to(self):
        fd = self.segment(1, size=32 * MIB)
        contents = [os.urandom(17 * MIB + 3), os.urandom(5000)]
        for number, content in enumerate(contents):
            self.hand_over_file(number, content)
        data = self.worker.ok("memory.load_model", **self.load([0, 1], [self.target(1, 1, 5000, 24 * MIB),
                                                                        self.target(0, 1, len(contents[0]), 4096)]))
        self.assertEqual((True, len(contents[0]) + 5000, True), (data["loaded"], data["size_bytes"], data["verified"]))
        self.assertGreater(data["seconds"], 0)
        self.is_measured(data)
        self.assertEqual(contents[0], os.pread(fd, len(contents[0]), 4096))
        self.assertEqual(contents[1], os.pread(fd, 5000, 24 * MIB))

    def is_measured(self, data):
        self.assertRegex(data["checksum"], r"^xxh3-64:[0-9a-f]{16}$")
        self.assertTrue(0 < data["device_us"] <= data["elapsed_us"], data)

    def test_a_file_is_one_requests(self):
        self.segment(1)
        self.hand_over_file(7, bytes(100))
        request = self.load([7], [self.target(7, 1, 100)])
        self.worker.ok("memory.load_model", **request)
        self.refused("INVALID_ARGUMENT", "memory.load_model", **request)

    def test_what_cannot_be_loaded(self):
        self.segment(1)
        for number in range(4):
            self.hand_over_file(number, bytes(100))
        self.refused("MODEL_FORMAT_INVALID", "memory.load_model", **self.load([0], [self.target(0, 1, 101)]))
        self.refused("INVALID_ARGUMENT", "memory.load_model", **self.load([1], [self.target(1, 1, 100, MIB - 99)]))
        self.refused("INVALID_ARGUMENT", "memory.load_model", **self.load([2], [self.target(3, 1, 100)]))
        self.refused("INVALID_ARGUMENT", "memory.load_model", **self.load([3], []))
        self.refused("INVALID_ARGUMENT", "memory.load_model", **self.load([], []))
        self.assertTrue(self.worker.ask("ping")["success"])

    def test_nothing_of_a_file_stays_open(self):
        self.segment(1)
        pid = self.worker.process.pid
        self.worker.ok("memory.fill", target={"segment_id": name_of(1), "offset_bytes": 0}, size_bytes=1, value=1)
        before = kernel.fd_count(pid)
        for number in range(20):
            self.hand_over_file(number, bytes(100))
            self.worker.ask("memory.load_model", **self.load([number], [self.target(number, 1 + number % 2, 100)]))
        self.assertEqual(before, kernel.fd_count(pid))


if __name__ == "__main__":
    unittest.main()
