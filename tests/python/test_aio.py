"""Events of the daemon as an iterator, and memkeep.aio: no question keeps the loop, and none that was given up leaves
something behind."""

import asyncio
import threading
import unittest

import memkeep
import memkeep.aio
from client import ClientCase, ModelCase, run_python
from harness import GIB


class Heard(ClientCase):
    def find(self, events, kind, name):
        return next(event for event in events if event.type == kind and event.data.get("allocation_id") == name)

    def test_what_happens(self):
        with self.client.events("allocation.created,allocation.freed") as events:
            with self.take(4096) as memory:
                self.assertEqual(4096, self.find(events, "allocation.created", memory.id).data["size_bytes"])
            self.find(events, "allocation.freed", memory.id)

    def test_a_type_that_is_none(self):
        self.assertRaises(memkeep.InvalidArgument, self.client.events, "allocation.eaten")

    def test_who_closes_wakes_who_waits(self):
        events, seen = self.client.events("device.lost"), []
        waiter = threading.Thread(target=lambda: seen.extend(events))
        waiter.start()
        events.close()
        waiter.join(30)
        self.assertEqual((False, []), (waiter.is_alive(), seen))
        self.assertEqual([], list(events))

    def test_over_a_restart(self):
        daemon = type(self.daemon)()
        self.addCleanup(daemon.close)
        with memkeep.connect(daemon.socket_path) as client, client.events("allocation.*") as events:
            daemon.kill()
            daemon.start()
            self.assertEqual(("client.reconnected", {}), next(events))
            with client.allocate(4096) as memory:
                self.find(events, "allocation.created", memory.id)


class Awaited(ClientCase):
    def run_with_client(self, act):
        async def main():
            async with await memkeep.aio.connect(self.daemon.socket_path) as client:
                return await act(client)
        return asyncio.run(main())

    def test_memory(self):
        async def act(client):
            async with await client.allocate(4096, device="host:0", zero=True) as memory:
                memory.buffer[:5] = b"hello"
                async with await client.attach(memory.id, read_only=True) as same:
                    self.assertEqual((b"hello", 4096, True), (same.buffer[:5], len(same), same.readonly))
                self.assertEqual(4096, (await memory.info())["size_bytes"])
                self.assertEqual((memory.memory.id, "host:0"), (memory.id, memory.device))
            self.assertTrue(memory.closed)
            freed = await client.allocate(4096, device="host:0")
            await freed.free()
            closed = await client.allocate(4096, device="host:0", ttl_seconds=60)
            await closed.close()
            await (await client.attach(closed.id)).free()
            with self.assertRaises(memkeep.DeviceNotFound):
                await client.status("host:9")
            return memory.id, freed.id, closed.id, (await client.call("memory.get_status"))["device_count"]
        *names, count = self.run_with_client(act)
        self.assertEqual([True] * 3, list(map(self.is_gone, names)))
        self.assertEqual(2, count)

    def test_who_waits_for_memory_keeps_nobody(self):
        async def act(client):
            hog = await client.allocate(int(1.5 * GIB), device="host:0")
            waits = asyncio.ensure_future(client.allocate(1 * GIB, device="host:0", wait_ms=60000))
            small = await asyncio.gather(*(client.allocate(4096, device="host:1") for _ in range(20)))
            self.assertFalse(waits.done())
            await hog.free()
            await (await waits).free()
            for memory in small:
                await memory.free()
        self.run_with_client(act)
        self.assertEqual([], self.allocations())

    def test_what_was_given_up_leaves_nothing(self):
        async def act(client):
            async with client.events("allocation.*") as events:
                hog = await client.allocate(int(1.5 * GIB), device="host:0")
                asked = threading.Event()
                self.note(client.client, asked)
                waits = asyncio.ensure_future(client.allocate(1 * GIB, device="host:0", wait_ms=60000))
                await asyncio.get_running_loop().run_in_executor(None, asked.wait, 30)
                waits.cancel()
                with self.assertRaises(asyncio.CancelledError):
                    await waits
                await hog.free()
                async for event in events:
                    if event.type == "allocation.freed" and event.data["size_bytes"] == 1 * GIB:
                        return
        self.run_with_client(act)
        self.assertEqual([], self.allocations())

    def note(self, client, asked):
        """Sets `asked` when somebody is about to allocate."""
        allocate = client.allocate

        def noted(*words, **fields):
            asked.set()
            return allocate(*words, **fields)
        client.allocate = noted

    def test_events(self):
        async def act(client):
            async with client.events("allocation.created") as events:
                async with await client.allocate(4096) as memory:
                    async for event in events:
                        if event.data["allocation_id"] == memory.id:
                            break
            with self.assertRaises(StopAsyncIteration):
                await events.__anext__()
            waits = client.events("device.lost")
            with self.assertRaises(asyncio.TimeoutError):
                await asyncio.wait_for(waits.__anext__(), 0.05)
            with self.assertRaises(memkeep.InvalidArgument):
                await client.events("allocation.eaten").__anext__()
        self.run_with_client(act)

    def test_an_interpreter_that_ends_waits_for_nothing(self):
        self.assertEqual("bye\n", run_python("""
import asyncio, sys, memkeep.aio
async def main():
    client = await memkeep.aio.connect(sys.argv[1])
    hog = await client.allocate(3 << 29, device="host:0")
    asyncio.ensure_future(client.allocate(1 << 30, device="host:0", wait_ms=600000))
    asyncio.ensure_future(client.events("device.lost").__anext__())
    await asyncio.sleep(0.05)
    print("bye")
asyncio.run(main())
""", self.daemon.socket_path))


class Models(ModelCase):
    def test_models(self):
        path, tensors, _ = self.write()

        async def act():
            async with await memkeep.aio.connect(self.daemon.socket_path) as client:
                first, second = await asyncio.gather(client.open_model(path), client.open_model(path))
                third = await client.attach_model((await client.load_model(path))["name"])
                return [bytes(model.tensor(tensors[0].name)) for model in (first, second, third)]
        self.assertEqual([tensors[0].data] * 3, asyncio.run(act()))


class Named(unittest.TestCase):
    def test_who_names_it_has_it(self):
        self.assertEqual("aio True False\n", run_python(
            "import memkeep\nprint(memkeep.aio.__name__.split('.')[1], hasattr(memkeep, 'worker'), hasattr(memkeep, 'no'))"))


if __name__ == "__main__":
    unittest.main()
