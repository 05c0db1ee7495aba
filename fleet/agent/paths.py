"""Where the agent finds and keeps its files: all under one root, `/` in production."""

from __future__ import annotations

from pathlib import Path

import msgspec

from fleet.contract.machine_keys import NEXT_KEY_PATH
from fleet.contract.owner import REPLACED_PATH


class AgentPaths(msgspec.Struct, frozen=True):
    """The paths below one root."""

    root: Path

    @property
    def config(self) -> Path:
        """The configuration: holds the machine key, mode 0600."""
        return self.root / "etc/fleet/agent.json"

    @property
    def next_key(self) -> Path:
        """A machine key that was made here and may take the place of the present one: a secret, mode 0600."""
        return self.root / NEXT_KEY_PATH.lstrip("/")

    @property
    def state(self) -> Path:
        """The last desired state."""
        return self.root / "var/lib/fleet/desired.json"

    @property
    def images(self) -> Path:
        """Which images the agent pulled."""
        return self.root / "var/lib/fleet/images.json"

    @property
    def files(self) -> Path:
        """The files of workloads."""
        return self.root / "var/lib/fleet/files"

    @property
    def secret_files(self) -> Path:
        """The files of workloads that hold secrets: in memory, as file-hierarchy(7) has /run."""
        return self.root / "run/fleet/secrets"

    @property
    def kept_seals(self) -> Path:
        """What is sealed for the files of containers that exist."""
        return self.root / "var/lib/fleet/sealed"

    @property
    def kept_specs(self) -> Path:
        """What containers that exist were made from."""
        return self.root / "var/lib/fleet/specs"

    @property
    def sealing_key(self) -> Path:
        """The private key that opens what is sealed for the device, mode 0600."""
        return self.root / "var/lib/fleet/sealing.key"

    @property
    def rollbacks(self) -> Path:
        """Which orders the device went back from."""
        return self.root / "var/lib/fleet/returned.json"

    @property
    def removals(self) -> Path:
        """Which orders to remove a volume the agent began."""
        return self.root / "var/lib/fleet/removals.json"

    @property
    def replaced(self) -> Path:
        """The identities that this host had before, whose containers are to end."""
        return self.root / REPLACED_PATH.lstrip("/")

    @property
    def crashes(self) -> Path:
        """How often the agent ended badly with the last desired state."""
        return self.root / "var/lib/fleet/crashes.json"

    @property
    def lock(self) -> Path:
        """Held by the one agent that may write."""
        return self.root / "run/fleet/writer.lock"

    def engine(self, socket: str) -> Path:
        """The engine's socket, given as an absolute path of the device."""
        return self.root / socket.lstrip("/")
