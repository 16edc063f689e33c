"""A stand-in for Lemonade Server: GET /api/v1/health, with the members of `told`, and POST /api/v1/unload."""

import time

from stand_in import StandIn


class Lemonade(StandIn):
    told, pinned, last_use = ("last_use", "pinned", "is_busy"), False, 0.0

    def answer(self, method, path, body):
        if (method, path) == ("GET", "/api/v1/health"):
            facts = {"last_use": self.last_use or time.time() - 3600, "pinned": self.pinned, "is_busy": self.busy}
            return {"status": "ok", "model_loaded": next(iter(self.memory), None), "all_models_loaded": [
                {"model_name": name, **{fact: facts[fact] for fact in self.told}} for name in self.memory]}
        if (method, path) == ("POST", "/api/v1/unload"):
            if body.get("model_name") not in self.memory:
                return 404, {"status": "error", "message": "Model not found"}
            self.drop(body["model_name"])
            return {"status": "success", "message": "Model unloaded successfully"}
        return 404, {}
