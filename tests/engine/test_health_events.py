"""Health checks and the event stream, on a real engine and on the double."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from fleet.agent.answers import Details
from fleet.agent.engine import Engine
from fleet.agent.observe import EVENTS
from fleet.contract.wire import Health, Restart
from tests.engine.lab import STAYS, Lab, workload

WELL_FOR_A_WHILE = ("sh", "-c", "touch /tmp/well; sleep 1; rm /tmp/well; sleep 1000000")
CHECK = Health(("ls", "/tmp/well"), interval=0.2, timeout=20, retries=2)


def without_timers(lab: Lab) -> bool:
    """podman has systemd run its checks by timers (podman-healthcheck(1)); where there is no systemd, none runs."""
    return lab.is_podman and not lab.is_double and not Path("/run/systemd/system").is_dir()


def health(one: Details) -> str:
    return one.state.health.status if one.state.health else ""


def test_health_follows_the_command(lab: Lab) -> None:
    if without_timers(lab):
        starts_with_a_check(lab)
        return

    async def body(engine: Engine) -> None:
        container = await lab.started(engine, workload(*WELL_FOR_A_WHILE, health=CHECK))
        assert health(await lab.look(engine, container)) in {"starting", "healthy"}
        await lab.until(engine, container, "healthy", lambda one: health(one) == "healthy")
        seen = await lab.until(engine, container, "unhealthy", lambda one: health(one) == "unhealthy")
        assert seen.state.status == "running"
        assert seen.state.health
        assert "No such file" in (seen.state.health.log or [])[-1].output

    lab.run(body)


def starts_with_a_check(lab: Lab) -> None:
    """All that can be seen of it where nothing runs the checks."""

    async def body(engine: Engine) -> None:
        container = await lab.started(engine, workload(*WELL_FOR_A_WHILE, health=CHECK))
        seen = await lab.look(engine, container)
        assert (seen.state.status, health(seen)) == ("running", "starting")

    lab.run(body)


def test_a_container_without_a_check_has_no_health(lab: Lab) -> None:
    async def body(engine: Engine) -> None:
        container = await lab.started(engine, workload(*STAYS))
        assert health(await lab.look(engine, container)) == ""

    lab.run(body)


def test_failures_in_the_start_period_do_not_count(lab: Lab) -> None:
    if without_timers(lab):
        return

    late = ("sh", "-c", "sleep 1; touch /tmp/well; sleep 1000000")
    check = Health(("ls", "/tmp/well"), interval=0.1, timeout=20, retries=1, start_period=60)

    async def body(engine: Engine) -> None:
        container = await lab.started(engine, workload(*late, health=check))
        seen = await lab.until(
            engine, container, "a check that failed", lambda one: health(one) != "" and logs(one) > 1
        )
        assert health(seen) == "starting"
        await lab.until(engine, container, "healthy", lambda one: health(one) == "healthy")

    lab.run(body)


def logs(one: Details) -> int:
    return len(one.state.health.log or []) if one.state.health else 0


async def hears(events: AsyncIterator[None]) -> None:
    async with asyncio.timeout(30):
        await anext(events)


async def is_quiet(engine: Engine, lab: Lab, events: AsyncIterator[None]) -> None:
    """Nothing has come: a container made now is the next that is heard of."""
    heard = asyncio.ensure_future(anext(events))
    await asyncio.sleep(0)
    assert not heard.done()
    await lab.make(engine, workload(*STAYS), "marker")
    await asyncio.wait_for(heard, 5)


def test_creation_start_end_and_removal_are_heard(lab: Lab) -> None:
    async def body(engine: Engine) -> None:
        events = engine.events(lab.label, EVENTS)
        await hears(events)
        container = await lab.make(engine, workload("sh", "-c", "exit 3", restart=Restart.NO))
        await hears(events)
        await engine.start(container)
        await hears(events)
        await hears(events)
        assert (await lab.look(engine, container)).state.status == "exited"
        await engine.remove(container)
        await hears(events)
        if not lab.is_podman:  # which tells more than it is asked for
            await is_quiet(engine, lab, events)

    lab.run(body)


def test_what_happens_to_others_is_not_heard(lab: Lab) -> None:
    async def body(engine: Engine) -> None:
        events = engine.events(lab.label, EVENTS)
        await hears(events)
        other = await engine.create(lab.name("other"), workload("true"), {"io.fleet.test": "another"})
        await engine.start(other)
        await engine.remove(other)
        await is_quiet(engine, lab, events)

    lab.run(body)


def test_health_is_heard_when_it_changes_and_not_at_every_check(lab: Lab) -> None:
    if without_timers(lab):
        return

    check = Health(("ls", "/tmp/well"), interval=0.1, timeout=20, retries=2)

    async def body(engine: Engine) -> None:
        events = engine.events(lab.label, EVENTS)
        await hears(events)
        container = await lab.started(engine, workload(*WELL_FOR_A_WHILE, health=check))
        for _ in ("create", "start", "healthy", "unhealthy"):
            await hears(events)
        assert health(await lab.look(engine, container)) == "unhealthy"
        await is_quiet(engine, lab, events)

    lab.run(body)
