"""memkeep exec: programs that take models from files get them from memory. The program sees the files' bytes, sizes and
names; signals and exit codes pass through; nothing of it is left behind."""

import ast
import json
import os
import signal
import stat
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import kernel
from harness import KIB, MIB, NOBODY, DaemonCase, SharedDaemonCase, clean_environment, program, run_program, wait_until
from test_load import FAKE, Files, gguf, safetensors

WRITES = "import os,sys; f = os.open(sys.argv[1], os.O_RDWR); os.write(f, b'x')"
EVERYTHING = """import os, sys
print({name: open(sys.argv[1] + '/' + name, 'rb').read() for name in os.listdir(sys.argv[1])})"""
MAPPED = "import mmap,sys; f = open(sys.argv[1], 'rb'); sys.stdout.buffer.write(mmap.mmap(f.fileno(), 0, access=1))"


class Exec(Files, SharedDaemonCase):
    devices = ("host:0=256MiB", FAKE)

    def setUp(self):
        self.places = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.models = []

    def tearDown(self):
        self.assertEqual([], self.folders())
        for name in self.models:
            self.unload({"modelId": name})
        super().tearDown()

    def folders(self):
        return sorted(os.listdir(self.places))

    def environment(self):
        return clean_environment(XDG_RUNTIME_DIR=str(self.places))

    def command(self, *words):
        return [program("memkeep"), "exec", "--socket", self.daemon.socket_path, *map(str, words)]

    def exec(self, *words, code=0, text=True):
        done = subprocess.run(self.command(*words), capture_output=True, text=text, timeout=30,
                              env=self.environment(), stdin=subprocess.DEVNULL, cwd=self.daemon.folder)
        self.assertEqual(code, done.returncode, f"{words}: {done.stdout}{done.stderr}")
        return done

    def loaded(self, name, device="host:0", **fields):
        """A model of a few MiB that is no whole number of pages: its name, and the file's bytes."""
        path = self.path(f"{name}.safetensors")
        content = safetensors(path, {"a": os.urandom(3 * MIB + 5), "b": os.urandom(77)})
        self.assertTrue(len(content) % 4096)
        self.models.append(self.load(path, device, name=name, **fields)["modelId"])
        return name, content

    def running(self, name, script, *words):
        """A shell that has begun with the script, in a `memkeep exec` of its own."""
        process = subprocess.Popen(self.command("--model", name, "--", "sh", "-c", f"echo up; {script}", *words),
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=self.environment())
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.stdin.close)
        self.addCleanup(process.kill)
        self.assertEqual(b"up\n", process.stdout.readline())
        return process

    # -- what the program sees

    def test_it_reads_and_maps_the_bytes_of_the_file(self):
        name, content = self.loaded("bytes")
        self.path("bytes.safetensors").unlink()
        for words in (("cat", "{}"), ("cat", "{dir}/bytes.safetensors"), (sys.executable, "-c", MAPPED, "{}")):
            with self.subTest(words):
                self.assertEqual(content, self.exec("--model", name, "--", *words, text=False).stdout)

    def test_the_file_ends_where_the_file_ends(self):
        for device in ("host:0", "fake:0"):
            with self.subTest(device):
                name, content = self.loaded(f"size-{device[:4]}", device, keepRamCopy=True)
                size = self.exec("--model", name, "--", "stat", "-L", "-c", "%s", "{}").stdout
                self.assertEqual(len(content), int(size))

    def test_nobody_can_write_there(self):
        name, content = self.loaded("sealed")
        self.assertIn("Error", self.exec("--model", name, "--", sys.executable, "-c", WRITES, "{}", code=1).stderr)
        self.assertEqual(content, self.exec("--model", name, "--", "cat", "{}", text=False).stdout)

    def test_the_path_is_put_in_wherever_it_is_wanted(self):
        name, _ = self.loaded("words")
        script = 'for w in "$@"; do echo "$w"; done; echo $MEMKEEP_MODEL $MEMKEEP_MODEL_DIR'
        path, flag, folder, left, variables = self.exec("--model", name, "--", "sh", "-c", script, "sh", "{}",
                                                        "--model={},x", "{dir}", "--json").stdout.splitlines()
        self.assertEqual("words.safetensors", os.path.basename(path))
        self.assertEqual((f"--model={path},x", os.path.dirname(path), "--json", f"{path} {folder}"),
                         (flag, folder, left, variables))
        self.assertTrue(folder.startswith(str(self.places)))

    def test_the_folder_is_ours_alone(self):
        name, _ = self.loaded("private")
        mode, owner = self.exec("--model", name, "--", "stat", "-c", "%f %u", "{dir}").stdout.split()
        self.assertEqual((0o700, os.getuid()), (stat.S_IMODE(int(mode, 16)), int(owner)))

    def test_a_parked_model_and_one_on_a_card_are_read_from_host_memory(self):
        name, content = self.loaded("card", "fake:0", keepRamCopy=True)
        self.assertEqual(content, self.exec("--model", name, "--", "cat", "{}", text=False).stdout)
        self.ok(self.daemon.post(f"/api/memory/models/{name}/unload", {"to": "ram"}))
        self.assertEqual(content, self.exec("--model", name, "--", "cat", "{}", text=False).stdout)

    def test_one_without_a_copy_in_host_memory_is_refused(self):
        name, content = self.loaded("lone", "fake:0", keepRamCopy=False)
        self.assertIn("park", self.exec("--model", name, "--", "cat", "{}", code=1).stderr)
        self.ok(self.daemon.post(f"/api/memory/models/{name}/unload", {"to": "ram"}))
        self.assertEqual(content, self.exec("--model", name, "--", "cat", "{}", text=False).stdout)

    # -- several files

    def test_safetensors_in_several_files_are_a_folder(self):
        folder = self.path("sharded")
        folder.mkdir()
        contents = {f"m-{i}.safetensors": safetensors(folder / f"m-{i}.safetensors", {f"t{i}": os.urandom(5000 + i)})
                    for i in range(7)}
        index = json.dumps({"weight_map": {f"t{i}": f"m-{i}.safetensors" for i in range(7)}})
        (folder / "m.safetensors.index.json").write_text(index)
        (folder / "config.json").write_text('{"layers":7}')
        (folder / "other.bin").write_text("weights of another kind")
        self.models.append(self.load(folder, name="shards")["modelId"])
        got = self.exec("--model", "shards", "--", sys.executable, "-c", EVERYTHING, "{}").stdout
        self.assertEqual(contents | {"m.safetensors.index.json": index.encode(), "config.json": b'{"layers":7}'},
                         ast.literal_eval(got))

    def test_a_split_file_is_its_first_part_beside_the_others(self):
        names = [f"s-{i + 1:05}-of-00003.gguf" for i in range(3)]
        contents = [gguf(self.path(names[i]), f"t{i}", os.urandom(4 * KIB), (i, 3, 3)) for i in range(3)]
        self.models.append(self.load(self.path(names[1]), name="split")["modelId"])
        self.assertEqual(names[0], self.exec("--model", "split", "--", "basename", "{}").stdout.strip())
        got = self.exec("--model", "split", "--", "cat", *(f"{{dir}}/{name}" for name in names), text=False).stdout
        self.assertEqual(b"".join(contents), got)

    # -- loading first

    def test_it_can_be_loaded_first(self):
        content = safetensors(self.path("fresh.safetensors"), {"a": os.urandom(100)})
        words = ("--load", "fresh.safetensors", "--model", "f", "--device", "host:0", "--", "cat", "{}")
        for _ in range(2):
            self.assertEqual(content, self.exec(*words, text=False).stdout)
        self.models.append("f")

    def test_what_cannot_be_loaded_is_said(self):
        self.path("text.safetensors").write_text("hello")
        self.assertIn("MODEL_FORMAT_INVALID",
                      self.exec("--load", "text.safetensors", "--", "cat", "{}", code=1).stderr)
        self.assertIn("MODEL_NOT_FOUND", self.exec("--load", "nowhere.gguf", "--", "cat", "{}", code=1).stderr)

    # -- its end

    def test_its_exit_status_is_ours(self):
        name, _ = self.loaded("codes")
        for script, code in (("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 128 + 9), ("kill -TERM $$", 128 + 15)):
            with self.subTest(script):
                self.exec("--model", name, "--", "sh", "-c", script, code=code)
        self.assertIn("nosuchprogram", self.exec("--model", name, "--", "nosuchprogram", code=127).stderr)
        self.assertIn("/etc/passwd", self.exec("--model", name, "--", "/etc/passwd", code=126).stderr)

    def test_stdin_is_passed_on(self):
        name, _ = self.loaded("stdin")
        process = self.running(name, "cat")
        out, _ = process.communicate(b"hello", timeout=30)
        self.assertEqual((b"hello", 0), (out, process.returncode))

    def test_signals_reach_it_and_nothing_is_left(self):
        name, _ = self.loaded("signals")
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
            with self.subTest(number.name):
                trap = f"trap 'echo got; exit 9' {number.name[3:]}"
                # Its input ends before the signal comes; should none come, it ends with who started it.
                process = self.running(name, f"{trap}; echo set; while kill -0 $PPID; do read x; done")
                self.assertEqual(b"set\n", process.stdout.readline())
                process.send_signal(number)
                out, _ = process.communicate(timeout=30)
                self.assertEqual((b"got\n", 9), (out, process.returncode))
                self.assertEqual([], self.folders())

    def test_one_that_dies_of_the_signal_leaves_nothing_either(self):
        name, _ = self.loaded("dies")
        process = self.running(name, "exec sleep 60")
        self.assertEqual(1, len(self.folders()))
        process.terminate()
        self.assertEqual(128 + signal.SIGTERM, process.wait(30))
        self.assertEqual([], self.folders())

    def test_it_holds_the_model_while_it_runs(self):
        name, _ = self.loaded("held")
        process = self.running(name, "read x")
        self.assertTrue(self.ok(self.daemon.get(f"/api/memory/models/{name}"))["model"]["busy"])
        self.refused(self.daemon.post(f"/api/memory/models/{name}/unload"), 409, "MODEL_BUSY")
        process.communicate(b"\n", timeout=30)
        wait_until(lambda: not self.ok(self.daemon.get(f"/api/memory/models/{name}"))["model"]["busy"], "it to be free")

    def test_files_that_it_made_there_go_with_the_folder(self):
        name, _ = self.loaded("made")
        self.exec("--model", name, "--", "touch", "{dir}/cache")
        done = self.exec("--model", name, "--", "mkdir", "{dir}/deep")
        left = self.folders()
        self.assertEqual(1, len(left))
        self.assertIn(left[0], done.stderr)
        os.rmdir(self.places / left[0] / "deep")
        os.rmdir(self.places / left[0])

    # -- wrong words

    def test_no_such_model(self):
        done = self.exec("--model", "nobody", "--", "cat", "{}", code=1)
        self.assertIn("MODEL_NOT_FOUND", done.stderr)
        self.assertIn("memkeep model ls", done.stderr)

    def test_usage(self):
        for words in (("--model", "m"), ("--model", "m", "--"), ("--", "cat"), ("--model",), ("--load", "f", "cat"),
                      ("--model", "m", "--device", "host:0", "--", "cat"), ("--load", "f", "--dance", "--", "cat")):
            with self.subTest(words):
                self.assertTrue(self.exec(*words, code=2).stderr)
        done = run_program("memkeep", "exec", "--url", "http://127.0.0.1:1", "--model", "m", "--", "cat")
        self.assertEqual(2, done.returncode)
        self.assertIn("--model NAME", run_program("memkeep", "exec", "--help").stdout)

    @unittest.skipIf(os.getuid(), "only root can be somebody else")
    def test_another_user_is_told_whose_memory_it_is(self):
        name, _ = self.loaded("foreign")
        self.daemon.open_to_everybody()

        def run():
            done = subprocess.run(self.command("--model", name, "--", "cat", "{}"), capture_output=True, text=True,
                                  timeout=30, env=clean_environment())
            return done.returncode, done.stderr

        code, said = kernel.as_user(NOBODY, run)
        self.assertEqual(1, code)
        self.assertIn("memory of the daemon's", said)


class Restarted(Files, DaemonCase):
    def test_a_daemon_that_dies_takes_nothing_from_it(self):
        content = safetensors(self.path("m.safetensors"), {"a": os.urandom(3 * MIB + 5)})
        self.load(self.path("m.safetensors"), name="m")
        words = ("--model", "m", "--", "sh", "-c", "echo up; read x; cat {}")
        process = subprocess.Popen([program("memkeep"), "exec", "--socket", self.daemon.socket_path, *words],
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=clean_environment())
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        self.assertEqual(b"up\n", process.stdout.readline())
        self.daemon.kill()
        self.daemon.start()
        self.assertTrue(self.ok(self.daemon.get("/api/memory/models/m"))["model"]["busy"])
        self.assertEqual(content, process.communicate(b"\n", timeout=30)[0])
        wait_until(lambda: not self.ok(self.daemon.get("/api/memory/models/m"))["model"]["busy"], "it to be free")


if __name__ == "__main__":
    unittest.main()
