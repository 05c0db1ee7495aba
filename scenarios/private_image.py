"""Run an image that a registry gives only for a password."""

from __future__ import annotations

from dataclasses import dataclass

from fleet.contract.buckets import DESIRED_STATE, DEVICE_STATE
from fleet.contract.states import state_of
from fleet.contract.wire import Reason, encode
from harness.images.private_registry import PASSWORD, PrivateRegistry
from harness.scenario.command import Result
from harness.scenario.command_line import Command
from harness.scenario.run import Run
from harness.scenario.scenario import Scenario
from harness.wait import wait_until
from scenarios import checks
from scenarios.pods import pod_containers
from scenarios.workloads import SHOP_IN_COMPOSE, private_login, private_web

private_image = Scenario(
    id="private-image",
    title="Run a private image",
    chapter="Deploy",
    why="A registry gives the image only for a password, over TLS of a private authority that engines trust. "
    "A device has the password sealed, and uses it only to pull.",
    devices=1,
    registry=True,
)


def _registry(run: Run) -> PrivateRegistry:
    assert run.registry is not None, "the scenario asks for a registry"
    return run.registry


def _asked(run: Run) -> int:
    return _registry(run).asked_for(f"private/{run.name('deployment')}")


def _refused(run: Run, text: str) -> str:
    """What the device reports of a registry that refuses it, once it says this."""
    device, deployment = run.name("device"), run.name("deployment")
    state = wait_until(
        lambda: state_of(run.world.nats.get(DEVICE_STATE, device), deployment),
        f"{device} reports that the registry refuses {deployment}: {text}",
        timeout=checks.ROLLOUT,
        until=lambda one: one is not None and one.reason is Reason.REGISTRY_REFUSED and text in one.message,
    )
    assert state is not None
    return state.message


@dataclass(frozen=True)
class Pulled:
    """How often the registry was asked for the image until it ran."""

    asked: int


@private_image.step("Apply it without a login", private_web(), look_at=("agent:device", "operator"))
def without_login(run: Run) -> None:
    """The device reports that the registry refuses it, and that it asked without a login. Nothing runs."""
    _refused(run, "asked without a login")
    assert not checks.containers(run), "a container is there"


@private_image.step(
    "Name a login with a wrong password",
    "kubectl apply --filename wrong.yaml",
    private_web("{deployment}", release=1),
    files={"wrong.yaml": private_login("{deployment}", "wrong-{secret}")},
    look_at=("agent:device", "operator"),
)
def wrong_password(run: Run) -> None:
    """The device reports which Secret holds the login that was refused. It shows no password."""
    message = _refused(run, f"the Secret {run.name('deployment')} for {run.name('registry')}")
    assert run.name("secret") not in message, f"the password is shown: {message}"


@private_image.step(
    "Name a login with the right password",
    "kubectl apply --filename right.yaml",
    private_web("{deployment2}", release=2, wait=True),
    "kubectl get devices,fleetdeployments --namespace {namespace} --output yaml",
    files={"right.yaml": private_login("{deployment2}", PASSWORD)},
    look_at=("agent:device", "operator"),
)
def pulled(run: Run, _login: Result, _applied: Result, shown: Result) -> None:
    """When the command returns, the image runs. The password is in clear neither in Kubernetes' objects nor in NATS.

    The device reports the digest by which the registry knows the image.
    """
    container = checks.container(run, "deployment")
    assert container.image == run.name("private_image"), f"it runs {container.image}"
    reported = checks.says_of(run, "deployment")
    assert len(reported.image_digests) == 1, f"the digests that the device reports: {reported.image_digests}"
    desired = run.world.nats.get(DESIRED_STATE, f"{run.name('device')}.{run.name('deployment')}")
    assert desired is not None
    assert desired.sealed is not None, "the login was not sealed for the device"
    for where, text in (("Kubernetes", shown.stdout), ("NATS", encode(desired).decode())):
        assert PASSWORD not in text, f"the password stands in clear in {where}"
    run.keep(Pulled(_asked(run)))
    assert run.kept(Pulled).asked, "the log of the registry does not show the pull"


@private_image.step(
    "Run three containers, with a volume and a secret, by one command",
    "kubectl create secret generic {own} --namespace {namespace} --from-file=password=password.txt",
    "kubectl label secret {own} --namespace {namespace} fleet.nationtech.io/sealable=true",
    Command(
        "fleet deployment apply --compose compose.yaml --name {deployment2} --selector site={site} --wait", deadline=70
    ),
    files={"password.txt": "{secret}", "compose.yaml": SHOP_IN_COMPOSE},
    look_at=("agent:device", "operator"),
)
def shop(run: Run, *_results: Result) -> None:
    """All three run. One is of the private image, for which the registry was asked once more, with the login.

    Two have the same volume, and one has the secret as a file.
    """
    containers = pod_containers(run, "deployment2")
    states = {name: details["State"]["Status"] for name, details in containers.items()}
    assert states == dict.fromkeys(("web", "db", "backup"), "running"), f"the containers: {states}"
    assert containers["web"]["Config"]["Image"] == run.name("private_image")
    mounts = {name: {mount["Destination"] for mount in details["Mounts"]} for name, details in containers.items()}
    assert mounts == {"web": set(), "db": {"/data", "/run/secrets/password"}, "backup": {"/data"}}, f"mounts: {mounts}"
    requests = _asked(run)
    assert requests > run.kept(Pulled).asked, "the registry was not asked"
    run.keep(Pulled(requests))


@private_image.step(
    "Change the deployment, with the wrong password again",
    private_web("{deployment}", release=3, wait=True),
    "kubectl delete secret {deployment} {deployment2} {own} --namespace {namespace}",
    look_at=("agent:device", "operator"),
)
def not_asked(run: Run) -> None:
    """The device has the image. It replaces the container, and does not ask the registry."""
    assert "RELEASE=3" in checks.container(run, "deployment").env
    assert _asked(run) == run.kept(Pulled).asked, "the registry was asked for an image that is there"
