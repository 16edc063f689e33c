#!/usr/bin/env python3
"""The dashboard's files as one C source, for src/http/page.h: every file of web/ and, at /vendor/, those of uPlot, its
licence before its code.

    tools/embed.py WEB UPLOT >page_files.c
"""

import hashlib
import sys
from pathlib import Path

TYPES = {".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml",
         ".js": "text/javascript; charset=utf-8"}


def files(web, uplot):
    """(path, bytes) of each, in order of paths."""
    found = {f"/{file.relative_to(web)}": file.read_bytes() for file in web.rglob("*")
             if file.suffix in TYPES and "node_modules" not in file.parts}
    found["/"] = found.pop("/index.html")
    licence = b"/*\n" + (uplot / "LICENSE").read_bytes() + b"*/\n"
    for file, name in (("uPlot.iife.min.js", "uplot.js"), ("uPlot.min.css", "uplot.css")):
        found[f"/vendor/{name}"] = licence + (uplot / "dist" / file).read_bytes()
    return sorted(found.items())


def array(data):
    lines = (data[i:i + 24] for i in range(0, len(data), 24))
    return ",\n".join(",".join(map(str, line)) for line in lines)


def main():
    web, uplot = map(Path, sys.argv[1:])
    print('/* Made by tools/embed.py. */\n#include "http/page.h"\n')
    rows = []
    for number, (path, data) in enumerate(files(web, uplot)):
        print(f"static const unsigned char file_{number}[] = {{\n{array(data)}}};")
        kind = TYPES[Path(path).suffix or ".html"]
        tag = hashlib.sha256(data).hexdigest()[:16]
        rows.append(f'    {{"{path}", "{kind}", "\\"{tag}\\"", (const char *)file_{number}, sizeof file_{number}}},')
    print("\nconst struct page page_files[] = {", *rows, "};", sep="\n")
    print(f"const size_t page_file_count = {len(rows)};")


if __name__ == "__main__":
    main()
