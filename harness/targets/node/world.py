"""The target `node`: a world in a Kubernetes of our own. `node:3` has three machines, and NATS a server on each."""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from pathlib import Path

from harness.binaries import NAMES, NODE_NAMES, resolve_all
from harness.binaries.build import Progress
from harness.devices.process import ProcessDevice
from harness.errors import Misused
from harness.images import server as images
from harness.probes.kube import KubeProbe
from harness.processes.rwlock import RwLock
from harness.processes.spec import ComponentSpec, put, specs
from harness.targets.embedded import NAMESPACE, remove_containers
from harness.targets.identity import ZitadelDouble
from harness.targets.local import LocalComponents, inherited, kept_world, write_env
from harness.targets.node import identity
from harness.targets.node.components import NodeComponents
from harness.targets.node.machines import NodeClusterMachines
from harness.targets.node.node_cluster import node_cluster
from harness.targets.node.plan import Plan, load
from harness.world import folders
from harness.world.keep import NEVER, Keep
from harness.world.shared_resources import SharedResources
from harness.world.world import World

_LOGS = "pod-logs"
_POD_USER = "1000730000"
"""One that no image knows, as OpenShift gives them to namespaces."""


@contextlib.contextmanager
def cluster_for(argument: str, progress: Progress, *, keep: Keep) -> Generator[Path]:
    """The folder of a cluster with the images of a fleet server, for all worlds of a run.

    Raises:
        Misused: `argument` is no number of machines.
        HarnessError: it cannot run here.
    """
    if argument not in {"", "1", "2", "3"}:
        raise Misused(f"node:{argument} is no number of machines", next_step="use node, node:2 or node:3")
    binaries = resolve_all((*NAMES, *NODE_NAMES), progress=progress)
    loaded = [images.product(), images.nats(), images.zitadel_double()]
    with node_cluster(binaries, images.pause(), count=int(argument or 1), images=loaded, keep=keep) as cluster:
        yield cluster.plan.root


@contextlib.contextmanager
def node_world(shared: SharedResources, *, run_id: str, worker: str, keep: Keep = NEVER) -> Generator[World]:
    """A world in the cluster of `shared`, with namespaces, an identity provider and devices of its own.

    Raises:
        HarnessError: it did not come up; nothing is left of it.
    """
    if shared.node_cluster is None:
        raise Misused("no cluster was prepared", next_step="this is a defect of the harness")
    plan = load(shared.node_cluster)
    folders.sweep(remove_containers)
    root, lock = folders.create()
    with contextlib.ExitStack() as cleanup:
        cleanup.callback(lock.close)
        cleanup.callback(keep.unless, folders.remove, root)
        cleanup.callback(keep.unless, remove_containers, root)
        namespace = NAMESPACE if worker == "main" else f"fleet-{worker}"
        namespaces = (namespace, f"{namespace}-identity")
        _follow_logs(root, plan, namespaces)
        _show_daemons(root, plan)
        local = LocalComponents(root, lock, shared.engine)
        cleanup.callback(keep.end, local)
        local.await_ready([_LOGS])
        kubeconfig = plan.root / "kubernetes" / "outside.kubeconfig"
        kube = cleanup.enter_context(contextlib.closing(KubeProbe(kubeconfig, namespace)))
        turns = cleanup.enter_context(contextlib.closing(RwLock(plan.root)))
        turns.acquire()
        zitadel = identity.start(kube, namespaces[1], images.zitadel_double().image, plan.take_node_port(), root)
        turns.release()
        env = _operator_env(root, plan, kubeconfig, namespace, zitadel)
        device_env = {name: value for name, value in env.items() if name in inherited()}
        world = World(
            root=root,
            run_id=run_id,
            worker=worker,
            target="node",
            env=env,
            namespace=namespace,
            identity=zitadel,
            components=NodeComponents(plan, local, kube, namespaces),
            engine=shared.engine_name,
            image_registry=shared.image_registry,
            turns=turns,
            make_device=lambda name: ProcessDevice(root, name, device_env, shared.engine),
            secret=lambda name: kube.secret("fleet-secrets", name) or "",
            machines=NodeClusterMachines(plan, kube),
            how_to_enter=kept_world(
                worker, root, ("harness.processes.supervisor", root), ("harness.targets.node.reaper", plan.root)
            ),
        )
        cleanup.callback(world.close)
        yield world


def _follow_logs(root: Path, plan: Plan, namespaces: tuple[str, ...]) -> None:
    argv = ("python", "-m", "harness.targets.node.logs", str(plan.root), str(root), *namespaces)
    (root / "logs").mkdir()
    put(root, ComponentSpec(_LOGS, argv, "world"))


def _show_daemons(root: Path, plan: Plan) -> None:
    """The logs of the cluster's own servers and of the world, in the folder that a report reads."""
    homes = {"node": plan.root, **{f"node-{machine.name}": plan.of(machine) for machine in plan.machines}}
    for prefix, home in homes.items():
        for name in specs(home):
            (root / "logs" / f"{prefix}-{name}.log").symlink_to(home / "logs" / f"{name}.log")


def _operator_env(root: Path, plan: Plan, kubeconfig: Path, namespace: str, zitadel: ZitadelDouble) -> dict[str, str]:
    home = root / "home"
    home.mkdir(mode=0o700)
    env = {
        **inherited(),
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home / ".config"),
        "KUBECONFIG": str(kubeconfig),
        "FLEET_NAMESPACE": namespace,
        "FLEET_ADMIN_TOKEN_FILE": str(zitadel.admin_token_file),
        "FLEET_IMAGE": images.product().image,
        "FLEET_NATS_IMAGE": images.nats().image,
        "FLEET_PULL_POLICY": "Never",
        "FLEET_EXPOSURE": "node-port",
        "FLEET_NATS_ADDRESS": f"localhost:{plan.take_node_port()}",
        "FLEET_NATS_REPLICAS": "3" if len(plan.machines) == 3 else "1",
        "FLEET_POD_USER": _POD_USER,
        "NO_COLOR": "1",
    }
    write_env(root, env)
    return env
