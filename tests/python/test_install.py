"""pip installs the package from the tree, into an environment that has nothing and without a network, and it works
from anywhere."""

import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from client import LIB
from harness import SOURCE, SharedDaemonCase, clean_environment

PROGRAM = """
import sys, memkeep
assert memkeep.__file__.startswith(sys.prefix), memkeep.__file__
with memkeep.connect(sys.argv[1]) as client, client.allocate(4096, memory_type="RAM") as memory:
    memory.buffer[:5] = b"hello"
    print(memkeep.__version__, bytes(memory.buffer[:5]).decode())
"""


class Install(SharedDaemonCase):
    def setUp(self):
        self.folder = Path(tempfile.mkdtemp(prefix="memkeep-install-"))
        self.addCleanup(shutil.rmtree, self.folder)
        tree = self.folder / "tree"
        shutil.copytree(SOURCE / "python", tree / "python", ignore=shutil.ignore_patterns("build", "*.egg-info"))
        shutil.copy(SOURCE / "CMakeLists.txt", tree)
        (tree / "build").mkdir()
        (tree / "build/lib").symlink_to(LIB)
        self.run_in(sys.executable, "-m", "venv", self.folder / "venv")
        self.python = self.folder / "venv/bin/python"

    def run_in(self, *words):
        environment = clean_environment(HOME=str(self.folder), PIP_DISABLE_PIP_VERSION_CHECK="1")
        environment.pop("PYTHONPATH", None)
        done = subprocess.run(list(map(str, words)), capture_output=True, text=True, timeout=300, cwd=self.folder,
                              env=environment)
        self.assertEqual(0, done.returncode, done.stdout + done.stderr)
        return done.stdout

    def install(self, *flags):
        self.run_in(self.python, "-m", "pip", "install", "--quiet", "--no-index", *flags,
                    self.folder / "tree/python")

    def works(self):
        self.assertEqual("0.1.0 hello\n", self.run_in(self.python, "-c", PROGRAM, self.daemon.socket_path))

    def test_from_the_tree(self):
        self.install()
        self.works()
        typed = self.run_in(self.python, "-c", "import memkeep, os; print(os.listdir(memkeep.__path__[0]))")
        self.assertIn("py.typed", typed)
        self.assertEqual(sorted(path.name for path in (SOURCE / "python/memkeep").rglob("*.py")),
                         sorted(path.name for path in self.installed().rglob("*.py") if path.name != "_tree.py"))

    def test_as_it_lies_in_the_tree(self):
        self.install("--editable")
        where = self.run_in(self.python, "-c", "import memkeep; print(memkeep.__path__[0])")
        self.assertEqual(f"{self.folder}/tree/python/memkeep\n", where)

    def test_from_an_archive(self):
        make = f"import backend; print(backend.build_sdist({str(self.folder)!r}))"
        archive = self.folder / self.run_in("env", "-C", self.folder / "tree/python", self.python, "-c", make).strip()
        self.run_in(self.python, "-m", "pip", "install", "--quiet", "--no-index", archive)
        self.assertFalse((self.installed() / "_tree.py").exists())
        self.assertIn('numpy; extra == "numpy"', (self.installed().parent / "memkeep-0.1.0.dist-info/METADATA").read_text())

    def installed(self):
        return next((self.folder / "venv/lib").glob("python3*/site-packages/memkeep"))

    def test_the_version_is_the_librarys(self):
        header = (SOURCE / "include/memkeep/memkeep.h").read_text()
        import memkeep
        self.assertIn(f'#define MK_VERSION "{memkeep.__version__}"', header)
        self.assertIn(f'version = "{memkeep.__version__}"', (SOURCE / "python/pyproject.toml").read_text())


if __name__ == "__main__":
    unittest.main()
