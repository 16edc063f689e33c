"""However a process ends, nothing of it is left half: killed, or at the end of its interpreter with memory in its hands. Each is
made to happen. (Forks: test_forks.py.)"""

import signal
import unittest

from client import HOLDS, ModelCase, run_python
from harness import MIB, wait_until

# Where it is at the end. None may say a word on stderr or end with anything but 0.
PLACES = {
    "a module's global": "held = everything()",
    "another module's global": "sys.held = os.held = everything()",
    "a builtin": "import builtins; builtins.held = everything()",
    "a cycle": "held = everything(); held.append(held); del held",
    "a cycle with a finalizer": """
class Last:
    def __init__(self): self.held, self.itself = everything(), self
    def __del__(self): self.held[2][0] = 1; float(self.held[9].sum()); len(self.held[4])
Last(); last = Last()""",
    "a thread that waits": """
def wait(held): ready.set(); threading.Event().wait()
ready = threading.Event()
threading.Thread(target=wait, args=(everything(),), daemon=True).start()
ready.wait()""",
    "a thread that outlives the main one": """
def work(held): threading.main_thread().join(); held[2][0] = 1; take(); client.status()
threading.Thread(target=work, args=(everything(),)).start()""",
    "a thread that asks on and on": """
def ask():
    while True: take(); client.status(); ready.set()
ready = threading.Event()
threading.Thread(target=ask, daemon=True).start()
held = everything()
ready.wait()""",
    "a thread's own": """
own = threading.local(); own.held = everything()""",
    "atexit": "atexit.register(lambda held: (client.status(), take(), held[2].sum(), held[9].sum()), everything())",
    "atexit, which lets it go": """
held = everything()
def last():
    held.clear(); gc.collect(); client.close()
atexit.register(last)""",
    "a generator": """
def hold():
    with client.allocate(1 << 20, device="host:0") as memory:
        try: yield memory
        finally: len(memory.buffer)
held = hold(); next(held)""",
    "a worker": """
class Mine(memkeep.worker.Worker): pass
worker = Mine("mine"); worker.start(sys.argv[1]); worker.hold(memkeep.worker.Held("m", 5, everything()))""",
    "a loop of asyncio": """
import asyncio
async def main():
    global kept
    kept = await memkeep.aio.connect(sys.argv[1])
    memory = await kept.allocate(1 << 20, device="host:0")
    asyncio.ensure_future(kept.status()); kept.held = memory, everything()
asyncio.run(main())""",
    "nowhere, after close": "held = everything(); client.close(); del held; gc.collect()",
    "hands that leave at once": "held = everything(); sys.stdout.flush(); os._exit(0)",
    "sys.exit in a thread of many": """
held = everything()
threading.Thread(target=sys.exit).start(); sys.exit(0)""",
}


class Endings(ModelCase):
    def setUp(self):
        super().setUp()
        self.path, _, _ = self.write(count=3, most=MIB)
        self.client.load_model(self.path)
        self.before = [allocation["allocationId"] for allocation in self.allocations()]

    def assert_all_is_back(self):
        wait_until(lambda: [found["allocationId"] for found in self.allocations()] == self.before, "all memory to be back")
        self.is_let_go(self.path.name)

    def test_the_end_of_the_interpreter(self):
        for place, source in PLACES.items():
            with self.subTest(place):
                run_python(HOLDS + source, self.daemon.socket_path, self.path, seconds=300)
                self.assert_all_is_back()

    def test_an_error_is_the_only_word(self):
        with self.assertRaises(AssertionError) as caught:
            run_python(HOLDS + "held = everything()\nraise SystemExit('that was it')", self.daemon.socket_path, self.path)
        self.assertEqual("ended with 1\n\nthat was it\n", str(caught.exception))
        self.assert_all_is_back()

    def test_killed_with_all_of_it(self):
        holder = self.talk(HOLDS + "held = everything(); print(held[1].id, flush=True); sys.stdin.read()", self.path)
        name = holder.read()
        self.assertIn(name, [allocation["allocationId"] for allocation in self.allocations()])
        self.assertTrue(self.is_busy(self.path.name))
        holder.process.send_signal(signal.SIGKILL)
        self.assert_all_is_back()

    def test_killed_while_it_allocates(self):
        for _ in range(5):
            holder = self.talk(HOLDS + "print('begins', flush=True)\nheld = []\nwhile True: held.append(take())", self.path)
            holder.read()
            wait_until(lambda: len(self.allocations()) > len(self.before) + 3, "some of its memory")
            holder.process.send_signal(signal.SIGKILL)
            self.assert_all_is_back()


# An interrupt may also come before the wait has begun: then it ends just so.
INTERRUPTED = """
import os, signal, sys, threading, memkeep
client = memkeep.connect(sys.argv[1])
held = client.allocate(1000 << 20, device="fake:0")
threading.Timer(0.5, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
try:
    client.allocate(900 << 20, device="fake:0", wait_ms=3600_000)
except KeyboardInterrupt:
    held.free()
    print(client.allocate(1000 << 20, device="fake:0", wait_ms=60_000).size >> 20)
"""


class Interrupted(ModelCase):
    devices = ("fake:0=1GiB",)

    def test_a_wait_ends_at_once_and_what_it_still_brings_goes_back(self):
        self.assertEqual("1000\n", run_python(INTERRUPTED, self.daemon.socket_path, seconds=120))


class Killed(ModelCase):
    devices = ("host:0=2GiB", "fake:0=1GiB,rate=8MiB/s")

    def test_while_it_loads(self):
        """The load is the daemon's, so it comes to its end; whose it was holds nothing of it."""
        path, _, content = self.write(count=1, most=24 * MIB)
        loader = self.talk("import sys, memkeep\nprint('begins', flush=True)\n"
                           "memkeep.connect(sys.argv[1]).load_model(sys.argv[2], device_id='fake:0')", path)
        loader.read()
        wait_until(lambda: any(model["state"] == "loading" for model in self.models()), "the load to begin")
        loader.process.send_signal(signal.SIGKILL)
        wait_until(lambda: self.look_model(path.name)["state"] == "ready", "the load to end", 120)
        self.assertFalse(self.is_busy(path.name))
        self.unload(path.name)
        self.assertEqual(0, self.device("fake:0")["allocatedBytes"])


if __name__ == "__main__":
    unittest.main()
