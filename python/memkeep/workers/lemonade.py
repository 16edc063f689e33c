"""python3 -m memkeep.workers.lemonade: beside a Lemonade Server (https://lemonade-server.ai, docs/api/lemonade.md).

    GET  /api/v1/health    all_models_loaded: name, last_use, pinned, is_busy
    POST /api/v1/unload    {"model_name": NAME}

It loads a model again when a request names it. It does not say how much memory a model has: what is known is the card's
figure of its processes. Versions that do not say is_busy: a model is left alone until it was not used for --idle seconds."""

from __future__ import annotations

import time
from typing import Any, Optional

from .adapter import Trouble, name, rows, truth
from .arbiter import Arbiter, Look, Seen
from .command import run


class Lemonade(Arbiter):
    server, module, url = "Lemonade Server", "lemonade", "http://127.0.0.1:13305"

    def observe(self) -> Look:
        health = self.http.get("/api/v1/health", self.settings.timeout)
        if isinstance(health, dict) and "all_models_loaded" in health:
            return Look([Seen(name(row.get("model_name")), None, truth(row.get("is_busy")), row.get("pinned") is True,
                              _idle(row.get("last_use"))) for row in rows(health, "all_models_loaded")])
        if isinstance(health, dict) and "model_loaded" in health:  # one at a time, as it was
            return Look([Seen(name(health["model_loaded"]))] if health["model_loaded"] else [])
        raise Trouble("GET /api/v1/health: what it answered does not say which models are loaded")

    def dismiss(self, seen: Seen, hard: bool) -> None:
        self.http.post("/api/v1/unload", {"model_name": seen.model_id}, self.settings.patience)


def _idle(last_use: Any) -> Optional[float]:
    """From its Unix time in seconds, which is this machine's too where it is here."""
    if isinstance(last_use, bool) or not isinstance(last_use, (int, float)) or not 0 < last_use < 1e12:
        return None
    return max(0.0, time.time() - last_use)


if __name__ == "__main__":
    run(Lemonade, __doc__)
