"""The systemd units: what must be in them, what must not, and that systemd understands every line of them."""

import os
import re
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

from harness import BIN, SOURCE, program, run_program

UNITS = Path(os.environ.get("MEMKEEP_UNITS", BIN.parent / "packaging"))
DAEMON, VAULT = "memkeepd.service", "memkeep-vault.service"


def settings(unit):
    """{(section, key): [values]}"""
    found, section = {}, None
    for line in (UNITS / unit).read_text().splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif line and not line.startswith(("#", ";")):
            key, value = line.split("=", 1)
            found.setdefault((section, key), []).append(value)
    return found


class Units(unittest.TestCase):
    def test_both_have_what_memory_needs(self):
        for unit in (DAEMON, VAULT):
            with self.subTest(unit):
                service = {key: value for (section, key), value in settings(unit).items() if section == "Service"}
                self.assertEqual(["524288"], service["LimitNOFILE"])
                self.assertEqual(["infinity"], service["LimitMEMLOCK"])
                self.assertEqual(["yes"], service["RuntimeDirectoryPreserve"])
                self.assertEqual(["memkeep"], service["RuntimeDirectory"])
                self.assertEqual(["notify"], service["Type"])
                self.assertIn("/dev/nvidia* rw", service["DeviceAllow"])
                self.assertIn("char-nvidia* rw", service["DeviceAllow"])
                self.assertFalse({"PrivateDevices", "MemoryMax", "MemoryHigh", "DynamicUser"} & service.keys())

    def test_both_are_sandboxed(self):
        for unit in (DAEMON, VAULT):
            with self.subTest(unit):
                found = settings(unit)
                self.assertEqual(["yes"], found["Service", "NoNewPrivileges"])
                self.assertEqual(["strict"], found["Service", "ProtectSystem"])
                self.assertRegex(found["Service", "SystemCallFilter"][0], "^@system-service")

    def test_the_vault_is_part_of_nothing(self):
        found = settings(VAULT)
        self.assertEqual(["-900"], found["Service", "OOMScoreAdjust"])
        self.assertEqual(["yes"], found["Unit", "RefuseManualStop"])
        self.assertEqual([], [key for section, key in found if section == "Unit" and
                              key in ("PartOf", "BindsTo", "Requires", "Wants", "Conflicts")])

    def test_the_daemon_wants_the_vault_and_cannot_take_it_along(self):
        found = settings(DAEMON)
        self.assertEqual(["memkeep-vault.service"], found["Unit", "Wants"])
        self.assertIn("memkeep-vault.service", found["Unit", "After"][0].split())
        self.assertIn("--no-vault", found["Service", "ExecStart"][0].split())
        self.assertEqual(["process"], found["Service", "KillMode"])
        self.assertFalse({("Unit", "PartOf"), ("Unit", "BindsTo"), ("Unit", "Requires")} & found.keys())

    def test_the_programs_know_the_flags(self):
        for unit, name in ((DAEMON, "memkeepd"), (VAULT, "memkeep-vault")):
            with self.subTest(unit):
                words = settings(unit)["Service", "ExecStart"][0].split()
                self.assertRegex(words[0], f"^/.*/{name}$")
                known = run_program(name, "--help").stdout
                for word in words[1:]:
                    if word.startswith("--"):
                        self.assertIn(word, known)

    @unittest.skipUnless(shutil.which("systemd-analyze"), "needs systemd-analyze")
    def test_systemd_understands_every_line(self):
        with tempfile.TemporaryDirectory() as folder:
            for unit in (DAEMON, VAULT):
                text = (UNITS / unit).read_text()
                text = re.sub(r"^ExecStart=\S*/", lambda _: f"ExecStart={program('')}/", text, flags=re.M)
                text = re.sub(r"^Documentation=.*$", "", text, flags=re.M)  # its file is not installed yet
                (Path(folder) / unit).write_text(text)
            for unit in (DAEMON, VAULT):
                with self.subTest(unit):
                    answer = subprocess.run(["systemd-analyze", "verify", "--man=no", f"./{unit}"], cwd=folder,
                                            capture_output=True, text=True, timeout=60,
                                            env=os.environ | {"SYSTEMD_UNIT_PATH": f"{folder}:"})
                    ours = [line for line in answer.stderr.splitlines() if "memkeep" in line]
                    self.assertEqual([], ours)
                    self.assertEqual(0, answer.returncode, answer.stderr)

    def test_they_are_installed_where_systemd_looks(self):
        with tempfile.TemporaryDirectory() as folder:
            build, root = Path(folder) / "build", Path(folder) / "root"
            lists = Path(folder) / "CMakeLists.txt"
            lists.write_text('cmake_minimum_required(VERSION 3.25)\nproject(memkeep VERSION 0.1.0 LANGUAGES NONE)\n'
                             'include(cmake/install.cmake)\n')
            for name in ("cmake", "packaging", "docs", "LICENSE", "README.md"):
                (Path(folder) / name).symlink_to(SOURCE / name)
            for command in (["cmake", "-S", folder, "-B", build, "-DCMAKE_INSTALL_PREFIX=/opt/memkeep",
                             "-DCMAKE_INSTALL_BINDIR=bin", "-DCMAKE_INSTALL_DOCDIR=share/doc"],
                            ["cmake", "--install", build], ["cmake", "--install", build, "--prefix", "/usr"]):
                subprocess.run(command, check=True, capture_output=True, env=os.environ | {"DESTDIR": str(root)})
            for prefix in ("/opt/memkeep", "/usr"):
                units = root / prefix[1:] / "lib/systemd/system"
                self.assertEqual([VAULT, DAEMON, "memkeepd.socket"], sorted(os.listdir(units)))
                self.assertIn(f"\nExecStart={prefix}/bin/memkeepd --", (units / DAEMON).read_text())


if __name__ == "__main__":
    unittest.main()
