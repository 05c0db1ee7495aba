"""Agents up to two releases behind report each deployment under a key of its own: they go on working."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from nats.js.api import StreamConfig

from fleet.contract.buckets import APP_USER, DESIRED_INDEX, DEVICE_STATE, SINGLE_STATE
from fleet.contract.limits import MAX_DEPLOYMENTS
from fleet.contract.names import DeviceId
from fleet.contract.objects import DEPLOYMENTS, DEVICES
from fleet.contract.states import DeviceStates, state_of
from fleet.contract.wire import DesiredIndex, DeviceState, Phase, Reason, encode
from fleet.nats.bus import connect
from harness.wait import wait_until
from tests.operator.test_sessions import enrolled
from tests.support.callout_stand_in import callout_stand_in
from tests.support.kube import Kube
from tests.support.nats import Nats
from tests.support.operator import Operator

Name = Callable[[str], str]

RUNNING = DeviceState(1, Phase.RUNNING, Reason.STARTED)


@pytest.fixture
def started(kinds: Kube, own_nats: Nats, tmp_path: Path) -> Iterator[Operator]:
    """An operator of this test, which is not started yet."""
    operator = Operator(kinds, own_nats, tmp_path / "operator", kinds.namespace())
    yield operator
    operator.close()


def stored(operator: Operator, device: str) -> list[str]:
    return operator.keys.keys(DEVICE_STATE, f"{device}.>")


def placed(operator: Operator, name: Name) -> tuple[str, str]:
    """An enrolled device and a deployment that it was given."""
    device, app = enrolled(operator, name), name("web")
    operator.edit_device(device, labels={"for": app})
    operator.deploy(app, select={"for": app})
    wait_until(
        lambda: operator.keys.get(DESIRED_INDEX, device),
        "it was given",
        timeout=30,
        until=lambda index: index == DesiredIndex({app: 1}),
    )
    return device, app


def test_what_such_an_agent_reports_is_acknowledged_and_counts(operator: Operator, name: Name) -> None:
    device, app = placed(operator, name)

    async def run() -> None:
        async with callout_stand_in(operator.nats) as callout, callout.device(device, f"sub-{device}") as bus:
            assert await bus.kv(SINGLE_STATE).put(f"{device}.{app}", RUNNING) > 0
            assert await bus.kv(SINGLE_STATE).put(f"{device}.invented", RUNNING) == 0
            assert await bus.kv(SINGLE_STATE).put(f"{device}.{app}", RUNNING) > 0

    asyncio.run(run())
    said = operator.keys.get(DEVICE_STATE, device)
    assert state_of(said, app) == RUNNING
    assert said is not None
    assert set(said.states) == {app}, "what it was not given is not kept"
    assert stored(operator, device) == []
    operator.await_condition(DEPLOYMENTS, app, "Ready", ("True", "ReadyWhenLastHeard"))


def test_what_it_takes_back_goes(operator: Operator, name: Name) -> None:
    device, app = placed(operator, name)

    async def run() -> None:
        async with callout_stand_in(operator.nats) as callout, callout.device(device, f"sub-{device}") as bus:
            await bus.kv(SINGLE_STATE).put(f"{device}.{app}", RUNNING)
            await bus.kv(SINGLE_STATE).delete(f"{device}.{app}")
            await bus.kv(SINGLE_STATE).delete(f"{device}.{app}")

    asyncio.run(run())
    assert operator.keys.get(DEVICE_STATE, device) == DeviceStates({})


def test_another_devices_states_are_out_of_reach(operator: Operator, name: Name) -> None:
    device, app = placed(operator, name)
    other = enrolled(operator, name)

    async def run() -> None:
        async with callout_stand_in(operator.nats) as callout, callout.device(other, f"sub-{other}") as bus:
            await bus.client.publish(SINGLE_STATE.subject(f"{device}.{app}"), encode(RUNNING))
            await bus.kv(SINGLE_STATE).put(f"{other}.{app}", RUNNING)

    asyncio.run(run())
    assert operator.keys.get(DEVICE_STATE, device) is None
    assert operator.keys.get(DEVICE_STATE, other) is None


def test_all_that_it_has_to_say_at_a_reconnect_is_acknowledged_and_no_flood(operator: Operator, name: Name) -> None:
    device = enrolled(operator, name)
    names = [f"app-{number}" for number in range(MAX_DEPLOYMENTS)]

    async def run() -> None:
        async with callout_stand_in(operator.nats) as callout, callout.device(device, f"sub-{device}") as bus:
            for one in names:
                await bus.kv(SINGLE_STATE).put(f"{device}.{one}", RUNNING)

    asyncio.run(run())
    assert operator.condition(DEVICES, device, "Quarantined") is None


def test_keys_that_an_earlier_server_stored_are_put_into_the_value_once(
    started: Operator, own_nats: Nats, name: Name
) -> None:
    device = name("pi")

    async def earlier() -> None:
        bus = await connect(own_nats.login(APP_USER), notice=lambda _: None, attempts=1)
        js = bus.client.jetstream()
        await js.add_stream(
            StreamConfig(
                name=DEVICE_STATE.stream,
                subjects=[DEVICE_STATE.subject(">")],
                max_msgs_per_subject=1,
                allow_direct=True,
                deny_delete=True,
            )
        )
        await bus.kv(SINGLE_STATE).put(f"{device}.web", RUNNING)
        await bus.kv(SINGLE_STATE).put(f"{device}.cache", RUNNING)
        await bus.kv(SINGLE_STATE).put("pi-9.web", RUNNING)
        await bus.client.publish(SINGLE_STATE.subject(f"{device}.bad"), b"{")
        await bus.close()

    asyncio.run(earlier())
    started.start_ready()
    assert stored(started, device) == []
    for place in (device, "pi-9"):
        assert state_of(started.keys.get(DEVICE_STATE, place), "web") == RUNNING
    said = started.keys.get(DEVICE_STATE, device)
    assert said is not None
    assert set(said.states) == {"web", "cache"}
    assert DeviceId(device)


def test_nobody_answers_while_the_operator_is_away_so_the_agent_reports_again(
    started: Operator, own_nats: Nats, name: Name
) -> None:
    started.start_ready()
    device, app = placed(started, name)
    started.kill()

    async def run() -> str:
        async with callout_stand_in(own_nats) as callout, callout.device(device, f"sub-{device}") as bus:
            try:
                await bus.kv(SINGLE_STATE).put(f"{device}.{app}", RUNNING)
            except Exception as error:
                return type(error).__name__
            return "acknowledged"

    assert asyncio.run(run()) == "Unreachable"
