"""A thousand times onto a real card and off again, by the driver's own figure; without a card nothing is tried.
scripts/gpu-bundle carries it to one."""

import unittest

from client import ClientWords
from harness import MIB, wait_until
from models import ModelWords, Tensor, write_safetensors
from test_cards import CardDaemon, torch_with_a_card

SIZE = 16 * MIB
torch = torch_with_a_card()
if torch:
    import memkeep.torch
    from test_cycles import CycleWords
else:
    class CycleWords:  # object itself cannot stand before the others
        pass


@unittest.skipUnless(torch, "no torch that sees a card")
class Cycles(CycleWords, ClientWords, ModelWords, CardDaemon):
    def setUp(self):
        super().setUp()
        torch.zeros(1, device="cuda")  # the context is there from now on
        self.weight = torch.arange(SIZE // 4, dtype=torch.float32)
        self.path = self.folder("models") / "m.safetensors"
        write_safetensors(self.path, [Tensor("w", "F32", [len(self.weight)], self.weight.numpy().tobytes())])
        self.look_at_all()

    def run_on_card(self, cycle):
        cycle()
        used = self.device("cuda:0")["usedBytes"]
        self.run_cycles(cycle, jobs=2)
        wait_until(lambda: self.device("cuda:0")["usedBytes"] <= used, f"the card to have no more in use than {used}", 10)

    def test_models(self):
        self.run_on_card(lambda: self.load_and_unload("cuda:0"))

    def test_tensors(self):
        def cycle():
            weights = memkeep.torch.load(self.path, "cuda:0", client=self.client)
            assert float(weights["w"][-1]) == len(self.weight) - 1
            del weights
            self.client.call("memory.unload_model", model_id=self.path.name, to="disk")
        self.run_on_card(cycle)


if __name__ == "__main__":
    unittest.main()
