"""Bring a fleet server to a new release, and back; what devices run does not notice."""

from __future__ import annotations

from dataclasses import dataclass, replace

from fleet.contract.objects import DEVICES, GROUP
from fleet.version import VERSION
from harness.probes.installed import Installed
from harness.probes.installed import installed as installed_now
from harness.scenario.command_line import Command
from harness.scenario.run import Run
from harness.scenario.scenario import Scenario
from harness.scenario.setup import INSTALL, is_online
from harness.wait import wait_until
from scenarios import checks
from scenarios.workloads import web

_INSTALL_BEFORE = Command(INSTALL.template.replace("fleet", "{before}", 1), deadline=INSTALL.deadline)
_BUILD = "agent build --key release.key --architecture {arch} --python {python} --version"
_KEPT = "agentVersionsKept"
"""A field of a Device that the release before does not know."""
_BACK = 20.0
"""Seconds after the command has returned until a device is heard again whose only NATS server was replaced."""

server_upgrade = Scenario(
    id="server-upgrade",
    title="Upgrade the server, and go back",
    chapter="Upgrade the server",
    why="The same command that installs a server brings it to a new release, and the one of the release before brings "
    "it back. A device with an agent of up to two releases ago is heard again within 20 s, for a new configuration of "
    "NATS starts NATS anew; what the device runs is not touched.",
    server=False,
    earlier=True,
)


@dataclass(frozen=True)
class Before:
    """The server, the workload, and since when the device is online."""

    since: str
    container: str
    installed: Installed


def _comes_back(run: Run) -> None:
    """The device is heard again in time, its workload is the same container, and no secret was made anew."""
    name = run.name("device")
    wait_until(lambda: run.world.kube.device(name), f"{name} is online", timeout=_BACK, until=is_online)
    run.keep(replace(run.kept(Before), since=_online_since(run)))
    _untouched(run)


def _untouched(run: Run) -> None:
    """The device was never offline, its workload is the same container, and no secret was made anew."""
    assert _online_since(run) == run.kept(Before).since, "it went away meanwhile"
    assert checks.running(run).id == run.kept(Before).container, "the workload was touched"
    before, after = run.kept(Before).installed, installed_now(run.world)
    assert after.secrets == before.secrets, "a secret was made anew"


def _online_since(run: Run) -> str:
    online = checks.condition(checks.device(run), "Online")
    assert online is not None
    assert online.status == "True", f"it is away: {online}"
    return online.last_transition_time


def _knows_kept(run: Run) -> bool:
    return _KEPT in str(run.world.kube.definition(DEVICES))


@server_upgrade.step("Install the release before", _INSTALL_BEFORE, look_at=checks.SERVER)
def installed_before(run: Run) -> None:
    """It is there, and knows less than this one."""
    assert run.world.kube.server() is not None
    assert not _knows_kept(run), "the release before knows everything that this one does"


@server_upgrade.step(
    "Set up a device with an agent that is older still",
    "{before} agent new-key --out release.key --trusted-keys trusted-keys.json",
    Command(f"{{long_before}} {_BUILD} {{version_long_before}}", deadline=300),
    "{before} device enroll --device-id {device} --label site={site} --heartbeat-interval 1"
    " --admin-token-file {admin_token_file} --out {config}",
    Command(
        "{before} device setup --config {config} --agent fleet-agent-{version_long_before}"
        " --trusted-keys trusted-keys.json {where}",
        on="device",
        deadline=60,
    ),
    look_at=("agent:device", "operator"),
)
def old_agent(run: Run) -> None:
    """It is online, with the version of two releases ago."""
    name = run.name("device")
    found = wait_until(
        lambda: run.world.kube.device(name),
        f"{name} is online and tells its version",
        timeout=checks.ROLLOUT,
        until=lambda held: is_online(held) and held is not None and held.status.info is not None,
    )
    assert found is not None
    assert found.status.info is not None
    assert str(found.status.info.agent_version) == run.name("version_long_before")


@server_upgrade.step("Run a workload", web(), look_at=("operator", "agent:device"))
def workload(run: Run) -> None:
    """It must not notice anything of what follows; the new command line serves the old server, too."""
    checks.settled(run)
    run.keep(Before(_online_since(run), checks.running(run).id, installed_now(run.world)))


@server_upgrade.step(
    "See what the new release would change",
    Command(f"{INSTALL.template} --dry-run", contains=(f"CustomResourceDefinition {DEVICES}.{GROUP}",)),
)
def preview_shown(run: Run) -> None:
    """The definition of devices, and the images of operator and callout; nothing is changed yet."""
    assert not run.kept(Before).installed.changes(installed_now(run.world))


@server_upgrade.step("Upgrade the server", INSTALL, look_at=checks.SERVER)
def upgraded(run: Run) -> None:
    """NATS, operator and callout are replaced; the device is online within 20 s, and its workload is the same."""
    assert _knows_kept(run), "the definition of devices is still the older one"
    _comes_back(run)


@server_upgrade.step(
    "Use what is new: bring the device to this release's agent, and bound its disk",
    Command(f"fleet {_BUILD} {VERSION}", deadline=300),
    Command(f"fleet agent publish fleet-agent-{VERSION}", deadline=60),
    Command(
        f"fleet device upgrade {{device}} --to {VERSION} --keep 1 --wait", contains=(f"runs {VERSION}",), deadline=90
    ),
    look_at=("agent:device", "operator"),
)
def new_agent(run: Run) -> None:
    """An agent of two releases ago upgrades itself; the order has the field that is new."""
    assert checks.device(run).spec.agent_versions_kept == 1
    _untouched(run)


@server_upgrade.step("Go back to the release before", _INSTALL_BEFORE, look_at=checks.SERVER)
def back(run: Run) -> None:
    """The definition of devices stays as the newer release made it: it serves both, and loses nothing."""
    assert _knows_kept(run), "the older definition took the place of the newer one"
    assert checks.device(run).spec.agent_versions_kept == 1, "what the newer release knew was lost"
    _comes_back(run)


@server_upgrade.step("Change the workload", web(2), look_at=("operator", "agent:device"))
def changed(run: Run) -> None:
    """The older server leads the newer agent."""
    checks.settled(run)
    moved = checks.running(run).id
    assert moved != run.kept(Before).container, "the change did not reach the device"
    run.keep(replace(run.kept(Before), container=moved))


@server_upgrade.step("And forward again", INSTALL, look_at=checks.SERVER)
def forward(run: Run) -> None:
    """As the first time."""
    _comes_back(run)
