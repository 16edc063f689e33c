#!/usr/bin/env python3
"""One model, four processes, one copy: each opens it by its path, whoever is first loads it, and all read the same memory.

    python3 examples/share_model.py MODEL          a safetensors or GGUF file, or a folder of shards

Needs the package memkeep (docs/python.md) and a daemon. With PyTorch, memkeep.torch.load takes open_model's place."""
import multiprocessing
import os
import sys
import time

import memkeep

PROCESSES = 4


def share_of(model):
    """Bytes of the model's memory that the kernel puts down to this process: a page in four has a quarter in each."""
    found, inside = 0, False
    with open("/proc/self/smaps") as maps:
        for line in maps:
            words = line.split()
            if "-" in words[0]:
                inside = "/memfd:memkeep" in line
            elif inside and words[0] == "Pss:":
                found += int(words[1]) * 1024
    return found / model.size


def use(path, all_have_it):
    began = time.monotonic()
    try:
        with memkeep.connect() as client:
            model = client.open_model(path)
    except memkeep.MemkeepError as problem:
        sys.exit(f"process {os.getpid()}: {problem}")
    ready = time.monotonic() - began
    for i in range(len(model.files)):
        sum(model.file(i)[::4096])  # touches each page, as an inference would
    all_have_it.wait(60)  # not longer, for one of them may have failed
    share = share_of(model)
    all_have_it.wait()  # nobody leaves before all have looked
    sys.stdout.write(f"process {os.getpid()}: {len(model.tensors)} tensors after {ready * 1000:.1f} ms, "
                     f"{100 * share:.0f} % of the model's memory is its share\n")  # one write: four processes have one stdout
    sys.stdout.flush()


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    context = multiprocessing.get_context("spawn")  # a client does not outlive a fork
    all_have_it = context.Barrier(PROCESSES)
    started = [context.Process(target=use, args=(sys.argv[1], all_have_it)) for _ in range(PROCESSES)]
    for process in started:
        process.start()
    for process in started:
        process.join()
    sys.exit(max(abs(process.exitcode) for process in started))


if __name__ == "__main__":
    main()
