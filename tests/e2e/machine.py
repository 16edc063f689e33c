"""A machine that systemd boots: a container with this machine's /usr alone, and what `make install` makes.

Only what systemd boots before all services runs in it; ours are started by the tests. It shares this machine's network,
so its daemon listens on a port of its own (CONF). All of it runs in a name space of processes and mounts, which ends
with us however we end.
"""

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import kernel
from doors import Http
from harness import BIN, Asked, clean_environment, wait_until

CONF = 'listen = "127.0.0.1:0";\n'
TOOLS = ("systemd-nspawn", "nsenter", "setpriv", "unshare", "cmake")
SPACE = ("setpriv", "--pdeathsig", "KILL", "unshare", "--pid", "--kill-child", "--mount-proc")
# As on a real machine the vault can lock its memory, and systemd (by bpf) keep devices from services.
NSPAWN = ("systemd-nspawn", "--quiet", "--boot", "--directory=/", "--volatile=yes", "--register=no", "--keep-unit",
          "--console=pipe", "--capability=CAP_IPC_LOCK", "--system-call-filter=bpf")
SYSTEMD = ("systemd.unit=sysinit.target", "systemd.firstboot=no")
DAEMON, VAULT, SOCKET = "memkeepd.service", "memkeep-vault.service", "memkeepd.socket"


def own_cgroups(name):
    """New ones, at the top of each hierarchy that systemd counts in: two where the machine still has the old kind."""
    top = Path("/sys/fs/cgroup")
    found = [top / kind / name for kind in ("systemd", "unified") if (top / kind).is_dir()] or [top / name]
    for folder in found:
        folder.mkdir()
    return found


class Machine(Asked):
    def __init__(self):
        missing = [tool for tool in TOOLS if not shutil.which(tool)]
        if missing:
            raise AssertionError(f"systemd cannot be booted without {', '.join(missing)}; scripts/setup installs it")
        self.name = f"memkeep-{os.getpid()}"
        self.folder = Path(tempfile.mkdtemp(prefix="memkeep-machine-"))
        self.local = self.folder / "root/usr/local"
        self.install()
        (self.folder / "memkeep.conf").write_text(CONF)
        self.cgroups = own_cgroups(self.name)
        with open(self.folder / "console", "wb") as console:
            self.process = subprocess.Popen(
                [*SPACE, *NSPAWN, f"--machine={self.name}", f"--bind-ro={self.local}:/usr/local",
                 f"--bind-ro={self.folder}/memkeep.conf:/etc/memkeep/memkeep.conf", *SYSTEMD],
                stdin=subprocess.DEVNULL, stdout=console, stderr=console, preexec_fn=self._enter,
                env=clean_environment(SYSTEMD_NSPAWN_UNIFIED_HIERARCHY="1"))
        try:
            wait_until(self._is_up, "systemd to have booted")
        except BaseException as problem:
            said = (self.folder / "console").read_text(errors="replace")
            self.close()
            raise AssertionError(f"{problem}\n{said}") from None

    def _enter(self):
        for folder in self.cgroups:
            (folder / "cgroup.procs").write_text("0")

    def _is_up(self):
        if self.process.poll() is not None:
            raise AssertionError(f"systemd-nspawn ended with {self.process.returncode}")
        with contextlib.suppress(IndexError):
            return self.run("systemctl", "is-system-running", check=False).strip() in ("running", "degraded")

    def install(self):
        """What `make install` does, in the place of what was there, as a package's upgrade replaces files."""
        self.local.mkdir(parents=True, exist_ok=True)
        for old in self.local.iterdir():
            shutil.rmtree(old)
        subprocess.run(["cmake", "--install", str(BIN.parent), "--prefix", "/usr/local"], check=True,
                       capture_output=True, env=os.environ | {"DESTDIR": str(self.folder / "root")})

    def close(self):
        self.process.kill()
        self.process.wait()
        for top in self.cgroups:
            wait_until(lambda: self._is_removed(top), f"{top} to be empty")
        with contextlib.suppress(FileNotFoundError):
            os.rmdir(f"/run/systemd/nspawn/propagate/{self.name}")
        shutil.rmtree(self.folder)

    @staticmethod
    def _is_removed(top):
        with contextlib.suppress(OSError):
            for folder, _, _ in os.walk(top, topdown=False):
                os.rmdir(folder)
        return not top.exists()

    # -- inside

    @property
    def leader(self):
        """systemd's id out here."""
        nspawn = kernel.ids_of_children(self.process.pid)[0]
        return kernel.ids_of_children(nspawn)[-1]

    @property
    def root(self):
        """Its files, seen from here."""
        return Path(f"/proc/{self.leader}/root")

    def run(self, *words, check=True):
        """A command inside, to its end; what it said."""
        done = subprocess.run(["nsenter", "--all", f"--target={self.leader}", *words], capture_output=True, text=True,
                              timeout=60, env=clean_environment(), stdin=subprocess.DEVNULL)
        if check and done.returncode:
            raise AssertionError(f"{' '.join(words)}: {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout + done.stderr

    def systemctl(self, *words):
        return self.run("systemctl", *words)

    def memkeep(self, *words):
        return self.run("/usr/local/bin/memkeep", *words)

    def state(self, unit):
        return self.run("systemctl", "is-active", unit, check=False).strip()

    def pid(self, unit):
        """Of its main process, as the machine itself counts; 0: none runs."""
        return int(self.systemctl("show", "--property=MainPID", "--value", unit))

    # -- what tests know of a daemon

    def log(self):
        return self.run("journalctl", "--no-pager", f"--unit={DAEMON}", f"--unit={VAULT}", f"--unit={SOCKET}")

    @property
    def http(self):
        return Http(json.loads((self.root / "run/memkeep/memkeepd.json").read_text())["port"])
