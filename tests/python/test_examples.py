"""The examples that stand on the package do what they say."""

import subprocess
import sys
import unittest

from client import ModelCase, environment
from harness import MEMORY, MIB, SOURCE, wait_until

EXAMPLES = SOURCE / "examples"


class Examples(ModelCase):
    def environment(self):
        return environment(MEMKEEP_SOCKET=self.daemon.socket_path)

    def test_four_processes_share_a_model(self):
        path, tensors, _ = self.write(count=3, most=32 * MIB)
        done = subprocess.run([sys.executable, str(EXAMPLES / "share_model.py"), str(path)], capture_output=True, text=True,
                              timeout=120, env=self.environment())
        self.assertEqual((0, ""), (done.returncode, done.stderr), done.stdout)
        lines = done.stdout.splitlines()
        self.assertEqual(4, len(lines))
        for line in lines:
            self.assertIn("3 tensors", line)
            self.assertRegex(line, r" 2[0-6] % of the model's memory is its share$")
        self.assertEqual([path.name], [model["name"] for model in self.models()])

    def test_who_names_a_file_that_is_not_there_is_told_so(self):
        path = self.daemon.folder / "none.safetensors"
        done = subprocess.run([sys.executable, str(EXAMPLES / "share_model.py"), str(path)], capture_output=True, text=True,
                              timeout=120, env=self.environment())
        self.assertEqual((1, ""), (done.returncode, done.stdout))
        self.assertEqual([f"there is no file {path}"] * 4, [line.split(": ", 1)[1] for line in done.stderr.splitlines()])

    def test_a_program_yields_its_memory(self):
        path, _, content = self.write()
        program = subprocess.Popen([sys.executable, str(EXAMPLES / "yield_memory.py"), str(path)], stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, text=True, env=self.environment())
        self.addCleanup(program.communicate)
        self.addCleanup(program.kill)

        def uses():
            program.stdin.write(f"{path.name}\n")
            program.stdin.flush()
            self.assertEqual(f"{path.name} is here: {len(content)} bytes\n", program.stdout.readline())

        def holds(size):
            wait_until(lambda: [worker["memoryBytes"] for worker in self.workers() if worker["pid"] == program.pid] == [size],
                       f"{size} bytes to be known")
        uses()
        uses()
        holds(len(content))
        cleared = self.ok(self.daemon.post(f"{MEMORY}/operations/clear", {"scope": "all"}))["workers"]
        self.assertIn(len(content), [worker["clearedBytes"] for worker in cleared])
        self.assertEqual(f"{path.name} goes: {len(content)} bytes\n", program.stdout.readline())
        holds(0)
        uses()
        program.stdin.close()
        self.assertEqual(0, program.wait(60))
        program.stdin = None

    def test_a_program_yields_tensors(self):
        """On the host they are the daemon's: what goes is the hold on them, so that it may take them elsewhere."""
        path, tensors, _ = self.write()
        program = subprocess.Popen([sys.executable, str(EXAMPLES / "yield_memory.py"), "--device", "host:0", str(path)],
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=self.environment())
        self.addCleanup(program.communicate)
        self.addCleanup(program.kill)
        for _ in range(2):
            program.stdin.write(f"{path.name}\n")
            program.stdin.flush()
            self.assertEqual(f"{path.name} is here: {len(tensors)} tensors on cpu\n", program.stdout.readline())
            wait_until(lambda: [worker["models"] for worker in self.workers() if worker["pid"] == program.pid] == [[str(path)]],
                       "it to be known")
            self.assertTrue(self.is_busy(path.name))
            self.ok(self.daemon.post(f"{MEMORY}/operations/clear", {"scope": "all"}))
            self.assertEqual(f"{path.name} goes: 0 bytes\n", program.stdout.readline())
            self.is_let_go(path.name)
        program.stdin.close()
        self.assertEqual(0, program.wait(60))
        program.stdin = None

    def test_three_models_take_turns_where_two_fit(self):
        self.restart_with(devices=("host:0=40MiB",))
        done = subprocess.run([sys.executable, str(EXAMPLES / "switch_models.py"), "--mib", "16"], capture_output=True,
                              text=True, timeout=120, env=self.environment())
        self.assertEqual((0, ""), (done.returncode, done.stderr), done.stdout)
        rows = [line.split() for line in done.stdout.splitlines()[1:]]
        self.assertEqual(["A", "B", "C"] * 3, [row[1] for row in rows])
        self.assertEqual(["file"] * 3 + ["disk"] * 6, [row[2] for row in rows])  # the first to come is the first to go
        self.assertEqual(["new"] * 3 + ["same"] * 6, [row[4] for row in rows])
        self.assertEqual(0, self.device("host:0")["allocatedBytes"])


if __name__ == "__main__":
    unittest.main()
