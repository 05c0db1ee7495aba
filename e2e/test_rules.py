"""Rules that hold behind the runbook: no operator types them, and each must break a test when it is broken."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing

import pytest

from fleet.contract.buckets import DESIRED_INDEX, DESIRED_STATE, DEVICE_HEARTBEAT, DEVICE_STATE
from fleet.contract.config import AgentConfig, MachineKey, load_config
from fleet.contract.objects import ServerInfo
from harness.commands import Result
from harness.devices import HasEngine
from harness.engine_client import EngineClient
from harness.errors import Misused
from harness.fixtures.scenario import Play
from harness.images import IMAGE
from harness.probes.door import Visit, knock
from harness.probes.identity import IdentityProbe
from harness.runbook import Run
from harness.scenario import Scenario
from harness.wait import wait_until
from harness.world import World
from scenarios import looks
from scenarios.workloads import web

who_gets_in = Scenario(
    id="who-gets-in",
    title="Let nobody in but enrolled devices with the role",
    chapter="Rules",
    why="A token says who, the registry says whether, the role says as what; all three must say yes.",
    devices=1,
)


@who_gets_in.step("Come with the device's own key", look_at=("callout",))
def own_key(run: Run) -> None:
    """It is let in."""
    assert _knock_with(run, _config(run).auth.machine_key).let_in, "an enrolled device was kept out"


@who_gets_in.step("Come with a good key and the role, but never enrolled", look_at=("callout",))
def stranger(run: Run) -> None:
    """It is kept out."""
    with closing(IdentityProbe(run.world)) as identity:
        key = identity.add_machine(run.world.unique("stranger"), _server(run).project_id)
    assert not _knock_with(run, key).let_in, "somebody who was never enrolled was let in"


@who_gets_in.step("Come with the device's own key after its role was taken away", look_at=("callout",))
def role_taken(run: Run) -> None:
    """It is kept out, though it is enrolled and its token is good."""
    key = _config(run).auth.machine_key
    with closing(IdentityProbe(run.world)) as identity:
        identity.take_roles(key.user_id)
    assert not _knock_with(run, key).let_in, "a device without the role was let in"


what_a_device_may_touch = Scenario(
    id="what-a-device-may-touch",
    title="Let a device touch its own keys only",
    chapter="Rules",
    why="A device that was taken over must harm nobody but itself.",
    devices=2,
)


@what_a_device_may_touch.step("Try the neighbour's keys", look_at=("callout",))
def neighbours_keys(run: Run) -> None:
    """Its own keys are open to it; the neighbour's can neither be read nor written."""
    mine, others = run.name("device"), run.name("device2")
    own = _knock_with(run, _config(run).auth.machine_key, mine)
    assert own == Visit(let_in=True), f"the device's own keys are closed to it: {own}"
    theirs = _knock_with(run, _config(run).auth.machine_key, others)
    assert theirs.no_publish == _writes(others), f"it may write {set(_writes(others)) - set(theirs.no_publish)}"
    assert theirs.no_subscribe == _reads(others), f"it may read {set(_reads(others)) - set(theirs.no_subscribe)}"


selector = Scenario(
    id="selector",
    title="Move a device to another site",
    chapter="Rules",
    why="A deployment runs on the devices that its selector matches now, not on those it once matched.",
    devices=1,
)

_MOVE = (
    "kubectl patch device {device} --namespace {namespace} --type merge"
    """ --patch '{"spec": {"labels": {"site": "%s"}}}'"""
)


@selector.step("Run a workload on a site", web(), look_at=("operator", "agent:device"))
def runs(run: Run, _result: Result) -> None:
    """It runs on the site's one device."""
    looks.running(run)


@selector.step("Move the device away", _MOVE % "elsewhere", look_at=("operator", "agent:device"))
def moved(run: Run, _result: Result) -> None:
    """Its container goes, and the deployment says that it matches no device."""
    looks.gone(run)
    name = run.name("deployment")
    wait_until(
        lambda: run.world.kube.deployment(name),
        f"{name} matches no device",
        timeout=looks.ROLLOUT,
        until=lambda held: looks.says(held, "Ready", "False", "NoDevices"),
    )


