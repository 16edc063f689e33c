"""The command line, as a person and as a script use it: tables, --json, exit codes."""

import contextlib
import json
import os
import re
import subprocess
import tempfile
import unittest

from harness import (ENVELOPE, KIB, MEMORY, MIB, DaemonCase, SharedDaemonCase, clean_environment, name_of, program,
                     run_program)
from terminal import Terminal

OK, FAILED, USAGE, UNREACHABLE = range(4)


class Words:
    """How each thing is said; the one place that knows the arguments of the verbs."""

    @staticmethod
    def alloc(size, device="host:0", **options):
        more = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", str(value))]
        return ["alloc", size, "--device", device, *more]

    @staticmethod
    def free(allocation, force=False):
        return ["free", name_of(allocation), *(["--force"] if force else [])]

    @staticmethod
    def clear(device=None, scope=None):
        return ["clear", *([device] if device else []), *(["--scope", scope] if scope else [])]

    @staticmethod
    def defrag(device=None, strategy=None):
        return ["defrag", *([device] if device else []), *(["--strategy", strategy] if strategy else [])]

    @staticmethod
    def transfer(allocation, source, target, mode=None):
        return ["transfer", name_of(allocation), "--from", source, "--to", target, *(["--mode", mode] if mode else [])]


class CliWords:
    """Running the CLI; mixed into both kinds of cases."""

    def memkeep(self, *words, code=OK, **more):
        result = run_program("memkeep", "--socket", self.daemon.socket_path, *words, **more)
        self.assertEqual(code, result.returncode, f"{words}: {result.stdout}{result.stderr}")
        return result

    def table(self, *words):
        return self.memkeep(*words).stdout

    def json(self, *words, code=OK):
        """The envelope that --json prints."""
        envelope = json.loads(self.memkeep("--json", *words, code=code).stdout)
        self.assertEqual(ENVELOPE, envelope.keys())
        self.assertIs(code == OK, envelope["success"])
        return envelope

    def data(self, *words):
        return self.json(*words)["data"]


