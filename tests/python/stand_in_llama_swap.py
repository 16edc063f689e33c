"""A stand-in for llama-swap: GET /running, GET /upstream/NAME/slots (llama-server's answer), and POST
/api/models/unload/NAME, or GET /unload in an `old` one."""

import urllib.parse

from stand_in import StandIn


class LlamaSwap(StandIn):
    state, slots, old = "ready", True, False

    def answer(self, method, path, body):
        if (method, path) == ("GET", "/running"):
            return {"running": [{"model": name, "state": self.state, "cmd": "llama-server", "ttl": 0} for name in self.memory]}
        if self.old and (method, path) == ("GET", "/unload"):
            for name in list(self.memory):
                self.drop(name)
            return b"OK"
        model = urllib.parse.unquote(path.removeprefix("/api/models/unload/").removeprefix("/upstream/").removesuffix("/slots"))
        if model not in self.memory or (self.old and method == "POST"):
            return 404, b"model not found"
        if method == "GET":
            return [{"id": 0, "is_processing": self.busy}] if self.slots else (501, {"error": "no slots"})
        self.drop(model)
        return b"OK"
