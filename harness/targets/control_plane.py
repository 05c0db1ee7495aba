"""etcd and a real kube-apiserver as two local processes: the specifications, and an admin's way in.

The flags follow the measured "API server alone" of the Kubernetes reference: RBAC is real, ServiceAccount tokens are
issued, and what only serves pods is off. There is no controller-manager: nothing collects garbage, and namespaces stay
terminating.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from pathlib import Path

import msgspec

from harness.processes.ports import Ports
from harness.processes.spec import ComponentSpec, write_atomic
from harness.targets.certificates import Authority, token_keys

ETCD = "etcd"
API_SERVER = "kube-apiserver"


class ControlPlane(msgspec.Struct, frozen=True):
    """What runs, and how an admin reaches it. `url` is the API server's."""

    components: tuple[ComponentSpec, ...]
    url: str
    kubeconfig: Path


def prepare(root: Path, binaries: Mapping[str, Path], ports: Ports, authority: Authority) -> ControlPlane:
    """Write certificates, tokens and the admin's kubeconfig; start nothing."""
    folder = root / "kubernetes"
    etcd_port, peer_port, api_port = ports.take(), ports.take(), ports.take()
    url = f"https://localhost:{api_port}"
    token = secrets.token_urlsafe(24)
    # CSV: token, user, user id, groups; the group is the one that RBAC binds to cluster-admin from the start.
    write_atomic(folder / "tokens.csv", f'{token},admin,admin,"system:masters"\n'.encode())
    kubeconfig = folder / "admin.kubeconfig"
    write_atomic(kubeconfig, render_kubeconfig(url, authority.certificate, token))
    return ControlPlane(
        components=(
            _etcd(binaries[ETCD], folder, etcd_port, peer_port),
            _api_server(binaries[API_SERVER], folder, authority, etcd_port, api_port),
        ),
        url=url,
        kubeconfig=kubeconfig,
    )


def render_kubeconfig(url: str, ca: Path, token: str) -> bytes:
    """A kubeconfig of one cluster and one user; JSON, which is YAML."""
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "world",
        "clusters": [{"name": "world", "cluster": {"server": url, "certificate-authority": str(ca)}}],
        "users": [{"name": "world", "user": {"token": token}}],
        "contexts": [{"name": "world", "context": {"cluster": "world", "user": "world"}}],
    }
    return msgspec.json.format(msgspec.json.encode(config))


def _etcd(binary: Path, folder: Path, client: int, peer: int) -> ComponentSpec:
    url, peers = f"http://127.0.0.1:{client}", f"http://127.0.0.1:{peer}"
    argv = (
        str(binary),
        f"--data-dir={folder}/etcd",
        "--name=world",
        f"--listen-client-urls={url}",
        f"--advertise-client-urls={url}",
        f"--listen-peer-urls={peers}",
        f"--initial-advertise-peer-urls={peers}",
        f"--initial-cluster=world={peers}",
        "--unsafe-no-fsync",
        "--log-level=warn",
    )
    return ComponentSpec(ETCD, argv, "world", ready=f"{url}/readyz")


def _api_server(binary: Path, folder: Path, authority: Authority, etcd: int, port: int) -> ComponentSpec:
    certificate, key = authority.issue(API_SERVER)
    signing, public = token_keys(folder)
    argv = (
        str(binary),
        f"--etcd-servers=http://127.0.0.1:{etcd}",
        "--bind-address=127.0.0.1",
        f"--secure-port={port}",
        f"--tls-cert-file={certificate}",
        f"--tls-private-key-file={key}",
        f"--token-auth-file={folder}/tokens.csv",
        "--authorization-mode=Node,RBAC",
        f"--service-account-issuer=https://localhost:{port}",
        f"--service-account-key-file={public}",
        f"--service-account-signing-key-file={signing}",
        "--service-cluster-ip-range=10.0.0.0/24",
        "--endpoint-reconciler-type=none",
        # No client uses this address. Without it the server looks for a default route, and ends where there is none.
        "--advertise-address=192.0.2.1",
        "--disable-admission-plugins=ServiceAccount",
        "--profiling=false",
    )
    # Collecting garbage more rarely costs 90 MB, and saves a fifth of the CPU time of a start.
    return ComponentSpec(API_SERVER, argv, "world", env={"GOGC": "400"}, ready=f"https://127.0.0.1:{port}/readyz")
