"""python3 -m memkeep.workers.ollama: beside an Ollama (https://github.com/ollama/ollama, docs/api.md).

    GET  /api/ps          models with their size_vram and when each expires
    POST /api/generate    {"model": NAME, "keep_alive": 0}: unloads it, after what it is answering

Ollama does not say whether a model is answering right now. Each request moves the time at which its model expires, so one
whose time moved was used since the look before; a model is left alone until it was not used for --idle seconds."""

from __future__ import annotations

import time
from typing import Any, Dict, List, Tuple

from .adapter import name, number, rows
from .arbiter import Arbiter, Look, Seen
from .command import run


class Ollama(Arbiter):
    server, module, url = "Ollama", "ollama", "http://127.0.0.1:11434"

    def __init__(self, *words: Any, **more: Any) -> None:
        super().__init__(*words, **more)
        self._expires: Dict[str, Tuple[Any, float]] = {}  # model: when, and since when that is so

    def observe(self) -> Look:
        found: List[Seen] = []
        expires: Dict[str, Tuple[Any, float]] = {}
        for row in rows(self.http.get("/api/ps", self.settings.timeout), "models"):
            model, now = name(row.get("name")), time.monotonic()
            before = self._expires.get(model)
            expires[model] = before if before and before[0] == row.get("expires_at") else (row.get("expires_at"), now)
            found.append(Seen(model, number(row.get("size_vram")), idle_seconds=now - expires[model][1]))
        self._expires = expires
        sizes = [seen.size for seen in found]
        return Look(found, None if None in sizes else sum(size for size in sizes if size is not None))

    def dismiss(self, seen: Seen, hard: bool) -> None:
        self.http.post("/api/generate", {"model": seen.model_id, "keep_alive": 0}, self.settings.patience)


if __name__ == "__main__":
    run(Ollama, __doc__)
