"""What of a server's secrets wants somebody's attention before long; from its store alone, so NATS need not answer."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec

from fleet.install.identity import PROVIDER_KEY
from fleet.install.server import provider_end, secrets_of
from fleet.rotation.catalogue import SECRETS
from fleet.rotation.ground import Installed
from fleet.secrets.draft import DraftSecretStore

AHEAD = timedelta(days=30)


class Wanting(msgspec.Struct, frozen=True):
    """One secret, and in a sentence what is the matter with it."""

    name: str
    why: str


def expiries(installed: Installed) -> dict[str, datetime]:
    """When the certificates of a server end, by the secret that they are for."""
    draft = DraftSecretStore(installed.place.secrets)
    provider = installed.provider.services(draft)
    found = secrets_of(draft, installed.endpoints).ending
    return found | ({PROVIDER_KEY: provider_end(provider)} if provider else {})


def wanting(installed: Installed, now: datetime | None = None) -> list[Wanting]:
    """What is due or ends within `AHEAD`, and what a rotation has left half done.

    Raises:
        FleetError: the secrets cannot be read.
    """
    now = now or datetime.now(UTC)
    ending = expiries(installed)
    found: list[Wanting] = []
    for secret in SECRETS:
        kept = installed.place.secrets.versions(secret.name)
        if kept is None:
            continue
        if (end := ending.get(secret.name)) is not None and end <= now + AHEAD:
            found.append(Wanting(secret.name, f"its certificate {'ended' if end <= now else 'ends'} on {end:%Y-%m-%d}"))
        elif kept.next is not None or kept.previous is not None:
            found.append(Wanting(secret.name, "its rotation is not at its end: repeat the command"))
        elif installed.provider.why_not(secret.name):
            continue  # the list says why
        elif (due := secret.due(kept.made, end)) is not None and due <= now + AHEAD:
            found.append(Wanting(secret.name, f"it {'was' if due <= now else 'is'} due on {due:%Y-%m-%d}"))
    return found
