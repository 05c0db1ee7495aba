"""What the harness itself asks of a container engine: is it there, and has it the test image."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path
from typing import Any

import httpx
import msgspec

from harness.errors import EngineUnavailable, Unanswered

NAMESPACES = ("unshare", "--pid", "--fork", "--kill-child", "--mount", "--mount-proc")
"""Runs an engine of our own in pid and mount namespaces: the kernel ends its containers and its mounts with it."""
_DEADLINE = 20.0
"""Seconds: loading an image is the longest call."""


def trusting(certificates: Path | None) -> dict[str, str]:
    """The environment of a program in Go that checks servers by these certificates (PEM); Go's `crypto/x509`."""
    return {} if certificates is None else {"SSL_CERT_FILE": str(certificates)}


class _Component(msgspec.Struct, rename="pascal"):
    name: str


class _Version(msgspec.Struct, rename="pascal"):
    version: str
    components: list[_Component] = []


class EngineClient:
    """A synchronous client of one engine's Docker-compatible API."""

    def __init__(self, path: str) -> None:
        """Contact nothing yet."""
        self.socket = path
        self._http = httpx.Client(
            # There is no TLS on a socket, and what httpx trusts takes 30 ms to load.
            transport=httpx.HTTPTransport(uds=path, verify=False),
            base_url="http://engine",
            timeout=_DEADLINE,
            trust_env=False,
        )

    def close(self) -> None:
        """End the connections."""
        self._http.close()

    def answers(self) -> bool:
        """Whether an engine is there now."""
        with contextlib.suppress(Unanswered):
            return bool(self.version())
        return False

    def version(self) -> str:
        """Its name and version, for people.

        Raises:
            Unanswered: nobody answers at the socket.
        """
        try:
            found = msgspec.json.decode(self.call("GET", "/version").content, type=_Version)
        except msgspec.DecodeError as error:
            raise Unanswered(
                f"{self.socket} answers, but is no engine: {error}", next_step="what runs there?"
            ) from error
        return f"{found.components[0].name if found.components else 'Engine'} {found.version}"

    def load(self, archive: bytes) -> None:
        """Import a docker archive.

        Raises:
            EngineUnavailable: the engine refused it.
            Unanswered: nobody answers.
        """
        answer = self.call("POST", "/images/load", content=archive, headers={"content-type": "application/x-tar"})
        if answer.is_error or '"error"' in answer.text:
            raise EngineUnavailable(
                f"{self.socket}: the engine does not take the test image: {answer.text.strip()}",
                next_step="see the engine's log",
            )

    def has_image(self, image: str) -> bool:
        """Whether it is there; as `version` for errors."""
        return self.call("GET", f"/images/{image}/json").status_code == 200

    def call(self, method: str, path: str, **options: Any) -> httpx.Response:  # noqa: ANN401 - httpx's own options
        """One request, with httpx's options.

        Raises:
            Unanswered: nobody answers.
        """
        try:
            # httpcore leaves the socket open when nobody listens.
            with socket.socket(socket.AF_UNIX) as probe:
                probe.connect(self.socket)
            return self._http.request(method, path, **options)
        except (httpx.TransportError, OSError) as error:
            raise Unanswered(
                f"no container engine answers at {self.socket}: {error or type(error).__name__}",
                next_step="is it running?",
            ) from error
