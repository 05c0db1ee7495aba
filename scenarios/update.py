"""Change what runs."""

from __future__ import annotations

from harness.commands import Result
from harness.runbook import Run
from harness.scenario import Command, Scenario
from harness.wait import wait_until
from scenarios import looks
from scenarios.workloads import ROLLING, job, web

update = Scenario(
    id="update",
    title="Update a workload, and go back",
    chapter="Update",
    why="A changed deployment replaces its containers and touches no others. Going back is applying the earlier one.",
    devices=1,
)


@update.step("Run two deployments", web(), job(), look_at=("agent:device", "operator"))
def two_run(run: Run, *_results: Result) -> None:
    """Each has its own container on the device."""
    looks.settled(run)
    looks.settled(run, "deployment2")
    run.keep(web=looks.running(run).id, job=looks.running(run, "deployment2").id)


@update.step("Apply a new release", web(2), look_at=("agent:device", "operator"))
def replaced(run: Run, _result: Result) -> None:
    """A new container takes the place of the old one; the other deployment's container is the same as before."""
    assert looks.settled(run).metadata.generation == 2
    new = looks.running(run)
    assert new.id != run.kept("web", str), "the container was not replaced"
    assert looks.running(run, "deployment2").id == run.kept("job", str), "a container of another deployment was touched"
    run.keep(web=new.id)


@update.step("Go back", web(1), look_at=("agent:device", "operator"))
def back(run: Run, _result: Result) -> None:
    """The earlier release runs again, as generation 3."""
    held = looks.settled(run)
    assert held.metadata.generation == 3
    assert held.spec.workload.env == {"RELEASE": "1"}
    assert looks.running(run).id != run.kept("web", str)


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
    "kubectl wait --namespace {namespace} --for=condition=Ready fleetdeployment/{deployment} --timeout=20s",
    files={"web.yaml": ROLLING},
    look_at=("operator",),
)
def everywhere(run: Run, *_results: Result) -> None:
    """All three run it."""
    assert looks.settled(run).status.ready == 3


@roll_out.step(
    "Apply a new release",
    "kubectl apply --filename web.yaml",
    files={"web.yaml": _RELEASE_2},
    look_at=("operator", "agent:device"),
)
def one_by_one(run: Run, _result: Result) -> None:
    """At any moment at least two devices run the one or the other release, until all run the new one."""
    devices = ("device", "device2", "device3")
    name = run.name("deployment")

    def states() -> list[str]:
        # Devices are read one after another, so each is read twice, the first one last: what was the same both times
        # was so while the others were read.
        before = [looks.containers(run, device).get(name) for device in devices]
        after = [looks.containers(run, device).get(name) for device in reversed(devices)][::-1]
        return [_state(*seen) for seen in zip(before, after, strict=True)]

    def done(found: list[str]) -> bool:
        assert found.count("down") <= 1, f"more than one device was down: {found}"
        return looks.deployment(run).status.updated == 3

    wait_until(states, f"all three devices run release 2 of {name}", timeout=looks.ROLLOUT, until=done, interval=0.02)
    assert looks.settled(run).status.ready == 3


def _state(before: looks.Running | None, after: looks.Running | None) -> str:
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
def stopped(run: Run, *_results: Result) -> None:
    """It stops at the first device that fails; the other two keep running the release before."""
    name = run.name("deployment")
    held = wait_until(
        lambda: run.world.kube.deployment(name),
        f"the rollout of {name} is failing",
        timeout=looks.ROLLOUT,
        until=lambda it: looks.says(it, "Ready", "False", "DevicesFailed"),
    )
    assert held is not None
    assert (held.status.updated, held.status.failed) == (1, 1), "it did not stop at the first device"
    states = [looks.containers(run, device).get(name) for device in ("device", "device2", "device3")]
    healthy = [it for it in states if it is not None and it.state == "running" and it.image == run.name("image")]
    assert len(healthy) >= 2, f"fewer than two devices still run the release before: {states}"
