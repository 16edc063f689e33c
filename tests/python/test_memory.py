"""memkeep.connect() and allocations: bytes in place, given back when nobody points into them any more, and by whom."""

import ctypes
import gc
import os
import signal
import unittest

import memkeep
import numpy
from client import ClientCase, run_python, see_cards_of
from harness import GIB, KIB, MIB, wait_until
from memkeep import _cuda
from test_cuda import CardCase

HOLDER = """
import sys, memkeep
client = memkeep.connect(sys.argv[1])
memory = client.attach(sys.argv[2]) if len(sys.argv) > 2 else client.allocate(1 << 20, device="host:0", zero=True)
print(memory.id, flush=True)
for line in sys.stdin:
    word, _, text = line.strip().partition(" ")
    if word == "write":
        memory.buffer[:len(text)] = text.encode()
    print(bytes(memory.buffer[:16]).rstrip(bytes(1)).decode(), flush=True)
"""


class Bytes(ClientCase):
    def test_it_says_what_it_is(self):
        with self.take(1000, label="mine", purpose="tensors") as memory:
            seen = self.look(memory.id)
            self.assertEqual(("host:0", 1000, "memfd", False),
                             (memory.device, memory.size, memory.handle_type, memory.readonly))
            self.assertEqual(("mine", "tensors", os.getpid()), (seen["label"], seen["purpose"], seen["owner"]["pid"]))
            self.assertEqual(1000, memory.info()["size_bytes"])
            self.assertEqual(1000, os.fstat(memory.fd).st_size and len(memory))
            self.assertIn(memory.id, repr(memory))

    def test_its_buffer_is_the_memory(self):
        with self.take(64 * KIB, zero=True) as memory, self.client.attach(memory.id) as same:
            memory.buffer[100:105] = b"hello"
            self.assertEqual(b"hello", same.buffer[100:105])
            self.assertEqual((64 * KIB, "B", False), (memory.buffer.nbytes, memory.buffer.format, memory.buffer.readonly))

    def test_another_process_sees_what_is_written(self):
        with self.take(1 * MIB, zero=True) as memory:
            other = self.talk(HOLDER, memory.id)
            self.assertEqual(memory.id, other.read())
            other.say("write from there")
            self.assertEqual("from there", other.read())
            self.assertEqual(b"from there", memory.buffer[:10])
            memory.buffer[:4] = b"here"
            other.say("look")
            self.assertEqual("here there", other.read())
            other.end()

    def test_who_attaches_to_read_cannot_write(self):
        with self.take(64 * KIB) as memory, memkeep.connect(self.daemon.socket_path) as other:
            with other.attach(memory.id, read_only=True) as same:
                with self.assertRaises(TypeError):
                    same.buffer[0] = 1
                with self.assertRaises(ValueError):
                    numpy.asarray(same)[0] = 1
                view = same.numpy()
                with self.assertRaises(ValueError):
                    view.flags.writeable = True
                with self.assertRaises(BufferError):
                    numpy.from_dlpack(same)
                with self.assertRaises(memkeep.Conflict):
                    other.attach(memory.id)

    def test_small_ones_have_places_of_their_own(self):
        held = [self.take(256) for _ in range(100)]
        for i, memory in enumerate(held):
            memory.buffer[:] = bytes([i]) * 256
        for i, memory in enumerate(held):
            self.assertEqual(bytes([i]) * 256, memory.buffer)
            memory.free()


