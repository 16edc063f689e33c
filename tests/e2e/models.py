"""Files of models, written from the formats' public descriptions and not by what reads them here, and the words that
tests of models speak in.

    tensors = some_tensors(random, 5, 100 * KIB)
    write_safetensors(folder / "m.safetensors", tensors)
    model = self.load(folder / "m.safetensors", "fake:0")
    with self.attached(model) as attached:
        self.assertEqual(table_of(tensors), attached.table())
"""

import contextlib
import json
import mmap
import os
import struct
from typing import NamedTuple

import kernel
from harness import MEMORY, wait_until
from test_attach import Client, Refused

MODELS = f"{MEMORY}/models"
ALIGNMENT = 32  # of GGUF, when the file does not say otherwise
PLAIN = {"U8": 1, "I8": 1, "BOOL": 1, "F16": 2, "BF16": 2, "I16": 2, "F32": 4, "I32": 4, "F64": 8, "I64": 8}
# name: (number in GGUF, elements of a block, bytes of a block)
GGML = {"F32": (0, 1, 4), "F16": (1, 1, 2), "Q4_0": (2, 32, 18), "Q8_0": (8, 32, 34), "Q4_K": (12, 256, 144),
        "Q6_K": (14, 256, 210), "I8": (24, 1, 1), "I16": (25, 1, 2), "I32": (26, 1, 4), "F64": (28, 1, 8),
        "BF16": (30, 1, 2)}
UINT16, UINT32, INT32, STRING, ARRAY, UINT64 = 2, 4, 5, 8, 9, 10  # kinds of values in GGUF

# A process that attaches a model (its words: the socket, the model) and says the ms from connect to last byte.
WHO_ATTACHES = """
import mmap, sys, time
from doors import Unix
began = time.monotonic()
with Unix(sys.argv[1]) as unix:
    place = unix.call("memory.attach", {"model_id": sys.argv[2]})["data"]
    size = place["offset_bytes"] + place["size_bytes"]
    with mmap.mmap(unix.fds[0], size, access=mmap.ACCESS_READ) as view:
        assert view[size - 1] == 0
        print((time.monotonic() - began) * 1e3)
"""

# A process that asks for a path (its words: the port, the path) until its stdin ends, and says of each answer when it was
# there (time.monotonic) and the ms that it took.
WHO_LOOKS = """
import gc, json, select, sys, time
from doors import Http
found = []
gc.disable()
with Http(int(sys.argv[1])).session() as session:
    for warm in (True, False):
        while len(found) < 100 or not (warm or select.select([sys.stdin], [], [], 0)[0]):
            began = time.monotonic()
            assert session.get(sys.argv[2]).status == 200
            found.append((time.monotonic(), (time.monotonic() - began) * 1e3))
        if warm:
            found.clear()
            print("ready", flush=True)
print(json.dumps(found))
"""


class Tensor(NamedTuple):
    name: str
    dtype: str
    shape: list  # outermost first
    data: bytes


