"""A device's disk for tests, and small agents that are signed and unpacked as real ones, but built in a millisecond."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

from fleet.agent.paths import AgentPaths
from fleet.agent.upgrade.device.disk import DeviceDisk
from fleet.agent.upgrade.device.stage import stage
from fleet.agent.upgrade.device.version_store import VersionStore
from fleet.agent.upgrade.protocol.journal import Journal, Release, render
from fleet.contract.names import AgentVersion
from fleet.contract.upgrade import Manifest, TrustedKeys
from fleet.contract.wire import encode
from fleet.process.durable import replace_file
from tests.support.agents import TRUSTED, describe_small, signed

HONEST = "import sys\nprint('fleet-agent {version}') if '--version' in sys.argv else sys.exit(0)\n"


def artifact(folder: Path, version: str, code: str = HONEST, fill: bytes = b"") -> tuple[Path, Manifest]:
    """An archive as shiv makes it; `code` is what runs, with `{version}` in it, `fill` makes it larger."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"fleet-agent-{version}"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in {
            "site-packages/part/__init__.py": f"VERSION = {version!r}\n".encode(),
            "site-packages/part/data.bin": fill,
            "environment.json": json.dumps({"build_id": "0" * 8}).encode(),
            "__main__.py": code.replace("{version}", version).encode(),
        }.items():
            archive.writestr(zipfile.ZipInfo(name), content)  # without a date: the same bytes every time
    return path, describe_small(path, version)


class Device:
    """One device below `root`: what is downloaded, laid down and committed there."""

    def __init__(self, root: Path, trusted: TrustedKeys = TRUSTED) -> None:
        self.root = root
        self.store = VersionStore(root)
        self.disk = DeviceDisk(AgentPaths(root))
        for folder in (
            self.store.versions,
            self.store.incoming,
            self.store.link.parent,
            self.store.trusted_keys.parent,
        ):
            folder.mkdir(parents=True, exist_ok=True)
        self.store.trusted_keys.write_bytes(encode(trusted))

    def download(self, path: Path, manifest: Manifest) -> Release:
        """As `fetch` leaves it."""
        partial = self.store.partial(manifest.digest)
        partial.write_bytes(path.read_bytes())
        partial.with_suffix(".json").write_bytes(signed(manifest))
        return Release(manifest.version, manifest.digest)

    def has(self, version: str, code: str = HONEST, fill: bytes = b"") -> Release:
        """Lay a version down, as an upgrade does."""
        release = self.download(*artifact(self.root / "built", version, code, fill))
        stage(self.store, release)
        return release

    def remembers(self, journal: Journal) -> Journal:
        """Write the journal, and point the link to what is committed."""
        replace_file(self.store.journal, render(journal), 0o644)
        self.disk.point_link(journal.committed)
        return journal

    @property
    def linked(self) -> AgentVersion:
        """The version that the link leads to, as a file that is there."""
        assert self.store.link.resolve(strict=True).is_file()
        return AgentVersion(self.store.link.readlink().parent.name)
