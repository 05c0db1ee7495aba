"""Certificates, and a token for each client of the API server: written before anything starts."""

from __future__ import annotations

import secrets
from pathlib import Path

import msgspec

from harness.processes.spec import write_atomic
from harness.targets.certificates import Authority, token_keys
from harness.targets.control_plane import render_kubeconfig
from harness.targets.node.plan import BRIDGE_ADDRESS, FIRST_SERVICE, Plan

CONTROLLER_MANAGER = "kube-controller-manager"
SCHEDULER = "kube-scheduler"
PROXY = "kube-proxy"
DNS = "coredns"
VOLUMES = "volumes"
_MASTERS = "system:masters"
_SERVER_NAMES = ("kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local")


class Files(msgspec.Struct, frozen=True):
    """Where they are. `kubeconfig` is the admin's, for the outside."""

    authority: Path
    server: tuple[Path, Path]
    kubelet_client: tuple[Path, Path]
    account_keys: tuple[Path, Path]
    tokens: Path
    kubeconfig: Path


def prepare(plan: Plan) -> Files:
    """Write them below the cluster's folder, and the kubelets' below each machine's."""
    folder = plan.root / "kubernetes"
    authority = Authority(plan.root / "tls")
    addresses = ("127.0.0.1", BRIDGE_ADDRESS, FIRST_SERVICE)
    server = authority.issue("kube-apiserver", hosts=("localhost", *_SERVER_NAMES, *addresses))
    users = {
        "admin": ("admin", _MASTERS),
        CONTROLLER_MANAGER: ("system:kube-controller-manager", ""),
        SCHEDULER: ("system:kube-scheduler", ""),
        PROXY: ("system:kube-proxy", ""),
        DNS: (DNS, _MASTERS),
        VOLUMES: (VOLUMES, _MASTERS),
        **{machine.name: (f"system:node:{machine.name}", "system:nodes") for machine in plan.machines},
    }
    issued = {name: secrets.token_urlsafe(24) for name in users}
    # CSV: token, user, user id, groups.
    lines = [f'{issued[name]},{user},{user},"{group}"\n' for name, (user, group) in users.items()]
    write_atomic(folder / "tokens.csv", "".join(lines).encode())
    for name, token in issued.items():
        write_atomic(kubeconfig(plan, name), render_kubeconfig(plan.api_url, authority.certificate, token))
    for machine in plan.machines:
        authority.issue(f"kubelet-{machine.name}", hosts=(machine.name, machine.address, "127.0.0.1"))
    outside = folder / "outside.kubeconfig"
    url = f"https://localhost:{plan.api_port}"
    write_atomic(outside, render_kubeconfig(url, authority.certificate, issued["admin"]))
    return Files(
        authority=authority.certificate,
        server=server,
        kubelet_client=authority.issue("apiserver-to-kubelet", client_of=_MASTERS),
        account_keys=token_keys(folder),
        tokens=folder / "tokens.csv",
        kubeconfig=outside,
    )


def kubeconfig(plan: Plan, name: str) -> Path:
    """The kubeconfig of a user inside."""
    return plan.root / "kubernetes" / f"{name}.kubeconfig"
