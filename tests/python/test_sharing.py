"""Sixteen processes with one resident model have one copy of it, by the kernel's count of who has which page."""

import os
import unittest

import torch

import memkeep
import memkeep.torch
from client import ModelCase
from harness import MIB
from models import Tensor, write_safetensors

PROCESSES, SIZE = 16, 32 * MIB
FIGURES = ("Rss:", "Pss:", "Anonymous:")


def figures_of(pid):
    """Bytes of each of FIGURES in the process's mappings of the daemon's memory."""
    found, inside = dict.fromkeys(FIGURES, 0), False
    with open(f"/proc/{pid}/smaps") as maps:
        for words in map(str.split, maps):
            if "-" in words[0]:
                inside = any(word.startswith("/memfd:memkeep") for word in words)
            elif inside and words[0] in found:
                found[words[0]] += int(words[1]) * 1024
    return tuple(found.values())


class Sharing(ModelCase):
    def user(self, path, out, gate, hold):
        """A process of its own with the model's tensors: it touches every page, says their sum, and stays until the gate opens."""
        child = os.fork()
        if child:
            return child
        try:
            os.close(hold)  # else nobody's end would open the gate
            torch.set_num_threads(1)  # the pool of the parent's did not come along
            with memkeep.connect(self.daemon.socket_path) as client:
                weights = memkeep.torch.load(path, client=client)
            os.write(out, f"{sum(int(weight[::1024].sum()) for weight in weights.values())}\n".encode())
            os.read(gate, 1)
        finally:
            os._exit(0)

    def test_sixteen_processes_have_one_copy(self):
        weights = {f"w{i}": torch.full((SIZE // 16,), float(i + 1)) for i in range(4)}
        path = self.folder("models") / "m.safetensors"
        write_safetensors(path, [Tensor(name, "F32", [len(weight)], weight.numpy().tobytes())
                                 for name, weight in weights.items()])
        self.client.load_model(path, device_id="host:0")
        self.client.close()
        (said, out), (gate, hold) = os.pipe(), os.pipe()
        children = [self.user(path, out, gate, hold) for _ in range(PROCESSES)]
        os.close(out)
        try:
            with open(said) as lines:
                self.assertEqual([f"{10 * SIZE // 16 // 1024}\n"] * PROCESSES, [lines.readline() for _ in children])
                seen = [figures_of(child) for child in children]
        finally:
            os.close(hold)
            os.close(gate)
            for child in children:
                os.waitpid(child, 0)
        for rss, _, anonymous in seen:
            self.assertLessEqual(SIZE, rss)
            self.assertEqual(0, anonymous)
        shares = sum(pss for _, pss, _ in seen)
        print(f"{SIZE // MIB} MiB in {PROCESSES} processes: {shares / SIZE:.3f} copies")
        self.assertLess(shares, 1.04 * SIZE)
        self.assertEqual(SIZE, self.device("host:0")["allocatedBytes"] // MIB * MIB)


if __name__ == "__main__":
    unittest.main()
