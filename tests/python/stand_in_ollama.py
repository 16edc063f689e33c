"""A stand-in for Ollama: what docs/api.md of its repository says of GET /api/ps and POST /api/generate with keep_alive 0."""

import itertools

from stand_in import StandIn


class Ollama(StandIn):
    """While it is busy each look finds another time at which its models expire, as with requests that come and go."""
    keeps = False  # a model although it was told to unload it

    def __init__(self, *words, **more):
        self.clock, self.expires = itertools.count(), {}
        super().__init__(*words, **more)

    def answer(self, method, path, body):
        if (method, path) == ("GET", "/api/ps"):
            return {"models": [{"name": name, "model": name, "size": self.size(name), "size_vram": self.size(name),
                                "expires_at": self.expiry(name)} for name in list(self.memory)]}
        if (method, path) == ("POST", "/api/generate"):
            if body.get("keep_alive") != 0 or body.get("prompt"):
                return 400, {"error": "the stand-in generates nothing"}
            if body.get("model") not in self.memory:
                return 404, {"error": "model not found"}
            if not self.keeps:
                self.drop(body["model"])
            return {"model": body["model"], "response": "", "done": True, "done_reason": "unload"}
        return 404, {"error": "not found"}

    def expiry(self, name):
        if self.busy or name not in self.expires:
            self.expires[name] = next(self.clock)
        return f"2026-11-28T03:00:00.{self.expires[name]:06}Z"
