"""A process that is forked off a client: what it may read, that all else is refused, and that it takes nothing away."""

import asyncio
import os
import signal
import unittest

import torch

import memkeep
import memkeep.aio
import memkeep.torch
from client import HOLDS, ModelCase, run_python
from harness import MIB, wait_until


class Forked(ModelCase):
    """A forked child has what is mapped, to read; it is nobody to the daemon."""

    def setUp(self):
        super().setUp()
        self.path, tensors, _ = self.write(count=3, most=MIB)
        self.model = self.client.open_model(self.path)
        self.tensor = tensors[0]

    def forked(self, act):
        """What act() returned in a forked child, as text."""
        back, there = os.pipe()
        child = os.fork()
        if not child:
            try:
                os.close(back)
                os.write(there, str(act()).encode())
            except BaseException as problem:
                os.write(there, f"{type(problem).__name__}: {problem}".encode())
            finally:
                os._exit(0)
        os.close(there)
        with open(back) as file:
            text = file.read()
        self.assertEqual(0, os.waitpid(child, 0)[1])
        return text

    def is_refused(self, act):
        said = self.forked(act)
        self.assertTrue(said.startswith("Conflict: ") and "forked off it: connect here" in said, said)

    def test_models_are_readable_and_no_more(self):
        weight = memkeep.torch.load(self.path, client=self.client)[self.tensor.name]
        self.assertEqual(self.tensor.data, bytes(self.model.tensor(self.tensor.name)))
        expected = str(bytes(weight.reshape(-1).view(torch.uint8).numpy()) == self.tensor.data)
        self.assertEqual("True", expected)
        self.assertEqual("True", self.forked(lambda: bytes(self.model.tensor(self.tensor.name)) == self.tensor.data))
        self.assertEqual("True", self.forked(
            lambda: bytes(weight.reshape(-1).view(torch.uint8).numpy()) == self.tensor.data))
        for act in (lambda: self.client.open_model(self.path), lambda: self.client.attach_model(self.path.name),
                    lambda: self.client.load_model(self.path), lambda: self.client.call("memory.get_status"),
                    lambda: self.client.plan(1), lambda: memkeep.torch.load(self.path, client=self.client)):
            self.is_refused(act)

    def test_so_is_memory(self):
        with self.take(4096, zero=True) as memory:
            view = memory.numpy()
            view[0] = 7
            self.assertEqual("7", self.forked(lambda: view[0]))
            self.assertEqual("7", self.forked(lambda: torch.from_numpy(view)[0].item()))
            self.forked(lambda: view.__setitem__(1, 9))
            self.assertEqual(9, view[1])
            del view

    def test_asyncio_too(self):
        client = memkeep.aio.Client(self.client)
        self.is_refused(lambda: asyncio.run(client.status()))
        self.is_refused(lambda: asyncio.run(client.allocate(1)))

    def test_events_are_the_parents(self):
        events = self.client.events("allocation.created")
        self.is_refused(lambda: next(events))
        self.forked(events.close)
        self.forked(events._end)
        with self.take(4096) as memory:
            self.assertEqual(memory.id, next(events).data["allocation_id"])
        events.close()

    def test_what_ends_here_ends_although_a_child_lives(self):
        gate, hold = os.pipe()
        child = os.fork()
        if not child:
            os.close(hold)
            os.read(gate, 1)
            os._exit(0)
        try:
            self.assertTrue(self.is_busy(self.path.name))
            self.model = None
            self.is_let_go(self.path.name)
        finally:
            os.close(hold)
            os.waitpid(child, 0)
            os.close(gate)

    def test_nor_does_a_child_keep_what_its_killed_parent_had(self):
        parent = self.talk(HOLDS + """
held = everything()
child = os.fork()
if not child:
    sys.stdin.read(); os._exit(0)
print(held[1].id, flush=True)
threading.Event().wait()
""", self.path)
        name = parent.read()
        self.model = None
        self.assertFalse(self.is_gone(name))
        parent.process.send_signal(signal.SIGKILL)
        wait_until(lambda: self.is_gone(name), "its memory to be back")
        self.is_let_go(self.path.name)

    def test_the_end_of_a_childs_interpreter_takes_nothing(self):
        said = run_python(HOLDS + """
held = everything()
held.append(held)
child = os.fork()
if not child:
    del held
    gc.collect()
    sys.exit(0)
assert os.waitpid(child, 0)[1] == 0
held[2][0] = 5
print(held[1].info()["status"], client.call("memory.get_model_info", model_id=sys.argv[2].split("/")[-1])["model"]["busy"])
held[10].close()
""", self.daemon.socket_path, self.path)
        self.assertEqual("active True\n", said)

    def test_a_worker_is_its_process(self):
        said = run_python(HOLDS + """
worker = memkeep.worker.Worker("mine"); worker.start(sys.argv[1])
def listed(): return [found["models"] for found in client.call("memory.list_workers")["workers"]
                      if found["worker_id"] == f"mine-{os.getpid()}"]
while not listed(): pass
child = os.fork()
if not child:
    worker.hold(memkeep.worker.Held("childs", 5)); worker.stop(); os._exit(0)
os.waitpid(child, 0)
worker.hold(memkeep.worker.Held("mine", 5))
while listed() != [["mine"]]: assert len(listed()) == 1
print("listed")
""", self.daemon.socket_path, self.path)
        self.assertEqual("listed\n", said)


if __name__ == "__main__":
    unittest.main()
