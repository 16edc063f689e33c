"""A FAKE card for memkeep.worker.torch: host memory behind a caching allocator that keeps its books as PyTorch's does.
Tensors are real; what is FAKE is only the device. Nothing here is measured, so nothing here says a time."""

import ctypes
import threading
import weakref

import torch
from memkeep.worker.card import Figures, Host

SEGMENT = 1 << 20


class FakeOutOfMemory(RuntimeError):
    pass


class _Segment:
    def __init__(self, size):
        self.size, self.holes = size, [(0, size)]

    def take(self, size):
        """Where, or None."""
        for i, (at, room) in enumerate(self.holes):
            if room >= size:
                self.holes[i:i + 1] = [(at + size, room - size)] if room > size else []
                return at
        return None

    def give(self, at, size):
        holes = []
        for start, room in sorted([*self.holes, (at, size)]):
            if holes and sum(holes[-1]) == start:
                holes[-1] = (holes[-1][0], holes[-1][1] + room)
            else:
                holes.append((start, room))
        self.holes = holes

    @property
    def free(self):
        return sum(room for _, room in self.holes)


class FakeCard(Host):
    copies, out_of_memory = True, (FakeOutOfMemory,)

    def __init__(self, size=1 << 40, counts=True):
        self.size, self.counts, self._segments, self._lock = size, counts, [], threading.RLock()
        self.placed = 0

    def place(self, tensor):
        self.placed += 1
        size = max(1, tensor.numel() * tensor.element_size())
        memory = (ctypes.c_ubyte * size)()
        with self._lock:
            segment, at = self._find(size)
            weakref.finalize(memory, self._give, segment, at, size).atexit = False
        flat = torch.frombuffer(memory, dtype=torch.uint8, count=tensor.numel() * tensor.element_size()) \
            if tensor.numel() else torch.empty(0, dtype=torch.uint8)
        flat.copy_(tensor.contiguous().reshape(-1).view(torch.uint8))
        return flat.view(tensor.dtype).reshape(tensor.shape)

    def _find(self, size):
        for segment in self._segments:
            at = segment.take(size)
            if at is not None:
                return segment, at
        whole = -(-size // SEGMENT) * SEGMENT
        if self._reserved() + whole > self.size:
            self.empty()
        if self._reserved() + whole > self.size:
            raise FakeOutOfMemory(f"FAKE card: {size} bytes do not fit")
        self._segments.append(_Segment(whole))
        return self._segments[-1], self._segments[-1].take(size)

    def _give(self, segment, at, size):
        with self._lock:
            segment.give(at, size)

    def _reserved(self):
        return sum(segment.size for segment in self._segments)

    def figures(self):
        if not self.counts:
            return None
        with self._lock:
            used = [segment for segment in self._segments if segment.free < segment.size]
            return Figures(self._reserved(), sum(segment.size - segment.free for segment in used),
                           sum(segment.free for segment in used))

    def empty(self):
        with self._lock:
            self._segments = [segment for segment in self._segments if segment.free < segment.size]
