"""The owner's side of a cluster: start it, load images, switch machines off and on, end it without a trace."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from pathlib import Path
from typing import IO, Any, TypeVar

from harness.errors import ComponentDied, ComponentNotReady, HarnessError
from harness.images.server import Archive
from harness.probes.kube import KubeProbe
from harness.processes import cgroups
from harness.processes.ports import Ports
from harness.processes.search_path import search_path
from harness.processes.spawn import let_go, tail
from harness.processes.spec import ask, specs, statuses, unready
from harness.targets.local import inherited
from harness.targets.node import access, daemons, requirements
from harness.targets.node.plan import Machine, Plan, machines
from harness.targets.node.store import ctr, lay_down, refused
from harness.wait import WaitFailed, WaitTimeout, wait_until
from harness.world import folders
from harness.world.keep import NEVER, Keep

T = TypeVar("T")

_START = 120.0
"""Seconds until a cluster is ready: 25 times the usual, for a machine that is busy with something else."""
_END = 20.0
_NODE_PORTS = 32
_CRASHES = 5


class NodeCluster:
    """A running cluster; see `node_cluster`. `kubeconfig` is its admin's, for the outside."""

    def __init__(self, plan: Plan, kubeconfig: Path, reaper: subprocess.Popen[bytes]) -> None:
        """Use `node_cluster`."""
        self.plan = plan
        self.kubeconfig = kubeconfig
        self._reaper = reaper

    def load(self, archives: Sequence[Archive]) -> None:
        """Give images to every machine that runs.

        Raises:
            HarnessError: an archive is not one, or a machine is off.
        """
        with ThreadPoolExecutor() as pool:
            list(pool.map(self._load, self.plan.machines, repeat(archives)))

    def await_parts(self, names: Sequence[str]) -> None:
        """Until these components of the cluster answer.

        Raises:
            HarnessError: they do not in time, or keep dying; the message holds their last words.
        """
        self._await(self.plan.root, names)

    def await_nodes(self) -> None:
        """Until Kubernetes calls every machine ready, and pods may be created; as `await_parts` for errors."""
        names = {machine.name for machine in self.plan.machines}
        with contextlib.closing(KubeProbe(self.kubeconfig, "default")) as kube:
            self._until(lambda: names - ready_nodes(kube), "every node is ready", _nothing)
            account = "/api/v1/namespaces/default/serviceaccounts/default"
            self._until(lambda: kube.get(account), "the default ServiceAccount is there")

    def detach(self) -> None:
        """Let it live on without us; `end` from any process."""
        if self._reaper.stdin is not None:
            self._reaper.stdin.write(b"detach\n")
        let_go(self._reaper)

    def close(self) -> None:
        """End it, and return once nothing of it is left but its folder.

        Raises:
            HarnessError: something is left all the same.
        """
        if self._reaper.stdin is not None:
            self._reaper.stdin.close()
        try:
            self._reaper.wait(_END)
        except subprocess.TimeoutExpired:
            self._reaper.kill()
            self._reaper.wait()
        left = cgroups.await_removed(self.plan.cgroup)
        if left:
            raise HarnessError(f"control groups outlived the cluster: {left}", next_step="see who is in cgroup.procs")

    def start_rest(self, files: access.Files) -> None:
        """Once the API server answers: everything that needs it."""
        daemons.put_rest(self.plan, files)
        ask(self.plan.root, "reconcile")
        for machine in self.plan.machines:
            self._await(self.plan.of(machine), ["containerd"])
            ask(self.plan.of(machine), "reconcile")

    def _load(self, machine: Machine, archives: Sequence[Archive]) -> None:
        for archive in archives:  # one by one: two that share a layer would lock each other out
            import_image(self.plan, machine, archive, self._failure)

    def _failure(self, argv: Sequence[str]) -> str:
        """Why a command fails. It is given up when the cluster ends: ctr waits for a containerd that died."""
        with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
            try:
                self._until(lambda: process.poll() is not None, f"{argv[0]} ends")
            finally:
                process.kill()
            _, output = process.communicate()
        return output.strip() or f"code {process.returncode}" if process.returncode else ""

    def _await(self, root: Path, names: Sequence[str]) -> None:
        def missing() -> Mapping[str, str]:
            deaf = {} if (root / "sup.sock").exists() else {"supervisor": "does not listen yet"}
            return deaf | unready(statuses(root), names)

        self._until(missing, f"{', '.join(names)} answer", _nothing)

    def _until(self, look: Callable[[], T], condition: str, until: Callable[[T], object] = bool) -> None:
        try:
            wait_until(
                look, condition, timeout=_START, until=until, error=lambda _seen: self._hopeless(), interval=0.03
            )
        except WaitTimeout as error:
            raise ComponentNotReady(
                f"{error}\n{self._last_words()}", next_step="see these logs, and whether the machine is busy"
            ) from error
        except WaitFailed as error:
            raise ComponentDied(
                f"{error.why}\n{self._last_words()}", next_step=f"see {folders.logs_to_read(self.plan.root)}"
            ) from error

    def _hopeless(self) -> str | None:
        if self._reaper.poll() is not None:
            return "the cluster ended"
        for root in self._roots():
            for status in statuses(root).values():
                if len(status.exits) >= _CRASHES and not status.ready:
                    return f"{status.name} keeps ending, last with code {status.exits[-1].code}"
        return None

    def _roots(self) -> list[Path]:
        return [self.plan.root, *map(self.plan.of, self.plan.machines)]

    def _last_words(self) -> str:
        bad = [
            root / "logs" / f"{status.name}.log"
            for root in self._roots()
            for status in statuses(root).values()
            if not status.ready
        ]
        return "\n".join(f"  {log}:\n{tail(log, 6)}" for log in [self.plan.root / "logs" / "reaper.log", *bad])


