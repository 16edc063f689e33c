"""memkeep for asyncio: the same names, to be awaited where they ask the daemon.

    async with await memkeep.aio.connect() as client:
        async with await client.allocate(1 << 20, memory_type="RAM", wait_ms=5000) as memory:
            memory.buffer[:5] = b"hello"
        async for event in client.events("pressure.*"):
            ...

Each question waits on a thread of its own, so that the loop never does, and questions not for each other. One that is
cancelled is no more waited for; what it still brings (memory, a model) is given back."""

from __future__ import annotations

import asyncio
import threading
from typing import Any, AsyncIterator, Callable, Dict, Optional, TypeVar

from . import allocation as sync
from . import client as clients
from . import events as feeds
from . import models

_T = TypeVar("_T")


async def _wait(act: Callable[[], _T]) -> _T:
    """Daemon threads: an interpreter that ends waits for none."""
    loop = asyncio.get_running_loop()
    future: "asyncio.Future[_T]" = loop.create_future()

    def settle(give: Callable[..., None], what: Any) -> None:
        if not future.done():
            give(what)

    def work() -> None:
        try:
            give, what = future.set_result, act()  # type: Callable[..., None], Any
        except StopIteration:
            give, what = future.set_exception, StopAsyncIteration()
        except BaseException as problem:  # pylint: disable=broad-except
            give, what = future.set_exception, problem
        try:
            loop.call_soon_threadsafe(settle, give, what)
        except RuntimeError:
            pass  # the loop is closed

    threading.Thread(target=work, name="memkeep", daemon=True).start()
    return await future


class Allocation:
    """As memkeep.Allocation, which is `memory`; all that does not ask the daemon is there under its own name too."""

    def __init__(self, memory: sync.Allocation) -> None:
        self.memory = memory

    async def __aenter__(self) -> "Allocation":
        self.memory.__enter__()
        return self

    async def __aexit__(self, *problem: object) -> None:
        await _wait(lambda: self.memory.__exit__(*problem))

    async def free(self, force: bool = False) -> None:
        await _wait(lambda: self.memory.free(force))

    async def close(self) -> None:
        await _wait(self.memory.close)

    async def info(self) -> Dict[str, Any]:
        return await _wait(self.memory.info)

    def __getattr__(self, name: str) -> Any:
        if name == "memory":  # not made yet
            raise AttributeError(name)
        return getattr(self.memory, name)

    @property
    def buffer(self) -> memoryview:
        return self.memory.buffer

    @property
    def __array_interface__(self) -> dict:
        return self.memory.__array_interface__

    def __dlpack__(self, **words: Any) -> Any:
        return self.memory.__dlpack__(**words)

    def __dlpack_device__(self) -> Any:
        return self.memory.__dlpack_device__()

    def __len__(self) -> int:
        return self.memory.size

    def __repr__(self) -> str:
        return repr(self.memory)


class Events(AsyncIterator[feeds.Event]):
    """As memkeep.events.Events; connected at the first step."""

    def __init__(self, path: Optional[str], types: Optional[str]) -> None:
        self._path, self._types, self._events = path, types, None  # type: Any, Any, Optional[feeds.Events]
        self._closed = False

    async def __anext__(self) -> feeds.Event:
        try:
            if self._closed:
                raise StopAsyncIteration
            if self._events is None:
                self._events = await _wait(lambda: feeds.Events(self._path, self._types))
            return await _wait(self._events.__next__)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._closed = True
        if self._events is not None:
            self._events.close()

    async def __aenter__(self) -> "Events":
        """Connects: all that happens from now on is told."""
        self._events = await _wait(lambda: feeds.Events(self._path, self._types))
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()


class Client:
    """As memkeep.Client, which is `client`."""

    def __init__(self, client: clients.Client) -> None:
        self.client = client

    async def __aenter__(self) -> "Client":
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.client.close()

    @property
    def closed(self) -> bool:
        return self.client.closed

    def __repr__(self) -> str:
        return repr(self.client).replace("memkeep.", "memkeep.aio.")

    async def allocate(self, size: int, *, device: Optional[str] = None, **fields: Any) -> Allocation:
        return Allocation(await _wait(lambda: self.client.allocate(size, device=device, **fields)))

    async def plan(self, size: int, *, device: Optional[str] = None, **fields: Any) -> Dict[str, Any]:
        return await _wait(lambda: self.client.plan(size, device=device, **fields))

    async def attach(self, id: str, *, read_only: bool = False) -> Allocation:
        return Allocation(await _wait(lambda: self.client.attach(id, read_only=read_only)))

    async def load_model(self, path: models.PathLike, **fields: Any) -> Dict[str, Any]:
        return await _wait(lambda: self.client.load_model(path, **fields))

    async def attach_model(self, name: str, *, device: Optional[str] = None) -> models.Model:
        return await _wait(lambda: self.client.attach_model(name, device=device))

    async def open_model(self, name_or_path: models.PathLike, *, device: Optional[str] = None, **fields: Any) -> models.Model:
        return await _wait(lambda: self.client.open_model(name_or_path, device=device, **fields))

    async def call(self, action: str, **fields: Any) -> Dict[str, Any]:
        return await _wait(lambda: self.client.call(action, **fields))

    async def status(self, device: Optional[str] = None) -> Dict[str, Any]:
        return await _wait(lambda: self.client.status(device))

    def events(self, types: Optional[str] = None) -> Events:
        return Events(self.client.socket, types)


async def connect(socket: Optional[str] = None, *, reconnect_ms: int = 0) -> Client:
    """As memkeep.connect."""
    return Client(await _wait(lambda: clients.connect(socket, reconnect_ms=reconnect_ms)))
