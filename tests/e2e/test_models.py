"""Models, as far as no weights are needed: what is refused and how, empty lists, the shape of their status."""

import contextlib
import json
import os
import pty
import struct
import subprocess
import tempfile
import unittest

import kernel
import shapes
from harness import MEMORY, MIB, DaemonCase, SharedDaemonCase, clean_environment, program, run_program, wait_until

MODELS = f"{MEMORY}/models"
NONE = "m-00000000deadbeef"
LEVELS = shapes.word("healthy", "warning", "critical", "error")

MODEL = {"modelId": shapes.id_of("m"), "name": shapes.text, "path": shapes.maybe(shapes.text),
         "format": shapes.maybe(shapes.word("safetensors", "gguf")), "fingerprint": shapes.maybe(shapes.checksum),
         "state": shapes.word("loading", "ready", "parked", "unloading", "unloaded", "failed"),
         "residency": shapes.word("device", "ram", "disk"), "deviceId": shapes.maybe(shapes.text),
         "workerId": shapes.maybe(shapes.text), "sizeBytes": shapes.maybe(shapes.count),
         "estimate": {"weightsBytes": shapes.maybe(shapes.count), "overheadBytes": shapes.maybe(shapes.count),
                      "source": shapes.maybe(shapes.text), "correction": shapes.number},
         "tensors": shapes.maybe(shapes.count), "loadTimeMs": shapes.maybe(shapes.number),
         "loadBytesPerSecond": shapes.maybe(shapes.count),
         "priority": shapes.word("low", "normal", "high", "critical"), "pinned": shapes.flag, "busy": shapes.flag,
         "lastUsedAt": shapes.maybe(shapes.time), "useCount": shapes.count, "loadedAt": shapes.maybe(shapes.time),
         "progressPercent": shapes.maybe(shapes.percent),
         "error": shapes.maybe({"code": shapes.text, "message": shapes.text})}

RECOMMENDATION = {"id": shapes.text, "severity": shapes.word("info", "warning", "critical"), "title": shapes.text,
                  "why": shapes.text, "source": shapes.text, "evidence": shapes.anything, "expectedBytes": shapes.count,
                  "action": {"method": shapes.text, "path": shapes.text, "body": shapes.anything}}

STATUS = {"modelMemory": {"totalBytes": shapes.count, "usedBytes": shapes.count, "availableBytes": shapes.count,
                          "reclaimableBytes": shapes.count, "ramBytes": shapes.count, "count": shapes.count,
                          "fragmentationPercent": shapes.percent, "loadedModels": [MODEL],
                          "lastOperation": shapes.maybe({"operation": shapes.text, "status": shapes.text,
                                                         "modelId": shapes.maybe(shapes.id_of("m")),
                                                         "completedAt": shapes.time})},
          "coordination": {"isSynchronized": shapes.flag, "lastSyncAttempt": shapes.maybe(shapes.time),
                           "conflictCount": shapes.count, "healthStatus": LEVELS,
                           "pendingActions": [{"operation": shapes.text, "modelId": shapes.id_of("m"),
                                               "name": shapes.text}]},
          "availableOperations": [shapes.text], "pressurePercent": shapes.number, "recommendations": [RECOMMENDATION],
          "lastSynchronized": shapes.maybe(shapes.time)}

OPTIMIZED = {"triggered": shapes.flag, "reason": shapes.maybe(shapes.text), "strategy": shapes.text,
             "freedBytes": shapes.count, "modelsUnloaded": [shapes.id_of("m")], "modelsParked": [shapes.id_of("m")],
             "utilizationBefore": shapes.percent, "utilizationAfter": shapes.percent,
             "performanceImpactPercent": shapes.maybe(shapes.percent), "timeMs": shapes.count}


