"""`memkeep top` on a terminal, as a person uses it: what is seen, what keys do, and that the terminal comes back."""

import os
import random
import signal
import termios
import unittest

from harness import KIB, MIB, DaemonCase, clean_environment, name_of, program, run_program, wait_until
from models import ModelWords, some_tensors, write_safetensors
from terminal import Terminal

LINES = "\033[?1049h", "\033[?1049l"  # xterm: to the other screen, and back


class TopWords:
    """A `memkeep top` for each test."""

    def top(self, *words, code="C.UTF-8", environment=None, **more):
        terminal = Terminal([program("memkeep"), "--socket", self.daemon.socket_path, "top", "--interval", "200ms", *words],
                            environment=clean_environment(LC_ALL=code) | (environment or {}), **more)
        self.addCleanup(terminal.__exit__)
        return terminal

    def quit(self, terminal):
        terminal.type("q")
        terminal.ends(0)


class Looking(TopWords, DaemonCase):
    devices = ("host:0=256MiB", "host:1=128MiB", "fake:0=1GiB")

    def setUp(self):
        super().setUp()
        self.made = [self.allocate(size * MIB, device, label=f"label-{size}", purpose=purpose)
                     for size, device, purpose in ((32, "host:0", "kv_cache"), (8, "host:1", "buffers"),
                                                   (512, "fake:0", "tensors"), (1, "host:0", "buffers"))]

    def test_80_by_24(self):
        top = self.top()
        top.wait_for("label-512")
        for text in ("host:0", "host:1", "fake:0", "4 allocations", "Allocations 4", "Models 0", "512.0 MiB", "kv_cache",
                     name_of(self.made[0]), "████", "50 %", "q quit"):
            self.assertIn(text, top.text)
        self.quit(top)

    def test_what_changes_is_seen(self):
        top = self.top()
        top.wait_for("Allocations 4")
        self.allocate(2 * MIB, label="another")
        top.wait_for("another", "Allocations 5")
        self.free(self.made[0])
        top.wait_gone("label-32")
        self.quit(top)

    def test_other_sizes(self):
        top = self.top(rows=10, columns=40)
        top.wait_for("host:0", "label-512")
        for rows, columns in ((60, 200), (24, 80), (3, 10), (1, 1), (10, 40), (60, 200)):
            top.set_size(rows, columns)
            top.signal(signal.SIGWINCH)
            top.read(0.2)
        top.wait_for("Models 0", "Transfers 0", "HEALTH", "PRIORITY", "label-32")
        self.assertGreater(max(map(len, top.rows)), 150)
        self.quit(top)

    def test_a_terminal_that_was_small_for_a_moment(self):
        top = self.top(rows=60, columns=200)
        top.wait_for("Models 0", "HEALTH", "label-32")
        top.signal(signal.SIGSTOP)  # it sees one size only, the one that it knows
        top.set_size(3, 10)
        top.set_size(60, 200)
        self.assertNotIn("label-32", top.text)
        top.signal(signal.SIGCONT)
        top.wait_for("Models 0", "HEALTH", "label-32")
        self.quit(top)

    def order(self, top):
        return [row.split()[-1] for row in top.rows if "label-" in row]

    def test_order(self):
        top = self.top()
        top.wait(lambda: self.order(top) == ["label-512", "label-32", "label-8", "label-1"], "the largest first")
        top.type("r")
        top.wait(lambda: self.order(top) == ["label-1", "label-8", "label-32", "label-512"], "the smallest first")
        top.type("sss")  # purpose, owner, age
        top.wait(lambda: self.order(top) == ["label-1", "label-512", "label-8", "label-32"], "the newest first")
        self.quit(top)

    def test_filter(self):
        top = self.top()
        top.wait_for("Allocations 4")
        top.type("/LABEL-5")
        top.wait(lambda: self.order(top) == ["label-512"], "one row")
        top.wait_for("Allocations 1 of 4")
        top.press("backspace", "backspace")
        top.type("kv\r")
        top.wait_for("Allocations 0 of 4", "nothing that matches")
        top.press("escape")
        top.wait_for("Allocations 4 ")
        self.quit(top)

    def test_scrolling(self):
        for i in range(60):
            self.allocate(64 * KIB + i, label=f"many-{i:02}")
        top = self.top()
        top.wait_for("Allocations 64")
        top.press("end")
        top.wait_for("many-00")
        top.press("page_up")
        top.wait_gone("many-00")
        top.press("home")
        top.wait_for("label-512")
        self.quit(top)

    def test_lists(self):
        top = self.top()
        top.wait_for("Allocations 4")
        self.transfer(self.made[1], "host:1", "host:0")
        top.type("4")
        top.wait_for("completed", "100 %")
        top.type("3")
        top.wait_for("none at the moment")
        top.press("backtab")
        top.wait_for("label-32")
        top.type("?")
        top.wait_for("IDLE      since")
        top.type("x")
        top.wait_gone("IDLE      since")
        self.quit(top)

    def test_more_than_a_page(self):
        for _ in range(1100):
            self.allocate(4 * KIB)
        top = self.top()
        top.wait_for("Allocations 1000+")
        top.type("/label-\r")
        top.wait_for("Allocations 4 of 1104")
        self.quit(top)

    def test_hostile_labels(self):
        for i, label in enumerate(("日本語の長い名前" * 8, "e\u0301\u202e\u200b\u2066x", "\U0001f600" * 50, "\u0085\u009b31m", "a" * 256)):
            self.assertIn(self.try_allocate(16 * MIB + i, "host:0", label=label).status, (200, 400))
        for rows, columns in ((24, 80), (10, 40)):
            top = self.top(rows=rows, columns=columns)
            top.wait_for("Allocations 8 " if columns > 40 else "Allocations 8")
            top.type("sssss")  # by label
            top.press("end")
            top.wait_for("日本")
            for forbidden in ("\u202e", "\u2066", "\u009b", "\u0085"):
                self.assertNotIn(forbidden.encode(), top.raw)
            self.quit(top)

    def test_colours_only_where_they_are(self):
        for term, environment, colours in (("linux", {}, True), ("vt100", {}, False), ("linux", {"NO_COLOR": "1"}, False)):
            with self.subTest(term, **environment):
                top = self.top(term=term, environment=environment)
                top.wait_for("host:0")
                seen = {cell.fg for row in top.screen.buffer.values() for cell in row.values()}
                self.assertEqual(colours, seen != {"default"})
                self.quit(top)

    def test_ascii(self):
        top = self.top(code="C")
        top.wait_for("####")
        self.assertTrue(top.text.isascii())
        self.quit(top)

    def test_over_http(self):
        top = Terminal([program("memkeep"), "top", "--url", f"http://127.0.0.1:{self.daemon.port}"],
                       environment=clean_environment(LC_ALL="C.UTF-8"))
        self.addCleanup(top.__exit__)
        top.wait_for("label-512")
        self.quit(top)


