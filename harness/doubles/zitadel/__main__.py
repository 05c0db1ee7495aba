"""`python -m harness.doubles.zitadel`: see the package's description."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import msgspec

from harness.doubles.zitadel.app import Double
from harness.doubles.zitadel.modes import Modes
from harness.doubles.zitadel.serve import DOMAINS
from harness.doubles.zitadel.store import ADMIN_LOGIN, Store
from harness.errors import HarnessError, Misused
from harness.processes.asgi import listen, server


def main(argv: list[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; 1 if that is not possible, and why on standard error."""
    try:
        _serve(_arguments(argv))
    except HarnessError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m harness.doubles.zitadel", description="A stand-in for Zitadel.")
    parser.add_argument("--state", type=Path, required=True, metavar="DIR", help="where it keeps its state")
    parser.add_argument("--port", type=int, default=0, metavar="N", help="0, the default, takes a free one")
    parser.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help="the address to listen on")
    parser.add_argument("--tls-cert", type=Path, metavar="FILE", help="PEM certificate chain; without it, plain HTTP")
    parser.add_argument("--tls-key", type=Path, metavar="FILE", help="its PEM private key")
    parser.add_argument("--domain", action="append", metavar="NAME", help="an instance's Host name; repeatable")
    parser.add_argument(
        "--device-interval",
        type=int,
        default=5,
        metavar="S",
        help="between polls of a device code (default: 5)",
    )
    return parser.parse_args(argv)


def _serve(options: argparse.Namespace) -> None:
    if bool(options.tls_cert) != bool(options.tls_key):
        raise Misused("--tls-cert and --tls-key belong together", next_step="give both or none")
    domains = options.domain or DOMAINS
    store = Store(options.state, domains)
    certificate = (options.tls_cert, options.tls_key) if options.tls_cert else None
    serving = server(Double(store, modes=Modes(device_interval=options.device_interval)), certificate)
    taken = listen(options.host, options.port)
    files, scheme = store.files[domains[0]], "https" if certificate else "http"
    about = {
        "issuer": f"{scheme}://{domains[0]}:{taken.getsockname()[1]}",
        "adminTokenFile": str(files.token),
        "adminLogin": ADMIN_LOGIN.format(domain=domains[0]),
        "adminPasswordFile": str(files.password),
    }
    sys.stdout.write(msgspec.json.encode(about).decode() + "\n")
    sys.stdout.flush()
    serving.run([taken])


if __name__ == "__main__":
    sys.exit(main())
