"""A real kube-apiserver and etcd for tests, with an admin's kubeconfig and one for whoever a test makes up."""

from __future__ import annotations

import contextlib
import itertools
import subprocess
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from harness.binaries import resolve_all
from harness.probes.kube import KubeProbe
from harness.processes.ports import Ports
from harness.processes.spawn import http_answers, running
from harness.processes.spec import ComponentSpec
from harness.targets.certificates import Authority
from harness.targets.control_plane import ControlPlane, prepare, render_kubeconfig


@dataclass
class Kube:
    """The server, up while the fixture lives. `stop` and `start` are for tests of an outage; they keep the data."""

    root: Path
    plane: ControlPlane
    ca: Path
    process: subprocess.Popen[bytes] | None = None
    """The API server."""
    _numbers: Iterator[int] = field(default_factory=itertools.count)
    _running: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    @property
    def kubeconfig(self) -> Path:
        """An admin's (cluster-admin by its group)."""
        return self.plane.kubeconfig

    @property
    def url(self) -> str:
        return self.plane.url

    def probe(self, namespace: str) -> KubeProbe:
        """An admin's look at a namespace, independent of the product's clients."""
        return KubeProbe(self.kubeconfig, namespace)

    def fresh(self, name: str) -> str:
        """A name that no other test of this server uses."""
        return f"{name}-{next(self._numbers)}"

    def namespace(self) -> str:
        """A new namespace."""
        name = self.fresh("test")
        self.kubectl("create", "namespace", name)
        return name

    def kubectl(self, *words: str, stdin: str = "") -> str:
        """What an admin's kubectl prints."""
        argv = ["kubectl", "--kubeconfig", str(self.kubeconfig), *words]
        done = subprocess.run(argv, input=stdin, capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == 0, f"{' '.join(words)}: {done.stderr}"
        return done.stdout

    def service_account(self, namespace: str, name: str) -> Path:
        """The kubeconfig of a new ServiceAccount; what it may do is up to the test."""
        self.kubectl("-n", namespace, "create", "serviceaccount", name)
        return self.with_token(self.kubectl("-n", namespace, "create", "token", name).strip())

    def with_token(self, token: str) -> Path:
        """A kubeconfig with any token."""
        path = self.root / f"user-{next(self._numbers)}.kubeconfig"
        path.write_bytes(render_kubeconfig(self.url, self.ca, token))
        path.chmod(0o600)
        return path

    def start(self) -> None:
        self.process = process = self._running.enter_context(_process(self.plane.components[1], self.root))
        # Killed at the end: it would take its leave for seconds, and etcd keeps the data anyway.
        self._running.callback(process.kill)

    def stop(self) -> None:
        self._running.close()


@contextlib.contextmanager
def running_kube(root: Path) -> Generator[Kube]:
    """The servers for the length of a `with`; about 2 s until they are ready."""
    ports = Ports.acquire()
    authority = Authority(root / "tls")
    plane = prepare(root, resolve_all(), ports, authority)
    etcd, _ = plane.components
    with contextlib.ExitStack() as cleanup:
        cleanup.callback(ports.release)
        cleanup.enter_context(_process(etcd, root))
        kube = Kube(root, plane, authority.certificate)
        kube.start()
        cleanup.callback(kube.stop)
        yield kube


def _process(component: ComponentSpec, root: Path) -> contextlib.AbstractContextManager[subprocess.Popen[bytes]]:
    return running(
        component.argv,
        name=component.name,
        log=root / f"{component.name}.log",
        ready=lambda: http_answers(component.ready),
        timeout=60,
    )
