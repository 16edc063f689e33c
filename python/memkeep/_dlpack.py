"""DLPack by ctypes: a capsule that lends bytes, and holds who owns them until the consumer lets go.

A consumer may let go when the interpreter is gone (a C++ destructor at exit), when a callback into Python would be fatal.
So at exit every tensor that is still lent gets another deleter: a function of libmemkeep that does nothing."""

from __future__ import annotations

import atexit
import ctypes
from typing import Any, Dict, Tuple

from . import _library

CPU, CUDA = 1, 2  # kDLCPU, kDLCUDA
_UINT, _NAME = 1, b"dltensor"


class _Tensor(ctypes.Structure):
    """DLTensor"""
    _fields_ = [("data", ctypes.c_void_p), ("device_type", ctypes.c_int32), ("device_id", ctypes.c_int32),
                ("ndim", ctypes.c_int32), ("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16),
                ("shape", ctypes.POINTER(ctypes.c_int64)), ("strides", ctypes.POINTER(ctypes.c_int64)),
                ("byte_offset", ctypes.c_uint64)]


class _Managed(ctypes.Structure):
    """DLManagedTensor"""
    _fields_ = [("tensor", _Tensor), ("context", ctypes.c_void_p), ("deleter", ctypes.c_void_p)]


_lent: Dict[int, Any] = {}  # address of a _Managed: it, and who it holds


@ctypes.CFUNCTYPE(None, ctypes.c_void_p)
def _delete(managed: int) -> None:
    _lent.pop(managed, None)


@ctypes.PYFUNCTYPE(None, ctypes.c_void_p)
def _capsule_ends(capsule: int) -> None:
    """One that nobody consumed still has its first name."""
    if _is_valid(capsule, _NAME):
        _lent.pop(_get_pointer(capsule, _NAME), None)


_api = ctypes.pythonapi
_is_valid, _get_pointer, _new = _api.PyCapsule_IsValid, _api.PyCapsule_GetPointer, _api.PyCapsule_New
_is_valid.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
_get_pointer.restype, _get_pointer.argtypes = ctypes.c_void_p, [ctypes.c_void_p, ctypes.c_char_p]
_new.restype, _new.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]


@atexit.register
def _disarm() -> None:
    for managed, *_ in _lent.values():
        managed.deleter = ctypes.cast(_library.library().mk_error_text, ctypes.c_void_p).value


def export(holds: Any, address: int, size: int, device: Tuple[int, int]) -> Any:
    """A capsule of `size` bytes at that address of a device; `holds` is kept until its consumer lets go."""
    shape, strides = (ctypes.c_int64 * 1)(size), (ctypes.c_int64 * 1)(1)
    tensor = _Tensor(address, *device, 1, _UINT, 8, 1, shape, strides, 0)
    managed = _Managed(tensor, None, ctypes.cast(_delete, ctypes.c_void_p).value)
    where = ctypes.addressof(managed)
    _lent[where] = (managed, holds, shape, strides)
    return _new(where, _NAME, ctypes.cast(_capsule_ends, ctypes.c_void_p))
