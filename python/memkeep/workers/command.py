"""The command line that the workers beside servers share."""

from __future__ import annotations

import argparse
import inspect
import os
from typing import Any, Callable, Dict, List, Optional, Type

from .arbiter import Arbiter, Settings

_EPILOG = """The worker runs until it is stopped, waits for a server or a daemon that is away, and says on stderr when one
comes or goes. A busy server is left alone unless memory is critical. docs/arbiters.md has the rest."""


def run(kind: Type[Arbiter], about: Optional[str], more: Optional[Callable[[argparse.ArgumentParser], Any]] = None,
        argv: Optional[List[str]] = None) -> None:
    """Of a module's own words: until the process is told to end."""
    parser = _parser(kind, about or "", more)
    words = parser.parse_args(argv)
    settings = Settings(words.url, words.device, words.pid, words.every, words.idle, words.timeout)
    try:
        worker = kind(settings, words.name, _headers(words), **({"wake": words.wake} if "wake" in words else {}))
    except ValueError as problem:
        parser.error(str(problem))
    try:
        if "MEMKEEP_FD" in os.environ and words.socket is None:
            worker.run()
        else:
            worker.run_socket(words.socket)
    except KeyboardInterrupt:
        worker.stop()


def _parser(kind: Type[Arbiter], about: str, more: Optional[Callable[[argparse.ArgumentParser], Any]]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"python3 -m memkeep.workers.{kind.module}", description=inspect.cleandoc(about),
                                     epilog=_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Settings("")
    parser.add_argument("--url", default=kind.url, help="the server's address (default: %(default)s)")
    parser.add_argument("--device", help="where its memory is: cuda:0, … (default: some card)")
    parser.add_argument("--pid", type=_positive_int, help="the server's process (default: who listens on its port)")
    parser.add_argument("--name", default=kind.module, help="on the daemon's socket NAME-PID (default: %(default)s)")
    parser.add_argument("--socket", help="the daemon's (default: as every client finds it)")
    parser.add_argument("--every", type=_positive, default=default.every, help="seconds between two looks (default: %(default)g)")
    parser.add_argument("--idle", type=_positive, default=default.idle,
                        help="seconds without use after which a model may go, where the server does not say that it is used "
                             "(default: %(default)g)")
    parser.add_argument("--timeout", type=_positive, default=default.timeout,
                        help="seconds for the server to answer a look (default: %(default)g)")
    parser.add_argument("--token", metavar="VARIABLE", help="an environment variable with a bearer token for the server")
    parser.add_argument("--header", metavar="VARIABLE", help="an environment variable with a header for it, 'Name: value'")
    if more:
        more(parser)
    return parser


def _headers(words: argparse.Namespace) -> Dict[str, str]:
    """ValueError, which does not show what it was about."""
    found: Dict[str, str] = {}
    if words.token:
        found["Authorization"] = f"Bearer {_secret(words.token)}"
    if words.header:
        name, colon, value = _secret(words.header).partition(":")
        if not colon or not name.strip():
            raise ValueError(f"{words.header} has no 'Name: value'")
        found[name.strip()] = value.strip()
    return found


def _secret(variable: str) -> str:
    value = os.environ.get(variable, "")
    if not value or not value.isascii() or not value.isprintable():
        raise ValueError(f"the environment has nothing usable in {variable}")
    return value


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value <= 86400:
        raise argparse.ArgumentTypeError("it is a number of seconds, more than 0")
    return value


def _positive_int(text: str) -> int:
    value = int(text)
    if value <= 0:
        raise argparse.ArgumentTypeError("it is the number of a process")
    return value
