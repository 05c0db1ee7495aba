"""The published agents: each a signed manifest and its artefact in pieces, kept in NATS and never replaced.

The pieces are written first and the manifest last, so a version that is listed can be fetched; it is taken away in the
opposite order.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from pathlib import Path

import msgspec

from fleet.artifacts.verify import Refusal, check_file, read_manifest
from fleet.contract.buckets import chunk_subject, manifest_subject
from fleet.contract.errors import Conflict, NotFound
from fleet.contract.names import AgentVersion, Digest
from fleet.contract.upgrade import CHUNK, Manifest
from fleet.nats.blobs import Blobs

Progress = Callable[[str], None]


class Published(msgspec.Struct, frozen=True):
    """What stands under one version; `why` says what is wrong when it is no manifest of that version."""

    version: str
    manifest: Manifest | None
    key_id: str = ""
    why: str = ""


async def published(blobs: Blobs) -> list[Published]:
    """Everything that is listed, oldest version first. Signatures are for those to check who run it.

    Raises:
        FleetError: NATS did not answer.
    """
    prefix = manifest_subject("")
    found = [await _look(blobs, subject[len(prefix) :]) for subject in await blobs.subjects(manifest_subject(">"))]
    good = [entry for entry in found if entry.manifest]
    return [entry for entry in found if not entry.manifest] + sorted(
        good, key=lambda entry: AgentVersion(entry.version).precedence
    )


async def publish(blobs: Blobs, artifact: Path, signed: bytes, progress: Progress) -> bool:
    """Publish an artefact with its signed manifest; False when just this was published already.

    Raises:
        Refusal: the manifest is none, or the file is not what it says.
        Conflict: the version is published with another digest.
        FleetError: NATS did not answer; a repeat goes on where this one stopped.
    """
    _, manifest = read_manifest(signed)
    check_file(artifact, manifest)
    listed = await blobs.get(manifest_subject(manifest.version))
    if listed is not None:
        return _same(listed, signed, manifest)
    with artifact.open("rb") as file:
        for number, digest in enumerate(manifest.chunks):
            await _put(blobs, chunk_subject(manifest.digest, number), file.read(CHUNK), digest)
            if (number + 1) % 32 == 0:
                progress(f"{(number + 1) * CHUNK} of {manifest.size} bytes")
    kept = await blobs.subjects(chunk_subject(manifest.digest, "*"))
    if len(kept) != len(manifest.chunks):
        raise Conflict(f"somebody took pieces of {manifest.version} away meanwhile", next_step="publish it again")
    if not await blobs.put(manifest_subject(manifest.version), signed):
        return _same(await blobs.get(manifest_subject(manifest.version)) or b"", signed, manifest)
    return True


async def unpublish(blobs: Blobs, version: AgentVersion, *, others: Iterable[Manifest]) -> None:
    """Take a version away; pieces that one of the `others` is made of stay.

    Raises:
        NotFound: it is not published.
        FleetError: NATS did not answer; a repeat goes on where this one stopped.
    """
    found = await _look(blobs, version)
    if found.manifest is None:
        raise NotFound(f"{version} is not published", next_step="see `fleet agent list`")
    await blobs.remove(manifest_subject(version))
    if found.manifest.digest not in {other.digest for other in others}:
        await blobs.remove(chunk_subject(found.manifest.digest, "*"))


async def stray_chunks(blobs: Blobs, listed: Iterable[Manifest]) -> set[Digest]:
    """Digests of artefacts whose pieces are kept and whose manifest is not: a publication or a removal that broke off.

    Raises:
        FleetError: NATS did not answer.
    """
    known = {manifest.digest for manifest in listed}
    kept = {subject.split(".")[3] for subject in await blobs.subjects(chunk_subject("*", "*"))}
    return {Digest(f"sha256:{digest}") for digest in kept} - known


async def _look(blobs: Blobs, version: str) -> Published:
    data = await blobs.get(manifest_subject(version))
    if data is None:
        return Published(version, None, why="it is not published")
    try:
        signed, manifest = read_manifest(data)
    except Refusal as error:
        return Published(version, None, why=error.what)
    if manifest.version != version:
        return Published(version, None, signed.key_id, f"its manifest is that of {manifest.version}")
    return Published(version, manifest, signed.key_id)


async def _put(blobs: Blobs, subject: str, data: bytes, digest: Digest) -> None:
    if await blobs.put(subject, data):
        return
    if await blobs.get(subject) != data:
        raise Conflict(
            f"{subject} holds other bytes than {digest}",
            next_step="remove what was left there with `fleet agent prune`, then publish again",
        )


def _same(listed: bytes, signed: bytes, manifest: Manifest) -> bool:
    """Nothing to do when just this is listed; the same version with something else is an error."""
    if listed == signed:
        return False
    try:
        _, other = read_manifest(listed)
        what = (
            "signed otherwise"
            if other == manifest
            else f"with the digest {other.digest}, and this is {manifest.digest}"
        )
    except Refusal as error:
        what = f"and damaged: {error.what}"
    raise Conflict(
        f"{manifest.version} is published already, {what}",
        next_step="build the change under a new version; a version never changes",
    )


async def prune(
    blobs: Blobs, keep: int, needed: Collection[str], progress: Progress, *, dry_run: bool = False
) -> list[str]:
    """Take away all versions but the newest `keep` and the `needed` ones, oldest first; what went, or would.

    Pieces that no manifest lists go too. An entry that cannot be read stays, and with it everything: it may be needed.

    Raises:
        Conflict: an entry cannot be read.
        FleetError: NATS did not answer; a repeat goes on where this one stopped.
    """
    found = await published(blobs)
    bad = [entry.version for entry in found if entry.manifest is None]
    if bad:
        raise Conflict(
            f"nothing is taken away: what is published as {', '.join(bad)} cannot be read",
            next_step="see `fleet agent list`",
        )
    listed = [entry.manifest for entry in found if entry.manifest]
    newest = listed[-keep:] if keep else []
    surplus = [one for one in listed if one not in newest and one.version not in needed]
    if dry_run:
        return [str(one.version) for one in surplus]
    for manifest in surplus:
        listed.remove(manifest)
        await unpublish(blobs, manifest.version, others=listed)
        progress(f"{manifest.version} is taken away ({manifest.digest})")
    for digest in await stray_chunks(blobs, listed):
        await blobs.remove(chunk_subject(digest, "*"))
        progress(f"pieces of {digest}, which no version lists, are taken away")
    return [str(one.version) for one in surplus]