@selector.step("Move it back", _MOVE % "{site}", look_at=("operator", "agent:device"))
def moved_back(run: Run, _result: Result) -> None:
    """The workload runs again."""
    looks.running(run)


foreign_containers = Scenario(
    id="foreign-containers",
    title="Leave other containers alone",
    chapter="Rules",
    why="Somebody else may use the device's engine too; the agent touches nothing that it did not create.",
    devices=1,
)


@foreign_containers.step(
    "Run and remove a workload beside somebody else's container",
    web(),
    "fleet deployment delete {deployment}",
    look_at=("agent:device",),
)
def untouched(run: Run, *_results: Result) -> None:
    """The other container has run all the time."""
    looks.gone(run)
    with _engine(run.world, run.name("device")) as engine:
        state = engine.call("GET", f"/containers/{_foreign(run.world)}/json").json().get("State", {})
    assert state.get("Status") == "running", f"somebody else's container is {state.get('Status', 'gone')}"


@pytest.fixture
def _somebody_elses_container(world: World) -> Generator[None]:  # pyright: ignore[reportUnusedFunction]
    """Function: runs a container that no agent made, removed after."""
    name = _foreign(world)
    with _engine(world, world.unique("owner")) as engine:
        body = {"Image": IMAGE, "Entrypoint": ["sleep"], "Cmd": ["1000000"]}
        made = engine.call("POST", "/containers/create", params={"name": name}, json=body)
        assert made.status_code == 201, made.text
        engine.call("POST", f"/containers/{name}/start")
        yield
        engine.call("DELETE", f"/containers/{name}", params={"force": "true"})


@pytest.mark.embedded
def test_who_gets_in(play: Play) -> None:
    play(who_gets_in)


@pytest.mark.embedded
def test_what_a_device_may_touch(play: Play) -> None:
    play(what_a_device_may_touch)


def test_selector(play: Play) -> None:
    play(selector)


@pytest.mark.usefixtures("_somebody_elses_container")
@pytest.mark.embedded
def test_foreign_containers(play: Play) -> None:
    play(foreign_containers)


def _server(run: Run) -> ServerInfo:
    server = run.world.kube.server()
    assert server is not None, "the ConfigMap that announces the server is missing"
    return server


def _config(run: Run) -> AgentConfig:
    return load_config(run.folder / run.name("config"), AgentConfig)


def _knock_with(run: Run, key: MachineKey, device: str = "") -> Visit:
    """Log in with a machine key; try the subjects of a device, if one is named."""
    server = _server(run)
    with closing(IdentityProbe(run.world)) as identity:
        token = identity.token(key, server.project_id)
    subjects = (_writes(device), _reads(device)) if device else ((), ())
    return knock(server.nats_url, server.ca, token, publish=subjects[0], subscribe=subjects[1])


def _writes(device: str) -> tuple[str, ...]:
    """What a device writes, and what it asks to read."""
    asked = DESIRED_STATE.subject(f"{device}.web")
    return (
        DEVICE_STATE.subject(f"{device}.web"),
        DEVICE_HEARTBEAT.subject(device),
        f"$JS.API.DIRECT.GET.{DESIRED_STATE.stream}.{asked}",
    )


def _reads(device: str) -> tuple[str, ...]:
    return (DESIRED_INDEX.subject(device), DESIRED_STATE.subject(f"{device}.*"))


def _foreign(world: World) -> str:
    return f"somebody-elses-{world.run_id[:8]}-{world.worker}"


def _engine(world: World, device: str) -> closing[EngineClient]:
    host = world.device(device)
    if not isinstance(host, HasEngine):
        raise Misused(f"{host.id} has no engine that can be asked from here", next_step="use a device that has")
    return closing(EngineClient(host.engine_socket))
