"""The default target: a real API server, identity provider double and, once installed, the product, as processes.

The world comes without a fleet server; a scenario installs one with the command that an operator types. That command
finds `harness.targets.process` through FLEET_TOPOLOGY, and runs NATS, callout and operator as more parts of this world.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator
from pathlib import Path
from typing import IO

import msgspec

from harness import folders
from harness.devices.lab import Lab, Pool, prepare_login
from harness.devices.process import ProcessDevice
from harness.errors import HarnessError
from harness.parts import PartSpec, put, write_atomic
from harness.ports import Ports
from harness.probes.engine import EngineProbe
from harness.provisions import Provisions
from harness.targets import control_plane, identity
from harness.targets.certificates import Authority
from harness.targets.local import LocalParts, inherited, kept_world, write_env
from harness.targets.machine_checks import check_machine
from harness.wait import stretched
from harness.world import World

NAMESPACE = "fleet-system"
_SERVICE_PORTS = 12
"""Ports set aside for what `fleet server install` will run."""
_EMULATED = 5.0
"""How much longer everything may take with a device whose processor is emulated."""


@contextlib.contextmanager
def embedded(
    provisions: Provisions, *, run_id: str, worker: str, keep: bool = False, machine: bool = False
) -> Generator[World]:
    """A world from nothing, ended and removed after the `with`, or kept alive when told so.

    With `machine`, the first device at a time is a virtual machine, and others are processes.

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
        if not keep:
            cleanup.callback(folders.remove, root)
            cleanup.callback(remove_containers, root)  # once the agents, which would make them anew, have ended
        authority = Authority(root / "tls")
        plane = control_plane.prepare(root, provisions.binaries, ports, authority)
        zitadel_part, zitadel = identity.prepare(root, ports, authority)
        specs = [*plane.parts, zitadel_part]
        parts = _start(root, lock, specs, ports, provisions)
        cleanup.callback(parts.detach if keep else parts.close)
        parts.await_ready([spec.name for spec in specs])
        parts.triage.remember([plane.kubeconfig, authority.certificate, zitadel.admin_token_file])
        env = _operator_env(root, plane, zitadel, provisions)
        device_env = {name: value for name, value in env.items() if name in inherited()}
        lab = cleanup.enter_context(_with_machine(root, ports)) if machine else Lab(processes=True)
        pool = Pool(lab, lambda name: ProcessDevice(root, name, device_env, provisions.engine))
        world = World(
            root=root,
            run_id=run_id,
            worker=worker,
            target="embedded",
            env=env,
            namespace=NAMESPACE,
            identity=zitadel,
            parts=parts,
            engine=provisions.engine_name,
            make_device=pool.lend,
            device_kinds=lab.kinds,
            secret=lambda name: (root / "secrets" / name).read_text().strip(),
            how_to_enter=kept_world(worker, root, ("harness.supervisor", root)),
        )
        cleanup.callback(world.close)
        yield world


@contextlib.contextmanager
def _with_machine(root: Path, ports: Ports) -> Generator[Lab]:
    from harness.machines.machine import machine  # noqa: PLC0415 - what builds an agent, for this run only

    with stretched(_EMULATED), machine(root, ports.take()) as made:
        lab = Lab(machines={"pi": made}, processes=True)
        prepare_login(lab, root / "home")
        yield lab


def _start(root: Path, lock: IO[bytes], specs: list[PartSpec], ports: Ports, provisions: Provisions) -> LocalParts:
    for spec in specs:
        put(root, spec)
    pool = [ports.take() for _ in range(_SERVICE_PORTS)]
    write_atomic(root / "ports.json", msgspec.json.encode({"free": pool, "given": {}}))
    return LocalParts(root, lock, provisions.engine)


def _operator_env(
    root: Path, plane: control_plane.ControlPlane, zitadel: identity.ZitadelDouble, provisions: Provisions
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
        "KUBEBUILDER_ASSETS": str(provisions.binaries["kube-apiserver"].parent),
        "NATS_SERVER": str(provisions.binaries["nats-server"]),
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
