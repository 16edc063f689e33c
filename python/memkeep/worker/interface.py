"""The call layer of a worker: which actions there are, on which thread each runs, cancel, progress, deadlines.

Quick actions are answered on the reading thread. The others run one after the other on a thread of their own; one that
waits there says so every half second, so that it is not taken for dead, but one that runs has to speak for itself:
`deadline_ms` is the longest silence, and only call.progress() starts it anew."""

from __future__ import annotations

import collections
import functools
import sys
import threading
import time
import traceback
from typing import TYPE_CHECKING, Any, Callable, Deque, Dict, List, Optional, TypeVar

from .. import errors
from .instructor import Instructor, parse

if TYPE_CHECKING:
    from .base import Worker

_ID_MAX, _WAITING_MAX = 64, 256
_STILL_HERE = 0.5  # seconds

_F = TypeVar("_F", bound=Callable[..., Dict[str, Any]])


class Action:
    """A row of the table: `needs` is a method that a worker must have written for the action to be offered."""

    def __init__(self, name: str, slow: bool, needs: Optional[str], function: Callable[..., Dict[str, Any]]) -> None:
        self.name, self.slow, self.needs, self.function = name, slow, needs, function


def action(name: str, *aliases: str, slow: bool = False, needs: Optional[str] = None) -> Callable[[_F], _F]:
    """Makes a method of a Worker the answer to an action: call → the data of the answer, or an error of memkeep.errors."""
    def mark(function: _F) -> _F:
        function.memkeep_actions = [Action(each, slow, needs, function) for each in (name, *aliases)]  # type: ignore
        return function
    return mark


def actions_of(kind: type) -> Dict[str, Action]:
    """What a class of workers can be asked, inherited ones too; the name comes before its aliases."""
    found: Dict[str, Action] = {}
    for parent in reversed(kind.__mro__):
        for value in vars(parent).values():
            found.update({each.name: each for each in getattr(value, "memkeep_actions", ())})
    return found


class Call:
    """One request. `data` is its fields; answered exactly once, by what its action returns or raises."""

    def __init__(self, instructor: Instructor, line: Dict[str, Any]) -> None:
        self.instructor, self.request_id = instructor, line["request_id"]
        self.action, self.data = line["action"], line.get("data") or {}
        self.deadline_ms: Optional[int] = line.get("deadline_ms")
        self.cancelled, self._done, self._total = threading.Event(), 0, None  # type: threading.Event, int, Optional[int]

    def need(self, name: str) -> Any:
        """A field that must be there."""
        if self.data.get(name) is None:
            raise _Refusal("MISSING_PARAMETER", f"{name} is required")
        return self.data[name]

    def progress(self, bytes_done: int, bytes_total: Optional[int] = None) -> None:
        """Say it at least every second. Raises Cancelled when nobody wants the answer any more."""
        self._done, self._total = bytes_done, bytes_total if bytes_total is not None else self._total
        self.tell()
        if self.cancelled.is_set():
            raise errors.Cancelled("it was cancelled")

    def tell(self) -> None:
        self.instructor.say({"request_id": self.request_id, "event": "progress",
                             "data": {"bytes_done": self._done, "bytes_total": self._total}})

    def answer(self, data: Dict[str, Any]) -> None:
        self.instructor.say({"request_id": self.request_id, "success": True, "data": data})

    def refuse(self, code: str, text: str) -> None:
        self.instructor.say({"request_id": self.request_id, "success": False, "error_code": code, "error": text})


