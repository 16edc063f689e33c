"""memkeep.workers between a daemon and stand-ins of servers whose "VRAM" is memory of that daemon: an LLM server and an image
UI on one device yield to each other and to whoever asks. The device is host:0, which stands in for a card here."""

import os
import signal
import subprocess
import sys
import unittest

import memkeep
from client import ClientWords, environment
from harness import MEMORY, MIB, DaemonCase, wait_until
from models import ModelWords, write_sparse

from stand_in_comfyui import ComfyUI
from stand_in_lemonade import Lemonade
from stand_in_llama_swap import LlamaSwap
from stand_in_ollama import Ollama
from test_cuda import CONTEXT, CardCase

TOTAL, LLM, IMAGES = 1000 * MIB, 600 * MIB, 200 * MIB


HOLDER = """
import ctypes, os, sys
driver, context = ctypes.CDLL(os.environ["MEMKEEP_LIBCUDA"]), ctypes.c_void_p()
assert not driver.cuInit(0) and not driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0)
print("here", flush=True)
sys.stdin.read()
"""


class Words:
    """Workers beside servers, as processes; for one of harness.py's cases."""
    idle, on = "0.1", "host:0"

    def start(self, module, server, *words):
        """The worker's process, and its name on the daemon's socket."""
        log = open(self.daemon.folder / f"{module}.stderr", "ab+")  # pylint: disable=consider-using-with
        self.addCleanup(log.close)
        process = subprocess.Popen(
            [sys.executable, "-m", f"memkeep.workers.{module}", "--url", server.url, "--device", self.on, "--every", "0.1",
             "--idle", self.idle, "--socket", self.daemon.socket_path, *words], stderr=log, env=environment())
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process, f"{module}-{process.pid}"

    def listed(self, name):
        return next((worker for worker in self.workers() if worker["workerId"] == name), None)

    def promises(self, name, size):
        wait_until(lambda: (found := self.listed(name)) and found["reclaimableBytes"] == size, f"{name} to promise {size}")

    def ask_by_name(self, name):
        return self.ok(self.daemon.post(f"{MEMORY}/models/optimize", {"workerId": name, "minBytesToFree": MIB, "wait": True}))


class Beside(Words, ClientWords, DaemonCase):
    flags, devices = ("--relief-trigger", "100"), (f"host:0={TOTAL // MIB}MiB",)

    def setUp(self):
        super().setUp()
        self.ollama, self.comfyui = self.stand_in(Ollama), self.stand_in(ComfyUI)

    def stand_in(self, kind):
        client = memkeep.connect(self.daemon.socket_path)
        server = kind(client, "host:0")
        self.addCleanup(client.close)
        self.addCleanup(server.close)
        return server

    def both(self):
        return self.start("ollama", self.ollama)[1], self.start("comfyui", self.comfyui)[1]

    def fill_it(self):
        self.ollama.load("llama", LLM)
        self.comfyui.load("sd", IMAGES)

    def get_some(self, size):
        """An allocation that does not fit, by a client that is ready to let others make room. The daemon looks once a second
        at who promises something."""
        def tried():
            try:
                return self.take(size, evict=True)
            except memkeep.InsufficientMemory:
                return None
        return wait_until(tried, f"{size} bytes")


class Yielding(Beside):
    def test_the_idle_one_makes_room_for_what_does_not_fit(self):
        self.fill_it()
        self.comfyui.busy = True
        ollama, comfyui = self.both()
        self.promises(ollama, LLM)
        self.promises(comfyui, 0)
        self.assertRaises(memkeep.InsufficientMemory, self.take, 400 * MIB)
        self.get_some(400 * MIB)
        self.assertEqual(({}, ["sd"]), (self.ollama.memory, list(self.comfyui.memory)))
        self.promises(ollama, 0)
        self.assertEqual(0, self.listed(ollama)["memoryBytes"])

    def test_with_the_roles_swapped(self):
        self.idle = "3600"
        self.fill_it()
        self.ollama.busy = True
        ollama, comfyui = self.both()
        self.promises(comfyui, IMAGES)
        self.promises(ollama, 0)
        self.get_some(300 * MIB)
        self.assertEqual((["llama"], {}), (list(self.ollama.memory), self.comfyui.memory))

    def test_two_that_are_busy_stay(self):
        self.idle = "3600"
        self.fill_it()
        self.ollama.busy = self.comfyui.busy = True
        names = self.both()
        for name, size in zip(names, (LLM, IMAGES)):
            wait_until(lambda: (found := self.listed(name)) and found["memoryBytes"] == size, f"{name} to be known")
        self.assertRaises(memkeep.InsufficientMemory, self.take, 400 * MIB, evict=True)
        self.assertEqual((["llama"], ["sd"]), (list(self.ollama.memory), list(self.comfyui.memory)))

    def test_one_makes_room_for_the_other(self):
        """What the image UI wants, the LLM server gives, and comes again when it is asked for."""
        self.ollama.load("llama", LLM)
        ollama, _ = self.both()
        self.promises(ollama, LLM)
        self.comfyui.memory["sd"] = self.get_some(700 * MIB)
        self.assertEqual({}, self.ollama.memory)
        self.ollama.load("small", 100 * MIB)
        self.promises(ollama, 100 * MIB)


