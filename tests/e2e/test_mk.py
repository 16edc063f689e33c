"""A C program that uses libmemkeep, before the real daemon: it is a worker, hears events, and comes back by itself."""

import queue
import subprocess
import tempfile
import threading
import unittest
from pathlib import Path

from harness import BIN, MEMORY, SOURCE, DaemonCase, name_of, wait_until

LIB = BIN.parent / "lib"

PROGRAM = r"""
#include <memkeep/memkeep.h>
#include <stdio.h>
#include <string.h>
static enum mk_code on_question(void *arg, const struct mk_question *question, char **answer) {
  (void)arg;
  printf("%s %s %s\n", question->told ? "told" : "asked", question->action, question->data);
  if (question->told)
    return MK_OK;
  if (strcmp(question->action, "memory.clear") != 0)
    return MK_NOT_FOUND;
  *answer = strdup("{\"cleared_bytes\":777}");
  return MK_OK;
}
static void on_event(void *arg, const struct mk_event *event) {
  (void)arg;
  printf("event %s %s\n", event->type, event->data);
}
int main(int argc, char **argv) {
  const struct mk_options options = {.socket = argv[argc - 1]};
  mk_client *client;
  setvbuf(stdout, NULL, _IOLBF, 0);
  if (mk_connect(&options, &client) || mk_events(client, "allocation.*", on_event, NULL) ||
      mk_on_request(client, "memory.clear,memory.get_status", on_question, NULL)) {
    fprintf(stderr, "%s\n", mk_error_text());
    return 1;
  }
  puts("ready");
  while (getchar() != EOF)
    ;
  mk_close(client);
  return 0;
}
"""


def run(*words):
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


def sanitized():
    text = run("nm", LIB / "libmemkeep.a")
    return "__asan" in text or "__tsan" in text


class Program(DaemonCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        if sanitized():
            raise unittest.SkipTest("a sanitizer's build links its runtime only with its flags")
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        # A name with a blank, and longer than a worker's may be.
        cls.path = Path(cls.folder.name, "a program with quite a long name")
        source = Path(cls.folder.name, "program.c")
        source.write_text(PROGRAM)
        run("cc", "-D_GNU_SOURCE", "-Wall", "-Werror", f"-I{SOURCE}/include", source, "-o", cls.path,
            LIB / "libmemkeep.a", "-ljansson", "-pthread")

    def setUp(self):
        super().setUp()
        self.process = subprocess.Popen([self.path, self.daemon.socket_path], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)
        self.addCleanup(self.leave)
        self.lines = queue.Queue()
        self.thread = threading.Thread(target=lambda: [self.lines.put(line) for line in self.process.stdout])
        self.thread.start()
        self.find("ready")

    def leave(self):
        if self.process.stdin.closed:
            return
        self.process.stdin.close()
        self.assertEqual(0, self.process.wait(20))
        self.thread.join(20)
        self.process.stdout.close()

    def find(self, start):
        while not (line := self.lines.get(timeout=20)).startswith(start):
            pass
        return line

    def listed(self):
        return [worker for worker in self.workers() if worker["pid"] == self.process.pid]

    def test_it_is_a_worker_until_it_closes(self):
        worker = wait_until(self.listed, "it to be listed")[0]
        self.assertEqual(f"a_program_with_quite_a_lon-{self.process.pid}", worker["workerId"])
        self.assertEqual(("socket", "ready", ["memory.clear", "memory.get_status"]),
                         (worker["transport"], worker["state"], worker["capabilities"]))
        self.leave()
        wait_until(lambda: not self.listed(), "it to be gone")

    def test_it_is_asked_to_clear(self):
        worker = wait_until(self.listed, "it to be listed")[0]
        parts = self.ok(self.daemon.post(f"{MEMORY}/operations/clear", {}))["workers"]
        self.assertIn({"workerId": worker["workerId"], "clearedBytes": 777}, parts)
        self.assertIn('"clear_type":"cache"', self.find("asked memory.clear "))

    def test_it_is_told_thresholds(self):
        self.ok(self.daemon.put(f"{MEMORY}/pressure/thresholds", {"moderate": 51, "high": 60, "critical": 70}))
        while '"moderate":51' not in self.find("told memory.thresholds "):
            pass

    def test_it_hears_events(self):
        allocation = self.allocate(4096)
        self.assertIn(f'"allocation_id":"{name_of(allocation)}"', self.find("event allocation.created "))
        self.free(allocation)
        self.assertIn(f'"allocation_id":"{name_of(allocation)}"', self.find("event allocation.freed "))

    def test_it_comes_back_after_a_restart(self):
        self.daemon.kill()
        self.daemon.start()
        self.find("event client.reconnected {}")
        wait_until(self.listed, "it to be listed again")
        allocation = self.allocate(4096)
        self.assertIn(name_of(allocation), self.find("event allocation.created "))


if __name__ == "__main__":
    unittest.main()
