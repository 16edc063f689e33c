"""memkeep.torch.use(): a stand-in for PyTorch's CUDAPluggableAllocator, which Debian's torch is too old to have, takes what it
is given and calls it as PyTorch does, over a FAKE card."""

import contextlib
import ctypes
import os
import subprocess
import sys
import tempfile
import types
import unittest
from pathlib import Path
from unittest import mock

import memkeep
from client import LIB, environment
from harness import MIB
from memkeep import _library, torch_allocator
from test_cuda import CardCase


class StandIn:
    """torch.cuda.memory.CUDAPluggableAllocator: not PyTorch's."""

    def __init__(self, path, alloc, free):
        library = ctypes.CDLL(path)
        self.alloc, self.free = getattr(library, alloc), getattr(library, free)
        self.alloc.restype, self.alloc.argtypes = ctypes.c_void_p, [ctypes.c_ssize_t, ctypes.c_int, ctypes.c_void_p]
        self.free.restype, self.free.argtypes = None, [ctypes.c_void_p, ctypes.c_ssize_t, ctypes.c_int, ctypes.c_void_p]
        self.callbacks = {}

    def allocator(self):
        return self

    def set_reset_fn(self, address):
        self.callbacks["reset"] = ctypes.CFUNCTYPE(None)(address)

    def set_record_stream_fn(self, address):
        self.callbacks["record_stream"] = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)(address)


class StandInTorch(types.ModuleType):
    """As much of torch as use() looks at."""

    def __init__(self, initialized=False, **memory):
        super().__init__("torch")
        self.__version__, self.changed = "0.stand-in", []
        memory.setdefault("change_current_allocator", self.changed.append)
        self.cuda = types.SimpleNamespace(is_initialized=lambda: initialized, memory=types.SimpleNamespace(**memory),
                                          current_device=lambda: 0)


@contextlib.contextmanager
def as_torch(stand_in):
    with mock.patch.dict(sys.modules, {"torch": stand_in}), mock.patch.object(torch_allocator, "_used", None):
        yield stand_in


class Refused(unittest.TestCase):
    def test_once_cuda_is_in_use(self):
        with as_torch(StandInTorch(initialized=True, CUDAPluggableAllocator=StandIn)):
            with self.assertRaisesRegex(RuntimeError, "CUDA is in use"):
                torch_allocator.use()

    def test_by_an_old_torch(self):
        with as_torch(StandInTorch()):
            with self.assertRaisesRegex(RuntimeError, "0.stand-in takes no allocator of others"):
                torch_allocator.use()

    def test_without_a_daemon(self):
        with as_torch(StandInTorch(CUDAPluggableAllocator=StandIn)) as torch:
            with self.assertRaisesRegex(memkeep.DaemonNotFound, "/nowhere"):
                torch_allocator.use("/nowhere/memkeep.sock")
            self.assertEqual([], torch.changed)

    def test_before_use(self):
        for function in (torch_allocator.empty_cache, torch_allocator.figures):
            with mock.patch.object(torch_allocator, "_used", None), self.assertRaisesRegex(RuntimeError, "has not been called"):
                function()

    def test_without_the_library(self):
        with mock.patch.dict(os.environ, {"MEMKEEP_LIB": "/proc"}), self.assertRaisesRegex(ImportError, "/proc/libmemkeep_torch"):
            _library.allocator()


PROGRAM = """
import sys
from unittest import mock
from test_torch_allocator import StandIn, StandInTorch, as_torch
from memkeep import torch_allocator
with as_torch(StandInTorch(CUDAPluggableAllocator=StandIn)) as torch:
    torch_allocator.use(sys.argv[1])
    torch_allocator.use()
    allocator, = torch.changed
    first, second = allocator.alloc(8 << 20, 0, None), allocator.alloc(64 << 20, 0, None)
    print(*torch_allocator.figures(), flush=True)
    allocator.free(second, 64 << 20, 0, None)
    allocator.callbacks["record_stream"](first, None)
    allocator.callbacks["reset"]()
    print(*torch_allocator.figures(0), flush=True)
    allocator.free(first, 8 << 20, 0, None)
    torch_allocator.empty_cache()
    print(*torch_allocator.figures(), flush=True)
"""


# Says what a call throws.
PROBE = r"""
#include <cstdio>
#include <cxxabi.h>
#include <exception>
#include <typeinfo>
extern "C" void probe(void *(*alloc)(long, int, void *), char *out, size_t size) {
  try {
    snprintf(out, size, "%p", alloc(4096, 0, nullptr));
  } catch (const std::exception &error) {
    snprintf(out, size, "%s %s", abi::__cxa_current_exception_type()->name(), error.what());
  }
}
"""
THROWS = """
import ctypes, sys
import torch
text = ctypes.create_string_buffer(4096)
library, probe = ctypes.CDLL(sys.argv[1]), ctypes.CDLL(sys.argv[2])
for _ in range(3):
    probe.probe(library.memkeep_torch_alloc, text, ctypes.c_size_t(4096))
print(text.value.decode())
"""


class Thrown(unittest.TestCase):
    def test_out_of_memory_is_torchs_own(self):
        with tempfile.TemporaryDirectory() as folder:
            source, probe = Path(folder, "probe.cpp"), Path(folder, "probe.so")
            source.write_text(PROBE)
            subprocess.run(["c++", "-shared", "-fPIC", source, "-o", probe], check=True)
            words = [sys.executable, "-c", THROWS, LIB / "libmemkeep_torch.so.0", probe]
            done = subprocess.run(words, capture_output=True, text=True, timeout=120,
                                  env={**environment(), "MEMKEEP_SOCKET": "/nowhere/memkeep.sock"})
        self.assertEqual((0, ""), (done.returncode, done.stderr))
        self.assertRegex(done.stdout, r"^N3c1016OutOfMemoryErrorE CUDA out of memory\. .*/nowhere/memkeep.sock")


class Used(CardCase):
    def test_it_is_the_daemons_memory(self):
        cards = {name: value for name, value in self.daemon.environment.items()
                 if name.startswith("FAKE_CUDA") or name == "MEMKEEP_LIBCUDA"}
        done = subprocess.run([sys.executable, "-c", PROGRAM, self.daemon.socket_path], capture_output=True, text=True,
                              timeout=60, env=environment(**cards))
        self.assertEqual((0, ""), (done.returncode, done.stderr))
        full, less, none = (torch_allocator.Figures(*map(int, line.split())) for line in done.stdout.splitlines())
        self.assertEqual((72 * MIB, 72 * MIB, 0, 72 * MIB, 72 * MIB, 2), full[:6])
        self.assertEqual((8 * MIB, 8 * MIB, 0), (less.reserved_bytes, less.used_bytes, less.empty_bytes))
        self.assertEqual((0, 0, 72 * MIB), (none.reserved_bytes, none.used_bytes, none.peak_reserved_bytes))

    def test_the_library_lies_beside_the_other(self):
        for named in (LIB, LIB / "libmemkeep.so.0"):
            with mock.patch.dict(os.environ, {"MEMKEEP_LIB": str(named)}):
                self.assertEqual(str(LIB / "libmemkeep_torch.so.0"), _library.allocator()[1])


if __name__ == "__main__":
    unittest.main()
