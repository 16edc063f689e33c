#!/usr/bin/env python3
"""A worker with memory of its own, in the standard library alone: it says what it has and gives it up when asked.

    memkeepd --worker example="python3 examples/worker.py"      started by the daemon: over stdin and stdout
    python3 examples/worker.py                                  started by you: over the daemon's Unix socket

docs/worker.md explains the lines that go over the wire."""
import json
import os
import socket
import sys
import time

MIB = 1024 ** 2
LIMIT = 64 * MIB


class Worker:
    def __init__(self):
        self.models = {"small": bytearray(8 * MIB), "large": bytearray(32 * MIB)}  # real ones hold weights
        self.cache = bytearray(4 * MIB)
        self.used_at = dict.fromkeys(self.models, time.monotonic())  # to be set whenever one is used
        self.thresholds = {"moderate": 75, "high": 90, "critical": 95}
        self.generation = 1

    def model_bytes(self):
        return sum(map(len, self.models.values()))

    def bytes(self):
        return self.model_bytes() + len(self.cache)

    def give(self, wanted, most=-1, exclude=()):
        """Frees that many bytes if it can: the cache, then the models that were not used for longest."""
        freed, gone, self.cache = len(self.cache), [], bytearray()
        for name in sorted(set(self.models) - set(exclude), key=self.used_at.get):
            if freed < wanted and len(gone) != most:
                freed += len(self.models.pop(name))
                gone.append(name)
        return freed, gone

    def hear_thresholds(self, said):
        self.thresholds |= {name: said[name] for name in self.thresholds if name in said}

    # What the daemon asks: the data of the request in, the data of the answer out.

    def ping(self, _):
        return {"ok": True}

    def initialize(self, data):
        self.hear_thresholds(data.get("thresholds", {}))
        return {"ok": True}

    def pressure_check(self, _):
        percent, now = round(100 * self.bytes() / LIMIT, 2), time.monotonic()
        level = max((least, name) for name, least in ({"low": 0} | self.thresholds).items() if percent >= least)[1]
        models = [{"model_id": name, "bytes": len(memory), "reclaimable_bytes": len(memory), "busy": False,
                   "pinned": False, "idle_seconds": now - self.used_at[name], "reload_seconds": None}
                  for name, memory in self.models.items()]
        return {"pressure_level": percent, "pressure_category": level, "reclaimable_bytes": self.bytes(),
                "models": models,
                "recommended_actions": ["drain_caches"] * bool(self.cache) + ["unload"] * bool(models)}

    def get_status(self, _):
        pressure = {key: value for key, value in self.pressure_check({}).items() if key.startswith(("press", "recl"))}
        return pressure | {"initialized": True, "loaded_models": list(self.models), "memory_usage_bytes": self.bytes(),
                           "memory_limit_bytes": LIMIT, "available_bytes": LIMIT - self.bytes(),
                           "optimization_opportunities": [], "generation": self.generation}

    def get_model_info(self, data):
        names = [data["model_id"]] if data.get("model_id") else self.models
        return {"loaded_models": {name: {"size_bytes": len(self.models[name])} for name in names}}

    def model_status(self, _):
        return {"models": list(self.models), "bytes": {"device": 0, "ram": self.model_bytes(), "disk": 0}}

    def optimize(self, data):
        before = self.bytes()
        over = before - LIMIT * data.get("target_pressure_level", 100) // 100
        freed, gone = self.give(max(over, data.get("min_memory_to_free", 0)), data.get("max_models_to_unload", -1),
                                data.get("exclude_models", ()))
        return {"optimized": freed > 0, "unloaded_models": gone, "freed_bytes": freed,
                "usage_percentage_before": 100 * before / LIMIT, "usage_percentage_after": 100 * self.bytes() / LIMIT,
                "performance_impact": None}  # what it costs to load them again is not known here

    def clear(self, data):
        return {"cleared_bytes": self.give(LIMIT if data.get("clear_type") == "all" else 0)[0]}

    def cleanup(self, _):
        freed, gone = self.give(LIMIT)
        return {"freed_bytes": freed, "unloaded_models": gone, "failed": []}

    def unload_model(self, data):
        size = len(self.models.pop(data.get("model_id")))
        return {"unloaded": True, "size_bytes": size, "freed_bytes": size, "seconds": 0}

    # The wire: one JSON object a line, both ways.

    def answer(self, line):
        action = ACTIONS.get(line["action"])
        if not action:
            return {"success": False, "error_code": "NOT_FOUND", "error": f"no action {line['action']}"}
        try:
            return {"success": True, "data": action(self, line.get("data") or {})}
        except KeyError as name:
            return {"success": False, "error_code": "MODEL_NOT_FOUND", "error": f"no model {name}"}

    def hear(self, line):
        """Yields the lines to say to one that came."""
        before = self.bytes()
        if "action" in line:
            yield {"request_id": line["request_id"]} | self.answer(line)
        elif line.get("event") == "memory.pressure" and line["data"]["bytes_wanted"]:
            self.give(line["data"]["bytes_wanted"])
        elif line.get("event") == "memory.thresholds":
            self.hear_thresholds(line["data"])
        if self.bytes() != before:
            self.generation += 1
            yield {"event": "memory.changed", "data": {"generation": self.generation}}

    def serve(self, name, lines, out):
        """Until the other end closes."""
        def say(line):
            out.write(json.dumps(line) + "\n")
            out.flush()
        say({"event": "hello", "data": {"protocol": 1, "worker": name, "version": "1", "capabilities": list(ACTIONS),
                                        "models": list(self.models)}})
        for line in lines:
            for said in self.hear(json.loads(line)):
                say(said)


ACTIONS = {"ping": Worker.ping} | {f"memory.{method.__name__}": method for method in (
    Worker.initialize, Worker.get_status, Worker.get_model_info, Worker.pressure_check, Worker.optimize,
    Worker.model_status, Worker.clear, Worker.cleanup, Worker.unload_model)}


def socket_path():
    folders = (os.environ.get("XDG_RUNTIME_DIR", "") + "/memkeep", "/run/memkeep", f"/tmp/memkeep-{os.getuid()}")
    there = [f"{folder}/memkeep.sock" for folder in folders if os.path.exists(f"{folder}/memkeep.sock")]
    return os.environ.get("MEMKEEP_SOCKET") or (there or ["/run/memkeep/memkeep.sock"])[0]


def main():
    worker = Worker()
    if "MEMKEEP_FD" in os.environ:  # the daemon started us; a stray print() must not get between two lines
        wire = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)
        worker.serve("example", sys.stdin, wire)
    while "MEMKEEP_FD" not in os.environ:  # after a restart of the daemon: hello again
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(socket_path())
                worker.serve(f"example-{os.getpid()}", connection.makefile("r"), connection.makefile("w"))
        except OSError as problem:
            print(f"no daemon: {problem}", file=sys.stderr)
        time.sleep(1)


if __name__ == "__main__":
    main()
