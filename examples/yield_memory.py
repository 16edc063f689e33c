#!/usr/bin/env python3
"""A program with models of its own that gives them up when memory is short, and has them again when it needs them.

    python3 examples/yield_memory.py MODEL…                    bytes in this process, read anew each time
    python3 examples/yield_memory.py --device cuda:0 MODEL…    PyTorch's tensors on a card, as an image or language model has
                                                               them: what goes is the card's again, and comes back from RAM

    then: memkeep workers, memkeep clear --scope all; each line on stdin uses the model of that name

Needs the package memkeep (docs/python.md) and a daemon; with --device PyTorch too."""
import argparse
import sys
from pathlib import Path

from memkeep.worker import Held, Worker


class Models(Worker):
    def unload(self, held):
        print(f"{held.model_id} goes: {held.size} bytes", flush=True)

    def use(self, path):
        def read():
            weights = path.read_bytes()
            return Held(path.name, len(weights), weights)

        with self.using(path.name, read) as weights:  # while it is used it does not go
            return f"{len(weights)} bytes"


def tensors_on(device):
    from memkeep.worker.torch import TorchWorker

    class Tensors(TorchWorker):
        def __init__(self):
            super().__init__("yield", device)

        def park(self, call, held, force=False):
            size = held.size
            super().park(call, held, force)
            print(f"{Path(held.model_id).name} goes: {size} bytes", flush=True)

        def use(self, path):
            with self.using(str(path)) as weights:  # here a pipeline would run; nothing refers to them afterwards
                return f"{len(weights)} tensors on {next(iter(weights.values())).device}"

    return Tensors()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device")
    parser.add_argument("models", nargs="+", type=Path, metavar="MODEL")
    words = parser.parse_args()
    worker = tensors_on(words.device) if words.device else Models("yield")
    paths = {path.name: path for path in words.models}
    worker.start()
    for line in sys.stdin:
        path = paths.get(line.strip())
        print(f"{path.name} is here: {worker.use(path)}" if path else f"one of: {', '.join(paths)}", flush=True)
    worker.stop()


if __name__ == "__main__":
    main()
