"""What the engine is asked to make of a workload: the body of `ContainerCreate` (Docker Engine API)."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import PurePosixPath

import msgspec

from fleet.contract.confinement import Log, Network
from fleet.contract.mounts import Mount, MountType
from fleet.contract.pod import Member
from fleet.contract.sealed import RegistryLogin
from fleet.contract.wire import Container, Health

_NANOSECOND = 1e9
_FILES = frozenset({"json-file", "local"})
"""docker's drivers that write files, without a limit unless configured otherwise (`json-file`)."""

Json = dict[str, object]


class Where(msgspec.Struct, frozen=True):
    """Where a deployment's own things are on the device.

    `root` is what the device's paths begin with, `volumes` what the names of its volumes begin with in the engine, and
    `renamed` are those with another name there.
    `files` is the folder of the workload's files, which are numbered from 0, and `memory_files` of those from Secrets.
    `network` is the network of a pod, `network_id` its id, and `addresses` are those of its containers there, by name.
    """

    root: str = "/"
    volumes: str = ""
    files: str = "/"
    memory_files: str = "/"
    network: str = ""
    network_id: str = ""
    addresses: Mapping[str, str] = {}
    renamed: Mapping[str, str] = {}

    def host(self, path: str) -> str:
        """A path of the device, as the engine finds it."""
        return str(PurePosixPath(self.root, path.lstrip("/")))

    def volume(self, name: str) -> str:
        """A volume's name in the engine."""
        return self.renamed.get(name) or f"{self.volumes}{name}"


def log_config(driver: str, log: Log = Log()) -> Json | None:  # noqa: B008 - frozen
    """The cap on a container's log, given the engine's driver; None where the driver writes no files of its own.

    podman tells no driver. Its `k8s-file` is what it takes for docker's `json-file` (podman-run(1), `--log-driver`).
    """
    cap: dict[str, str] = {"max-size": str(log.size)}
    if not driver:
        return {"Type": "k8s-file", "Config": cap}
    return {"Type": driver, "Config": {**cap, "max-file": str(log.files)}} if driver in _FILES else None


def registry_auth(login: RegistryLogin) -> str:
    """A login as the Docker Engine API takes it under "Authentication": JSON in base64 for URLs; a secret."""
    credentials = {"username": login.username, "password": login.password, "serveraddress": login.server}
    if login.identity_token:
        credentials["identitytoken"] = login.identity_token
    return base64.urlsafe_b64encode(msgspec.json.encode(credentials)).decode()


def creation(
    workload: Container,
    labels: Mapping[str, str],
    log: Mapping[str, object] | None = None,
    where: Where = Where(),  # noqa: B008 - frozen
) -> Json:
    """The body that makes a container of a workload (Docker Engine API, `ContainerCreate`); `log` is a `log_config`."""
    body: Json = {
        "Image": workload.image,
        "Env": [f"{name}={value}" for name, value in sorted(workload.env.items())],
        "Labels": {**workload.labels, **labels},
        "ExposedPorts": {f"{port.container}/{port.protocol.value}": {} for port in workload.ports},
        "StopTimeout": workload.stop.grace,
        "HostConfig": {**_host(workload, where), **({"LogConfig": dict(log)} if log else {})},
    }
    given: Json = {
        "Entrypoint": list(workload.command),
        "Cmd": list(workload.args),
        "Healthcheck": _health_check(workload.health) if workload.health else None,
        "User": workload.user,
        "WorkingDir": workload.working_dir,
        "Hostname": workload.hostname,
        "StopSignal": workload.stop.signal,
        "NetworkingConfig": _endpoint(workload, where),
    }
    return body | {name: value for name, value in given.items() if value}


def _endpoint(workload: Container, where: Where) -> Json:
    """Where a container of a pod is in the pod's network: an address of its own, for the others know it by that."""
    if not isinstance(workload, Member) or not workload.peers:
        return {}
    address = where.addresses[workload.name]
    # As docker makes it of the address: its neighbours remember it, and are to find its replacement at once.
    hardware = ":".join(f"{byte:02x}" for byte in (0x02, 0x42, *map(int, address.split("."))))
    endpoint = {"IPAMConfig": {"IPv4Address": address}, "MacAddress": hardware}
    return {"EndpointsConfig": {where.network: endpoint}}


def _names(workload: Container, where: Where) -> list[str]:
    peers = workload.peers if isinstance(workload, Member) else ()
    own = [f"{name}:{address}" for name, address in sorted(workload.extra_hosts.items())]
    return [*own, *(f"{name}:{where.addresses[name]}" for name in peers if name not in workload.extra_hosts)]


def _network(workload: Container, where: Where) -> str:
    if isinstance(workload, Member) and workload.peers:
        return where.network
    return workload.network.value if workload.network is not Network.BRIDGE else ""


def _host(workload: Container, where: Where) -> Json:
    bindings: dict[str, list[dict[str, str]]] = {}
    for port in workload.ports:
        key = f"{port.container}/{port.protocol.value}"
        bindings.setdefault(key, []).append({"HostPort": str(port.host)})
    limits, security = workload.limits, workload.security
    given: Json = {
        "NetworkMode": _network(workload, where),
        "ExtraHosts": _names(workload, where),
        "Dns": list(workload.dns),
        "Mounts": [_mount(mount, where) for mount in workload.mounts] + _files(workload, where),
        "Memory": limits.memory,
        # To an engine 0 is no limit; what is less than it can give, it refuses.
        "NanoCpus": max(1, round(limits.cpus * _NANOSECOND)) if limits.cpus else 0,
        "PidsLimit": limits.pids,
        "Ulimits": [{"Name": ulimit.name, "Soft": ulimit.soft, "Hard": ulimit.hard} for ulimit in workload.ulimits],
        "ShmSize": workload.shm_size,
        "ReadonlyRootfs": security.read_only_root,
        "Privileged": security.privileged,
        "CapAdd": list(security.capabilities.add),
        "CapDrop": list(security.capabilities.drop),
        "SecurityOpt": list(security.options),
        "Devices": [
            {
                "PathOnHost": where.host(device.source),
                "PathInContainer": device.path or device.source,
                "CgroupPermissions": device.permissions or "r",
            }
            for device in workload.devices
        ],
    }
    always: Json = {"PortBindings": bindings, "RestartPolicy": {"Name": workload.restart.value}}
    return always | {name: value for name, value in given.items() if value}


def _mount(mount: Mount, where: Where) -> Json:
    entry: Json = {"Type": mount.type.value, "Target": mount.path, "ReadOnly": mount.read_only}
    match mount.type:
        case MountType.VOLUME:
            return {**entry, "Source": where.volume(mount.source)}
        case MountType.BIND:
            return {**entry, "Source": where.host(mount.source)}
        case MountType.TMPFS:
            return {**entry, "TmpfsOptions": {"SizeBytes": mount.size}} if mount.size else entry


def _files(workload: Container, where: Where) -> list[Json]:
    return [
        {"Type": "bind", "Source": f"{folder}/{number}", "Target": file.path, "ReadOnly": True}
        for number, file in enumerate(workload.files)
        for folder in (where.memory_files if file.secret else where.files,)
    ]


def _health_check(health: Health) -> Json:
    return {
        "Test": ["CMD", *health.command],
        "Interval": int(health.interval * _NANOSECOND),
        "Timeout": int(health.timeout * _NANOSECOND),
        "Retries": health.retries,
        "StartPeriod": int(health.start_period * _NANOSECOND),
    }
