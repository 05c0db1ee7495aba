"""Install a fleet server, and take it away again."""

from __future__ import annotations

from fleet.contract.objects import DEPLOYMENTS, DEVICES
from harness.commands import Result
from harness.preparation import INSTALL, UNINSTALL, is_online
from harness.probes.installed import Installed
from harness.probes.installed import installed as installed_now
from harness.probes.services import sessions
from harness.runbook import Run
from harness.scenario import Scenario, refused
from harness.wait import wait_until
from scenarios import looks

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
def nothing_yet(run: Run, _status: Result, _devices: Result) -> None:
    """Both end with exit code 3 and name the command that installs a server."""
    assert run.world.kube.server() is None


@install.step("Install the server", INSTALL, look_at=looks.SERVER)
def installed(run: Run, _result: Result) -> None:
    """The command returns once everything answers; the server's address is written down in the cluster."""
    server = run.world.kube.server()
    assert server is not None, "the ConfigMap that announces the server is missing"
    assert server.issuer == run.world.issuer
    assert server.nats_url.startswith("tls://")


@install.step("See that it is healthy", "fleet server status", look_at=looks.SERVER)
def healthy(_run: Run, status: Result) -> None:
    """NATS, callout and operator are listed as ready."""
    for part in ("nats", "callout", "operator"):
        assert part in status.stdout, f"{part} is not listed"


@install.step(
    "See that the cluster knows devices and deployments",
    "kubectl get devices,fleetdeployments --namespace {namespace}",
)
def kinds_known(run: Run, listed: Result) -> None:
    """There are none yet, and that is no error."""
    assert "No resources found" in listed.output
    run.keep(before=installed_now(run.world))


@install.step("Install again", INSTALL, look_at=looks.SERVER)
def unchanged(run: Run, _result: Result) -> None:
    """It succeeds and changes nothing: same objects, same secrets, no part restarted."""
    changed = run.kept("before", Installed).changes(installed_now(run.world))
    assert not changed, f"changed: {', '.join(changed)}"


uninstall = Scenario(
    id="uninstall",
    title="Uninstall the fleet server",
    chapter="Remove",
    why="Without `--delete-data` the server goes and everything it knows stays, so that a later install goes on where "
    "this one stopped. With it, nothing is left.",
    devices=1,
)


@uninstall.step("Uninstall, and keep the data", "fleet server uninstall")
def uninstalled(run: Run, _result: Result) -> None:
    """The server's parts have ended; the devices are still known."""
    assert run.world.kube.server() is None
    assert not [name for name in looks.SERVER if name in run.world.parts()]
    assert run.world.kube.device(run.name("device")) is not None


@uninstall.step("See that it is gone", refused("fleet server status", 3, contains="fleet server install"))
def not_there(_run: Run, _status: Result) -> None:
    """The exit code is 3, as before the first install."""


@uninstall.step("Install it again", INSTALL, look_at=(*looks.SERVER, "agent:device"))
def goes_on(run: Run, _result: Result) -> None:
    """The device comes back by itself: its key, its address and the server's secrets are the same as before."""
    name = run.name("device")
    server = run.world.kube.server()
    assert server is not None
    heard = looks.device(run).status.last_heartbeat
    wait_until(
        lambda: run.world.kube.device(name),
        f"{name} is heard again",
        timeout=looks.ROLLOUT,
        until=lambda held: is_online(held) and bool(sessions(run.world, name)),
    )
    assert heard is not None


@uninstall.step("Uninstall, with all data", UNINSTALL)
def nothing_left(run: Run, _result: Result) -> None:
    """Devices, deployments, and the server's secrets are gone; their kinds go with the last server of a cluster."""
    kube = run.world.kube
    needed = bool(kube.servers())
    for plural in (DEVICES, DEPLOYMENTS):
        wait_until(
            lambda plural=plural: kube.definition(plural),
            f"the definition of {plural} is {'kept for another server' if needed else 'gone'}",
            timeout=10,
            until=lambda it: (it is not None) == needed,
        )
    assert not kube.devices(), "devices are left"
    assert not kube.deployments(), "deployments are left"
    left = installed_now(run.world)
    assert not left.secrets, f"secrets are left: {sorted(left.secrets)}"
    assert not [name for name in looks.SERVER if name in left.parts], f"parts are left: {sorted(left.parts)}"
