#!/usr/bin/env python3
"""A program with models of its own that gives them up when memory is short, and reads them anew when it needs them.

    python3 examples/yield_memory.py MODEL…        then: memkeep workers, memkeep clear --scope all
                                                   each line on stdin uses the model of that name

Needs the package memkeep (docs/python.md) and a daemon. Here weights are bytes in this process; what is on a card goes the
same way, with `unload` telling the framework to let go of it."""
import functools
import sys
from pathlib import Path

from memkeep.worker import Held, Worker


class Models(Worker):
    def __init__(self, paths):
        super().__init__("yield")
        self.paths = {Path(path).name: Path(path) for path in paths}

    def unload(self, held):
        print(f"{held.model_id} goes: {held.size} bytes", flush=True)

    def read(self, name):
        weights = self.paths[name].read_bytes()
        return Held(name, len(weights), weights)


def main():
    models = Models(sys.argv[1:])
    models.start()
    for line in sys.stdin:
        name = line.strip()
        if name in models.paths:
            with models.using(name, functools.partial(models.read, name)) as weights:  # while it is used it does not go
                print(f"{name} is here: {len(weights)} bytes", flush=True)
    models.stop()


if __name__ == "__main__":
    main()