class Acting(TopWords, ModelWords, DaemonCase):
    devices = ("host:0=256MiB", "fake:0=256MiB")

    def test_free(self):
        kept, gone = self.allocate(1 * MIB, label="kept"), self.allocate(2 * MIB, label="gone")
        top = self.top()
        top.wait_for("Allocations 2")
        top.type("k")
        top.wait_for(f"Free {name_of(gone)}?")
        top.type("n")
        top.wait_gone(f"Free {name_of(gone)}?")
        self.assertFalse(self.is_gone(gone))
        top.type("ky")
        top.wait_for(f"{name_of(gone)} is freed")
        self.assertTrue(self.is_gone(gone))
        self.assertFalse(self.is_gone(kept))
        top.wait_for("Allocations 1 ")
        self.quit(top)

    def test_what_is_protected_is_freed_by_force_only(self):
        pinned = self.allocate(1 * MIB, pinned=True)
        top = self.top()
        top.wait_for("Allocations 1 ")
        top.type("ky")
        top.wait_for("by force?")
        self.assertFalse(self.is_gone(pinned))
        top.type("n")
        top.wait_gone("by force?")
        self.assertFalse(self.is_gone(pinned))
        top.type("ky")
        top.wait_for("by force?")
        top.type("y")
        top.wait_for("is freed")
        self.assertTrue(self.is_gone(pinned))
        self.quit(top)

    def test_models(self):
        path = self.folder("models") / "m.safetensors"
        write_safetensors(path, some_tensors(random.Random(1), 5, 100 * KIB))
        model = self.load(path, "fake:0", name="llama")
        top = self.top()
        top.wait_for("Models 1")
        top.type("3")
        top.wait_for("llama", "ready")
        top.type("py")
        top.wait_for("is being parked")
        wait_until(lambda: self.look_model(model)["state"] == "parked", "it is parked")
        top.type("uy")
        top.wait_for("is being unloaded")
        wait_until(lambda: self.look_model(model)["state"] == "unloaded", "it is unloaded")
        self.quit(top)

    def test_a_restart(self):
        self.allocate(1 * MIB, label="stays", persistent=True)
        top = self.top()
        top.wait_for("stays")
        self.daemon.kill()
        top.wait_for("not reachable, retrying", "stays")
        self.daemon.start()
        top.wait_gone("not reachable")
        top.wait_for("stays")
        self.quit(top)

    def test_before_there_is_a_daemon(self):
        self.daemon.stop()
        top = self.top()
        top.wait_for("not reachable, retrying")
        self.daemon.start()
        top.wait_for("host:0", "Allocations 0")
        self.quit(top)

    def test_a_daemon_that_hangs(self):
        top = self.top("--timeout", "1")
        top.wait_for("host:0")
        os.kill(self.daemon.pid, signal.SIGSTOP)
        try:
            top.type("?")
            top.wait_for("IDLE      since")
            top.type("x")
            top.wait_for("not reachable, retrying")
            self.quit(top)
        finally:
            os.kill(self.daemon.pid, signal.SIGCONT)