class Looking(CliWords, SharedDaemonCase):
    devices = ("host:0=2GiB", "host:1=512MiB", "fake:0=1GiB")

    def test_status_shows_every_device(self):
        out = self.table("status")
        for text in ("host:0", "host:1", "fake:0", "2.0 GiB", "512.0 MiB"):
            self.assertIn(text, out)

    def test_status_of_one_device(self):
        out = self.table("status", "host:1")
        self.assertIn("host:1", out)
        self.assertNotIn("host:0", out)

    def test_status_as_json_is_what_http_answers(self):
        data, http = self.data("status", "host:1"), self.device("host:1")
        self.assertEqual(http.keys(), data.keys())
        self.assertEqual((http["deviceId"], http["totalBytes"]), (data["deviceId"], data["totalBytes"]))

    def test_devices(self):
        out = self.table("devices")
        for text in ("host:0", "host:1", "fake:0"):
            self.assertIn(text, out)
        self.assertEqual(3, len(self.data("devices")["devices"]))

    def test_ps_is_empty_at_first_and_then_shows_what_is_there(self):
        self.assertEqual([], self.data("ps")["allocations"])
        allocation = self.allocate(8 * MIB, label="my-label", purpose="kv_cache")
        self.addCleanup(self.free, allocation)
        out = self.table("ps")
        for text in (name_of(allocation), "8.0 MiB", "my-label", "kv_cache", "host:0"):
            self.assertIn(text, out)
        self.assertEqual([name_of(allocation)], [a["allocationId"] for a in self.data("ps")["allocations"]])

    def test_ps_shows_more_than_one_page(self):
        made = [self.allocate(256) for _ in range(150)]
        for allocation in made:
            self.addCleanup(self.free, allocation)
        out = self.table("ps")
        self.assertEqual(150, sum(name_of(a) in out for a in made))

    def test_no_colours_when_it_is_no_terminal(self):
        for verb in ("status", "ps", "devices"):
            self.assertNotIn("\033", self.table(verb))

    def on_terminal(self, columns, *words):
        """What a person sees there, as lines."""
        with Terminal([program("memkeep"), "--socket", self.daemon.socket_path, *words], rows=60, columns=columns,
                      environment=clean_environment(LC_ALL="C.UTF-8")) as terminal:
            terminal.ends(OK)
            return [row for row in terminal.rows if row]

    def test_on_a_terminal_it_works_too(self):
        self.assertIn("host:0", "\n".join(self.on_terminal(80, "status")))

    def test_a_narrow_terminal_gets_whole_rows_and_whole_ids(self):
        made = [self.allocate(MIB, label=f"a label that is much too long for it {i}") for i in range(3)]
        for allocation in made:
            self.addCleanup(self.free, allocation)
        for columns, there, gone in ((60, ["STATUS", "LABEL"], ["OWNER", "CREATED"]), (80, ["PURPOSE"], ["CREATED"]),
                                     (200, ["CREATED", "OWNER"], [])):
            with self.subTest(columns):
                head, *rows = self.on_terminal(columns, "ps")
                self.assertEqual([name_of(a) for a in made], [row.split()[0] for row in rows])
                self.assertTrue(set(there) <= set(head.split()) and not set(gone) & set(head.split()), head)
                self.assertEqual(columns < 200, all(row.endswith("…") for row in rows), rows)

    def test_characters_of_two_columns_keep_their_rows(self):
        made = self.allocate(MIB, label="日本語の長い名前" * 4)
        self.addCleanup(self.free, made)
        for columns in (60, 61):
            _, row = self.on_terminal(columns, "ps")
            self.assertTrue(row.startswith(name_of(made)) and row.endswith("…"), row)

    def test_without_a_terminal_nothing_is_left_out(self):
        label = "a label that is much too long for eighty columns " * 4
        self.addCleanup(self.free, self.allocate(MIB, label=label))
        self.assertIn(label.strip(), self.table("ps"))

    def test_a_table_without_room_is_shown_as_lines(self):
        self.table("defrag")
        job = self.table("jobs", "--limit=1").splitlines()[1].split()[0]
        self.assertIn("deviceId  defragmentedBytes", self.table("jobs", job))
        rows = self.on_terminal(80, "jobs", job)
        self.assertEqual(["host:0", "host:1", "fake:0"], [r.split()[1] for r in rows if r.startswith("    deviceId")])

    def test_global_flags_may_stand_after_the_verb(self):
        result = run_program("memkeep", "status", "--json", "--socket", self.daemon.socket_path)
        self.assertEqual(OK, result.returncode, result.stderr)
        self.assertEqual(ENVELOPE, json.loads(result.stdout).keys())


