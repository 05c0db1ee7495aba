"""Where a device keeps its agents, and what proves one: paths below one root, and the marker."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec

from fleet.agent.upgrade.device.files import tree_digest
from fleet.agent.upgrade.protocol.journal import Release
from fleet.artifacts.refusal import Refusal
from fleet.contract.names import AgentVersion, Digest
from fleet.contract.upgrade import TrustedKeys, UpgradeReason
from fleet.contract.wire import decode
from fleet.process.plain_file import open_file, read_file

AGENT = "fleet-agent"
"""The name of an artefact in its version's folder, and of the link."""


class Marker(msgspec.Struct, frozen=True, tag="verified"):
    """`verified`, written last: a version without it is no version.

    `digest` is that of the artefact. `tree` names the folder that it was unpacked to, `whole` and `sources` are the
    digests of that with and without what Python compiled.
    """

    digest: Digest
    tree: str
    whole: str
    sources: str


class VersionStore(msgspec.Struct, frozen=True):
    """The agents of the device whose files are below `root`."""

    root: Path

    @property
    def folder(self) -> Path:
        """Everything that is about versions; absent on a device that is not upgraded."""
        return self.root / "var/lib/fleet/agent"

    @property
    def versions(self) -> Path:
        """The versions side by side."""
        return self.folder / "versions"

    @property
    def incoming(self) -> Path:
        """What is being downloaded, named by the digest of the whole."""
        return self.folder / "incoming"

    @property
    def journal(self) -> Path:
        """The journal; see `fleet.agent.upgrade.protocol.journal`."""
        return self.folder / "journal.json"

    @property
    def link(self) -> Path:
        """What a person types, and what boots on trial."""
        return self.root / "usr/local/bin" / AGENT

    @property
    def new_link(self) -> Path:
        """What becomes the link by a rename; one that is left over means nothing."""
        return self.link.with_name(f".{AGENT}.new")

    @property
    def trusted_keys(self) -> Path:
        """The release keys that the device's owner trusts."""
        return self.root / "etc/fleet/trusted-keys.json"

    def home(self, version: AgentVersion) -> Path:
        """A version's own folder."""
        return self.versions / version

    def artifact(self, version: AgentVersion) -> Path:
        """A version's file."""
        return self.home(version) / AGENT

    def staging(self, version: AgentVersion) -> Path:
        """Where a version is laid down before it gets its name."""
        return self.versions / f".staging-{version}"

    def broken(self, version: AgentVersion) -> Path:
        """Where a version is moved before it is removed."""
        return self.versions / f".broken-{version}"

    def leftovers(self) -> list[Path]:
        """Versions whose removal is in progress, or was interrupted."""
        return [*self.versions.glob(".broken-*")]

    def partial(self, digest: Digest) -> Path:
        """Where an artefact is downloaded to; its signed manifest lies beside it."""
        return self.incoming / digest.removeprefix("sha256:")

    def trusted(self) -> TrustedKeys:
        """The release keys that this device trusts.

        Raises:
            Refusal: there are none.
            InvalidInput: the file does not parse.
        """
        try:
            return decode(read_file(self.trusted_keys), TrustedKeys)
        except FileNotFoundError as error:
            raise Refusal(
                UpgradeReason.KEY_UNKNOWN,
                f"this device trusts no release key: there is no {self.trusted_keys}",
                next_step="list the keys with `fleet device setup --trusted-keys`",
            ) from error

    def marker(self, version: AgentVersion) -> Marker | None:
        """What proves a version; None when it is not there or does not parse."""
        try:
            return decode(read_file(self.home(version) / "verified"), Marker)
        except (OSError, ValueError):
            return None

    def flaw(self, release: Release) -> str:
        """What is wrong with a version on disk, or nothing: its marker, its file and its tree are looked at again."""
        # Light, for a running agent does this too: the signature was looked at when the version was laid down.
        marker = self.marker(release.version)
        if marker is None:
            return "it was never verified" if self.home(release.version).is_dir() else "it is not on this device"
        if marker.digest != release.digest:
            return f"it has the digest {marker.digest}"
        try:
            return _flaw(self.home(release.version), marker)
        except OSError as error:
            return f"it cannot be read: {error.strerror}"


def _flaw(home: Path, marker: Marker) -> str:
    with open_file(home / AGENT) as file:
        if f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}" != marker.digest:
            return "its file is damaged"
    return "" if tree_digest(home / marker.tree, compiled=True) == marker.whole else "its unpacked files are damaged"
