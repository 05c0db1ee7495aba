"""A secret of an installed server: its store, its parts, and how they are brought to what the store has."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from itertools import chain, combinations
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from fleet.contract.announcement import INSTALL_KEY, announced, server_info, text_of
from fleet.contract.certificates import certificate_id, certificate_ids, certificates, joined
from fleet.contract.errors import Conflict, NotFound, NotInstalled, NotPermitted
from fleet.contract.objects import SERVER_CONFIG_MAP, ServerInfo
from fleet.contract.tree import spec_of
from fleet.contract.versions import digest_of
from fleet.install.authority import AUTHORITY_KEY, authority_certificate, is_authority_of
from fleet.install.plan import Install
from fleet.install.server import plan_of, secrets_of
from fleet.install.tls import ends
from fleet.rotation.catalogue import Secret
from fleet.rotation.decide import Seen
from fleet.rotation.look import InUse, login, look, trusts_of
from fleet.rotation.provider import Provider
from fleet.rotation.settle import settle
from fleet.secrets.draft import DraftSecretStore
from fleet.secrets.store import Change, Kept
from fleet.topology.capabilities import ChecksRights
from fleet.version import VERSION

if TYPE_CHECKING:
    from fleet.kube.client import KubeClient
    from fleet.nats.bus import Bus
    from fleet.rotation.lease import Held
    from fleet.topology.capabilities import Json, ServerPlace

T = TypeVar("T")


class Installed:
    """A server as its announcement describes it, and the place that it runs on."""

    def __init__(
        self, announcement: Json, make_place: Callable[[str], ServerPlace], devices: Callable[[], list[Json]]
    ) -> None:
        """Read the announcement; `make_place` gets the place's options of the install, `devices` lists `Device`s.

        Raises:
            NotInstalled: the install was of a release that could not rotate.
            InvalidInput: it does not parse.
        """
        self.info = server_info(announcement)
        if not text_of(announcement, INSTALL_KEY):
            raise NotInstalled(
                f"the server is of release {self.info.version}, which does not rotate secrets",
                next_step="run `fleet server install` of this release, with the options of the last install",
            )
        self.install = announced(announcement, INSTALL_KEY, Install)
        self.place = make_place(self.install.place)
        self.endpoints = self.place.endpoints(self.install.settings.namespace)
        self.provider = Provider(self.install.settings, self.place, self.endpoints)
        self.in_cluster = False
        """Whether we come in by the names that the server's own parts find each other by."""
        self.left_behind: frozenset[str] = frozenset()
        """Devices that a rotation is to go on without."""
        self.announcing: Callable[[ServerInfo], object] = lambda _: None
        """Called with what is about to be announced."""
        self._devices = devices

    @classmethod
    def find(cls, kube: KubeClient, namespace: str, make_place: Callable[[str], ServerPlace]) -> Installed:
        """The server in a namespace.

        Raises:
            NotInstalled: there is none, or one of a release that could not rotate.
        """
        found = kube.find("ConfigMap", SERVER_CONFIG_MAP, namespace)
        if found is None:
            raise NotInstalled(f"no fleet server is installed in {namespace}", next_step="run `fleet server install`")
        made = cls(found, make_place, lambda: kube.list("Device", namespace))
        made.in_cluster = kube.in_pod
        return made

    def require_as_announced(self) -> None:
        """See that what we would apply differs from what runs in its secrets only.

        What the announcement says for everybody is compared with what admins have confirmed before a password is sent;
        what it remembers of the install must agree with that, or a user who may write it could choose the provider.

        Raises:
            Conflict: the server is of another release, or its announcement contradicts itself.
        """
        settings, info = self.install.settings, self.info
        announced = (info.issuer, info.project_id, info.cli_client_id, info.version)
        kept = (settings.issuer, settings.project_id, settings.cli_client_id, settings.version)
        if announced != kept or info.ca not in self.announced():
            raise Conflict(
                "the server's announcement contradicts what it remembers of its install",
                next_step="see who has changed the ConfigMap fleet-server; `fleet server install` writes it anew",
            )
        theirs = self.install.settings.version
        if theirs != VERSION:
            raise Conflict(
                f"the server is of release {theirs}, and this command of {VERSION}",
                next_step="use the command of that release, or bring the server to ours with `fleet server install`",
            )

    def announced(self) -> list[str]:
        """What the server may announce as its certificates before, during and after a rotation of its authority."""
        store = DraftSecretStore(self.place.secrets)
        authorities = (one for one in certificates(self.info.ca) if is_authority_of(store, one))
        ours = {*certificates(secrets_of(store, self.endpoints).bundle), *authorities}
        several = chain.from_iterable(combinations(ours, number) for number in range(1, len(ours) + 1))
        return [joined(some) + self.install.settings.issuer_ca for some in several]

    def in_use(self, *, devices: bool = False) -> InUse:
        """What the parts have now, and with `devices` what those trust.

        Raises:
            NotFound: one that is to be left behind is no device.
        """
        store = self.place.secrets
        nats, callouts = max(1, len(self.endpoints.nats_peers)), self.endpoints.callout_replicas
        enrolled = self.enrolled() if devices else None
        seen = asyncio.run(look(self.reached(), store, nats=nats, callouts=callouts, enrolled=enrolled))
        draft = DraftSecretStore(store)
        keys = store.versions(AUTHORITY_KEY)
        authorities = {
            certificate_id(authority_certificate(draft, key).decode()): digest_of(key)
            for key in (keys.values if keys else ())
        }
        return msgspec.structs.replace(
            seen,
            authorities=authorities,
            foreign=frozenset(certificate_ids(self.install.settings.issuer_ca)),
            has_page=bool(self.endpoints.operator_web),
            provider=self.provider.standing(),
        )

    def reached(self) -> ServerInfo:
        """The server as we come in: trusting every authority that it may show a certificate of now."""
        bundle = secrets_of(DraftSecretStore(self.place.secrets), self.endpoints).bundle
        url = f"tls://{self.endpoints.nats}" if self.in_cluster else self.info.nats_url
        return msgspec.structs.replace(self.info, ca=bundle, nats_url=url)

    def enrolled(self) -> list[str]:
        """The devices that are to be let in, and go along; raises what `awaited_and_left` does."""
        return self.awaited_and_left()[0]

    def awaited_and_left(self) -> tuple[list[str], list[str]]:
        """The devices that are to be let in: those that go along, and those that are left behind.

        Raises:
            NotFound: one that is to be left behind is no device.
        """
        known = {one["metadata"]["name"]: spec_of(one).get("revoked", False) for one in self._devices()}
        if strangers := self.left_behind - known.keys():
            what = f"there is no device {min(strangers)!r} to leave behind"
            raise NotFound(what, next_step="see `fleet device list`")
        admitted = sorted(name for name, revoked in known.items() if not revoked)
        awaited = [name for name in admitted if name not in self.left_behind]
        return awaited, [name for name in admitted if name in self.left_behind]

    def devices(self) -> list[Json]:
        """The `Device`s that are not revoked."""
        return [one for one in self._devices() if not spec_of(one).get("revoked", False)]

    def run(self, password: str, role: str, work: Callable[[Bus], Coroutine[Any, Any, T]]) -> T:
        """Do some work in NATS as a static user, whose password is the secret `password`.

        Raises:
            FleetError: NATS does not answer, or refuses.
        """

        async def go() -> T:
            bus = await login(self.reached(), self.place.secrets, password, role)
            try:
                return await work(bus)
            finally:
                await bus.close()

        return asyncio.run(go())

    def apply(self) -> None:
        """Bring the parts to what the store has, and wait until they are ready with it."""
        plan = plan_of(self.install, self.place.secrets, self.endpoints)
        self.provider.apply()
        self.place.renew(plan.services)
        info = server_info(plan.announcement)
        self.announcing(info)
        self.place.apply(plan.published)
        self.info = info

    def authority_ended(self) -> datetime | None:
        """When the certificate of the current authority has ended; None while it is valid.

        Nobody can connect after that: the operator, the callout and every device refuse the certificate of NATS.
        """
        return _ended(self._authority(self.kept(AUTHORITY_KEY).current))

    def to_visit(self) -> list[str]:
        """The devices that trust no authority of ours that is still valid: somebody has to bring them one."""
        authorities = (self._authority(key) for key in self.kept(AUTHORITY_KEY).values)
        valid = {certificate_id(one) for one in authorities if not _ended(one)}
        return sorted(one["metadata"]["name"] for one in self.devices() if not valid.intersection(trusts_of(one)))

    def _authority(self, key: bytes) -> str:
        return authority_certificate(DraftSecretStore(self.place.secrets), key).decode()

    def certify(self) -> None:
        """Make the certificate of each version of the authority's key, where it is not kept yet."""
        for key in self.kept(AUTHORITY_KEY).values:
            authority_certificate(self.place.secrets, key)

    def require_secrets(self) -> None:
        """See that the server's secrets are there: a missing one would be made anew, and no device would accept it.

        Raises:
            NotFound: they are gone.
        """
        if self.place.secrets.get(AUTHORITY_KEY) is None:
            raise NotFound(
                f"the server in {self.install.settings.namespace} is announced, and its secrets are gone "
                f"(there is no {AUTHORITY_KEY})",
                next_step="restore them from a backup; without one, remove the server, install it again, and enroll "
                "every device anew",
            )

    def require_rotatable(self, name: str, *, back: bool = False) -> None:
        """See that everybody who must take up another version of a secret can be brought to it.

        Raises:
            NotPermitted: it cannot be rotated on this server; or we lack rights.
            Conflict: the authority has ended, and this is not the way out of it.
        """
        self.require_valid_authority(name, back=back)
        if isinstance(self.place, ChecksRights):
            self.place.require_rights_to_renew(self.provider.services(DraftSecretStore(self.place.secrets)))
        if why_not := self.provider.why_not(name):
            raise NotPermitted(f"{name}: {why_not}", next_step="see docs/operations.md, After a leak")

    def require_valid_authority(self, name: str, *, back: bool = False) -> None:
        """See that the parts can connect, or that it is the authority itself that is rotated.

        Raises:
            Conflict: it has ended, and this is not the way out of it.
        """
        if name != AUTHORITY_KEY:
            if ended := self.authority_ended():
                raise Conflict(
                    f"the server's certificate authority has ended on {ended:%Y-%m-%d}, so that nobody can connect",
                    next_step=f"`fleet secrets rotate {AUTHORITY_KEY}` first",
                )
            return
        kept = self.kept(AUTHORITY_KEY)
        if back and (ended := _ended(self._authority(kept.previous or kept.current))):
            raise Conflict(
                f"there is no way back: the authority of before has ended on {ended:%Y-%m-%d}",
                next_step="repeat the command without --abort",
            )

    def kept(self, name: str) -> Kept:
        """All versions of a secret.

        Raises:
            NotFound: this server has none of that name.
        """
        found = self.place.secrets.versions(name)
        if found is None:
            raise NotFound(f"this server has no secret {name}", next_step="see `fleet secrets list`")
        return found


