"""What the agent relies on in a container's life: the same on a real engine and on the double."""

from __future__ import annotations

import asyncio

import pytest

from fleet.agent.answers import EngineDown, EngineRefused
from fleet.agent.engine import Engine
from fleet.agent.observe import Observer, status_of
from fleet.agent.reconcile import Status
from fleet.contract.containers import DEPLOYMENT_LABEL, DEVICE_LABEL, SERVER_LABEL
from fleet.contract.owner import Owner
from fleet.contract.wire import Reason, Restart
from tests.engine.lab import STAYS, Lab, workload


def test_the_engine_tells_its_name_and_version(lab: Lab) -> None:
    async def body(engine: Engine) -> None:
        name, _, version = (await engine.version()).rpartition(" ")
        assert name in {"Engine", "Engine double", "Podman Engine", "Podman Engine double"}
        assert version[0].isdigit()

    lab.run(body)


def test_a_container_is_created_started_and_removed(lab: Lab) -> None:
    async def body(engine: Engine) -> None:
        container = await lab.make(engine, workload(*STAYS))
        made = await lab.look(engine, container)
        assert made.state.status == "created"
        assert (made.config.labels or {})["io.fleet.test"] == lab.mark
        await engine.start(container)
        running = await lab.look(engine, container)
        assert running.state.status == "running"
        assert running.state.started_at > made.state.started_at
        await engine.start(container)
        assert await lab.look(engine, container) == running
        await engine.remove(container)
        assert await engine.containers(lab.label) == []
        await engine.remove(container)

    lab.run(body)


@pytest.mark.parametrize("restart", Restart)
def test_a_container_tells_its_restart_policy_and_whether_it_ever_ran(lab: Lab, restart: Restart) -> None:
    owner = Owner(lab.mark, "server")
    labels = {DEVICE_LABEL: owner.device, SERVER_LABEL: owner.server, DEPLOYMENT_LABEL: "web"}

    async def body(engine: Engine) -> None:
        observer = Observer(engine, owner)
        container = await engine.create(lab.name(), workload(*STAYS, restart=restart), labels)
        try:
            (made,) = await observer.look()
            assert not made.resumes, "it never ran"
            await engine.start(container)
            (runs,) = await observer.look()
            assert not runs.resumes
            # Without the ten seconds that process 1 has to heed a signal.
            await asyncio.to_thread(lab.raw.call, "POST", f"/containers/{container}/stop", params={"t": "0"})
            (ended,) = await observer.look()
            assert ended.exit_code != 0, "the signal is its end"
            assert ended.resumes == (restart is not Restart.NO)
        finally:
            await engine.remove(container)

    lab.run(body)


def test_only_containers_with_the_label_are_listed(lab: Lab) -> None:
    async def body(engine: Engine) -> None:
        mine = await lab.make(engine, workload(*STAYS))
        other = await engine.create(lab.name("other"), workload(*STAYS), {"io.fleet.test": "another"})
        try:
            assert [one.id for one in await engine.containers(lab.label)] == [mine]
        finally:
            await engine.remove(other)

    lab.run(body)


def test_command_arguments_and_environment_reach_the_process(lab: Lab) -> None:
    async def body(engine: Engine) -> str:
        wanted = workload(
            "sh", "-c", 'echo "$GREETING $0"', args=("fleet",), env={"GREETING": "good day"}, restart=Restart.NO
        )
        container = await lab.started(engine, wanted)
        await lab.until(engine, container, "it has ended", lambda one: one.state.status == "exited")
        return container

    assert lab.log(lab.run(body)) == "good day fleet\n"


@pytest.mark.parametrize("code", [0, 3])
def test_without_a_restart_policy_it_ends_with_its_exit_code(lab: Lab, code: int) -> None:
    async def body(engine: Engine) -> None:
        container = await lab.started(engine, workload("sh", "-c", f"exit {code}", restart=Restart.NO))
        seen = await lab.until(engine, container, "it has ended", lambda one: one.state.status == "exited")
        assert (seen.state.exit_code, seen.restart_count) == (code, 0)

    lab.run(body)