class Refused(SharedDaemonCase):
    def patch(self, name, body):
        return self.daemon.http.request("PATCH", f"{MODELS}/{name}", body)

    def test_what_a_load_wants(self):
        for body, code, field in (({}, "MISSING_PARAMETER", "path"), ({"path": ""}, "MISSING_PARAMETER", "path"),
                                  ({"path": 1}, "INVALID_ARGUMENT", "path"),
                                  ({"path": "/m", "paht": "/m"}, "UNKNOWN_FIELD", "paht"),
                                  ({"path": "/m", "priority": "urgent"}, "INVALID_ARGUMENT", "priority"),
                                  ({"path": "/m", "keepRamCopy": "yes"}, "INVALID_ARGUMENT", "keepRamCopy"),
                                  ({"path": "/m", "keepAliveSeconds": -1}, "INVALID_ARGUMENT", "keepAliveSeconds"),
                                  ({"path": "/" + "x" * 5000}, "INVALID_ARGUMENT", "path"),
                                  ({"path": "/m", "name": "n" * 256}, "INVALID_ARGUMENT", "name"),
                                  ({"files": [{"name": "a"}]}, "INVALID_ARGUMENT", "files")):
            with self.subTest(body=str(body)[:60]):
                self.refused_field(self.daemon.post(f"{MODELS}/load", body), code, field)

    def test_what_else_is_wrong(self):
        for answer, code, field in (
                (self.daemon.post(f"{MODELS}/{NONE}/unload", {"to": "tape"}), "INVALID_ARGUMENT", "to"),
                (self.daemon.post(f"{MODELS}/optimize", {"strategy": "random"}), "INVALID_ARGUMENT", "strategy"),
                (self.daemon.post(f"{MODELS}/optimize", {"targetPercent": 101}), "INVALID_ARGUMENT", "targetPercent"),
                (self.daemon.post(f"{MODELS}/optimize", {"maxModels": -2}), "INVALID_ARGUMENT", "maxModels"),
                (self.daemon.post(f"{MODELS}/optimize", {"excludeModels": [1]}), "INVALID_ARGUMENT", "excludeModels"),
                (self.daemon.get(f"{MODELS}?limit=0"), "INVALID_ARGUMENT", "limit"),
                (self.daemon.get(f"{MODELS}?cursor=m-nonsense"), "INVALID_ARGUMENT", "cursor"),
                (self.patch(NONE, {"pinned": 1}), "INVALID_ARGUMENT", "pinned"),
                (self.patch(NONE, {"name": ""}), "INVALID_ARGUMENT", "name"),
                (self.patch(NONE, {"path": "/m"}), "UNKNOWN_FIELD", "path")):
            with self.subTest(code=code, field=field):
                self.refused_field(answer, code, field)

    def test_no_such_model(self):
        for name in (NONE, "llama", "m-", "n%20ame", "x" * 255, "x" * 300):
            for answer in (self.daemon.get(f"{MODELS}/{name}"), self.daemon.post(f"{MODELS}/{name}/unload"),
                           self.patch(name, {"pinned": True})):
                with self.subTest(name[:20]):
                    self.refused(answer, 404, "MODEL_NOT_FOUND")
        error = self.refused(self.daemon.get(f"{MODELS}/{NONE}"), 404, "MODEL_NOT_FOUND")
        self.assertEqual(NONE, error["details"]["modelId"])

    def test_no_such_file(self):
        with tempfile.TemporaryDirectory(dir=self.daemon.folder) as folder:
            answer = self.daemon.post(f"{MODELS}/load", {"path": f"{folder}/none.safetensors"})
            self.refused(answer, 404, "MODEL_NOT_FOUND")

    def test_no_such_device(self):
        self.refused(self.daemon.post(f"{MODELS}/optimize", {"deviceId": "cuda:7"}), 404, "DEVICE_NOT_FOUND")

    def test_a_path_of_models_that_is_none(self):
        self.assertIn("PATCH", self.refused(self.daemon.put(f"{MODELS}/{NONE}", {}), 405, "METHOD_NOT_ALLOWED")
                      and self.daemon.put(f"{MODELS}/{NONE}", {}).headers["Allow"])


class Nothing(SharedDaemonCase):
    def test_the_list_is_empty(self):
        self.assertEqual({"models": [], "nextCursor": None}, self.ok(self.daemon.get(MODELS)))

    def test_the_host_counts_none(self):
        self.assertEqual({"loaded": 0, "deviceBytes": 0, "ramBytes": 0}, self.host()["models"])

    def test_status(self):
        status = self.ok(self.daemon.get(f"{MODELS}/status"))
        self.assert_shape(status, STATUS)
        memory, host = status["modelMemory"], self.host()
        self.assertEqual((0, 0, [], None), (memory["count"], memory["usedBytes"], memory["loadedModels"],
                                            memory["lastOperation"]))
        self.assertEqual(host["totalBytes"], memory["totalBytes"])
        self.assertLessEqual({"memory.load_model", "memory.allocate", "memory.clear"},
                             set(status["availableOperations"]))
        self.assertEqual(len(status["availableOperations"]), len(set(status["availableOperations"])))

    def test_there_is_nothing_to_optimize(self):
        for body in ({}, {"dryRun": True}, {"deviceId": "host:0"}, {"strategy": "smart", "maxModels": 3}):
            with self.subTest(body):
                done = self.ok(self.daemon.post(f"{MODELS}/optimize", body))
                self.assert_shape(done, OPTIMIZED)
                self.assertEqual((False, body.get("strategy", "fifo"), 0, [], []),
                                 (done["triggered"], done["strategy"], done["freedBytes"], done["modelsUnloaded"],
                                  done["modelsParked"]))
                self.assertTrue(done["reason"])


