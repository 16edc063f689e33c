"""A daemon of one's own for every test, and the words that tests speak in.

    class CopiesBytes(DaemonCase):
        def test_a_fill_is_copied(self):
            source = self.allocate(4 * MIB, "host:0")
            ...

DaemonCase starts a daemon for each test, SharedDaemonCase one for all tests of its class. When a test fails, what the
daemon said meanwhile is printed. Programs come from $MEMKEEP_BIN. Nothing here waits for a while and hopes: wait_until
asks until it is so, and fails at its deadline.
"""

import contextlib
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import tempfile
import time
import unittest
from datetime import datetime, timezone
from pathlib import Path

import kernel
import shapes
from doors import Events, Http, Raw, Unix

KIB, MIB, GIB = 1024, 1024 ** 2, 1024 ** 3
SOURCE = Path(__file__).resolve().parents[2]
BIN = Path(os.environ.get("MEMKEEP_BIN", SOURCE / "build/bin"))
HOSTS = ("host:0=2GiB", "host:1=2GiB")
MEMORY = "/api/memory"
ENVELOPE = {"success", "data", "message", "error", "timestamp", "correlationId"}
ERROR = {"code", "message", "statusCode", "path", "details"}
SANITIZERS = re.compile(r"ERROR: \w+Sanitizer|WARNING: ThreadSanitizer|runtime error:")
NOBODY = 65534

# Some tests hold thousands of connections.
resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)

# A shell's background job and nohup begin with signals ignored; that is inherited, and no shell could trap them.
for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, signal.default_int_handler if number is signal.SIGINT else signal.SIG_DFL)


def wait_until(condition, what, seconds=30):
    """Asks until condition() is true and returns it."""
    end = time.monotonic() + seconds
    while not (result := condition()):
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.01)
    return result


def program(name):
    return str(BIN / name)


def clean_environment(**more):
    """The environment without what could configure the daemon from outside."""
    kept = {name: value for name, value in os.environ.items()
            if not name.startswith(("MEMKEEP_", "XDG_")) and name != "NOTIFY_SOCKET"}
    return kept | more


class Asked:
    """What has `http`, asked in short."""

    def get(self, path, headers=None):
        return self.http.get(path, headers)

    def post(self, path, body=None, headers=None):
        return self.http.post(path, body, headers)

    def put(self, path, body=None, headers=None):
        return self.http.put(path, body, headers)

    def delete(self, path, headers=None):
        return self.http.delete(path, headers)


