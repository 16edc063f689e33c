"""tools/gen: docs/api.md is what the table of operations says, and the CLI's table is fit to be included."""

import os
import re
import subprocess
import tempfile
import unittest
from pathlib import Path

SOURCE = Path(os.environ.get("MEMKEEP_SOURCE", Path(__file__).parents[2]))
BIN = Path(os.environ.get("MEMKEEP_BIN", SOURCE / "build/bin"))
GEN = BIN.parent / "gen/gen"

CLI = r"""
#include <stdbool.h>
#include <stddef.h>
struct cli_field { const char *name, *type; bool required; const char *otherwise, *doc; };
struct cli_operation { const char *action, *summary; const struct cli_field *fields; size_t field_count; };
#include "cli_table.h"
int main(void) { return cli_operations[0].action == NULL; }
"""


def gen(*words):
    return subprocess.run([GEN, *words], capture_output=True, text=True, check=False)


class Docs(unittest.TestCase):
    def test_api_md_is_current(self):
        current = gen("docs").stdout
        self.assertEqual((SOURCE / "docs/api.md").read_text(), current, f"run {GEN} docs > docs/api.md")

    def test_every_table_is_whole(self):
        for line in gen("docs").stdout.splitlines():
            if line.startswith("|"):
                self.assertEqual(7, len(re.findall(r"(?<!\\)\|", line)), line)

    def test_other_words_are_a_usage_error(self):
        for words in ((), ("dance",), ("docs", "more")):
            done = gen(*words)
            self.assertEqual((2, ""), (done.returncode, done.stdout))
            self.assertIn("usage", done.stderr)


class CliTable(unittest.TestCase):
    def setUp(self):
        self.text = gen("cli").stdout

    def test_it_compiles_without_a_warning(self):
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "cli_table.h").write_text(self.text)
            Path(folder, "main.c").write_text(CLI)
            done = subprocess.run(["cc", "-std=c11", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", f"{folder}/main.c"],
                                  capture_output=True, text=True, check=False)
        self.assertEqual((0, ""), (done.returncode, done.stderr))

    def test_each_action_stands_there_once_with_its_device(self):
        actions = re.findall(r'^    \{"((?:memory\.\w+|ping))", "', self.text.split("cli_operations")[1], re.M)
        self.assertEqual(sorted(set(actions)), sorted(actions))
        self.assertLessEqual({"memory.get_status", "memory.allocate", "memory.shutdown"}, set(actions))
        number = re.search(r'"memory\.get_status", [^,]*, cli_fields_(\d+)', self.text)[1]
        fields = self.text.split(f"cli_fields_{number}[]")[1].split("};")[0]
        self.assertIn('"device_id"', fields)

    def test_names_are_in_snake_case(self):
        for name in re.findall(r'^    \{"([^"]*)", "(?:uint|int|bool|text|word|id|number|json)"', self.text, re.M):
            self.assertRegex(name, "^[a-z0-9_]+$")


if __name__ == "__main__":
    unittest.main()