class Acting(CliWords, DaemonCase):
    devices = ("host:0=2GiB", "host:1=2GiB", "fake:0=1GiB")

    def made(self, size, **options):
        return self.data(*Words.alloc(size, **options))["allocation"]

    def test_alloc_and_free(self):
        allocation = self.made("8MiB", label="cli", purpose="staging")
        self.assertEqual((8 * MIB, "cli", "staging"), tuple(allocation[k] for k in ("sizeBytes", "label", "purpose")))
        self.assertEqual("host:0", self.look(allocation)["deviceId"])
        self.assertEqual(8 * MIB, self.data(*Words.free(allocation))["freedBytes"])
        self.assertTrue(self.is_gone(allocation))

    def test_what_is_allocated_outlives_the_command(self):
        allocation = self.made("4KiB")
        self.table("status")
        self.assertFalse(self.is_gone(allocation))

    def test_alloc_says_what_it_made(self):
        out = self.table(*Words.alloc("8MiB"))
        self.assertRegex(out, "a-[0-9a-f]{16}")
        self.assertIn("8.0 MiB", out)

    def test_sizes_are_written_as_people_write_them(self):
        for text, size in (("4096", 4096), ("4KiB", 4 * KIB), ("512K", 512 * KIB), ("8MiB", 8 * MIB), ("8M", 8 * MIB),
                           ("8m", 8 * MIB), ("1GiB", 1024 * MIB), ("1.5M", 1536 * KIB), ("100B", 100)):
            with self.subTest(text):
                allocation = self.made(text)
                self.assertEqual(size, allocation["sizeBytes"])
                self.free(allocation)

    def test_sizes_that_are_none_are_a_usage_error(self):
        for text in ("8XB", "big", "", "1.2.3M", "0x10", "99999999999999999999"):
            with self.subTest(text), self.nothing_changes():
                self.assertTrue(self.memkeep(*Words.alloc(text), code=USAGE).stderr)

    def test_clear(self):
        self.allocate(4 * MIB)
        self.free(self.allocate(4 * KIB))
        self.assertGreater(self.device()["cachedBytes"], 0)
        self.data(*Words.clear())
        self.assertEqual(0, self.device()["cachedBytes"])
        self.assertEqual(1, self.data(*Words.clear("host:0", "all"))["clearedAllocations"])

    def test_defrag(self):
        made = [self.allocate(64 * KIB) for _ in range(64)]
        for allocation in made[::2]:
            self.free(allocation)
        self.assertGreater(self.data(*Words.defrag("host:0", "thorough"))["allocationsMoved"], 0)
        self.assertTrue(self.table(*Words.defrag()))

    def test_transfer(self):
        allocation = self.allocate(4 * MIB)
        self.fill(allocation, 5)
        data = self.data(*Words.transfer(allocation, "host:0", "host:1", "move"))
        self.assertEqual(("completed", True), (data["status"], data["verified"]))
        self.assertEqual("host:1", self.look(allocation)["deviceId"])
        self.assertIn("completed", self.table(*Words.transfer(allocation, "host:1", "fake:0")))

    def test_a_failure_is_1_and_says_why(self):
        result = self.memkeep(*Words.free("a-0123456789abcdef"), code=FAILED)
        self.assertIn("a-0123456789abcdef", result.stderr)
        self.memkeep(*Words.alloc("3GiB"), code=FAILED)
        self.memkeep("status", "cuda:0", code=FAILED)

    def test_a_failure_as_json_is_the_envelope(self):
        error = self.json(*Words.free("a-0123456789abcdef"), code=FAILED)["error"]
        self.assertEqual(("ALLOCATION_NOT_FOUND", 404), (error["code"], error["statusCode"]))

    def test_a_protected_one_needs_force(self):
        allocation = self.allocate(4096, pinned=True)
        self.memkeep(*Words.free(allocation), code=FAILED)
        self.memkeep(*Words.free(allocation, force=True))
        self.assertTrue(self.is_gone(allocation))

    def test_show_tells_an_allocations_past(self):
        allocation = self.allocate(4096, label="mine")
        out = self.table("show", name_of(allocation))
        self.assertRegex(out, "label +mine\n")
        self.assertIn("created  4.0 KiB on host:0", out)

    def test_clear_says_what_workers_cleared(self):
        head, row = self.table(*Words.clear()).split("\n\n")[1].splitlines()
        self.assertEqual((["WORKER", "CLEARED"], ["host", "0", "B"]), (head.split(), row.split()))

    def test_transfers_are_listed_or_one_is_shown(self):
        self.assertIn("no transfers", self.table("transfers"))
        allocation = self.allocate(4096)
        done = [self.transfer(allocation)["transferId"] for _ in range(3)][::-1]
        self.assertEqual(done, [line.split()[0] for line in self.table("transfers").splitlines()[1:]])
        self.assertIn("checksum", self.table("transfers", done[0]))

    def test_jobs_are_listed_or_one_is_shown(self):
        self.assertIn("no jobs", self.table("jobs"))
        allocation = self.allocate(4096)
        done = [self.fill(allocation, value)["jobId"] for value in range(3)][::-1]
        for words, listed in (((), done), (("--status", "completed"), done), (("--limit=1",), done[:1])):
            self.assertEqual(listed, [line.split()[0] for line in self.table("jobs", *words).splitlines()[1:]])
        self.assertIn("no jobs", self.table("jobs", "--status", "failed"))
        self.assertIn("completed", self.table("jobs", done[0]))


