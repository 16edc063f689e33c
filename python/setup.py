"""A package installed from the tree remembers where that tree builds libmemkeep; see memkeep/_library.py."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildPy(build_py):
    def run(self):
        super().run()
        library = Path(__file__).resolve().parent.parent / "build/lib"
        if not getattr(self, "editable_mode", False) and (library.parent.parent / "CMakeLists.txt").exists():
            Path(self.build_lib, "memkeep", "_tree.py").write_text(f"LIBRARY = {str(library)!r}\n")


setup(cmdclass={"build_py": BuildPy})
