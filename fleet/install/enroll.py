"""The desired state of an enrollment: a device with an identity of its own, and the configuration its agent needs."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Protocol

import msgspec

from fleet.contract.announcement import server_info
from fleet.contract.change import PATCHED, Change
from fleet.contract.config import DEFAULT_NAMESPACE, DEVICE_ROLE, ENGINE_SOCKET, AgentConfig, FleetDeviceAuth
from fleet.contract.errors import Conflict, FleetError
from fleet.contract.labels import NONE_CARRIED, labels_of, relabelled
from fleet.contract.names import DeviceId
from fleet.contract.objects import API_VERSION, ENROLLED_AT, SERVER_CONFIG_MAP, Device, ServerInfo
from fleet.contract.tree import spec_of
from fleet.contract.wire import from_builtins
from fleet.identity.device_token import wait_for_token
from fleet.identity.zitadel import Zitadel
from fleet.install.identities import create_user, own_users, user_prefix
from fleet.topology.admin import AdminAuth, Tell
from fleet.topology.capabilities import Json


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

    def user(self) -> str:
        """Our name there; empty where it does not tell."""
        ...


class Save(Protocol):
    """Keeps the agent's configuration where the admin wants it."""

    def __call__(self, config: AgentConfig) -> AbstractContextManager[None]:
        """It is written when the block begins, and has its name when the block ends; an error leaves nothing."""
        ...


class DeviceEnrollmentIntent(msgspec.Struct, frozen=True):
    """An enrollment that needs an admin. Resolving it yields what the device needs, without the admin's credentials."""

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
            except BaseException:  # Ctrl-C too: nobody would have the key of the user that is left
                with contextlib.suppress(FleetError):  # it is not in the registry, and lets nobody in
                    zitadel.delete_user(user.id)
                raise
            for other in own_users(zitadel, server, self.device, self.before):
                if other.id != user.id:
                    zitadel.delete_user(other.id)


class FleetDeviceEnrollScore(msgspec.Struct, frozen=True):
    """An enrolled device. `heartbeat_interval` is in seconds, `engine_socket` a path on the device.

    With `replace`, a device that is known gets a new identity, its old one ends, and a revocation is lifted.
    """

    device: DeviceId
    server: ServerInfo
    admin: AdminAuth
    namespace: str = DEFAULT_NAMESPACE
    labels: dict[str, str] = {}
    heartbeat_interval: float = 10
    replace: bool = False
    engine_socket: str = ENGINE_SOCKET

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
            config = AgentConfig(
                self.device, self.server.nats_url, auth, self.engine_socket, heartbeat_interval=self.heartbeat_interval
            )
            with save(config):
                self._declare(place, known, auth.machine_key.user_id)
                self._require_same_authority(place)
        return config

    def _require_same_authority(self, place: KnowsDevices) -> None:
        """See that what the device is given to trust is what the server announces, now that a rotation waits for it.

        Raises:
            Conflict: a rotation of the authority went on in the meantime.
        """
        found = place.find("ConfigMap", SERVER_CONFIG_MAP, self.namespace)
        if found is not None and server_info(found).ca != self.server.ca:
            raise Conflict(
                f"the server's certificates have changed while {self.device} was enrolled",
                next_step=f"enroll it again: fleet device enroll {self.device} --replace",
            )

    def _declare(self, place: KnowsDevices, known: Json | None, subject: str) -> None:
        """Write the `Device`: the moment that decides which of two enrollments at once has won."""
        if known is None:
            try:
                place.create(self._device(subject, _ordered(place, 1)))
            except Conflict as error:
                raise self._taken() from error
            return
        seen: Json = known
        while True:
            version = seen["metadata"]["resourceVersion"]
            about = self._relabelled(seen)
            by = _ordered(place, seen["metadata"]["generation"] + 1)
            about = {**about, "annotations": {**about.get("annotations", {}), **_enrolled_now(), **by}}
            # The subject may change with this number alone.
            spec: Json = {"subject": subject, "revoked": False, "enrollment": spec_of(seen).get("enrollment", 0) + 1}
            change: Json = {"metadata": {**about, "resourceVersion": version}, "spec": spec}
            try:
                place.patch("Device", self.device, self.namespace, change)
            except Conflict:  # its status may have changed, which is nothing to us
                seen = self._stand(place, known) or {}
            else:
                return

    def _stand(self, place: KnowsDevices, known: Json | None) -> Json | None:
        """The `Device` as it is now.

        Raises:
            Conflict: it has another identity than when we began, or was revoked since.
        """
        seen = place.find("Device", self.device, self.namespace)
        if _subject(seen) != _subject(known):
            raise self._taken()
        if _revoked(seen) and not _revoked(known):
            raise Conflict(
                f"the device {self.device} was revoked while it was enrolled again, so it was not",
                next_step="ask who revoked it; if it is to be let in all the same, repeat the command",
            )
        return seen

    def _taken(self) -> Conflict:
        at_once = ", by somebody else at this moment" if self.replace else ""
        return Conflict(
            f"the device {self.device} is enrolled already{at_once}",
            next_step=f"choose another id, or give {self.device} a new identity with --replace",
        )

    def _device(self, subject: str, by: dict[str, str]) -> Json:
        return {
            "apiVersion": API_VERSION,
            "kind": "Device",
            "metadata": {
                "name": str(self.device),
                "namespace": self.namespace,
                "annotations": NONE_CARRIED | _enrolled_now() | by,
                "labels": self.labels,
            },
            "spec": {"subject": subject},
        }

    def _relabelled(self, seen: Json) -> Json:
        """The metadata by which labels that were given are its; those that were not given stay."""
        device = from_builtins(seen, Device)
        return relabelled(device, {**labels_of(device), **self.labels}) if self.labels else {}


def _ordered(place: KnowsDevices, generation: int) -> dict[str, str]:
    change = Change(secrets.token_hex(6), generation, "fleet device enroll", place.user())
    return {PATCHED: change.annotation}


def _enrolled_now() -> dict[str, str]:
    return {ENROLLED_AT: datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")}


def _revoked(device: Json | None) -> bool:
    return device is not None and bool(spec_of(device).get("revoked", False))


def _subject(device: Json | None) -> str | None:
    """Whose identity a `Device` has; None where there is none."""
    return None if device is None else spec_of(device).get("subject", "")
