"""What a PyTorch worker needs of the place where its tensors go: host memory, or a card by way of torch.cuda. Anything with
these methods will do in its place."""

from __future__ import annotations

import functools
from typing import Any, Callable, NamedTuple, Optional, Tuple

import torch

from .. import _cuda, errors
from .. import client as clients


class Figures(NamedTuple):
    """What a caching allocator has, in bytes: `reserved` from the device, of that `active` under tensors and `split` lost
    between them; the rest it would give back."""
    reserved: int
    active: int
    split: int

    @property
    def cached(self) -> int:
        return max(0, self.reserved - self.active - self.split)

    @property
    def fragmentation_percent(self) -> float:
        return round(100 * self.split / self.reserved, 2) if self.reserved else 0.0


class Host:
    """Tensors stay in the daemon's memory; nothing is held beside that."""

    out_of_memory: Tuple[Any, ...] = ()
    copies = False

    def torch_device(self) -> Any:
        """Where memkeep.torch.load finds what the daemon has on this device; None: in host memory."""
        return None

    def place(self, tensor: torch.Tensor) -> torch.Tensor:
        """The tensor, in memory that this process has on the device."""
        return tensor

    def figures(self) -> Optional[Figures]:
        """None: nobody counts."""
        return None

    def empty(self) -> None:
        """What nothing uses goes back to the device."""


class Cuda(Host):
    """A card of the daemon's, by its word for it; PyTorch may count otherwise, so it is found by its UUID."""

    out_of_memory: Tuple[Any, ...] = (torch.cuda.OutOfMemoryError,)
    copies = True

    def __init__(self, device_id: str, client: Callable[[], clients.Client]) -> None:
        self._device_id, self._client = device_id, client

    @functools.cached_property
    def _number(self) -> int:
        for number in range(torch.cuda.device_count()):
            try:
                if _cuda.device_of(self._client(), number) == self._device_id:
                    return number
            except errors.DeviceNotFound:  # not a card of the daemon's
                pass
        raise errors.DeviceNotFound(f"no card that this process sees is {self._device_id}")

    def torch_device(self) -> Any:
        return torch.device("cuda", self._number)

    def place(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor.to(self.torch_device(), copy=True)

    def figures(self) -> Optional[Figures]:
        if not torch.cuda.is_initialized():
            return Figures(0, 0, 0)
        try:
            found = torch.cuda.memory_stats(self._number)
        except RuntimeError:  # an allocator that was plugged in counts for itself
            return None
        return Figures(*(found.get(f"{name}_bytes.all.current", 0) for name in ("reserved", "active", "inactive_split")))

    def empty(self) -> None:
        if torch.cuda.is_initialized():
            with torch.cuda.device(self._number):
                torch.cuda.synchronize()
                torch.cuda.empty_cache()


def card_of(device_id: str, client: Callable[[], clients.Client]) -> Host:
    if device_id.startswith("host:"):
        return Host()
    if device_id.startswith("cuda:"):
        return Cuda(device_id, client)
    raise errors.DeviceNotFound(f"PyTorch has no tensors on {device_id}")
