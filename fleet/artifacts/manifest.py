"""Manifests of artefacts: made and signed where an agent is built."""

from __future__ import annotations

from pathlib import Path

from fleet.artifacts.keys import ReleaseKey
from fleet.artifacts.layer import Target
from fleet.artifacts.verify import chunk_digest, file_digest
from fleet.contract.errors import InvalidInput, NotFound
from fleet.contract.names import AgentVersion
from fleet.contract.upgrade import CHUNK, MAX_ARTIFACT, STATE_SCHEMA, Manifest, SignedManifest
from fleet.contract.wire import encode


def describe(artifact: Path, version: AgentVersion, target: Target, *, not_after: float = 0) -> Manifest:
    """The manifest of a file; `not_after` is Unix seconds, 0 for never.

    Raises:
        NotFound: there is no such file.
        InvalidInput: it is empty, or larger than a device takes.
    """
    try:
        size = artifact.stat().st_size
        with artifact.open("rb") as file:
            chunks = tuple(chunk_digest(piece) for piece in iter(lambda: file.read(CHUNK), b""))
    except OSError as error:
        raise NotFound(
            f"cannot read {artifact}: {error.strerror}", next_step="build it: `fleet agent build`"
        ) from error
    if not 0 < size <= MAX_ARTIFACT:
        raise InvalidInput(f"{artifact} has {size} bytes", next_step=f"devices take 1 to {MAX_ARTIFACT}")
    oldest = min(target.pythons, key=lambda python: tuple(map(int, python.split("."))))
    return Manifest(version, file_digest(artifact), size, chunks, oldest, target.architectures, not_after, STATE_SCHEMA)


def sign(manifest: Manifest, key: ReleaseKey) -> SignedManifest:
    """The manifest as it travels."""
    payload = encode(manifest)
    return SignedManifest(payload.decode(), key.public.id, key.sign(payload))


def manifest_path(artifact: Path) -> Path:
    """Where an artefact's signed manifest lies: beside it."""
    return artifact.with_name(f"{artifact.name}.json")


def unsigned(manifest: Manifest) -> SignedManifest:
    """A manifest that somebody has to sign yet; no device takes it like this."""
    return SignedManifest(encode(manifest).decode(), "", "")