class _Refusal(errors.InvalidArgument):
    """One of form, whose word libmemkeep does not tell apart."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


class Interface:
    def __init__(self, worker: "Worker") -> None:
        self.worker, self.table = worker, actions_of(type(worker))
        self._changed, self._wake = threading.Lock(), threading.Event()
        self._waiting: Deque[Any] = collections.deque()  # Calls, and functions without an answer
        self._running: Optional[Call] = None
        self._threads: List[threading.Thread] = []

    def capabilities(self) -> List[str]:
        offered = [row for row in self.table.values() if not row.needs or self.worker.has_written(row.needs)]
        return [row.name for row in offered if row is row.function.memkeep_actions[0]]  # type: ignore[attr-defined]

    # -- reading

    def serve(self, instructor: Instructor, hello: Dict[str, Any]) -> None:
        """Until the other side closes; LineTooLong."""
        instructor.say({"event": "hello", "data": hello})
        for number, line in enumerate(instructor.lines(), 1):
            try:
                self.hear(instructor, parse(line))
            except ValueError as problem:
                instructor.say({"request_id": None, "success": False, "error_code": "INVALID_JSON",
                                "error": f"line {number} is not a JSON object: {problem}"})

    def hear(self, instructor: Instructor, line: Dict[str, Any]) -> None:
        if "event" in line and "action" not in line:
            self._guard(lambda: self.worker.hear(line["event"], line.get("data") or {}))
        elif "success" not in line:
            self._hear_request(instructor, line)
        elif not line["success"]:
            print(f"{self.worker.name}: the daemon says: {line.get('error')}", file=sys.stderr)

    def _hear_request(self, instructor: Instructor, line: Dict[str, Any]) -> None:
        request_id = line.get("request_id")
        usable = isinstance(request_id, str) and 0 < len(request_id) <= _ID_MAX and isinstance(line.get("action"), str)
        if not usable or not isinstance(line.get("data") or {}, dict):
            instructor.say({"request_id": None, "success": False, "error_code": "MISSING_PARAMETER",
                            "error": "a request has a request_id, an action, and its data in an object"})
            return
        call = Call(instructor, line)
        row = self.table.get(call.action)
        if row is None:
            call.refuse("NOT_FOUND", f"no action {call.action}")
        elif not row.slow:
            self._run(call)
        elif not self.later(call):
            call.refuse("WORKER_UNAVAILABLE", f"{_WAITING_MAX} requests wait already")

    # -- running

    def is_here(self) -> bool:
        """Whether this is the thread of slow ones."""
        return threading.current_thread() in self._threads

    def later(self, what: Any) -> bool:
        """Runs a call, or a function, on the thread of slow ones. False: too many wait."""
        with self._changed:
            if len(self._waiting) >= _WAITING_MAX:
                return False
            self._waiting.append(what)
            if not self._threads:
                self._threads = [threading.Thread(target=target, name="memkeep worker", daemon=True)
                                 for target in (self._work, self._speak)]
                for thread in self._threads:
                    thread.start()
            self._wake.set()
        return True

    def _work(self) -> None:
        while True:
            self._wake.wait()
            with self._changed:
                what = self._waiting.popleft() if self._waiting else None
                self._running = what if isinstance(what, Call) else None
                if what is None:
                    self._wake.clear()
            if isinstance(what, Call):
                self._run(what)
            elif what is not None:
                self._guard(what)
                self.worker.tell_changes()

    def _speak(self) -> None:
        while True:
            self._wake.wait()
            time.sleep(_STILL_HERE)
            with self._changed:
                for what in self._waiting:
                    if isinstance(what, Call):
                        what.tell()

    def _run(self, call: Call) -> None:
        say = self._judge(call)
        with self._changed:  # from here on it is not under way
            if self._running is call:
                self._running = None
        say()
        self.worker.tell_changes()

    def _judge(self, call: Call) -> Callable[[], None]:
        """Runs it; what is to be said then."""
        row, began = self.table[call.action], time.monotonic_ns()
        try:
            if call.cancelled.is_set():
                raise errors.Cancelled("it was cancelled")
            data = getattr(self.worker, row.function.__name__)(call)
        except errors.MemkeepError as problem:
            return functools.partial(call.refuse, problem.code, str(problem))
        except Exception as problem:  # pylint: disable=broad-except
            traceback.print_exc()
            return functools.partial(call.refuse, "INTERNAL_ERROR", f"{type(problem).__name__}: {problem}")
        if row.slow:
            data = {**data, "elapsed_us": (time.monotonic_ns() - began) // 1000}
        return functools.partial(call.answer, data)

    def _guard(self, act: Callable[[], object]) -> None:
        try:
            act()
        except Exception:  # pylint: disable=broad-except
            traceback.print_exc()

    def cancel(self, request_id: str) -> bool:
        """Whether it is under way; it is told so, and one that waits is answered at once."""
        with self._changed:
            found = [what for what in (*self._waiting, self._running) if isinstance(what, Call)
                     and what.request_id == request_id]
            gone = [call for call in found if call in self._waiting]
            for call in gone:
                self._waiting.remove(call)
        for call in found:
            call.cancelled.set()
        for call in gone:
            call.refuse("CANCELLED", "it was cancelled before it began")
        return bool(found)

