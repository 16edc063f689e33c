"""The daemon's doors as a client sees them: HTTP, HTTP written by hand, the event stream, the Unix socket."""

import array
import http.client
import json
import os
import queue
import socket
import threading
import time
from typing import NamedTuple

HOST = "127.0.0.1"


class Answer(NamedTuple):
    """status, headers (get() without regard to case), body: JSON as parsed, else bytes."""
    status: int
    headers: object
    body: object

    @property
    def data(self):
        return self.body["data"]

    @property
    def code(self):
        """error.code, None after a success or without an envelope."""
        return self.body["error"]["code"] if isinstance(self.body, dict) and self.body.get("error") else None


def _answer(response):
    body = response.read()
    kind = response.headers.get("Content-Type", "")
    return Answer(response.status, response.headers, json.loads(body) if "json" in kind and body else body)


class Http:
    """One request per connection, or many over one with `with http.session() as session`."""

    def __init__(self, port, headers=None):
        self.port, self.headers, self.connection = port, headers or {}, None

    def session(self):
        session = Http(self.port, self.headers)
        session.connection = http.client.HTTPConnection(HOST, self.port, timeout=60)
        return session

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.connection.close()

    def request(self, method, path, body=None, headers=None, timeout=90):
        if isinstance(body, (dict, list)):
            body = json.dumps(body)
        if isinstance(body, str):
            body = body.encode()
        headers = self.headers | ({"Content-Type": "application/json"} if body is not None else {}) | (headers or {})
        connection = self.connection or http.client.HTTPConnection(HOST, self.port, timeout=timeout)
        try:
            connection.request(method, path, body, headers)
            return _answer(connection.getresponse())
        finally:
            if connection is not self.connection:
                connection.close()

    def get(self, path, headers=None):
        return self.request("GET", path, headers=headers)

    def post(self, path, body=None, headers=None):
        return self.request("POST", path, body, headers)

    def put(self, path, body=None, headers=None):
        return self.request("PUT", path, body, headers)

    def delete(self, path, headers=None):
        return self.request("DELETE", path, headers=headers)


class Raw:
    """A connection on which every byte of the request is the test's own."""

    def __init__(self, port, timeout=30, connection=None):
        self.socket = connection or socket.create_connection((HOST, port))
        self.socket.settimeout(timeout)
        self.file = self.socket.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.file.close()
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)
        return self

    def half_close(self):
        self.socket.shutdown(socket.SHUT_WR)
        return self

    def answer(self):
        """The next answer; None when the daemon closed the connection instead."""
        try:
            line = self.file.readline()
            if not line:
                return None
            status = int(line.split()[1])
            headers = http.client.parse_headers(self.file)
            body = self._body(headers)
        except ConnectionError:
            return None
        kind = headers.get("Content-Type", "")
        return Answer(status, headers, json.loads(body) if "json" in kind and body else body)

    def _body(self, headers):
        if headers.get("Transfer-Encoding", "").lower() == "chunked":
            parts = []
            while size := int(self.file.readline().split(b";")[0], 16):
                parts.append(self.file.read(size))
                self.file.readline()
            self.file.readline()
            return b"".join(parts)
        return self.file.read(int(headers.get("Content-Length", 0)))

    def rest(self):
        """All that comes until the daemon ends the connection, which it must within the socket's timeout."""
        return self.file.read()

    def is_closed(self):
        """Whether the daemon ended the connection: waits for it up to the socket's timeout."""
        try:
            return self.file.read(1) == b""
        except ConnectionError:
            return True
        except TimeoutError:
            return False


def request_bytes(method, path, body=b"", *lines):
    """A plain request for Raw.send; `lines` are more header lines."""
    head = [f"{method} {path} HTTP/1.1", f"Host: {HOST}", *lines]
    if body:
        head += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


class Event(NamedTuple):
    id: int
    type: str
    data: dict


class Events:
    """The event stream: a thread reads, next() waits. Once constructed, the daemon has accepted the stream."""

    def __init__(self, port, path="/api/memory/events", headers=None):
        self.connection = http.client.HTTPConnection(HOST, port)
        self.connection.request("GET", path, headers={"Accept": "text/event-stream"} | (headers or {}))
        self.socket = self.connection.sock
        self.response = self.connection.getresponse()
        self.status, self.headers = self.response.status, self.response.headers
        self.events = queue.Queue()
        self.lines = []
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        try:
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.thread.join(10)
        self.connection.close()

    def _read(self):
        fields = {}
        try:
            while line := self.response.readline():
                line = line.decode().rstrip("\r\n")
                self.lines.append(line)
                name, _, value = line.partition(":")
                if name:
                    fields[name] = fields[name] + "\n" + value.lstrip() if name in fields else value.lstrip()
                elif not line:
                    if "data" in fields:
                        data = json.loads(fields["data"])
                        self.events.put(Event(int(fields["id"]), fields["event"], data))
                    fields = {}
        except (OSError, ValueError, http.client.HTTPException, AttributeError):
            pass
        self.events.put(None)

    def next(self, timeout=20):
        """The next event, None at the end of the stream; AssertionError when none comes."""
        try:
            return self.events.get(timeout=timeout)
        except queue.Empty:
            raise AssertionError("no event came") from None

    def find(self, matches, timeout=20):
        """The first event to come for which matches(event); (it, those before it)."""
        before, end = [], time.monotonic() + timeout
        while True:
            event = self.next(max(0.01, end - time.monotonic()))
            if event is None:
                raise AssertionError(f"the stream ended after {before}")
            if matches(event):
                return event, before
            before.append(event)


class Unix:
    """The JSON-lines socket. Answers may come in any order: they wait in `answers` until asked for by request id."""

    def __init__(self, path, timeout=60):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self.socket.settimeout(timeout)
        self.socket.connect(path)
        self.buffer, self.fds, self.answers, self.count = b"", [], {}, 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        for fd in self.fds:
            os.close(fd)
        self.fds = []
        self.socket.close()

    def send_bytes(self, data, fds=()):
        control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        sent = self.socket.sendmsg([data], control)
        if sent < len(data):  # an empty send would meet a connection that the daemon has ended
            self.socket.sendall(data[sent:])

    def send(self, action, data=None, fds=(), **more):
        """Sends a request, returns its id."""
        self.count += 1
        line = {"request_id": f"r-{self.count}", "action": action, "data": data or {}} | more
        self.send_bytes(json.dumps(line).encode() + b"\n", fds)
        return line["request_id"]

    def line(self):
        """The next line as JSON; None at the end of the connection. Fds that come with it are in `fds`."""
        while b"\n" not in self.buffer:
            try:
                data, control, _, _ = self.socket.recvmsg(65536, socket.CMSG_SPACE(253 * 4))
            except ConnectionError:
                return None
            for level, kind, content in control:
                if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                    fds = array.array("i")
                    fds.frombytes(content[:len(content) // 4 * 4])
                    self.fds += fds
            if not data:
                return None
            self.buffer += data
        line, self.buffer = self.buffer.split(b"\n", 1)
        return json.loads(line)

    def wait(self, request_id):
        """The answer to a request; progress events on the way are left out."""
        while request_id not in self.answers:
            line = self.line()
            if line is None:
                raise AssertionError(f"the connection ended before the answer to {request_id}")
            if "event" not in line:
                self.answers[line["request_id"]] = line
        return self.answers.pop(request_id)

    def call(self, action, data=None, **more):
        return self.wait(self.send(action, data, **more))
