"""A worker whose models are PyTorch's tensors, and which gives a card's memory back when it is asked:

    memkeepd --worker torch="python3 -m memkeep.worker.torch --device cuda:0"

or, in a program that uses them,

    worker = memkeep.worker.torch.TorchWorker("mine", "cuda:0")
    worker.start()
    with worker.using("llama.safetensors") as weights:    # by path, or the name of a model that the daemon has
        ...

Weights that the daemon has on the device are used in place. Else they are copied there from its host memory, into memory
that PyTorch's allocator takes, and parking drops that copy: the daemon keeps the model, and it comes back with the next
use. They are for reading: what is written to them goes with a park."""

from __future__ import annotations

import argparse
import contextlib
import gc
import os
import threading
import time
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

import torch

from .. import errors, models
from .. import torch as tensors
from .base import Worker
from .card import Host, card_of
from .interface import Call, action
from .manager import Held

_LOOK = 0.05
_WORTH = 1 << 20  # bytes of cache that are worth a word

Progress = Callable[[int, int], None]


class Resident(Held):
    """`source` is the daemon's model; `size` what is held beside the daemon's memory, now."""

    def __init__(self, model_id: str, source: str, device_id: str, filled: bool = False) -> None:
        super().__init__(model_id, 0, device_id=device_id)
        self.source, self.filled = source, filled
        self.moving = threading.RLock()  # of who brings it or parks it

    @property
    def parked(self) -> bool:
        return self.what is None


