"""How each device stands with one deployment, kept as it changes: its screen costs what changed, not the fleet."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Iterable, Sequence

import msgspec

from fleet.cli.trouble import online
from fleet.contract.labels import labels_of
from fleet.contract.objects import Device, WorkloadStatus
from fleet.contract.printable import one_line
from fleet.contract.wire import Phase
from fleet.web.objects import Deployment, condition
from fleet.web.views.row import Summary

_SHOWN, _OF_A_PAGE = 50, 200
"""Devices of one state that the deployment's screen names, and a page of the screen of that state."""
_UNTOLD = "Unknown"
_ORDER = {Phase.FAILED.value: 0, Phase.UNHEALTHY.value: 1, Phase.RESTARTING.value: 2, Phase.RUNNING.value: 9}
_BETWEEN = 5
"""Where states stand that are in no order, those that fail being the first."""
_GENERATIONS, _IMAGES = 10, 4
"""Generations that are shown, and images of each."""
_LAST_HEARD = "as it was when the device was last heard: it {}"


class DeviceState(msgspec.Struct, frozen=True):
    """How one device stands with the deployment."""

    device: str
    reason: str
    message: str
    generation: int


class StateGroup(msgspec.Struct, frozen=True):
    """The devices in one state."""

    state: str
    count: int
    devices: tuple[DeviceState, ...]
    more: int
    bad: bool


class StatePage(msgspec.Struct, frozen=True):
    """A page of the devices in one state, by name; `first` is the number of its first one, from 1.

    `state` is empty where no device is in it. `before` and `after` are the names with which the other pages begin.
    """

    state: str
    count: int
    first: int
    devices: tuple[DeviceState, ...]
    before: str | None
    after: str | None


class Generation(msgspec.Struct, frozen=True):
    """One generation of the deployment, as far as devices run it; `states` are counts, those that fail first."""

    generation: int
    wanted: bool
    devices: int
    states: tuple[tuple[str, int], ...]
    images: tuple[str, ...]


class _Entry(msgspec.Struct, frozen=True):
    """What the screen needs of a device. Most devices share theirs with many others, so it does not hold the name.

    `state` is empty where the deployment does not select the device, `reported` false where it said nothing of it.
    `offline` is whether it ran the present generation when it was last heard, and is not online.
    """

    state: str
    reason: str
    message: str
    generation: int
    reported: bool
    phase: str
    image: str
    offline: bool


class _Running:
    """What devices run of one generation."""

    def __init__(self) -> None:
        self.phases = Counter[str]()
        self.images = Counter[str]()

    def count(self, entry: _Entry, by: int) -> None:
        for counter, key in ((self.phases, entry.phase), (self.images, entry.image)):
            counter[key] += by
            if not counter[key]:
                del counter[key]


