"""python3 -m memkeep.workers.llama_swap: beside a llama-swap (https://github.com/mostlygeek/llama-swap).

    GET  /running                     models whose server runs, and its state
    GET  /upstream/NAME/slots         whether llama-server answers somebody right now; asked only before it would go
    POST /api/models/unload/NAME      stops it at once; it is started again when a request names it
    GET  /unload                      the same, in versions without that: unloads all, so only where it is the only one

A model whose server does not say whether it answers somebody (--no-slots, or another kind of server) stays, unless pressure is
critical: unloading cuts off what it is answering. llama-swap does not count memory: what is known is the card's figure of its
processes."""

from __future__ import annotations

import urllib.parse
from typing import Optional

from .. import errors
from .adapter import Trouble, name, rows
from .arbiter import Arbiter, Look, Seen
from .command import run


class LlamaSwap(Arbiter):
    server, module, url = "llama-swap", "llama_swap", "http://127.0.0.1:8080"

    def observe(self) -> Look:
        found = rows(self.http.get("/running", self.settings.timeout), "running")
        # One that starts or stops is at work; of one that is ready no more is known until it would go.
        return Look([Seen(name(row.get("model")), busy=None if row.get("state") == "ready" else True, asked_last=True)
                     for row in found])

    def dismiss(self, seen: Seen, hard: bool) -> None:
        model = urllib.parse.quote(seen.model_id, safe="")
        if not hard and self._answers(model) is not False:
            raise errors.ModelBusy(f"{seen.model_id} may be answering somebody")
        try:
            self.http.post(f"/api/models/unload/{model}", None, self.settings.patience)
        except Trouble as problem:
            if problem.status not in (404, 405) or len(self.manager.list()) != 1:
                raise
            self.http.ask("GET", "/unload", None, self.settings.patience)

    def _answers(self, model: str) -> Optional[bool]:
        """None: its server does not say."""
        try:
            slots = self.http.get(f"/upstream/{model}/slots", self.settings.timeout)
        except Trouble:
            return None
        said = [slot.get("is_processing") if isinstance(slot, dict) else None
                for slot in (slots if isinstance(slots, list) else [None])]
        return True if True in said else None if None in said else False


if __name__ == "__main__":
    run(LlamaSwap, __doc__)
