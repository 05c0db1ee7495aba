"""What the double keeps of a container, on disk too: the request that made it, and its state."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

NEVER = "0001-01-01T00:00:00Z"
"""The API's word for a time that was not."""


def now() -> str:
    """The time in the API's form."""
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


class HealthCheck(msgspec.Struct, frozen=True, rename="pascal", omit_defaults=True):
    """A health check; times in nanoseconds, 0 for the default."""

    test: list[str] | None = None
    interval: int = 0
    timeout: int = 0
    retries: int = 0
    start_period: int = 0


class Config(msgspec.Struct, frozen=True, rename="pascal"):
    """`ContainerConfig`, as far as it is honoured."""

    image: str = ""
    entrypoint: list[str] | None = None
    cmd: list[str] | None = None
    env: list[str] | None = None
    labels: dict[str, str] | None = None
    working_dir: str = ""
    stop_signal: str = ""
    stop_timeout: int | None = None
    user: str = ""
    hostname: str = ""
    healthcheck: HealthCheck | None = None
    exposed_ports: dict[str, dict[str, str]] | None = None


class Binding(msgspec.Struct, frozen=True, rename="pascal"):
    """A published port's place on the host."""

    host_ip: str = ""
    host_port: str = ""


class RestartPolicy(msgspec.Struct, frozen=True, rename="pascal"):
    """When the engine starts a container again; a maximum of 0 is none."""

    name: str = "no"
    maximum_retry_count: int = 0


class LogConfig(msgspec.Struct, frozen=True, rename="pascal"):
    """How the log is kept; it is shown, and the log is one file of any size."""

    type: str = "json-file"
    config: dict[str, str] | None = None


class TmpfsOptions(msgspec.Struct, frozen=True, rename="pascal"):
    """Of a mount of memory."""

    size_bytes: int = 0


class Mount(msgspec.Struct, frozen=True, rename="pascal"):
    """A mount as it was asked for."""

    type: str
    target: str
    source: str = ""
    read_only: bool = False
    tmpfs_options: TmpfsOptions | None = None


class Ulimit(msgspec.Struct, frozen=True, rename="pascal"):
    """A limit of each process."""

    name: str
    soft: int
    hard: int


class Device(msgspec.Struct, frozen=True, rename="pascal"):
    """A device node of the host."""

    path_on_host: str
    path_in_container: str
    cgroup_permissions: str = "rwm"


class HostConfig(msgspec.Struct, frozen=True, rename="pascal"):
    """`HostConfig`, as far as it is honoured; limits of memory, processors and processes are only shown."""

    port_bindings: dict[str, list[Binding] | None] | None = None
    restart_policy: RestartPolicy = RestartPolicy()
    log_config: LogConfig = LogConfig()
    network_mode: str = "default"
    extra_hosts: list[str] | None = None
    dns: list[str] | None = None
    mounts: list[Mount] | None = None
    memory: int = 0
    nano_cpus: int = 0
    pids_limit: int | None = None
    ulimits: list[Ulimit] | None = None
    shm_size: int = 64 * 2**20
    readonly_rootfs: bool = False
    privileged: bool = False
    cap_add: list[str] | None = None
    cap_drop: list[str] | None = None
    security_opt: list[str] | None = None
    devices: list[Device] | None = None


class IpamConfig(msgspec.Struct, frozen=True, rename="pascal"):
    """The address that a container asks for."""

    ipv4_address: str = msgspec.field(default="", name="IPv4Address")


class Endpoint(msgspec.Struct, frozen=True, rename="pascal"):
    """Where a container is in a network."""

    ipam_config: IpamConfig | None = msgspec.field(default=None, name="IPAMConfig")


class NetworkingConfig(msgspec.Struct, frozen=True, rename="pascal"):
    """The networks that were made which a container is in, by name."""

    endpoints_config: dict[str, Endpoint | None] | None = None


class Creation(Config, frozen=True, rename="pascal"):
    """The body of `POST /containers/create`."""

    host_config: HostConfig = HostConfig()
    networking_config: NetworkingConfig = NetworkingConfig()


class HealthLog(msgspec.Struct, frozen=True, rename="pascal"):
    """One health check that was run."""

    start: str
    end: str
    exit_code: int
    output: str


class Health(msgspec.Struct, rename="pascal"):
    """The outcome of health checks."""

    status: str = "starting"
    failing_streak: int = 0
    log: list[HealthLog] = []


class State(msgspec.Struct, rename="pascal", omit_defaults=False):
    """`ContainerState`."""

    status: str = "created"
    running: bool = False
    paused: bool = False
    restarting: bool = False
    out_of_memory: bool = msgspec.field(default=False, name="OOMKilled")
    dead: bool = False
    pid: int = 0
    exit_code: int = 0
    error: str = ""
    started_at: str = NEVER
    finished_at: str = NEVER
    health: Health | None = None

    def become(self, status: str) -> None:
        """Set the status and the flags that repeat it."""
        self.status = status
        self.running = status in {"running", "restarting"}
        self.restarting = status == "restarting"


class Record(msgspec.Struct, rename="pascal"):
    """One container on disk. `stopped` means that a client stopped it, so that no policy starts it again."""

    id: str
    name: str
    created: str
    image: str
    config: Config
    host_config: HostConfig
    state: State = msgspec.field(default_factory=State)
    restart_count: int = 0
    stopped: bool = False
    networking_config: NetworkingConfig = NetworkingConfig()
    joined: dict[str, str] = {}
    """The ids of the networks in which it was started, by name."""

    @property
    def networks(self) -> dict[str, Endpoint]:
        """The networks that it is in."""
        return {
            name: endpoint or Endpoint() for name, endpoint in (self.networking_config.endpoints_config or {}).items()
        }

    def address(self, network: str) -> str:
        """The address that it asks for in a network; empty for none."""
        config = self.networks.get(network, Endpoint()).ipam_config
        return config.ipv4_address if config else ""

    @property
    def volumes(self) -> frozenset[str]:
        """The volumes that it was made with."""
        return frozenset(mount.source for mount in self.host_config.mounts or () if mount.type == "volume")

    @property
    def labels(self) -> dict[str, str]:
        """Its labels, none being an empty mapping."""
        return self.config.labels or {}
