"""Where a deployment stands on a device, and why: the words of a `DeviceState`."""

from __future__ import annotations

from enum import Enum

import msgspec

from fleet.contract.limits import Word


class Phase(Enum):
    """Where a deployment stands on one device."""

    PENDING = "Pending"
    RUNNING = "Running"
    UNHEALTHY = "Unhealthy"
    RESTARTING = "Restarting"
    FAILED = "Failed"


class Reason(Enum):
    """Why a phase is what it is: CamelCase, as Kubernetes conditions want it."""

    PULLING = "Pulling"
    STARTING = "Starting"
    STARTED = "Started"
    HEALTHY = "Healthy"
    HEALTH_CHECK_FAILED = "HealthCheckFailed"
    CRASH_LOOP = "CrashLoop"
    EXITED = "Exited"
    COMPLETED = "Completed"
    IMAGE_NOT_FOUND = "ImageNotFound"
    REGISTRY_REFUSED = "RegistryRefused"
    REGISTRY_BUSY = "RegistryBusy"
    REGISTRY_UNAVAILABLE = "RegistryUnavailable"
    WRONG_PLATFORM = "WrongPlatform"
    DISK_FULL = "DiskFull"
    PORT_IN_USE = "PortInUse"
    ENGINE_UNAVAILABLE = "EngineUnavailable"
    ENGINE_ERROR = "EngineError"
    UNSUPPORTED_WORKLOAD = "UnsupportedWorkload"
    INVALID_DESIRED_STATE = "InvalidDesiredState"
    WENT_BACK = "WentBack"
    NOT_ALLOWED = "NotAllowed"
    DEVICE_MISSING = "DeviceMissing"
    FILES_NOT_WRITTEN = "FilesNotWritten"
    SECRETS_NOT_OPENED = "SecretsNotOpened"
    STATE_NOT_SAVED = "StateNotSaved"
    INTERNAL_ERROR = "InternalError"
    """The agent met something that it was not made for; the message names it, and the agent's log has the rest."""
    OTHER = "Other"
    """A reason that only a newer version knows."""

    @classmethod
    def _missing_(cls, value: object) -> Reason | None:
        """Read what a newer agent reports as a reason that we do not know, so that its phase still counts."""
        return cls.OTHER if isinstance(value, str) else None


WELL = frozenset({Reason.STARTED.value, Reason.HEALTHY.value, Reason.COMPLETED.value})
"""Reasons of a workload that runs, and of which there is nothing to say."""


class ContainerState(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """How one container of a pod stands."""

    name: Word
    phase: Phase
    reason: Reason
