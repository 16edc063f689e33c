"""memkeep.workers beside stand-ins of their servers, without a daemon: what each says of its server, whom it lets go, and what
it makes of a server that is away, ill, or something else. (Beside a daemon: test_arbiters_beside.py.)"""

import contextlib
import io
import os
import subprocess
import sys
import time
import unittest

from client import environment
from harness import MIB, wait_until
from memkeep import DeviceUnavailable
from memkeep.worker import interface
from memkeep.workers import KINDS, adapter, command, process
from memkeep.workers.arbiter import Settings
from memkeep.workers.comfyui import ComfyUI
from memkeep.workers.lemonade import Lemonade
from memkeep.workers.llama_swap import LlamaSwap
from memkeep.workers.ollama import Ollama
from memkeep.workers.vllm import VLLM

import stand_in_comfyui
import stand_in_lemonade
import stand_in_llama_swap
import stand_in_ollama
import stand_in_vllm

SERVERS = {Ollama: stand_in_ollama.Ollama, ComfyUI: stand_in_comfyui.ComfyUI, VLLM: stand_in_vllm.VLLM,
           LlamaSwap: stand_in_llama_swap.LlamaSwap, Lemonade: stand_in_lemonade.Lemonade}


class Nobody:
    """Where a worker's lines go."""

    def say(self, _):
        pass


class ArbiterCase(unittest.TestCase):
    kind = Ollama

    def setUp(self):
        self.server = SERVERS[self.kind]()
        self.addCleanup(self.server.close)
        self.said = io.StringIO()
        quiet = contextlib.redirect_stderr(self.said)
        quiet.__enter__()
        self.addCleanup(quiet.__exit__, None, None, None)
        self.worker = self.make()

    def make(self, idle=1e-6, **more):
        settings = Settings(self.server.url, "cuda:0", every=0.05, idle=idle, timeout=2.0, patience=5.0)
        return self.kind(settings, **more)

    def ask(self, action, **data):
        call = interface.Call(Nobody(), {"request_id": "r", "action": action, "data": data})
        row = interface.actions_of(self.kind)[action]
        return getattr(self.worker, row.function.__name__)(call)

    def status(self, **data):
        self.worker.look()
        return self.ask("memory.get_status", **data)

    def only_model(self):
        self.worker.look()
        models = self.ask("memory.pressure_check")["models"]
        self.assertEqual(1, len(models))
        return models[0]

    def stays(self, wanted=1, **more):
        done = self.ask("memory.optimize", min_memory_to_free=wanted, **more)
        self.assertEqual((False, []), (done["optimized"], done["unloaded_models"]))
        return done

    def goes(self, name="m", wanted=1, **more):
        done = self.ask("memory.optimize", min_memory_to_free=wanted, **more)
        self.assertEqual((True, [name]), (done["optimized"], done["unloaded_models"]), self.said.getvalue())
        return done

    def be_critical(self, device="cuda:0"):
        self.worker.hear("memory.pressure", {"device_id": device, "level": "critical", "percent": 99, "bytes_wanted": 0})


