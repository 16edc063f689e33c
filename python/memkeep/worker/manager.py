"""The state of a worker: what it holds, who may go, what it was told of pressure. Any thread."""

from __future__ import annotations

import threading
import time
from typing import Any, Dict, Iterable, List, Optional, Tuple

from .. import errors

LEVELS = ("low", "moderate", "high", "critical")


class Held:
    """A model in memory of this process. `what` is yours, and the only reference that is kept here."""

    def __init__(self, model_id: str, size: int, what: Any = None, *, device_id: Optional[str] = None,
                 on_device: bool = False, pinned: bool = False, reload_seconds: Optional[float] = None) -> None:
        self.model_id, self.size, self.what, self.pinned = model_id, size, what, pinned
        self.device_id, self.on_device, self.reload_seconds = device_id, on_device, reload_seconds
        self.users, self.uses = 0, 0
        self.came = self.used = time.monotonic()

    @property
    def busy(self) -> bool:
        return self.users > 0

    @property
    def parked(self) -> bool:
        """It has left already, as far as it goes."""
        return False


# Who goes first: the smallest.
ORDERS = {"fifo": lambda held: held.came, "lru": lambda held: held.used, "lfu": lambda held: held.uses,
          "cost": lambda held: (held.reload_seconds or 0) / max(held.size, 1)}


class Manager:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: Dict[str, Held] = {}
        self._told: Dict[str, Tuple[Optional[str], Optional[float]]] = {}  # device: level, percent
        self._limits: Dict[str, int] = {}
        self._thresholds = {"moderate": 75.0, "high": 90.0, "critical": 95.0}
        self.initialized = False
        self.generation = 1

    # -- models

    def add(self, held: Held) -> None:
        """It may be used already. Conflict: there is one of that id."""
        with self._lock:
            if held.model_id in self._held:
                raise errors.Conflict(f"model {held.model_id} is here already")
            self._held[held.model_id] = held

    def take(self, model_id: str, force: bool = False) -> Held:
        """Out of the table. ModelNotFound; ModelBusy while it is used or pinned, unless by force."""
        with self._lock:
            held = self._find(model_id)
            if not force and (held.busy or held.pinned):
                raise errors.ModelBusy(f"model {model_id} is {'used' if held.busy else 'pinned'}")
            return self._held.pop(model_id)

    def put_back(self, held: Held) -> None:
        with self._lock:
            self._held.setdefault(held.model_id, held)

    def get(self, model_id: str) -> Held:
        with self._lock:
            return self._find(model_id)

    def _find(self, model_id: str) -> Held:
        if model_id not in self._held:
            raise errors.ModelNotFound(f"no model {model_id}")
        return self._held[model_id]

    def begin(self, model_id: str) -> Optional[Held]:
        """It is used by one more, until end(); None: it is not here."""
        with self._lock:
            held = self._held.get(model_id)
            if held is not None:
                held.users, held.uses, held.used = held.users + 1, held.uses + 1, time.monotonic()
            return held

    def end(self, held: Held) -> None:
        with self._lock:
            held.users, held.used = held.users - 1, time.monotonic()

    def list(self, device_id: Optional[str] = None) -> List[Held]:
        """In the order in which they came; of one device only, if one is said."""
        with self._lock:
            return [held for held in self._held.values() if device_id in (None, held.device_id)]

    def candidates(self, strategy: Optional[str] = None, exclude: Iterable[str] = (), force: bool = False,
                   device_id: Optional[str] = None) -> List[Held]:
        """Who may go, in the order in which they should."""
        order, spared = ORDERS.get(strategy or "lru", ORDERS["lru"]), set(exclude)
        return sorted((held for held in self.list(device_id) if held.model_id not in spared
                       and not held.parked and (force or not (held.busy or held.pinned))), key=order)

    # -- what was told

    def initialize(self, limits: Iterable[Dict[str, Any]], thresholds: Dict[str, float]) -> None:
        self.hear_limits(limits)
        self.hear_thresholds(thresholds)
        self.initialized = True

    def hear_limits(self, limits: Iterable[Dict[str, Any]]) -> None:
        for limit in limits:
            self.hear_pressure(limit.get("device_id", ""), limit.get("pressure_level"), limit.get("pressure_percent"))
            with self._lock:
                if limit.get("max_bytes") is not None:
                    self._limits[limit.get("device_id", "")] = limit["max_bytes"]

    def hear_thresholds(self, said: Dict[str, Any]) -> None:
        with self._lock:
            self._thresholds.update({name: said[name] for name in self._thresholds if said.get(name) is not None})

    def hear_pressure(self, device_id: str, level: Optional[str], percent: Optional[float]) -> None:
        with self._lock:
            self._told[device_id] = (level, percent)

    def told(self) -> Dict[str, Tuple[Optional[str], Optional[float]]]:
        """(level, percent) by device, as far as they were told."""
        with self._lock:
            return dict(self._told)

    def told_limit(self) -> Optional[int]:
        """Of all devices together, None before they were told."""
        with self._lock:
            return sum(self._limits.values()) if self._limits else None

    def told_pressure(self, device_id: Optional[str], thresholds: Optional[Dict[str, float]] = None
                      ) -> Tuple[Optional[str], Optional[float]]:
        """(level, percent) of a device, or the worst there is; judged anew if thresholds are said."""
        with self._lock:
            found = [said for name, said in self._told.items() if device_id in (None, name)]
        found = [(level, percent) for level, percent in found if level is not None or percent is not None]
        if not found:
            return None, None
        level, percent = max(found, key=lambda said: (LEVELS.index(said[0]) if said[0] in LEVELS else -1, said[1] or 0))
        return (self.judge(percent, thresholds) if thresholds and percent is not None else level), percent

    def judge(self, percent: float, thresholds: Optional[Dict[str, float]] = None) -> str:
        with self._lock:
            bounds = {**self._thresholds, **(thresholds or {})}
        return [level for level in LEVELS if percent >= bounds.get(level, 0)][-1]

    def percent_of(self, level: Any) -> Optional[float]:
        """What `target_pressure_level` means: a number is itself, a word the least percentage of the level above."""
        if isinstance(level, (int, float)):
            return float(level)
        if level not in LEVELS:
            raise errors.InvalidArgument(f"{level!r} is no level of pressure: {', '.join(LEVELS)}")
        with self._lock:
            return self._thresholds.get(LEVELS[min(LEVELS.index(level) + 1, len(LEVELS) - 1)])
