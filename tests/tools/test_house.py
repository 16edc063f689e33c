"""tools/house.py: every rule can fail, and nothing else does."""

import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

SOURCE = Path(os.environ.get("MEMKEEP_SOURCE", Path(__file__).parents[2]))


class House(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name)
        rooms = "base device memory ledger model service ops http socket client daemon worker vault cli".split()
        self.write("ARCHITECTURE.md", " ".join(f"`{room}/`" for room in rooms))

    def write(self, path, text):
        path = self.root / path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def judge(self):
        tool = [sys.executable, SOURCE / "tools" / "house.py", self.root]
        done = subprocess.run(tool, capture_output=True, text=True, check=False)
        self.assertEqual(done.stderr, "")
        if done.returncode == 0:
            self.assertEqual(done.stdout, "house: ok\n")
            return []
        self.assertEqual(done.returncode, 1)
        return [":".join(line.split(":")[:3]).replace(": ", ":") for line in done.stdout.splitlines()]

    def clean(self, path, text):
        self.write(path, text)
        self.assertEqual(self.judge(), [])

    def fails(self, path, text, *wanted):
        self.write(path, text)
        self.assertEqual(self.judge(), list(wanted))

    # room

    def test_a_room_that_the_plan_does_not_name(self):
        self.write("ARCHITECTURE.md", "`base/`")
        self.fails("src/memory/x.c", "", "ARCHITECTURE.md:1:room")

    def test_a_room_without_a_floor(self):
        self.write("ARCHITECTURE.md", "`attic/`")
        self.fails("src/attic/x.c", "", "src/attic:1:room")

    def test_a_file_in_no_room(self):
        self.fails("src/x.c", "", "src/x.c:1:room")

    # include

    def includes(self, path, header):
        self.write(path, f'/* one */\n#include "{header}"\n')
        found = self.judge()
        (self.root / path).unlink()
        return found == [f"{path}:2:include"]

    def test_upwards_and_sideways(self):
        for path, header in [("base/x.c", "device/device.h"), ("memory/x.c", "ledger/l.h"),
                             ("ledger/x.c", "model/m.h"), ("http/x.c", "socket/s.h"), ("socket/x.c", "http/h.h"),
                             ("service/x.c", "ops/o.h"), ("client/x.c", "device/device.h"),
                             ("cli/x.c", "ops/o.h"), ("ops/x.c", "gen/cli_table.h"), ("worker/x.c", "service/s.h"),
                             ("daemon/x.c", "client/c.h"), ("vault/x.c", "ledger/l.h"),
                             ("base/x.c", "../device/device.h"), ("base/x.c", "elsewhere.h")]:
            with self.subTest(path=path, header=header):
                self.assertTrue(self.includes("src/" + path, header))

    def test_downwards_and_beside(self):
        for path, header in [("device/x.c", "base/b.h"), ("service/x.c", "ledger/l.h"), ("http/x.c", "ops/o.h"),
                             ("socket/x.c", "service/s.h"), ("cli/x.c", "client/c.h"), ("cli/x.c", "base/b.h"),
                             ("cli/x.c", "gen/cli_table.h"), ("worker/x.c", "device/device.h"),
                             ("daemon/x.c", "http/h.h"), ("ops/x.c", "ops/o.h"), ("device/host/x.c", "device/host/o.h"),
                             ("device/probe.c", "device/host/o.h")]:
            with self.subTest(path=path, header=header):
                self.assertFalse(self.includes("src/" + path, header))

    def test_angle_brackets_hide_nothing(self):
        self.fails("src/base/x.c", "#include <stdio.h>\n#include <ops/o.h>\n", "src/base/x.c:2:include")

    def test_a_path_through_the_parent_folder(self):
        self.write("src/ops/o.h", "")
        self.fails("src/base/x.c", '#include "../ops/o.h"\n', "src/base/x.c:1:include")

    def test_backends_know_nobody_and_nobody_knows_them(self):
        for path in ["device/fake/x.c", "device/device.c", "service/x.c"]:
            with self.subTest(path=path):
                self.assertTrue(self.includes("src/" + path, "device/host/o.h"))

    def test_an_include_in_a_comment_is_none(self):
        self.clean("src/base/x.c", '/*\n#include "ops/o.h"\n*/\n// #include "ops/o.h"\n')

    # lines

    def test_file_length(self):
        self.clean("src/base/x.c", "\n" * 500)
        self.fails("src/base/x.c", "\n" * 501, "src/base/x.c:501:lines")

    # function

    def test_function_length(self):
        self.clean("src/base/x.c", "int x_a(void) {\n" + "\n" * 58 + "}\n")
        self.fails("src/base/x.c", "\n\nint x_a(void) {\n" + "\n" * 59 + "}\n", "src/base/x.c:3:function")

    # parameters

    def test_parameters(self):
        self.clean("src/base/x.h", "int x_a(int a, int b, int c, int d, int (*e)(int, int), ...);\nint x_b(void);\n")
        for text in ["int x_a(int a, int b, int c, int d, int e, int f);\n",
                     "int x_a(int a, int b, int c, int d, int e, int f) {\n  return a;\n}\n",
                     "typedef int x_fn(int, int, int, int, int, int);\n",
                     "struct x_s { int (*call)(int, int, int, int, int, int); };\n",
                     "int x_a(int (*call)(int, int, int, int, int, int));\n"]:
            with self.subTest(text=text):
                self.fails("src/base/x.h", text, "src/base/x.h:1:parameters")

    def test_a_callback_has_the_shape_of_its_type(self):
        shape = "static int cb(int a, int b, int c, int d, int e, int f) {\n  return 0;\n}\n"
        self.clean("src/base/x.c", shape + "void x_a(void) {\n  foreign(cb);\n}\n")
        self.fails("src/base/x.c", shape + "int x_a(void) {\n  return cb(1, 2, 3, 4, 5, 6);\n}\n",
                   "src/base/x.c:1:parameters")

    # nesting

    def nested(self, statement):
        return "int x_a(int a) {\n" + statement + "\n  return 0;\n}\n"

    def test_nesting(self):
        for text in ["for (;;) {\n while (a) {\n if (a) {\n { a++; } } } }", "if (a) if (a) if (a) a++;",
                     "if (a) a++; else if (a) a++; else if (a) a++; else if (a) a++; else { if (a) { if (a) a++; } }",
                     "switch (a) { case 1: { if (a) { do a--; while (a); } break; } default: break; }",
                     "out: for (;;) { int b[] = {1, 2}; if (a) goto out; }"]:
            with self.subTest(text=text):
                self.clean("src/base/x.c", self.nested(text))

    def test_nesting_too_deep(self):
        for text in ["for (;;) { while (a) { if (a) { if (a) a++; } } }", "if (a) if (a) if (a) if (a) a++;",
                     "switch (a) { case 1: if (a) { do { if (a) a--; } while (a); } }",
                     "if (a) a++; else { if (a) { for (;;) if (a) a++; } }",
                     "EACH(a) { EACH(a) { EACH(a) { if (a) a++; } } }"]:
            with self.subTest(text=text):
                self.fails("src/base/x.c", self.nested(text), "src/base/x.c:2:nesting")

    # prefix

    def test_prefix(self):
        for path, text in [("memory/span.c", "int span_a(void) {\n  return 0;\n}\nstatic int b;\nstatic int c(void);\n"),
                           ("memory/span.h", "struct a *span_a(struct b *b);\nstruct c { int d; };\nenum e { F };\n"
                                             "typedef int fn(void);\nextern const int span_g[2];\nstruct h;\n"),
                           ("device/host/owner.c", "const struct t host_owner_a = {.x = 1};\n"),
                           ("vault/main.c", "int main(int n, char **v) {\n  return n;\n}\n")]:
            with self.subTest(path=path, text=text):
                self.clean("src/" + path, text)
                (self.root / "src" / path).unlink()

    def test_prefix_of_a_second_header(self):
        self.write("src/memory/span.c", "int span_a;\n")
        self.clean("src/memory/span_work.h", "int span_b(void);\nint span(void);\n")
        self.fails("src/memory/span_work.h", "int spans(void);\n", "src/memory/span_work.h:1:prefix")

    def test_prefix_missing(self):
        for path, text in [("memory/span.c", "int take(void) {\n  return 0;\n}\n"), ("memory/span.c", "int spans;\n"),
                           ("memory/span.h", "__attribute__((noreturn)) void die(void);\n"),
                           ("memory/span.h", "extern int (*hook)(void);\n"),
                           ("memory/span.c", "int span_a, b = 1;\n"),
                           ("device/host/owner.c", "struct t *owner_a(void) {\n  return 0;\n}\n"),
                           ("memory/main.c", "int main(void) {\n  return 0;\n}\n"),
                           ("memory/span.c", "#ifdef A\nint span_a;\n#else\nint b;\n#endif\n")]:
            with self.subTest(path=path, text=text):
                self.write("src/" + path, text)
                self.assertEqual([line.split(":")[2] for line in self.judge()], ["prefix"])
                (self.root / "src" / path).unlink()

    # outside of src/

    def test_tests_obey_all_but_the_prefix(self):
        self.clean("tests/unit/test_x.c", '#include "ops/o.h"\nint anything(void) {\n  return 0;\n}\n')
        self.fails("bench/bench_x.c", "\n" * 501, "bench/bench_x.c:501:lines")

    # the reader of C

    def test_branches_of_the_preprocessor_pair_their_braces(self):
        self.fails("src/base/x.c", "#if A\nint x_a(void) {\n#else\nint x_a(int b) {\n#endif\n#if A\n  if (1) {\n"
                                   "#elif B\n  if (2) {\n#else\n  if (3) {\n#endif\n  }\n  return 0;\n}\n"
                                   "#if 0\n}}}\n#else\nint b;\n#endif\n", "src/base/x.c:19:prefix")

    def test_strings_and_characters_hold_no_braces(self):
        self.fails("src/base/x.c", "int x_a(void) {\n  return '{' + '\\'' + \"{\\\"{\"[0];\n}\nint b;\n",
                   "src/base/x.c:4:prefix")


if __name__ == "__main__":
    unittest.main()
