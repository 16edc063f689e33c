"""A worker made of memkeep.worker with what examples/worker.py has, which can also load and be slow."""

import time

from harness import MIB
from memkeep import ModelFormatInvalid
from memkeep.worker import Call, Held, Worker, action


class Sample(Worker):
    def __init__(self, **more):
        super().__init__("example", **more)
        self.cache = bytearray(4 * MIB)
        for name, size in (("small", 8 * MIB), ("large", 32 * MIB)):
            self.manager.add(Held(name, size, bytearray(size)))

    def cache_bytes(self, _):
        return len(self.cache)

    def drop_caches(self, _):
        self.cache = bytearray()


class Loading(Sample):
    """More than examples/worker.py can."""

    def load(self, call: Call, model_id, data):
        if data.get("path") == "broken":
            raise ModelFormatInvalid("it is broken")
        call.progress(0, MIB)
        print("what is printed does not get onto the wire")
        return Held(model_id, MIB, bytearray(MIB))

    @action("memory.linger", slow=True)
    def linger(self, call):
        """Until it is cancelled."""
        while not call.cancelled.is_set():
            call.progress(1, 2)
            time.sleep(0.005)
        call.progress(2)

    @action("memory.fail")
    def fail(self, _):
        raise OSError("nothing works")


if __name__ == "__main__":
    Sample(limit=64 * MIB).run()
