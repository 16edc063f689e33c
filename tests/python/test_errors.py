"""Each code of libmemkeep is a class of memkeep's, and what goes wrong is raised as that."""

import re
import unittest

import memkeep
from client import ClientCase, run_python
from harness import GIB, SOURCE
from memkeep import _library, errors

HEADER = (SOURCE / "include/memkeep/memkeep.h").read_text()


def class_name(code):
    return "".join(word.capitalize() for word in code.split("_"))


class Table(unittest.TestCase):
    def test_it_is_the_headers(self):
        text = re.search(r"enum mk_code {(.*?)};", HEADER, re.S)[1]
        codes = {int(number): code for code, number in re.findall(r"^  MK_([A-Z_]+) = (\d+),", text, re.M)}
        self.assertEqual("OK", codes.pop(0))
        self.assertEqual(codes, {number: kind.code for number, kind in errors.BY_NUMBER.items()})
        for code in codes.values():
            self.assertEqual(code, getattr(memkeep, class_name(code)).code)
            self.assertIn(class_name(code), memkeep.__all__)

    def test_so_are_flags_and_structures(self):
        for name in ("PERSISTENT", "PINNED", "ZERO", "COMMIT", "EVICT", "READ_ONLY"):
            self.assertEqual(int(re.search(rf"MK_{name} = (\d+)", HEADER)[1]), getattr(_library, name))
        for name, structure in (("mk_options", _library.Options), ("mk_request", _library.Request)):
            text = re.search(rf"struct {name} {{\n(.*?)^}};", HEADER, re.S | re.M)[1]
            members = re.findall(r"^  (?:const char|uint\d\d_t) \*?(\w+)(?:\[\d\])?;", text, re.M)
            self.assertEqual(members, [name for name, *_ in structure._fields_])

    def test_words_that_libmemkeep_counts_as_one(self):
        self.assertIsInstance(errors.of_code("UNKNOWN_FIELD", ""), memkeep.InvalidArgument)
        self.assertIsInstance(errors.of_code("MODEL_BUSY", ""), memkeep.ModelBusy)

    def test_codes_to_come(self):
        self.assertIsInstance(errors.of_number(99, "new"), memkeep.InternalError)
        self.assertEqual("BRAND_NEW: text", str(errors.of_code("BRAND_NEW", "text")))


class Raised(ClientCase):
    def test_by_what_they_are(self):
        for kind, also, act in (
                (memkeep.AllocationNotFound, LookupError, lambda: self.client.attach("a-1")),
                (memkeep.DeviceNotFound, LookupError, lambda: self.take(1, "host:7")),
                (memkeep.AllocationTooLarge, MemoryError, lambda: self.take(1 << 50)),
                (memkeep.InvalidArgument, ValueError, lambda: self.take(0)),
                (memkeep.InvalidArgument, ValueError, lambda: self.take(1, purpose="fun")),
                (memkeep.InvalidArgument, ValueError, lambda: self.take(1, colour="red")),
                (memkeep.InvalidArgument, ValueError, lambda: self.take(-1)),
                (memkeep.InvalidArgument, ValueError, lambda: self.take(1 << 63)),
                (memkeep.InvalidArgument, ValueError, lambda: self.client.call("memory.allocate", size_bytes=1)),
                (memkeep.NotFound, LookupError, lambda: self.client.call("memory.dance")),
                (memkeep.InvalidArgument, ValueError, lambda: self.client.call("memory.get_usage", colour="red"))):
            with self.assertRaises(kind) as caught:
                act()
            self.assertIsInstance(caught.exception, also)
            self.assertIsInstance(caught.exception, memkeep.MemkeepError)
            self.assertTrue(str(caught.exception))

    def test_a_size_is_a_whole_number(self):
        for size in ("8", 8.0, None):
            self.assertRaises(TypeError, self.take, size)

    def test_no_room(self):
        with self.take(int(1.5 * GIB)):
            with self.assertRaises(memkeep.InsufficientMemory):
                self.take(1 * GIB)

    def test_no_daemon(self):
        with self.assertRaises(memkeep.DaemonNotFound) as caught:
            memkeep.connect(str(self.daemon.folder / "nobody.sock"))
        self.assertIsInstance(caught.exception, ConnectionError)

    def test_no_library(self):
        self.assertIn("MEMKEEP_LIB may name it", run_python("""
import os, memkeep
os.environ["MEMKEEP_LIB"] = "/nowhere"
try:
    memkeep.connect()
except ImportError as problem:
    print(problem)
"""))

    def test_status_and_calls(self):
        self.assertEqual("host:1", self.client.status("host:1")["device_id"])
        self.assertEqual(2, self.client.status()["device_count"])
        self.assertIn("devices", self.client.call("memory.get_usage", window="5m"))


if __name__ == "__main__":
    unittest.main()
