"""python3 -m memkeep.workers: which servers there is a worker for."""

from __future__ import annotations

from . import KINDS


def main() -> None:
    print("Workers beside servers that run already; --help tells more of each:")
    for module, server in KINDS.items():
        print(f"  python3 -m memkeep.workers.{module:11} {server}")


if __name__ == "__main__":
    main()
