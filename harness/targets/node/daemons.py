"""The daemons as components: their flags and configuration files. The Kubernetes reference pages explain each flag."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from harness.processes.spawn import python_script
from harness.processes.spec import ComponentSpec, put, write_atomic
from harness.targets.node.access import CONTROLLER_MANAGER, DNS, PROXY, SCHEDULER, VOLUMES, Files, kubeconfig
from harness.targets.node.plan import (
    ALL_PODS,
    API_PORT,
    BRIDGE_ADDRESS,
    DOMAIN,
    KUBELET_PORT,
    SERVICES,
    STORAGE_CLASS,
    Machine,
    Plan,
)

Json = dict[str, Any]

_ETCD = "http://127.0.0.1:2379"
_ETCD_PEERS = "http://127.0.0.1:2380"
_TOLERATION = 5
"""Seconds that pods stay on a machine that does not answer; 300 is for networks that come back."""
_PLUGINS = Path("/usr/lib/cni")
"""Where Debian's containernetworking-plugins puts them."""
_OURS = "fleet-loopback"
_GO = {"GOGC": "400"}
"""Collecting garbage more rarely costs memory, and saves a fifth of the CPU time of a start."""


def put_first(plan: Plan, files: Files) -> None:
    """Write the components that need no API server: itself, the machines, and their containerd."""
    for spec in (_etcd(plan), _api_server(plan, files), *(_machine(plan, machine) for machine in plan.machines)):
        put(plan.root, spec)
    for machine in plan.machines:
        _write_cni(plan.of(machine), machine, plan.node_ports)
        put(plan.of(machine), _containerd(plan, machine))


def put_rest(plan: Plan, files: Files) -> None:
    """Write the components that would only wait, ever longer, for an API server that is not there yet."""
    roles = plan.binaries["kuberoles"]
    volumes = (str(kubeconfig(plan, VOLUMES)), str(plan.root / "volumes"))
    for spec in (
        _controller_manager(plan, files, roles),
        _scheduler(plan, roles),
        _dns(plan),
        _python(VOLUMES, "harness.targets.node.volumes", *volumes),
    ):
        put(plan.root, spec)
    for machine in plan.machines:
        for spec in (_kubelet(plan, machine, roles), _proxy(plan, machine, roles)):
            put(plan.of(machine), spec)


def _etcd(plan: Plan) -> ComponentSpec:
    argv = (
        str(plan.binaries["etcd"]),
        f"--data-dir={plan.root}/etcd",
        "--name=site",
        f"--listen-client-urls={_ETCD}",
        f"--advertise-client-urls={_ETCD}",
        f"--listen-peer-urls={_ETCD_PEERS}",
        f"--initial-advertise-peer-urls={_ETCD_PEERS}",
        f"--initial-cluster=site={_ETCD_PEERS}",
        "--unsafe-no-fsync",
        "--log-level=warn",
    )
    return ComponentSpec("etcd", argv, "world", ready=f"{_ETCD}/readyz")


def _api_server(plan: Plan, files: Files) -> ComponentSpec:
    argv = (
        str(plan.binaries["kube-apiserver"]),
        f"--etcd-servers={_ETCD}",
        f"--secure-port={API_PORT}",
        f"--advertise-address={BRIDGE_ADDRESS}",
        f"--tls-cert-file={files.server[0]}",
        f"--tls-private-key-file={files.server[1]}",
        f"--token-auth-file={files.tokens}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        f"--service-account-issuer=https://kubernetes.default.svc.{DOMAIN}",
        f"--service-account-signing-key-file={files.account_keys[0]}",
        f"--service-account-key-file={files.account_keys[1]}",
        f"--service-cluster-ip-range={SERVICES}",
        f"--service-node-port-range={min(plan.node_ports)}-{max(plan.node_ports)}",
        "--allow-privileged=true",
        f"--kubelet-client-certificate={files.kubelet_client[0]}",
        f"--kubelet-client-key={files.kubelet_client[1]}",
        f"--kubelet-certificate-authority={files.authority}",
        "--kubelet-preferred-address-types=InternalIP",
        f"--default-not-ready-toleration-seconds={_TOLERATION}",
        f"--default-unreachable-toleration-seconds={_TOLERATION}",
        "--profiling=false",
    )
    return ComponentSpec("kube-apiserver", argv, "world", env=_GO, ready=f"https://127.0.0.1:{API_PORT}/readyz")