class Together(ModelWords, Beside):
    """What neither the daemon's models nor a server could make room for alone: 950 MiB, while a server has 600 of 1000 and a
    model 100."""
    wanted, model = 950 * MIB, 100 * MIB

    def setUp(self):
        super().setUp()
        path = self.folder("models") / "ours.safetensors"
        write_sparse(path, self.model)
        self.load(path, "host:0", name="ours")
        self.ollama.load("llama", LLM)
        self.promises(self.start("ollama", self.ollama)[1], LLM)

    def is_refused(self):
        self.assertRaises(memkeep.InsufficientMemory, self.take, self.wanted, evict=True)
        self.assertEqual("ready", self.look_model("ours")["state"])

    def foretold(self, size):
        """What a dry run says, once the daemon has looked at who promises something."""
        def asked():
            said = self.ok(self.daemon.post(f"{MEMORY}/allocations/allocate/host:0",
                                            {"sizeBytes": size, "evict": True, "dryRun": True}))
            return said if said["wouldFit"] else None
        said = wait_until(asked, f"room for {size} bytes to be foretold")
        return [victim["name"] for victim in said["wouldEvict"]], said["placement"]["reason"]

    def test_both_give(self):
        self.assertEqual((["ours"], "models would make room"), self.foretold(self.wanted))
        self.get_some(self.wanted)
        self.assertEqual(({}, "unloaded"), (self.ollama.memory, self.look_model("ours")["state"]))

    def test_a_model_stays_where_the_server_gives_enough(self):
        self.assertEqual(([], "workers would make room"), self.foretold(self.wanted - self.model))
        self.get_some(self.wanted - self.model)
        self.assertEqual(({}, "ready"), (self.ollama.memory, self.look_model("ours")["state"]))

    def test_nobody_goes_where_both_would_not_do(self):
        self.ok(self.daemon.http.request("PATCH", f"{MEMORY}/models/ours", {"pinned": True}))
        self.is_refused()
        self.assertEqual(["llama"], list(self.ollama.memory))

    def test_a_model_does_not_go_for_one_that_keeps_its_word_to_itself(self):
        self.ollama.keeps = True
        wait_until(lambda: self.is_refused() or ("POST", "/api/generate") in self.ollama.asked, "the server to be asked")
        self.assertEqual(["llama"], list(self.ollama.memory))


class Asked(Beside):
    def test_by_name(self):
        self.fill_it()
        ollama, comfyui = self.both()
        for name, size in ((ollama, LLM), (comfyui, IMAGES)):
            self.promises(name, size)
            before = self.device()["allocatedBytes"]
            done = self.ask_by_name(name)
            self.assertEqual(size, before - self.device()["allocatedBytes"], done)

    def test_advice_says_what_they_would_give(self):
        self.fill_it()
        ollama, _ = self.both()

        def advised():
            found = self.ok(self.daemon.get(f"{MEMORY}/models/status"))["recommendations"]
            return next((said for said in found if said.get("source") == ollama), None)
        advice = wait_until(advised, "what Ollama offers to be advised")
        self.assertEqual(LLM, advice["expectedBytes"])

    def test_a_clear_of_all_that_is_idle(self):
        self.fill_it()
        ollama, comfyui = self.both()
        self.promises(ollama, LLM)
        self.promises(comfyui, IMAGES)
        cleared = self.ok(self.daemon.post(f"{MEMORY}/operations/clear", {"scope": "all"}))["workers"]
        said = {worker["workerId"]: worker["clearedBytes"] for worker in cleared}
        self.assertEqual((LLM, IMAGES), (said[ollama], said[comfyui]))


    def test_what_nobody_counts_is_null(self):
        server = Lemonade()
        self.addCleanup(server.close)
        server.load("m", MIB)
        _, name = self.start("lemonade", server)
        worker = wait_until(lambda: (found := self.listed(name)) and found["models"] and found, "its model to be known")
        self.assertEqual((["m"], None, None), (worker["models"], worker["memoryBytes"], worker["reclaimableBytes"]))
        self.ok(self.daemon.post(f"{MEMORY}/operations/clear", {"scope": "all"}))
        self.assertEqual({}, server.memory)


