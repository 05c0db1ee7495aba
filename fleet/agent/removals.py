"""Carries out an admin's orders to remove volumes: each once, and of none that a container uses."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import structlog

from fleet.agent.answers import EngineDown, EngineRefused, Listed
from fleet.agent.desired_state import DesiredState
from fleet.agent.engine import Engine
from fleet.agent.record import read_record
from fleet.agent.volumes import ordered, remove_volume, users_of, volumes_of
from fleet.contract.containers import DEPLOYMENT_LABEL, DEVICE_LABEL, SERVER_LABEL
from fleet.contract.limits import MAX_VOLUME_ORDERS
from fleet.contract.mounts import MountType
from fleet.contract.owner import Owner
from fleet.contract.volumes import RemovalReason, VolumeOrder, VolumeOutcome
from fleet.process.backoff import Backoff
from fleet.process.durable import replace_file
from fleet.process.umask import make_folders

_log = structlog.stdlib.get_logger()

Outcomes = Callable[[tuple[VolumeOutcome, ...]], None]
"""Takes what became of the last orders."""
_NAMED = 2
"""Containers that use a volume, by name."""
_LONGEST = 160
"""Characters of what is said of one order: a device's info has 16 KiB in NATS."""


class _Begun(msgspec.Struct):
    orders: list[str] = []


class BegunRemovals:
    """The orders whose volume the agent began to remove, in one file: it may end before NATS has the report."""

    def __init__(self, path: Path) -> None:
        """The file is read when it is asked for: another agent of the device may have written it."""
        self._path = path

    def add(self, order: str) -> None:
        """Its volume is about to be removed. On a disk that cannot be written, the removal frees space all the same."""
        self._write([*self._orders(), order])

    def discard(self, order: str) -> None:
        """Its volume stayed."""
        self._write([one for one in self._orders() if one != order])

    def __contains__(self, order: str) -> bool:
        return order in self._orders()

    def _orders(self) -> list[str]:
        return read_record(self._path, _Begun).orders

    def _write(self, orders: list[str]) -> None:
        try:
            make_folders(self._path.parent, 0o700)
            replace_file(self._path, msgspec.json.encode(_Begun(orders[-MAX_VOLUME_ORDERS:])), 0o600)
        except OSError as error:
            _log.warning("which volumes are removed cannot be recorded", why=str(error))


class VolumeRemovals:
    """The orders of a device whose identities are `owners`, the present one first."""

    def __init__(
        self,
        engine: Engine,
        owners: Sequence[Owner],
        making: asyncio.Lock,
        desired_state: Callable[[], DesiredState],
        report: Outcomes,
        begun: BegunRemovals,
    ) -> None:
        """Do nothing before `allow`. `making` is held while a container that mounts a volume is made."""
        self._engine = engine
        self._owners = owners
        self._making = making
        self._desired_state = desired_state
        self._report = report
        self._begun = begun
        self._orders: tuple[VolumeOrder, ...] = ()
        self._outcomes: dict[str, VolumeOutcome] = {}
        self._may_begin = False
        self._wake = asyncio.Event()

    def order(self, orders: tuple[VolumeOrder, ...]) -> None:
        """From now on, these are the orders; what was taken back is not begun any more."""
        self._orders = orders
        self._wake.set()

    def allow(self, *, may_begin: bool) -> None:
        """Whether an order may be begun from now on."""
        self._may_begin = may_begin
        self._wake.set()

    def changed(self) -> None:
        """Containers came or went: what had to wait for that may go on."""
        self._wake.set()

    async def run(self) -> None:
        """Carry out orders until cancelled."""
        backoff = Backoff(1, 30)
        while True:
            self._wake.clear()
            waits = not await self._all_answered()
            if not waits:
                backoff.reset()
            try:
                async with asyncio.timeout(backoff.next() if waits else None):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def _all_answered(self) -> bool:
        """Try every order that has no outcome; whether none is left that must wait."""
        left = [one for one in self._orders if one.order not in self._outcomes]
        for order in left if self._may_begin else ():
            try:
                outcome = await self._carried_out(order)
            except EngineDown:
                return False
            except EngineRefused as error:
                outcome = _outcome(order, RemovalReason.ENGINE_ERROR, error.what)
            if outcome is not None:
                left.remove(order)
                self._keep(outcome, order)
        return not (left and self._may_begin)

    def _keep(self, outcome: VolumeOutcome, order: VolumeOrder) -> None:
        _log.info(
            "volume ordered away", volume=str(order), became=outcome.reason, why=outcome.message, change=order.order
        )
        self._outcomes[order.order] = outcome
        current = {one.order for one in self._orders}
        spare = [number for number in self._outcomes if number not in current]
        for number in spare[: max(0, len(self._outcomes) - MAX_VOLUME_ORDERS)]:
            del self._outcomes[number]
        self._report(tuple(self._outcomes.values())[-MAX_VOLUME_ORDERS:])

    async def _carried_out(self, order: VolumeOrder) -> VolumeOutcome | None:
        """Remove it, if nothing uses it; None while the last container that does is about to go."""
        async with self._making:
            volume = ordered(order, await volumes_of(self._engine, self._owners), self._owners[0])
            if volume is None and order.order in self._begun:
                return _outcome(order, RemovalReason.REMOVED, "")
            if volume is None:
                gone = "there is no such volume: it is gone, or another one has its name now"
                return _outcome(order, RemovalReason.NOT_FOUND, gone)
            if why := "" if order.former else mounted_by(self._desired_state(), order):
                return _outcome(order, RemovalReason.IN_USE, why)
            users = await users_of(self._engine, volume.engine.name)
            if users and all(self._is_leaving(user) for user in users):
                return None
            if users or not await self._remove(order, volume.engine.name):
                names = ", ".join((user.names or [user.id])[0].lstrip("/") for user in users[:_NAMED])
                why = f"it is used by {names or 'a container'}: a container that is stopped counts, too"
                return _outcome(order, RemovalReason.IN_USE, why)
        return _outcome(order, RemovalReason.REMOVED, "")

    async def _remove(self, order: VolumeOrder, name: str) -> bool:
        """Whether it is gone; it stays where a container was made with it since. Who ends in between knows it after."""
        self._begun.add(order.order)
        removed = await remove_volume(self._engine, name)
        if not removed:
            self._begun.discard(order.order)
        return removed

    def _is_leaving(self, container: Listed) -> bool:
        """Whether the agent itself is about to remove a container."""
        labels = container.labels or {}
        owner = Owner(labels.get(DEVICE_LABEL, ""), labels.get(SERVER_LABEL, ""))
        if owner == self._owners[0]:
            return labels.get(DEPLOYMENT_LABEL) not in self._desired_state()
        return owner in self._owners


def mounted_by(desired_state: DesiredState, order: VolumeOrder) -> str:
    """Why a volume is needed by what is to run on the device; empty if it is not."""
    desired = desired_state.get(order.deployment)
    if desired is None:
        return ""
    step = "delete the deployment, or take the mount out of it"
    if desired.workload is None:
        return f"{order.deployment} is to run here, and what it mounts cannot be read: {step}"
    mounts = [mount for part in desired.workload.parts.values() for mount in part.mounts]
    if any(one.type is MountType.VOLUME and one.source == order.name for one in mounts):
        return f"{order.deployment} is to run here, and mounts it: {step}"
    return ""


def _outcome(order: VolumeOrder, reason: RemovalReason, message: str) -> VolumeOutcome:
    return VolumeOutcome(order.order, reason.value, message[:_LONGEST])