class DeploymentDevices:
    """All devices that one deployment selects, or that said something of it."""

    def __init__(self, item: Deployment) -> None:
        """There is no device yet. What is kept is of this deployment as it is now: see `fits`."""
        self.item = item
        self.offline = 0
        """Of those that are ready, how many were not heard lately."""
        self._entries: dict[str, _Entry] = {}
        self._same: dict[_Entry, _Entry] = {}
        self._uses = Counter[_Entry]()
        self._states: dict[str, list[str]] = {}
        """The names of devices by state, in order."""
        self._running: dict[int, _Running] = {}

    def fits(self, item: Deployment) -> bool:
        """Whether what is kept counts for the deployment as it is in `item`."""
        mine = self.item
        return (mine.metadata.generation, mine.spec.selector) == (item.metadata.generation, item.spec.selector)

    def put(self, name: str, device: Device | None, known: Summary | None, said: Sequence[WorkloadStatus]) -> bool:
        """Take a device as it is now, None where it is gone; returns whether that is another state of it."""
        before = self._entries.get(name)
        after = _entry(self.item, device, known, said) if device is not None else None
        if before == after:
            return False
        if before is not None:
            self._drop(name, before)
        if after is not None:
            self._add(name, after)
        return True

    def fill(self, devices: Iterable[tuple[Device, Summary | None, Sequence[WorkloadStatus]]]) -> None:
        """Take all devices at once, in the order of their names."""
        for device, known, said in devices:
            entry = _entry(self.item, device, known, said)
            if entry is not None:
                self._add(device.metadata.name, entry)

    def _add(self, name: str, entry: _Entry) -> None:
        entry = self._entries[name] = self._same.setdefault(entry, entry)
        self._uses[entry] += 1
        self._count(entry, 1)
        if entry.state:
            names = self._states.setdefault(entry.state, [])
            if names and names[-1] > name:
                insort(names, name)
            else:
                names.append(name)

    def _drop(self, name: str, entry: _Entry) -> None:
        del self._entries[name]
        self._uses[entry] -= 1
        if not self._uses[entry]:
            del self._uses[entry], self._same[entry]
        self._count(entry, -1)
        if entry.state:
            names = self._states[entry.state]
            del names[bisect_left(names, name)]
            if not names:
                del self._states[entry.state]

    def _count(self, entry: _Entry, by: int) -> None:
        self.offline += by if entry.offline else 0
        if entry.reported:
            running = self._running.setdefault(entry.generation, _Running())
            running.count(entry, by)
            if not running.phases:
                del self._running[entry.generation]

    def states(self) -> Iterable[StateGroup]:
        """Devices by state, those that fail first."""
        for state in sorted(self._states, key=lambda one: (_ORDER.get(one, _BETWEEN), one)):
            names = self._states[state]
            shown = tuple(self._shown(name) for name in names[:_SHOWN])
            bad = _ORDER.get(state, _BETWEEN) < _BETWEEN
            yield StateGroup(state, len(names), shown, max(0, len(names) - _SHOWN), bad)

    def page(self, state: str, start: str) -> StatePage:
        """The devices in a state from the name `start` on, which need not be that of a device."""
        names = self._states.get(state, [])
        if not names:
            return StatePage("", 0, 0, (), None, None)
        first = min(bisect_left(names, start), len(names) - 1)
        end = first + _OF_A_PAGE
        return StatePage(
            state,
            len(names),
            first + 1,
            tuple(self._shown(name) for name in names[first:end]),
            names[max(0, first - _OF_A_PAGE)] if first else None,
            names[end] if end < len(names) else None,
        )

    def __len__(self) -> int:
        return len(self._entries)

    def _shown(self, name: str) -> DeviceState:
        entry = self._entries[name]
        return DeviceState(name, entry.reason, entry.message, entry.generation)

    def generations(self) -> Iterable[Generation]:
        """What devices run of it by generation, the newest first; the one that is wanted is always there."""
        wanted = self.item.metadata.generation
        for generation in sorted({wanted, *self._running}, reverse=True)[:_GENERATIONS]:
            running = self._running.get(generation, _Running())
            phases = sorted(running.phases.items(), key=lambda one: (_ORDER.get(one[0], _BETWEEN), one[0]))
            images = sorted(image for image in running.images if image)
            yield Generation(
                generation, generation == wanted, running.phases.total(), tuple(phases), tuple(images[:_IMAGES])
            )


def _entry(item: Deployment, device: Device, known: Summary | None, said: Sequence[WorkloadStatus]) -> _Entry | None:
    """How a device stands; None where it has nothing to do with the deployment. One that was revoked counts nowhere."""
    if device.spec.revoked:
        return None
    own = next((one for one in said if one.name == item.metadata.name), None)
    selected = item.spec.selector.selects(labels_of(device))
    if not selected and own is None:
        return None
    state, reason, message = _state(item, device, own) if selected else ("", "", "")
    current = own is not None and own.generation == item.metadata.generation
    ran = own if own is not None and own.generation else None
    """Generation 0 is one of which nothing could be ordered."""
    return _Entry(
        state=state,
        reason=reason,
        message=message,
        generation=own.generation if own else 0,
        reported=ran is not None,
        phase=(one_line(ran.phase) or _UNTOLD) if ran else "",
        image=one_line(ran.image) if ran else "",
        offline=selected
        and current
        and own is not None
        and own.phase == Phase.RUNNING.value
        and known is not None
        and any(trouble.about == "connection" for trouble in known.troubles),
    )


def _state(item: Deployment, device: Device, known: WorkloadStatus | None) -> tuple[str, str, str]:
    """The state, the reason and the message of a device that is selected."""
    if known is None or known.generation != item.metadata.generation:
        connected = condition(device, "Online")
        away = (connected.reason if connected else "NotYetSeen") if online(device) != "yes" else ""
        if known is not None and not known.generation:
            # Nothing could be ordered, and this is why.
            reason = away if known.waits and away else known.reason
            return one_line(known.phase) or _UNTOLD, one_line(reason), one_line(known.message)
        reason = away or ("NotBegun" if known else "NotReported")
        message = f"it runs generation {known.generation}" if known else ""
        return Phase.PENDING.value, one_line(reason), message
    past = {"yes": "", "no": _LAST_HEARD.format("is offline")}.get(online(device), _LAST_HEARD.format("may be offline"))
    message = "; ".join(filter(None, (known.message, past)))
    return one_line(known.phase) or _UNTOLD, one_line(known.reason), one_line(message)
