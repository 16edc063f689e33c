"""What the workers beside servers share: looking at the server every few seconds, choosing what it gives up, making it do so,
and looking again for what that gave. What a server does not tell is None here and null on the wire, never guessed.

A model that is used stays, unless pressure is critical or it is asked for by force; one that is pinned stays unless by force.
Where the server does not say whether a model is used, it stays until it was not used for `idle` seconds."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from .. import errors
from .._wire import Wire
from ..worker import Call, Held, Worker
from . import process
from .adapter import Server, Trouble

MODELS_MAX = 256
_LONGEST_PAUSE = 30.0  # seconds between two looks at a server that is away
_STILL_HERE = 0.5      # seconds between two lines of progress
_AGAIN = 0.1           # seconds between two looks for what is about to go


class Seen(NamedTuple):
    """A model that the server has loaded; None: it does not say."""
    model_id: str
    size: Optional[int] = None
    busy: Optional[bool] = None
    pinned: bool = False
    idle_seconds: Optional[float] = None
    asleep: bool = False      # it gave already what it can, and is still listed
    asked_last: bool = False  # whether it is used is asked when it would go, not at each look


class Look(NamedTuple):
    """`used`: device memory by the server's own word."""
    models: Sequence[Seen]
    used: Optional[int] = None


class Settings(NamedTuple):
    """What the command line says, docs/arbiters.md explains."""
    url: str
    device: Optional[str] = None
    pid: Optional[int] = None
    every: float = 2.0
    idle: float = 30.0
    timeout: float = 3.0
    patience: float = 20.0  # seconds for the server to do what it was told


class Loaded(Held):
    """A row of the worker's table."""

    def __init__(self, seen: Seen, device_id: Optional[str]) -> None:
        super().__init__(seen.model_id, seen.size or 0, device_id=device_id, on_device=True)
        self.take(seen)

    def take(self, seen: Seen) -> None:
        self.seen, self.size, self.pinned, self.on_device = seen, seen.size or 0, seen.pinned, not seen.asleep
        if seen.idle_seconds is not None:
            self.used = time.monotonic() - seen.idle_seconds

    @property
    def busy(self) -> bool:
        return bool(self.seen.busy)

    @property
    def parked(self) -> bool:
        return self.seen.asleep

    @property
    def idle_seconds(self) -> Optional[float]:
        return None if self.seen.idle_seconds is None else time.monotonic() - self.used

    def is_in_use(self, idle: float) -> bool:
        """As far as is known; who is not known about is left alone."""
        if self.seen.busy is not None:
            return self.seen.busy
        if self.seen.asked_last:
            return False
        return self.idle_seconds is None or self.idle_seconds < idle


