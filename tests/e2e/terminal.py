"""A terminal for a program: a pty, and what a person would see on it (pyte, of Debian's python3-pyte).

    with Terminal([program("memkeep"), "top"], rows=24, columns=80) as terminal:
        terminal.wait_for("host:0")
        terminal.type("q")
        terminal.ends(0)
"""

import fcntl
import os
import select
import signal
import struct
import subprocess
import sys
import termios
import time

sys.path.append("/usr/lib/python3/dist-packages")  # where Debian puts it, whichever python runs
import pyte

KEYS = {"up": "\033[A", "down": "\033[B", "home": "\033[1~", "end": "\033[4~", "page_up": "\033[5~",
        "page_down": "\033[6~", "escape": "\033", "enter": "\r", "backtab": "\033\t", "backspace": "\177"}


class Terminal:
    def __init__(self, command, *, rows=24, columns=80, environment=None, term="linux"):
        self.main, self.side = os.openpty()
        self.fds = [self.main, self.side]
        self.screen = pyte.Screen(columns, rows)
        self.stream = pyte.ByteStream(self.screen)
        self.raw = b""  # all that came
        self.set_size(rows, columns)
        self.before = termios.tcgetattr(self.side)
        self.process = subprocess.Popen(command, stdin=self.side, stdout=self.side, stderr=self.side, close_fds=True,
                                        start_new_session=True, preexec_fn=self._take,
                                        env=(environment or {}) | {"TERM": term})

    @staticmethod
    def _take():
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        while self.fds:
            os.close(self.fds.pop())

    # -- what is seen

    def read(self, seconds=0.0):
        """Takes in what there is, and what comes in that time at most."""
        while select.select([self.main], [], [], seconds)[0]:
            data = os.read(self.main, 1 << 16)
            self.raw += data
            self.stream.feed(data)
            seconds = 0

    @property
    def rows(self):
        return [row.rstrip() for row in self.screen.display]

    @property
    def text(self):
        return "\n".join(self.rows)

    def wait(self, condition, what, seconds=30):
        """Reads until condition() is true, and returns it."""
        end = time.monotonic() + seconds
        while True:
            self.read(0.05)
            if result := condition():
                return result
            if time.monotonic() > end:
                raise AssertionError(f"not within {seconds} s: {what}\n{self.text}")

    def wait_for(self, *texts):
        self.wait(lambda: all(text in self.text for text in texts), f"{texts} on the screen")

    def wait_gone(self, *texts):
        self.wait(lambda: not any(text in self.text for text in texts), f"{texts} gone")

    def row_with(self, text):
        return next((row for row in self.rows if text in row), None)

    # -- what is done

    def type(self, text):
        os.write(self.main, text.encode())

    def press(self, *names):
        for name in names:
            self.type(KEYS[name])

    def set_size(self, rows, columns):
        fcntl.ioctl(self.main, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.screen.resize(rows, columns)

    def ends(self, code, seconds=30):
        """The program ends by itself, and leaves the terminal as it was."""
        self.wait(lambda: self.process.poll() is not None, "the end of the program", seconds)
        self.read()
        if self.process.returncode != code:
            raise AssertionError(f"ended with {self.process.returncode}\n{self.text}")
        if termios.tcgetattr(self.side) != self.before:
            raise AssertionError("the terminal is not as it was")

    def signal(self, number=signal.SIGTERM):
        self.process.send_signal(number)
