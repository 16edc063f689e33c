"""Memory of the daemon's in this process's hands."""

from __future__ import annotations

import ctypes
import os
import threading
from typing import TYPE_CHECKING, Any, Optional, Sequence, Tuple, Union

from . import _cuda, _dlpack, _library, errors
from ._ground import Ground

if TYPE_CHECKING:
    import numpy
    from .client import Connection


class _Lease:
    """A handle of libmemkeep's, and how it ends. It holds the connection, which must not end before it."""

    def __init__(self, connection: "Connection", handle: int, ours: bool) -> None:
        self.connection, self.handle, self.ours = connection, handle, ours

    def end(self) -> None:
        """Frees what is ours, gives back the rest; for when nobody is there to hear of an error."""
        if os.getpid() != self.connection.pid:
            return
        library = _library.library()
        if not self.ours or library.mk_free(self.handle):
            library.mk_detach(self.handle)

    def free(self) -> None:
        _library.check(_library.library().mk_free(self.handle))

    def detach(self) -> None:
        _library.check(_library.library().mk_detach(self.handle))


class Allocation:
    """Made by Client.allocate and Client.attach. As a context manager it gives its memory back at the end: one that was
    allocated is freed (unless its lease says that it outlives this process), one that was attached is detached. So it is
    when nobody refers to it any more.

    Arrays, tensors and slices over the memory keep it: it is given back when the last of them has gone, and free() and
    close(), which cannot wait, raise BufferError as long as there are any. Memory of a CUDA card has no buffer: it is
    mapped here when it is first lent by __dlpack__ or __cuda_array_interface__. `fd` and `handle_type` are for interfaces
    of your own.

    Any thread may use one. In a forked child everything but its facts raises Conflict."""

    def __init__(self, connection: "Connection", handle: int, ours: bool, writable: bool) -> None:
        """For Client: takes the handle."""
        library = _library.library()
        self._lease = _Lease(connection, handle, ours)
        self._lock = threading.Lock()
        self._segment: Optional[_cuda.Segment] = None
        self._closed = self._lent = False
        self.id: str = library.mk_id(handle).decode()
        self.device: str = library.mk_device(handle).decode()
        self.size: int = library.mk_size(handle)
        self.handle_type: str = library.mk_handle(handle).decode()
        self.readonly: bool = not writable
        address = library.mk_pointer(handle)
        self._ground: Optional[Ground] = Ground(address, self.size, self._lease.end, writable)

    # -- its life

    def __enter__(self) -> "Allocation":
        self._check()
        return self

    def __exit__(self, *_: object) -> None:
        """Never fails: what is still pointed into is given back later."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            if self._ground and not self._lent:
                self._ground.let_go()
                self._ground = self._segment = None

    def free(self, force: bool = False) -> None:
        """Frees the memory, whoever made it. BufferError while something here points into it; AllocationBusy while others
        have it attached, or it is persistent or pinned, unless by force. What is free already is fine."""
        self._give_back(self._free_by_force if force else self._lease.free)

    def close(self) -> None:
        """Gives the handle back, not the memory: that lives as its lease says. BufferError as for free()."""
        self._give_back(self._lease.detach)

    @property
    def closed(self) -> bool:
        return self._closed

    def _free_by_force(self) -> None:
        try:
            self._lease.connection.call("memory.free", {"allocation_id": self.id, "force": True})
        except errors.AllocationNotFound:
            pass
        self._lease.detach()

    def _give_back(self, how: Any) -> None:
        self._lease.connection.check_process()
        with self._lock:
            if self._closed:
                return
            ground = self._get_ground()
            if self._lent:
                raise BufferError("the memory was lent by __cuda_array_interface__, whose takers hold this object and cannot "
                                  "be seen: it is given back when nothing refers to it")
            ground.take_back()
            try:
                how()
            except BaseException:
                ground.lay_again()
                raise
            self._closed, self._ground, self._segment = True, None, None

    def _check(self) -> None:
        self._lease.connection.check_process()
        if self._closed:
            raise ValueError(f"allocation {self.id} is closed")

    # -- its bytes

    def _get_ground(self) -> Ground:
        self._check()
        ground = self._ground
        if ground is None:
            raise ValueError(f"allocation {self.id} is closed")
        return ground

    def _get_host(self) -> Ground:
        """Under the lock."""
        ground = self._get_ground()
        if not ground.is_here:
            raise BufferError(f"{self.id} is memory of {self.device}, which is no place of this process's")
        return ground

    def _get_segment(self) -> "_cuda.Segment":
        """Under the lock."""
        self._get_ground()
        if self._segment is None:
            if self.handle_type != "cuda-vmm":
                raise BufferError(f"{self.id} is not memory of a CUDA card, but {self.handle_type} of {self.device}")
            self._segment = _cuda.map_segment(self._lease.connection, self.id, self.fd)
        return self._segment

    @property
    def buffer(self) -> memoryview:
        """The bytes, in place. Released by free() and close() and at the end of a `with`."""
        with self._lock:
            return self._get_host().view()

    def __buffer__(self, flags: int) -> memoryview:  # Python 3.12: memoryview(allocation)
        return memoryview(self.buffer)

    def __len__(self) -> int:
        return self.size

    def numpy(self, dtype: Any = "u1", shape: Union[int, Sequence[int], None] = None, offset: int = 0) -> "numpy.ndarray":
        """A view on the bytes from `offset` on; without a shape, all whole elements there are."""
        import numpy
        kind = numpy.dtype(dtype)
        count = (self.size - offset) // kind.itemsize if shape is None else int(numpy.prod(shape))
        with self._lock:
            flat = numpy.frombuffer(self._get_host().lend(), kind, count, offset)
        return flat if shape is None else flat.reshape(shape)

    @property
    def __array_interface__(self) -> dict:
        with self._lock:
            return {"version": 3, "typestr": "|u1", "shape": (self.size,), "data": self._get_host().lend()}

    @property
    def __cuda_array_interface__(self) -> dict:
        """Of memory of a CUDA card, for CuPy, Numba and PyTorch's as_tensor. They hold this object: let it go with them."""
        with self._lock:
            address = self._get_segment().start + self.offset
            self._lent = True
        return {"version": 3, "typestr": "|u1", "shape": (self.size,), "strides": None, "data": (address, self.readonly),
                "stream": None}

    def __dlpack__(self, *, stream: Any = None, **_: Any) -> Any:
        """Bytes, for the from_dlpack of numpy, PyTorch and others; of host memory and of CUDA cards."""
        with self._lock:
            ground = self._get_ground()
            if not ground.writable:
                raise BufferError("DLPack cannot say that memory is read-only; use numpy() or buffer")
            lent = ground.lend()
            if ground.is_here:
                return _dlpack.export(lent, ctypes.addressof(lent), self.size, (_dlpack.CPU, 0))
            segment = self._get_segment()
            return _dlpack.export((lent, segment), segment.start + self.offset, self.size, (_dlpack.CUDA, segment.number))

    def __dlpack_device__(self) -> Tuple[int, int]:
        with self._lock:
            if self._get_ground().is_here:
                return _dlpack.CPU, 0
            return _dlpack.CUDA, self._get_segment().number

    # -- its facts

    @property
    def fd(self) -> int:
        """The descriptor of its segment, borrowed until the allocation is given back; -1: there is none."""
        self._check()
        return _library.library().mk_fd(self._lease.handle)

    @property
    def offset(self) -> int:
        """Where in its segment it begins."""
        self._check()
        return _library.library().mk_offset(self._lease.handle)

    def info(self) -> dict:
        """What the daemon says of it now: the fields of docs/api.md, in snake_case."""
        self._check()
        return self._lease.connection.call("memory.get_allocation", {"allocation_id": self.id})["allocation"]

    def __repr__(self) -> str:
        return f"<memkeep.Allocation {self.id} {self.size} bytes on {self.device}{', closed' if self._closed else ''}>"

    def __reduce__(self) -> Any:
        raise TypeError("an Allocation belongs to its process: send its id, and attach that there")