class Arbiter(Worker):
    """Derived by one class a server: `observe` and `dismiss` are its calls."""

    server, module, url = "", "", ""

    def __init__(self, settings: Settings, name: str = "", headers: Optional[Dict[str, str]] = None) -> None:
        super().__init__(name or self.module)
        self.settings, self.http = settings, Server(settings.url, headers)
        self.figure: Optional[int] = None  # bytes that the server holds on its device
        self.why: Optional[str] = "it was not looked at yet"  # it is not available; None: it is
        self._pid: Optional[int] = None
        self._daemon: Optional[Wire] = None
        self._looking, self._yielding = threading.RLock(), threading.Lock()
        self._watcher: Optional[threading.Thread] = None

    # -- each server's own

    def observe(self) -> Look:
        """What is there now; Trouble."""
        raise NotImplementedError

    def dismiss(self, seen: Seen, hard: bool) -> None:
        """Tells the server to give it up; it may take its time. Trouble; ModelBusy: it is used after all, and not `hard`."""
        raise NotImplementedError

    def tend(self) -> None:
        """After each look at a server that is there, on the thread that looks."""

    # -- looking

    def look(self) -> bool:
        """Whether the server is there; what it has is in the table then."""
        with self._looking:
            try:
                found = self.observe()
                if len(found.models) > MODELS_MAX:
                    raise Trouble(f"it says that it has more than {MODELS_MAX} models")
            except Trouble as problem:
                self._lost(str(problem))
                return False
            if self.why is not None:
                self._found()
            figure = found.used if found.used is not None else self._figure_of_processes()
            self._take(found.models, figure)
            return True

    def _lost(self, why: str) -> None:
        if self.why is None or self._watcher is None:  # once, not at each look
            print(f"{self.name}: {self.server} at {self.http.url} is not available: {why}; it is tried again", file=sys.stderr)
        self.why, self._pid = why, None
        self._take((), None)

    def _found(self) -> None:
        print(f"{self.name}: {self.server} at {self.http.url} is there", file=sys.stderr)
        self.why = None
        self._pid = self.settings.pid
        if self._pid is None and process.is_here(self.http.host):
            self._pid = process.listener(self.http.port)

    def _take(self, models: Sequence[Seen], figure: Optional[int]) -> None:
        rows = {held.model_id: held for held in self.manager.list() if isinstance(held, Loaded)}
        before = (self.figure, [(row.size, row.busy, row.pinned, row.parked) for row in rows.values()], list(rows))
        for seen in models:
            row = rows.pop(seen.model_id, None)
            if row is not None:
                row.take(seen)
            else:
                with contextlib.suppress(errors.Conflict):  # said twice
                    self.manager.add(Loaded(seen, self.settings.device))
        for gone in rows:
            with contextlib.suppress(errors.ModelNotFound):
                self.manager.take(gone, True)
        self.figure = figure
        now = [held for held in self.manager.list() if isinstance(held, Loaded)]
        if before != (figure, [(row.size, row.busy, row.pinned, row.parked) for row in now], [row.model_id for row in now]):
            self.changed()

    def _figure_of_processes(self) -> Optional[int]:
        """By the driver's word, which the daemon has: of the server's process and its children."""
        if self._pid is None:
            return None
        family, sums = process.family(self._pid), []  # type: Any, List[Optional[int]]
        for device in self.devices():
            if str(device.get("device_id")).startswith("host:") or not self.is_ours(device.get("device_id")):
                continue
            sums += [0, *(each.get("used_bytes") for each in device.get("processes") or () if each.get("pid") in family)]
        known = [each for each in sums if each is not None]
        return sum(known) if sums and len(known) == len(sums) else None

    def devices(self) -> List[Dict[str, Any]]:
        """As the daemon tells them now; none when it is away."""
        try:
            if self._daemon is None or not self._daemon.is_open():
                self._daemon = Wire(self._path)
            return self._daemon.ask("memory.get_status", {})[0].get("devices") or []
        except errors.MemkeepError:
            self._daemon = None
            return []

    def _watch(self) -> None:
        pause = self.settings.every
        while not self._stopped.wait(pause):
            there = self.look()
            pause = self.settings.every if there else min(2 * pause, _LONGEST_PAUSE)
            if there:
                self.tend()

    def _begin(self) -> None:
        """Before anything is said, so that the first hello knows what there is."""
        if self._watcher is None:
            self.look()
            self._watcher = threading.Thread(target=self._watch, name="memkeep arbiter", daemon=True)
            self._watcher.start()

    def run_socket(self, path: Optional[str] = None) -> None:
        self._path = path
        self._begin()
        super().run_socket(path)

    def _run_stdio(self) -> int:
        self._begin()
        return super()._run_stdio()

    # -- giving

    def is_ours(self, device_id: Optional[str]) -> bool:
        """A server whose device was not said is on some card."""
        if device_id is None or self.settings.device is not None:
            return device_id in (None, self.settings.device)
        return not device_id.startswith("host:")

    def _of_ours(self, device_id: Optional[str]) -> Optional[str]:
        return None if self.is_ours(device_id) else device_id

    def is_critical(self) -> bool:
        return any(level == "critical" for device, (level, _) in self.manager.told().items() if self.is_ours(device))

    def give(self, wanted: float, *, most: int = -1, device_id: Optional[str] = None, **which: Any) -> Tuple[int, List[str]]:
        freed, gone = self.make_room(wanted, most=most, device_id=device_id, **which)
        return freed or 0, gone

    def make_room(self, wanted: float, *, most: int = -1, device_id: Optional[str] = None, **which: Any
                  ) -> Tuple[Optional[int], List[str]]:
        """The server gives up that much if it can, those that were not used for longest first. (Bytes by which its memory
        fell, None where nobody counts it; models that went.)"""
        gone: List[str] = []
        if not self.is_ours(device_id):
            return 0, gone
        with self._yielding:
            if not self.look():
                return 0, gone
            before, known = self.figure, self.figure is not None
            for row in self._candidates(**which):
                if len(gone) == most or (known and (before or 0) - (self.figure or 0) >= wanted):
                    break
                if self._send_away(row, bool(which.get("force")) or self.is_critical()):
                    gone.append(row.model_id)
            if gone and (before is None or self.figure is None):
                return None, gone
            return max(0, (before or 0) - (self.figure or 0)), gone

    def _candidates(self, force: bool = False, exclude: Sequence[str] = (), **which: Any) -> List[Loaded]:
        hard = force or self.is_critical()
        return [row for row in self.manager.candidates(which.get("strategy"), exclude, hard) if isinstance(row, Loaded)
                and (force or not row.pinned) and (hard or not row.is_in_use(self.settings.idle))]

    def _send_away(self, row: Loaded, hard: bool) -> bool:
        """Whether it went, or sleeps. Waits until its memory is free too, as far as that can be seen."""
        before = self.figure
        try:
            self.dismiss(row.seen, hard)
        except errors.ModelBusy:
            return False
        except Trouble as problem:
            print(f"{self.name}: {row.model_id} stays: {problem}", file=sys.stderr)
            return False
        until, went = time.monotonic() + self.settings.patience, False
        while True:
            there = self.look()
            went = there and all(held.model_id != row.model_id or held.parked for held in self.manager.list())
            fell = before is None or self.figure is None or self.figure < before
            if not there or (went and fell) or time.monotonic() >= until or self._stopped.wait(_AGAIN):
                return went

    def unload(self, held: Held) -> None:
        """memory.unload_model, of one that may go."""
        if isinstance(held, Loaded) and not self._send_away(held, True):
            raise errors.DeviceUnavailable(f"{self.server} still has {held.model_id}"
                                           + (f": {self.why}" if self.why else ""))

    @contextlib.contextmanager
    def _speaking(self, call: Call) -> Iterator[None]:
        """Servers take their time, and a worker that is silent is taken for dead."""
        done = threading.Event()

        def speak() -> None:
            while not done.wait(_STILL_HERE):
                call.tell()
        speaker = threading.Thread(target=speak, daemon=True)
        speaker.start()
        try:
            yield
        finally:
            done.set()
            speaker.join()

    # -- what is asked

    def memory_bytes(self, device_id: Optional[str]) -> int:
        return (self.figure or 0) if self.is_ours(device_id) else 0

    def _offer(self, device_id: Optional[str]) -> Optional[int]:
        """What it would give if asked now."""
        rows = self._candidates() if self.is_ours(device_id) else []
        if all(row.seen.size is not None for row in rows):
            return sum(row.size for row in rows)
        return self.figure if len(rows) == len(self.manager.list()) else None

    def _facts(self) -> Dict[str, Any]:
        said = [row.seen.busy for row in self.manager.list() if isinstance(row, Loaded)]
        busy = True if True in said else None if None in said else False
        return {"server": self.server, "url": self.http.url, "available": self.why is None, "why": self.why,
                "busy": busy if self.why is None else None}

    def _get_status(self, call: Call) -> Dict[str, Any]:
        device_id = call.data.get("device_id")
        return {**super()._get_status(call), "memory_usage_bytes": self.figure if self.is_ours(device_id) else 0,
                "memory_limit_bytes": None, "available_bytes": None, "reclaimable_bytes": self._offer(device_id),
                "optimization_opportunities": self._opportunities(device_id), **self._facts()}

    def _opportunities(self, device_id: Optional[str]) -> List[Dict[str, Any]]:
        rows = [row for row in self._candidates() if row.size] if self.is_ours(device_id) else []
        where = {"device_id": self.settings.device} if self.settings.device else {}
        return [{"kind": "unload", **where, "model_id": row.model_id, "bytes": row.size,
                 "why": f"{self.server} does not use it and loads it again by itself"} for row in rows[:16]]

    def _pressure_check(self, call: Call) -> Dict[str, Any]:
        device_id, found = call.data.get("device_id"), super()._pressure_check(call)
        rows = {row.model_id: row for row in self.manager.list() if isinstance(row, Loaded)}
        may_go = {row.model_id for row in self._candidates()}
        models = [self._describe(said, rows[said["model_id"]], said["model_id"] in may_go)
                  for said in found["models"] if said["model_id"] in rows]
        return {**found, "reclaimable_bytes": self._offer(device_id), "models": models,
                "recommended_actions": ["unload"] * bool(may_go), **self._facts()}

    def _describe(self, said: Dict[str, Any], row: Loaded, may_go: bool) -> Dict[str, Any]:
        idle = row.idle_seconds
        return {**said, "bytes": row.seen.size, "reclaimable_bytes": row.seen.size if may_go else 0, "busy": row.seen.busy,
                "idle_seconds": None if idle is None else round(idle, 3)}

    def _optimize(self, call: Call) -> Dict[str, Any]:
        data = call.data
        with self._speaking(call):
            freed, gone = self.make_room(data.get("min_memory_to_free") or float("inf"),
                                         most=data.get("max_models_to_unload", -1), device_id=data.get("device_id"),
                                         strategy=data.get("strategy"), exclude=data.get("exclude_models") or (),
                                         force=bool(data.get("force")))
        return {"optimized": bool(gone), "unloaded_models": gone, "freed_bytes": freed, "usage_percentage_before": None,
                "usage_percentage_after": None, "performance_impact": None, **self._facts()}

    def _clear(self, call: Call) -> Dict[str, Any]:
        with self._speaking(call):
            return super()._clear(call)

    def _cleanup(self, call: Call) -> Dict[str, Any]:
        with self._speaking(call):
            return super()._cleanup(call)

    def _unload_model(self, call: Call) -> Dict[str, Any]:
        with self._speaking(call):
            return super()._unload_model(call)
