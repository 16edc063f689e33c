"""How this package is built (PEP 517 and 660): a wheel is a zip of its files, so that `pip install ./python` needs neither a
network nor setuptools, which hosts with cards often lack. One that is installed from the tree remembers where that tree builds
libmemkeep (memkeep/_library.py)."""

import base64
import hashlib
import io
import re
import tarfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent
PROJECT = (ROOT / "pyproject.toml").read_text()
FACTS = dict(re.findall(r'^([\w-]+) = "(.*)"$', PROJECT, re.M))
NAME = f"{FACTS['name']}-{FACTS['version']}"
WHEEL = "Wheel-Version: 1.0\nGenerator: memkeep\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def _metadata():
    lines = ["Metadata-Version: 2.1", f"Name: {FACTS['name']}", f"Version: {FACTS['version']}",
             f"Summary: {FACTS['description']}", f"Requires-Python: {FACTS['requires-python']}"]
    for extra, needs in re.findall(r'^(\w+) = \["(\w+)"\]$', PROJECT, re.M):
        lines += [f"Provides-Extra: {extra}", f'Requires-Dist: {needs}; extra == "{extra}"']
    return ("\n".join(lines) + "\n").encode()


def _package():
    """The package's files by their names in a wheel."""
    paths = sorted(path for path in (ROOT / "memkeep").rglob("*") if path.suffix == ".py" or path.name == "py.typed")
    return {str(path.relative_to(ROOT)): path.read_bytes() for path in paths}


def _write_wheel(folder, files):
    files = files | {f"{NAME}.dist-info/METADATA": _metadata(), f"{NAME}.dist-info/WHEEL": WHEEL.encode()}
    record = f"{NAME}.dist-info/RECORD"
    rows = []
    for name, data in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")
        rows.append(f"{name},sha256={digest},{len(data)}\n")
    wheel = f"{NAME}-py3-none-any.whl"
    with zipfile.ZipFile(Path(folder) / wheel, "w", zipfile.ZIP_DEFLATED) as out:
        for name, data in (files | {record: ("".join(rows) + f"{record},,\n").encode()}).items():
            entry = zipfile.ZipInfo(name)  # of 1980: the same tree gives the same wheel
            entry.external_attr = 0o644 << 16
            out.writestr(entry, data)
    return wheel


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    files = _package()
    if (ROOT.parent / "CMakeLists.txt").exists():
        files["memkeep/_tree.py"] = f"LIBRARY = {str(ROOT.parent / 'build/lib')!r}\n".encode()
    return _write_wheel(wheel_directory, files)


def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    return _write_wheel(wheel_directory, {f"{FACTS['name']}.pth": f"{ROOT}\n".encode()})


def build_sdist(sdist_directory, config_settings=None):
    files = _package() | {name: (ROOT / name).read_bytes() for name in ("pyproject.toml", "backend.py")}
    with tarfile.open(Path(sdist_directory) / f"{NAME}.tar.gz", "w:gz") as out:
        for name, data in (files | {"PKG-INFO": _metadata()}).items():
            entry = tarfile.TarInfo(f"{NAME}/{name}")
            entry.size = len(data)
            out.addfile(entry, io.BytesIO(data))
    return f"{NAME}.tar.gz"
