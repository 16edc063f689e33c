#!/usr/bin/env python3
"""Records what PyTorch allocates and frees, as traces for bench_torch and bench/torch_card.py.

    bench/record_torch.py [--device cpu|cuda] [--folder FOLDER] [NAME…]

Its profiler says every tensor's memory as it comes and goes. Without a card that is memory of the host, whose sizes are
the same: what a tensor has does not depend on where it lies; only workspaces of a card's own libraries are missing.

train: steps of a small transformer (four layers, 384 wide) with AdamW, whose batches have different lengths.
serve: requests to a transformer (six layers), two at a time, whose keys and values grow by a token a step.

A trace is a line on what it is, then a line for each event: N is an allocation of N bytes, -K frees the K-th last one.
What is alive at the beginning comes first.
"""

import argparse
import random
from pathlib import Path

import torch
from torch.nn import functional

FOLDER = Path(__file__).resolve().parent / "traces/torch"
WIDTH, HEADS, WORDS = 384, 6, 8192


class Layer(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.norms = torch.nn.ModuleList(torch.nn.LayerNorm(WIDTH) for _ in range(2))
        self.all, self.out = torch.nn.Linear(WIDTH, 3 * WIDTH), torch.nn.Linear(WIDTH, WIDTH)
        self.wide, self.back = torch.nn.Linear(WIDTH, 4 * WIDTH), torch.nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x, past=None):
        batch, length, _ = x.shape
        query, key, value = (part.view(batch, length, HEADS, -1).transpose(1, 2)
                             for part in self.all(self.norms[0](x)).chunk(3, -1))
        if past is not None:
            key, value = torch.cat([past[0], key], 2), torch.cat([past[1], value], 2)
        scores = query @ key.transpose(-1, -2) / (WIDTH // HEADS) ** 0.5
        hidden = torch.ones(length, key.shape[2], dtype=torch.bool, device=x.device).triu(key.shape[2] - length + 1)
        found = torch.softmax(scores.masked_fill(hidden, float("-inf")), -1) @ value
        x = x + self.out(found.transpose(1, 2).reshape(batch, length, WIDTH))
        return x + self.back(functional.gelu(self.wide(self.norms[1](x)))), (key, value)


class Transformer(torch.nn.Module):
    def __init__(self, layers):
        super().__init__()
        self.words, self.head = torch.nn.Embedding(WORDS, WIDTH), torch.nn.Linear(WIDTH, WORDS, bias=False)
        self.layers = torch.nn.ModuleList(Layer() for _ in range(layers))

    def forward(self, tokens, past=None):
        x, kept = self.words(tokens), []
        for i, layer in enumerate(self.layers):
            x, pair = layer(x, past[i] if past else None)
            kept.append(pair)
        return self.head(x), kept


def train(device):
    """Steps; each is one call of the generator."""
    model = Transformer(4).to(device)
    adam = torch.optim.AdamW(model.parameters(), lr=1e-4)
    for length in (160, 96, 256, 128, 192):
        tokens = torch.randint(WORDS, (4, length + 1), device=device)
        logits, _ = model(tokens[:, :-1])
        functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten()).backward()
        del logits
        adam.step()
        adam.zero_grad(set_to_none=True)
        yield


def serve(device):
    model, chance, running = Transformer(6).to(device).eval(), random.Random(3), []
    waiting = [(chance.randrange(64, 512), chance.randrange(4, 10)) for _ in range(6)]
    with torch.no_grad():
        while waiting or running:
            while waiting and len(running) < 2:
                length, more = waiting.pop()
                running.append([torch.randint(WORDS, (2, length), device=device), None, more])
            for request in running:
                logits, request[1] = model(request[0], request[1])
                request[0] = logits[:, -1:].argmax(-1)
                request[2] -= 1
            running = [request for request in running if request[2]]
            yield


def walk(nodes):
    for node in nodes:
        yield node
        yield from walk(node.children)


def record(work, device):
    """[(address, bytes)] in order; below 0: freed."""
    activities = [torch.profiler.ProfilerActivity.CPU]
    if device == "cuda":
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=activities, profile_memory=True) as profiler:
        for _ in work(device):
            pass
    tree = profiler.profiler.kineto_results.experimental_event_tree()
    found = [(node.start_time_ns, i, node.extra_fields) for i, node in enumerate(walk(tree)) if node.name == "[memory]"]
    return [(fields.ptr, fields.alloc_size) for _, _, fields in sorted(found, key=lambda event: event[:2])
            if fields.device.type == device]


def lines(events):
    """The trace; frees of what was not seen to come are left out."""
    number, alive = 0, {}
    for address, size in events:
        if size > 0:
            number += 1
            alive[address] = number
            yield str(size)
        elif address in alive:
            yield str(alive.pop(address) - number - 1)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", default=["train", "serve"])
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--folder", type=Path, default=FOLDER)
    words = parser.parse_args()
    for name in words.names:
        torch.manual_seed(1)
        text = list(lines(record({"train": train, "serve": serve}[name], words.device)))
        title = f"# {name}: bench/record_torch.py --device {words.device} {name}, torch {torch.__version__}, {len(text)} events"
        (words.folder / f"{name}.txt").write_text("\n".join([title, *text]) + "\n")
        print(title)


if __name__ == "__main__":
    main()
