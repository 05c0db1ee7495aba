"""What a scenario finds when it begins: an installed server, devices that are online, and names for its commands."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import allure
from allure_commons.types import AttachmentType

from fleet.contract.objects import DEPLOYMENTS, DEVICES, Device
from harness.devices import Acquirable, HasEngine, Keepable, Killable
from harness.devices import Device as Host
from harness.devices.diagnosis import save_logs
from harness.errors import HarnessError
from harness.images import IMAGE
from harness.images import past_releases as earlier
from harness.images.private_registry import PrivateRegistry, private_registry
from harness.probes.engine import EngineProbe
from harness.processes.ports import free_port
from harness.scenario.agent_releases import ensure_published, names_of
from harness.scenario.command import Result, run
from harness.scenario.command_line import Command, Value
from harness.scenario.redact import Redactor
from harness.scenario.run import Run
from harness.scenario.scenario import Scenario
from harness.wait import stretch, wait_until
from harness.world.world import World

INSTALL = Command(
    "fleet server install --issuer {issuer} --issuer-ca {issuer_ca} --admin-token-file {admin_token_file}", deadline=60
)
"""The one command that installs a server; again, it changes nothing."""
UNINSTALL = Command("fleet server uninstall --delete-data", deadline=60)
"""Leaves nothing; without `--delete-data` everything the server knows stays."""
_ENROLL = Command(
    "fleet device enroll --device-id {device} --label site={site} --heartbeat-interval 1"
    " --admin-token-file {admin_token_file} --out {config}"
)
_SET_UP = Command("fleet device setup --config {config} {where}")
_SET_UP_VERSIONED = Command(
    "fleet device setup --config {config} --agent {agent} --trusted-keys {trusted_keys} {where}", deadline=60
)
_ONLINE = 20.0
"""Seconds from the set-up to the first heartbeat seen in Kubernetes."""


@contextlib.contextmanager
def prepared(scenario: Scenario, world: World, folder: Path) -> Generator[Run]:
    """Bring a world to where a scenario begins; afterwards its devices are switched off and its objects deleted.

    Args:
        scenario: Says what it needs.
        world: Where.
        folder: The working directory for its commands; empty.

    Raises:
        AssertionError: a command of the preparation failed, or a device did not come online.
        HarnessError: the world cannot do it.
    """
    world.take_turn()
    with allure.step(f"Preparation: {scenario.needs}"):
        if scenario.server:
            ensure_installed(world, folder)
            if scenario.agents:
                ensure_published(world, folder, scenario.agents)
        else:
            ensure_bare(world, folder)
        ids = [world.unique("pi") for _ in range(scenario.devices or int(scenario.names_a_device))]
        hosts = [world.device(name) for name in ids]
        made = Run(
            world,
            {
                **names_for(world, hosts),
                **names_of(world, scenario.agents),
                **(earlier.names_of(world) if scenario.earlier else {}),
            },
            folder,
            terminals={f"device{_suffix(number)}": host for number, host in enumerate(hosts)},
            redact=Redactor([world.admin_token_file.read_text().strip()]),
        )
        with contextlib.ExitStack() as cleanup:
            if scenario.registry:
                made.registry = cleanup.enter_context(_registry(world))
                made.names |= {
                    "registry": made.registry.address,
                    "private_image": made.registry.push(f"private/{made.name('deployment')}"),
                }
            cleanup.callback(_clean_up, made, hosts)
            cleanup.enter_context(_explained(made, hosts))
            if scenario.devices:
                with ThreadPoolExecutor(len(hosts)) as pool:
                    typed = [
                        result
                        for results in pool.map(partial(_enroll, made, scenario.agents > 0), range(scenario.devices))
                        for result in results
                    ]
                # Attached here: Allure nests the steps of concurrent work wrongly.
                allure.attach(made.redact("\n".join(map(str, typed))), "commands", AttachmentType.TEXT)
            undo = cleanup.pop_all()
    with undo:
        yield made


@contextlib.contextmanager
def _registry(world: World) -> Generator[PrivateRegistry]:
    """One on this machine, where the engine of its devices is too."""
    folder = world.root / world.unique("registry")
    folder.mkdir()
    with private_registry(folder, world.image_registry) as registry:
        yield registry


@contextlib.contextmanager
def _explained(made: Run, hosts: list[Host]) -> Generator[None]:
    """Ask machines what happened when the test failed, before they are cleaned up. Processes log to the world."""
    try:
        yield
    except Exception:
        save_logs([host for host in hosts if isinstance(host, Acquirable)], made.world.root / "logs")
        if made.world.keep.may:
            made.world.kept += [_keep(host) for host in hosts if isinstance(host, Keepable)]
        raise


def _keep(host: Keepable) -> str:
    try:
        return host.keep()
    except HarnessError as error:
        # The test's own failure is what counts.
        return f"a machine could not be kept: {error}"


def names_for(world: World, hosts: list[Host]) -> dict[str, Value]:
    """What the placeholders of a scenario's commands stand for."""
    server = world.kube.server()
    names: dict[str, Value] = {
        "issuer": world.issuer,
        "issuer_ca": str(world.issuer_ca),
        "admin_token_file": str(world.admin_token_file),
        "namespace": world.namespace,
        "site": world.unique("site"),
        "deployment": world.unique("web"),
        "deployment2": world.unique("job"),
        "own": world.unique("own"),
        "secret": world.unique("canary"),
        "image": IMAGE,
        "port": str(free_port()),
        "client": server.cli_client_id if server else "",
    }
    for number, host in enumerate(hosts):
        names |= {
            f"device{_suffix(number)}": host.id,
            f"config{_suffix(number)}": f"{host.id}.json",
            f"where{_suffix(number)}": host.where,
        }
    return names


