"""libmemkeep_torch over a FAKE card: what a process that allocates with it is to the daemon, to its neighbours, and at its
end. Its functions are called as PyTorch calls them."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import unittest

from harness import BIN, MIB, clean_environment, wait_until
from test_cuda import CARD, CONTEXT, CardCase, Daemon, fake_cards
from test_mk import run, sanitized

LIBRARY = BIN.parent / "lib/libmemkeep_torch.so.0"
ROOM = CARD - CONTEXT - 8 * MIB  # what a process can have: the driver has some for itself

# Evaluates one line after the other.
PROGRAM = r"""
import ctypes, json, os, random, sys, threading, time

library, driver = ctypes.CDLL(sys.argv[1]), ctypes.CDLL(os.environ["MEMKEEP_LIBCUDA"])
word, number, integer = ctypes.c_void_p, ctypes.c_ssize_t, ctypes.c_int
NAMES = "reserved used empty peak_reserved peak_used allocations segments".split()


def function(name, result, *parameters):
    found = getattr(library, "memkeep_torch_" + name)
    found.restype, found.argtypes = result, parameters
    return found


_alloc, _free = function("alloc", word, number, integer, word), function("free", None, word, number, integer, word)
record_stream, empty_cache = function("record_stream", None, word, word), function("empty_cache", None)
begin_pool, end_pool = function("begin_pool", None, integer), function("end_pool", None, integer)
_look, _error = function("look", integer, integer, word), function("error", ctypes.c_char_p)


def alloc(size, stream=None, device=0):
    return _alloc(size, device, stream)


def free(memory, stream=None, device=0):
    _free(memory, 0, device, stream)


def error():
    return _error().decode()


def look(device=0):
    figures = (ctypes.c_uint64 * len(NAMES))()
    assert not _look(device, ctypes.byref(figures))
    return dict(zip(NAMES, figures))


def enter():
    context, device = word(), integer()
    assert not driver.cuInit(0) and not driver.cuDeviceGet(ctypes.byref(device), 0)
    assert not driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), device)
    assert not driver.cuCtxSetCurrent(context)


def stream():
    made = word()
    assert not driver.cuStreamCreate(ctypes.byref(made), 1)
    return made.value


def fill(memory, value, size, on):
    return driver.cuMemsetD8Async(ctypes.c_ulonglong(memory), value, ctypes.c_size_t(size), word(on))


def finish(on):
    return driver.cuStreamSynchronize(word(on))


def peek(memory):
    return ctypes.string_at(memory, 1)[0]


def in_child():
    before, (reader, writer) = alloc(4096), os.pipe()
    if os.fork() == 0:
        found = alloc(4096)
        free(before)
        empty_cache()
        os.write(writer, json.dumps([found, error()]).encode())
        os._exit(0)
    os.wait()
    return json.loads(os.read(reader, 4096))


def in_threads(count, steps):
    # Takes and gives in many threads, while one gives everything back; which memory was not theirs.
    wrong, ends = [], threading.Event()

    def work(seed):
        chance, held = random.Random(seed), []
        for _ in range(steps):
            if held and (len(held) > 8 or chance.random() < 0.5):
                memory = held.pop(chance.randrange(len(held)))
                if ctypes.c_uint64.from_address(memory).value != seed:
                    wrong.append(memory)
                free(memory)
                continue
            memory = alloc(chance.choice((512, 5000, 300000, 1 << 20, 3 << 20)))
            ctypes.c_uint64.from_address(memory).value = seed
            held.append(memory)
        for memory in held:
            free(memory)

    def sweep():
        while not ends.is_set():
            empty_cache()

    workers = [threading.Thread(target=work, args=(seed,)) for seed in range(1, count + 1)]
    sweeper = threading.Thread(target=sweep)
    for thread in [sweeper, *workers]:
        thread.start()
    for thread in workers:
        thread.join()
    ends.set()
    sweeper.join()
    return wrong


print("ready", flush=True)
for line in sys.stdin:
    try:
        answer = eval(line)
    except SyntaxError:
        exec(line)
        answer = None
    print(json.dumps(answer), flush=True)
