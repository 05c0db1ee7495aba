"""`python -m harness.binaries [all|NAME...]`: prepare the real servers, and say where they are."""

from __future__ import annotations

import sys

from harness.binaries import BUILDS, NAMES, resolve_all
from harness.errors import HarnessError


def main(names: list[str]) -> int:
    """Print a line per server; 0 when all are there."""
    if names == ["all"]:
        names = [name for build in BUILDS for name in build.names]
    try:
        for name, path in resolve_all(names or NAMES).items():
            print(f"{name}\t{path}")  # noqa: T201 - this is the command's answer
    except HarnessError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