@pytest.mark.parametrize(
    ("restart", "code"),
    [(Restart.ALWAYS, 0), (Restart.UNLESS_STOPPED, 3), (Restart.ON_FAILURE, 3)],
)
def test_the_engine_restarts_by_the_policy(lab: Lab, restart: Restart, code: int) -> None:
    async def body(engine: Engine) -> None:
        container = await lab.started(engine, workload("sh", "-c", f"exit {code}", restart=restart))
        seen = await lab.until(engine, container, "2 restarts", lambda one: one.restart_count >= 2)
        assert status_of(seen) in {Status.RESTARTING, Status.RUNNING, Status.EXITED, Status.CREATED}
        if not lab.is_podman:  # which starts it again without a pause
            seen = await lab.until(engine, container, "it waits", lambda one: one.state.status == "restarting")
            assert seen.state.exit_code == code

    lab.run(body)


def test_on_failure_lets_a_success_be(lab: Lab) -> None:
    async def body(engine: Engine) -> None:
        container = await lab.started(engine, workload("true", restart=Restart.ON_FAILURE))
        seen = await lab.until(engine, container, "it has ended", lambda one: one.state.status == "exited")
        assert seen.restart_count == 0

    lab.run(body)


def test_what_somebody_stops_stays_stopped_until_it_is_started(lab: Lab) -> None:
    async def body(engine: Engine) -> None:
        container = await lab.started(engine, workload(*STAYS, restart=Restart.ALWAYS))
        await asyncio.to_thread(lab.raw.call, "POST", f"/containers/{container}/stop")
        seen = await lab.look(engine, container)
        assert (seen.state.status, seen.restart_count) == ("exited", 0)
        await engine.start(container)
        assert (await lab.look(engine, container)).state.status == "running"

    lab.run(body)


def test_a_container_between_two_restarts_can_be_removed(lab: Lab) -> None:
    async def body(engine: Engine) -> None:
        container = await lab.started(engine, workload("false", restart=Restart.ALWAYS))
        await lab.until(engine, container, "it waits", lambda one: one.restart_count >= 2)
        await engine.remove(container)
        assert await engine.containers(lab.label) == []

    lab.run(body)


def test_a_name_that_is_taken_is_refused(lab: Lab) -> None:
    async def body(engine: Engine) -> None:
        await lab.make(engine, workload(*STAYS))
        with pytest.raises(EngineRefused, match="already in use") as refused:
            await lab.make(engine, workload(*STAYS))
        assert refused.value.problem.reason is Reason.ENGINE_ERROR
        assert refused.value.status == (500 if lab.is_podman else 409)

    lab.run(body)


def test_a_program_that_does_not_exist_is_an_invalid_wish(lab: Lab) -> None:
    async def body(engine: Engine) -> None:
        container = await lab.make(engine, workload("no-such-program"))
        with pytest.raises(EngineRefused, match="no-such-program") as refused:
            await engine.start(container)
        assert refused.value.problem.reason is Reason.INVALID_DESIRED_STATE
        seen = await lab.look(engine, container)
        assert seen.state.status == "created"
        if not lab.is_podman:  # which keeps nothing of it
            assert seen.state.exit_code == 127
            assert "no-such-program" in seen.state.error

    lab.run(body)


def test_an_engine_that_is_not_there(lab: Lab) -> None:
    async def body(_: Engine) -> None:
        absent = Engine(lab.socket.with_name("absent.sock"))
        with pytest.raises(EngineDown, match=r"no container engine answers at .*absent\.sock"):
            await absent.containers(lab.label)
        with pytest.raises(EngineDown):
            await anext(absent.events(lab.label, ("start",)))
        await absent.close()

    lab.run(body)


def test_a_containers_log_has_a_cap(lab: Lab) -> None:
    async def body(engine: Engine) -> str:
        return await lab.make(engine, workload(*STAYS))

    container = lab.run(body)
    if lab.is_podman:  # whose docker-like answer does not show it
        shown = lab.raw.call("GET", f"/v4.0.0/libpod/containers/{container}/json").json()["HostConfig"]["LogConfig"]
        assert (shown["Type"], shown["Size"]) == ("k8s-file", "10MB")
    else:
        shown = lab.raw.call("GET", f"/containers/{container}/json").json()["HostConfig"]["LogConfig"]
        assert shown == {"Type": "json-file", "Config": {"max-size": "10000000", "max-file": "3"}}