class Ending(TopWords, DaemonCase):
    devices = ("host:0=64MiB",)

    def test_the_terminal_comes_back_whatever_ends_it(self):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
            with self.subTest(number):
                top = self.top(term="xterm")
                top.wait(lambda top=top: b"host:0" in top.raw, "a picture")
                top.signal(number)
                top.ends(-number)
                self.assertGreater(top.raw.rfind(LINES[1].encode()), top.raw.rfind(LINES[0].encode()))

    def test_control_c(self):
        top = self.top()
        top.wait_for("host:0")
        top.type("\x03")
        top.ends(-signal.SIGINT)

    def test_it_can_be_stopped_and_goes_on(self):
        top = self.top()
        top.wait_for("host:0")
        top.signal(signal.SIGTSTP)

        def state():
            with open(f"/proc/{top.process.pid}/stat", encoding="ascii") as stat:
                return stat.read().rpartition(")")[2].split()[0]
        wait_until(lambda: state() == "T", "it stops")
        self.assertEqual(top.before, termios.tcgetattr(top.side))
        top.read()
        top.screen.reset()
        top.signal(signal.SIGCONT)
        top.wait_for("host:0")
        self.quit(top)

    def test_where_there_is_no_terminal(self):
        result = run_program("memkeep", "--socket", self.daemon.socket_path, "top", environment={"TERM": "xterm"})
        self.assertEqual((2, ""), (result.returncode, result.stdout))
        self.assertIn("terminal", result.stderr)

    def test_terminals_that_cannot_be_drawn_on(self):
        for term in ("dumb", "no-such-terminal", ""):
            with self.subTest(term):
                top = self.top(term=term)
                top.ends(2)
                self.assertIn("TERM", top.text)

    def test_words_that_are_wrong(self):
        for words in (("--json",), ("--surprise",), ("--interval", "soon"), ("host:0",)):
            with self.subTest(words):
                top = self.top(*words) if words[0] != "--interval" else Terminal(
                    [program("memkeep"), "top", *words], environment=clean_environment())
                self.addCleanup(top.__exit__)
                top.ends(2)


if __name__ == "__main__":
    unittest.main()