class Following(CliWords, DaemonCase):
    @contextlib.contextmanager
    def events(self, *words):
        words = [program("memkeep"), "--socket", self.daemon.socket_path, "events", "--follow", *words]
        with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
            yield process
            process.kill()

    def test_events_are_told_as_they_happen(self):
        first = self.allocate(4096)
        with self.events("--last-event-id", "0", "--types", "allocation.created") as process:
            self.assertIn(f"allocation.created    allocationId {name_of(first)}  deviceId ", process.stdout.readline())
            second = self.allocate(8192)
            self.assertIn(f"{name_of(second)}  deviceId {second['deviceId']}  sizeBytes 8.0 KiB",
                          process.stdout.readline())

    def seen(self, columns, *words):
        """A person's terminal, on which an event is."""
        terminal = Terminal([program("memkeep"), "--socket", self.daemon.socket_path, "events", "--follow", *words],
                            rows=60, columns=columns, environment=clean_environment(LC_ALL="C.UTF-8"))
        with terminal:
            terminal.wait_for("allocation.created")
            terminal.wait_for("allocation.freed")
            return [row for row in terminal.rows if row]

    def test_on_a_terminal_each_has_one_line_with_its_id(self):
        made = self.allocate(4096)
        self.free(made)
        for columns in (60, 80, 200):
            with self.subTest(columns):
                rows = self.seen(columns, "--last-event-id", "0", "--types", "allocation.*")
                self.assertEqual(2, len(rows), rows)
                for row in rows:
                    self.assertIn(f"allocationId {name_of(made)}", row)
                self.assertEqual(columns == 200, "sizeBytes 4.0 KiB" in rows[0])

    def test_as_json_they_come_as_over_the_socket(self):
        made = self.allocate(4096)
        with self.events("--last-event-id", "0", "--types", "allocation.*", "--json") as process:
            event = json.loads(process.stdout.readline())
        self.assertEqual(("allocation.created", name_of(made)), (event["event"], event["data"]["allocationId"]))

    def test_they_end_with_the_time_that_was_given(self):
        self.assertEqual("", self.memkeep("events", "--follow", "--types", "allocation.*", "--timeout", "100ms").stdout)

    def test_they_end_with_the_daemon(self):
        self.allocate(4096)
        with self.events("--last-event-id", "0", "--types", "allocation.*") as process:
            process.stdout.readline()
            self.daemon.stop()
            self.assertEqual(UNREACHABLE, process.wait(20))


