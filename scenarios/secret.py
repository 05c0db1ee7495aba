"""Give a workload a secret."""

from __future__ import annotations

from dataclasses import dataclass

from fleet.contract.buckets import DESIRED_STATE
from fleet.contract.wire import encode
from harness.scenario.command import Result
from harness.scenario.command_line import refused
from harness.scenario.run import Run
from harness.scenario.scenario import Scenario
from harness.wait import wait_until
from scenarios import checks
from scenarios.workloads import job, job_with_a_secret

secret = Scenario(
    id="secret",
    title="Give a workload a secret",
    chapter="Deploy",
    why="A Secret of Kubernetes reaches the one device that needs it, and is in clear nowhere on the way.",
    devices=1,
)


@secret.step("Apply a deployment", job(), look_at=("operator", "agent:device"))
def runs(run: Run) -> None:
    """The command returns once the device runs the container, which has no secret yet."""
    container = checks.container(run, "deployment2")
    assert not any(variable.startswith("PASSWORD=") for variable in container.env), (
        f"its environment: {sorted(container.env)}"
    )


@dataclass(frozen=True)
class Before:
    """The container that runs with the Secret."""

    container: str


@secret.step(
    "Give it a secret",
    "kubectl create secret generic {deployment2} --namespace {namespace} --from-file=password=password.txt",
    refused(
        "fleet deployment apply --name {deployment2} --secret-env PASSWORD={deployment2}/password --wait",
        1,
        contains="fleet.nationtech.io/sealable=true",
    ),
    "kubectl label secret {deployment2} --namespace {namespace} fleet.nationtech.io/sealable=true",
    job_with_a_secret(),
    "kubectl get devices,fleetdeployments --namespace {namespace} --output yaml",
    files={"password.txt": "{secret}"},
    look_at=("operator", "agent:device"),
)
def sealed(run: Run, _made: Result, _unmarked: Result, _marked: Result, _applied: Result, shown: Result) -> None:
    """A Secret that is not marked is given to no device. With the label, the container has it.

    It stands in clear neither in the objects in Kubernetes nor in NATS, where it is sealed for this device.
    """
    container = checks.container(run, "deployment2")
    assert f"PASSWORD={run.name('secret')}" in container.env, f"its environment: {sorted(container.env)}"
    assert container.mounts.get("/etc/password") == "bind", f"its mounts: {container.mounts}"
    desired = run.world.nats.get(DESIRED_STATE, f"{run.name('device')}.{run.name('deployment2')}")
    assert desired is not None
    assert desired.sealed is not None
    for where, text in (("Kubernetes", shown.stdout), ("NATS", encode(desired).decode())):
        assert run.name("secret") not in text, f"the secret stands in clear in {where}"
    run.keep(Before(container.life))


@secret.step(
    "Delete the Secret that it has",
    "kubectl delete secret {deployment2} --namespace {namespace}",
    look_at=("operator",),
)
def gone(run: Run) -> None:
    """The deployment and the device say so, and the container goes on."""
    name = run.name("deployment2")
    wait_until(
        lambda: run.world.kube.deployment(name),
        f"{name} says that its Secret is missing",
        timeout=checks.ROLLOUT,
        until=lambda held: checks.says(held, "Ready", "False", "SecretMissing"),
    )
    wait_until(
        lambda: checks.device(run),
        "the device says it too",
        timeout=checks.ROLLOUT,
        until=lambda held: checks.says(held, "WorkloadTrouble", "True", "SecretMissing"),
    )
    assert checks.container(run, "deployment2").life == run.kept(Before).container, "the container was touched"
