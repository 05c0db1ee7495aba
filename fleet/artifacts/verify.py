"""What is asked of an agent before a byte of it is run: who signed it, whether it is whole, whether it fits here.

Each refusal is a `Refusal` with one of the contract's reasons, so that `kubectl get device` can tell it. Nothing here
writes, and nothing looks further than what it is given.
"""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path
from typing import TypeVar

import msgspec

from fleet.artifacts.keys import good_signature
from fleet.artifacts.refusal import Refusal
from fleet.contract.errors import InvalidInput
from fleet.contract.names import Digest
from fleet.contract.upgrade import (
    CHUNK,
    MAX_ARTIFACT,
    MAX_MANIFEST,
    Manifest,
    SignedManifest,
    TrustedKey,
    TrustedKeys,
    UpgradeReason,
)
from fleet.contract.wire import decode

__all__ = [
    "Machine",
    "Refusal",
    "check_file",
    "check_fits",
    "chunk_digest",
    "file_digest",
    "has_ended",
    "open_manifest",
    "read_manifest",
    "trusted_key",
]

M = TypeVar("M", SignedManifest, Manifest)


class Machine(msgspec.Struct, frozen=True):
    """Where an agent is to run: `architecture` as `uname -m` has it, `python` as major and minor number."""

    architecture: str
    python: tuple[int, int]

    @classmethod
    def this(cls) -> Machine:
        """This machine, with the Python that runs us."""
        return cls(os.uname().machine, sys.version_info[:2])


def open_manifest(data: bytes, trusted: TrustedKeys, now: float) -> Manifest:
    """The manifest in a signed one, once it is proven; `now` is Unix seconds.

    Raises:
        Refusal: its form, its signature, its key, its end or its size speaks against it.
    """
    signed = _parse(data, SignedManifest)
    if not signed.signature:
        raise Refusal(
            UpgradeReason.SIGNATURE_MISSING, "the manifest is not signed", next_step="sign it: `fleet agent sign`"
        )
    key = trusted_key(signed.key_id, trusted, now, signed="the manifest")
    if not good_signature(key, signed.payload.encode(), signed.signature):
        raise Refusal(
            UpgradeReason.SIGNATURE_INVALID,
            f"the signature is not that of the key {key.id}",
            next_step="publish the artefact and its manifest as they were built; somebody changed one",
        )
    manifest = _read(signed)
    if manifest.not_after and now > manifest.not_after:
        raise Refusal(
            UpgradeReason.ARTIFACT_EXPIRED, f"{manifest.version} has expired", next_step="publish a newer version"
        )
    return manifest


def read_manifest(data: bytes) -> tuple[SignedManifest, Manifest]:
    """A signed manifest and what it says, which nothing proves yet.

    Raises:
        Refusal: it is none, or has a form that cannot be.
    """
    signed = _parse(data, SignedManifest)
    return signed, _read(signed)


def trusted_key(key_id: str, trusted: TrustedKeys, now: float, *, signed: str) -> TrustedKey:
    """The key of that id, once it is seen to be good; `signed` says in words what it has signed.

    Raises:
        Refusal: it is not listed, or revoked, or at its end.
    """
    found = next((key for key in trusted.keys if key.id == key_id), None)
    if found is None:
        raise Refusal(
            UpgradeReason.KEY_UNKNOWN,
            f"{signed} is signed by the key {key_id[:64]!r}, which is not trusted here",
            next_step="add the key with `fleet device setup --trusted-keys`, or sign with one that is trusted",
        )
    if found.revoked:
        raise Refusal(
            UpgradeReason.KEY_REVOKED,
            f"{signed} is signed by the key {key_id}, which was revoked",
            next_step="make it anew from sources that you trust, and sign it with another key",
        )
    if has_ended(found, now):
        raise Refusal(
            UpgradeReason.ARTIFACT_EXPIRED,
            f"{signed} is signed by the key {key_id}, which has expired",
            next_step="sign it with the key that followed",
        )
    return found


