"""Models as PyTorch's tensors, over the daemon's memory: loading one that is resident costs no copy and no read.

    import memkeep.torch

    weights = memkeep.torch.load("llama")                # by name, or load("llama.safetensors")
    memkeep.torch.load_into(module, "llama")

The weights are shared by all processes that load them, so write to none of them; who does gets pages of his own, and
harms nobody. Each tensor keeps the model attached.

use() gives PyTorch an allocator whose memory on cards is the daemon's; see torch_allocator.

A dtype that this torch has no name for (fp8 before 2.1, blocks of GGUF) comes as its bytes: uint8, whose last dimension
counts bytes."""

from __future__ import annotations

from typing import Any, Dict, List, NamedTuple, Optional, Tuple

import torch
import torch.utils.dlpack

from . import _cuda
from . import client as clients
from .models import Model, PathLike, Tensor
from .torch_allocator import Figures, empty_cache, figures, use

__all__ = ["Figures", "Keys", "empty_cache", "figures", "load", "load_into", "use"]

_NAMES = {"BOOL": "bool", "U8": "uint8", "I8": "int8", "F8_E5M2": "float8_e5m2", "F8_E4M3": "float8_e4m3fn",
          "F8_E8M0": "float8_e8m0fnu", "F8_E4M3FNUZ": "float8_e4m3fnuz", "F8_E5M2FNUZ": "float8_e5m2fnuz",
          "I16": "int16", "U16": "uint16", "F16": "float16", "BF16": "bfloat16", "I32": "int32", "U32": "uint32",
          "F32": "float32", "C64": "complex64", "F64": "float64", "I64": "int64", "U64": "uint64"}
_DTYPES: Dict[str, Any] = {word: getattr(torch, name) for word, name in _NAMES.items() if hasattr(torch, name)}


def load(name_or_path: PathLike, device: Any = None, *, client: Optional[clients.Client] = None) -> Dict[str, torch.Tensor]:
    """A model's tensors by name, in place. `device`: a torch device, or the daemon's word ("host:1", "cuda:0"); None is host
    memory. A path is loaded by the daemon if it is not there. Without a client the daemon is looked for as by
    memkeep.connect()."""
    with_client = client or clients.connect()
    try:
        model = with_client.open_model(name_or_path, device=_device(with_client, device))
    finally:
        if client is None:
            with_client.close()
    return {name: _lay(model, tensor) for name, tensor in model.tensors.items()}


class Keys(NamedTuple):
    """What torch's load_state_dict answers."""
    missing_keys: List[str]
    unexpected_keys: List[str]


def load_into(module: torch.nn.Module, name_or_path: PathLike, device: Any = None, *, strict: bool = True,
              client: Optional[clients.Client] = None) -> Keys:
    """Makes a model's tensors the parameters and buffers of a module, without a copy: their dtype becomes the file's. A
    parameter that stood in several places stands there again; make optimizers afterwards. RuntimeError, and the module is
    as it was, if a shape differs, or with `strict` a key is missing or unexpected."""
    weights = load(name_or_path, device, client=client)
    places = list(_places(module))
    found = {id(held): weights[key] for key, _, _, held in places if key in weights}
    missing = [key for key, _, _, held in places if id(held) not in found]
    unexpected = sorted(set(weights) - {key for key, *_ in places})
    problems = [f"size mismatch for {key}: {tuple(held.shape)} here, {tuple(weights[key].shape)} in the model"
                for key, _, _, held in places if key in weights and weights[key].shape != held.shape]
    if strict:
        problems += [f"missing keys: {', '.join(missing)}"] * bool(missing)
        problems += [f"unexpected keys: {', '.join(unexpected)}"] * bool(unexpected)
    if problems:
        raise RuntimeError(f"{name_or_path} does not fit into {type(module).__name__}: " + "; ".join(problems))
    new = {same: _dress(held, found[same]) for same, held in {id(held): held for *_, held in places}.items() if same in found}
    for _, table, name, held in places:
        if id(held) in new:
            table[name] = new[id(held)]
    return Keys(missing, unexpected)


def _places(module: torch.nn.Module) -> Any:
    """(key, table, name, tensor) of all that state_dict() would list."""
    for prefix, part in module.named_modules():
        for table, transient in ((part._parameters, set()), (part._buffers, part._non_persistent_buffers_set)):
            for name, held in table.items():
                if held is not None and name not in transient:
                    yield f"{prefix}.{name}" if prefix else name, table, name, held


def _dress(held: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    if not isinstance(held, torch.nn.Parameter):
        return weight
    floats = weight.is_floating_point() or weight.is_complex()
    return torch.nn.Parameter(weight, requires_grad=held.requires_grad and floats)


def _device(client: clients.Client, device: Any) -> Optional[str]:
    """The daemon's word for it; None: the best host device. Cards are told apart by their UUIDs, for the daemon and a process
    may count them differently."""
    if device is None or str(device).startswith("host:"):
        return None if device is None else str(device)
    said = torch.device(device)
    if said.type not in ("cpu", "cuda"):
        raise ValueError(f"no memory of Memkeep's is on {said}")
    return _cuda.device_of(client, said.index or 0) if said.type == "cuda" else None


def _lay(model: Model, tensor: Tensor) -> torch.Tensor:
    """The tensor, in place unless its bytes lie where its dtype may not."""
    dtype = _DTYPES.get(tensor.dtype)
    shape = tensor.shape if dtype else _shape_of_bytes(tensor)
    memory, at = model.place(tensor)
    card = isinstance(memory, _cuda.Segment)
    if not tensor.size:
        return torch.empty(shape, dtype=dtype or torch.uint8, device=f"cuda:{memory.number}" if card else "cpu")
    if card:
        flat = torch.utils.dlpack.from_dlpack(model.dlpack(tensor.name))
    else:
        flat = torch.frombuffer(memory, dtype=torch.uint8, count=tensor.size, offset=at)
    if dtype and at % _width(dtype):
        flat = flat.clone()
    return (flat.view(dtype) if dtype else flat).reshape(shape)


def _width(dtype: Any) -> int:
    return torch.empty((), dtype=dtype).element_size()


def _shape_of_bytes(tensor: Tensor) -> Tuple[int, ...]:
    """Rows stay rows where each is whole bytes and whole blocks."""
    rows = 1
    for dimension in tensor.shape[:-1]:
        rows *= dimension
    if not tensor.shape or not rows or tensor.size % rows:
        return (tensor.size,)
    return (*tensor.shape[:-1], tensor.size // rows)
