"""Models attached by python/memkeep: the files' bytes and tensors in place, for as long as somebody points there."""

import ctypes
import fcntl
import gc
import os
import random
import subprocess
import sys
import unittest
from pathlib import Path

import memkeep
from client import ModelCase, environment, see_cards_of
from harness import KIB, MIB, wait_until
from memkeep import _cuda
from models import GGML, Tensor, some_tensors, write_gguf, write_safetensors, write_sharded, write_split
from test_cuda import CardCase

LOADER = """
import sys, memkeep
with memkeep.connect(sys.argv[1]) as client:
    model = client.open_model(sys.argv[2])
    print(model.id, sum(model.file()[::4096]))
"""


class SameCase(ModelCase):
    def is_same(self, tensors, model):
        self.assertEqual({tensor.name for tensor in tensors}, set(model.tensors))
        for tensor in tensors:
            found = model.tensors[tensor.name]
            self.assertEqual((tensor.dtype, tuple(tensor.shape), len(tensor.data)), (found.dtype, found.shape, found.size))
            self.assertEqual(tensor.data, model.tensor(tensor.name))


class Attached(SameCase):
    def test_by_path_and_by_name(self):
        path, tensors, content = self.write()
        model = self.client.open_model(path)
        self.is_same(tensors, model)
        self.assertEqual((content, ["m.safetensors"], len(content)), (bytes(model.file()), model.files, model.size))
        for word in ("m.safetensors", model.id, str(path), os.path.relpath(path)):
            self.assertEqual(model.id, self.client.open_model(word).id)
        self.assertTrue(self.is_busy(model.id))

    def test_shards_and_blocks(self):
        folder = self.folder("parts")
        tensors = some_tensors(random.Random(1), 9, 100 * KIB)
        files = write_sharded(folder, tensors, 3)
        for path in (folder, folder / "model.safetensors.index.json"):
            model = self.client.open_model(path)
            self.is_same(tensors, model)
            self.assertEqual(sorted(files), model.files)
        tensors = some_tensors(random.Random(2), 9, 100 * KIB, GGML)
        write_gguf(folder / "one.gguf", tensors)
        self.is_same(tensors, self.client.open_model(folder / "one.gguf"))
        files = write_split(folder, tensors, 2)
        self.is_same(tensors, self.client.open_model(folder / sorted(files)[0]))

    def test_a_table_that_comes_in_a_file(self):
        path = self.folder("many") / "many.safetensors"
        tensors = [Tensor(f"a.tensor.with.quite.a.long.name.{i}", "U8", [1], bytes([i % 256])) for i in range(5000)]
        write_safetensors(path, tensors)
        self.is_same(tensors, self.client.open_model(path))

    def test_two_files_of_one_name(self):
        first, _, one = self.write()
        second = self.folder("elsewhere") / first.name
        other = some_tensors(random.Random(3), 2, 1000)
        write_safetensors(second, other)
        self.assertEqual(one, self.client.open_model(first).file())
        self.is_same(other, self.client.open_model(second))
        self.assertEqual({first.name, str(second)}, {model["name"] for model in self.models()})
        with self.assertRaises(memkeep.Conflict):
            self.client.open_model(second, name=first.name)

    def test_what_the_daemon_cannot_open_it_is_given(self):
        path, tensors, _ = self.write()
        with open(path, "rb") as file:
            number = fcntl.fcntl(file, fcntl.F_DUPFD_CLOEXEC, 900)  # the daemon's own 900 is nothing
        try:
            self.is_same(tensors, self.client.open_model(f"/proc/self/fd/{number}", name="given.safetensors"))
        finally:
            os.close(number)

    def test_four_who_load_at_once_have_one(self):
        path, _, content = self.write(count=3, most=64 * MIB)
        loaders = [subprocess.Popen([sys.executable, "-c", LOADER, self.daemon.socket_path, path], text=True,
                                    stdout=subprocess.PIPE, env=environment()) for _ in range(4)]
        said = {loader.communicate(timeout=120)[0] for loader in loaders}
        self.assertEqual([0] * 4, [loader.returncode for loader in loaders])
        self.assertEqual({f"{self.models()[0]['modelId']} {sum(content[::4096])}\n"}, said)
        self.assertEqual(1, len(self.models()))

    def test_one_that_left_comes_back(self):
        path, tensors, _ = self.write()
        name = self.client.load_model(path, name="back", device_id="host:0")["model_id"]
        self.unload(name)
        self.is_same(tensors, self.client.open_model("back"))

    def test_what_is_wrong_with_it(self):
        folder = self.folder("wrong")
        (folder / "hostile.safetensors").write_bytes(b"\xff" * 100)
        for kind, what in ((memkeep.ModelNotFound, "nobody"), (memkeep.ModelNotFound, folder / "absent.safetensors"),
                           (memkeep.ModelFormatInvalid, folder / "hostile.safetensors")):
            self.assertRaises(kind, self.client.open_model, what)


