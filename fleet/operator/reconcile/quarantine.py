"""How long a device that floods stays out, and what the registry must say of it: pure.

Each quarantine within a day is longer than the one before; the third ends only when an admin releases the device.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from fleet.contract.names import DeviceId
from fleet.contract.objects import Condition, Device
from fleet.contract.wire import Identity, IdentityState, Quarantine
from fleet.operator.new_condition import NewCondition
from fleet.operator.status import timestamp

_TERMS = (10.0, 60.0)
"""Seconds of the first quarantines within a day; the next one has no end."""
_FORGOTTEN = 86_400.0
"""Seconds after which a quarantine counts no more."""
CONDITION = "Quarantined"
QUARANTINE_EVENTS: dict[str, Literal["Normal", "Warning"]] = {
    "Throttled": "Warning",
    "Flooding": "Warning",
    "Released": "Normal",
}
"""Reasons of the condition that become an Event."""


def quarantined(known: Identity, device: Device, why: str, now: float, *, lasting: bool = False) -> Identity:
    """What the registry must say of a device that floods at the Unix time `now`; a `lasting` quarantine has no end."""
    last = known.quarantine
    counts = last is not None and last.released == device.spec.released and now - last.began < _FORGOTTEN
    times = last.times + 1 if last is not None and counts else 1
    until = now + _TERMS[times - 1] if times <= len(_TERMS) and not lasting else 0
    begun = Quarantine(began=now, times=times, why=why, until=until, released=device.spec.released)
    return Identity(known.device, IdentityState.QUARANTINED, begun, device.spec.tokens_after)


def identity_of(device: Device, known: Identity | None, now: float) -> Identity:
    """What the registry must say of a device's own subject, where it says `known`."""
    name, after = DeviceId(device.metadata.name), device.spec.tokens_after
    if device.spec.revoked:
        return Identity(name, IdentityState.REVOKED)
    last = known.quarantine if known is not None and known.device == name else None
    if known is None or last is None or last.released < device.spec.released:
        return Identity(name, IdentityState.ACTIVE, tokens_after=after)
    if known.state is IdentityState.QUARANTINED and not known.admitted(now):
        return msgspec.structs.replace(known, tokens_after=after)
    return Identity(name, IdentityState.ACTIVE, last if now - last.began < _FORGOTTEN else None, after)


def change_times(last: Quarantine) -> tuple[float, ...]:
    """The Unix times at which what the registry must say changes by itself."""
    forgotten = last.began + _FORGOTTEN
    return (last.until, forgotten) if last.until else (forgotten,)


def condition(identity: Identity | None, before: Condition | None) -> NewCondition | None:
    """The condition of a device of which the registry says `identity`; None for one that never flooded."""
    last = identity.quarantine if identity is not None else None
    if identity is None or last is None:
        if before is None:
            return None
        reason = before.reason if before.status == "False" else "Released"
        return NewCondition(CONDITION, "False", reason, "it is not kept out any more")
    if identity.state is not IdentityState.QUARANTINED:
        return NewCondition(CONDITION, "False", "Over", f"it may come in again; {last.why}")
    if last.until:
        what = f"{last.why}; it is kept out until {timestamp(last.until)}"
        return NewCondition(CONDITION, "True", "Throttled", what)
    again = f"it flooded {last.times} times within a day, and" if last.times > len(_TERMS) else "it"
    what = f"{last.why}; {again} is kept out until `fleet device release`"
    return NewCondition(CONDITION, "True", "Flooding", what)