class Views(ClientCase):
    def test_numpy(self):
        with self.take(4096, zero=True) as memory:
            floats = memory.numpy("f4", (3, 4), offset=256)
            floats[:] = 1.5
            self.assertEqual(bytes(256), memory.buffer[:256])
            self.assertEqual(b"\0\0\xc0\x3f" * 12, memory.buffer[256:304])
            self.assertEqual((1024,), memory.numpy("f4").shape)
            with self.assertRaises(ValueError):
                memory.numpy("f4", (2000,))

    def test_the_array_interface(self):
        with self.take(4096, zero=True) as memory:
            array = numpy.asarray(memory)
            array[7] = 42
            self.assertEqual(42, memory.buffer[7])
            self.assertEqual((4096,), array.shape)

    def test_dlpack(self):
        with self.take(4096, zero=True) as memory:
            self.assertEqual((1, 0), memory.__dlpack_device__())
            array = numpy.from_dlpack(memory)
            memory.buffer[7] = 42
            self.assertEqual(((4096,), 42), (array.shape, array[7]))
            memory.__dlpack__()  # a capsule that nobody takes

    def test_one_buffer_while_it_lasts(self):
        with self.take(4096) as memory:
            self.assertIs(memory.buffer, memory.buffer)
            buffer = memory.buffer
        with self.assertRaises(ValueError):
            buffer[0]

    @unittest.skipUnless(hasattr(memoryview, "__buffer__"), "Python 3.12 brought the protocol to Python's classes")
    def test_the_buffer_protocol(self):
        with self.take(4096) as memory:
            self.assertEqual(4096, memoryview(memory).nbytes)


class Lives(ClientCase):
    def test_a_block_frees_it(self):
        with self.take(4096) as memory:
            self.assertFalse(self.is_gone(memory.id))
        self.assertTrue(memory.closed)
        self.assertTrue(self.is_gone(memory.id))
        memory.free()
        for use in (lambda: memory.buffer, lambda: memory.fd, memory.numpy, memory.info, memory.__enter__):
            self.assertRaises(ValueError, use)

    def test_whatever_points_there_keeps_it(self):
        for use in (lambda memory: memory.buffer[5:], lambda memory: memory.numpy("u2")[3:9],
                    lambda memory: numpy.frombuffer(memory.buffer, "u1"), numpy.asarray, numpy.from_dlpack,
                    lambda memory: (ctypes.c_char * 9).from_buffer(memory.buffer)):
            with self.take(4096, zero=True) as memory:
                view = use(memory)
                self.assertRaises(BufferError, memory.free)
                self.assertRaises(BufferError, memory.close)
                memory.buffer[5:9] = b"safe"
            self.assertTrue(memory.closed)
            self.assertFalse(self.is_gone(memory.id))
            self.assertTrue(any(bytes(view)))
            del view
            self.assertTrue(self.is_gone(memory.id))

    def test_so_does_a_client_that_was_closed(self):
        client = memkeep.connect(self.daemon.socket_path)
        memory = client.allocate(4096, device="host:0", zero=True)
        view, name = memory.numpy(), memory.id
        client.close()
        client.close()
        self.assertRaises(ValueError, client.status)
        memory.buffer[3] = 7
        del memory
        self.assertEqual(7, view[3])
        self.assertFalse(self.is_gone(name))
        del view
        self.assertTrue(self.is_gone(name))

    def test_garbage_is_freed(self):
        name = self.take(4096).id
        gc.collect()
        self.assertTrue(self.is_gone(name))

    def test_what_is_to_outlive_this_process_is_only_let_go(self):
        with self.take(4096, ttl_seconds=300) as timed, self.take(4096, persistent=True) as kept:
            self.assertRaises(memkeep.AllocationBusy, kept.free)
            kept.buffer[0] = 1  # a free that was refused changed nothing
        for memory in (timed, kept):
            self.assertEqual(0, self.look(memory.id)["attachments"])
            with self.client.attach(memory.id) as again:
                again.free(force=True)
            self.assertTrue(self.is_gone(memory.id))

    def test_who_attached_it_only_lets_go(self):
        with self.take(4096) as memory, memkeep.connect(self.daemon.socket_path) as other:
            with other.attach(memory.id):
                self.assertRaises(memkeep.AllocationBusy, memory.free)
                memory.buffer[0] = 1
            self.assertEqual(1, self.look(memory.id)["attachments"])
            held = other.attach(memory.id)
            held.close()
            self.assertTrue(held.closed)
            self.assertEqual(1, self.look(memory.id)["attachments"])

    def test_a_process_that_dies_gives_all_back(self):
        holder = self.talk(HOLDER)
        name = holder.read()
        self.assertFalse(self.is_gone(name))
        holder.process.send_signal(signal.SIGKILL)
        wait_until(lambda: self.is_gone(name), "the memory to come back")

    def test_it_may_be_another_processs(self):
        holder = self.talk(HOLDER)
        holder.read()
        memory = self.take(4096, zero=True, owner_pid=holder.process.pid, label="theirs")
        self.assertEqual((holder.process.pid, "theirs"), (self.look(memory.id)["owner"]["pid"], memory.info()["label"]))
        memory.buffer[0] = 1
        name = memory.id
        memory.close()
        self.assertFalse(self.is_gone(name))
        holder.kill()
        wait_until(lambda: self.is_gone(name), "it to go with its owner")
        self.assertRaises(memkeep.InvalidArgument, self.take, 4096, owner_pid=holder.process.pid)

    def test_a_plan_changes_nothing(self):
        with self.take(1 * GIB), self.nothing_changes():
            self.assertTrue(self.client.plan(4096, device="host:0", label="no")["would_fit"])
            self.assertFalse(self.client.plan(2 * GIB, device="host:0")["would_fit"])
            self.assertRaises(memkeep.InvalidArgument, self.client.plan, 4096, colour="red")

    def test_it_outlives_the_daemon(self):
        daemon = type(self.daemon)()
        self.addCleanup(daemon.close)
        client = memkeep.connect(daemon.socket_path)
        with client, client.allocate(1 * MIB, device="host:0") as memory:
            memory.buffer[:5] = b"still"
            daemon.kill()
            self.assertEqual(b"still", memory.buffer[:5])
            daemon.start()
            self.assertEqual("active", memory.info()["status"])
            with memkeep.connect(daemon.socket_path) as other, other.attach(memory.id) as same:
                self.assertEqual(b"still", same.buffer[:5])

    def test_the_end_of_the_interpreter_is_no_trouble(self):
        self.assertEqual("", run_python("""
import atexit, sys, threading, memkeep, numpy
client = memkeep.connect(sys.argv[1])
class Last:
    def __del__(self):
        view[0] = 1
        memory.buffer[0] = 2
last = Last()
memory = client.allocate(1 << 20, device="host:0")
view, lent = memory.numpy(), numpy.from_dlpack(memory)
memory.circle = memory, last
other = client.allocate(1 << 20, device="host:0")
capsule = other.__dlpack__()
atexit.register(lambda: view.sum() + len(other.buffer))
threading.Thread(target=client.call, args=("memory.get_status",), daemon=True).start()
""", self.daemon.socket_path))


