"""The published agents that may be ordered."""

from __future__ import annotations

from fleet.artifacts.catalogue import published
from fleet.contract.buckets import ARTIFACTS
from fleet.contract.names import AgentVersion
from fleet.nats.bus import Bus
from fleet.operator.skipped_keys import SkippedKeys
from fleet.operator.store import Store
from fleet.operator.upgrade.view import Artifact


async def read_catalogue(bus: Bus, store: Store, skipped: SkippedKeys) -> bool:
    """Read all of it; says whether that was news.

    Raises:
        FleetError: NATS did not answer.
    """
    entries = await published(bus.blobs())
    good = {AgentVersion(entry.version): entry.manifest for entry in entries if entry.manifest}
    bad = {entry.version: entry.why for entry in entries if not entry.manifest}
    for version, why in bad.items():
        skipped.note(ARTIFACTS, version, why)
    skipped.keep(ARTIFACTS, bad)
    news = [
        store.put_published(version, Artifact(manifest.digest, manifest.size)) for version, manifest in good.items()
    ]
    news += [store.put_published(version, None) for version in store.published.keys() - good.keys()]
    return any(news)