def call(client, action, data, descriptors=()):
    line = {"request_id": "r", "action": action, "data": data, "fds": len(descriptors)}
    client.send_bytes(json.dumps(line).encode() + b"\n", descriptors)
    return client.wait("r")


class OverTheSocket(SharedDaemonCase):
    def call(self, action, data, descriptors=()):
        with self.daemon.unix() as client:
            return call(client, action, data, descriptors)

    def refused_here(self, answer, code, field=None):
        self.assertEqual((False, code), (answer["success"], answer.get("error_code")), answer)
        if field:
            self.assertEqual(field, answer["details"]["field"], answer)

    def test_actions(self):
        self.assertEqual([], self.call("memory.list_models", {})["data"]["models"])
        for name in ("memory.model_status", "memory.get_model_status"):
            self.assertIn("model_memory", self.call(name, {})["data"])
        for name in ("memory.get_model_info", "memory.get_model", "memory.unload_model", "memory.park_model",
                     "memory.change_model", "memory.attach", "memory.detach"):
            with self.subTest(name):
                self.refused_here(self.call(name, {"model_id": "llama"}), "MODEL_NOT_FOUND")

    def test_an_allocation_or_a_model_is_attached(self):
        for action in ("memory.attach", "memory.detach"):
            self.refused_here(self.call(action, {}), "MISSING_PARAMETER", "allocation_id")
            both = {"allocation_id": "a-0000000000000001", "model_id": "llama"}
            self.refused_here(self.call(action, both), "INVALID_ARGUMENT", "model_id")

    def test_files_and_their_descriptors_go_together(self):
        with tempfile.TemporaryFile() as file:
            for files, descriptors in (([{"name": "a"}], ()), ([], (file.fileno(),)),
                                       ([{"name": "a"}], (file.fileno(), file.fileno())),
                                       ([{"name": "../a"}], (file.fileno(),)), ([{"name": ""}], (file.fileno(),)),
                                       (["a"], (file.fileno(),)), ({"name": "a"}, (file.fileno(),))):
                with self.subTest(files=files, descriptors=len(descriptors)):
                    answer = self.call("memory.load_model", {"files": files}, descriptors)
                    self.refused_here(answer, "INVALID_ARGUMENT", "files")

    def test_descriptors_do_not_stay(self):
        before = kernel.fd_count(self.daemon.pid)
        with tempfile.TemporaryFile() as file, self.daemon.unix() as client:
            for action, data in (("memory.load_model", {"files": []}), ("memory.get_status", {}), ("memory.never", {})):
                call(client, action, data, [file.fileno()] * 3)
            held = kernel.fds(self.daemon.pid)
            self.assertNotIn(os.readlink(f"/proc/self/fd/{file.fileno()}"), held)
            self.assertLessEqual(len(held), before + 1)


class Words:
    def memkeep(self, *words, code=0, **more):
        done = run_program("memkeep", "--socket", self.daemon.socket_path, *words, **more)
        self.assertEqual(code, done.returncode, f"{words}: {done.stdout}{done.stderr}")
        return done