class OfOllama(ArbiterCase):
    def test_what_it_says(self):
        self.server.load("a", 6 * MIB)
        self.server.load("b", 4 * MIB)
        status = self.status()
        self.assertEqual((True, None, None, 10 * MIB, 10 * MIB, ["a", "b"]), tuple(status[key] for key in (
            "available", "why", "busy", "memory_usage_bytes", "reclaimable_bytes", "loaded_models")))
        self.assertEqual([("unload", "cuda:0", "a", 6 * MIB), ("unload", "cuda:0", "b", 4 * MIB)],
                         [tuple(said[key] for key in ("kind", "device_id", "model_id", "bytes"))
                          for said in status["optimization_opportunities"]])
        models = self.ask("memory.pressure_check")["models"]
        self.assertEqual([("a", 6 * MIB, None), ("b", 4 * MIB, None)],
                         [(model["model_id"], model["bytes"], model["busy"]) for model in models])

    def test_no_more_goes_than_is_wanted(self):
        for name in "abc":
            self.server.load(name, MIB)
            self.worker.look()
        done = self.ask("memory.optimize", min_memory_to_free=MIB + 1)
        self.assertEqual((2 * MIB, ["a", "b"]), (done["freed_bytes"], done["unloaded_models"]))
        self.assertEqual(["c"], list(self.server.memory))

    def test_who_is_spared_by_name_and_by_number(self):
        for name in "abc":
            self.server.load(name, MIB)
            self.worker.look()
        done = self.ask("memory.optimize", exclude_models=["a"], max_models_to_unload=1)
        self.assertEqual(["b"], done["unloaded_models"])

    def test_one_that_is_used_stays_until_it_is_critical(self):
        self.worker = self.make(idle=3600)
        self.server.busy = True
        self.server.load("m", 5 * MIB)
        self.assertEqual((5 * MIB, 0), tuple(self.status()[key] for key in ("memory_usage_bytes", "reclaimable_bytes")))
        self.stays()
        self.be_critical("host:0")  # is none of its business
        self.stays()
        self.be_critical()
        self.assertEqual(5 * MIB, self.goes()["freed_bytes"])

    def test_by_force(self):
        self.worker = self.make(idle=3600)
        self.server.load("m", MIB)
        self.stays()
        self.goes(force=True)

    def test_other_devices_are_none_of_its_business(self):
        self.server.load("m", MIB)
        self.stays(device_id="cuda:1")
        status = self.status(device_id="cuda:1")
        self.assertEqual((0, 0), (status["memory_usage_bytes"], status["reclaimable_bytes"]))
        self.goes(device_id="cuda:0")

    def test_where_no_device_was_said_it_is_a_card(self):
        self.worker = Ollama(Settings(self.server.url, idle=1e-6))
        self.server.load("m", MIB)
        self.stays(device_id="host:0")
        self.goes(device_id="cuda:7")

    def test_what_was_freed_is_what_was_seen_to_go(self):
        self.worker = Ollama(self.worker.settings._replace(patience=0.2))
        self.server.load("m", MIB)
        self.server.keeps = True
        self.assertEqual(0, self.stays()["freed_bytes"])
        with self.assertRaises(DeviceUnavailable):
            self.ask("memory.unload_model", model_id="m")
        self.server.keeps = False
        self.assertEqual(MIB, self.ask("memory.unload_model", model_id="m")["freed_bytes"])

    def test_a_model_without_a_size_has_none(self):
        self.server.size = lambda name: "large"
        self.server.load("m", MIB)
        status = self.status()
        self.assertEqual((None, None), (status["memory_usage_bytes"], status["reclaimable_bytes"]))
        self.assertIsNone(self.only_model()["bytes"])
        self.assertIsNone(self.goes()["freed_bytes"])

    def test_too_many_models(self):
        for i in range(300):
            self.server.load(f"m{i}", 1)
        self.assertIn("more than 256 models", self.status()["why"])

    def test_clear_and_cleanup(self):
        self.server.load("m", MIB)
        self.worker.look()
        self.assertEqual(0, self.ask("memory.clear", clear_type="cache")["cleared_bytes"])
        self.assertEqual(MIB, self.ask("memory.clear", clear_type="all")["cleared_bytes"])
        self.server.load("n", MIB)
        self.worker.look()
        self.assertEqual({"freed_bytes": MIB, "unloaded_models": ["n"], "failed": []}, self.ask("memory.cleanup"))


class OfComfyUI(ArbiterCase):
    kind = ComfyUI

    def test_all_of_it_is_one_row(self):
        self.assertEqual(([], 0), tuple(self.status()[key] for key in ("loaded_models", "memory_usage_bytes")))
        self.server.load("sd", 7 * MIB)
        self.assertEqual((7 * MIB, 7 * MIB, False, ["comfyui"]), tuple(self.status()[key] for key in (
            "memory_usage_bytes", "reclaimable_bytes", "busy", "loaded_models")))
        self.assertEqual(7 * MIB, self.goes("comfyui")["freed_bytes"])  # a moment after its answer

    def test_while_something_is_drawn_it_stays(self):
        self.server.load("sd", 7 * MIB)
        self.server.busy = True
        self.assertTrue(self.only_model()["busy"])
        self.stays()
        self.assertNotIn(("POST", "/free"), self.server.asked)
        self.worker.settings = self.worker.settings._replace(patience=0.3)
        self.be_critical()
        self.stays()  # it is told, and does so when it is done
        self.assertIn(("POST", "/free"), self.server.asked)

    def test_without_a_card_its_figure_is_the_machines(self):
        self.server.type = "cpu"
        self.server.load("sd", MIB)
        self.assertIsNone(self.status()["memory_usage_bytes"])


