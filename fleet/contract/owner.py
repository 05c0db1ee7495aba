"""To whom belongs what is on a device: the identity that ordered it, at the server that it was enrolled with."""

from __future__ import annotations

import hashlib

import msgspec

from fleet.contract.config import AgentConfig
from fleet.contract.parsing import NOT_JSON

REPLACED_PATH = "/var/lib/fleet/replaced.json"
"""The owners before the present one, whose containers the agent is to end: `fleet device setup --replace` writes it."""


class Owner(msgspec.Struct, frozen=True):
    """A device's identity. `server` is a digest of the issuer and the project: a server may move to another address."""

    device: str
    server: str

    @classmethod
    def of(cls, config: AgentConfig) -> Owner:
        """Whose a host is that has this configuration."""
        source = f"{config.auth.issuer}\0{config.auth.project}".encode()
        return cls(str(config.device_id), hashlib.sha256(source).hexdigest()[:16])

    @property
    def text(self) -> str:
        """It in a word, such as `pi-1@4a0f26d1c3b5e798`."""
        return f"{self.device}@{self.server}"


def parse_owners(data: bytes | None) -> list[Owner]:
    """The file of owners before the present one; one that does not parse names none."""
    try:
        return msgspec.json.decode(data or b"[]", type=list[Owner])
    except NOT_JSON:
        return []
