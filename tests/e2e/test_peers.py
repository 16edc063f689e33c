"""Models that other people's software wrote: every byte and every row of the table comes through, and that software reads
a model from memory as it would from its file."""

import hashlib
import json
import random
import struct
import subprocess
import sys
import unittest
from pathlib import Path

import peers
from harness import KIB, SharedDaemonCase, clean_environment, program
from models import GGML, ModelWords, some_tensors, table_of

NAMES = ("host:0", "fake:0")
# MLX's word: (ours, bytes of a whole number)
MLX = {"float32": ("F32", lambda n: struct.pack("<f", n)), "float16": ("F16", lambda n: struct.pack("<e", n)),
       "bfloat16": ("BF16", lambda n: struct.pack("<f", n)[2:]), "int8": ("I8", lambda n: struct.pack("<b", n)),
       "uint8": ("U8", lambda n: struct.pack("<B", n)), "int16": ("I16", lambda n: struct.pack("<h", n)),
       "uint16": ("U16", lambda n: struct.pack("<H", n)), "int32": ("I32", lambda n: struct.pack("<i", n)),
       "uint32": ("U32", lambda n: struct.pack("<I", n)), "int64": ("I64", lambda n: struct.pack("<q", n)),
       "uint64": ("U64", lambda n: struct.pack("<Q", n)), "complex64": ("C64", lambda n: struct.pack("<ff", n, 0)),
       "bool_": ("BOOL", lambda n: struct.pack("<?", n))}
MLX_GGUF = ("float32", "float16")  # for whole numbers it writes numbers of kinds that GGUF gave to others since


class Peers(ModelWords, SharedDaemonCase):
    devices = ("host:0=512MiB", "fake:0=256MiB")

    def setUp(self):
        self.random = random.Random(self.id())
        self.place = self.folder(self.id().rpartition(".")[2])

    def comes_through(self, path, table, parts=None):
        """Loads it on each device; `table` as models.table_of makes it, `parts` the files, else the path alone."""
        files = {part.name: part.read_bytes() for part in parts or [path]}
        for device in NAMES:
            with self.subTest(device=device):
                model = self.load(path, device, name=f"{self.id()}")
                with self.attached(model) as attached:
                    self.assertEqual(files, attached.files())
                    self.assertEqual(table, attached.table())
                self.unload(model)

    def of_mlx(self, path, kinds):
        numbers = [self.random.randrange(2) if kind == "bool_" else self.random.randrange(120) for kind in kinds
                   for _ in range(6000)]
        tensors = [(f"layers.{i}.weight", kind, [3, 2000], numbers[6000 * i:6000 * (i + 1)])
                   for i, kind in enumerate(kinds)]
        peers.write_mlx(path, tensors)
        return {name: (MLX[kind][0], shape, b"".join(map(MLX[kind][1], values)))
                for name, kind, shape, values in tensors}

    def of_ggml(self, count=40):
        return some_tensors(self.random, count, 100 * KIB, {name: GGML[name] for name in peers.TYPES})

    def test_safetensors_of_mlx(self):
        path = self.place / "mlx.safetensors"
        self.comes_through(path, self.of_mlx(path, list(MLX)))

    def test_gguf_of_mlx(self):
        path = self.place / "mlx.gguf"
        self.comes_through(path, self.of_mlx(path, MLX_GGUF))

    def test_gguf_of_ggml_with_its_quantised_kinds(self):
        tensors = self.of_ggml()
        peers.write_ggml(self.place / "g.gguf", tensors, {"general.architecture": "llama", "general.name": "é"})
        self.comes_through(self.place / "g.gguf", table_of(tensors))

    def test_split_gguf_of_ggml(self):
        tensors = self.of_ggml()
        parts = [self.place / f"s-{i + 1:05}-of-00003.gguf" for i in range(3)]
        for i, part in enumerate(parts):
            peers.write_ggml(part, tensors[i::3], split=(i, 3, len(tensors)))
        self.comes_through(parts[0], table_of(tensors), parts)

    def test_ggml_reads_a_model_from_memory(self):
        tensors = self.of_ggml()
        peers.write_ggml(self.place / "read.gguf", tensors)
        model = self.load(self.place / "read.gguf", "host:0", name="read")
        (self.place / "read.gguf").unlink()
        said = subprocess.run(
            [program("memkeep"), "exec", "--socket", self.daemon.socket_path, "--model", "read", "--", sys.executable,
             Path(peers.__file__), "{}"], check=True, capture_output=True, timeout=60, env=clean_environment()).stdout
        self.assertEqual({tensor.name: hashlib.sha256(tensor.data).hexdigest() for tensor in tensors},
                         json.loads(said))
        self.unload(model)


if __name__ == "__main__":
    unittest.main()
