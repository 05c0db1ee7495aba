"""The configuration files of the parts: JSON, mode 0600, one typed shape each."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec

from fleet.contract.errors import InvalidInput, NotFound
from fleet.contract.limits import Interval, OneDay
from fleet.contract.names import DeviceId
from fleet.contract.wire import decode, encode

DEVICE_ROLE = "device"
"""The role of the project that a device's token must carry."""

Seconds = Annotated[float, msgspec.Meta(gt=0, le=OneDay)]
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
    """`<root>/etc/fleet/agent.json`. Intervals in seconds."""

    device_id: DeviceId
    nats_url: str
    auth: FleetDeviceAuth
    engine_socket: str = "/run/docker.sock"
    heartbeat_interval: Interval = 10
    resync_interval: Seconds = 60
    upgrade: UpgradeLimits = UpgradeLimits()


class CalloutConfig(msgspec.Struct, frozen=True, rename="camel"):
    """The callout service's configuration. `xkey_seed` empty means the server asks in clear. Times in seconds."""

    nats_url: str
    nats_user: str
    nats_auth_pass: str
    ca: str
    issuer: str
    project_id: str
    issuer_seed: str
    xkey_seed: str
    health_host: str = "127.0.0.1"
    health_port: Port = 0
    answer_within: Seconds = 1.5
    max_concurrent: Annotated[int, msgspec.Meta(ge=1, le=65_536)] = 4096


class UpgradeRules(msgspec.Struct, frozen=True, rename="camel"):
    """How a fleet's agents are upgraded.

    At most `at_once` devices are past the swap at the same time; after `abort_after` devices have failed with a
    version, no further one begins with it; a new agent is confirmed once it has been the writer, with healthy
    workloads, for `soak` seconds.
    """

    at_once: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 1
    abort_after: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 3
    soak: Seconds = 2


class OperatorConfig(msgspec.Struct, frozen=True, rename="camel"):
    """The operator's configuration. `kubeconfig` empty means the pod's own ServiceAccount. Times in seconds.

    `stream_replicas` is how many servers of NATS keep each stream.
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
    resync_interval: Seconds = 30
    offline_after_intervals: Seconds = 3
    stream_replicas: Annotated[int, msgspec.Meta(ge=1, le=5)] = 1
    upgrade: UpgradeRules = UpgradeRules()


C = TypeVar("C", AgentConfig, CalloutConfig, OperatorConfig)


def is_open_to_others(file: os.stat_result) -> bool:
    """Whether somebody may read a secret's file whom it is not for."""
    # A pod's Secret belongs to root, and its user reads it as a member of the volumes' group.
    theirs = 0o037 if file.st_uid != os.geteuid() else 0o077
    return bool(stat.S_IMODE(file.st_mode) & theirs)


def load_config(path: Path, kind: type[C]) -> C:
    """Read a part's configuration.

    Raises:
        NotFound: there is no such file.
        InvalidInput: it is readable by others than its owner, truncated, or of another shape.
    """
    try:
        data = path.read_bytes()
        status = path.stat()
    except OSError as error:
        raise NotFound(f"cannot read {path}: {error.strerror}", next_step="enroll or install first") from error
    if is_open_to_others(status):
        mode = stat.S_IMODE(status.st_mode)
        raise InvalidInput(f"{path} has mode {mode:04o}, but holds a secret", next_step=f"chmod 600 {path}")
    try:
        return decode(data, kind)
    except InvalidInput as error:
        raise InvalidInput(f"{path}: {error.what}", next_step="write it again with the fleet command") from error


def render_config(config: C) -> bytes:
    """The file's content; `load_config` reads it back equal."""
    return msgspec.json.format(encode(config), indent=2)