def _controller_manager(plan: Plan, files: Files, roles: Path) -> ComponentSpec:
    argv = (
        str(roles),
        CONTROLLER_MANAGER,
        *_alone(plan, CONTROLLER_MANAGER),
        "--use-service-account-credentials=true",
        f"--service-account-private-key-file={files.account_keys[0]}",
        f"--root-ca-file={files.authority}",
        "--node-monitor-grace-period=20s",
        "--kube-api-qps=300",
        "--kube-api-burst=500",
    )
    return ComponentSpec(CONTROLLER_MANAGER, argv, "world", env=_GO, ready="https://127.0.0.1:10257/healthz")


def _scheduler(plan: Plan, roles: Path) -> ComponentSpec:
    argv = (str(roles), SCHEDULER, *_alone(plan, SCHEDULER))
    return ComponentSpec(SCHEDULER, argv, "world", env=_GO, ready="https://127.0.0.1:10259/healthz")


def _alone(plan: Plan, name: str) -> tuple[str, ...]:
    return (
        f"--kubeconfig={kubeconfig(plan, name)}",
        "--bind-address=127.0.0.1",
        "--leader-elect=false",
        f"--cert-dir={plan.root}/tls/{name}",
    )


def _dns(plan: Plan) -> ComponentSpec:
    file = plan.root / "kubernetes" / "Corefile"
    text = f"""{DOMAIN}:53 {{
    bind {BRIDGE_ADDRESS}
    ready 127.0.0.1:8181
    errors
    cache 5
    kubernetes {DOMAIN} {{
        kubeconfig {kubeconfig(plan, DNS)}
    }}
}}
"""
    write_atomic(file, text.encode())
    argv = (str(plan.binaries[DNS]), "-conf", str(file))
    return ComponentSpec(DNS, argv, "world", ready="http://127.0.0.1:8181/ready")


def _machine(plan: Plan, machine: Machine) -> ComponentSpec:
    spec = _python(machine.name, "harness.targets.node.machine", str(plan.root), machine.name)
    return msgspec.structs.replace(spec, ready=f"tcp://{machine.address}:{KUBELET_PORT}")


def _python(name: str, module: str, *arguments: str) -> ComponentSpec:
    return ComponentSpec(name, (sys.executable, "-m", module, *arguments), "world")


def _containerd(plan: Plan, machine: Machine) -> ComponentSpec:
    root = plan.of(machine)
    runc = "plugins.'io.containerd.grpc.v1.cri'.containerd.runtimes.runc"
    config = f"""version = 2
root = "{root}/containerd"
state = "/run/containerd"
oom_score = 0
[grpc]
address = "{plan.containerd(machine)}"
[plugins.'io.containerd.internal.v1.opt']
path = "{root}/opt"
[plugins.'io.containerd.grpc.v1.cri']
sandbox_image = "{plan.pause}"
restrict_oom_score_adj = true
disable_apparmor = true
netns_mounts_under_state_dir = true
stream_server_address = "127.0.0.1"
stream_server_port = "0"
[plugins.'io.containerd.grpc.v1.cri'.containerd]
snapshotter = "overlayfs"
default_runtime_name = "runc"
[{runc}]
runtime_type = "io.containerd.runc.v2"
[{runc}.options]
SystemdCgroup = false
[plugins.'io.containerd.grpc.v1.cri'.cni]
bin_dir = "{root}/cni-bin"
conf_dir = "{root}/cni"
"""
    write_atomic(root / "containerd.toml", config.encode())
    argv = ("containerd", "--config", f"{root}/containerd.toml")
    return ComponentSpec("containerd", argv, "world")