class CommandLine(Words, SharedDaemonCase):

    def test_no_models(self):
        self.assertEqual("no models\n", self.memkeep("model", "ls").stdout)
        envelope = json.loads(self.memkeep("--json", "model", "ls").stdout)
        self.assertEqual([], envelope["data"]["models"])
        self.assertIn("nothing was done", self.memkeep("model", "optimize", "host:0", "--strategy", "smart").stdout)
        self.assertIn("modelMemory", self.memkeep("model", "status").stdout)

    def test_no_such_model(self):
        for words in (("show", "llama"), ("unload", "llama", "--to", "ram", "--force"), ("park", "llama"),
                      ("pin", "llama"), ("unpin", "llama", "--keep-alive", "10m")):
            with self.subTest(words):
                self.assertIn("MODEL_NOT_FOUND", self.memkeep("model", *words, code=1).stderr)

    def test_wrong_words(self):
        for words in (("model",), ("model", "dance"), ("model", "load"), ("model", "ls", "more"), ("model", "park"),
                      ("model", "load", "/m", "--priority", "urgent"), ("model", "load", "/m", "--keep-alive", "soon")):
            with self.subTest(words):
                self.assertTrue(self.memkeep(*words, code=2).stderr)

    def test_help_of_the_group(self):
        shown = self.memkeep("model", "--help").stdout
        for verb in ("load", "ls", "show", "unload", "park", "pin", "optimize"):
            self.assertRegex(shown, rf"(?m)^  model {verb} ")
            self.assertIn(f"usage: memkeep model {verb}", self.memkeep("model", verb, "--help").stdout)
        self.assertNotIn("model", self.memkeep("status", "--help").stdout)

    def test_a_path_is_that_of_whoever_asks(self):
        with tempfile.TemporaryDirectory(dir=self.daemon.folder) as folder:
            for words in (("none.gguf",), ("--path", "none.gguf"), ("--path=none.gguf", "--wait")):
                done = self.memkeep("model", "load", *words, code=1, cwd=folder)
                self.assertIn(os.path.basename(folder) + "/none.gguf", done.stderr + done.stdout)


class CommandLineLoads(Words, DaemonCase):
    # As slow as it takes to see a bar move.
    devices = ("host:0=256MiB", "fake:0=64MiB,rate=64MiB/s")

    def setUp(self):
        super().setUp()
        self.path = f"{self.daemon.folder}/weights.safetensors"
        header = json.dumps({"w": {"dtype": "U8", "shape": [32 * MIB], "data_offsets": [0, 32 * MIB]}}).encode()
        with open(self.path, "wb") as file:
            file.write(struct.pack("<Q", len(header)) + header)
            file.truncate(8 + len(header) + 32 * MIB)

    def on_a_terminal(self, *words):
        main, side = pty.openpty()
        process = subprocess.Popen([program("memkeep"), "--socket", self.daemon.socket_path, *words], stdin=side,
                                   stdout=side, stderr=side, env=clean_environment(TERM="xterm"))
        os.close(side)
        out = b""
        with contextlib.suppress(OSError):  # the end of a terminal
            while data := os.read(main, 4096):
                out += data
        os.close(main)
        self.assertEqual(0, process.wait(30), out)
        return out.decode()

    def test_a_load_shows_a_bar_and_then_the_model(self):
        out = self.on_a_terminal("model", "load", self.path, "--name", "w", "--device", "fake:0", "--pinned")
        self.assertRegex(out, r"\[#*\.+\] +\d+ %")
        self.assertRegex(out, r"(?m)^.*w \(m-[0-9a-f]{16}\) is ready on fake:0: 32\.0 MiB")
        self.assertIn("ready", self.memkeep("model", "ls").stdout)
        self.assertIn("pinned: false", self.memkeep("model", "unpin", "w").stdout)
        shown = self.memkeep("model", "show", "w").stdout
        self.assertRegex(shown, r"pinned +false")
        self.assertRegex(shown, r"loadBytesPerSecond +[0-9.]+ [KMG]iB/s")

    def test_a_load_that_is_not_waited_for_names_job_and_model(self):
        done = self.memkeep("--json", "model", "load", self.path, "--name", "w", "--device", "fake:0", "--no-wait")
        job = json.loads(done.stdout)["data"]
        self.assertEqual("load", job["kind"])
        model = wait_until(lambda: (m := self.ok(self.daemon.get(f"{MODELS}/w"))["model"])["state"] == "ready" and m,
                           "the model is ready")
        self.assertEqual(job["modelId"], model["modelId"])
        self.assert_shape(model, MODEL)
        self.assertIn("is parked", self.memkeep("model", "park", "w").stdout)
        again = json.loads(self.memkeep("--json", "model", "load", self.path, "--name", "w").stdout)["data"]["model"]
        self.assertEqual(("ready", model["modelId"]), (again["state"], again["modelId"]))


if __name__ == "__main__":
    unittest.main()