@contextlib.contextmanager
def node_cluster(
    binaries: Mapping[str, Path], pause: Archive, *, count: int = 1, images: Sequence[Archive] = (), keep: Keep = NEVER
) -> Generator[NodeCluster]:
    """A Kubernetes from nothing, ended and removed after the `with`, or kept alive when told so.

    Args:
        binaries: Every server of `harness.binaries.NAMES` and `NODE_NAMES`.
        pause: The image of pods' sandboxes.
        count: Machines, from one to three.
        images: Other images that every machine gets.
        keep: Whether it outlives us, decided at the end.

    Raises:
        TargetUnavailable: this machine lacks something.
        HarnessError: it did not come up; nothing is left of it.
    """
    requirements.check(folders.parent())
    folders.sweep()
    root, lock = folders.create()
    ports = Ports.acquire()
    with contextlib.ExitStack() as cleanup:
        cleanup.callback(ports.release)
        cleanup.callback(lock.close)
        cleanup.callback(keep.unless, folders.remove, root)
        plan = Plan(
            root=root,
            machines=machines(count),
            cgroup=f"fleet-{root.name}-{os.getpid()}",
            api_port=ports.take(),
            node_ports=tuple(ports.take() for _ in range(_NODE_PORTS)),
            binaries=dict(binaries),
            pause=pause.image,
        )
        plan.save()
        (root / folders.CGROUP).write_text(plan.cgroup)
        files = access.prepare(plan)
        daemons.put_first(plan, files)
        lay_down([pause, *images], [plan.of(machine) / "containerd" for machine in plan.machines])
        cluster = NodeCluster(plan, files.kubeconfig, _start_reaper(root, lock))
        cleanup.callback(keep.end, cluster)
        cluster.await_parts(["etcd", "kube-apiserver"])
        cluster.start_rest(files)
        with contextlib.closing(KubeProbe(files.kubeconfig, "default")) as kube:
            kube.create("/apis/storage.k8s.io/v1/storageclasses", daemons.storage_class())
        cluster.await_parts([*specs(root)])
        cluster.await_nodes()
        yield cluster


def ready_nodes(kube: KubeProbe) -> set[str]:
    """The names of the nodes that Kubernetes calls ready."""
    nodes = (kube.get("/api/v1/nodes") or {}).get("items", [])
    return {node["metadata"]["name"] for node in nodes if _is_ready(node)}


def _is_ready(node: dict[str, Any]) -> bool:
    conditions: list[dict[str, str]] = node.get("status", {}).get("conditions", [])
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)


def _start_reaper(root: Path, lock: IO[bytes]) -> subprocess.Popen[bytes]:
    for folder in [root, *(root / "machines").iterdir()]:
        (folder / "logs").mkdir(exist_ok=True)
    with (root / "logs" / "reaper.log").open("ab") as log:
        # Its standard input is the pipe that ends when we do, and it shares our lock on the folder.
        return subprocess.Popen(
            [sys.executable, "-m", "harness.targets.node.reaper", str(root)],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            env={**inherited(), "PATH": search_path()},
            pass_fds=[lock.fileno()],
            start_new_session=True,
        )


def _nothing(left: Collection[str]) -> bool:
    return not left


def import_image(plan: Plan, machine: Machine, archive: Archive, failure: Callable[[Sequence[str]], str]) -> None:
    """Give one image to one machine; `failure` runs a command and tells why it fails, if it does.

    Raises:
        HarnessError: it does not take it.
    """
    problem = failure(ctr(plan.containerd(machine), "images", "import", str(archive.path)))
    if problem:
        raise refused(archive, machine.name, problem, plan.of(machine) / "logs" / "containerd.log")
