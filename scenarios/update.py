"""Change what runs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

from fleet.contract.buckets import DESIRED_STATE, DEVICE_STATE
from fleet.contract.pod import images
from fleet.contract.wire import Phase, Reason
from harness.probes.kube import container_of
from harness.scenario.command import Result
from harness.scenario.command_line import Command
from harness.scenario.run import Run
from harness.scenario.scenario import Scenario
from harness.wait import wait_until
from scenarios import checks
from scenarios.workloads import ROLLING, job, web, web_that_is_not_well

update = Scenario(
    id="update",
    title="Update a workload, and go back",
    chapter="Update",
    why="A changed deployment replaces its containers and touches no others. The way back is one command.",
    devices=1,
)


@dataclass(frozen=True)
class Before:
    """The containers of the two deployments."""

    web: str
    job: str


@update.step("Run two deployments", web(), job(), look_at=("agent:device", "operator"))
def two_run(run: Run) -> None:
    """Each has its own container on the device."""
    checks.ready(run)
    checks.ready(run, "deployment2")
    run.keep(Before(checks.container(run).id, checks.container(run, "deployment2").life))


@update.step("Apply a new release", web(2), look_at=("agent:device", "operator"))
def replaced(run: Run) -> None:
    """When the command returns, a new container has taken the place of the old one, which is gone.

    The other deployment's container is the same as before.
    """
    assert checks.ready(run).metadata.generation == 2
    new = checks.container(run)
    assert new.id != run.kept(Before).web, "the container was not replaced"
    assert "RELEASE=2" in new.env, f"its environment: {sorted(new.env)}"
    assert checks.container(run, "deployment2").life == run.kept(Before).job, (
        "another deployment's container was touched"
    )
    run.keep(replace(run.kept(Before), web=new.id))


@update.step("Go back", web(1), look_at=("agent:device", "operator"))
def back(run: Run) -> None:
    """The earlier release runs again, as generation 3."""
    held = checks.ready(run)
    assert held.metadata.generation == 3
    assert container_of(held).env == {"RELEASE": "1"}
    earlier = checks.container(run)
    assert earlier.id != run.kept(Before).web
    assert "RELEASE=1" in earlier.env, f"its environment: {sorted(earlier.env)}"
    assert checks.container(run, "deployment2").life == run.kept(Before).job, (
        "another deployment's container was touched"
    )
    run.keep(replace(run.kept(Before), web=earlier.id))


@update.step("Apply a release that is not well", web_that_is_not_well(3), look_at=("agent:device", "operator"))
def returned(run: Run) -> None:
    """Three seconds after its start it gives way to the container before, which runs again.

    The device reports `WentBack` with the reason, and does not try again until another order comes.
    """
    state = checks.reported(run, Phase.FAILED, Reason.WENT_BACK)
    assert "not well within 3 s" in state.message
    earlier = checks.container(run)
    assert earlier.id == run.kept(Before).web, "what ran before is gone"
    assert "RELEASE=1" in earlier.env, f"its environment: {sorted(earlier.env)}"
    assert checks.container(run, "deployment2").life == run.kept(Before).job, (
        "another deployment's container was touched"
    )


@update.step(
    "See what it was before",
    Command("fleet deployment history {deployment}", contains=("REVISION", "fleet deployment apply")),
    Command("fleet deployment rollback {deployment} --dry-run", contains=("would go back to revision 3",)),
    look_at=("operator",),
)
def remembered(run: Run, history: Result, _tried: Result) -> None:
    """Every release is there with its generation, and one is marked as what is ordered now; nothing was changed yet."""
    rows = [line.split() for line in history.stdout.splitlines()[1:]]
    assert [row[0] for row in rows] == ["4", "3", "2", "1"], history.stdout
    assert [row[0] for row in rows if row[-1] == "yes"] == ["4"], history.stdout
    assert checks.deployment(run).metadata.generation == 4


@update.step(
    "Take the bad release back",
    Command("fleet deployment rollback {deployment} --wait", deadline=70),
    look_at=("agent:device", "operator"),
)
def rolled_back(run: Run, _result: Result) -> None:
    """The workload of the newest revision that differs is ordered anew, as generation 5.

    Its container runs already, so none is touched.
    """
    held = checks.ready(run)
    assert held.metadata.generation == 5
    assert container_of(held).env == {"RELEASE": "1"}
    assert checks.container(run).id == run.kept(Before).web, "what ran well was replaced"


@update.step(
    "Keep changes back for a while",
    Command("fleet device cordon {device}", contains=("is cordoned",)),
    Command("fleet deployment pause {deployment}", contains=("is paused",)),
    "fleet deployment events {deployment}",
    look_at=("operator",),
)
def kept_back(run: Run, *_results: Result) -> None:
    """Both say so, and an event says who ordered it. What runs goes on."""
    checks.event(run, "deployment", "with `fleet deployment pause`")
    wait_until(
        lambda: run.world.kube.device(run.name("device")),
        "the device is cordoned",
        timeout=20,
        until=lambda held: checks.says(held, "Cordoned", "True", "Cordoned"),
    )
    assert checks.deployment(run).spec.paused
    assert checks.container(run).id == run.kept(Before).web


@update.step(
    "Let them go on, and start the workload anew",
    Command("fleet device uncordon {device}", contains=("not cordoned",)),
    Command("fleet deployment resume {deployment}", contains=("not paused",)),
    Command("fleet deployment restart {deployment} --wait", deadline=70),
    look_at=("agent:device", "operator"),
)
def restarted(run: Run, *_results: Result) -> None:
    """A new container of the same release runs; the other deployment's is the same as before."""
    checks.ready(run)
    new = checks.container(run)
    assert new.id != run.kept(Before).web, "the container was not replaced"
    assert "RELEASE=1" in new.env, f"its environment: {sorted(new.env)}"
    assert checks.container(run, "deployment2").life == run.kept(Before).job, (
        "another deployment's container was touched"
    )


