"""What the tests of python/memkeep share: a client of a daemon, and programs that use the package in a process of their
own. They run with Debian's python3, its numpy and its torch; the library is that of the build under test."""

import os
import random
import subprocess
import sys

import memkeep
from harness import BIN, KIB, SOURCE, DaemonCase, SharedDaemonCase, clean_environment, wait_until
from models import ModelWords, some_tensors, write_safetensors

LIB = BIN.parent / "lib"

# The beginning of a program (its words: the socket, a model's file) that can have all there is to have.
HOLDS = """
import gc, os, sys, threading, atexit
import memkeep, memkeep.aio, memkeep.torch, memkeep.worker, numpy, torch
client = memkeep.connect(sys.argv[1])
def take():
    memory = client.allocate(1 << 20, device="host:0")
    return memory
def everything():
    memory, other = take(), take()
    model = client.open_model(sys.argv[2])
    weights = memkeep.torch.load(sys.argv[2], client=client)
    return [client, memory, memory.numpy(), torch.from_dlpack(memory).view(torch.float32), other.buffer, other.__dlpack__(),
            model, model.tensor(next(iter(model.tensors))), weights, next(iter(weights.values()))[:3],
            client.events(), memkeep.aio.Client(client), torch.nn.Parameter(next(iter(weights.values())), False)]
"""


def environment(**more):
    """For a program that imports what tests import."""
    path = ":".join(map(str, (SOURCE / "python", SOURCE / "tests/python", SOURCE / "tests/e2e")))
    return clean_environment(MEMKEEP_LIB=str(LIB), PYTHONPATH=path, PYTHONDONTWRITEBYTECODE="1",
                             MEMKEEP_BIN=str(BIN), **more)


def see_cards_of(daemon):
    """This process has the FAKE cards that the daemon has."""
    os.environ.update({name: value for name, value in daemon.environment.items()
                       if name.startswith("FAKE_CUDA") or name == "MEMKEEP_LIBCUDA"})


def run_python(source, *words, seconds=60):
    """The program's stdout; it must end with 0 and without a word on stderr."""
    done = subprocess.run([sys.executable, "-c", source, *map(str, words)], capture_output=True, text=True,
                          timeout=seconds, env=environment())
    if done.returncode or done.stderr:
        raise AssertionError(f"ended with {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done.stdout


class Talking:
    """A Python program whose lines are read one by one, and who waits for lines of ours."""

    def __init__(self, source, *words):
        self.process = subprocess.Popen([sys.executable, "-c", source, *map(str, words)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True, env=environment())

    def read(self):
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError(f"it ended with {self.process.wait()}")
        return line.strip()

    def say(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def end(self):
        """Ends its input, then it."""
        if not self.process.stdin.closed:
            self.process.stdin.close()
        code = self.process.wait(60)
        self.process.stdout.close()
        return code

    def kill(self):
        self.process.kill()
        self.end()


class ClientWords:
    """`client` is connected to `daemon`; mixed into one of harness.py's cases."""

    def setUp(self):
        super().setUp()
        self.client = memkeep.connect(self.daemon.socket_path)
        self.addCleanup(self.client.close)

    def take(self, size, device="host:0", **fields):
        """An allocation of this test."""
        return self.client.allocate(size, device=device, **fields)

    def talk(self, source, *words):
        program = Talking(source, self.daemon.socket_path, *words)
        self.addCleanup(program.kill)
        return program


class ClientCase(ClientWords, SharedDaemonCase):
    pass


class ModelCase(ClientWords, ModelWords, DaemonCase):
    """A daemon for each test, for models stay listed."""

    def write(self, name="m.safetensors", count=5, most=200 * KIB):
        """A file of random tensors: (path, tensors, content)."""
        path = self.folder("models") / name
        tensors = some_tensors(random.Random(name), count, most)
        return path, tensors, write_safetensors(path, tensors)

    def is_busy(self, name):
        return self.look_model(name)["busy"]

    def is_let_go(self, name):
        wait_until(lambda: not self.is_busy(name), f"{name} to be detached")