class TorchWorker(Worker):
    """Derive from it to make modules of weights: build()."""

    def __init__(self, name: str = "torch", device: str = "host:0", *, card: Optional[Host] = None, **more: Any) -> None:
        """`device` is the daemon's word. `card`: what takes torch.cuda's place."""
        super().__init__(name, **more)
        self.device, self.card = device, card or card_of(device, lambda: self.client)

    def build(self, model_id: str, weights: Dict[str, torch.Tensor]) -> Any:
        """What using() gives; the weights by name unless this is overridden."""
        return weights

    # -- where models come from

    def load(self, call: Call, model_id: str, data: Dict[str, Any]) -> Held:
        """`file_ids` of files that came over MEMKEEP_FD, which the daemon then reads; else `model`, or the id, is a name that it
        knows."""
        files = data.get("file_ids")
        source = self._load_files(call, model_id, data) if files else self._find(data.get("model") or model_id, call)
        held = Resident(model_id, source, self.device)
        self._bring(held, call.progress)
        return held

    def _load_files(self, call: Call, model_id: str, data: Dict[str, Any]) -> str:
        names = data.get("files") or [{"name": f"{model_id}.{i}"} for i in range(len(data["file_ids"]))]
        fds = self.segments.take_files(data["file_ids"])
        try:
            fields = {"name": model_id, "files": names, "device_id": self._host(), "wait": False}
            return self._follow(self.client.ask("memory.load_model", fields, fds), call)
        finally:
            for fd in fds:
                os.close(fd)

    def _find(self, name: str, call: Optional[Call] = None) -> str:
        """The daemon's id of a model, which is in its memory then."""
        if not call and models.is_path(name):  # no path that is asked for is opened
            return self.client.load_model(name, device_id=self._host())["model_id"]
        model = self.client.call("memory.get_model_info", model_id=name)["model"]
        if model["residency"] != "disk" or not model["path"]:
            return model["model_id"]
        fields = {"path": model["path"], "name": model["name"], "device_id": self._host(), "wait": False}
        return self._follow(self.client.call("memory.load_model", **fields), call)

    def _host(self) -> Optional[str]:
        return models.best_host(self.client) if self.card.copies else self.device

    def _follow(self, answer: Dict[str, Any], call: Optional[Call]) -> str:
        """The model that a job loads, when it has; who asked hears meanwhile that we live."""
        while "model" not in answer:
            job = self.client.call("memory.get_job", job_id=answer["job_id"])
            if job["status"] == "completed":
                return job["result"]["model_id"]
            if job["status"] not in ("pending", "in_progress"):
                raise errors.of_code(job.get("error_code") or "", job.get("error_message") or f"the load {job['status']}")
            if call:
                call.progress(0)
            time.sleep(_LOOK)
        return answer["model"]["model_id"]

    def filled(self, model_id: str) -> None:
        """Ours from now on, until the daemon lets it go: first attached when it is used."""
        with contextlib.suppress(errors.Conflict):
            self.hold(Resident(model_id, model_id, self.device, filled=True))

    def hear(self, event: str, data: Dict[str, Any]) -> None:
        if event == "memory.model" and data.get("state") in ("unloaded", "failed"):
            for held in self.manager.list():
                if isinstance(held, Resident) and held.filled and held.source == data.get("model_id"):
                    self.release(held.model_id, force=True)
        super().hear(event, data)

    # -- here and away

    @contextlib.contextmanager
    def using(self, model_id: str, otherwise: Optional[Callable[[], Held]] = None) -> Iterator[Any]:
        """`with worker.using(name_or_path) as weights`: it is on the device and stays there. Keep no reference beyond the
        block: what is referred to cannot be given back."""
        held = self.manager.begin(model_id)
        if held is None:
            held = self._add_used(otherwise() if otherwise else Resident(model_id, self._find(model_id), self.device))
        try:
            yield self._bring(held)
        finally:
            self.manager.end(held)

    def _bring(self, held: Held, progress: Optional[Progress] = None) -> Any:
        """Onto the device, if it is not there: what it is. Nobody waits for that but who wants the same model."""
        assert isinstance(held, Resident)
        with held.moving:
            if held.what is None:
                weights, held.size = self._place(held, progress)
                held.what, held.on_device = self.build(held.model_id, weights), self.card.copies
                del weights
                self.changed()
            return held.what

    def _place(self, held: Resident, progress: Optional[Progress]) -> Tuple[Dict[str, torch.Tensor], int]:
        """(weights, bytes of them that are not the daemon's)"""
        at = self.client.call("memory.get_model_info", model_id=held.source)["model"]
        in_place = not self.card.copies or (at["device_id"], at["residency"]) == (self.device, "device")
        found = tensors.load(held.source, self.card.torch_device() if in_place else None, client=self.client)
        if in_place:
            return found, 0
        total, done, placed = sum(map(_size, found.values())), 0, {}  # type: int, int, Dict[str, torch.Tensor]
        try:
            for name, tensor in found.items():
                placed[name] = self.card.place(tensor)
                done += _size(tensor)
                if progress:
                    progress(done, total)
        except self.card.out_of_memory as problem:
            raise errors.InsufficientMemory(f"{held.model_id} has {total} bytes: {problem}") from None
        finally:
            if len(placed) < len(found):
                placed.clear()
                self.card.empty()
        return placed, done

    def park(self, call: Optional[Call], held: Held, force: bool = False) -> None:
        """The copy on the device goes, or the hold on the daemon's; ModelBusy while it is used, or on its way."""
        assert isinstance(held, Resident)
        if not held.moving.acquire(blocking=force):
            raise errors.ModelBusy(f"model {held.model_id} is on its way")
        try:
            if held.busy and not force:
                raise errors.ModelBusy(f"model {held.model_id} is used")
            held.what, held.size, held.on_device = None, 0, False
        finally:
            held.moving.release()
        self.drop_caches(None)

    def let_go(self, held: Held, force: bool = False) -> None:
        self.park(None, held, force)
        self.changed()

    def unload(self, held: Held) -> None:
        held.what = None
        self.drop_caches(None)

    # -- bytes

    def _is_ours(self, device_id: Optional[str]) -> bool:
        return device_id in (None, self.device)

    def _of_ours(self, device_id: Optional[str]) -> Optional[str]:
        return device_id

    def cache_bytes(self, device_id: Optional[str]) -> int:
        figures = self.card.figures()
        return figures.cached if figures and self._is_ours(device_id) else 0

    def drop_caches(self, device_id: Optional[str]) -> None:
        if self._is_ours(device_id):
            gc.collect()  # modules have cycles
            self.card.empty()

    def memory_bytes(self, device_id: Optional[str]) -> int:
        """What the allocator took from the device, whoever in this process wanted it; where nobody counts, our tensors."""
        figures = self.card.figures()
        if not self._is_ours(device_id):
            return 0
        return figures.reserved if figures else sum(held.size for held in self.manager.list())

    def _describe(self) -> Dict[str, Any]:
        figures = self.card.figures()
        if figures is None:
            return {"reserved_bytes": None, "active_bytes": None, "fragmentation_percent": None}
        return {"reserved_bytes": figures.reserved, "active_bytes": figures.active,
                "fragmentation_percent": figures.fragmentation_percent}

    # -- what is asked

    def _get_status(self, call: Call) -> Dict[str, Any]:
        """Models that are parked are listed only while the daemon says that they are ours."""
        answer, cached = super()._get_status(call), self.cache_bytes(call.data.get("device_id"))
        answer["loaded_models"] = [held.model_id for held in self.manager.list(call.data.get("device_id"))
                                   if not held.parked or (isinstance(held, Resident) and held.filled)]
        if cached >= _WORTH:
            answer["optimization_opportunities"] = [{
                "kind": "drain_caches", "device_id": self.device, "model_id": None, "bytes": cached,
                "why": "PyTorch's allocator keeps it, and there is no tensor in it"}]
        return {**answer, **self._describe()}

    def _optimize(self, call: Call) -> Dict[str, Any]:
        answer, here = super()._optimize(call), {held.model_id for held in self.manager.list()}
        gone = answer["unloaded_models"]
        return {**answer, "unloaded_models": [name for name in gone if name not in here],
                "parked_models": [name for name in gone if name in here], **self._describe()}

    @action("memory.defragment", slow=True)
    def _defragment(self, call: Call) -> Dict[str, Any]:
        """What no tensor is in goes back to the device; with `strategy` thorough idle models are laid anew, without holes."""
        if not self._is_ours(call.data.get("device_id")):
            raise errors.DeviceNotFound(f"this worker is on {self.device}")
        before, was = self._describe(), self.memory_bytes(None)
        self.drop_caches(None)
        moved, size = self._lay_anew(call) if call.data.get("strategy") == "thorough" else ([], 0)
        self.changed()
        return {"moved": [], "models_moved": moved, "bytes": size, "freed_bytes": max(0, was - self.memory_bytes(None)),
                **{f"{name}_before": value for name, value in before.items()},
                **{f"{name}_after": value for name, value in self._describe().items()}}

    def _lay_anew(self, call: Call) -> Tuple[List[str], int]:
        idle = [held for held in self.manager.candidates(device_id=self.device) if held.size]
        moved = []
        for held in idle:
            with contextlib.suppress(errors.ModelBusy):  # since then
                self.park(None, held)
                moved.append(held)
        for held in reversed(moved):
            self._bring(held, call.progress)
        return [held.model_id for held in moved], sum(held.size for held in moved)


def _size(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python3 -m memkeep.worker.torch", description="A worker with PyTorch's tensors.")
    parser.add_argument("--device", default="host:0", help="the daemon's word: cuda:0, host:0 (default)")
    parser.add_argument("--name", default="torch", help="on the daemon's socket NAME-PID")
    parser.add_argument("--limit", type=int, help="bytes that it wants to stay below")
    words = parser.parse_args()
    TorchWorker(words.name, words.device, limit=words.limit).run()


if __name__ == "__main__":
    main()
