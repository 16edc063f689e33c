"""Models of the daemon's, attached: their files' bytes and tensors in place, shared by all who attach them.

The memory is sealed; nobody can write to it. What is mapped here is private on top of that: who writes all the same
gets a page of his own, and the model stays as it is for everybody else."""

from __future__ import annotations

import json
import mmap
import os
import re
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any, Dict, List, NamedTuple, Optional, Tuple, Union

from . import _cuda, _dlpack, errors
from ._wire import Wire

if TYPE_CHECKING:
    from .client import Client

_NORESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000)  # Python 3.11 has its name
_PATIENCE = 600.0  # seconds; for what another process is doing with the model
_LOOK = 0.05
_NAME_MAX = 255

PathLike = Union[str, "os.PathLike[str]"]


class Tensor(NamedTuple):
    """Where a tensor is: `offset` and `size` are bytes in the file number `file`. `dtype` is a word of safetensors' or
    GGUF's ("BF16", "Q4_K"), the shape's last dimension changes fastest."""
    name: str
    dtype: str
    shape: Tuple[int, ...]
    file: int
    offset: int
    size: int


class Hold:
    """The connection that has the model attached, until the last mapping has gone."""

    def __init__(self, path: Optional[str], model: str, copy: str) -> None:
        self.path, self.model, self.copy, self.pid = path, model, copy, os.getpid()
        self.mapped: List[None] = []  # one for each mapping
        self.wire = Wire(path)
        self._lock = threading.Lock()

    def renew(self) -> None:
        """After a restart of the daemon: attaches anew, so that the model counts as used. What is mapped stays valid in
        any case, so it does not matter if that cannot be now."""
        if self.pid != os.getpid() or self.wire.is_open() or not self._lock.acquire(blocking=False):
            return
        try:
            wire = Wire(self.path)
            self.wire.close()
            self.wire = wire
            for fd in attach_over(wire, self.model, self.copy)[1]:
                os.close(fd)
            if not self.mapped:
                wire.close()
        except errors.MemkeepError:
            pass
        finally:
            self._lock.release()

    def drop(self) -> None:
        self.mapped.pop()
        if not self.mapped:
            self.wire.close()


def attach_over(wire: Wire, name: str, copy: str) -> Tuple[Dict[str, Any], List[int]]:
    return wire.ask("memory.attach", {"model_id": name, "read_only": True, "copy": copy})


class Model:
    """Made by Client.attach_model. It is attached, so neither moved nor evicted, until this object and all that points
    into its memory have gone; there is nothing to close. In a forked child its memory stays readable."""

    def __init__(self, client: "Client", name: str, card: Optional[str] = None) -> None:
        """For Client: the copy in host memory, or the one on that card."""
        copy = "used" if card else "ram"
        hold = Hold(client.socket, name, copy)
        fds: List[int] = []
        try:
            data, fds = attach_over(hold.wire, name, copy)
            self.id: str = data["model_id"]
            self.device: str = data["device_id"]
            if card and card != self.device:
                raise errors.Conflict(f"{name} is on {self.device}: transfer it to {card}, or load it there by another name")
            self.files: List[str] = [piece["file"] for piece in data["segments"]]
            table = _read_all(fds[-1]) if data.get("tensors_in_fd") else data["tensors"]
            self.tensors: Dict[str, Tensor] = {entry["name"]: _tensor(entry) for entry in table}
            uuid = client.status(card)["uuid"] if card else None
            self._pieces = [_map(hold, fd, piece, uuid) for fd, piece in zip(fds, data["segments"])]
            self._size = sum(piece["size_bytes"] for piece in data["segments"])
        except BaseException:
            hold.wire.close()
            raise
        finally:
            for fd in fds:
                os.close(fd)
        hold.model, self.hold = self.id, hold

    def place(self, tensor: Tensor) -> Tuple[Any, int]:
        """In host memory: the mapping that it lies in, and where it begins there. On a card: what holds the mapping, and
        the address. Who points there is to hold the first."""
        memory, start = self._pieces[tensor.file]
        return memory, start + tensor.offset

    def tensor(self, name: str) -> memoryview:
        """A tensor's bytes. BufferError on a card."""
        tensor = self.tensors[name]
        memory, at = self.place(tensor)
        return _view(memory, at, tensor.size)

    def file(self, index: int = 0) -> memoryview:
        """A whole file's bytes, as they are on disk. BufferError on a card."""
        memory, at = self._pieces[index]
        return _view(memory, at, None)

    def dlpack(self, name: str) -> Any:
        """A capsule of the bytes of a tensor on a card, for from_dlpack. DLPack cannot say that memory is read-only: write
        nothing there, for it is everybody's."""
        tensor = self.tensors[name]
        memory, at = self.place(tensor)
        if not isinstance(memory, _cuda.Segment):
            raise BufferError(f"{name} is in host memory: tensor() is a memoryview of it")
        return _dlpack.export(memory, at, tensor.size, (_dlpack.CUDA, memory.number))

    @property
    def on_card(self) -> bool:
        return any(isinstance(memory, _cuda.Segment) for memory, _ in self._pieces)

    @property
    def size(self) -> int:
        return self._size

    def __repr__(self) -> str:
        return f"<memkeep.Model {self.id} {len(self.tensors)} tensors, {self.size} bytes on {self.device}>"

    def __reduce__(self) -> Any:
        raise TypeError("a Model belongs to its process: attach it there by its name")


