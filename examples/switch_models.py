#!/usr/bin/env python3
"""Three models by turns where not all of them fit: each is parked for the next, and comes back the same.

    python3 examples/switch_models.py                      in host memory; to see them go, give the daemon less than it takes:
                                                           memkeepd --device host:0=160MiB
    python3 examples/switch_models.py --device cuda:0      on a card: parked in host memory, resumed from there

Needs the package memkeep (docs/python.md), PyTorch and a daemon. It writes its models itself, of --mib MiB each."""
import argparse
import json
import struct
import tempfile
import time
from pathlib import Path

import torch

import memkeep
import memkeep.torch

WIDTH = 1024


def make_net(layers, device):
    """On "meta" it has shapes and no memory."""
    parts = [torch.nn.Sequential(torch.nn.Linear(WIDTH, WIDTH, bias=False, device=device), torch.nn.Tanh())
             for _ in range(layers)]
    return torch.nn.Sequential(*parts).eval()


def write_safetensors(path, weights):
    header, at = {}, 0
    for name, weight in weights.items():
        header[name] = {"dtype": "F32", "shape": list(weight.shape), "data_offsets": [at, at + weight.numel() * 4]}
        at += weight.numel() * 4
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for weight in weights.values():
            file.write(weight.contiguous().numpy())
    return path


def write_models(folder, layers):
    for seed, name in enumerate("ABC"):
        torch.manual_seed(seed)
        write_safetensors(folder / f"{name}.safetensors", make_net(layers, "cpu").state_dict())
    return sorted(folder.glob("*.safetensors"))


def where_is(client, path):
    """Its residency; None: not loaded yet."""
    try:
        return client.call("memory.get_model_info", model_id=path.name)["model"]["residency"]
    except memkeep.ModelNotFound:
        return None


def park(client, path):
    try:
        client.call("memory.unload_model", model_id=path.name, to="ram")
    except memkeep.ModelNotFound:
        pass  # nobody was here before the first


def run(client, path, layers, device):
    """A forward pass with the weights where the daemon has them; nothing of it stays in this process."""
    net = make_net(layers, "meta")
    memkeep.torch.load_into(net, path, device, client=client)
    x = torch.linspace(-1, 1, WIDTH)
    with torch.no_grad():
        return net(x if device.startswith("host:") else x.to(device)).cpu()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="host:0")
    parser.add_argument("--mib", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    words = parser.parse_args()
    layers, outputs, before = max(1, words.mib * (1 << 20) // (WIDTH * WIDTH * 4)), {}, None
    with tempfile.TemporaryDirectory() as folder, memkeep.connect() as client:
        paths = write_models(Path(folder), layers)
        print("round  model  was     ms until its output   output")
        for i in range(words.rounds):
            for path in paths:
                was, began = where_is(client, path), time.monotonic()
                if before and not words.device.startswith("host:"):
                    park(client, before)
                output, before = run(client, path, layers, words.device), path
                same = "new" if path not in outputs else "same" if torch.equal(outputs[path], output) else "DIFFERENT"
                outputs.setdefault(path, output)
                print(f"{i + 1:5}  {path.stem:5}  {was or 'file':6}  {(time.monotonic() - began) * 1000:18.1f}   {same}",
                      flush=True)
                if same == "DIFFERENT":
                    raise SystemExit(1)
        for path in paths:
            client.call("memory.unload_model", model_id=path.name, to="disk")


if __name__ == "__main__":
    main()