"""


class Process:
    """One that allocates."""

    def __init__(self, daemon, **more):
        environment = clean_environment(**{**daemon.environment, "MEMKEEP_SOCKET": daemon.socket_path, **more})
        self.process = subprocess.Popen([sys.executable, "-c", PROGRAM, str(LIBRARY)], text=True, env=environment,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.pid = self.process.pid
        assert self.process.stdout.readline() == "ready\n", self.process.stderr.read()

    def __call__(self, text):
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, self.process.stderr.read()
        return json.loads(line)

    def end(self):
        """Its exit status and what it complained of."""
        _, errors = self.process.communicate(timeout=60)
        return self.process.returncode, errors

    def close(self):
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        self.process.communicate()


class AllocatorCase(CardCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        if sanitized():
            raise unittest.SkipTest("a sanitizer's runtime would have to be in Python")

    def setUp(self):
        super().setUp()
        self.torch = self.process()

    def process(self, **more):
        process = Process(self.daemon, **more)
        self.addCleanup(process.close)
        return process

    def mine(self):
        """What the ledger has of it."""
        return [a for a in self.allocations() if a["owner"]["pid"] == self.torch.pid]

    def bytes_of_mine(self):
        return sum(a["sizeBytes"] for a in self.mine())


class Memory(AllocatorCase):
    def test_every_byte_is_in_the_ledger(self):
        self.torch("[alloc(3 * 2 ** 20), alloc(70 * 2 ** 20), alloc(512)]")
        self.assertEqual(self.torch("look()['reserved']"), self.bytes_of_mine())
        self.assertGreaterEqual(self.bytes_of_mine(), 73 * MIB)
        for allocation in self.mine():
            self.assertEqual(("cuda:0", "tensors", "PyTorch", "process", "dedicated"),
                             (allocation["deviceId"], allocation["purpose"], allocation["label"],
                              allocation["owner"]["kind"], allocation["type"]))

    def test_it_is_memory(self):
        first, second = self.torch("[alloc(6 * 2 ** 20), alloc(40 * 2 ** 20)]")  # the second lies over two segments
        self.torch("enter()")
        on = self.torch("stream()")
        self.assertEqual(0, self.torch(f"fill({second}, 7, {40 * MIB}, {on}) or fill({first}, 3, {6 * MIB}, {on})"))
        self.assertEqual(0, self.torch(f"finish({on})"))
        self.assertEqual([3, 3, 7, 7], self.torch(f"[peek({first}), peek({first} + {6 * MIB} - 1), peek({second}), "
                                                  f"peek({second} + {40 * MIB} - 1)]"))

    def test_what_is_freed_is_used_again_without_the_daemon(self):
        self.torch("free(alloc(64 * 2 ** 20))")
        before = self.mine()
        self.daemon.kill()
        self.assertEqual(1, self.torch("len({(m := alloc(64 * 2 ** 20), free(m))[0] for _ in range(1000)})"))
        self.daemon.start()
        self.assertEqual(before, self.mine())

    def test_after_a_restart_there_is_more(self):
        first = self.torch("alloc(20 * 2 ** 20)")
        self.daemon.kill()
        self.daemon.start()
        self.assertTrue(self.torch("alloc(30 * 2 ** 20)"))
        self.assertGreaterEqual(self.bytes_of_mine(), 50 * MIB)
        self.torch(f"free({first})")
        self.torch("empty_cache()")
        self.assertLess(self.bytes_of_mine(), 50 * MIB)

    def test_what_is_given_back_while_the_daemon_is_away_is_not_lost(self):
        """It is tried for a moment, stays of use here, and goes when there is a daemon again."""
        self.torch("[free(alloc(size * 2 ** 20)) for size in (20, 40, 80)]")
        reserved = self.torch("look()['reserved']")
        self.daemon.kill()
        began = time.monotonic()
        self.torch("[empty_cache() for _ in range(3)]")
        print(f"without a daemon three tries took {time.monotonic() - began:.2f} s")
        self.assertLess(0, self.torch("look()['reserved']"))  # one may be unmapped: the first
        self.assertGreater(reserved, self.torch("look()['reserved']"))
        self.assertTrue(self.torch("alloc(20 * 2 ** 20)"))
        self.daemon.start()
        wait_until(lambda: self.bytes_of_mine() == self.torch("look()['reserved']"), "what is owed to be freed")
        self.torch("empty_cache()")
        self.assertEqual(20 * MIB, self.bytes_of_mine())

    def test_nothing_at_all(self):
        self.assertEqual([None, "", None], self.torch("[alloc(0), error(), free(None)]"))
        self.torch("[free(12345), free(alloc(1), device=99)]")
        self.assertIsNone(self.torch("alloc(4096, device=1000)"))
        self.assertIn("there is no card 1000", self.torch("error()"))

    def test_many_threads(self):
        self.assertEqual([], self.torch("in_threads(4, 1500)"))
        self.torch("empty_cache()")
        self.assertEqual([0, 0], self.torch("[look()['used'], look()['reserved']]"))
        self.assertEqual([], self.mine())

    def test_the_second_card(self):
        self.torch("alloc(20 * 2 ** 20, device=1)")
        self.assertEqual({"cuda:1"}, {a["deviceId"] for a in self.mine()})
        self.assertEqual(0, self.torch("look(0)['reserved']"))


class Streams(AllocatorCase):
    def setUp(self):
        super().setUp()
        self.torch("enter()")
        self.first, self.second = self.torch("[stream(), stream()]")

    def alloc(self, stream, size=30 * MIB):
        return self.torch(f"alloc({size}, {stream})")

    def test_another_stream_gets_it_when_its_own_is_done(self):
        self.torch(f"free(alloc(4096, {self.second}), {self.second})")
        memory = self.alloc(self.first)
        self.torch(f"[fill({memory}, 1, 4096, {self.first}), free({memory}, {self.first})]")
        other = self.alloc(self.second)
        self.assertNotEqual(memory, other)
        self.torch(f"[free({other}, {self.second}), finish({self.first}), finish({self.second})]")
        self.assertEqual(memory, self.alloc(self.second, 60 * MIB))  # both in one

    def test_what_another_uses_waits_for_that(self):
        memory = self.alloc(self.first)
        self.torch(f"[record_stream({memory}, {self.second}), fill({memory}, 1, 4096, {self.second}), "
                   f"free({memory}, {self.first})]")
        self.assertNotEqual(memory, self.alloc(self.first))
        self.torch(f"finish({self.second})")
        self.assertEqual(memory, self.alloc(self.first))

    def test_there_is_no_end_of_waiting(self):
        """More frees than a stream has events, while it does nothing."""
        for _ in range(40):
            memory = self.alloc(self.first, 4 * MIB)
            self.torch(f"[record_stream({memory}, {self.second}), fill({memory}, 1, 4096, {self.second}), "
                       f"free({memory}, {self.first})]")
        self.assertEqual(160 * MIB, self.torch("look()['used']"))
        self.torch(f"finish({self.second})")
        wait_until(lambda: self.torch("free(alloc(4 * 2 ** 20)) or look()['used']") == 0, "all of it to be free")


class Pressure(AllocatorCase):
    def test_all_that_is_empty_goes_when_another_needs_it(self):
        kept, _ = self.torch("[alloc(40 * 2 ** 20), free(alloc(100 * 2 ** 20))]")
        self.assertGreaterEqual(self.bytes_of_mine(), 140 * MIB)
        other = self.process()
        began = time.monotonic()
        self.assertTrue(other("alloc(60 * 2 ** 20)"))
        wait_until(lambda: self.bytes_of_mine() <= 50 * MIB, "what is empty to be given back")
        print(f"given back after {(time.monotonic() - began) * 1000:.0f} ms")
        self.torch(f"free({kept})")
        wait_until(lambda: self.bytes_of_mine() == 0 or self.device("cuda:0")["pressure"]["level"] == "low",
                   "the rest to follow")

    def test_it_gives_when_it_is_asked(self):
        self.torch("free(alloc(100 * 2 ** 20))")
        wait_until(lambda: [w for w in self.workers() if w["pid"] == self.torch.pid and w["reclaimableBytes"]],
                   "its promise to be known")
        self.ok(self.daemon.post("/api/memory/operations/clear/cuda:0", {}))
        self.assertEqual(0, self.bytes_of_mine())

    def test_what_is_not_needed_goes_in_the_end(self):
        self.torch("free(alloc(100 * 2 ** 20))")
        wait_until(lambda: not self.mine(), "all of it to go", 120)

    def test_an_empty_cache(self):
        kept, _ = self.torch("[alloc(8 * 2 ** 20), free(alloc(100 * 2 ** 20))]")
        self.torch("empty_cache()")
        self.assertEqual(8 * MIB, self.bytes_of_mine())
        self.torch(f"free({kept})")

    def test_what_is_empty_goes_when_there_is_no_more(self):
        """100 MiB that lie apart are no 180."""
        self.torch("a, b, c = alloc(50 * 2 ** 20), alloc(20 * 2 ** 20), alloc(50 * 2 ** 20)")
        self.torch("[free(a), free(c)]")
        self.assertTrue(self.torch("alloc(180 * 2 ** 20)"), self.torch("error()"))

    def test_too_much(self):
        self.torch("alloc(100 * 2 ** 20)")
        self.assertIsNone(self.torch("alloc(500 * 2 ** 20)"))
        self.assertRegex(self.torch("error()"), r"^CUDA out of memory\. Memkeep has no 500\.0 MiB .* It holds 100\.0 MiB here, "
                                                r"100\.0 MiB in use\. Free tensors")
        self.assertTrue(self.torch("alloc(50 * 2 ** 20)"))


class Ends(AllocatorCase):
    def test_a_killed_process_gives_all_back(self):
        self.torch("alloc(100 * 2 ** 20)")
        os.kill(self.torch.pid, signal.SIGKILL)
        self.torch.end()
        wait_until(lambda: not self.allocations() and not self.device("cuda:0")["usedBytes"], "the card to be empty")

    def test_an_exit_is_quiet(self):
        self.torch("[alloc(100 * 2 ** 20), free(alloc(30 * 2 ** 20))]")
        self.torch("__import__('atexit').register(lambda: (free(alloc(4096)), empty_cache())) and None")
        self.assertEqual((0, ""), self.torch.end())
        wait_until(lambda: not self.allocations(), "the ledger to be empty")

    def test_a_driver_that_is_gone_is_not_heard_of(self):
        torch = self.process(FAKE_CUDA_FAIL="cuMemUnmap:1:4,cuCtxSynchronize:2:4")  # CUDA_ERROR_DEINITIALIZED
        torch("[free(alloc(30 * 2 ** 20)), empty_cache(), empty_cache(), alloc(4096)]")
        self.assertEqual((0, ""), torch.end())

    def test_a_forked_child_is_refused(self):
        found, error = self.torch("in_child()")
        self.assertIsNone(found)
        self.assertIn("forked", error)
        self.assertTrue(self.torch("alloc(30 * 2 ** 20)"))

    def test_a_capture_is_refused(self):
        self.torch("begin_pool(0)")
        self.assertIsNone(self.torch("alloc(4096)"))
        self.assertIn("CUDA graphs", self.torch("error()"))
        self.torch("end_pool(0)")
        self.assertTrue(self.torch("alloc(4096)"))


class Faults(AllocatorCase):
    """A driver's call that fails costs that allocation, and leaves nothing behind."""

    def test_of_the_driver(self):
        for call in ("cuMemImportFromShareableHandle", "cuMemMap", "cuMemSetAccess"):
            with self.subTest(call):
                torch = self.process(FAKE_CUDA_FAIL=f"{call}:1:304,{call}:2:304")
                self.assertIsNone(torch("alloc(20 * 2 ** 20)"))
                self.assertIn("cannot be mapped", torch("error()"))
                self.assertEqual(0, torch("look()['reserved']"))
                self.assertTrue(torch("alloc(20 * 2 ** 20)"))
                torch.close()
                wait_until(lambda: not self.allocations(), "the ledger to be empty")

    def test_of_the_first_steps(self):
        for call in ("cuInit", "cuDeviceGet", "cuDevicePrimaryCtxRetain", "cuMemAddressReserve"):
            with self.subTest(call):
                torch = self.process(FAKE_CUDA_FAIL=f"{call}:1:999")
                self.assertIsNone(torch("alloc(4096)"))
                self.assertIn("CUDA out of memory", torch("error()"))
                self.assertTrue(torch("alloc(4096)"))

    def test_no_driver(self):
        torch = self.process(MEMKEEP_LIBCUDA=str(BIN.parent / "tests/fake_libcuda_old.so"))
        self.assertIsNone(torch("alloc(4096)"))
        self.assertIn("the CUDA driver has no cuDeviceGetUuid_v2", torch("error()"))

    def test_no_daemon(self):
        torch = self.process(MEMKEEP_SOCKET="/nowhere/memkeep.sock")
        self.assertIsNone(torch("alloc(4096)"))
        self.assertIn("/nowhere/memkeep.sock", torch("error()"))

    def test_a_card_that_the_daemon_has_not(self):
        other = Daemon(devices=("host:0=1GiB",), environment=fake_cards())
        self.addCleanup(other.close)
        torch = self.process(MEMKEEP_SOCKET=other.socket_path)
        self.assertIsNone(torch("alloc(4096)"))
        self.assertIn("the daemon has no card MIG-fafafafa", torch("error()"))


class Names(unittest.TestCase):
    def test_nothing_else_is_exported(self):
        words = [line.split()[-1] for line in run("nm", "-D", "--defined-only", LIBRARY).splitlines()]
        self.assertEqual([], [word for word in words if not word.lower().startswith("memkeep_torch_")])


if __name__ == "__main__":
    unittest.main()
