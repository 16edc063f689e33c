"""libmemkeep as ctypes sees it: found once, when the first client connects, and never unloaded.

MEMKEEP_LIB names it, the file or its folder (libmemkeep_torch lies beside it); else it is the one of the source tree (build/lib) that this package lies in
or was installed from, else the system's."""

from __future__ import annotations

import ctypes
import os
import threading
from pathlib import Path
from typing import Any, Callable, Iterator, List, Optional, Tuple, TypeVar

from . import errors

_T = TypeVar("_T")

_NAME, _ALLOCATOR = "libmemkeep.so.0", "libmemkeep_torch.so.0"

PERSISTENT, PINNED, ZERO, COMMIT, EVICT, READ_ONLY = 1, 2, 4, 8, 16, 32

_TEXT, _HANDLE = ctypes.c_char_p, ctypes.c_void_p


class Options(ctypes.Structure):
    """struct mk_options"""
    _fields_ = [("socket", _TEXT), ("reconnect_ms", ctypes.c_uint32), ("flags", ctypes.c_uint32),
                ("reserved", ctypes.c_uint64 * 4)]


class Request(ctypes.Structure):
    """struct mk_request"""
    _fields_ = [("size", ctypes.c_uint64),
                *((name, _TEXT) for name in ("device", "memory", "label", "purpose", "priority", "share", "strategy")),
                ("alignment", ctypes.c_uint64), ("ttl_seconds", ctypes.c_uint64), ("wait_ms", ctypes.c_uint64),
                ("flags", ctypes.c_uint32), ("reserved_too", ctypes.c_uint32), ("reserved", ctypes.c_uint64 * 4)]


_FUNCTIONS = {
    "mk_error_text": (_TEXT, []),
    "mk_connect": (ctypes.c_int, [ctypes.POINTER(Options), ctypes.POINTER(_HANDLE)]),
    "mk_close": (None, [_HANDLE]),
    "mk_allocate": (ctypes.c_int, [_HANDLE, ctypes.POINTER(Request), ctypes.POINTER(_HANDLE)]),
    "mk_attach": (ctypes.c_int, [_HANDLE, _TEXT, ctypes.c_uint32, ctypes.POINTER(_HANDLE)]),
    "mk_detach": (ctypes.c_int, [_HANDLE]),
    "mk_free": (ctypes.c_int, [_HANDLE]),
    "mk_id": (_TEXT, [_HANDLE]),
    "mk_device": (_TEXT, [_HANDLE]),
    "mk_size": (ctypes.c_uint64, [_HANDLE]),
    "mk_pointer": (ctypes.c_void_p, [_HANDLE]),
    "mk_fd": (ctypes.c_int, [_HANDLE]),
    "mk_offset": (ctypes.c_uint64, [_HANDLE]),
    "mk_handle": (_TEXT, [_HANDLE]),
    "mk_call": (ctypes.c_int, [_HANDLE, _TEXT, _TEXT, ctypes.POINTER(_HANDLE)]),
}

_loaded: Optional[Any] = None


def _candidates(name: str) -> Iterator[str]:
    said = os.environ.get("MEMKEEP_LIB")
    if said:
        folder = said if os.path.isdir(said) else os.path.dirname(said)
        yield said if name == _NAME and folder != said else os.path.join(folder, name)
        return
    tree = Path(__file__).resolve().parents[2]
    if (tree / "CMakeLists.txt").exists():
        yield str(tree / "build/lib" / name)
    try:
        from ._tree import LIBRARY  # type: ignore[import-not-found]  # written by backend.py
        yield os.path.join(LIBRARY, name)
    except ImportError:
        pass
    yield name


def _open(name: str) -> Tuple[Any, str]:
    problems = []
    for path in _candidates(name):
        try:
            return ctypes.CDLL(path), path
        except OSError as problem:
            problems.append(str(problem))
    raise ImportError(f"{name} is not there; MEMKEEP_LIB may name its folder: " + "; ".join(problems))


def library() -> Any:
    """The library, its functions declared; ImportError when it cannot be found."""
    global _loaded
    if _loaded is None:
        found, _ = _open(_NAME)
        for name, (result, parameters) in _FUNCTIONS.items():
            function = getattr(found, name)
            function.restype, function.argtypes = result, parameters
        _loaded = found
    return _loaded


def allocator() -> Tuple[Any, str]:
    """libmemkeep_torch, and the path that it was found by; ImportError when it cannot be found."""
    return _open(_ALLOCATOR)


def check(code: int) -> None:
    """Raises what a function of the library answered, unless that is success. On the thread that called it."""
    if code:
        raise errors.of_number(code, library().mk_error_text().decode(errors="replace"))


def wait(act: Callable[[], _T]) -> _T:
    """What act() answers, which may take long: Python hears of Ctrl-C on the main thread and between two steps of its own
    only, so another thread asks. What still comes when nobody waits any more goes with the last reference."""
    answers: List[_T] = []
    problems: List[BaseException] = []
    over, left = threading.Event(), threading.Event()

    def work() -> None:
        try:
            answers.append(act())
        except BaseException as problem:  # pylint: disable=broad-except
            problems.append(problem)
        if left.is_set():
            answers.clear()  # the interrupt's traceback has the list
        over.set()

    if threading.current_thread() is not threading.main_thread():
        return act()
    try:
        threading.Thread(target=work, name="memkeep", daemon=True).start()
    except RuntimeError:  # there are no new ones when the interpreter ends
        return act()
    try:
        over.wait()
    except BaseException:
        left.set()
        answers.clear()
        raise
    if problems:
        raise problems.pop()
    return answers.pop()


def take_text(pointer: Any) -> str:
    """What the library malloced, as text; freed."""
    try:
        return ctypes.string_at(pointer).decode()
    finally:
        _free(pointer)


_free = ctypes.CDLL(None).free
_free.restype, _free.argtypes = None, [ctypes.c_void_p]