def _tensor(entry: Dict[str, Any]) -> Tensor:
    return Tensor(entry["name"], entry["dtype"], tuple(entry["shape"]), entry.get("segment", 0), entry["offset_bytes"],
                  entry["size_bytes"])


def _read_all(fd: int) -> Any:
    with open(os.dup(fd), "rb") as file:
        file.seek(0)
        return json.loads(file.read())


def _view(memory: Any, at: int, size: Optional[int]) -> memoryview:
    if isinstance(memory, _cuda.Segment):
        raise BufferError("it is on a card: dlpack() lends it")
    return memoryview(memory)[at:None if size is None else at + size].toreadonly()


def _map(hold: Hold, fd: int, piece: Dict[str, Any], uuid: Optional[str]) -> Tuple[Any, int]:
    offset, size = piece["offset_bytes"], piece["size_bytes"]
    if uuid:
        memory: Any = _cuda.map_model(uuid, fd, offset + size)
        start = memory.start + offset
    else:
        start = offset % mmap.ALLOCATIONGRANULARITY
        memory = mmap.mmap(fd, start + size, mmap.MAP_PRIVATE | _NORESERVE, mmap.PROT_READ | mmap.PROT_WRITE,
                           offset=offset - start)
    hold.mapped.append(None)
    weakref.finalize(memory, hold.drop).atexit = False
    return memory, start


# -- loading


def is_path(name_or_path: PathLike) -> bool:
    """Whether it means a file or folder, and not a model's name."""
    text = os.fspath(name_or_path)
    return not isinstance(name_or_path, str) or os.sep in text or os.path.exists(text)


def load(client: "Client", path: PathLike, fields: Dict[str, Any]) -> Dict[str, Any]:
    """Loads a model and waits for it; what the daemon says of it then. Its name is the file's unless `fields` say one; if
    another file has that, the whole path."""
    path = os.path.abspath(path)
    try:
        return _load(client, path, fields)
    except errors.Conflict:
        if "name" in fields or len(os.fsencode(path)) > _NAME_MAX:
            raise
        return _load(client, path, {**fields, "name": path})


def _load(client: "Client", path: str, fields: Dict[str, Any]) -> Dict[str, Any]:
    data = {"path": path, **fields}
    try:
        answer = client.call("memory.load_model", **data)
    except (errors.Forbidden, errors.ModelNotFound):
        if not os.path.exists(path):
            raise
        answer = _load_opened(client, path, fields)
    return answer["model"] if "model" in answer else _follow(client, answer["job_id"])


def _load_opened(client: "Client", path: str, fields: Dict[str, Any]) -> Dict[str, Any]:
    """The daemon may not open it, or cannot see it: it is given what we open."""
    paths = _parts(path)
    fds: List[int] = []
    try:
        for part in paths:
            fds.append(os.open(part, os.O_RDONLY | os.O_CLOEXEC))
        data = {"name": os.path.basename(path), **fields, "files": [{"name": os.path.basename(part)} for part in paths]}
        return client.ask("memory.load_model", data, fds)
    finally:
        for fd in fds:
            os.close(fd)


def _parts(path: str) -> List[str]:
    """The files of a model: itself, the parts of a split GGUF, the shards of a folder or an index."""
    folder = path if os.path.isdir(path) else os.path.dirname(path)
    if os.path.isdir(path):
        names = sorted(name for name in os.listdir(path) if name.endswith(".safetensors"))
    elif path.endswith(".json"):
        with open(path, "rb") as file:
            names = sorted(set(json.load(file)["weight_map"].values()))
    elif split := re.fullmatch(r"(.*-)\d{5}(-of-(\d{5})\.gguf)", os.path.basename(path)):
        names = [f"{split[1]}{i + 1:05}{split[2]}" for i in range(int(split[3]))]
    else:
        names = [os.path.basename(path)]
    return [os.path.join(folder, os.path.basename(name)) for name in names]


def _follow(client: "Client", job_id: str) -> Dict[str, Any]:
    while True:
        job = client.call("memory.get_job", job_id=job_id)
        if job["status"] == "completed":
            return client.call("memory.get_model_info", model_id=job["result"]["model_id"])["model"]
        if job["status"] not in ("pending", "in_progress"):
            raise errors.of_code(job.get("error_code") or "", job.get("error_message") or f"job {job_id} {job['status']}")
        time.sleep(_LOOK)


# -- attaching


def attach(client: "Client", name: str, card: Optional[str]) -> Model:
    """In host memory, wherever else it is, or on a card; one that has left is loaded again from its files."""
    end = time.monotonic() + _PATIENCE
    while True:
        try:
            return Model(client, name, card)
        except errors.ModelBusy:
            model = client.call("memory.get_model_info", model_id=name)["model"]
            gone = ("unloaded", "failed") + (("parked",) if card else ())
            if (model["residency"] == "device" and not card) or not model["path"] or time.monotonic() > end:
                raise
            if model["state"] in gone:
                _bring_back(client, model, card or best_host(client))
            time.sleep(_LOOK)


def _bring_back(client: "Client", model: Dict[str, Any], device: Optional[str]) -> None:
    fields: Dict[str, Any] = {"device_id": device} if device else {"keep_ram_copy": True}
    try:
        client.call("memory.load_model", path=model["path"], name=model["name"], **fields)
    except errors.ModelBusy:
        pass  # somebody else is at it


def best_host(client: "Client") -> Optional[str]:
    """The host device with most memory available."""
    hosts = [device for device in client.status()["devices"] if device["memory_type"] == "RAM"]
    return max(hosts, key=lambda device: device["available_bytes"] or 0)["device_id"] if hosts else None
