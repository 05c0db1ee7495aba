"""How a device reports: as one value, and as single ones where the server is older."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from fleet.agent.report import Reporter
from fleet.callout import claims
from fleet.contract.buckets import (
    APP_USER,
    CONTROL_USER,
    DEVICE_INFO,
    DEVICE_STATE,
    IDENTITIES,
    SINGLE_STATE,
)
from fleet.contract.names import DeviceId
from fleet.contract.permissions import Permissions, device_permissions, inbox_prefix
from fleet.contract.states import DeviceStates, state_of
from fleet.contract.wire import DeviceState, Phase, Reason
from fleet.nats.bus import Bus, Entry, Login, connect
from tests.support.callout import active
from tests.support.callout_stand_in import callout_stand_in
from tests.support.nats import Nats
from tests.support.operator import INFO
from tests.support.tls import make_tls
from tests.support.waiting import eventually

PI = DeviceId("pi-1")
RUNNING = DeviceState(1, Phase.RUNNING, Reason.STARTED)


def as_before(device: DeviceId) -> Permissions:
    """What an older server grants: no key of one token."""
    now = device_permissions(device)
    one = DEVICE_STATE.subject(device)
    return Permissions(tuple(subject for subject in now.publish if subject != one), now.subscribe)


async def told(nats: Nats, reporter: Reporter) -> Bus:
    """The connection of a device that reports."""
    login = Login(nats.url, PI, nats.tls.ca, token=lambda: "sub", inbox=inbox_prefix(PI))
    return await connect(login, notice=reporter.notice)


@pytest.fixture
def nats(tmp_path: Path) -> Nats:
    return Nats(tmp_path / "nats", make_tls(tmp_path), sealed=False)


@pytest.mark.parametrize("older", [False, True])
def test_a_server_of_before_gets_single_reports(nats: Nats, older: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if older:
        monkeypatch.setattr(claims, "device_permissions", as_before)
    gone: list[str] = []

    async def run() -> None:
        app = await connect(nats.login(APP_USER), notice=lambda _: None, attempts=1)
        control = await connect(nats.login(CONTROL_USER), notice=lambda _: None, attempts=1)
        await app.ensure(SINGLE_STATE if older else DEVICE_STATE, DEVICE_INFO)
        await control.ensure(IDENTITIES)
        await control.kv(IDENTITIES).put("sub", active(PI))
        reporter = Reporter(PI, INFO, gone.append)
        async with callout_stand_in(nats):
            bus = await told(nats, reporter)
            work = asyncio.create_task(reporter.publish(bus))
            reporter.states({"web": RUNNING, "job": RUNNING}, frozenset({"web", "job"}))
            await eventually(lambda: reported(app, "web"), "it is reported", within=15)
            reporter.leaving({"job"})
            reporter.states({"web": RUNNING}, frozenset({"web"}))
            await eventually(lambda: gone == ["job"], "it is done with", within=30)
            assert await state(app, "job") is None
            work.cancel()
            await bus.close()
        await app.close()
        await control.close()

    def reported(app: Bus, name: str) -> bool:
        seen.append(asyncio.ensure_future(state(app, name)))
        return any(one.done() and one.result() is not None for one in seen)

    async def state(app: Bus, name: str) -> DeviceState | None:
        if older:
            single = await app.kv(SINGLE_STATE).get(f"{PI}.{name}")
            return single.value if isinstance(single, Entry) else None
        value = await app.kv(DEVICE_STATE).get(PI)
        return state_of(value.value, name) if isinstance(value, Entry) else None

    seen: list[asyncio.Future[DeviceState | None]] = []
    nats.start()
    try:
        asyncio.run(run())
    finally:
        nats.stop()


def test_what_has_not_changed_is_not_sent_again() -> None:
    reporter = Reporter(PI, INFO, lambda _: None)
    reporter.states({"web": RUNNING}, frozenset())
    first = reporter._value()  # pyright: ignore[reportPrivateUsage]
    assert reporter._value() == first != DeviceStates()  # pyright: ignore[reportPrivateUsage]
