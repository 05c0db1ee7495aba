"""The identity registry, derived from `Device` objects alone: who is in, who is out, whose sessions must end.

A subject that must go is first denied (written as revoked), then its sessions are ended, and only when they are gone
is it forgotten. So at any point the registry itself says what is left to do.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from fleet.contract.names import DeviceId
from fleet.contract.objects import Device
from fleet.contract.wire import Identity, IdentityState
from fleet.operator.reconcile.actions import Action, DeleteIdentity, Kick, WriteIdentity
from fleet.operator.reconcile.quarantine import identity_of
from fleet.operator.reconcile.snapshot import Snapshot, deleting, held


class Admission(msgspec.Struct, frozen=True):
    """Where a device stands at the door, once the actions that came with it are done.

    `dropped`: it may not come in, and has no session. `taken_by` is the device that has the same subject and was there
    first, or empty. `identity` is what the registry says of its subject.
    """

    registered: bool
    dropped: bool
    taken_by: str = ""
    identity: Identity | None = None


def admit(snapshot: Snapshot) -> tuple[list[Action], dict[str, Admission]]:
    """What to write into the registry, and where each device stands."""
    owners = _owners(snapshot)
    known: defaultdict[str, list[str]] = defaultdict(list)
    for subject, identity in snapshot.identities.items():
        known[identity.device].append(subject)
    actions: list[Action] = []
    admissions: dict[str, Admission] = {}
    for name in sorted({*snapshot.devices, *(known.keys() - snapshot.unparsed_devices.keys())}):
        steps, admissions[name] = admit_device(snapshot, name, owners, known[name])
        actions += steps
    return actions, admissions


def admit_device(
    snapshot: Snapshot, name: str, owners: Mapping[str, str], known: Sequence[str]
) -> tuple[list[Action], Admission]:
    """The same for one device, of which the registry has the subjects `known`; `owners` holds who has its subject."""
    device = snapshot.devices.get(name)
    wanted = _wanted(device, owners)
    steps, admission = _admit_one(snapshot, name, device, wanted, known)
    if device is not None and not deleting(device) and device.spec.subject and not wanted:
        admission = msgspec.structs.replace(admission, taken_by=owners[device.spec.subject])
    return steps, admission


def _owners(snapshot: Snapshot) -> dict[str, str]:
    """Which device has each subject: who has it in the registry, else the oldest.

    An admin's slip must not take a device's identity from it.
    """
    claims: defaultdict[str, list[str]] = defaultdict(list)
    for name, device in snapshot.devices.items():
        if subject := claimed_subject(device):
            claims[subject].append(name)
    return {subject: owner(snapshot, names) for subject, names in claims.items()}


def claimed_subject(device: Device | None) -> str:
    """The subject that a device claims, or empty."""
    return "" if device is None or deleting(device) else device.spec.subject


def owner(snapshot: Snapshot, claimants: Iterable[str]) -> str:
    """Which of the devices that claim one subject has it."""

    def precedence(name: str) -> tuple[bool, str, str]:
        device = snapshot.devices[name]
        holder = snapshot.identities.get(device.spec.subject)
        holds = holder is not None and holder.device == name
        return (not holds, device.metadata.creation_timestamp, name)

    return min(claimants, key=precedence)


def _wanted(device: Device | None, owners: Mapping[str, str]) -> str:
    """The subject that belongs in the registry for this device, or empty."""
    if device is None or deleting(device):
        return ""
    subject = device.spec.subject
    return subject if owners.get(subject) == device.metadata.name else ""


def _admit_one(
    snapshot: Snapshot, name: str, device: Device | None, wanted: str, known: Sequence[str]
) -> tuple[list[Action], Admission]:
    actions: list[Action] = []
    stale = [subject for subject in known if subject != wanted]
    for subject in stale:
        actions += _write(snapshot, subject, Identity(DeviceId(name), IdentityState.REVOKED))
    identity: Identity | None = None
    # A subject that is still another device's is taken over only after that device's sessions are gone.
    holder = snapshot.identities[wanted].device if wanted in snapshot.identities else name
    if wanted and holder == name and device is not None and held(device):
        identity = identity_of(device, snapshot.identities.get(wanted), snapshot.now)
        actions += _write(snapshot, wanted, identity)
    shut_out = identity is not None and identity.state is not IdentityState.ACTIVE
    banned = device is None or deleting(device) or device.spec.revoked or shut_out
    denied = frozenset([*stale, wanted] if shut_out else stale)
    done = snapshot.dropped.get(name)
    dropped = done is not None and denied <= done
    if (banned or stale) and not dropped:
        actions.append(Kick(name, denied, banned))
    if dropped:
        actions += [DeleteIdentity(subject) for subject in stale]
    return actions, Admission(identity is not None, dropped and banned, identity=identity)


def _write(snapshot: Snapshot, subject: str, identity: Identity) -> list[Action]:
    return [] if snapshot.identities.get(subject) == identity else [WriteIdentity(subject, identity)]
