"""Secrets in OpenBao, in a key-value engine of version 2; each write names the version that it was decided on.

Each secret is an entry of its own, which holds all its versions, so one write moves two. OpenBao keeps no former state
of an entry: a version that a rotation has retired is gone.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING

import msgspec

from fleet.contract.errors import Conflict, InvalidInput
from fleet.contract.parsing import NOT_JSON
from fleet.secrets.openbao_api import Answer, OpenBaoApi
from fleet.secrets.store import Change, Kept, changed

if TYPE_CHECKING:
    from fleet.secrets.mark import Mark
    from fleet.secrets.openbao_config import Credentials


class _Version(msgspec.Struct, frozen=True):
    """A value, a secret (base64 on the wire), and when it was made."""

    value: bytes
    made: datetime

    def __repr__(self) -> str:
        return f"_Version(made={self.made})"


class _Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is kept under a secret's name."""

    current: _Version
    next: _Version | None = None
    previous: _Version | None = None

    @property
    def versions(self) -> tuple[_Version, ...]:
        return tuple(value for value in (self.current, self.next, self.previous) if value is not None)


class _About(msgspec.Struct, frozen=True):
    version: int
    deletion_time: str = ""
    destroyed: bool = False


class _Data(msgspec.Struct, frozen=True):
    metadata: _About
    data: msgspec.Raw = msgspec.Raw(b"null")


class _Read(msgspec.Struct, frozen=True):
    data: _Data


class _Keys(msgspec.Struct, frozen=True):
    keys: tuple[str, ...]


class _Listed(msgspec.Struct, frozen=True):
    data: _Keys


class OpenBaoSecretStore:
    """A `SecretStore` for one server. What `OpenBaoApi.call` raises, each of its methods may raise."""

    def __init__(self, credentials: Credentials, namespace: str, mark: Mark) -> None:
        """Keep the secrets of the server in a Kubernetes namespace; nothing is contacted yet.

        Raises:
            InvalidInput: the CA holds no certificate, or the environment names a proxy that cannot be used.
        """
        config = credentials.config
        self._api = OpenBaoApi(credentials)
        self._mark = mark
        self._mount = config.mount
        self._folder = f"{config.path}/{namespace}"
        self._shown = f"{config.url} {config.mount}/{self._folder}"
        self._id = ""

    def get(self, name: str) -> bytes | None:
        """The current value. See `SecretStore`."""
        kept = self.versions(name)
        return kept.current if kept else None

    def get_or_create(self, name: str, make: Callable[[], bytes]) -> bytes:
        """The value; made and written only where there is none. See `SecretStore`."""
        made: bytes | None = None
        while True:
            if (found := self.get(name)) is not None:
                return found
            made = made or make()
            self._mark.write(self._identity(), self._shown)
            # A version that was replaced is not kept, and nobody writes without naming what is there.
            self._api.call("POST", self._path("metadata", name), {"max_versions": 1, "cas_required": True})
            try:
                self._put(name, _Entry(_Version(made, datetime.now(UTC))), 0)
            except Conflict:  # somebody else made it in between
                continue

    def versions(self, name: str) -> Kept | None:
        """All versions. See `SecretStore`.

        Raises:
            InvalidInput: one is empty, or the entry is damaged or was deleted; it is never replaced.
        """
        found = self._read(name)
        if found is None:
            return None
        entry, revision = found
        return Kept(
            entry.current.value,
            next=entry.next.value if entry.next else None,
            previous=entry.previous.value if entry.previous else None,
            made=entry.current.made,
            revision=str(revision),
        )

    def change(self, name: str, seen: Kept, change: Change, value: bytes = b"") -> None:
        """Take a step of a rotation. See `SecretStore`."""
        after = changed(seen, change, value)
        found = self._read(name)
        if found is None or str(found[1]) != seen.revision:
            raise Conflict(f"the secret {name} has changed meanwhile", next_step="read it again, and decide again")
        now = datetime.now(UTC)
        known = {one.value: one for one in found[0].versions}

        def version(of: bytes | None) -> _Version | None:
            return None if of is None else known.get(of, _Version(of, now))

        entry = _Entry(known.get(after.current, found[0].current), version(after.next), version(after.previous))
        self._put(name, entry, found[1])

    def clear(self) -> None:
        """Remove every secret, with all that OpenBao knows of it. See `SecretStore`."""
        self._identity()
        answer = self._api.call("GET", f"{self._mount}/metadata/{self._folder}?list=true")
        if answer.status != HTTPStatus.NOT_FOUND:
            for name in self._api.decoded(answer, _Listed).data.keys:
                self._api.call("DELETE", self._path("metadata", name))
        self._mark.remove()

    def _path(self, kind: str, name: str) -> str:
        return f"{self._mount}/{kind}/{self._folder}/{name}"

    def _identity(self) -> str:
        """Which path of which engine this is; looked up once, and compared with what the cluster says of its server."""
        if not self._id:
            found = f"{self._api.mount_id()} {self._folder}"
            self._mark.require(found, self._shown)
            self._id = found
        return self._id

    def _read(self, name: str) -> tuple[_Entry, int] | None:
        """The entry and its version of OpenBao's, or None where it was never made."""
        self._identity()
        answer = self._api.call("GET", self._path("data", name))
        if answer.status == HTTPStatus.NOT_FOUND and not _knows(answer):
            return None
        found = self._api.decoded(answer, _Read).data
        about = found.metadata
        if about.deletion_time or about.destroyed:
            undelete = f"bao kv undelete -mount={self._mount} -versions={about.version} {self._folder}/{name}"
            raise InvalidInput(
                f"the secret {name} in {self._shown} was deleted",
                next_step="restore it from a backup; it is never made anew" if about.destroyed else undelete,
            )
        try:
            entry = msgspec.json.decode(found.data, type=_Entry)
        except NOT_JSON as error:
            raise self._damaged(name, "is not as Fleet writes it") from error
        if not all(version.value for version in entry.versions):
            raise self._damaged(name, "is empty")
        return entry, about.version

    def _damaged(self, name: str, why: str) -> InvalidInput:
        return InvalidInput(
            f"the secret {name} in {self._shown} {why}", next_step="restore it from a backup; it is never made anew"
        )

    def _put(self, name: str, entry: _Entry, before: int) -> None:
        self._api.call("POST", self._path("data", name), {"options": {"cas": before}, "data": entry})


def _knows(answer: Answer) -> bool:
    """Whether an answer of 404 is about an entry that was there."""
    try:
        msgspec.json.decode(answer.content, type=_Read)
    except NOT_JSON:
        return False
    return True
