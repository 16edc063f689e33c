"""One HTTP server that is asked short questions: whole answers only, bounded in time and size, redirects not followed.

What goes wrong is a Trouble, whose text may be shown: what a header says is not in it."""

from __future__ import annotations

import http.client
import json
import socket as sockets
import threading
import urllib.parse
from typing import Any, Dict, List, Mapping, Optional

ANSWER_MAX = 4 << 20
_TEXT_MAX = 200


class Trouble(Exception):
    """The server gave no answer of use. `status` is HTTP's, where it got that far."""

    def __init__(self, text: str, status: int = 0) -> None:
        super().__init__(text)
        self.status = status


class Server:
    """Any thread; each question has a connection of its own, so one that hangs is in nobody's way."""

    def __init__(self, url: str, headers: Optional[Mapping[str, str]] = None) -> None:
        """ValueError: no address of a server."""
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise ValueError(f"{url!r} is no http://HOST:PORT")
        if parts.username or parts.password:
            raise ValueError("a URL that is shown has no password in it: give a --token")
        self.url, self.host, self._secure = url.rstrip("/"), parts.hostname, parts.scheme == "https"
        self.port = parts.port or (443 if self._secure else 80)
        self._path, self._headers = parts.path.rstrip("/"), dict(headers or {})

    def get(self, path: str, seconds: float) -> Any:
        """The JSON that it answers."""
        return self._parse(path, self.ask("GET", path, None, seconds))

    def post(self, path: str, body: Optional[Dict[str, Any]], seconds: float) -> None:
        """What it answers is not looked at: who wants to know what it did looks again."""
        self.ask("POST", path, body, seconds)

    def ask(self, method: str, path: str, body: Optional[Dict[str, Any]], seconds: float) -> bytes:
        """The body of an answer of 2xx within that many seconds, from the first byte out to the last in."""
        kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
        connection = kind(self.host, self.port, timeout=seconds)
        late = threading.Event()
        bell = threading.Timer(seconds, _hang_up, (connection, late))
        bell.daemon = True
        bell.start()
        try:
            found = self._talk(connection, method, path, body)
            if late.is_set():  # what came before may look whole
                raise sockets.timeout()
            return found
        except (OSError, http.client.HTTPException, ValueError) as problem:
            slow = late.is_set() or isinstance(problem, sockets.timeout)
            why = f"did not answer within {seconds:g} s" if slow else _say(problem)
            raise Trouble(f"{method} {path}: {why}") from None
        finally:
            bell.cancel()
            connection.close()

    def _talk(self, connection: http.client.HTTPConnection, method: str, path: str, body: Optional[Dict[str, Any]]) -> bytes:
        headers = {"Accept": "application/json, text/plain", "Connection": "close", **self._headers}
        if body is not None:
            headers["Content-Type"] = "application/json"
        connection.request(method, self._path + path, None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        if 300 <= answer.status < 400:
            raise Trouble(f"{method} {path}: it redirects, which is not followed: give the right --url", answer.status)
        if not 200 <= answer.status < 300:
            raise Trouble(f"{method} {path}: it answered {answer.status} {answer.reason[:_TEXT_MAX]}", answer.status)
        found = answer.read(ANSWER_MAX + 1)
        if len(found) > ANSWER_MAX:
            raise Trouble(f"{method} {path}: its answer is longer than {ANSWER_MAX >> 20} MiB", answer.status)
        if answer.length:
            raise Trouble(f"{method} {path}: its answer ended early", answer.status)
        return found

    def _parse(self, path: str, found: bytes) -> Any:
        try:
            return json.loads(found)
        except (ValueError, RecursionError):
            raise Trouble(f"GET {path}: what it answered is not JSON") from None


def _hang_up(connection: http.client.HTTPConnection, late: threading.Event) -> None:
    late.set()
    if connection.sock is not None:
        try:
            connection.sock.shutdown(sockets.SHUT_RDWR)
        except OSError:
            pass


def _say(problem: Exception) -> str:
    if isinstance(problem, OSError):
        return problem.strerror or str(problem)
    return f"what it answered is not HTTP ({type(problem).__name__})"


# What an answer has: garbage is a Trouble where it cannot be done without, else None.

def rows(answer: Any, name: str) -> List[Dict[str, Any]]:
    """A list of objects, by its name in an object."""
    found = answer.get(name) if isinstance(answer, dict) else None
    if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
        raise Trouble(f"what it answered has no list '{name}': is it another server, or another version?")
    return found


def number(value: Any) -> Optional[int]:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 62 else None


def truth(value: Any) -> Optional[bool]:
    return value if isinstance(value, bool) else None


def name(value: Any) -> str:
    """Trouble: there is none that could be one."""
    if not isinstance(value, str) or not 0 < len(value) <= _TEXT_MAX:
        raise Trouble("what it answered has a model without a name")
    return value