class Lives(SameCase):
    def test_until_nothing_points_there(self):
        path, tensors, _ = self.write()
        model = self.client.open_model(path)
        view, name = model.tensor(tensors[0].name), model.id
        self.assertRaises(TypeError, view.__setitem__, 0, 1)
        del model
        self.assertTrue(self.is_busy(name))
        with self.assertRaises(memkeep.ModelBusy):
            self.client.call("memory.unload_model", model_id=name)
        self.assertEqual(tensors[0].data, view)
        del view
        self.is_let_go(name)

    def test_after_a_restart_it_is_attached_again(self):
        path, tensors, _ = self.write()
        with self.take(4096) as memory:
            model = self.client.open_model(path)
            self.daemon.kill()
            self.is_same(tensors, model)
            self.daemon.start()
            self.assertEqual("active", memory.info()["status"])  # says what libmemkeep holds
            self.is_same(tensors, model)
            self.assertTrue(self.is_busy(model.id))
            name = model.id
            del model
            self.is_let_go(name)

    def test_a_daemon_that_is_away_is_no_trouble(self):
        path, tensors, _ = self.write()
        client = memkeep.connect(self.daemon.socket_path, reconnect_ms=1)
        model = client.open_model(path)
        self.daemon.kill()
        self.assertRaises(memkeep.MemkeepError, client.status)
        self.assertRaises(memkeep.DaemonNotFound, client.open_model, "m.safetensors")
        self.is_same(tensors, model)

    def test_a_forked_child_reads_and_takes_nothing_away(self):
        path, tensors, _ = self.write()
        model = self.client.open_model(path)
        child = os.fork()
        if not child:
            same = model.tensor(tensors[0].name) == tensors[0].data
            del model
            gc.collect()
            os._exit(0 if same else 1)
        self.assertEqual(0, os.waitpid(child, 0)[1])
        self.assertTrue(self.is_busy(model.id))
        self.is_same(tensors, model)

    def test_opened_and_let_go_often(self):
        path, _, _ = self.write(count=1)
        self.client.open_model(path).file()
        before, maps = len(os.listdir("/proc/self/fd")), self.mappings()
        for _ in range(100):
            self.client.open_model(path)
        self.assertEqual(before, len(os.listdir("/proc/self/fd")))
        self.assertEqual(maps, self.mappings())

    def mappings(self):
        """Of memory of the daemon's."""
        return Path("/proc/self/maps").read_text().count("/memfd:memkeep")


class OnCards(CardCase):
    """FAKE ones, whose memory is at real addresses once it is mapped."""

    def setUp(self):
        super().setUp()
        see_cards_of(self.daemon)
        self.client = memkeep.connect(self.daemon.socket_path)
        self.addCleanup(self.client.close)

    def write(self, name="m.safetensors"):
        path = self.folder("models") / name
        tensors = some_tensors(random.Random(name), 5, 200 * KIB)
        write_safetensors(path, tensors)
        return path, tensors

    def is_same(self, tensors, model):
        addresses = [model.place(model.tensors[tensor.name])[1] for tensor in tensors]
        for tensor, address in zip(tensors, addresses):
            self.assertEqual(tensor.data, ctypes.string_at(address, len(tensor.data)))
        self.assertEqual(0, min(addresses) % 256)

    def test_its_tensors_are_there(self):
        path, tensors = self.write()
        model = self.client.open_model(path, device="cuda:1")
        self.assertEqual(("cuda:1", True), (model.device, model.on_card))
        self.is_same(tensors, model)
        self.assertRaises(BufferError, model.tensor, tensors[0].name)
        self.assertRaises(BufferError, model.file)
        self.is_same(tensors, self.client.attach_model(path.name, device="cuda:1"))
        self.assertRaises(memkeep.Conflict, self.client.attach_model, path.name, device="cuda:0")

    def test_a_capsule_keeps_it(self):
        path, tensors = self.write()
        capsule = self.client.open_model(path, device="cuda:0").dlpack(tensors[0].name)
        gc.collect()
        self.assertTrue(self.look_model(path.name)["busy"])
        del capsule
        wait_until(lambda: not self.look_model(path.name)["busy"], "it to be let go")

    def test_one_that_left_comes_back(self):
        path, tensors = self.write()
        self.load(path, "cuda:0")
        for to in ("ram", "disk"):
            self.unload(path.name, to)
            self.is_same(tensors, self.client.attach_model(path.name, device="cuda:0"))
            gc.collect()
            wait_until(lambda: not self.look_model(path.name)["busy"], "it to be let go")

    def test_the_daemons_word_for_a_card(self):
        self.assertEqual("cuda:1", _cuda.device_of(self.client, 1))

    def test_in_host_memory_there_is_no_capsule(self):
        path, tensors = self.write()
        self.assertRaises(BufferError, self.client.open_model(path).dlpack, tensors[0].name)


if __name__ == "__main__":
    unittest.main()
