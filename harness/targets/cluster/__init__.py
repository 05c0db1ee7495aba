"""The targets `staging:FILE` and `production:FILE`: a cluster that exists already, and is only visited.

A fleet server is installed there, for others too. So a run takes a lease on it, goes through a guard that lets it write
nothing but what bears its own mark, and removes what it made, as well as what runs before it left when they crashed.
On production it only looks: nothing is leased, marked or written. docs/targets.md says how to describe a cluster.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Generator
from functools import partial
from pathlib import Path
from typing import IO

import httpx
import msgspec

from harness.devices.lab import Lab, Pool, prepare_login
from harness.devices.process import ProcessDevice
from harness.engine.select import FoundEngine, engine
from harness.errors import Misused
from harness.probes.kube import KubeProbe
from harness.processes.spec import write_atomic
from harness.targets.cluster import preflight, run_label
from harness.targets.cluster.description import Description, Kind, describe
from harness.targets.cluster.guard import guarded
from harness.targets.cluster.lease import leased
from harness.targets.cluster.person import Person, sign_in
from harness.targets.cluster.pods import PodComponents
from harness.targets.cluster.policy import Rules
from harness.targets.cluster.upstream import client, upstream
from harness.targets.embedded import remove_containers
from harness.targets.local import LocalComponents, inherited
from harness.world import folders
from harness.world.world import World

_log = logging.getLogger("fleet.cluster")


class _Place(msgspec.Struct, frozen=True):
    """What a visit has in hand. `socket` and `http` lead to the API server unguarded."""

    description: Description
    root: Path
    socket: Path
    http: httpx.Client
    run_id: str


class _Opened(msgspec.Struct, frozen=True):
    """How the run gets in. `unfit` says why it may not go on; empty while it may."""

    env: dict[str, str]
    token: Path
    unfit: Callable[[], str]
    lab: Lab


@contextlib.contextmanager
def cluster(kind: Kind, file: str, *, run_id: str, worker: str) -> Generator[World]:
    """A world in a cluster that is only visited.

    Raises:
        TargetUnavailable: what the description must say, or what the cluster must have, is missing; the message lists
            all of it. Or another run has the lease.
        Misused: several workers would share it.
    """
    description = describe(kind, file)
    if worker != "main":
        raise Misused(f"{kind} is one, and so are its boards: workers cannot share it", next_step="give -n 0")
    folders.sweep(remove_containers)
    root, lock = folders.create()
    with contextlib.ExitStack() as cleanup:
        cleanup.callback(lock.close)
        cleanup.callback(folders.remove, root)
        cleanup.callback(remove_containers, root)
        (root / "home").mkdir(mode=0o700)
        socket = cleanup.enter_context(upstream(description, root))
        http = cleanup.enter_context(contextlib.closing(client(socket)))
        preflight.check(http, description, writes=kind == "staging")
        place = _Place(description, root, socket, http, run_id)
        opened = cleanup.enter_context(_to_write(place) if kind == "staging" else _to_look(place))
        yield cleanup.enter_context(_world(kind, place, opened, lock))


@contextlib.contextmanager
def _to_look(place: _Place) -> Generator[_Opened]:
    """Nothing is written, nobody signs in, and no machine becomes a device."""
    nobody = place.root / "no-token"
    write_atomic(nobody, b"")
    with guarded(place.socket, Rules(place.description.namespace), str, place.root) as kubeconfig:
        yield _Opened(_env(place, kubeconfig), nobody, str, Lab())


@contextlib.contextmanager
def _to_write(place: _Place) -> Generator[_Opened]:
    """Under the lease; what a run before left goes first, and what this one leaves goes last."""
    description, http, run_id = place.description, place.http, place.run_id
    namespace = description.namespace
    with contextlib.ExitStack() as cleanup:
        lease = cleanup.enter_context(leased(http, namespace, run_id, description.lease_seconds))
        door = guarded(place.socket, Rules(namespace, run_id), lease.unfit, place.root)
        env = _env(place, cleanup.enter_context(door))
        token = sign_in(description, env, place.root)
        env["FLEET_ADMIN_TOKEN_FILE"] = str(token)
        prepare_login(description.lab, place.root / "home")
        remove = partial(run_label.remove, http, namespace, run_id, env, place.root)
        if run_label.claim(http, namespace, run_id):
            _log.warning("removed what a run before this one left: %s", ", ".join(remove()))
        cleanup.callback(remove)
        yield _Opened(env, token, lease.unfit, description.lab)


@contextlib.contextmanager
def _world(kind: Kind, place: _Place, opened: _Opened, lock: IO[bytes]) -> Generator[World]:
    description, root, lab = place.description, place.root, opened.lab
    with contextlib.ExitStack() as cleanup:
        chosen = cleanup.enter_context(engine()) if lab.processes else FoundEngine("", "each device's own")
        local = LocalComponents(root, lock, chosen.socket)
        cleanup.callback(local.close)
        local.await_ready([])
        kube = KubeProbe(Path(opened.env["KUBECONFIG"]), description.namespace)
        cleanup.callback(kube.close)
        device_env = {name: value for name, value in opened.env.items() if name in inherited()}
        pool = Pool(lab, (lambda name: ProcessDevice(root, name, device_env, chosen.socket)) if lab.processes else None)
        world = World(
            root=root,
            run_id=place.run_id,
            worker="main",
            target=kind,
            env=opened.env,
            namespace=description.namespace,
            identity=Person(description.issuer, description.issuer_ca, opened.token, description.approve_command),
            components=PodComponents(kube, local, lambda: _problems(description, opened.unfit), ours=False),
            engine=chosen.name,
            make_device=pool.acquire,
            device_kinds=lab.kinds,
            visited=True,
            secret=lambda name: kube.secret("fleet-secrets", name) or "",
        )
        cleanup.callback(world.close)
        yield world


def _problems(description: Description, unfit: Callable[[], str]) -> list[str]:
    return [problem for problem in (unfit(), preflight.issuer_problem(description)) if problem]


def _env(place: _Place, kubeconfig: Path) -> dict[str, str]:
    home = place.root / "home"
    return {
        **inherited(),
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home / ".config"),
        "KUBECONFIG": str(kubeconfig),
        "FLEET_NAMESPACE": place.description.namespace,
        "NO_COLOR": "1",
    }