def ensure_installed(world: World, folder: Path) -> None:
    """Install a fleet server unless there is one."""
    if world.kube.server() is None:
        type_one(INSTALL, names_for(world, []), world.env, folder)


def ensure_bare(world: World, folder: Path) -> None:
    """Uninstall the fleet server if there is one."""
    if world.kube.server() is not None:
        type_one(UNINSTALL, {}, world.env, folder)


def type_one(command: Command, names: Mapping[str, Value], env: Mapping[str, str], folder: Path) -> Result:
    """Type a command of the preparation; it must succeed.

    Raises:
        AssertionError: it did not.
    """
    line = command.text(names)
    result = run(
        command.argv(names),
        line,
        env=env,
        folder=folder,
        deadline=command.deadline * stretch(),
        on_line=lambda _text: None,
    )
    assert result.code == command.exit_code, f"the preparation failed:\n{result}"
    return result


def _enroll(made: Run, versioned: bool, number: int) -> list[Result]:
    """Enroll one device, set it up, and wait until it is online."""
    suffix, set_up = _suffix(number), _SET_UP_VERSIONED if versioned else _SET_UP
    names = {**made.names, **{name: made.names[f"{name}{suffix}"] for name in ("device", "config", "where")}}
    typed = [
        type_one(_ENROLL, names, made.world.env, made.folder),
        type_one(set_up, names, made.terminals[f"device{suffix}"].env or made.world.env, made.folder),
    ]
    device = made.name(f"device{suffix}")
    wait_until(lambda: made.world.kube.device(device), f"{device} is online", timeout=_ONLINE, until=is_online)
    return typed


def is_online(device: Device | None) -> bool:
    """Whether the operator reports the device as online."""
    return device is not None and any(
        condition.type == "Online" and condition.status == "True" for condition in device.status.conditions
    )


def _clean_up(made: Run, hosts: list[Host]) -> None:
    """Remove everything that would slow the next scenario; broken objects stay for debugging."""
    made.end_staying()
    made.world.take_turn()
    for host in hosts:
        with contextlib.suppress(HarnessError):
            if isinstance(host, Acquirable):
                host.release()
                continue
            if isinstance(host, Killable):
                host.power_off()
            if isinstance(host, HasEngine):
                with contextlib.closing(EngineProbe(host.engine_socket)) as engine:
                    engine.remove(host.id)
    kube = made.world.kube
    if made.world.visited:
        # kubectl would leave the devices' machine users at the provider.
        for host in hosts:
            with contextlib.suppress(HarnessError, AssertionError):
                type_one(Command(f"fleet device delete {host.id}", deadline=60), {}, made.world.env, made.folder)
    for plural, placeholder in ((DEPLOYMENTS, "deployment"), (DEVICES, "device")):
        for name in [key for key in made.names if key.rstrip("0123456789") == placeholder]:
            with contextlib.suppress(HarnessError):
                kube.delete(kube.path(plural, made.name(name)))


def _suffix(number: int) -> str:
    """`{device}`, `{device2}`, `{device3}`: the first has no number."""
    return str(number + 1) if number else ""
