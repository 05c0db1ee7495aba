"""A deployment counted over its devices, and what there is to say of those that do not run it as they should."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum

import msgspec

from fleet.contract.objects import RunningImage
from fleet.contract.wire import WELL, Desired, DeviceState, Phase
from fleet.operator.reconcile.secrets import SecretProblem

NAMED = 5
"""Devices that a condition names; the others are a number."""
_WORDS = 200
"""Characters of what one device says."""


class Image(msgspec.Struct, frozen=True, order=True):
    """All that is known of which image runs: its id, then digests, and the architecture of the device."""

    names: tuple[str, ...]
    arch: str


class Share(Enum):
    """What a device adds to the counts of a deployment."""

    READY = "ready"
    FAILING = "failing"
    WAITING = "waiting"
    """It does not run it yet, and has not failed."""


class Outcome(msgspec.Struct, frozen=True):
    """How a deployment stands on one device.

    `updated` says that the device has the order to run it, `troubled` that it runs and somebody should know why it
    says what it says, `away` that it ran when it was last heard.
    """

    share: Share
    updated: bool = True
    reason: str = ""
    message: str = ""
    troubled: bool = False
    away: bool = False
    image: Image | None = None


def begun(new: Desired, state: DeviceState | None, *, online: bool, arch: str) -> Outcome:
    """The outcome on a device of an architecture (`DeviceInfo.arch`) that is ordered to run `new`."""
    if state is None or not new.is_told_by(state):
        return Outcome(Share.WAITING, reason="NotReported" if online else "Offline")
    reason, message = state.reason.value, state.message[:_WORDS]
    if state.phase is Phase.RUNNING:
        image = Image((state.image_id, *state.image_digests), arch) if state.image_id else None
        return Outcome(
            Share.READY, reason=reason, message=message, troubled=reason not in WELL, away=not online, image=image
        )
    if state.phase is Phase.PENDING:
        return Outcome(Share.WAITING, reason=reason if online else "Offline", message=message)
    return Outcome(Share.FAILING, reason=reason, message=message)


def held_back(*, online: bool, why: str = "") -> Outcome:
    """The outcome on a device whose turn comes later; `why` is a further reason to wait."""
    return Outcome(Share.WAITING, updated=False, reason=why or ("NotBegun" if online else "Offline"))


class DeviceSummary(msgspec.Struct, frozen=True):
    """Devices of one kind: the first ones by name, and how many there are. `reason` is that of the first."""

    count: int = 0
    first: tuple[str, ...] = ()
    reason: str = ""

    def __str__(self) -> str:
        """The names, and how many more there are."""
        more = self.count - len(self.first)
        return "; ".join([*self.first, f"and {more} more"] if more else self.first)


def named(count: int, first: Iterable[tuple[str, str, str]]) -> DeviceSummary:
    """So many of something, of which the first have these names, reasons and messages."""
    devices = tuple(first)
    texts = tuple(f"{name}: {reason}: {message}".rstrip(": ") for name, reason, message in devices)
    return DeviceSummary(count, texts, devices[0][1] if devices else "")


class Tally(msgspec.Struct, frozen=True):
    """What a deployment's status is made of. `oversized` is its size in bytes when that is too much to send.

    `problem` says why its secrets cannot be sealed.
    """

    matched: int = 0
    updated: int = 0
    ready: int = 0
    oversized: int = 0
    failing: DeviceSummary = DeviceSummary()
    waiting: DeviceSummary = DeviceSummary()
    troubled: DeviceSummary = DeviceSummary()
    away: int = 0
    images: Mapping[Image, int] = {}
    """How many devices run each."""
    problem: SecretProblem | None = None

    @property
    def failed(self) -> int:
        """Devices on which it does not run."""
        return self.failing.count


def tallied(outcomes: Mapping[str, Outcome], problem: SecretProblem | None = None) -> Tally:
    """The tally of devices, given in the order of names."""
    found = list(outcomes.items())
    images: dict[Image, int] = {}
    for _, counted in found:
        if counted.image:
            images[counted.image] = images.get(counted.image, 0) + 1
    return Tally(
        matched=len(found),
        updated=sum(counted.updated for _, counted in found),
        ready=sum(counted.share is Share.READY for _, counted in found),
        failing=_named([(name, counted) for name, counted in found if counted.share is Share.FAILING]),
        waiting=_named([(name, counted) for name, counted in found if counted.share is Share.WAITING]),
        troubled=_named([(name, counted) for name, counted in found if counted.troubled]),
        away=sum(counted.away for _, counted in found),
        images=images,
        problem=problem,
    )


def _named(found: list[tuple[str, Outcome]]) -> DeviceSummary:
    return named(len(found), ((name, counted.reason, counted.message) for name, counted in found[:NAMED]))


def same_images(images: Mapping[Image, int]) -> list[RunningImage]:
    """How many devices run each image, the most frequent first.

    Two are the same when they share an id or a digest: machines of two architectures have different ids of what one
    digest names.
    """
    running = [_together(group, images) for group in _groups(images)]
    return sorted(running, key=lambda image: (-image.devices, image.image))


def images_differ(images: Mapping[Image, int]) -> bool:
    """Whether two devices of one architecture run different images.

    Nothing is concluded from two architectures: each has another id of one image, and an engine that was given an image
    by hand (podman; docker with containerd's store) may name it by a digest of its own.
    """
    of_groups = [arch for group in _groups(images) for arch in {image.arch for image in group}]
    return len(set(of_groups)) < len(of_groups)


def _groups(images: Mapping[Image, int]) -> list[list[Image]]:
    groups: dict[str, list[Image]] = {}
    for known in sorted(images):
        shared = {id(groups[name]): groups[name] for name in known.names if name in groups}
        together = [image for group in shared.values() for image in group] + [known]
        groups |= {name: together for image in together for name in image.names}
    return list({id(group): group for group in groups.values()}.values())


def _together(group: list[Image], images: Mapping[Image, int]) -> RunningImage:
    first = max(group, key=lambda known: (len(known.names) > 1, images[known]))
    return RunningImage(known_as(*first.names), sum(images[known] for known in group))


def known_as(image_id: str, *digests: str) -> str:
    """The image as people read it: with a digest of the registry if there is one."""
    return digests[0] if digests else image_id
