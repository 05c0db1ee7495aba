"""The target `k3d`: a cluster of containers made for the run, with the product as pods and a real Zitadel beside it.

k3d does what a cluster needs, and `K3d` is all that we say to it. No machine of this project's makers has run it: see
docs/unproven.md. The issuer is the gateway of docker's network, an address that means the same in a pod and outside.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Generator, Sequence
from pathlib import Path

import msgspec

from harness.devices.process import ProcessDevice
from harness.engine.select import engine
from harness.errors import HarnessError, Misused, TargetUnavailable
from harness.images import server
from harness.probes.kube import KubeProbe
from harness.processes.ports import Ports
from harness.processes.spec import write_atomic
from harness.targets import zitadel_containers
from harness.targets.certificates import Authority
from harness.targets.cluster.pods import PodComponents
from harness.targets.embedded import NAMESPACE, remove_containers
from harness.targets.local import LocalComponents, inherited
from harness.world import folders
from harness.world.keep import NEVER, Keep
from harness.world.world import World

_PREFIX = "fleet-"
_NODE_PORT = 30422
"""Where NATS leads out of the cluster; a node port (30000 to 32767)."""
_DEADLINE = 300
"""Seconds that k3d has for one thing: the first time it pulls its own images."""


class K3d(msgspec.Struct, frozen=True):
    """One cluster, by what is said to k3d and docker about it. `name` is a k3d cluster's: at most 32 characters."""

    name: str

    def create(self, api_port: int, nats_port: int, kubeconfig: Path) -> None:
        """Make it, reachable from this machine only, and write an admin's kubeconfig; the user's own stays as it is.

        Raises:
            TargetUnavailable: a program is missing, or failed; the message holds its last words.
        """
        _say(
            *("k3d", "cluster", "create", self.name, "--servers=1", "--wait", f"--timeout={_DEADLINE}s"),
            *(f"--api-port=127.0.0.1:{api_port}", f"--port=127.0.0.1:{nats_port}:{_NODE_PORT}@loadbalancer"),
            *("--kubeconfig-update-default=false", "--kubeconfig-switch-context=false"),
            *("--k3s-arg=--disable=traefik@server:0", "--k3s-arg=--disable=metrics-server@server:0"),
        )
        write_atomic(kubeconfig, _say("k3d", "kubeconfig", "get", self.name).encode())

    def gateway(self) -> str:
        """This machine's address in the cluster's network.

        Raises:
            TargetUnavailable: as `create`.
        """
        form = "{{(index .IPAM.Config 0).Gateway}}"
        return _say("docker", "network", "inspect", f"k3d-{self.name}", f"--format={form}").strip()

    def load(self, archives: Sequence[Path]) -> None:
        """Give the nodes these docker archives, so that nothing of ours is pulled; as `create` for errors."""
        _say("k3d", "image", "import", f"--cluster={self.name}", *map(str, archives))

    def delete(self) -> None:
        """Remove it, its network and its volumes; none is fine; as `create` for errors."""
        _say("k3d", "cluster", "delete", self.name)


@contextlib.contextmanager
def k3d(*, run_id: str, worker: str, keep: Keep = NEVER) -> Generator[World]:
    """A world in a new cluster, removed after the `with`; with `keep` the cluster stays.

    Raises:
        TargetUnavailable: docker, k3d or kubectl is missing, or the cluster does not come up.
        Misused: several workers would each make one.
    """
    image = _need("docker", "k3d", "kubectl")
    if worker != "main":
        raise Misused("a k3d cluster is one per run", next_step="give -n 0")
    folders.sweep(_remove_left)
    root, lock = folders.create()
    cluster = K3d(_PREFIX + root.name)
    with contextlib.ExitStack() as cleanup:
        cleanup.callback(lock.close)
        cleanup.callback(folders.remove, root)
        cleanup.callback(remove_containers, root)
        (root / "home").mkdir(mode=0o700)
        ports = Ports.acquire()
        cleanup.callback(ports.release)
        kubeconfig, port = root / "kubeconfig", ports.take()
        cleanup.callback(keep.unless, cluster.delete)
        cluster.create(ports.take(), port, kubeconfig)
        product, nats = server.product(), server.nats()
        cluster.load([product.path, nats.path])
        zitadel = cleanup.enter_context(
            zitadel_containers.zitadel(image, root, cluster.gateway(), ports.take(), Authority(root / "tls"))
        )
        env = {
            **inherited(),
            "HOME": str(root / "home"),
            "XDG_CONFIG_HOME": str(root / "home" / ".config"),
            "KUBECONFIG": str(kubeconfig),
            "FLEET_NAMESPACE": NAMESPACE,
            "FLEET_ADMIN_TOKEN_FILE": str(zitadel.admin_token_file),
            "FLEET_IMAGE": product.image,
            "FLEET_NATS_IMAGE": nats.image,
            "FLEET_PULL_POLICY": "Never",
            "FLEET_EXPOSURE": "node-port",
            "FLEET_NATS_ADDRESS": f"localhost:{port}",
            "NO_COLOR": "1",
        }
        chosen = cleanup.enter_context(engine())
        local = LocalComponents(root, lock, chosen.socket)
        cleanup.callback(local.close)
        local.await_ready([])
        kube = cleanup.enter_context(contextlib.closing(KubeProbe(kubeconfig, NAMESPACE)))
        device_env = {name: value for name, value in env.items() if name in inherited()}
        world = World(
            root=root,
            run_id=run_id,
            worker=worker,
            target="k3d",
            env=env,
            namespace=NAMESPACE,
            identity=zitadel,
            components=PodComponents(kube, local, zitadel.problems, ours=True),
            engine=chosen.name,
            make_device=lambda name: ProcessDevice(root, name, device_env, chosen.socket),
            secret=lambda name: kube.secret("fleet-secrets", name) or "",
            how_to_enter=f"k3d kubeconfig merge {cluster.name} --kubeconfig-switch-context\n"
            f"  end: k3d cluster delete {cluster.name}",
        )
        cleanup.callback(world.close)
        yield world


def _remove_left(root: Path) -> None:
    """What a dead run left beside its folder: its containers, and the cluster named after it."""
    remove_containers(root)
    if (root / "kubeconfig").exists():
        with contextlib.suppress(HarnessError):
            K3d(_PREFIX + root.name).delete()


def _need(*programs: str) -> str:
    """Whether all is here that is needed; the name of Zitadel's image."""
    image = os.environ.get(zitadel_containers.IMAGE_VARIABLE, "")
    missing = [f"{program}, which is not on the PATH" for program in programs if shutil.which(program) is None]
    missing += [] if image else [f"{zitadel_containers.IMAGE_VARIABLE}, which names the image of Zitadel"]
    if missing:
        raise TargetUnavailable(
            f"the target k3d needs {'; '.join(missing)}",
            next_step="install or set them, or use --fleet-target embedded, which needs none of it",
        )
    return image


def _say(*argv: str) -> str:
    """Run a command to its end; its standard output."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=_DEADLINE + 60)
    except subprocess.TimeoutExpired as error:
        raise TargetUnavailable(
            f"`{' '.join(argv)}` had not ended after {error.timeout:g} s", next_step="docker ps, docker logs"
        ) from error
    if done.returncode:
        last = "\n".join((done.stdout + done.stderr).splitlines()[-15:])
        raise TargetUnavailable(f"`{' '.join(argv)}` failed:\n{last}", next_step="is docker up? docker info")
    return done.stdout
