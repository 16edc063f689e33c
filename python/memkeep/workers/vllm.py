"""python3 -m memkeep.workers.vllm: beside a vLLM that was started with VLLM_SERVER_DEV_MODE=1 and --enable-sleep-mode
(https://docs.vllm.ai/en/latest/features/sleep_mode/).

    GET  /v1/models         the name of its model
    GET  /metrics           vllm:num_requests_running and _waiting: it is busy
    GET  /is_sleeping       whether it sleeps
    POST /sleep?level=1     weights to host memory, the KV cache is dropped
    POST /wake_up           back on the card

One that sleeps answers nobody. It is woken after half a minute at the earliest, when the pressure on its card is low
and what it gave fits there once more; --no-wake leaves that to you, and so does a worker that cannot count what it gave.
vLLM does not count its memory: what is known is the card's figure of its processes."""

from __future__ import annotations

import re
import sys
import time
from typing import Any, Optional

from .adapter import Trouble, name, rows, truth
from .arbiter import Arbiter, Look, Seen
from .command import run

_RUNNING = re.compile(rb"^vllm:num_requests_(?:running|waiting)(?:\{[^}\n]*\})? ([0-9.eE+-]+)", re.MULTILINE)


class VLLM(Arbiter):
    server, module, url = "vLLM", "vllm", "http://127.0.0.1:8000"
    rest = 30.0  # seconds that it sleeps at least: who wanted its memory has to get there first

    def __init__(self, *words: Any, wake: bool = True, **more: Any) -> None:
        super().__init__(*words, **more)
        self._wake, self._gave = wake, None  # type: bool, Optional[int]
        self._put_to_sleep, self._since = False, 0.0

    def observe(self) -> Look:
        models = rows(self.http.get("/v1/models", self.settings.timeout), "data")
        model = name(models[0].get("id") if models else None)
        asleep = self._sleeps()
        busy = False if asleep else self._is_busy()
        # One that cannot sleep has nothing to give, which is what `pinned` says.
        return Look([Seen(model, None, busy, pinned=asleep is None, asleep=bool(asleep))])

    def _sleeps(self) -> Optional[bool]:
        """None: it was not started so that it could."""
        try:
            answer = self.http.get("/is_sleeping", self.settings.timeout)
        except Trouble as problem:
            if problem.status in (404, 405, 501):
                return None
            raise
        said = truth(answer.get("is_sleeping")) if isinstance(answer, dict) else None
        if said is None:
            raise Trouble("GET /is_sleeping: what it answered does not say so")
        return said

    def _is_busy(self) -> Optional[bool]:
        try:
            said = [float(value) for value in _RUNNING.findall(self.http.ask("GET", "/metrics", None, self.settings.timeout))]
        except (Trouble, ValueError):
            return None
        return any(value > 0 for value in said) if said else None

    def dismiss(self, seen: Seen, hard: bool) -> None:
        before = self.figure
        self.http.post("/sleep?level=1", None, self.settings.patience)
        self._put_to_sleep, self._gave, self._since = True, before, time.monotonic()

    def tend(self) -> None:
        if not self._put_to_sleep or not self._yielding.acquire(blocking=False):
            return
        try:
            models = self.manager.list()
            if models and not models[0].parked:  # somebody else woke it
                self._put_to_sleep = False
            elif models and self._wake and time.monotonic() >= self._since + self.rest and self._has_room():
                self._rouse()
        finally:
            self._yielding.release()

    def _rouse(self) -> None:
        try:
            self.http.post("/wake_up", None, self.settings.patience)
            self._put_to_sleep = False
        except Trouble as problem:
            print(f"{self.name}: it sleeps on: {problem}", file=sys.stderr)
        self.look()

    def _has_room(self) -> bool:
        """Pressure is low on its card, and what it gave, as far as that is known, is free there."""
        ours = [device for device in self.devices() if self.is_ours(device.get("device_id"))]
        wanted = None if self._gave is None else max(0, self._gave - (self.figure or 0))
        return any((device.get("pressure") or {}).get("level") == "low" and wanted is not None
                   and (device.get("available_bytes") or 0) >= wanted for device in ours)


if __name__ == "__main__":
    run(VLLM, __doc__, lambda parser: parser.add_argument("--no-wake", dest="wake", action="store_false",
                                                          help="one that sleeps is left asleep"))