class Daemon(Asked):
    """memkeepd in a temporary folder of its own."""

    def __init__(self, *flags, devices=HOSTS, folder=None, environment=None, listen="127.0.0.1:0", start=True):
        self.folder = Path(folder or tempfile.mkdtemp(prefix="memkeep-e2e-"))
        self.owns_folder = folder is None
        self.runtime, self.state = self.folder / "run", self.folder / "state"
        self.log_path = self.folder / "stderr"
        self.command = [program("memkeepd"), "--runtime-dir", str(self.runtime), "--state-dir", str(self.state),
                        "--no-gpu"]
        self.command += ["--listen", listen] if listen else []
        self.command += [word for device in devices for word in ("--device", device)]
        self.command += flags
        self.environment = clean_environment(HOME=str(self.folder), XDG_CONFIG_HOME=str(self.folder))
        self.environment |= environment or {}
        self.process = self.facts = self.http = None
        self.last_log, self.pass_fds = "", ()
        if start:
            self.start()

    # -- life

    def spawn(self):
        """Starts the program without waiting for anything."""
        for folder in (self.runtime, self.state):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (self.runtime / "memkeepd.json").unlink(missing_ok=True)
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            env=self.environment, cwd=self.folder, start_new_session=True,
                                            pass_fds=self.pass_fds)
        return self

    def start(self):
        self.facts = None
        self.spawn()
        try:
            self.facts = wait_until(self._ready, "memkeepd.json", 20)
        except BaseException as problem:
            log = self.log()
            self.close()
            raise AssertionError(f"{problem}\n{' '.join(self.command)}\n{log}") from None
        self.http = Http(self.facts["port"])
        return self

    def _ready(self):
        if self.process.poll() is not None:
            raise AssertionError(f"memkeepd ended with {self.process.returncode}")
        try:
            return json.loads((self.runtime / "memkeepd.json").read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            return None

    def stop(self, how=signal.SIGTERM, seconds=30):
        """Ends it as a user would; it must obey, cleanly, and without a word from a sanitizer. It has 5 s for that (contract 7);
        the rest is for a machine that has a lot else to do."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"memkeepd still ran {seconds} s after {how.name}\n{self.log()}") from None
        if code != 0 or SANITIZERS.search(self.log()):
            raise AssertionError(f"memkeepd ended with {code}\n{self.log()}")

    def kill(self):
        """SIGKILL: what a crash leaves."""
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def close(self):
        """stop() and remove the folder, whatever happens."""
        try:
            if self.facts and self.process.poll() is None:
                self.stop()
        finally:
            self.kill()
            self.release_vault()
            self.last_log = self.log()
            if self.owns_folder:
                shutil.rmtree(self.folder, ignore_errors=True)

    def release_vault(self):
        """What a crash or a stop left with the vault goes, and the vault with it."""
        if (self.runtime / "vault.sock").exists():
            run_program("memkeep-vault", "--runtime-dir", str(self.runtime), "--release-all")

    # -- what it is

    @property
    def pid(self):
        return self.process.pid

    @property
    def port(self):
        return self.facts["port"]

    @property
    def socket_path(self):
        return self.facts["socket"]

    def log(self):
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else self.last_log

    def resident(self):
        """Bytes of RAM in memfds of the daemon and its workers, from the kernel."""
        return kernel.resident(self.pid)

    # -- its doors

    def session(self):
        return self.http.session()

    def raw(self, data=b"", timeout=30):
        return Raw(self.port, timeout).send(data)

    def unix(self):
        return Unix(self.socket_path)

    def events(self, query="", headers=None):
        return Events(self.port, f"{MEMORY}/events{query}", headers)

    def open_to_everybody(self):
        """Lets other users reach the socket file, so that the daemon and not the file system says no."""
        self.folder.chmod(0o711)
        self.runtime.chmod(0o711)
        os.chmod(self.socket_path, 0o666)


class Case(unittest.TestCase):
    """Words for tests; `daemon` is there."""

    maxDiff = None
    flags, devices = (), HOSTS
    daemon = None

    def run(self, result=None):
        counts = (len(result.failures), len(result.errors)) if result else None
        seen = len(self.daemon.log()) if self.daemon else 0
        super().run(result)
        if result and counts != (len(result.failures), len(result.errors)) and self.daemon:
            print(f"--- memkeepd during {self.id()}\n{self.daemon.log()[seen:]}---", flush=True)

    # -- checks

    def assert_shape(self, value, shape, where="data"):
        self.assertEqual([], shapes.differences(value, shape, where))

    def assert_envelope(self, answer):
        self.assertIsInstance(answer.body, dict, answer)
        self.assertEqual(ENVELOPE, answer.body.keys())
        self.assertRegex(answer.body["timestamp"], f"^{shapes.TIMESTAMP.pattern}$")
        self.assertRegex(answer.body["correlationId"], r"^[A-Za-z0-9._-]{1,64}$")
        self.assertEqual(answer.body["correlationId"], answer.headers.get("X-Correlation-ID"))
        self.assertIn("application/json", answer.headers.get("Content-Type"))

    def ok(self, answer, status=200):
        """The data of a success."""
        self.assertEqual(status, answer.status, answer.body)
        self.assert_envelope(answer)
        self.assertIs(True, answer.body["success"])
        self.assertIsNone(answer.body["error"])
        return answer.body["data"]

    def refused(self, answer, status, code):
        """The error of a refusal."""
        self.assertEqual((status, code), (answer.status, answer.code), answer.body)
        self.assert_envelope(answer)
        self.assertIs(False, answer.body["success"])
        self.assertIsNone(answer.body["data"])
        self.assertIsNone(answer.body["message"])
        error = answer.body["error"]
        self.assertEqual(ERROR, error.keys())
        self.assertEqual(status, error["statusCode"])
        self.assertTrue(error["message"])
        return error

    def refused_field(self, answer, code, field):
        """A 400 that names the field."""
        error = self.refused(answer, 400, code)
        self.assertIn(field, json.dumps([error["message"], error["details"]]))
        return error

    def refused_space(self, answer, code):
        """A 507 that says how much there is."""
        details = self.refused(answer, 507, code)["details"]
        self.assertLessEqual({"requestedBytes", "availableBytes", "largestFreeBytes", "fragmentationPercent",
                              "reclaimable"}, details.keys())
        return details

    @contextlib.contextmanager
    def nothing_changes(self):
        """What happens inside leaves allocations and books as they were."""
        before = self.books()
        yield
        self.assertEqual(before, self.books())

    def books(self):
        figures = ("availableBytes", "allocatedBytes", "committedBytes", "cachedBytes", "activeAllocations",
                   "segments", "limits")
        devices = {d["deviceId"]: {name: d[name] for name in figures} for d in self.host()["devices"]}
        allocations = {a["allocationId"]: (a["deviceId"], a["sizeBytes"], a["status"]) for a in self.allocations()}
        return devices, allocations

    # -- acts

    def host(self):
        return self.ok(self.daemon.get(f"{MEMORY}/status"))

    def device(self, name="host:0"):
        return self.ok(self.daemon.get(f"{MEMORY}/status/{name}"))

    def allocations(self):
        found, cursor = [], ""
        while cursor is not None:
            page = self.ok(self.daemon.get(f"{MEMORY}/allocations?limit=1000" + (cursor and f"&cursor={cursor}")))
            found += page["allocations"]
            cursor = page["nextCursor"]
        return found

    def try_allocate(self, size, device=None, **fields):
        path = f"{MEMORY}/allocations/allocate" + (f"/{device}" if device else "")
        return self.daemon.post(path, {"sizeBytes": size} | fields)

    def allocate(self, size, device="host:0", **fields):
        """A new allocation, as the daemon describes it."""
        return self.ok(self.try_allocate(size, device, **fields))["allocation"]

    def look(self, allocation):
        return self.ok(self.daemon.get(f"{MEMORY}/allocation/{name_of(allocation)}"))["allocation"]

    def is_gone(self, allocation):
        return self.daemon.get(f"{MEMORY}/allocation/{name_of(allocation)}").code == "ALLOCATION_NOT_FOUND"

    def try_free(self, allocation, force=False):
        return self.daemon.delete(f"{MEMORY}/allocations/{name_of(allocation)}" + ("?force=true" if force else ""))

    def free(self, allocation, force=False):
        return self.ok(self.try_free(allocation, force))

    def fill(self, allocation, value, **fields):
        return self.ok(self.daemon.post(f"{MEMORY}/operations/fill",
                                        {"allocationId": name_of(allocation), "value": value} | fields))

    def copy(self, source, target, **fields):
        return self.ok(self.daemon.post(f"{MEMORY}/operations/copy",
                                        {"sourceAllocationId": name_of(source),
                                         "targetAllocationId": name_of(target)} | fields))

    def checksum(self, allocation):
        """Of an allocation's bytes, through a copy of it that is gone again afterwards."""
        allocation = self.look(allocation)
        scratch = self.allocate(allocation["sizeBytes"], allocation["deviceId"])
        try:
            return self.copy(allocation, scratch)["checksum"]
        finally:
            self.free(scratch)

    def try_transfer(self, allocation, source, target, **fields):
        body = {"sourceDeviceId": source, "targetDeviceId": target}
        return self.daemon.post(f"{MEMORY}/transfer",
                                body | ({"allocationId": name_of(allocation)} if allocation else {}) | fields)

    def transfer(self, allocation, source="host:0", target="host:1", **fields):
        """Runs a transfer to its end."""
        return self.ok(self.try_transfer(allocation, source, target, wait=True, **fields))

    def start_transfer(self, allocation, source="host:0", target="host:1", **fields):
        return self.ok(self.try_transfer(allocation, source, target, wait=False, **fields), 202)

    def transfer_state(self, transfer):
        return self.ok(self.daemon.get(f"{MEMORY}/transfer/{transfer['transferId']}"))

    def transfer_ends(self, transfer, seconds=60):
        """Its state once it is neither pending nor in progress."""
        def ended():
            state = self.transfer_state(transfer)
            return state if state["status"] not in ("pending", "in_progress") else None
        return wait_until(ended, f"the end of {transfer['transferId']}", seconds)

    def transfer_moves(self, transfer):
        """Waits until bytes have arrived, and not yet all."""
        def moving():
            state = self.transfer_state(transfer)
            self.assertIn(state["status"], ("pending", "in_progress"), state)
            return state if state["transferredBytes"] > 0 else None
        return wait_until(moving, f"progress of {transfer['transferId']}")

    def workers(self):
        return self.ok(self.daemon.get(f"{MEMORY}/workers"))["workers"]

    def mover(self):
        """The worker that moves bytes, once it is ready."""
        def ready():
            found = [w for w in self.workers() if w["state"] in ("ready", "busy") and "memory.transfer"
                     in w["capabilities"]]
            return found[0] if found else None
        return wait_until(ready, "a worker that can transfer")


class DaemonCase(Case):
    """A fresh daemon for each test."""

    def setUp(self):
        self.daemon = Daemon(*self.flags, devices=self.devices)
        self.addCleanup(lambda: self.daemon.close())

    def restart_with(self, *flags, devices=None):
        """Another daemon instead of the one that setUp made."""
        self.daemon.close()
        self.daemon = Daemon(*flags, devices=devices or self.devices)


class SharedDaemonCase(Case):
    """One daemon for all tests of the class; they leave it as they found it."""

    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon(*cls.flags, devices=cls.devices)
        cls.addClassCleanup(cls.daemon.close)

    def tearDown(self):
        self.assertIsNone(self.daemon.process.poll(), "the daemon is gone")


def name_of(thing):
    """The id of an allocation, or the text itself."""
    return thing["allocationId"] if isinstance(thing, dict) else thing


def parse_time(text):
    """Seconds since 1970 of the contract's times."""
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=timezone.utc).timestamp()


def run_program(name, *words, seconds=30, environment=None, **more):
    """Runs one of the programs to its end; stdout and stderr as text."""
    return subprocess.run([program(name), *words], capture_output=True, text=True, timeout=seconds,
                          env=clean_environment(**(environment or {})), stdin=subprocess.DEVNULL, **more)