class OfVLLM(ArbiterCase):
    kind = VLLM

    def test_it_sleeps_and_wakes(self):
        self.assertEqual((None, None), tuple(self.status()[key] for key in ("memory_usage_bytes", "reclaimable_bytes")))
        self.assertIs(False, self.only_model()["busy"])
        self.assertIsNone(self.goes()["freed_bytes"])  # nobody counts it here
        self.assertTrue(self.server.asleep)
        self.stays()
        self.worker.figure, self.worker._gave = 0, 5 * MIB  # pylint: disable=protected-access
        device = {"device_id": "cuda:0", "pressure": {"level": "low"}, "available_bytes": 9 * MIB}
        self.worker.devices = lambda: [device]
        self.worker.tend()
        self.assertTrue(self.server.asleep)  # who wanted its memory may not have it yet
        self.worker.rest = 0
        device["pressure"]["level"] = "moderate"
        self.worker.tend()
        device["pressure"]["level"], device["available_bytes"] = "low", 4 * MIB
        self.worker.tend()
        self.assertTrue(self.server.asleep)
        device["available_bytes"] = 5 * MIB
        self.worker.tend()
        self.assertFalse(self.server.asleep)

    def test_it_may_be_left_asleep(self):
        self.worker = self.make(wake=False)
        self.goes()
        self.worker._gave = self.worker.rest = 0  # pylint: disable=protected-access
        self.worker.devices = lambda: [{"device_id": "cuda:0", "pressure": {"level": "low"}, "available_bytes": 1}]
        self.worker.tend()
        self.assertTrue(self.server.asleep)

    def test_while_requests_run_it_is_left_awake(self):
        self.server.busy = True
        self.assertTrue(self.only_model()["busy"])
        self.stays()
        self.be_critical()
        self.goes()

    def test_without_figures_it_is_not_known_whether_it_is_used(self):
        self.server.metrics = False
        self.assertIsNone(self.only_model()["busy"])
        self.stays()

    def test_one_that_cannot_sleep_is_pinned(self):
        self.server.dev = False
        self.assertTrue(self.only_model()["pinned"])
        self.be_critical()
        self.stays()


class OfLlamaSwap(ArbiterCase):
    kind = LlamaSwap

    def test_it_is_asked_whether_somebody_is_answered_only_before_it_would_go(self):
        self.server.load("a/b", MIB)
        self.assertIsNone(self.only_model()["busy"])
        self.assertEqual([("GET", "/running")], self.server.asked)
        self.server.busy = True
        self.stays()
        self.server.busy = False
        self.goes("a/b")
        self.assertIn(("POST", "/api/models/unload/a%2Fb"), self.server.asked)

    def test_one_that_does_not_say_so_stays_until_it_is_critical(self):
        self.server.load("m", MIB)
        self.server.slots = False
        self.stays()
        self.be_critical()
        self.goes()

    def test_an_older_one_unloads_all_or_nothing(self):
        self.server.old = True
        self.server.load("m", MIB)
        self.server.load("n", MIB)
        self.stays()
        self.assertEqual(["m", "n"], list(self.server.memory))
        self.server.drop("n")
        self.goes()

    def test_one_that_starts_is_at_work(self):
        self.server.load("m", MIB)
        self.server.state = "starting"
        self.assertTrue(self.only_model()["busy"])
        self.stays()


class OfLemonade(ArbiterCase):
    kind = Lemonade

    def test_one_that_is_idle_goes(self):
        self.server.load("m", MIB)
        model = self.only_model()
        self.assertEqual((None, False), (model["bytes"], model["busy"]))
        self.assertGreater(model["idle_seconds"], 3000)
        self.assertIsNone(self.goes()["freed_bytes"])

    def test_busy_and_pinned_ones_stay(self):
        self.server.load("m", MIB)
        self.server.busy = True
        self.stays()
        self.server.busy, self.server.pinned = False, True
        self.stays()
        self.be_critical()
        self.stays()
        self.goes(force=True)

    def test_older_ones_say_less(self):
        self.worker = self.make(idle=60)
        self.server.load("m", MIB)
        self.server.told = ("last_use",)
        self.server.last_use = time.time()
        self.assertIsNone(self.only_model()["busy"])
        self.stays()
        self.server.last_use -= 100
        self.goes()


