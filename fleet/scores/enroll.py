"""The desired state of an enrollment: a device with an identity of its own, and the configuration its agent needs."""

from __future__ import annotations

from typing import Protocol

import msgspec

from fleet.contract.config import DEVICE_ROLE, AgentConfig, FleetDeviceAuth
from fleet.contract.errors import Conflict
from fleet.contract.names import DeviceId
from fleet.contract.objects import API_VERSION, ServerInfo
from fleet.topology.admin import AdminAuth, Tell
from fleet.topology.capabilities import Json
from fleet.topology.device_token import wait_for_token
from fleet.topology.zitadel import Zitadel


class KnowsDevices(Protocol):
    """A place that keeps `Device` objects."""

    def find(self, kind: str, name: str, namespace: str = "") -> Json | None:
        """One object, or None."""
        ...

    def create(self, item: Json) -> Json:
        """Create an object, and refuse where one is."""
        ...

    def patch(self, kind: str, name: str, namespace: str, change: Json) -> Json:
        """Merge a change into an object."""
        ...


class Save(Protocol):
    """Keeps the agent's configuration where the admin wants it."""

    def __call__(self, config: AgentConfig) -> None:
        """Write it; a secret."""
        ...


def machine_user(device: DeviceId) -> str:
    """The user name of a device's machine user: its own name space, so that no person is ever taken for a device."""
    return f"fleet-{device}"


class DeviceEnrollmentIntent(msgspec.Struct, frozen=True):
    """A wish to enroll that still needs an admin; resolving it yields what the device needs, and no admin."""

    device: DeviceId
    server: ServerInfo
    admin: AdminAuth

    def resolve(self, tell: Tell) -> FleetDeviceAuth:
        """Make a fresh machine user, grant and key, and prove them by a token that carries the device's role.

        A machine user that is there already is left of an enrollment that broke off, or is being replaced: it goes,
        and its keys with it.

        Raises:
            FleetError: any of its kinds; run again to start over.
        """
        server = self.server
        token = self.admin.access_token(server.issuer, server.ca, tell)
        with Zitadel(server.issuer, server.ca, token.text) as zitadel:
            name = machine_user(self.device)
            if (old := zitadel.find_user(name)) is not None:
                zitadel.delete_user(old.id)
            user = zitadel.ensure_machine_user(name, str(self.device), "a device of the fleet")
            zitadel.ensure_grant(user.id, server.project_id, DEVICE_ROLE)
            key = zitadel.create_key(user.id)
        auth = FleetDeviceAuth(server.issuer, server.project_id, key, server.ca)
        wait_for_token(auth)
        return auth


class FleetDeviceEnrollScore(msgspec.Struct, frozen=True):
    """An enrolled device. `heartbeat_interval` is in seconds.

    With `replace`, a device that is known gets a new identity, its old one ends, and a revocation is lifted.
    """

    device: DeviceId
    server: ServerInfo
    admin: AdminAuth
    namespace: str = "fleet-system"
    labels: dict[str, str] = {}
    heartbeat_interval: float = 10
    replace: bool = False

    def interpret(self, place: KnowsDevices, *, tell: Tell, save: Save) -> AgentConfig:
        """Enroll: identity first, then the saved configuration, then the `Device`, so that a repeat starts over.

        Raises:
            Conflict: the device is enrolled, and `replace` was not asked for.
            FleetError: any of its kinds.
        """
        known = place.find("Device", self.device, self.namespace)
        if known is not None and not self.replace:
            raise Conflict(
                f"the device {self.device} is enrolled already",
                next_step=f"choose another id, or give {self.device} a new identity with --replace",
            )
        auth = DeviceEnrollmentIntent(self.device, self.server, self.admin).resolve(tell)
        config = AgentConfig(self.device, self.server.nats_url, auth, heartbeat_interval=self.heartbeat_interval)
        save(config)
        subject = auth.machine_key.user_id
        if known is None:
            place.create(self._device(subject))
        else:
            spec: Json = {"subject": subject, "revoked": False}
            place.patch("Device", self.device, self.namespace, {"spec": spec | self._labels()})
        return config

    def _device(self, subject: str) -> Json:
        return {
            "apiVersion": API_VERSION,
            "kind": "Device",
            "metadata": {"name": str(self.device), "namespace": self.namespace},
            "spec": {"subject": subject} | self._labels(),
        }

    def _labels(self) -> Json:
        return {"labels": self.labels} if self.labels else {}
