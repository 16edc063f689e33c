"""Workers in Python: processes that hold memory of their own and give it up when Memkeep asks (docs/worker.md).

instructor.py is the wire, interface.py the call, manager.py the state; base.py has the class to derive from."""

from __future__ import annotations

from .base import Worker
from .interface import Call, action
from .manager import Held, Manager

__all__ = ["Call", "Held", "Manager", "Worker", "action"]