class Ill(ArbiterCase):
    """Servers that are ill: each worker says so, stays, and is there again when its server is."""

    FAULTS = {"error": "500", "hang": "within 0.3 s", "drip": "within 0.3 s", "garbage": "not JSON", "other": "",
              "deep": "not JSON", "redirect": "redirects", "huge": "longer than 4 MiB", "short": "", "noise": "not HTTP"}

    def check(self, worker, server):
        for fault, why in self.FAULTS.items():
            with self.subTest(server=worker.server, fault=fault):
                server.fault = None
                self.assertTrue(worker.look(), worker.why)
                server.fault = fault
                timeout = 20.0 if fault == "huge" else 0.3
                worker.settings = worker.settings._replace(timeout=timeout, patience=timeout)
                self.assertFalse(worker.look())
                self.assertIn(why, worker.why)
                self.assertEqual(([], None), (worker.manager.list(), worker.figure))
                self.assertEqual((0, []), worker.make_room(1))
                worker.settings = worker.settings._replace(timeout=10.0)

    def test_each_of_each(self):
        for kind, stand_in in SERVERS.items():
            server = stand_in()
            self.addCleanup(server.close)
            server.load("m", MIB)
            self.check(kind(Settings(server.url, "cuda:0")), server)

    def test_nobody_there(self):
        self.server.load("m", MIB)
        self.worker.look()
        self.server.close()
        status = self.status()
        self.assertEqual((False, None, 0, []), tuple(status[key] for key in (
            "available", "memory_usage_bytes", "reclaimable_bytes", "loaded_models")))
        self.assertIn("refused", status["why"])
        self.assertIn("is not available", self.said.getvalue())

    def test_one_that_falls_ill_when_it_is_told_to_give(self):
        self.server.load("m", MIB)
        self.worker.dismiss = lambda *_: self.server.__setattr__("fault", "error")
        self.stays()
        self.assertIn("500", self.worker.why)


class CommandLine(unittest.TestCase):
    def run_module(self, *words, **more):
        done = subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True, timeout=60,
                              env=environment(**more))
        return done.returncode, done.stdout, done.stderr

    def test_each_tells_what_it_is(self):
        code, listed, _ = self.run_module("memkeep.workers")
        self.assertEqual(0, code)
        for module in KINDS:
            self.assertIn(f"memkeep.workers.{module}", listed)
            code, text, problems = self.run_module(f"memkeep.workers.{module}", "--help")
            self.assertEqual((0, ""), (code, problems))
            for word in ("POST /", "--url", "--device", "--token"):
                self.assertIn(word, text)

    def test_what_is_refused(self):
        for words, more, why in ((("--url", "ftp://x"), {}, "no http://HOST:PORT"), (("--url", "http://a:b@c"), {}, "password"),
                                 (("--token", "NONE"), {}, "nothing usable in NONE"), (("--every", "0"), {}, "more than 0"),
                                 (("--token", "T"), {"T": "a\nb"}, "nothing usable in T"),
                                 (("--header", "H"), {"H": "secret"}, "no 'Name: value'"), (("--pid", "-3"), {}, "a process")):
            with self.subTest(words):
                code, _, problems = self.run_module("memkeep.workers.ollama", *words, **more)
                self.assertEqual(2, code)
                self.assertIn(why, problems)
                self.assertNotIn("secret", problems)


class Secrets(ArbiterCase):
    def test_they_are_sent_and_not_shown(self):
        os.environ.update({"TOKEN_OF_TEST": "geheim", "HEADER_OF_TEST": "X-Key: streng"})
        self.addCleanup(os.environ.pop, "TOKEN_OF_TEST")
        self.addCleanup(os.environ.pop, "HEADER_OF_TEST")
        words = command._parser(Ollama, "", None).parse_args(  # pylint: disable=protected-access
            ["--token", "TOKEN_OF_TEST", "--header", "HEADER_OF_TEST"])
        self.worker = self.make(headers=command._headers(words))  # pylint: disable=protected-access
        self.server.fault = "error"
        status = self.status()
        self.assertEqual(("Bearer geheim", "streng"), tuple(self.server.headers[-1][key] for key in ("Authorization", "X-Key")))
        for shown in (self.said.getvalue(), str(status)):
            self.assertNotIn("geheim", shown)
            self.assertNotIn("streng", shown)


class Whose(unittest.TestCase):
    def test_who_listens_and_his_children(self):
        server = stand_in_ollama.Ollama()
        self.addCleanup(server.close)
        self.assertEqual(os.getpid(), process.listener(server.port))
        child = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
        self.addCleanup(child.communicate)
        wait_until(lambda: {os.getpid(), child.pid} <= process.family(os.getpid()), "the child to be seen")
        self.assertEqual({child.pid}, process.family(child.pid))

    def test_nobody(self):
        self.assertIsNone(process.listener(1))
        self.assertEqual([True, True, False], [process.is_here(host) for host in ("localhost", "127.0.0.9", "10.0.0.1")])


class Addresses(unittest.TestCase):
    def test_a_path_before_the_servers_own(self):
        server = stand_in_ollama.Ollama()
        self.addCleanup(server.close)
        with self.assertRaises(adapter.Trouble) as caught:
            adapter.Server(server.url + "/proxied/").get("/api/ps", 5)
        self.assertEqual(404, caught.exception.status)
        self.assertEqual([("GET", "/proxied/api/ps")], server.asked)


if __name__ == "__main__":
    unittest.main()
