"""The desired state of an enrollment: a device with an identity of its own, and the configuration its agent needs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager
from typing import Protocol

import msgspec

from fleet.contract.config import DEVICE_ROLE, AgentConfig, FleetDeviceAuth
from fleet.contract.errors import Conflict, FleetError
from fleet.contract.names import DeviceId
from fleet.contract.objects import API_VERSION, ServerInfo
from fleet.scores.identities import create_user, own_users, user_prefix
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

    def __call__(self, config: AgentConfig) -> AbstractContextManager[None]:
        """It is written when the block begins, and has its name when the block ends; an error leaves nothing."""
        ...


class DeviceEnrollmentIntent(msgspec.Struct, frozen=True):
    """A wish to enroll that still needs an admin; resolving it yields what the device needs, and no admin."""

    device: DeviceId
    server: ServerInfo
    admin: AdminAuth
    before: str = ""
    """The subject that the `Device` had; a user of the former release is this server's only if it is this one."""

    @contextlib.contextmanager
    def resolved(self, tell: Tell, overtaken: Callable[[], object]) -> Generator[FleetDeviceAuth]:
        """Make a fresh machine user, grant and key, and prove them by a token that carries the device's role.

        While that does not work, `overtaken` is asked, which raises once another enrollment was quicker.

        When the block ends well, the other machine users that the device has by this server go, and their keys with
        them: they are what it had before, or what an enrollment left that broke off. When it fails, the fresh one goes.

        Raises:
            FleetError: any of its kinds; run again to start over.
        """
        server = self.server
        user_prefix(server, self.device)  # so that nobody logs in for a server that has no id
        token = self.admin.access_token(server.issuer, server.ca, tell)
        with Zitadel(server.issuer, server.ca, token.text) as zitadel:
            user = create_user(zitadel, server, self.device)
            try:
                zitadel.ensure_grant(user.id, server.project_id, DEVICE_ROLE)
                auth = FleetDeviceAuth(server.issuer, server.project_id, zitadel.create_key(user.id), server.ca)
                wait_for_token(auth, refused=overtaken)
                yield auth
            except BaseException:
                with contextlib.suppress(FleetError):  # it is not in the registry, and lets nobody in
                    zitadel.delete_user(user.id)
                raise
            for other in own_users(zitadel, server, self.device, self.before):
                if other.id != user.id:
                    zitadel.delete_user(other.id)


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
        """Enroll: identity first, then the written configuration, then the `Device`, so that a repeat starts over.

        Raises:
            Conflict: the device is enrolled, and `replace` was not asked for.
            FleetError: any of its kinds.
        """
        known = place.find("Device", self.device, self.namespace)
        if known is not None and not self.replace:
            raise self._taken()
        intent = DeviceEnrollmentIntent(self.device, self.server, self.admin, _subject(known) or "")
        with intent.resolved(tell, overtaken=lambda: self._stand(place, known)) as auth:
            config = AgentConfig(self.device, self.server.nats_url, auth, heartbeat_interval=self.heartbeat_interval)
            with save(config):
                self._declare(place, known, auth.machine_key.user_id)
        return config

    def _declare(self, place: KnowsDevices, known: Json | None, subject: str) -> None:
        """Write the `Device`: the moment that decides which of two enrollments at once has won."""
        if known is None:
            try:
                place.create(self._device(subject))
            except Conflict as error:
                raise self._taken() from error
            return
        spec: Json = {"subject": subject, "revoked": False}
        seen: Json = known
        while True:
            version = seen["metadata"]["resourceVersion"]
            change: Json = {"metadata": {"resourceVersion": version}, "spec": spec | self._labels()}
            try:
                place.patch("Device", self.device, self.namespace, change)
            except Conflict:  # its status may have changed, which is nothing to us
                seen = self._stand(place, known) or {}
            else:
                return

    def _stand(self, place: KnowsDevices, known: Json | None) -> Json | None:
        """The `Device` as it is now.

        Raises:
            Conflict: it has another identity than when we began.
        """
        seen = place.find("Device", self.device, self.namespace)
        if _subject(seen) != _subject(known):
            raise self._taken()
        return seen

    def _taken(self) -> Conflict:
        at_once = ", by somebody else at this moment" if self.replace else ""
        return Conflict(
            f"the device {self.device} is enrolled already{at_once}",
            next_step=f"choose another id, or give {self.device} a new identity with --replace",
        )

    def _device(self, subject: str) -> Json:
        return {
            "apiVersion": API_VERSION,
            "kind": "Device",
            "metadata": {"name": str(self.device), "namespace": self.namespace},
            "spec": {"subject": subject} | self._labels(),
        }

    def _labels(self) -> Json:
        return {"labels": self.labels} if self.labels else {}


def _subject(device: Json | None) -> str | None:
    """Whose identity a `Device` has; None where there is none."""
    return None if device is None else device["spec"].get("subject", "")
