"""Figures of bench/run.py: the copy engine on two of Mesa's software devices, beside one core's memcpy in the same rounds. They say what
the engine adds to a driver that copies with a core; a card's link is measured by bench/vulkan_card.py."""

import os
import re
import statistics
import subprocess

RUNS = 3


def figures(program, folder):
    """(name, value, unit, floor, beside): ratios are medians over the runs, each of which is a median of rounds."""
    environment = os.environ | {"VK_ICD_FILENAMES": ":".join(str(folder / f"card{i}.json") for i in range(2))}
    found = []
    for _ in range(RUNS):
        output = subprocess.run([program, "vulkan"], check=True, capture_output=True, text=True, env=environment).stdout
        found.append({key: float(value) for key, value in re.findall(r"^link\.(\w+)=(\S+)$", output, re.M)})
    middle = {key: statistics.median(one[key] for one in found) for key in found[0]}
    for key, what in (("in", "host memory to a device"), ("out", "and back")):
        yield f"{what} / memcpy", middle[f"{key}_memcpy"], "", (">=", 0.85), f"{middle[key]:.2f} GB/s of {middle['memcpy']:.2f}"
    yield "device to device / both, one after the other", middle["across_sum"], "", (">=", 0.8), f"{middle['across']:.2f} GB/s"