def has_ended(key: TrustedKey, now: float) -> bool:
    """Whether nothing that the key has signed is taken any more, at the Unix time `now`."""
    return bool(key.not_after) and now > key.not_after


def check_fits(manifest: Manifest, machine: Machine, trusted: TrustedKeys) -> None:
    """Refuse what cannot run on this machine, or may not.

    Raises:
        Refusal: its architecture, its Python or its age speaks against it.
    """
    oldest = trusted.minimum_version
    if oldest is not None and manifest.version.precedence < oldest.precedence:
        raise Refusal(
            UpgradeReason.VERSION_TOO_OLD,
            f"{manifest.version} is older than {oldest}, the oldest that this device takes",
            next_step=f"choose {oldest} or a newer one",
        )
    if manifest.architectures and machine.architecture not in manifest.architectures:
        raise Refusal(
            UpgradeReason.WRONG_ARCHITECTURE,
            f"{manifest.version} runs on {', '.join(manifest.architectures)}, and this is {machine.architecture}",
            next_step=f"build it for {machine.architecture} too: `fleet agent build --architecture`",
        )
    major, minor = machine.python
    if machine.python < _python(manifest.minimum_python):
        raise Refusal(
            UpgradeReason.PYTHON_TOO_OLD,
            f"{manifest.version} needs Python {manifest.minimum_python}, and this is {major}.{minor}",
            next_step="upgrade the device's system first",
        )


def check_file(path: Path, manifest: Manifest) -> None:
    """Refuse a file that is not, to the last byte, what the manifest says.

    Raises:
        Refusal: it is truncated, changed, or too long.
        OSError: it cannot be read.
    """
    size = path.stat().st_size
    if size != manifest.size:
        raise _corrupt(f"it has {size} bytes instead of {manifest.size}", manifest)
    if file_digest(path) != manifest.digest:
        raise _corrupt("its digest is another one", manifest)


def file_digest(path: Path) -> Digest:
    """The SHA-256 digest of a file."""
    with path.open("rb") as file:
        return Digest(f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}")


def chunk_digest(data: bytes) -> Digest:
    """The SHA-256 digest of a piece."""
    return Digest(f"sha256:{hashlib.sha256(data).hexdigest()}")


def _corrupt(what: str, manifest: Manifest) -> Refusal:
    return Refusal(
        UpgradeReason.ARTIFACT_CORRUPT,
        f"the artefact of {manifest.version} is damaged: {what}",
        next_step="it is fetched again at the next attempt; publish it again if that fails too",
    )


def _read(signed: SignedManifest) -> Manifest:
    manifest = _parse(signed.payload.encode(), Manifest)
    _check_form(manifest)
    return manifest


def _check_form(manifest: Manifest) -> None:
    if manifest.size > MAX_ARTIFACT:
        raise Refusal(
            UpgradeReason.ARTIFACT_TOO_LARGE,
            f"{manifest.version} has {manifest.size} bytes, more than {MAX_ARTIFACT}",
            next_step="find out what it holds that an agent does not need",
        )
    if len(manifest.chunks) != -(-manifest.size // CHUNK):
        raise _invalid(f"it lists {len(manifest.chunks)} chunks for {manifest.size} bytes")
    _python(manifest.minimum_python)


def _parse(data: bytes, kind: type[M]) -> M:
    if len(data) > MAX_MANIFEST:
        raise _invalid(f"it has {len(data)} bytes, more than {MAX_MANIFEST}")
    try:
        return decode(data, kind)
    except InvalidInput as error:
        raise _invalid(error.what) from error


def _python(text: str) -> tuple[int, int]:
    major, dot, minor = text.partition(".")
    if not (dot and major.isdecimal() and minor.isdecimal()):
        raise _invalid(f"{text[:32]!r} is no version of Python")
    return int(major), int(minor)


def _invalid(what: str) -> Refusal:
    return Refusal(
        UpgradeReason.MANIFEST_INVALID,
        f"the manifest is not valid: {what}",
        next_step="publish the one that `fleet agent build` or `fleet agent sign` wrote",
    )
