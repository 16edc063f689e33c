"""python3 -m memkeep.workers.comfyui: beside a ComfyUI (https://docs.comfy.org/development/comfyui-server/comms_routes).

    GET  /system_stats    devices, with what its PyTorch has reserved there (torch_vram_total)
    GET  /queue           what runs and what waits: it is busy
    POST /free            {"unload_models": true, "free_memory": true}: done between two prompts

ComfyUI does not say which models it has loaded: all of it is one row, named comfyui."""

from __future__ import annotations

from typing import Any

from .adapter import Trouble, number, rows
from .arbiter import Arbiter, Look, Seen
from .command import run

# Elsewhere torch_vram_total is the whole device, not ComfyUI's part.
_COUNTED = ("cuda",)


class ComfyUI(Arbiter):
    server, module, url = "ComfyUI", "comfyui", "http://127.0.0.1:8188"

    def observe(self) -> Look:
        devices = rows(self.http.get("/system_stats", self.settings.timeout), "devices")
        held = [number(device.get("torch_vram_total")) if device.get("type") in _COUNTED else None for device in devices]
        used = sum(size for size in held if size is not None) if held and None not in held else None
        busy = self._is_busy(self.http.get("/queue", self.settings.timeout))
        return Look([] if used == 0 and not busy else [Seen("comfyui", used, busy)], used)

    def _is_busy(self, queue: Any) -> bool:
        found = [queue.get(name) if isinstance(queue, dict) else None for name in ("queue_running", "queue_pending")]
        if not all(isinstance(part, list) for part in found):
            raise Trouble("GET /queue: what it answered is no queue")
        return any(found)

    def dismiss(self, seen: Seen, hard: bool) -> None:
        self.http.post("/free", {"unload_models": True, "free_memory": True}, self.settings.patience)


if __name__ == "__main__":
    run(ComfyUI, __doc__)
