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


class HostConfig(msgspec.Struct, frozen=True, rename="pascal"):
    """`HostConfig`, as far as it is honoured."""

    port_bindings: dict[str, list[Binding] | None] | None = None
    restart_policy: RestartPolicy = RestartPolicy()
    log_config: LogConfig = LogConfig()


class Creation(Config, frozen=True, rename="pascal"):
    """The body of `POST /containers/create`."""

    host_config: HostConfig = HostConfig()


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
    """One container on disk. `stopped` says that somebody asked it to stop, so that no policy starts it again."""

    id: str
    name: str
    created: str
    image: str
    config: Config
    host_config: HostConfig
    state: State = msgspec.field(default_factory=State)
    restart_count: int = 0
    stopped: bool = False

    @property
    def labels(self) -> dict[str, str]:
        """Its labels, none being an empty mapping."""
        return self.config.labels or {}
