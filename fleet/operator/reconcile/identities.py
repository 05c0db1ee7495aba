"""The identity registry, derived from `Device` objects alone: who is in, who is out, whose sessions must end.

A subject that must go is first denied (written as revoked), then its sessions are ended, and only when they are gone
is it forgotten. So at any point the registry itself says what is left to do.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import msgspec

from fleet.contract.names import DeviceId
from fleet.contract.objects import Device
from fleet.contract.wire import Identity, IdentityState
from fleet.operator.reconcile.actions import Action, DeleteIdentity, Kick, WriteIdentity
from fleet.operator.reconcile.snapshot import Snapshot, deleting, held


class Admission(msgspec.Struct, frozen=True):
    """Where a device stands at the door, once the actions that came with it are done.

    `dropped`: it may not come in, and has no session. `taken_by` is the device that has the same subject and was there
    first, or empty.
    """

    registered: bool
    dropped: bool
    taken_by: str = ""


def admit(snapshot: Snapshot) -> tuple[list[Action], dict[str, Admission]]:
    """What to write into the registry, and where each device stands."""
    owners = _owners(snapshot)
    known: defaultdict[str, list[str]] = defaultdict(list)
    for subject, identity in snapshot.identities.items():
        known[identity.device].append(subject)
    actions: list[Action] = []
    admissions: dict[str, Admission] = {}
    for name in sorted({*snapshot.devices, *(known.keys() - snapshot.unread_devices)}):
        device = snapshot.devices.get(name)
        wanted = _wanted(device, owners)
        steps, admission = _admit_one(snapshot, name, device, wanted, known[name])
        if device is not None and not deleting(device) and device.spec.subject and not wanted:
            admission = msgspec.structs.replace(admission, taken_by=owners[device.spec.subject])
        actions += steps
        admissions[name] = admission
    return actions, admissions


def _owners(snapshot: Snapshot) -> dict[str, str]:
    """Which device has each subject: who has it in the registry, else the oldest.

    An admin's slip must not take a device's identity from it.
    """

    def precedence(device: Device) -> tuple[bool, str, str]:
        holder = snapshot.identities.get(device.spec.subject)
        holds = holder is not None and holder.device == device.metadata.name
        return (not holds, device.metadata.creation_timestamp, device.metadata.name)

    owners: dict[str, str] = {}
    claimants = [device for device in snapshot.devices.values() if device.spec.subject and not deleting(device)]
    for device in sorted(claimants, key=precedence):
        owners.setdefault(device.spec.subject, device.metadata.name)
    return owners


def _wanted(device: Device | None, owners: Mapping[str, str]) -> str:
    """The subject that belongs in the registry for this device, or empty."""
    if device is None or deleting(device):
        return ""
    subject = device.spec.subject
    return subject if owners.get(subject) == device.metadata.name else ""


def _admit_one(
    snapshot: Snapshot, name: str, device: Device | None, wanted: str, known: list[str]
) -> tuple[list[Action], Admission]:
    actions: list[Action] = []
    stale = [subject for subject in known if subject != wanted]
    for subject in stale:
        actions += _write(snapshot, subject, Identity(DeviceId(name), IdentityState.REVOKED))
    revoked = device is not None and device.spec.revoked
    registered = False
    # A subject that is still another device's is taken over only after that device's sessions are gone.
    holder = snapshot.identities[wanted].device if wanted in snapshot.identities else name
    if wanted and holder == name and device is not None and held(device):
        state = IdentityState.REVOKED if revoked else IdentityState.ACTIVE
        actions += _write(snapshot, wanted, Identity(DeviceId(name), state))
        registered = True
    banned = device is None or deleting(device) or revoked
    denied = frozenset([*stale, wanted] if revoked and registered else stale)
    done = snapshot.dropped.get(name)
    dropped = done is not None and denied <= done
    if (banned or stale) and not dropped:
        actions.append(Kick(name, denied, banned))
    if dropped:
        actions += [DeleteIdentity(subject) for subject in stale]
    return actions, Admission(registered, dropped and banned)


def _write(snapshot: Snapshot, subject: str, identity: Identity) -> list[Action]:
    return [] if snapshot.identities.get(subject) == identity else [WriteIdentity(subject, identity)]
