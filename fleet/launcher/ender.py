#!/usr/bin/env python3
"""Ends the containers that identities ordered on a host: `python3 -c THIS SOCKET DEVICE SERVER [DEVICE SERVER]...`.

The networks of their pods go, too. `fleet device uninstall` sends it to the host, where there may be no agent any more.
It is one file of the standard library, and prints the name of each container that it removed.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import sys
import urllib.parse
from typing import Any

DEVICE_LABEL, SERVER_LABEL = "io.fleet.device", "io.fleet.server"
NO_ENGINE = 4
"""Exit code: nobody answers at the socket."""
_LIMIT = 60
_GONE = (404, 409)
"""It is not there, or somebody else is removing it."""


class Engine(http.client.HTTPConnection):
    """The Docker-compatible API at a unix socket (docker, podman)."""

    def __init__(self, path: str) -> None:
        super().__init__("engine", timeout=_LIMIT)
        self._path = path

    def connect(self) -> None:
        """Open the socket instead of a port."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(_LIMIT)
        self.sock.connect(self._path)

    def ask(self, method: str, path: str) -> tuple[int, bytes]:
        """One request."""
        self.request(method, path)
        answer = self.getresponse()
        return answer.status, answer.read()


def ordered(engine: Engine, device: str, server: str) -> list[tuple[str, str]]:
    """Id and name of each container of an identity; one without a server is of an agent from before there were any."""
    filters = urllib.parse.quote(json.dumps({"label": [f"{DEVICE_LABEL}={device}"]}))
    status, body = engine.ask("GET", f"/containers/json?all=1&filters={filters}")
    if status != 200:
        raise OSError(f"it refuses to list containers: {body.decode(errors='replace').strip()}")
    listed: list[dict[str, Any]] = json.loads(body)
    mine = [one for one in listed if (one.get("Labels") or {}).get(SERVER_LABEL, server) == server]
    return [(one["Id"], (one.get("Names") or [one["Id"]])[0].lstrip("/")) for one in mine]


def remove(engine: Engine, container: str) -> None:
    """Stop a container with the usual grace, and remove it with its anonymous volumes."""
    engine.ask("POST", f"/containers/{container}/stop?t=10")
    status, body = engine.ask("DELETE", f"/containers/{container}?force=1&v=1")
    # podman says that it is gone with a 500, too.
    if status >= 300 and status not in _GONE and b"no such container" not in body:
        raise OSError(f"it keeps {container}: {body.decode(errors='replace').strip()}")


def remove_networks(engine: Engine, device: str, server: str) -> None:
    """Remove the networks of an identity's pods. One that another container is in stays."""
    filters = urllib.parse.quote(json.dumps({"label": [f"{DEVICE_LABEL}={device}", f"{SERVER_LABEL}={server}"]}))
    status, body = engine.ask("GET", f"/networks?filters={filters}")
    if status != 200:
        raise OSError(f"it refuses to list networks: {body.decode(errors='replace').strip()}")
    for one in json.loads(body):
        engine.ask("DELETE", f"/networks/{urllib.parse.quote(one['Name'])}")


def main(argv: list[str]) -> int:
    """The command line."""
    path, *words = argv
    engine = Engine(os.environ.get("FLEET_ROOT", "").rstrip("/") + path)
    try:
        for device, server in zip(words[::2], words[1::2], strict=True):
            for container, name in ordered(engine, device, server):
                remove(engine, container)
                print(name, flush=True)  # noqa: T201
            remove_networks(engine, device, server)
    except (FileNotFoundError, ConnectionRefusedError):
        return NO_ENGINE
    except (OSError, ValueError, KeyError, http.client.HTTPException) as error:
        print(f"the container engine at {path}: {error}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