class Cards(CardCase):
    """FAKE ones, whose memory is at real addresses once it is mapped."""

    def setUp(self):
        super().setUp()
        see_cards_of(self.daemon)
        self.client = memkeep.connect(self.daemon.socket_path)
        self.addCleanup(self.client.close)

    def read(self, memory, size):
        return ctypes.string_at(memory.__cuda_array_interface__["data"][0], size)

    def test_their_memory_has_no_buffer(self):
        with self.client.allocate(1 * MIB, device="cuda:0") as memory:
            self.assertEqual(("cuda:0", "cuda-vmm"), (memory.device, memory.handle_type))
            for use in (lambda: memory.buffer, memory.numpy, lambda: memory.__array_interface__):
                self.assertRaises(BufferError, use)
            self.assertLessEqual(0, memory.fd)
        self.assertTrue(self.is_gone(memory.id))
        self.assertTrue(self.is_gone(self.client.allocate(1 * MIB, device="cuda:0").id))
        memory = self.client.allocate(1 * MIB, device="cuda:0")
        memory.free()
        self.assertTrue(self.is_gone(memory.id))
        with self.client.allocate(4096, device="host:0") as memory:
            self.assertRaises(BufferError, lambda: memory.__cuda_array_interface__)
            self.assertRaises(AttributeError, getattr, memory, "nothing")

    def test_it_is_lent_at_its_address(self):
        first, second = (self.client.allocate(size, device="cuda:1") for size in (1000, 5 * MIB))
        for value, memory in enumerate((first, second), 65):
            lent = memory.__cuda_array_interface__
            self.assertEqual(("|u1", (memory.size,), False), (lent["typestr"], lent["shape"], lent["data"][1]))
            self.assertEqual((2, 1), memory.__dlpack_device__())
            self.fill(memory.id, value)
            self.assertEqual(bytes([value]) * 1000, self.read(memory, 1000))
        ctypes.memset(first.__cuda_array_interface__["data"][0], 90, 10)
        with memkeep.connect(self.daemon.socket_path) as other, other.attach(first.id) as same:
            self.assertEqual(b"Z" * 10 + b"A", self.read(same, 11))

    def test_one_mapping_for_many_of_a_segment(self):
        held = [self.client.allocate(4096, device="cuda:0") for _ in range(10)]
        places = {memory.id: memory.__cuda_array_interface__["data"][0] for memory in held}
        self.assertEqual(10, len(set(places.values())))
        self.assertEqual(1, len({place - memory.offset for memory, place in zip(held, places.values())}))

    def test_who_took_the_interface_keeps_it(self):
        with self.client.allocate(4096, device="cuda:0") as memory:
            self.fill(memory.id, 7)
            place = memory.__cuda_array_interface__["data"][0]
            self.assertRaises(BufferError, memory.free)
        self.assertRaises(ValueError, lambda: memory.__cuda_array_interface__)
        self.assertEqual(b"\7", ctypes.string_at(place, 1))
        name = memory.id
        self.assertFalse(self.is_gone(name))
        del memory
        self.assertTrue(self.is_gone(name))

    def test_so_does_a_capsule(self):
        with self.client.allocate(4096, device="cuda:0") as memory:
            capsule = memory.__dlpack__()
            self.assertRaises(BufferError, memory.free)
            self.assertIn("dltensor", repr(capsule))
        self.assertFalse(self.is_gone(memory.id))
        del capsule
        self.assertTrue(self.is_gone(memory.id))

    def test_the_context_of_before_is_current_afterwards(self):
        driver = _cuda.driver()
        _, context = driver.card(self.device("cuda:1")["uuid"])
        current = ctypes.c_void_p()
        with driver.inside(context):
            self.client.allocate(4096, device="cuda:0").__dlpack_device__()
            driver.call("cuCtxGetCurrent", ctypes.byref(current))
            self.assertEqual(context.value, current.value)
        driver.call("cuCtxGetCurrent", ctypes.byref(current))
        self.assertIsNone(current.value)

    def test_a_card_that_is_not_visible_here(self):
        driver = _cuda.driver()
        self.assertRaises(BufferError, driver.card, "GPU-00000000-0000-0000-0000-000000000000")


