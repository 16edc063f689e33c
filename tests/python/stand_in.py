"""What the stand-ins of servers share: HTTP on a port of this machine, answers as the servers' documentation has them, and
"VRAM" that is an allocation from the daemon under test, so that a server that yields really frees bytes. No stand-in computes
anything, and none is the server that it stands for."""

import http.server
import json
import threading
import time


class Alone:
    """What stands for an allocation where there is no daemon."""

    def __init__(self, size):
        self.size = size

    def free(self):
        pass


class StandIn:
    """`memory` holds its models: name → allocation. `fault` spoils all answers."""

    def __init__(self, client=None, device="host:0"):
        self.client, self.device, self.memory, self.busy, self.fault = client, device, {}, False, None
        self.asked, self.headers, self.released = [], [], threading.Event()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                outer.hear(self, "GET")

            def do_POST(self):
                outer.hear(self, "POST")

            def log_message(self, *_):
                pass
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_port
        self.url = f"http://127.0.0.1:{self.port}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self.thread.start()

    def close(self):
        self.released.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()
        for name in list(self.memory):
            self.drop(name)

    # -- memory

    def load(self, name, size):
        """A model comes, as when somebody asks for it."""
        self.memory[name] = Alone(size) if self.client is None else self.client.allocate(
            size, device=self.device, label=f"stand-in {name}")

    def drop(self, name):
        self.memory.pop(name).free()

    def size(self, name):
        return self.memory[name].size

    # -- HTTP

    def hear(self, handler, method):
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        self.asked.append((method, handler.path))
        self.headers.append(dict(handler.headers))
        try:
            if self.fault:
                getattr(self, f"fault_{self.fault}")(handler)
                return
            found = self.answer(method, handler.path, json.loads(body) if body else {})
            status, data = found if isinstance(found, tuple) else (200, found)
            self.say(handler, status, data if isinstance(data, bytes) else json.dumps(data).encode())
        except OSError:
            pass  # who asked has gone

    def say(self, handler, status, data):
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)

    def answer(self, method, path, body):
        """What to say: JSON, bytes, or (status, one of them)."""
        raise NotImplementedError

    # -- what servers do when they are ill

    def fault_error(self, handler):
        self.say(handler, 500, b"it broke")

    def fault_hang(self, handler):
        self.released.wait(60)

    def fault_drip(self, handler):
        """A byte now and then, for ever: no single read takes long."""
        handler.wfile.write(b"HTTP/1.0 200 OK\r\nX-Slow: ")
        while not self.released.is_set():
            handler.wfile.write(b"x")
            time.sleep(0.05)

    def fault_garbage(self, handler):
        self.say(handler, 200, b"<html>\xff not what was asked for")

    def fault_other(self, handler):
        self.say(handler, 200, b'{"models": 5, "devices": [1], "running": {}, "data": "x", "all_models_loaded": null}')

    def fault_deep(self, handler):
        self.say(handler, 200, b"[" * 100_000)

    def fault_redirect(self, handler):
        handler.send_response(302)
        handler.send_header("Location", f"{self.url}/elsewhere")
        handler.end_headers()

    def fault_huge(self, handler):
        handler.send_response(200)
        handler.end_headers()
        while not self.released.is_set():
            handler.wfile.write(b" " * 65536)

    def fault_short(self, handler):
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        handler.wfile.write(b'{"models": [')

    def fault_noise(self, handler):
        handler.wfile.write(b"\x00\x01\x02 this is not HTTP\r\n\r\n")
