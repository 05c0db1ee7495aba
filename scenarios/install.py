"""Install a fleet server, and take it away again."""

from __future__ import annotations

import stat
from contextlib import closing
from dataclasses import dataclass

import msgspec

from fleet.contract.objects import DEPLOYMENTS, DEVICES, ServerInfo
from harness.probes.identity import IdentityProbe
from harness.probes.installed import Installed
from harness.probes.installed import installed as installed_now
from harness.probes.services import sessions
from harness.processes.files import files_below
from harness.scenario.command import Result
from harness.scenario.command_line import refused
from harness.scenario.run import Run
from harness.scenario.scenario import Scenario
from harness.scenario.setup import INSTALL, UNINSTALL, is_online
from harness.wait import wait_until
from scenarios import checks, logins
from scenarios.workloads import web

install = Scenario(
    id="install",
    title="Install a fleet server",
    chapter="Install",
    why="One command brings up NATS, the auth callout and the operator. It can be repeated at any time: what is there "
    "already stays untouched, and no secret is ever made anew.",
    server=False,
)


@install.step(
    "See that nothing is installed yet",
    refused("fleet server status", 3, contains="fleet server install"),
    refused("fleet device list", 3, contains="fleet server install"),
)
def nothing_yet(run: Run) -> None:
    """Both end with exit code 3 and name the command that installs a server."""
    assert run.world.kube.server() is None


@install.step("Install the server", INSTALL, look_at=checks.SERVER)
def installed(run: Run) -> None:
    """The command returns once everything answers; the server's address is written down in the cluster.

    What it keeps secret can be read by its owner only.
    """
    for component in ("callout", "operator"):
        checks.answers(run, component, "/readyz")
    checks.nats_answers(run)
    server = run.world.kube.server()
    assert server is not None, "the ConfigMap that announces the server is missing"
    assert server.issuer == run.world.issuer
    assert server.nats_url.startswith("tls://")
    secrets = sorted((run.world.root / "secrets").glob("*"))
    open_to_all = [path.name for path in secrets if stat.S_IMODE(path.stat().st_mode) & 0o077]
    assert not open_to_all, f"others can read {', '.join(open_to_all)}"


@install.step("See that it is healthy", "fleet server status", look_at=checks.SERVER)
def healthy(_run: Run, status: Result) -> None:
    """NATS, callout and operator are listed as ready."""
    lines = [line.split() for line in status.stdout.splitlines()]
    for component in ("nats", "callout", "operator"):
        assert [f"{component}:", "ready"] in lines, f"{component} is not listed as ready"


@dataclass(frozen=True)
class FirstInstall:
    """What the first install made, and what is at the identity provider."""

    installed: Installed
    at_the_provider: list[str]


@install.step(
    "See that the cluster knows devices and deployments",
    "kubectl get devices,fleetdeployments --namespace {namespace}",
)
def kinds_known(run: Run, listed: Result) -> None:
    """There are none yet, and that is no error."""
    assert "No resources found" in listed.output
    with closing(IdentityProbe(run.world)) as identity:
        run.keep(FirstInstall(installed_now(run.world), identity.made()))


@install.step("Install again", INSTALL, look_at=checks.SERVER)
def unchanged(run: Run) -> None:
    """It succeeds and changes nothing: same objects and secrets, same components, nothing new at the provider."""
    changed = run.kept(FirstInstall).installed.changes(installed_now(run.world))
    assert not changed, f"changed: {', '.join(changed)}"
    with closing(IdentityProbe(run.world)) as identity:
        assert identity.made() == run.kept(FirstInstall).at_the_provider, "something new is at the identity provider"


_OWN = ("configmaps", "secrets")


def _own(run: Run) -> list[tuple[str, str]]:
    """The versions of what somebody else keeps in the server's namespace; all of it must be there."""
    kube, found = run.world.kube, list[tuple[str, str]]()
    for kind in _OWN:
        item = kube.get(f"/api/v1/namespaces/{run.world.namespace}/{kind}/{run.name('own')}")
        assert item is not None, f"somebody else's {kind} {run.name('own')} is gone"
        found.append((item["metadata"]["uid"], item["metadata"]["resourceVersion"]))
    return found


