"""PyTorch's memory on cards, from the daemon:

    import memkeep.torch

    memkeep.torch.use()                     # before anything of CUDA

Every byte of this process on a card is then in the daemon's ledger, and what is empty goes back when another process needs
it. libmemkeep_torch does it, which PyTorch calls (torch.cuda.memory.CUDAPluggableAllocator, from PyTorch 2.0 on)."""

from __future__ import annotations

import ctypes
from typing import Any, NamedTuple, Optional, Tuple

from . import _library, errors

_PREFIX = "memkeep_torch_"
# What PyTorch can be given, by the name of its setter, where this version has it.
_CALLBACKS = (("set_reset_fn", "empty_cache"), ("set_record_stream_fn", "record_stream"),
              ("set_begin_allocate_to_pool", "begin_pool"), ("set_end_allocate_to_pool_fn", "end_pool"))

_used: Optional[Tuple[Any, Any]] = None  # the library, and the allocator, which PyTorch wants to live


class Figures(NamedTuple):
    """Bytes and numbers of this process on one card. Reserved is what the daemon counts; empty of it is what can be given
    back; used is what is in use, or waits for a stream."""
    reserved_bytes: int
    used_bytes: int
    empty_bytes: int
    peak_reserved_bytes: int
    peak_used_bytes: int
    allocations: int
    segments: int


def use(socket: Optional[str] = None, *, evict: bool = False) -> None:
    """Makes the daemon's memory that of PyTorch's tensors on cards, for as long as this process lives. `evict`: idle models
    of the daemon's may be parked for it. A second call changes nothing. RuntimeError: CUDA is in use in this process
    already, or this PyTorch has no such allocators; DaemonNotFound; ImportError without libmemkeep_torch."""
    global _used
    import torch
    if _used is not None:
        return
    memory: Any = getattr(torch.cuda, "memory", None)
    if not hasattr(memory, "CUDAPluggableAllocator"):
        raise RuntimeError(f"PyTorch {torch.__version__} takes no allocator of others; 2.0 and later do")
    if torch.cuda.is_initialized():
        raise RuntimeError("CUDA is in use in this process already: call memkeep.torch.use() before anything of torch.cuda")
    library, path = _library.allocator()
    _declare(library)
    if library.memkeep_torch_open(socket.encode() if socket else None, _library.EVICT if evict else 0):
        raise errors.DaemonNotFound(_reason(library))
    allocator = memory.CUDAPluggableAllocator(path, _PREFIX + "alloc", _PREFIX + "free")
    _give_callbacks(allocator, library)
    memory.change_current_allocator(allocator)
    _used = library, allocator


def empty_cache() -> None:
    """Gives the daemon all segments back in which there is nothing; torch.cuda.empty_cache() does the same."""
    _library_in_use().memkeep_torch_empty_cache()


def figures(device: Any = None) -> Figures:
    """Of a card, as PyTorch counts them (None: its current one)."""
    import torch
    library = _library_in_use()
    number = device if isinstance(device, int) else torch.device(device).index if device is not None else None
    found = (ctypes.c_uint64 * len(Figures._fields))()
    if library.memkeep_torch_look(torch.cuda.current_device() if number is None else number, found):
        raise ValueError(f"there is no card {device}")
    return Figures(*found)


def _library_in_use() -> Any:
    if _used is None:
        raise RuntimeError("memkeep.torch.use() has not been called in this process")
    return _used[0]


def _declare(library: Any) -> None:
    library.memkeep_torch_open.argtypes = [ctypes.c_char_p, ctypes.c_uint32]
    library.memkeep_torch_look.argtypes = [ctypes.c_int, ctypes.c_void_p]
    library.memkeep_torch_error.restype = ctypes.c_char_p
    library.memkeep_torch_empty_cache.restype = None


def _give_callbacks(allocator: Any, library: Any) -> None:
    inner = allocator.allocator() if hasattr(allocator, "allocator") else allocator
    for setter, name in _CALLBACKS:
        if hasattr(inner, setter):
            getattr(inner, setter)(ctypes.cast(getattr(library, _PREFIX + name), ctypes.c_void_p).value)


def _reason(library: Any) -> str:
    return str(library.memkeep_torch_error().decode(errors="replace"))
