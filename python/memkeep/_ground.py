"""Memory that Python objects may point into: a ctypes array over an address, and what happens when nobody does any more.

Memoryviews, numpy arrays and tensors over it hold the array, each in its own way, so its end is the end of the last of
them, and `release` runs then. After the interpreter has begun to end it does not: the process's end gives all back, and
whatever still points there stays valid until then. (A ctypes array is the one object of the standard library that lends
an address as a buffer and can be watched by a weak reference.)"""

from __future__ import annotations

import ctypes
import weakref
from typing import Any, Callable, Optional


class _Token:
    """In the array's place where there is no address."""


class Ground:
    """Not thread-safe: its owner sees to that. Without an address there is no view, and what is lent stands for memory
    that only a device reaches."""

    def __init__(self, address: Optional[int], size: int, release: Callable[[], None], writable: bool = True) -> None:
        self._address, self._size, self._release, self.writable = address, size, release, writable
        self._view: Optional[memoryview] = None
        self._lay()

    def _lay(self) -> None:
        address = self._address
        self._array: Any = (ctypes.c_ubyte * self._size).from_address(address) if address else _Token()
        self._watch()

    def _watch(self) -> None:
        self._end = weakref.finalize(self._array, self._release)
        self._end.atexit = False

    @property
    def is_here(self) -> bool:
        return bool(self._address)

    def lend(self) -> Any:
        """A new reference for who wants a buffer to hold: the array, or a view on it where it is not writable."""
        return self._array if self.writable or not self._address else memoryview(self._array).cast("B").toreadonly()

    def view(self) -> memoryview:
        """One and the same until it is released."""
        if self._view is None:
            self._view = memoryview(self.lend()).cast("B")
        return self._view

    def let_go(self) -> None:
        """`release` runs now, or when the last who points there has gone."""
        self._drop_view()
        self._array = None

    def take_back(self) -> None:
        """Nothing points there any more, and `release` will not run; BufferError when something does."""
        if not self._drop_view():
            raise BufferError("the memory is in use: something still points into its buffer")
        self._end.detach()
        alive = weakref.ref(self._array)
        self._array = None
        self._array = alive()
        if self._array is not None:
            self._watch()
            raise BufferError("the memory is in use: an array, a tensor or a slice still points into it")

    def lay_again(self) -> None:
        """After take_back: all is as before."""
        self._lay()

    def _drop_view(self) -> bool:
        try:
            if self._view is not None:
                self._view.release()
            self._view = None
        except BufferError:
            return False
        return True
