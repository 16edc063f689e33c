"""Other people's software that writes and reads models, from npm (tests/peers): MLX, and ggml, the library of llama.cpp.

    write_mlx(path, [("a", "float16", [2, 3], [1, 2, 3, 4, 5, 6])])
    write_ggml(path, tensors, {"general.name": "tiny"})
    python3 peers.py FILE        ggml's own reader: a JSON object {tensor: SHA-256 of its bytes}
"""

import ctypes
import hashlib
import json
import subprocess
import sys
from pathlib import Path

PEERS = Path(__file__).resolve().parents[1] / "peers"
GGML_BASE = PEERS / "node_modules/@node-llama-cpp/linux-x64/bins/linux-x64/libggml-base.so"
# name: number in enum ggml_type
TYPES = {"F32": 0, "F16": 1, "Q4_0": 2, "Q8_0": 8, "Q4_K": 12, "Q6_K": 14, "I8": 24, "I16": 25, "I32": 26, "F64": 28,
         "BF16": 30}


def write_mlx(path, tensors):
    """`tensors` are (name, dtype as MLX says it, shape, whole numbers). The kind of file is the name's."""
    subprocess.run(["node", PEERS / "write_mlx.js", path], input=json.dumps(tensors), text=True, check=True, timeout=60)


class InitParams(ctypes.Structure):
    _fields_ = [("size", ctypes.c_size_t), ("buffer", ctypes.c_void_p), ("no_alloc", ctypes.c_bool)]


class GgufParams(ctypes.Structure):
    _fields_ = [("no_alloc", ctypes.c_bool), ("context", ctypes.POINTER(ctypes.c_void_p))]


def ggml():
    library = ctypes.CDLL(GGML_BASE)
    for name, result, *arguments in (
            ("ggml_init", ctypes.c_void_p, InitParams),
            ("ggml_free", None, ctypes.c_void_p),
            ("ggml_new_tensor", ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_int, ctypes.c_void_p),
            ("ggml_set_name", ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p),
            ("ggml_get_data", ctypes.c_void_p, ctypes.c_void_p),
            ("ggml_nbytes", ctypes.c_size_t, ctypes.c_void_p),
            ("gguf_init_empty", ctypes.c_void_p),
            ("gguf_free", None, ctypes.c_void_p),
            ("gguf_set_val_str", None, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_char_p),
            ("gguf_set_val_u16", None, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_uint16),
            ("gguf_set_val_i32", None, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int32),
            ("gguf_add_tensor", None, ctypes.c_void_p, ctypes.c_void_p),
            ("gguf_write_to_file", ctypes.c_bool, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_bool),
            ("gguf_init_from_file", ctypes.c_void_p, ctypes.c_char_p, GgufParams),
            ("gguf_get_n_tensors", ctypes.c_int64, ctypes.c_void_p),
            ("gguf_get_tensor_name", ctypes.c_char_p, ctypes.c_void_p, ctypes.c_int64),
            ("ggml_get_tensor", ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


def write_ggml(path, tensors, words=(), split=None):
    """Tensors as models.py has them, `words` {key: text}, `split` (part, of how many, tensors of all parts)."""
    library = ggml()
    context = library.ggml_init(InitParams(sum(len(tensor.data) + 1024 for tensor in tensors) + 4096, None, False))
    gguf = library.gguf_init_empty()
    for key, value in dict(words).items():
        library.gguf_set_val_str(gguf, key.encode(), value.encode())
    if split:
        library.gguf_set_val_u16(gguf, b"split.no", split[0])
        library.gguf_set_val_u16(gguf, b"split.count", split[1])
        library.gguf_set_val_i32(gguf, b"split.tensors.count", split[2])
    for tensor in tensors:
        shape = (ctypes.c_int64 * len(tensor.shape))(*reversed(tensor.shape))  # innermost first
        made = library.ggml_new_tensor(context, TYPES[tensor.dtype], len(shape), shape)
        assert library.ggml_nbytes(made) == len(tensor.data), tensor.name
        library.ggml_set_name(made, tensor.name.encode())
        ctypes.memmove(library.ggml_get_data(made), tensor.data, len(tensor.data))
        library.gguf_add_tensor(gguf, made)
    assert library.gguf_write_to_file(gguf, str(path).encode(), False)
    library.gguf_free(gguf)
    library.ggml_free(context)


def read_ggml(path):
    library, context = ggml(), ctypes.c_void_p()
    gguf = library.gguf_init_from_file(str(path).encode(), GgufParams(False, ctypes.pointer(context)))
    assert gguf, "ggml cannot read it"
    found = {}
    for i in range(library.gguf_get_n_tensors(gguf)):
        name = library.gguf_get_tensor_name(gguf, i)
        tensor = library.ggml_get_tensor(context, name)
        data = ctypes.string_at(library.ggml_get_data(tensor), library.ggml_nbytes(tensor))
        found[name.decode()] = hashlib.sha256(data).hexdigest()
    return found


if __name__ == "__main__":
    print(json.dumps(read_ggml(sys.argv[1])))
