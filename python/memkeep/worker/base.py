"""Worker: what a worker in Python is derived from."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import threading
import time
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

from .. import client as clients
from .. import errors
from . import instructor as wires
from . import segments
from .interface import Call, Interface, action
from .manager import Held, Manager

_AGAIN = 1.0  # seconds between two tries to find a daemon
_CLEAR_TYPES, _IDLE_SECONDS = ("cache", "idle", "all"), 300


class Worker:
    """A process that holds models and caches in memory of its own, says so, and gives them up when asked.

        class Mine(memkeep.worker.Worker):
            def load(self, call, model_id, data):
                weights = read(data["path"], call.progress)
                return Held(model_id, len(weights), weights)

        Mine("mine").run()

    Write what you have: load, unload, park, cache_bytes, drop_caches, memory_bytes. hold() and release() are for models
    that come and go by themselves, using() for who works with one. More actions: @action. What is asked that may take
    long runs on a thread of its own, one after the other; all else on the thread that reads."""

    def __init__(self, name: str = "", version: str = "1", *, limit: Optional[int] = None) -> None:
        """`limit`: bytes that it wants to stay below; without one, pressure is what the daemon says."""
        self.name = name or re.sub(r"[^A-Za-z0-9._-]", "_", type(self).__name__.lower())[:30]
        self.version, self.limit = version, limit
        self.manager, self.segments = Manager(), segments.Segments()
        self._interface = Interface(self)
        self._wire: Optional[wires.Instructor] = None
        self._connection: Any = None
        self._stopped = threading.Event()
        self._client: Optional[clients.Client] = None
        self._path: Optional[str] = None
        self._process = os.getpid()
        self._dirty = False

    # -- yours to write

    def load(self, call: Call, model_id: str, data: Dict[str, Any]) -> Held:
        """memory.load_model. Say call.progress() at least every second."""
        raise errors.NotFound("this worker loads no models")

    def filled(self, model_id: str) -> None:
        """The daemon had this worker read a model into its memory (`worker_id` of a load); it is there, and the daemon's."""

    def unload(self, held: Held) -> None:
        """A model goes: it is out of the table, and `held.what` the last reference here. An error keeps it."""

    def park(self, call: Call, held: Held) -> None:
        """memory.park_model: from its device to host memory; set held.on_device."""
        raise errors.NotFound("this worker parks no models")

    def let_go(self, held: Held, force: bool = False) -> None:
        """Memory is wanted, and this model is the next to give it: released, unless a worker knows better."""
        self.release(held.model_id, force)

    def cache_bytes(self, device_id: Optional[str]) -> int:
        """Memory beside the models that could be given up at no cost; of a device, or all."""
        return 0

    def drop_caches(self, device_id: Optional[str]) -> None:
        """Gives up what cache_bytes counts."""

    def memory_bytes(self, device_id: Optional[str]) -> int:
        """All memory that this process holds outside of the daemon's; better measured than added up, where you can."""
        return sum(held.size for held in self.manager.list(device_id)) + self.cache_bytes(device_id)

    def hear(self, event: str, data: Dict[str, Any]) -> None:
        """What the daemon tells. Keep what this one does: super().hear(event, data)."""
        if event == "memory.thresholds":
            self.manager.hear_thresholds(data)
            self.manager.hear_limits(data.get("limits") or ())
        elif event == "memory.pressure":
            self.manager.hear_pressure(data.get("device_id", ""), data.get("level"), data.get("percent"))
            wanted = data.get("bytes_wanted") or 0
            if wanted:
                self._interface.later(lambda: self.give(wanted, device_id=self._of_ours(data.get("device_id"))))

    # -- yours to call

    def hold(self, held: Held) -> None:
        """A model is here now."""
        self.manager.add(held)
        self.changed()

    def release(self, model_id: str, force: bool = False) -> Held:
        """A model goes. ModelNotFound; ModelBusy while it is used or pinned, unless by force."""
        held = self.manager.take(model_id, force)
        try:
            self.unload(held)
        except BaseException:
            self.manager.put_back(held)
            raise
        held.what = None
        self.changed()
        return held

    @contextlib.contextmanager
    def using(self, model_id: str, otherwise: Optional[Callable[[], Held]] = None) -> Iterator[Any]:
        """`with worker.using("m") as what`: it is busy, so it does not go. One that is not here is made by `otherwise`, else
        it is a ModelNotFound."""
        held = self.manager.begin(model_id)
        if held is None:
            if otherwise is None:
                raise errors.ModelNotFound(f"no model {model_id}")
            held = self._add_used(otherwise())
        try:
            yield held.what
        finally:
            self.manager.end(held)

    def _add_used(self, held: Held) -> Held:
        held.users, held.uses = 1, 1
        while True:
            try:
                self.hold(held)
                return held
            except errors.Conflict:  # another thread was faster: ours is dropped
                there = self.manager.begin(held.model_id)
                if there is not None:
                    return there

    def changed(self) -> None:
        """Memory is not what was last said. Within an action the daemon is told after its answer."""
        self._dirty = True
        if not self._interface.is_here():
            self.tell_changes()

    def give(self, wanted: float, *, most: int = -1, device_id: Optional[str] = None, **which: Any) -> Tuple[int, List[str]]:
        """Frees that many bytes if it can: the caches, then models. (Bytes that are free now, models that went.)"""
        before, gone = self.memory_bytes(device_id), []  # type: int, List[str]
        if self.cache_bytes(device_id):
            self.drop_caches(device_id)
            self._dirty = True
        for held in self.manager.candidates(device_id=device_id, **which):
            if before - self.memory_bytes(device_id) >= wanted or len(gone) == most:
                break
            try:
                self.let_go(held, which.get("force", False))
            except (errors.ModelBusy, errors.ModelNotFound):  # since it was chosen
                continue
            gone.append(held.model_id)
            del held
        return max(0, before - self.memory_bytes(device_id)), gone

    @property
    def client(self) -> clients.Client:
        """Of the daemon whose worker this is; connected when it is asked for first."""
        if self._client is None:
            self._client = clients.connect(self._path)
        return self._client

    # -- running

    def run(self) -> None:
        """As the daemon's child over stdin and stdout, when it started us: to the end of stdin, and of this process. Else
        over the daemon's socket, as NAME-PID, again and again until stop()."""
        if "MEMKEEP_FD" in os.environ:
            sys.exit(self._run_stdio())
        self.run_socket()

    def run_socket(self, path: Optional[str] = None) -> None:
        """Over the socket until stop(); waits for a daemon that is away."""
        self._path = path
        while not self._stopped.is_set():
            try:
                self._wire, self._connection = wires.over_socket(path)
            except errors.MemkeepError as problem:
                print(f"{self.name}: {problem}", file=sys.stderr)
                self._stopped.wait(_AGAIN)
                continue
            try:
                if not self._stopped.is_set():
                    self._interface.serve(self._wire, self._hello(f"{self.name}-{os.getpid()}"))
            except wires.LineTooLong as problem:
                print(f"{self.name}: {problem}", file=sys.stderr)
            finally:
                self._wire.close()
                self._connection.close()
            self._stopped.wait(0.1)  # one that refuses us is not asked without pause

    def start(self, path: Optional[str] = None) -> threading.Thread:
        """run_socket() on a thread of its own, for a program that has something else to do."""
        self._path = path
        thread = threading.Thread(target=self.run_socket, args=(path,), name="memkeep worker's wire", daemon=True)
        thread.start()
        return thread

    def stop(self) -> None:
        """Ends run_socket(), from any thread; in a forked child nothing."""
        self._stopped.set()
        if self._connection is not None and os.getpid() == self._process:
            try:
                self._connection.shutdown(2)
            except OSError:
                pass

    def _run_stdio(self) -> int:
        self._wire = wires.over_stdio()
        if self.has_written("load") and os.environ["MEMKEEP_FD"].isdigit():
            self.segments.receive(int(os.environ["MEMKEEP_FD"]))
        try:
            self._interface.serve(self._wire, self._hello(self.name))
        except wires.LineTooLong as problem:
            print(f"{self.name}: {problem}", file=sys.stderr)
            return 1
        return 0

    def _hello(self, name: str) -> Dict[str, Any]:
        return {"protocol": 1, "worker": name[-39:], "version": self.version,
                "capabilities": self._interface.capabilities(), "models": [held.model_id for held in self.manager.list()]}

    def has_written(self, method: str) -> bool:
        return getattr(type(self), method) is not getattr(Worker, method)

    def tell_changes(self) -> None:
        if self._dirty:
            self._dirty = False
            self.manager.generation += 1
            if self._wire is not None:
                self._wire.say({"event": "memory.changed", "data": {"generation": self.manager.generation}})

    # -- what is asked

    def _of_ours(self, device_id: Optional[str]) -> Optional[str]:
        """The device, if models say on which they are; else all of it is meant."""
        return device_id if any(held.device_id for held in self.manager.list()) else None

    def _limit(self) -> Optional[int]:
        return self.limit if self.limit is not None else self.manager.told_limit()

    def _pressure(self, device_id: Optional[str], thresholds: Optional[Dict[str, float]] = None) -> Dict[str, Any]:
        if self.limit is None:
            level, percent = self.manager.told_pressure(device_id, thresholds)
        else:
            percent = round(100 * self.memory_bytes(None) / self.limit, 2) if self.limit else 100.0
            level = self.manager.judge(percent, thresholds)
        return {"pressure_level": level, "pressure_category": level, "pressure_percent": percent}

    def _reclaimable(self, device_id: Optional[str]) -> int:
        return self.cache_bytes(device_id) + sum(held.size for held in self.manager.candidates(device_id=device_id))

    @action("ping")
    def _ping(self, _: Call) -> Dict[str, Any]:
        return {"ok": True}

    @action("cancel")
    def _cancel(self, call: Call) -> Dict[str, Any]:
        return {"cancelled": self._interface.cancel(call.need("request_id"))}

    @action("memory.initialize")
    def _initialize(self, call: Call) -> Dict[str, Any]:
        devices = call.data.get("devices") or ()
        for device in devices:
            if not re.fullmatch(r"[a-z0-9_]+:\d+", str(device.get("device_id"))):
                raise errors.InvalidArgument(f"{device.get('device_id')!r} is no device")
        self.segments.know(device["device_id"] for device in devices)
        self.manager.initialize(call.data.get("limits") or (), call.data.get("thresholds") or {})
        return {"ok": True}

    @action("memory.get_status")
    def _get_status(self, call: Call) -> Dict[str, Any]:
        device_id = self._of_ours(call.data.get("device_id"))
        used, limit = self.memory_bytes(device_id), self._limit()
        mapped, count = self.segments.mapped(call.data.get("device_id"))
        return {"initialized": self.manager.initialized,
                "loaded_models": [held.model_id for held in self.manager.list(device_id)],
                "memory_usage_bytes": used, "memory_limit_bytes": limit,
                "available_bytes": None if self.limit is None else max(0, self.limit - used),
                "reclaimable_bytes": self._reclaimable(device_id), "optimization_opportunities": [],
                "generation": self.manager.generation, "mapped_bytes": mapped, "mapped_segments": count, **self._pressure(call.data.get("device_id"))}

    @action("memory.get_model_info")
    def _get_model_info(self, call: Call) -> Dict[str, Any]:
        name = call.data.get("model_id")
        models = [self.manager.get(name)] if name else self.manager.list()
        return {"loaded_models": {held.model_id: {
            "size_bytes": held.size, "device_id": held.device_id, "residency": "device" if held.on_device else "ram",
            "busy": held.busy, "pinned": held.pinned, "uses": held.uses} for held in models}}

    @action("memory.model_status", "memory.get_model_status")
    def _model_status(self, call: Call) -> Dict[str, Any]:
        models = self.manager.list(call.data.get("device_id"))
        return {"models": [held.model_id for held in models],
                "bytes": {"device": sum(held.size for held in models if held.on_device),
                          "ram": sum(held.size for held in models if not held.on_device), "disk": 0}}

    @action("memory.pressure_check", "memory.get_pressure")
    def _pressure_check(self, call: Call) -> Dict[str, Any]:
        device_id = self._of_ours(call.data.get("device_id"))
        models, now = self.manager.list(device_id), time.monotonic()
        free = [held for held in models if not (held.busy or held.pinned or held.parked)]
        way = "park" if self.has_written("park") else "unload"
        return {**self._pressure(call.data.get("device_id"), call.data.get("thresholds")),
                "reclaimable_bytes": self._reclaimable(device_id),
                "models": [{"model_id": held.model_id, "bytes": held.size, "reclaimable_bytes": held.size if held in free else 0,
                            "busy": held.busy, "pinned": held.pinned, "idle_seconds": round(now - held.used, 3),
                            "reload_seconds": held.reload_seconds} for held in models],
                "recommended_actions": ["drain_caches"] * bool(self.cache_bytes(device_id)) + [way] * bool(free)}

    @action("memory.optimize", "memory.model_optimize", slow=True)
    def _optimize(self, call: Call) -> Dict[str, Any]:
        data, before, limit = call.data, self.memory_bytes(None), self._limit()
        target = data.get("target_pressure_level")
        percent = None if target is None else self.manager.percent_of(target)
        over = before - limit * percent / 100 if limit is not None and percent is not None else 0
        freed, gone = self.give(max(over, data.get("min_memory_to_free") or 0), most=data.get("max_models_to_unload", -1),
                                strategy=data.get("strategy"), exclude=data.get("exclude_models") or (),
                                force=bool(data.get("force")), device_id=self._of_ours(data.get("device_id")))
        return {"optimized": freed > 0, "unloaded_models": gone, "freed_bytes": freed,
                "usage_percentage_before": round(100 * before / limit, 2) if limit else None,
                "usage_percentage_after": round(100 * self.memory_bytes(None) / limit, 2) if limit else None,
                "performance_impact": None}

    @action("memory.clear", slow=True)
    def _clear(self, call: Call) -> Dict[str, Any]:
        kind, device_id = call.data.get("clear_type") or "cache", self._of_ours(call.data.get("device_id"))
        if kind not in _CLEAR_TYPES:
            raise errors.InvalidArgument(f"clear_type is one of {', '.join(_CLEAR_TYPES)}")
        now = time.monotonic()
        spared = [held.model_id for held in self.manager.list() if kind == "cache"
                  or (kind == "idle" and now - held.used < _IDLE_SECONDS)]
        return {"cleared_bytes": self.give(float("inf"), exclude=spared, device_id=device_id)[0]}

    @action("memory.cleanup", slow=True)
    def _cleanup(self, _: Call) -> Dict[str, Any]:
        before, gone, failed = self.memory_bytes(None), [], []  # type: int, List[str], List[Dict[str, Any]]
        self.give(0, most=0)
        for held in self.manager.list():
            try:
                self.release(held.model_id)
                gone.append(held.model_id)
            except Exception as problem:  # pylint: disable=broad-except  # the others go all the same
                failed.append({"model_id": held.model_id, "error_code": getattr(problem, "code", "INTERNAL_ERROR")})
        return {"freed_bytes": max(0, before - self.memory_bytes(None)), "unloaded_models": gone, "failed": failed}

    @action("memory.load_model", slow=True, needs="load")
    def _load_model(self, call: Call) -> Dict[str, Any]:
        began, model_id = time.monotonic(), call.need("model_id")
        if not self.has_written("load"):
            raise errors.NotFound("this worker loads no models")
        if "targets" in call.data:
            answer = segments.load(self.segments, call)
            self.filled(model_id)
            return answer
        held = self.load(call, model_id, call.data)
        held.reload_seconds = time.monotonic() - began
        self.hold(held)
        return {"loaded": True, "size_bytes": held.size, "seconds": round(held.reload_seconds, 6)}

    @action("memory.unload_model", slow=True)
    def _unload_model(self, call: Call) -> Dict[str, Any]:
        began, before = time.monotonic(), self.memory_bytes(None)
        held = self.release(call.need("model_id"), bool(call.data.get("force")))
        return {"unloaded": True, "size_bytes": held.size, "freed_bytes": max(0, before - self.memory_bytes(None)),
                "seconds": round(time.monotonic() - began, 6)}

    @action("memory.park_model", slow=True, needs="park")
    def _park_model(self, call: Call) -> Dict[str, Any]:
        held, before, began = self.manager.get(call.need("model_id")), self.memory_bytes(None), time.monotonic()
        size = held.size
        self.park(call, held)
        self.changed()
        return {"parked": True, "size_bytes": size, "freed_bytes": max(0, before - self.memory_bytes(None)),
                "seconds": round(time.monotonic() - began, 6)}

    @action("memory.fill", slow=True, needs="load")
    def _fill(self, call: Call) -> Dict[str, Any]:
        return segments.fill(self.segments, call)

    @action("segment.drop", slow=True, needs="load")
    def _drop_segment(self, call: Call) -> Dict[str, Any]:
        return {"dropped": self.segments.drop(call.data.get("segment_id"))}