class Ground:
    """One secret of a server, for `fleet.rotation.drive`."""

    def __init__(self, installed: Installed, secret: Secret, held: Held | None = None) -> None:
        """Without a lease it can only be looked at."""
        self._installed = installed
        self._secret = secret
        self._held = held
        self._kept: Kept | None = None

    def look(self) -> Seen:
        """As `drive.Ground.look`: the store first, so that what the parts say is newer than what it had."""
        self._kept = self._installed.kept(self._secret.name)
        if self._secret.name == AUTHORITY_KEY and self._installed.authority_ended():
            # Nobody can connect, so nobody can get another one: a wait for a part would never end.
            return Seen(self._secret.versions(self._kept), {}, {})
        return self._secret.seen(self._kept, self._installed.in_use(devices=self._secret.name == AUTHORITY_KEY))

    def change(self, change: Change) -> None:
        """As `drive.Ground.change`."""
        assert self._kept
        assert self._held
        assert self._secret.rotation
        self._held.check()
        if change is Change.PROMOTE and self._secret.name == AUTHORITY_KEY:
            self._installed.certify()  # an apply has done that, but where the old one has ended there was none
        value = self._secret.rotation.make() if change is Change.STAGE else b""
        self._installed.place.secrets.change(self._secret.name, self._kept, change, value)

    def apply(self) -> None:
        """As `drive.Ground.apply`."""
        assert self._held
        self._held.check()
        before = self._installed.in_use().devices
        self._installed.apply()
        settle(self._installed.in_use, before)


def _ended(certificate: str) -> datetime | None:
    end = ends(certificate.encode())
    return end if end <= datetime.now(UTC) else None