def some_tensors(random, count, most, dtypes=PLAIN):
    """Tensors of random kinds, shapes and bytes, up to `most` bytes each."""
    made = []
    for i in range(count):
        dtype = random.choice(sorted(dtypes))
        _, block, size = dtypes[dtype] if isinstance(dtypes[dtype], tuple) else (0, 1, dtypes[dtype])
        blocks = random.randint(1, max(1, most // size // 6))
        shape = random.choice(([blocks * block], [3, blocks * block], [2, 3, blocks * block]))
        elements = 1
        for dimension in shape:
            elements *= dimension
        made.append(Tensor(f"blk.{i}.weight", dtype, shape, random.randbytes(elements // block * size)))
    return made


def table_of(tensors):
    """{name: (dtype, shape, bytes)}: what must come out of a file of these tensors."""
    return {tensor.name: (tensor.dtype, tensor.shape, tensor.data) for tensor in tensors}


# -- safetensors


def safetensors_header(tensors, metadata=None):
    header, at = {"__metadata__": metadata} if metadata else {}, 0
    for tensor in tensors:
        header[tensor.name] = {"dtype": tensor.dtype, "shape": tensor.shape,
                               "data_offsets": [at, at + len(tensor.data)]}
        at += len(tensor.data)
    return json.dumps(header).encode()


def pack_safetensors(header, data=b""):
    """A file of this header, whatever it says; padded as the format wants."""
    header += b" " * (-len(header) % 8)
    return struct.pack("<Q", len(header)) + header + data


def write_safetensors(path, tensors, metadata=None):
    content = pack_safetensors(safetensors_header(tensors, metadata), b"".join(tensor.data for tensor in tensors))
    path.write_bytes(content)
    return content


def write_sharded(folder, tensors, count, name="model"):
    """An index and `count` shards; {file name: content} of the shards."""
    folder.mkdir(exist_ok=True)
    files = {}
    for i in range(count):
        file = f"{name}-{i + 1:05}-of-{count:05}.safetensors"
        files[file] = write_safetensors(folder / file, tensors[i::count], {"format": "pt"})
    index = {"metadata": {"total_size": sum(len(tensor.data) for tensor in tensors)},
             "weight_map": {tensor.name: sorted(files)[i % count] for i, tensor in enumerate(tensors)}}
    (folder / f"{name}.safetensors.index.json").write_text(json.dumps(index, indent=2))
    return files


# -- GGUF


def gguf_string(text):
    text = text.encode() if isinstance(text, str) else text
    return struct.pack("<Q", len(text)) + text


def gguf_pair(key, kind, value):
    if kind == STRING:
        packed = gguf_string(value)
    elif kind == ARRAY:  # of strings
        packed = struct.pack("<IQ", STRING, len(value)) + b"".join(map(gguf_string, value))
    else:
        packed = struct.pack({UINT16: "<H", UINT32: "<I", INT32: "<i", UINT64: "<Q"}[kind], value)
    return gguf_string(key) + struct.pack("<I", kind) + packed


def pack_gguf(tensors, pairs=(), version=3, alignment=ALIGNMENT):
    pairs = [("general.architecture", STRING, "test"), ("tokenizer.ggml.tokens", ARRAY, ["a", "é", ""]), *pairs]
    pairs += [("general.alignment", UINT32, alignment)] if alignment != ALIGNMENT else []
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(pairs))
    head += b"".join(gguf_pair(*pair) for pair in pairs)
    data = b""
    for tensor in tensors:
        shape = tensor.shape[::-1]  # innermost first
        head += gguf_string(tensor.name) + struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
        head += struct.pack("<IQ", GGML[tensor.dtype][0], len(data))
        data += tensor.data + bytes(-len(tensor.data) % alignment)
    return head + bytes(-len(head) % alignment) + data


def write_gguf(path, tensors, pairs=(), version=3, alignment=ALIGNMENT):
    content = pack_gguf(tensors, pairs, version, alignment)
    path.write_bytes(content)
    return content


def write_split(folder, tensors, count, name="split", version=3):
    """A GGUF of `count` parts; {file name: content}."""
    folder.mkdir(exist_ok=True)
    files = {}
    for i in range(count):
        file = f"{name}-{i + 1:05}-of-{count:05}.gguf"
        pairs = [("split.no", UINT16, i), ("split.count", UINT16, count),
                 ("split.tensors.count", INT32, len(tensors))]
        files[file] = write_gguf(folder / file, tensors[i::count], pairs, version)
    return files


# -- many models


def write_sparse(path, size):
    """One tensor of zeros that take no room on disk."""
    header = safetensors_header([Tensor(path.name, "U8", [size], b"")])
    header = header.replace(b"[0, 0]", f"[0, {size}]".encode())
    with open(path, "wb") as file:
        file.write(pack_safetensors(header))
        file.truncate(file.tell() + size)
    return path


def write_models(folder, random, count, unit):
    """Files of 1 to 16 units, an octave and then a place in it by chance: {name: path}, all different and mostly
    holes."""
    made = {}
    for i in range(count):
        size = int(unit * 2 ** (random.randrange(4) + random.random()))
        path = write_sparse(folder / f"zipf-{i}.safetensors", size)
        made[path.name] = path
    return made


def zipf(random, names, count, exponent=1.0):
    """`count` requests; who is popular is chance."""
    names = random.sample(sorted(names), len(names))
    return random.choices(names, [rank ** -exponent for rank in range(1, len(names) + 1)], k=count)


# -- what is attached


class Attached:
    """A model on a connection of its own; the fds are mapped once they are looked at."""

    def __init__(self, socket_path, name, **fields):
        self.client, self.fds = Client(socket_path), []
        try:
            self.data, self.fds = self.client.call("memory.attach", {"model_id": name, "read_only": True} | fields)
            self.in_fd = self.data.get("tensors_in_fd", False)
            self.tensors = self._table() if self.in_fd else self.data["tensors"]
        except BaseException:
            self.close()
            raise

    def _table(self):
        with open(self.fds[-1], "rb", closefd=False) as file:
            file.seek(0)
            return json.loads(file.read())

    def close(self):
        for fd in self.fds:
            os.close(fd)
        self.fds = []
        self.client.close()

    @contextlib.contextmanager
    def mapped(self, index):
        piece = self.data["segments"][index]
        start = piece["offset_bytes"] // mmap.PAGESIZE * mmap.PAGESIZE
        skip = piece["offset_bytes"] - start
        with mmap.mmap(self.fds[index], skip + piece["size_bytes"], access=mmap.ACCESS_READ, offset=start) as place:
            with memoryview(place) as view, view[skip:skip + piece["size_bytes"]] as part:
                yield part

    def files(self):
        """{file name: content}, each byte of it."""
        found = {}
        for i, piece in enumerate(self.data["segments"]):
            with self.mapped(i) as part:
                found[piece["file"]] = bytes(part)
        return found

    def table(self):
        """{name: (dtype, shape, bytes)} as the table of tensors says where they are."""
        found, files = {}, list(self.files().values())
        for tensor in self.tensors:
            content, at = files[tensor.get("segment", 0)], tensor["offset_bytes"]
            assert at + tensor["size_bytes"] <= len(content), tensor
            found[tensor["name"]] = (tensor["dtype"], tensor["shape"], content[at:at + tensor["size_bytes"]])
        assert len(found) == len(self.tensors)
        return found


class ModelWords:
    """What a test case of models says; mixed into one of harness.py's."""

    def folder(self, name):
        folder = self.daemon.folder / name
        folder.mkdir(exist_ok=True)
        return folder

    def try_load(self, path, device=None, **fields):
        body = {"path": str(path), "wait": True} | ({"deviceId": device} if device else {}) | fields
        return self.daemon.post(f"{MODELS}/load", body)

    def load(self, path, device=None, **fields):
        return self.ok(self.try_load(path, device, **fields))["model"]

    def start_load(self, path, device=None, **fields):
        """The job of a load that is not waited for."""
        return self.ok(self.try_load(path, device, wait=False, **fields), 202)["jobId"]

    def try_unload(self, model, to="disk", **fields):
        return self.daemon.post(f"{MODELS}/{key_of(model)}/unload", {"to": to} | fields)

    def unload(self, model, to="disk", **fields):
        return self.ok(self.try_unload(model, to, **fields))

    def look_model(self, model):
        return self.ok(self.daemon.get(f"{MODELS}/{key_of(model)}"))["model"]

    def models(self):
        found, cursor = [], ""
        while cursor is not None:
            page = self.ok(self.daemon.get(f"{MODELS}?limit=1000" + (cursor and f"&cursor={cursor}")))
            found += page["models"]
            cursor = page["nextCursor"]
        return found

    def job(self, name):
        return self.ok(self.daemon.get(f"{MEMORY}/jobs/{name}"))

    def job_ends(self, name, seconds=60):
        return wait_until(lambda: (job := self.job(name))["status"] not in ("pending", "in_progress") and job,
                          f"the end of {name}", seconds)

    @contextlib.contextmanager
    def attached(self, model, **fields):
        attached = Attached(self.daemon.socket_path, key_of(model), **fields)
        try:
            yield attached
            attached.client.call("memory.detach", {"model_id": key_of(model)})
        finally:
            attached.close()

    def refused_attach(self, model, code):
        with self.assertRaises(Refused) as caught:
            Attached(self.daemon.socket_path, key_of(model)).close()
        self.assertEqual(code, caught.exception.code)

    def booked_sizes(self):
        """The sizes of all segments in the daemon's books."""
        pages = [self.ok(self.daemon.get(f"{MEMORY}/segments/{device['deviceId']}?limit=1000"))
                 for device in self.host()["devices"]]
        return sorted(segment["sizeBytes"] for page in pages for segment in page["segments"])

    def vault_sizes(self):
        """The same as the vault holds them: a file's ends where the file ends, which the books count in whole pages."""
        return sorted(-(-size // mmap.PAGESIZE) * mmap.PAGESIZE for path, size, _ in kernel.memfds(self.vault()).values()
                      if "memkeep-ledger" not in os.readlink(path))

    def assert_books_are_the_kernels(self):
        """Segment by segment, as soon as nothing is on its way back between two looks. For a RestartCase."""
        try:
            wait_until(lambda: self.booked_sizes() == self.vault_sizes(), "the books to be the kernel's")
        except AssertionError:
            self.assertEqual(self.booked_sizes(), self.vault_sizes())
            raise

    def committed(self, device):
        return self.device(device)["committedBytes"]


def key_of(model):
    return model["modelId"] if isinstance(model, dict) else model
