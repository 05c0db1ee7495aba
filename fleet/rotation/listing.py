"""What the list shows of a secret: never a value."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

import msgspec

from fleet.contract.machine_keys import DEVICE_KEY
from fleet.contract.objects import ENROLLED_AT
from fleet.contract.release_keys import RELEASE_KEY
from fleet.contract.tree import spec_of
from fleet.rotation.admin import ADMIN_TOKEN
from fleet.rotation.catalogue import GOOD_FOR, Secret
from fleet.rotation.decide import Apply, Goal, decide
from fleet.rotation.drive import named
from fleet.rotation.look import DEVICE, InUse
from fleet.secrets.store import Kept
from fleet.topology.capabilities import Json

_UNFINISHED = "unfinished"


class Listed(msgspec.Struct, frozen=True, rename="camel"):
    """One secret. Ids name versions; `in_use` says which one each part uses, as far as parts tell.

    `devices` says since when each of them has its machine key.
    """

    name: str
    what: str
    used_by: str
    id: str
    next_id: str
    previous_id: str
    made: datetime | None
    expires: datetime | None
    due: datetime | None
    state: str
    in_use: dict[str, str]
    rotates: bool
    devices: dict[str, datetime | None] = {}

    def is_for_now(self, now: datetime) -> bool:
        """Whether `rotate --due` rotates it now: it is due, or a rotation has begun and both versions are accepted.

        A rotation that is only prepared, or that was aborted, waits until the secret is due or somebody continues it.
        Machine keys of devices need an admin's login at the identity provider. A timer has none.
        """
        if not self.rotates or self.name == DEVICE_KEY:
            return False
        return (
            (self.due is not None and self.due <= now) or bool(self.previous_id) or self.state.startswith(_UNFINISHED)
        )


def listed(
    secret: Secret, kept: Kept, in_use: InUse, now: datetime, expires: datetime | None = None, why_not: str = ""
) -> Listed:
    """What is shown of it at a time; `expires` is when its certificate ends.

    `why_not` says why it cannot be rotated on this server, though it can elsewhere. It is never due then.

    Raises:
        InvalidInput: a value in the store is damaged.
    """
    versions = secret.versions(kept)
    due = None if why_not else secret.due(kept.made, expires)
    return Listed(
        secret.name,
        secret.what,
        secret.used_by,
        versions.current,
        versions.next,
        versions.previous,
        kept.made,
        expires,
        due,
        why_not or _state(secret, kept, in_use, due is not None and due <= now),
        dict(secret.seen(kept, in_use).used) if secret.rotation else {},
        secret.rotation is not None and not why_not,
    )


def key_since(device: Json) -> datetime | None:
    """Since when a `Device` has its machine key, by its enrollment or a later rotation; None where it does not say."""
    annotations: dict[str, str] = device["metadata"].get("annotations") or {}
    told = spec_of(device).get("tokensAfter")
    # What another definition of the object took may be of any type.
    renewed = told if isinstance(told, int) else 0
    try:
        said = datetime.fromisoformat(annotations.get(ENROLLED_AT, ""))
    except ValueError:
        said = None
    try:
        rotated = datetime.fromtimestamp(renewed, UTC) if renewed else None
    except (ValueError, OverflowError, OSError):  # a year that no calendar has
        rotated = None
    # What somebody wrote without a zone is no moment.
    enrolled = said if said and said.tzinfo else None
    return max((one for one in (enrolled, rotated) if one), default=None)


def device_keys(in_use: InUse, since: Mapping[str, datetime | None], now: datetime) -> Listed:
    """The machine keys of all devices, and `since` when each has its own. The oldest one counts.

    Those that are due are named: an admin of the identity provider rotates them, and `--due` does not.
    """
    devices = sum(name.startswith(DEVICE) for name in in_use.trusting)
    oldest = min((one for one in since.values() if one), default=None)
    due = overdue(since, now)
    state = f"due: {named(due)}" if due else "current"
    if in_use.renewing:
        state = f"rotating: {', '.join(in_use.renewing)}"
    if in_use.silent:
        state = f"unknown: {'; '.join(in_use.silent)}"
    return Listed(
        DEVICE_KEY,
        "machine keys of devices",
        f"{devices} devices, the identity provider",
        "-",
        "",
        "",
        oldest,
        None,
        oldest and oldest + GOOD_FOR,
        state,
        {},
        True,
        dict(since),
    )


def overdue(since: Mapping[str, datetime | None], now: datetime) -> list[str]:
    """The devices whose machine keys are due, by name."""
    return sorted(name for name, one in since.items() if one is not None and one + GOOD_FOR <= now)


def release_key(in_use: InUse) -> Listed:
    """Which list of release keys devices have; the keys themselves are their owner's."""
    held = {name: one for name, one in in_use.release_keys.items() if one is None or one.digest}
    # Of what devices say, a stolen one may name any number: it would set all others behind.
    last = max(in_use.offered, default=0) or max((one.number for one in held.values() if one), default=0)
    behind = [name for name, one in sorted(held.items()) if in_use.offered and (one is None or one.number < last)]
    state = f"rotating: {', '.join(behind)}" if behind else "current"
    if in_use.silent:
        state = f"unknown: {'; '.join(in_use.silent)}"
    return Listed(
        RELEASE_KEY,
        "signs agents; its owner keeps it",
        f"{len(held)} devices",
        f"list {last}",
        "",
        "",
        None,
        None,
        None,
        state,
        {name: f"list {one.number}, {one.digest}" for name, one in sorted(held.items()) if one},
        True,
    )


def admin_token() -> Listed:
    """An admin's token at the identity provider. The server has none: its owner does, in a file."""
    what, used_by = "opens the identity provider; its owner keeps it", "the commands of an admin"
    return Listed(ADMIN_TOKEN, what, used_by, "-", "", "", None, None, None, "not seen from here", {}, True)


def _state(secret: Secret, kept: Kept, in_use: InUse, due: bool) -> str:
    if secret.rotation is None:
        return secret.why_not
    seen = secret.seen(kept, in_use)
    if kept.next is not None:
        return "rotating: the new version is not used yet"
    if kept.previous is not None:
        return "rotating: the old version is still honoured"
    step = decide(seen, Goal.FORWARD, begin=False)
    if isinstance(step, Apply):
        return f"{'unknown' if seen.silent else _UNFINISHED}: {'; '.join(step.blockers)}"
    return "due" if due else "current"