def _kubelet(plan: Plan, machine: Machine, roles: Path) -> ComponentSpec:
    root, name = plan.of(machine), f"kubelet-{machine.name}"
    config: Json = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": "0.0.0.0",  # noqa: S104 - in the machine's own network namespace
        "port": KUBELET_PORT,
        "readOnlyPort": 0,
        "healthzBindAddress": "127.0.0.1",
        "tlsCertFile": f"{plan.root}/tls/{name}.crt",
        "tlsPrivateKeyFile": f"{plan.root}/tls/{name}.key",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": f"{plan.root}/tls/ca.crt"},
        },
        "authorization": {"mode": "Webhook"},
        "containerRuntimeEndpoint": f"unix://{plan.containerd(machine)}",
        "failCgroupV1": False,
        "cgroupDriver": "cgroupfs",
        "failSwapOn": False,
        "oomScoreAdj": 0,
        "maxOpenFiles": 20000,
        "makeIPTablesUtilChains": False,
        "resolvConf": f"{root}/etc/resolv.conf",
        "volumePluginDir": f"{root}/volume-plugins",
        "podLogsDir": f"{root}/pod-logs",
        "syncFrequency": "5s",
        "nodeStatusUpdateFrequency": "4s",
        "nodeLeaseDurationSeconds": 20,
        "evictionHard": {
            "memory.available": "100Mi",
            "nodefs.available": "1%",
            "imagefs.available": "1%",
            "nodefs.inodesFree": "1%",
        },
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "maxPods": 200,
        "featureGates": {"KubeletCrashLoopBackOffMax": True},
        "crashLoopBackOff": {"maxContainerRestartPeriod": "1s"},
        "clusterDNS": [BRIDGE_ADDRESS],
        "clusterDomain": DOMAIN,
    }
    argv = (
        str(roles),
        "kubelet",
        f"--config={_json(root / 'kubelet.json', config)}",
        f"--kubeconfig={kubeconfig(plan, machine.name)}",
        f"--root-dir={root}/kubelet",
        f"--cert-dir={root}/kubelet-pki",
        f"--hostname-override={machine.name}",
        f"--node-ip={machine.address}",
    )
    return ComponentSpec("kubelet", argv, "world", env=_GO, ready="http://127.0.0.1:10248/healthz")


def _proxy(plan: Plan, machine: Machine, roles: Path) -> ComponentSpec:
    config: Json = {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "bindAddress": "127.0.0.1",
        "clientConnection": {"kubeconfig": str(kubeconfig(plan, PROXY))},
        "clusterCIDR": ALL_PODS,
        "hostnameOverride": machine.name,
        "nodePortAddresses": [f"{machine.address}/32"],
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
    }
    argv = (str(roles), PROXY, f"--config={_json(plan.of(machine) / 'kube-proxy.json', config)}")
    return ComponentSpec(PROXY, argv, "world", env=_GO, ready="http://127.0.0.1:10256/healthz")


def _write_cni(root: Path, machine: Machine, node_ports: tuple[int, ...]) -> None:
    """`ptp`: every pod has a link of its own, so that all traffic is routed and translation needs no bridge module."""
    addresses: Json = {
        "type": "host-local",
        "dataDir": "/run/cni-addresses",
        "ranges": [[{"subnet": machine.pods}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    plugins: list[Json] = [
        {"type": "ptp", "ipMasq": False, "ipam": addresses},
        {"type": _OURS, "ports": [min(node_ports), max(node_ports)], "to": machine.address},
    ]
    _json(root / "cni" / "10-site.conflist", {"cniVersion": "0.4.0", "name": "site", "plugins": plugins})
    folder = root / "cni-bin"
    folder.mkdir(parents=True)
    for plugin in _PLUGINS.iterdir():
        (folder / plugin.name).symlink_to(plugin)
    (folder / _OURS).write_text(python_script("-I", str(Path(__file__).with_name("loopback.py"))))
    (folder / _OURS).chmod(0o755)


def storage_class() -> Json:
    """The default one; `volumes` serves it."""
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {
            "name": STORAGE_CLASS,
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
        },
        "provisioner": "harness/folders",
        "reclaimPolicy": "Retain",
    }


def _json(path: Path, value: Mapping[str, Any]) -> Path:
    write_atomic(path, msgspec.json.format(msgspec.json.encode(value)))
    return path
