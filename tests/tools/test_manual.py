"""Completion and manual pages: they are well formed, and know every verb and every flag that --help knows."""

import os
import re
import shutil
import subprocess
import unittest
from pathlib import Path

SOURCE = Path(os.environ.get("MEMKEEP_SOURCE", Path(__file__).parents[2]))
BIN = Path(os.environ.get("MEMKEEP_BIN", SOURCE / "build/bin"))
COMPLETION, FISH, PAGE = (BIN.parent / "gen" / f"memkeep.{kind}" for kind in ("bash", "fish", "1"))
PAGES = [PAGE, *sorted((SOURCE / "packaging").glob("*.8"))]
GLOBALS = {"--socket", "--url", "--token-file", "--json", "--timeout", "--help", "--version"}


def run(*words, **more):
    return subprocess.run(words, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, **more)


def help_of(*words):
    return run(BIN / "memkeep", *words, "--help").stdout


def flags_in(text):
    return set(re.findall(r"^ +(--[a-z-]+)", text, re.M))


VERBS = re.findall(r"^  ([a-z]+(?: [a-z-]+)?)  ", help_of(), re.M)


class Completion(unittest.TestCase):
    def complete(self, *words):
        """What bash offers for the last word."""
        done = run("bash", "--norc", "-uc",
                   f'. "{COMPLETION}"; COMP_WORDS=(memkeep "$@"); COMP_CWORD=$#; _memkeep; '
                   'printf "%s\\n" ${COMPREPLY[@]+"${COMPREPLY[@]}"}', "bash", *words)
        self.assertEqual((0, ""), (done.returncode, done.stderr))
        return done.stdout.split()

    def test_it_can_be_sourced(self):
        done = run("bash", "--norc", "-euc", f'. "{COMPLETION}"; complete -p memkeep')
        self.assertEqual((0, "complete -F _memkeep memkeep\n", ""), (done.returncode, done.stdout, done.stderr))

    def test_verbs(self):
        self.assertIn("status", VERBS)
        self.assertEqual(sorted({verb.split()[0] for verb in VERBS}), sorted(self.complete("")))
        self.assertEqual(["defrag", "devices"], sorted(self.complete("de")))
        self.assertEqual(["status"], self.complete("--socket", "ps", "--url", "http", ":", "//x:1", "sta"))

    def test_the_flags_of_each_verb(self):
        for verb in set(VERBS) - {"exec"}:
            with self.subTest(verb):
                offered = self.complete(*verb.split(), "--")
                self.assertEqual(len(set(offered)), len(offered))
                self.assertEqual(flags_in(help_of(*verb.split())) | GLOBALS, set(offered))

    def test_second_words(self):
        self.assertEqual(sorted(verb.split()[1] for verb in VERBS if verb.startswith("model ")),
                         sorted(self.complete("model", "")))
        self.assertEqual(["unload"], self.complete("--url", "http", "model", "unl"))
        self.assertEqual(["disk", "ram"], self.complete("model", "unload", "m", "--to", ""))

    def test_the_flags_of_all_verbs_before_one(self):
        self.assertEqual(GLOBALS, set(self.complete("--")))

    def test_words_of_a_field(self):
        self.assertEqual(["kv_cache"], self.complete("alloc", "1", "--purpose", "kv"))
        self.assertEqual(["copy", "move"], self.complete("transfer", "a-1", "--mode", ""))
        self.assertEqual([], self.complete("alloc", "--label", ""))

    def test_actions_of_exec(self):
        self.assertIn("memory.get_status", self.complete("exec", "memory."))

    def test_files(self):
        self.assertEqual([str(COMPLETION)], self.complete("--token-file", str(COMPLETION)[:-2]))


@unittest.skipUnless(shutil.which("fish"), "needs fish")
class Fish(unittest.TestCase):
    def complete(self, line):
        """What fish offers for the last word, without descriptions."""
        done = run("fish", "--no-config", "-c", f"source {FISH}; complete -C $argv[1]", "memkeep " + line)
        self.assertEqual((0, ""), (done.returncode, done.stderr))
        return [offer.partition("\t")[0] for offer in done.stdout.splitlines()]

    def test_verbs(self):
        self.assertEqual(sorted({verb.split()[0] for verb in VERBS}), sorted(self.complete("")))
        self.assertEqual(["status"], self.complete("--json sta"))

    def test_the_flags_of_each_verb(self):
        for verb in set(VERBS) - {"exec"}:
            with self.subTest(verb):
                self.assertEqual(flags_in(help_of(*verb.split())) | GLOBALS, set(self.complete(f"{verb} --")))

    def test_second_words(self):
        self.assertEqual(sorted(verb.split()[1] for verb in VERBS if verb.startswith("model ")),
                         sorted(self.complete("model ")))

    def test_words_of_a_field(self):
        self.assertEqual(["kv_cache"], self.complete("alloc 1 --purpose kv"))
        self.assertEqual(["copy", "move"], self.complete("transfer a-1 --mode "))
        self.assertEqual([], self.complete("alloc --label "))

    def test_actions_of_exec(self):
        self.assertIn("memory.get_status", self.complete("exec memory."))

    def test_files(self):
        self.assertEqual([str(FISH)], self.complete(f"ps --token-file {str(FISH)[:-2]}"))


class Manual(unittest.TestCase):
    def test_each_program_has_its_page(self):
        self.assertEqual({"memkeep.1", "memkeepd.8", "memkeep-vault.8", "memkeep-worker.8"}, {p.name for p in PAGES})
        for page in PAGES:
            text = page.read_text()
            for section in ("NAME", "SYNOPSIS", "DESCRIPTION", "SEE ALSO"):
                self.assertRegex(text, rf"(?m)^\.SH {section}$", page.name)

    @unittest.skipUnless(shutil.which("man"), "needs man")
    def test_they_render_without_a_warning(self):
        for page in PAGES:
            with self.subTest(page.name):
                done = run("man", "--warnings", "-l", page, env=os.environ | {"MANWIDTH": "100", "LC_ALL": "C.UTF-8"})
                self.assertEqual((0, ""), (done.returncode, done.stderr))
                self.assertIn(page.stem.replace("\\", ""), done.stdout)

    def test_memkeep_1_knows_every_verb_and_flag(self):
        text = PAGE.read_text()
        parts = dict(re.findall(r"(?ms)^\.SS ([\w -]+)\n(.*?)(?=^\.S[SH])", text.replace("\\-", "-")))
        self.assertEqual(set(VERBS), parts.keys())
        plain = {verb: part.replace("\\", "") for verb, part in parts.items()}
        for verb in set(VERBS) - {"exec"}:
            with self.subTest(verb):
                flags = set(re.findall(r"^fB(--[a-z-]+)fR", plain[verb], re.M))
                self.assertEqual(flags_in(help_of(*verb.split())) - GLOBALS, flags)
        self.assertLessEqual(GLOBALS, set(re.findall(r"^fB(--[a-z-]+)fR", text.replace("\\", ""), re.M)))


if __name__ == "__main__":
    unittest.main()
