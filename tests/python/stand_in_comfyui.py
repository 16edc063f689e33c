"""A stand-in for ComfyUI: what server.py of its repository has for GET /system_stats, GET /queue and POST /free, which only
sets a flag: memory goes a moment later, between two prompts."""

import threading

from stand_in import StandIn


class ComfyUI(StandIn):
    type = "cuda"

    def answer(self, method, path, body):
        if (method, path) == ("GET", "/system_stats"):
            held = sum(self.size(name) for name in list(self.memory))
            return {"system": {"comfyui_version": "stand-in"}, "devices": [
                {"name": "stand-in", "type": self.type, "index": 0, "vram_total": 1 << 30, "vram_free": (1 << 30) - held,
                 "torch_vram_total": held, "torch_vram_free": 0}]}
        if (method, path) == ("GET", "/queue"):
            return {"queue_running": [[0, "p", {}, {}, []]] if self.busy else [], "queue_pending": []}
        if (method, path) == ("POST", "/free"):
            if body.get("unload_models"):
                threading.Timer(0.2, self.free).start()
            return b""
        return 404, b""

    def free(self):
        if not self.busy:
            for name in list(self.memory):
                self.drop(name)