class Pressed(Beside):
    flags = ("--relief-trigger", "90", "--relief-target", "50")

    def test_pressure_alone_makes_the_idle_one_yield(self):
        self.fill_it()
        self.comfyui.busy = True
        ollama, comfyui = self.both()
        self.promises(ollama, LLM)
        wait_until(lambda: self.listed(comfyui), "ComfyUI's worker")
        self.take(140 * MIB)  # 94 %
        wait_until(lambda: not self.ollama.memory, "Ollama to yield")
        self.assertEqual(["sd"], list(self.comfyui.memory))


class Child:
    """A model in a process of its own, with a context on a FAKE card: what the card says of it is the context's size."""

    def __init__(self, card):
        self.process = subprocess.Popen([sys.executable, "-c", HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=card)
        self.process.stdout.readline()

    def free(self):
        self.process.kill()
        self.process.communicate()


class ByTheCardsWord(Words, CardCase):
    """A server that does not count its memory: the driver does, by process."""
    on = "cuda:0"

    def test_models_in_processes(self):
        server = LlamaSwap()
        self.addCleanup(server.close)
        _, name = self.start("llama_swap", server)
        self.promises(name, 0)
        cards = {word: value for word, value in self.daemon.environment.items()
                 if word.startswith(("FAKE_CUDA", "MEMKEEP_LIBCUDA"))}
        server.memory["m"] = child = Child(environment(**cards))
        self.contexts_become(child.process.pid)
        self.promises(name, CONTEXT)
        self.assertEqual(CONTEXT, self.listed(name)["memoryBytes"])
        server.busy = True
        self.ask_by_name(name)
        self.assertIsNone(child.process.poll())
        server.busy = False
        self.ask_by_name(name)
        self.assertIsNotNone(child.process.poll())
        self.promises(name, 0)
        self.contexts_become()


class Lasting(Beside):
    def test_a_server_that_was_ill(self):
        self.ollama.load("llama", LLM)
        process, name = self.start("ollama", self.ollama)
        self.promises(name, LLM)
        self.ollama.fault = "error"
        self.promises(name, 0)
        self.assertRaises(memkeep.InsufficientMemory, self.take, 500 * MIB, evict=True)
        self.ollama.fault = None
        self.promises(name, LLM)
        self.assertIsNone(process.poll())
        self.get_some(500 * MIB)
        log = (self.daemon.folder / "ollama.stderr").read_text()
        for word in ("is there", "is not available: GET /api/ps: it answered 500"):
            self.assertIn(word, log)

    def test_a_worker_that_starts_anew(self):
        self.ollama.load("llama", LLM)
        process, name = self.start("ollama", self.ollama)
        self.promises(name, LLM)
        process.send_signal(signal.SIGTERM)
        process.wait(30)
        wait_until(lambda: self.listed(name) is None, "it to be gone")
        self.assertEqual(["llama"], list(self.ollama.memory))
        self.promises(self.start("ollama", self.ollama)[1], LLM)

    def test_a_daemon_that_starts_anew(self):
        self.ollama.load("llama", LLM)
        _, name = self.start("ollama", self.ollama)
        self.promises(name, LLM)
        self.daemon.kill()
        self.daemon.start()
        self.promises(name, LLM)
        wait_until(lambda: self.is_known(LLM), "the stand-in's memory to be known again")
        self.get_some(500 * MIB)
        self.assertEqual({}, self.ollama.memory)

    def is_known(self, size):
        self.ollama.client.status()  # it says what it holds
        return self.device()["allocatedBytes"] == size

    def test_started_by_the_daemon(self):
        server = Ollama()  # with memory of nobody's: this daemon goes
        self.addCleanup(server.close)
        server.load("llama", LLM)
        os.environ["PYTHONPATH"] = environment()["PYTHONPATH"]
        words = f"{sys.executable} -m memkeep.workers.ollama --url {server.url} --device host:0 --idle 0.1 --every 0.1"
        self.restart_with("--worker", f"ollama={words}")
        self.promises("ollama", LLM)
        self.assertNotIn("did not say hello first", self.daemon.log())


if __name__ == "__main__":
    unittest.main()
