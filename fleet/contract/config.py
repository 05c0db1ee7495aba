"""The configuration files of the parts: JSON, mode 0600, one typed shape each."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec

from fleet.contract.errors import InvalidInput, NotFound
from fleet.contract.limits import Interval, OneDay
from fleet.contract.names import DeviceId
from fleet.contract.wire import decode, encode
from fleet.contract.written import parse_written

DEVICE_ROLE = "device"
"""The role of the project that a device's token must carry."""

VIEWER_ROLE = "fleet-viewer"
"""The role of the project that a person's token must carry to look at the web page."""

Seconds = Annotated[float, msgspec.Meta(gt=0, le=OneDay)]
SocketPath = Annotated[str, msgspec.Meta(pattern=r"\A/[^\x00-\x1f]+\Z", max_length=107)]
"""An absolute path that a unix socket can have (unix(7): 107 bytes)."""
ENGINE_SOCKET = "/run/docker.sock"
"""Where docker listens, and podman with Debian's package `podman-docker`."""
Seeds = Annotated[tuple[str, ...], msgspec.Meta(max_length=8)]
Port = Annotated[int, msgspec.Meta(ge=0, le=65_535)]


class MachineKey(msgspec.Struct, frozen=True, rename="camel"):
    """A Zitadel machine key file (`type: serviceaccount`); `key` is a PEM private key and a secret."""

    user_id: str
    key_id: str
    key: str
    type: str = "serviceaccount"
    expiration_date: str = "9999-12-31T23:59:59Z"

    def __repr__(self) -> str:
        return f"MachineKey(user_id={self.user_id!r}, key_id={self.key_id!r}, key=...)"


class FleetDeviceAuth(msgspec.Struct, frozen=True, rename="camel"):
    """The agent's NATS identity on disk, already resolved: one shape, no variants.

    `issuer` is the identity provider's URL, compared byte for byte; `project` its project id; `ca` the PEM
    certificates that sign the issuer's and the NATS server's.
    """

    issuer: str
    project: str
    machine_key: MachineKey
    ca: str


class UpgradeLimits(msgspec.Struct, frozen=True, rename="camel"):
    """How long an agent waits while it is upgraded, in seconds of its monotonic clock; `docs/upgrade.md` says for what.

    `lease` is how long a lease lasts that is not renewed, `patience` how long a workload must be unwell to count as
    such, `self_test` how long the new agent's examination may take.
    """

    drain: Seconds = 60
    heartbeat: Seconds = 60
    stop: Seconds = 180
    step_down: Seconds = 120
    escalate: Seconds = 30
    take: Seconds = 300
    confirm: Seconds = 900
    retry: Seconds = 2
    lease: Seconds = 30
    patience: Seconds = 5
    self_test: Seconds = 60


class AgentConfig(msgspec.Struct, frozen=True, rename="camel"):
    """`<root>/etc/fleet/agent.json`. Intervals in seconds.

    An agent refuses names that it does not know, so what a later release adds is written only where it is set.
    """

    device_id: DeviceId
    nats_url: str
    auth: FleetDeviceAuth
    engine_socket: SocketPath = ENGINE_SOCKET
    heartbeat_interval: Interval = 10
    resync_interval: Seconds = 60
    upgrade: UpgradeLimits = UpgradeLimits()


class CalloutConfig(msgspec.Struct, frozen=True, rename="camel"):
    """The callout service's configuration. `xkey_seed` empty means the server asks in clear. Times in seconds.

    The other seeds are honoured as well: while a seed is rotated, each server of NATS names the one that it expects.
    """

    nats_url: str
    nats_user: str
    nats_auth_pass: str
    ca: str
    issuer: str
    project_id: str
    issuer_seed: str
    xkey_seed: str
    other_issuer_seeds: Seeds = ()
    other_xkey_seeds: Seeds = ()
    health_host: str = "127.0.0.1"
    health_port: Port = 0
    answer_within: Seconds = 1.5
    max_concurrent: Annotated[int, msgspec.Meta(ge=1, le=65_536)] = 4096


DEFAULT_NAMESPACE = "fleet-system"
"""Where a server is installed unless an admin names another namespace."""
MOST_DEVICES = 1_000_000
"""The largest number of devices that a rule may name."""
Devices = Annotated[int, msgspec.Meta(ge=1, le=MOST_DEVICES)]


