"""memkeep.torch: tensors over the daemon's memory are the file's, bit for bit and without a copy, and shared by all who
load them. Debian's torch (1.13) has no fp8, so that comes as bytes here."""

import gc
import random
import struct
import unittest

import memkeep
from client import ModelCase, run_python
from harness import KIB, MIB
from models import GGML, Tensor, pack_safetensors, safetensors_header, some_tensors, write_gguf, write_safetensors

try:
    import torch
    import memkeep.torch
except ImportError:
    raise SystemExit("python3-torch is not there; scripts/setup installs it")

DTYPES = {torch.bool: "BOOL", torch.uint8: "U8", torch.int8: "I8", torch.int16: "I16", torch.float16: "F16",
          torch.bfloat16: "BF16", torch.int32: "I32", torch.float32: "F32", torch.complex64: "C64", torch.float64: "F64",
          torch.int64: "I64"}

# Loads (its words: the socket, the model), touches every page and says its share of the model's memory, in bytes.
SHARER = """
import sys, memkeep, memkeep.torch
with memkeep.connect(sys.argv[1]) as client:
    weights = memkeep.torch.load(sys.argv[2], client=client)
print(int(sum(weight.view(-1)[::1024].double().sum() for weight in weights.values())), flush=True)
for line in sys.stdin:
    found, inside = {"Rss:": 0, "Pss:": 0, "Anonymous:": 0}, False
    for words in map(str.split, open("/proc/self/smaps")):
        if "-" in words[0]:
            inside = "/memfd:memkeep" in " ".join(words)
        elif inside and words[0] in found:
            found[words[0]] += int(words[1]) * 1024
    print(*found.values(), flush=True)
"""


def bits(tensor):
    return bytes(tensor.contiguous().reshape(-1).view(torch.uint8).numpy()) if tensor.numel() else b""


def as_file(weights):
    """Tensors for the writers of models.py."""
    return [Tensor(name, DTYPES[weight.dtype], list(weight.shape), bits(weight)) for name, weight in weights.items()]


class Net(torch.nn.Module):
    """Small, with what a module can have: convolution, buffers, tied weights, a scalar."""

    def __init__(self):
        super().__init__()
        self.body = torch.nn.Sequential(torch.nn.Conv1d(4, 16, 3, padding=1), torch.nn.BatchNorm1d(16), torch.nn.GELU(),
                                        torch.nn.Conv1d(16, 8, 3))
        self.inside, self.outside = torch.nn.Linear(8, 32), torch.nn.Linear(32, 8, bias=False)
        self.back = torch.nn.Linear(8, 32)
        self.back.weight = self.inside.weight
        self.scale = torch.nn.Parameter(torch.tensor(0.5))
        self.register_buffer("seen", torch.zeros(3, dtype=torch.int64))
        self.register_buffer("scratch", torch.zeros(3), persistent=False)

    def forward(self, x):
        x = self.body(x).mean(-1)
        return self.scale * (self.outside(torch.relu(self.inside(x))) + self.back(x)[:, :8])


def net(seed):
    torch.manual_seed(seed)
    made = Net().eval()
    made.body[1].running_mean.normal_()
    return made


class TorchCase(ModelCase):
    def save(self, weights, name="net.safetensors"):
        path = self.folder("models") / name
        write_safetensors(path, as_file(weights))
        return path

    def load(self, what, device=None):
        return memkeep.torch.load(what, device, client=self.client)