class Forks(ClientCase):
    def forked(self, act):
        """What act() returned in a forked child, as text."""
        back, there = os.pipe()
        child = os.fork()
        if not child:
            try:
                os.write(there, str(act()).encode())
            finally:
                os._exit(0)
        os.close(there)
        with open(back) as file:
            text = file.read()
        os.waitpid(child, 0)
        return text

    def refusal(self, act):
        try:
            return f"did {act()}"
        except memkeep.Conflict as problem:
            return problem

    def test_a_child_is_refused_and_takes_nothing_away(self):
        memory = self.take(4096, zero=True)
        for act in (self.client.status, lambda: self.client.allocate(1), lambda: self.client.attach(memory.id),
                    lambda: memory.buffer, memory.free, memory.close, memory.info, memory.numpy, memory.__enter__):
            self.assertIn("forked off it: connect here", self.forked(lambda act=act: self.refusal(act)))
        self.forked(lambda: memory.__exit__())
        self.forked(self.client.close)
        memory.buffer[0] = 1
        self.assertEqual("active", memory.info()["status"])
        memory.free()

    def test_a_child_that_connects_is_a_client(self):
        with self.take(4096, zero=True) as memory:
            def act():
                with memkeep.connect(self.daemon.socket_path) as client, client.attach(memory.id) as mine:
                    mine.buffer[:5] = b"child"
                return "done"
            self.assertEqual("done", self.forked(act))
            self.assertEqual(b"child", memory.buffer[:5])

    def test_nothing_is_sent_by_accident(self):
        import pickle
        with self.take(4096) as memory:
            for thing in (memory, self.client):
                self.assertRaises(TypeError, pickle.dumps, thing)


if __name__ == "__main__":
    unittest.main()