class UpgradeRules(msgspec.Struct, frozen=True, rename="camel"):
    """How the operator upgrades the devices' agents."""

    at_once: Annotated[Devices, msgspec.Meta(description="Agents that may be replaced at the same time.")] = 1
    abort_after: Annotated[
        Devices,
        msgspec.Meta(description="Devices that failed with a version, after which no further one begins with it."),
    ] = 3
    soak: Annotated[
        Seconds,
        msgspec.Meta(
            description="Seconds that a new agent must be the writer, with healthy workloads, before it is confirmed."
        ),
    ] = 2.0
    grant: Annotated[
        Seconds,
        msgspec.Meta(description="Seconds that one device's upgrade may hold up the others; then it counts as failed."),
    ] = 3600.0


class WebPage(msgspec.Struct, frozen=True, rename="camel"):
    """How the operator serves its read-only web page. `certificate` and `key` are PEM; the key and `nats_pass` secrets.

    People sign in at `issuer`: by device code as the application `cli_client_id`, and, where `client_id` names a web
    application, also by authorization code. At most `most_streams` pages are kept up to date at the same time.
    """

    host: str
    port: Port
    certificate: str
    key: str
    nats_user: str
    nats_pass: str
    issuer: str
    issuer_ca: str
    project_id: str
    cli_client_id: str
    client_id: str = ""
    most_streams: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 200

    def __repr__(self) -> str:
        return f"WebPage({self.host}:{self.port})"


class SecretAge(msgspec.Struct, frozen=True, rename="camel"):
    """When the version of a secret that is in use was made, and when its certificate ends: Unix seconds, or 0."""

    name: str
    made: int = 0
    ends: int = 0


class OperatorConfig(msgspec.Struct, frozen=True, rename="camel"):
    """The operator's configuration. `kubeconfig` empty means the pod's own ServiceAccount. Times in seconds.

    `stream_replicas` is how many servers of NATS keep each stream, `callouts` how many callouts there are;
    `trust_bundle` are the certificates (PEM) that devices are to trust; `secret_ages` are for its metrics and its web
    page. Without `web` there is no web page.
    """

    nats_url: str
    nats_app_pass: str
    nats_control_pass: str
    nats_system_pass: str
    ca: str
    namespace: str
    kubeconfig: str = ""
    health_host: str = "127.0.0.1"
    health_port: Port = 0
    resync_interval: Seconds = 300
    offline_after_intervals: Seconds = 3
    stream_replicas: Annotated[int, msgspec.Meta(ge=1, le=5)] = 1
    callouts: Annotated[int, msgspec.Meta(ge=1, le=100)] = 1
    upgrade: UpgradeRules = UpgradeRules()
    web: WebPage | None = None
    trust_bundle: str = ""
    secret_ages: tuple[SecretAge, ...] = ()


MAX_READ = 2**23
"""Bytes of a file that is read at once: far more than a configuration, a token or a key has."""

C = TypeVar("C", AgentConfig, CalloutConfig, OperatorConfig)


def is_open_to_others(file: os.stat_result) -> bool:
    """Whether somebody may read a secret's file whom it is not for."""
    # A pod's Secret belongs to root, and its user reads it as a member of the volumes' group.
    forbidden = 0o037 if file.st_uid != os.geteuid() else 0o077
    return bool(stat.S_IMODE(file.st_mode) & forbidden)


def read_whole(path: Path) -> tuple[bytes, os.stat_result]:
    """A small file that a person named; a device file such as `/dev/zero` has no end, and is refused.

    A pipe is read if somebody has it open to write; nobody waits for one that will.

    Raises:
        OSError: it cannot be read, or has more than `MAX_READ` bytes.
    """
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
        os.set_blocking(file.fileno(), True)
        data, status = file.read(MAX_READ + 1), os.fstat(file.fileno())
    if len(data) > MAX_READ:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(path))
    return data, status


def load_config(path: Path, kind: type[C]) -> C:
    """Read a part's configuration.

    People write into an agent's, so nothing in it is ignored; a server's are made by an install alone, of a newer
    release at times.

    Raises:
        NotFound: there is no such file.
        InvalidInput: it is readable by others than its owner, truncated, or of another shape; or an agent's has a name
            in it that is unknown, or twice.
    """
    try:
        data, status = read_whole(path)
    except OSError as error:
        raise NotFound(f"cannot read {path}: {error.strerror}", next_step="enroll or install first") from error
    if is_open_to_others(status):
        mode = stat.S_IMODE(status.st_mode)
        raise InvalidInput(f"{path} has mode {mode:04o}, but holds a secret", next_step=f"chmod 600 {path}")
    again = "write it again with the fleet command"
    if kind is AgentConfig:
        return parse_written(data, kind, str(path), next_step=again)
    try:
        return decode(data, kind)
    except InvalidInput as error:
        raise InvalidInput(f"{path}: {error.what}", next_step=again) from error


def render_config(config: C) -> bytes:
    """The file's content; `load_config` reads it back equal."""
    return msgspec.json.format(encode(config), indent=2)