uninstall = Scenario(
    id="uninstall",
    title="Uninstall the fleet server",
    chapter="Remove",
    why="Without `--delete-data` the server goes and everything it knows stays, so that a later install goes on where "
    "this one stopped. With it, nothing is left.",
    devices=1,
)


@dataclass(frozen=True)
class BeforeUninstall:
    """What an uninstall must not touch."""

    container: str
    agent: str
    subject: str
    server: ServerInfo
    secrets: dict[str, str]
    own: list[tuple[str, str]]


@uninstall.step(
    "Run a workload, and put something of your own beside the server",
    web(),
    "kubectl create configmap {own} --namespace {namespace} --from-literal=owner=somebody",
    "kubectl create secret generic {own} --namespace {namespace} --from-literal=owner=somebody",
    look_at=("operator", "agent:device"),
)
def runs(run: Run) -> None:
    """The workload runs; what is yours is in the server's namespace."""
    run.keep(
        BeforeUninstall(
            container=checks.container(run).life,
            agent=checks.beat(run).instance_id,
            subject=checks.device(run).spec.subject,
            server=logins.server(run),
            secrets=installed_now(run.world).secrets,
            own=_own(run),
        )
    )


@uninstall.step("Uninstall, and keep the data", "fleet server uninstall")
def uninstalled(run: Run) -> None:
    """The server's components have ended; devices and deployments are still known, what is yours is as it was.

    The workload goes on.
    """
    assert run.world.kube.server() is None
    assert not [name for name in checks.SERVER if name in run.world.components()]
    assert run.world.kube.device(run.name("device")) is not None
    assert run.world.kube.deployment(run.name("deployment")) is not None
    assert _own(run) == run.kept(BeforeUninstall).own, "what somebody else owns was touched"
    assert checks.container(run).life == run.kept(BeforeUninstall).container, "the workload was touched"


@uninstall.step("See that it is gone", refused("fleet server status", 3, contains="fleet server install"))
def not_there(_run: Run) -> None:
    """The exit code is 3, as before the first install."""


@uninstall.step("Install it again", INSTALL, look_at=(*checks.SERVER, "agent:device"))
def goes_on(run: Run) -> None:
    """The device comes back by itself: its key, its address and the server's secrets are the same as before.

    Its workload was not touched.
    """
    name = run.name("device")
    before = msgspec.structs.replace(run.kept(BeforeUninstall).server, web=False, web_url="")  # it was not asked for
    assert logins.server(run) == before
    assert installed_now(run.world).secrets == run.kept(BeforeUninstall).secrets, "a secret was made anew"
    wait_until(
        lambda: run.world.kube.device(name),
        f"{name} is heard again",
        timeout=checks.ROLLOUT,
        until=lambda held: is_online(held) and bool(sessions(run.world, name)),
    )
    assert checks.device(run).spec.subject == run.kept(BeforeUninstall).subject
    assert checks.next_beat(run).instance_id == run.kept(BeforeUninstall).agent, "its agent was started again"
    checks.settled(run)
    assert checks.container(run).life == run.kept(BeforeUninstall).container, "the workload was touched"


@uninstall.step("Uninstall, with all data", UNINSTALL)
def nothing_left(run: Run) -> None:
    """Devices, deployments, NATS' data and the server's secrets are gone; what is yours stays.

    Their kinds go with the last server of a cluster.
    """
    kube = run.world.kube
    assert _own(run) == run.kept(BeforeUninstall).own, "what somebody else owns was touched"
    for kind in _OWN:
        kube.delete(f"/api/v1/namespaces/{run.world.namespace}/{kind}/{run.name('own')}")
    needed = bool(kube.servers())
    for plural in (DEVICES, DEPLOYMENTS):
        wait_until(
            lambda plural=plural: kube.definition(plural),
            f"the definition of {plural} is {'kept for another server' if needed else 'gone'}",
            timeout=10,
            until=lambda pod: (pod is not None) == needed,
        )
    assert not kube.devices(), "devices are left"
    assert not kube.deployments(), "deployments are left"
    left = installed_now(run.world)
    assert not left.secrets, f"secrets are left: {sorted(left.secrets)}"
    assert not [name for name in checks.SERVER if name in left.components], (
        f"components are left: {sorted(left.components)}"
    )
    stored = list(files_below(run.world.root / "services" / "nats"))
    assert not stored, f"NATS' data is left: {len(stored)} files"
