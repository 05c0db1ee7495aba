"""`python -m harness.doubles.engine`: see the package's description."""

from __future__ import annotations

import argparse
import contextlib
import sys
from pathlib import Path

import uvicorn

from harness.doubles.engine.app import Double
from harness.doubles.engine.manners import BY_NAME
from harness.errors import Misused

_SOCKET_PATH_LIMIT = 107
"""Bytes of a unix socket's path (unix(7))."""


def main(argv: list[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="python -m harness.doubles.engine", description="A stand-in for an engine.")
    parser.add_argument("--socket", type=Path, required=True, metavar="PATH", help="the unix socket to listen on")
    parser.add_argument("--state", type=Path, required=True, metavar="DIR", help="where it keeps its state")
    parser.add_argument("--registry", type=Path, metavar="DIR", help="docker archives that can be pulled")
    parser.add_argument(
        "--manners", choices=list(BY_NAME), default="docker", help="whose ways it has (default: docker)"
    )
    options = parser.parse_args(argv)
    if len(bytes(options.socket)) > _SOCKET_PATH_LIMIT:
        sys.stderr.write(f"{Misused(f'{options.socket} is too long for a socket', next_step='use a shorter path')}\n")
        return 1
    double = Double(options.state, options.registry or options.state / "registry", BY_NAME[options.manners])
    config = uvicorn.Config(
        double.app(), uds=str(options.socket), log_level="warning", access_log=False, timeout_graceful_shutdown=0
    )
    with contextlib.suppress(KeyboardInterrupt):
        uvicorn.Server(config).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