class Usage(CliWords, SharedDaemonCase):
    def test_wrong_words_are_2(self):
        for words in ((), ("dance",), ("status", "host:0", "host:1"), ("free",), ("alloc",), ("status", "--no-such"),
                      ("alloc", "4096", "--purpose"), ("events",), ("--timeout", "soon", "status")):
            with self.subTest(words):
                self.assertTrue(self.memkeep(*words, code=USAGE).stderr)

    def test_a_wrong_word_of_a_field_is_told_with_those_there_are(self):
        result = self.memkeep(*Words.alloc("4096", purpose="fun"), code=USAGE)
        self.assertIn("purpose", result.stderr)

    def test_what_is_wrong_says_what_to_do(self):
        for words, code, said in ((["alloc", "12XB"], USAGE, "memkeep alloc --help"),
                                  (["alloc", "0"], USAGE, "memkeep alloc --help"),
                                  (["alloc", "1", "--ttl", "soon"], USAGE, "is not a time, such as 500ms, 30s or 5m"),
                                  (["model", "load"], USAGE, "memkeep model load --help"),
                                  (["exec", "memory.free", "x"], USAGE, "memkeep exec memory.free --help"),
                                  (["exec", "memory.no"], FAILED, "memkeep exec --help"),
                                  (["jobs", "j-1"], FAILED, "memkeep jobs lists"),
                                  (["transfers", "t-1"], FAILED, "memkeep transfers lists"),
                                  (["status", "x:0"], FAILED, "  available: host:0, host:1\n  memkeep devices"),
                                  (["model", "load", "/no/such.gguf"], FAILED, "memkeep model ls"),  # a job that fails
                                  (["bench", "x:0"], FAILED, "memkeep devices")):
            with self.subTest(words):
                self.assertIn(said, self.memkeep(*words, code=code).stderr)

    def test_help_is_no_error(self):
        out = self.memkeep("--help").stdout
        for verb in ("status", "ps", "alloc", "free", "clear", "defrag", "transfer", "devices"):
            self.assertRegex(out, rf"\b{verb}\b")

    def test_help_fits_80_columns(self):
        verbs = [line.split("  ")[1] for line in self.memkeep("--help").stdout.split("flags of all")[0].splitlines()
                 if line.startswith("  ") and line[2] != " "]
        self.assertIn("model load", verbs)
        for verb in verbs:
            if verb.startswith(("exec", "events")):
                continue
            for line in self.memkeep(*verb.split(), "--help").stdout.splitlines():
                if not line.startswith("example"):
                    self.assertLessEqual(len(line), 80, f"{verb}: {line}")

    def test_a_group_of_verbs_is_told(self):
        for words in (["model"], ["model", "frob"]):
            self.assertIn("memkeep model --help lists them", self.memkeep(*words, code=2).stderr)

    def test_help_of_a_verb(self):
        for verb in ("status", "ps", "alloc", "free", "clear", "defrag", "transfer", "devices"):
            with self.subTest(verb):
                self.assertIn(verb, self.memkeep(verb, "--help").stdout)

    def test_an_answer_that_cannot_be_written_is_a_failure(self):
        with open("/dev/full", "w") as full:
            result = subprocess.run([program("memkeep"), "--socket", self.daemon.socket_path, "status"], stdout=full,
                                    stderr=subprocess.PIPE, text=True, env=clean_environment(), timeout=60)
        self.assertEqual((FAILED, "memkeep: the output could not be written: No space left on device\n"),
                         (result.returncode, result.stderr))

    def test_version(self):
        self.assertIn(self.daemon.facts["version"], self.memkeep("--version").stdout)

    def test_nobody_there_is_3(self):
        with tempfile.TemporaryDirectory() as folder:
            for words in (("status",), ("--json", "ps")):
                result = run_program("memkeep", "--socket", f"{folder}/none.sock", *words)
                self.assertEqual(UNREACHABLE, result.returncode, result.stderr)
                self.assertTrue(re.search("memkeepd|none.sock", result.stderr), result.stderr)

    def test_a_socket_path_that_is_too_long(self):
        result = run_program("memkeep", "--socket", "/tmp/" + "x" * 200, "status")
        self.assertIn(result.returncode, (USAGE, UNREACHABLE))
        self.assertTrue(result.stderr)

    def test_the_default_socket_is_in_the_runtime_folder(self):
        with tempfile.TemporaryDirectory() as folder:
            os.mkdir(f"{folder}/memkeep", 0o700)
            os.symlink(self.daemon.socket_path, f"{folder}/memkeep/memkeep.sock")
            result = run_program("memkeep", "status", environment={"XDG_RUNTIME_DIR": folder})
        self.assertEqual(OK, result.returncode, result.stderr)

    def test_usage_errors_need_no_daemon(self):
        self.assertEqual(USAGE, run_program("memkeep", "--socket", "/nowhere", "dance").returncode)

    def test_http_and_cli_agree_on_usage_of_memory(self):
        self.assertEqual(self.ok(self.daemon.get(f"{MEMORY}/status"))["totalBytes"], self.data("status")["totalBytes"])


if __name__ == "__main__":
    unittest.main()
