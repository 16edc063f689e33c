"""libmemkeep as others link it: nothing but the public header's functions can be seen, and a program that has
names of its own like ours links the static one."""

import os
import re
import subprocess
import tempfile
import unittest
from pathlib import Path

SOURCE = Path(os.environ.get("MEMKEEP_SOURCE", Path(__file__).parents[2]))
BIN = Path(os.environ.get("MEMKEEP_BIN", SOURCE / "build/bin"))
LIB = BIN.parent / "lib"
HEADER = (SOURCE / "include/memkeep/memkeep.h").read_text()
PUBLIC = set(re.findall(r"^MK_API [^;(]*?\b(mk_\w+)\(", HEADER, re.M))

CLASH = r"""
#include <memkeep/memkeep.h>
int line_send(void); int buf_add(void); int client_call(void);
int line_send(void) { return 1; }
int buf_add(void) { return 1; }
int client_call(void) { return 1; }
int main(void) {
  mk_client *client = 0;
  const struct mk_options options = {.socket = "/nowhere/memkeep.sock"};
  return mk_connect(&options, &client) == MK_DAEMON_NOT_FOUND && line_send() ? 0 : 1;
}
"""


def run(*words):
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


def sanitized():
    return "__asan" in run("nm", LIB / "libmemkeep.a") or "__tsan" in run("nm", LIB / "libmemkeep.a")


class Library(unittest.TestCase):
    def test_the_shared_library_shows_the_header_and_no_more(self):
        shown = re.findall(r"^\w+ T (\w+)@@MEMKEEP_0\.1$", run("nm", "-D", "--defined-only", LIB / "libmemkeep.so"), re.M)
        self.assertGreater(len(PUBLIC), 15)
        self.assertEqual(set(shown), PUBLIC)
        everything = re.findall(r"^\w+ [A-Z] (\w+)", run("nm", "-D", "--defined-only", LIB / "libmemkeep.so"), re.M)
        self.assertEqual(set(everything) - {"MEMKEEP_0"}, PUBLIC)

    def test_the_static_library_shows_the_header_and_no_more(self):
        shown = re.findall(r"^\w+ [A-TV-Z] (\w+)$", run("nm", "-g", "--defined-only", LIB / "libmemkeep.a"), re.M)
        self.assertEqual(set(shown), PUBLIC)

    def test_its_name_carries_the_version_of_the_interface(self):
        self.assertRegex(run("objdump", "-p", LIB / "libmemkeep.so"), r"SONAME +libmemkeep\.so\.0\n")

    def test_names_of_a_program_do_not_clash(self):
        if sanitized():
            self.skipTest("a sanitizer's build links its runtime only with its flags")
        with tempfile.TemporaryDirectory() as folder:
            source, program = Path(folder, "clash.c"), Path(folder, "clash")
            source.write_text(CLASH)
            for library in ([LIB / "libmemkeep.a", "-ljansson"], [f"-L{LIB}", "-lmemkeep", f"-Wl,-rpath,{LIB}"]):
                run("cc", "-Wall", "-Werror", f"-I{SOURCE}/include", source, "-o", program, *library)
                run(program)

    def test_the_example_compiles_without_a_warning(self):
        run("cc", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", f"-I{SOURCE}/include", SOURCE / "examples/share.c")

    def test_the_header_is_one_for_cplusplus_too(self):
        run("clang", "-x", "c++", "-fsyntax-only", "-Wall", "-Werror", SOURCE / "include/memkeep/memkeep.h")


if __name__ == "__main__":
    unittest.main()