class Tensors(TorchCase):
    def test_each_dtype(self):
        torch.manual_seed(1)
        weights = {}
        for dtype in DTYPES:
            weights[f"{dtype}.block"] = (torch.randn(5, 7, 3) * 50).to(dtype)
            weights[f"{dtype}.scalar"] = torch.ones((), dtype=dtype)
            weights[f"{dtype}.empty"] = torch.empty(4, 0, dtype=dtype)
        aligned = dict(sorted(weights.items(), key=lambda pair: -pair[1].element_size()))
        loaded = self.load(self.save(aligned))
        self.assertEqual(set(weights), set(loaded))
        for name, weight in weights.items():
            self.assertEqual((weight.dtype, weight.shape), (loaded[name].dtype, loaded[name].shape), name)
            self.assertEqual(bits(weight), bits(loaded[name]), name)

    def test_what_torch_has_no_name_for_is_bytes(self):
        path = self.folder("models") / "fp8.safetensors"
        tensors = [Tensor("e4m3", "F8_E4M3", [3, 8], random.randbytes(24)), Tensor("u32", "U32", [2, 3], random.randbytes(24)),
                   Tensor("fp4", "F4", [2, 8], random.randbytes(8)), Tensor("e5m2", "F8_E5M2", [], b"x")]
        write_safetensors(path, tensors)
        loaded = self.load(path)
        for tensor in tensors:
            self.assertEqual(tensor.data, bits(loaded[tensor.name]))
        if not hasattr(torch, "float8_e4m3fn"):
            self.assertEqual([(3, 8), (2, 12), (2, 4), (1,)], [tuple(loaded[tensor.name].shape) for tensor in tensors])
            self.assertEqual({torch.uint8}, {weight.dtype for weight in loaded.values()})

    def test_gguf_is_blocks(self):
        path = self.folder("models") / "m.gguf"
        tensors = some_tensors(random.Random(4), 20, 20 * KIB, GGML)
        write_gguf(path, tensors)
        loaded = self.load(path)
        for tensor in tensors:
            found = loaded[tensor.name]
            self.assertEqual(tensor.data, bits(found))
            _, block, size = GGML[tensor.dtype]
            if block > 1:
                self.assertEqual((*tensor.shape[:-1], tensor.shape[-1] // block * size), tuple(found.shape))

    def test_bytes_that_lie_badly_are_copied(self):
        weight = torch.randn(100)
        tensors = [Tensor("odd", "U8", [3], b"odd"), Tensor("weight", "F32", [100], bits(weight))]
        path = self.folder("models") / "odd.safetensors"
        path.write_bytes(pack_safetensors(safetensors_header(tensors), b"odd" + bits(weight)))
        loaded = self.load(path)["weight"]
        self.assertEqual(0, loaded.data_ptr() % 4)
        self.assertEqual(bits(weight), bits(loaded))

    def test_without_a_copy(self):
        path = self.save({"weight": torch.randn(1000, 1000)})
        first, second = self.load(path)["weight"], self.client.attach_model("net.safetensors")
        memory, at = second.place(second.tensors["weight"])
        with open("/proc/self/maps") as maps:
            mapped = [tuple(int(end, 16) for end in line.split()[0].split("-")) for line in maps if "/memfd:memkeep" in line]
        self.assertTrue(any(start <= first.data_ptr() < end for start, end in mapped))
        self.assertEqual(bits(first), memory[at:at + first.numel() * 4])

    def test_who_writes_harms_nobody(self):
        path = self.save({"weight": torch.ones(1000)})
        mine = self.load(path)["weight"]
        mine += 1
        self.assertEqual((2000, 1000), (mine.sum(), self.load(path)["weight"].sum()))

    def test_a_tensor_keeps_the_model(self):
        path = self.save({"a": torch.ones(1000), "b": torch.zeros(1000)})
        part = self.load(path)["a"][10:20]
        gc.collect()
        self.assertTrue(self.is_busy("net.safetensors"))
        self.assertEqual(10, part.sum())
        del part
        self.is_let_go("net.safetensors")

    def test_where(self):
        path = self.save({"weight": torch.ones(1000)})
        self.load(path, "host:1")
        self.assertEqual("host:1", self.look_model("net.safetensors")["deviceId"])
        for device in ("cpu", torch.device("cpu"), None):
            self.assertEqual("cpu", self.load("net.safetensors", device)["weight"].device.type)
        self.assertRaises(ValueError, self.load, path, "meta")
        self.assertRaises(memkeep.ModelNotFound, self.load, "nobody")

    def test_allocations_are_tensors_too(self):
        with self.take(4096, zero=True) as memory:
            tensor = torch.from_dlpack(memory).view(torch.float32)
            tensor[1] = 1.5
            self.assertEqual(struct.pack("<f", 1.5), memory.buffer[4:8])
            self.assertRaises(BufferError, memory.free)
            del tensor
            memory.free()

    def test_the_end_of_the_interpreter_is_no_trouble(self):
        path = self.save({"weight": torch.ones(1000)})
        self.assertEqual("1000\n", run_python("""
import sys, memkeep, torch, memkeep.torch
client = memkeep.connect(sys.argv[1])
weights = memkeep.torch.load(sys.argv[2], client=client)
lent = torch.from_dlpack(client.allocate(1 << 20, device="host:0"))
torch.kept, torch.lent = weights, lent
print(int(weights["weight"].sum()))
""", self.daemon.socket_path, path))


class Modules(TorchCase):
    def test_a_forward_pass_is_the_same_bit_for_bit(self):
        source, x = net(7), torch.randn(3, 4, 50)
        path = self.save(source.state_dict())
        there = net(8)
        with torch.no_grad():
            ordinary = source(x)
            self.assertNotEqual(bits(ordinary), bits(there(x)))
            keys = memkeep.torch.load_into(there, path, client=self.client)
            self.assertEqual(([], []), tuple(keys))
            self.assertEqual(bits(ordinary), bits(there(x)))
        for name, weight in there.state_dict().items():
            self.assertEqual(bits(source.state_dict()[name]), bits(weight), name)
        self.assertIs(there.inside.weight, there.back.weight)
        self.assertTrue(there.inside.weight.requires_grad)

    def test_so_is_a_step_of_training(self):
        source, x = net(7), torch.randn(3, 4, 50)
        path = self.save(source.state_dict())
        there = net(8)
        memkeep.torch.load_into(there, path, client=self.client)
        for module in (source, there):
            optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
            module(x).square().sum().backward()
            optimizer.step()
        self.assertEqual(bits(source.inside.weight.detach()), bits(there.inside.weight.detach()))
        fresh = self.load("net.safetensors")["inside.weight"]
        self.assertNotEqual(bits(fresh), bits(there.inside.weight.detach()))

    def test_the_dtype_is_the_files(self):
        source = net(7).to(torch.bfloat16)
        path = self.save(source.state_dict())
        there = net(8)
        memkeep.torch.load_into(there, path, client=self.client)
        self.assertEqual(torch.bfloat16, there.inside.weight.dtype)

    def test_tied_weights_may_be_there_once(self):
        source = net(7)
        weights = source.state_dict()
        del weights["back.weight"]
        there = net(8)
        self.assertEqual([], memkeep.torch.load_into(there, self.save(weights), client=self.client).missing_keys)
        self.assertEqual(bits(source.back.weight.detach()), bits(there.back.weight.detach()))

    def test_what_does_not_fit_changes_nothing(self):
        weights = net(7).state_dict()
        weights["scale"] = torch.zeros(2)
        del weights["seen"]
        weights["more"] = torch.zeros(2)
        path, there = self.save(weights), net(8)
        before = {name: bits(weight) for name, weight in there.state_dict().items()}
        with self.assertRaises(RuntimeError) as caught:
            memkeep.torch.load_into(there, path, client=self.client)
        for word in ("size mismatch for scale: () here, (2,) in the model", "missing keys: seen", "unexpected keys: more"):
            self.assertIn(word, str(caught.exception))
        self.assertEqual(before, {name: bits(weight) for name, weight in there.state_dict().items()})

    def test_not_strictly(self):
        weights = {"scale": torch.tensor(3.0), "more": torch.zeros(2)}
        there = net(8)
        keys = memkeep.torch.load_into(there, self.save(weights), strict=False, client=self.client)
        self.assertEqual((["more"], 3.0), (keys.unexpected_keys, there.scale.item()))
        self.assertIn("seen", keys.missing_keys)


class Shared(TorchCase):
    def test_four_processes_have_one_copy(self):
        size = 64 * MIB
        path = self.save({f"{i}": torch.full((size // 16,), float(i)) for i in range(4)})
        others = [self.talk(SHARER, path) for _ in range(4)]
        self.assertEqual([str(6 * size // 16 // 1024)] * 4, [other.read() for other in others])
        for other in others:
            other.say("measure")
        seen = [tuple(map(int, other.read().split())) for other in others]
        for rss, pss, anonymous in seen:
            self.assertLessEqual(size, rss)
            self.assertLess(pss, 0.26 * size)
            self.assertEqual(0, anonymous)
        self.assertLess(sum(pss for _, pss, _ in seen), 1.04 * size)
        print(f"{size >> 20} MiB in four processes: resident {[rss >> 20 for rss, *_ in seen]} MiB, "
              f"proportional {[round(pss / MIB, 1) for _, pss, _ in seen]} MiB")


if __name__ == "__main__":
    unittest.main()
