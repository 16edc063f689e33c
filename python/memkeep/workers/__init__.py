"""Workers beside servers that people run already: they say what the server holds and make it give that up when Memkeep
asks, by the server's own documented HTTP calls (docs/arbiters.md). The servers stay as they are.

    python3 -m memkeep.workers              which ones there are
    python3 -m memkeep.workers.ollama       beside an Ollama on this machine"""

from __future__ import annotations

KINDS = {"ollama": "Ollama", "comfyui": "ComfyUI", "vllm": "vLLM", "llama_swap": "llama-swap", "lemonade": "Lemonade Server"}

__all__ = ["KINDS"]
