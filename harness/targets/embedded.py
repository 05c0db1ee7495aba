"""The default target: a real API server, identity provider double and, once installed, the product, as processes.

The world comes without a fleet server; a scenario installs one with the command that an operator types. That command
finds `harness.targets.process` through FLEET_TOPOLOGY, and runs NATS, callout and operator as components of this world.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Generator
from functools import partial
from pathlib import Path
from typing import IO, NamedTuple

import msgspec

from fleet.contract.config import DEFAULT_NAMESPACE
from harness.devices import Acquirable
from harness.devices.lab import Lab, Pool, prepare_login
from harness.devices.lab_file import read_lab
from harness.devices.libvirt import LibvirtDevice, Machine
from harness.devices.process import ProcessDevice
from harness.devices.ssh import SshDevice
from harness.devices.vm.speed import SLOW, measured
from harness.errors import HarnessError
from harness.probes.engine import EngineProbe
from harness.processes.ports import Ports
from harness.processes.spec import ComponentSpec, put, write_atomic
from harness.targets import control_plane, identity
from harness.targets.certificates import Authority
from harness.targets.local import LocalComponents, inherited, kept_world, write_env
from harness.targets.machine_checks import check_machine
from harness.wait import stretched
from harness.world import folders
from harness.world.keep import NEVER, Keep
from harness.world.shared_resources import SharedResources
from harness.world.world import World

NAMESPACE = DEFAULT_NAMESPACE
_SERVICE_PORTS = 12
"""Ports set aside for what `fleet server install` will run."""


class _Machines(NamedTuple):
    """The machines of a world; `words` tells a report what they run by."""

    lab: Lab
    virtual: Callable[[str, Machine], Acquirable] = LibvirtDevice
    words: str = ""
    ready: Callable[[SshDevice], None] = lambda _: None


@contextlib.contextmanager
def embedded(
    shared: SharedResources,
    *,
    run_id: str,
    worker: str,
    keep: Keep = NEVER,
    machine: bool = False,
    lab: Path | None = None,
) -> Generator[World]:
    """A world from nothing, ended and removed after the `with`, or kept alive when told so.

    With `machine`, the first device at a time is a virtual machine, and others are processes. With the file of a
    `lab`, its boards come before both.

    Raises:
        HarnessError: it did not come up; nothing is left of it.
    """
    check_machine()
    folders.sweep(remove_containers)
    root, lock = folders.create()
    ports = Ports.acquire()
    with contextlib.ExitStack() as cleanup:
        cleanup.callback(ports.release)
        cleanup.callback(lock.close)
        cleanup.callback(keep.unless, folders.remove, root)
        # Once the agents, which would make them anew, have ended.
        cleanup.callback(keep.unless, remove_containers, root)
        authority = Authority(root / "tls")
        plane = control_plane.prepare(root, shared.binaries, ports, authority)
        zitadel_component, zitadel = identity.prepare(root, ports, authority)
        specs = [*plane.components, zitadel_component]
        components = _start(root, lock, specs, ports, shared)
        cleanup.callback(keep.end, components)
        components.await_ready([spec.name for spec in specs])
        components.triage.remember([plane.kubeconfig, authority.certificate, zitadel.admin_token_file])
        env = _operator_env(root, plane, zitadel, shared)
        device_env = {name: value for name, value in env.items() if name in inherited()}
        machines = _Machines(Lab(processes=True))
        if machine:
            machines = cleanup.enter_context(_with_machine(root, ports, keep))
        if lab is not None:
            machines = cleanup.enter_context(_with_boards(lab, machines))
        if machine or lab is not None:
            prepare_login(machines.lab, root / "home")
        pool = Pool(
            machines.lab,
            lambda name: ProcessDevice(root, name, device_env, shared.engine),
            machines.virtual,
            machines.ready,
        )
        world = World(
            root=root,
            run_id=run_id,
            worker=worker,
            target="embedded",
            env=env,
            namespace=NAMESPACE,
            identity=zitadel,
            components=components,
            engine=f"{shared.engine_name}{machines.words}",
            keep=keep,
            image_registry=shared.image_registry,
            make_device=pool.acquire,
            device_kinds=machines.lab.kinds,
            secret=lambda name: (root / "secrets" / name).read_text().strip(),
            how_to_enter=kept_world(worker, root, ("harness.processes.supervisor", root)),
        )
        cleanup.callback(world.close)
        yield world


@contextlib.contextmanager
def _with_machine(root: Path, ports: Ports, keep: Keep) -> Generator[_Machines]:
    from harness.devices.vm.machine import machine  # noqa: PLC0415 - what builds an agent, for this run only

    with stretched() as slow, machine(root, ports, slow, keep) as (made, acquire):
        lab = Lab(machines={"pi": made}, processes=True)
        yield _Machines(lab, acquire, f"; podman in a virtual machine by {made.by}")


@contextlib.contextmanager
def _with_boards(file: Path, others: _Machines) -> Generator[_Machines]:
    """The boards of a lab beside what there is; every limit follows the speed of the one that was acquired last."""
    lab = msgspec.structs.replace(others.lab, boards=read_lab(file).boards)
    with stretched() as slow:

        def ready(board: SshDevice) -> None:
            slow(measured(partial(board.run, timeout=SLOW)))

        yield others._replace(lab=lab, words=f"{others.words}; boards have their own", ready=ready)


def _start(
    root: Path, lock: IO[bytes], specs: list[ComponentSpec], ports: Ports, shared: SharedResources
) -> LocalComponents:
    for spec in specs:
        put(root, spec)
    pool = [ports.take() for _ in range(_SERVICE_PORTS)]
    write_atomic(root / "ports.json", msgspec.json.encode({"free": pool, "given": {}}))
    return LocalComponents(root, lock, shared.engine)


def _operator_env(
    root: Path, plane: control_plane.ControlPlane, zitadel: identity.ZitadelDouble, shared: SharedResources
) -> dict[str, str]:
    home = root / "home"
    home.mkdir(mode=0o700)
    env = {
        **inherited(),
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home / ".config"),
        "KUBECONFIG": str(plane.kubeconfig),
        "FLEET_NAMESPACE": NAMESPACE,
        "FLEET_ADMIN_TOKEN_FILE": str(zitadel.admin_token_file),
        "FLEET_TOPOLOGY": "process",
        "FLEET_PROCESS_ROOT": str(root),
        "KUBEBUILDER_ASSETS": str(shared.binaries["kube-apiserver"].parent),
        "NATS_SERVER": str(shared.binaries["nats-server"]),
        "NO_COLOR": "1",
    }
    write_env(root, env)
    return env


def remove_containers(root: Path) -> None:
    """What a world's agents created on an engine that outlives it."""
    for link in (root / "devices").glob("*/run/docker.sock"):
        socket = os.path.realpath(link)
        if not Path(socket).exists():
            continue
        with contextlib.closing(EngineProbe(socket)) as engine, contextlib.suppress(HarnessError):
            engine.remove(link.parents[1].name)