_THREE = ("device", "device2", "device3")
_RELEASE_2 = ROLLING.replace('RELEASE: "1"', 'RELEASE: "2"')

roll_out = Scenario(
    id="roll-out",
    title="Update device after device",
    chapter="Update",
    why="With the rolling strategy a bad release stops at the first device instead of reaching the whole fleet.",
    devices=3,
)


@roll_out.step(
    "Run the first release on three devices",
    "kubectl apply --filename web.yaml",
    # The limit is the command's own, which follows the speed of the devices.
    Command(
        "kubectl wait --namespace {namespace} --for=condition=Ready fleetdeployment/{deployment} --timeout=300s",
        deadline=30,
    ),
    files={"web.yaml": ROLLING},
    look_at=("operator",),
)
def everywhere(run: Run) -> None:
    """All three run it."""
    checks.ready(run, devices=3)
    for device in _THREE:
        assert "RELEASE=1" in checks.container(run, device=device).env


@dataclass(frozen=True)
class Rolled:
    """The lives of the container on each device."""

    lives: dict[str, str]


@roll_out.step(
    "Apply a new release",
    "kubectl apply --filename web.yaml",
    files={"web.yaml": _RELEASE_2},
    look_at=("operator", "agent:device"),
)
def one_by_one(run: Run) -> None:
    """At any moment at least two devices run the one or the other release, until all run the new one.

    No device gets the order before the one before it runs the new release.
    """
    name = run.name("deployment")

    def states() -> list[str]:
        # Devices are read one after another, so each is read twice, the first one last: what was the same both times
        # was so while the others were read.
        before = [checks.containers(run, device).get(name) for device in _THREE]
        after = [checks.containers(run, device).get(name) for device in reversed(_THREE)][::-1]
        return [_state(*seen) for seen in zip(before, after, strict=True)]

    def done(lines: list[str]) -> bool:
        assert lines.count("down") <= 1, f"more than one device was down: {lines}"
        return checks.deployment(run).status.updated == 3

    wait_until(states, f"all three devices run release 2 of {name}", timeout=checks.ROLLOUT, until=done, interval=0.02)
    checks.settled(run)
    for device in _THREE:
        assert "RELEASE=2" in checks.container(run, device=device).env
    turns = sorted(_turn(run, device) for device in _THREE)
    for (_, ready), (ordered, _) in pairwise(turns):
        assert ordered >= ready, f"a device got the order {ready - ordered:.3f} s before the one before it was ready"
    run.keep(Rolled({device: checks.container(run, device=device).life for device in _THREE}))


def _turn(run: Run, device: str) -> tuple[float, float]:
    """When a device got the order to run the release, and when it last reported of it, by the clock of NATS."""
    key, nats = f"{run.name(device)}.{run.name('deployment')}", run.world.nats
    return nats.written(DESIRED_STATE, key), nats.written(DEVICE_STATE, run.name(device))


def _state(before: checks.Running | None, after: checks.Running | None) -> str:
    if before != after:
        return "changing"
    return "running" if after is not None and after.state == "running" else "down"


@roll_out.step(
    "Apply a release that cannot run",
    "kubectl apply --filename web.yaml",
    Command("kubectl get fleetdeployments --namespace {namespace}", contains=("{deployment}",)),
    files={"web.yaml": _RELEASE_2.replace("{image}", "fleet-test/missing:1")},
    look_at=("operator", "agent:device"),
)
def stopped(run: Run) -> None:
    """It stops at the first device that fails; no other gets the order.

    All three keep running the release before, for nothing that runs is destroyed before its replacement can be.
    """
    name = run.name("deployment")
    held = wait_until(
        lambda: run.world.kube.deployment(name),
        f"the rollout of {name} is failing",
        timeout=checks.ROLLOUT,
        until=lambda item: checks.says(item, "Ready", "False", "DevicesFailed"),
    )
    assert held is not None
    assert (held.status.updated, held.status.failed) == (1, 1), "it did not stop at the first device"
    assert checks.says(held, "Progressing", "False", "Halted"), held.status.conditions
    images = [_desired_image(run, device) for device in _THREE]
    assert images.count(run.name("image")) == 2, f"the devices have orders for: {images}"
    for device in _THREE:
        assert checks.container(run, device=device).life == run.kept(Rolled).lives[device], (
            f"{run.name(device)} was touched"
        )


def _desired_image(run: Run, device: str) -> str:
    desired = run.world.nats.get(DESIRED_STATE, f"{run.name(device)}.{run.name('deployment')}")
    assert desired is not None
    return images(desired.workload)
