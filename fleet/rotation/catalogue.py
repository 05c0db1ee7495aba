"""Every secret of a server: what it is, how its versions are named, who has it in use, and whether it rotates."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta

import msgspec

from fleet.contract.buckets import APP_USER, CALLOUT_USER, CONTROL_USER, PUBLISHER_USER, SYSTEM_USER, WEB_USER
from fleet.contract.errors import NotFound
from fleet.contract.logs import LOG_READER_USER
from fleet.contract.versions import (
    AUTHORITY_TAG,
    ISSUER_TAG,
    ROUTE_TAG,
    ROUTES_SENT_TAG,
    TLS_TAG,
    USER_TAG,
    XKEY_TAG,
    digest_of,
    rotated_password,
    user_of,
)
from fleet.install.authority import AUTHORITY_KEY
from fleet.install.damaged import checked
from fleet.install.identity import OWNER_PASSWORD, PROVIDER_KEY, USER_PASSWORD, ZITADEL
from fleet.install.secrets import (
    ISSUER_SEED,
    PAGE_KEY,
    PASSWORDS,
    ROUTE_PASSWORD,
    TLS_KEY,
    XKEY_SEED,
    new_password,
)
from fleet.install.tls import RENEWED_BEFORE, new_key, public_digest
from fleet.nats.keys import Role, new_seed, public_key
from fleet.rotation.decide import Seen, Versions
from fleet.rotation.look import InUse, Standing
from fleet.secrets.store import Kept

GOOD_FOR = timedelta(days=365)
"""After which a secret is due, unless it is said otherwise; also the machine key of a device."""
_UNTOLD = "a key it does not tell"
_OTHER = "what it had before"
KeyId = Callable[[bytes], str]
"""Names a version without telling it."""
Parts = Callable[[InUse, Versions], tuple[Mapping[str, frozenset[str]], Mapping[str, str]]]
"""Which versions each part honours, and which one each uses."""


class Rotation(msgspec.Struct, frozen=True):
    """How a secret is renewed."""

    make: Callable[[], bytes]
    parts: Parts


class Secret(msgspec.Struct, frozen=True):
    """One secret of a server; without a `rotation`, `why_not` says why.

    It is due once it is older than `good_for`, and long before its certificate ends.
    """

    name: str
    what: str
    key_id: KeyId
    used_by: str
    rotation: Rotation | None = None
    why_not: str = ""
    good_for: timedelta = GOOD_FOR

    def versions(self, kept: Kept) -> Versions:
        """The key ids of what is kept.

        Raises:
            InvalidInput: a value is not what it should be.
        """
        return Versions(
            *("" if version is None else self._id(version) for version in (kept.current, kept.next, kept.previous))
        )

    def due(self, made: datetime | None, expires: datetime | None) -> datetime | None:
        """When it is to be renewed, as far as that is known: by its age, and by when its certificate ends."""
        aged = made and made + self.good_for
        ends = expires and expires - RENEWED_BEFORE
        return min((moment for moment in (aged, ends) if moment), default=None) if self.rotation else None

    def seen(self, kept: Kept, in_use: InUse) -> Seen:
        """What a decision is made on."""
        assert self.rotation
        versions = self.versions(kept)
        honoured, used = self.rotation.parts(in_use, versions)
        return Seen(versions, honoured, used, in_use.silent)

    def _id(self, value: bytes) -> str:
        with checked(self.name):
            return self.key_id(value)


def _public(value: bytes) -> str:
    return public_key(value.decode().strip())


def _signing_key(value: bytes) -> str:
    public_digest(value)
    return digest_of(value)


def _issuers(in_use: InUse, _: Versions) -> tuple[Mapping[str, frozenset[str]], Mapping[str, str]]:
    honoured = {name: frozenset(keys.issuers) for name, keys in in_use.callouts.items()}
    return honoured, _public_keys(in_use, ISSUER_TAG)


def _xkeys(in_use: InUse, _: Versions) -> tuple[Mapping[str, frozenset[str]], Mapping[str, str]]:
    honoured = {name: frozenset(keys.xkeys) for name, keys in in_use.callouts.items()}
    return honoured, _public_keys(in_use, XKEY_TAG)


def _tls_keys(in_use: InUse, _: Versions) -> tuple[Mapping[str, frozenset[str]], Mapping[str, str]]:
    """Whoever trusts the authority honours every key that it signs for."""
    return {}, _tagged(in_use, TLS_TAG)


def _page_keys(in_use: InUse, versions: Versions) -> tuple[Mapping[str, frozenset[str]], Mapping[str, str]]:
    """Somebody else who has the page's password may name any key, and must not hold it up."""
    if not in_use.has_page:
        return {}, {}
    shown = versions.current if versions.current in in_use.pages else min(in_use.pages, default=_UNTOLD)
    return {}, {"the web page": shown}


def _route_passwords(in_use: InUse, _: Versions) -> tuple[Mapping[str, frozenset[str]], Mapping[str, str]]:
    """A server lets others in by each password that it has, and comes in there by one. One alone needs none."""
    if len(in_use.servers) < 2:
        return {}, {}
    accepted = {name: _all_tagged(tags, ROUTE_TAG) for name, tags in in_use.servers.items()}
    return accepted, _tagged(in_use, ROUTES_SENT_TAG)


def _provider(in_use: InUse, versions: Versions) -> tuple[Mapping[str, frozenset[str]], Mapping[str, str]]:
    """Which version each part uses.

    No part accepts two versions. Whoever trusts the authority accepts any key, and a user of Postgres has one password.
    """
    standing = in_use.provider.items()
    return {}, {name: versions.current if how is Standing.CURRENT else _OTHER for name, how in standing}


def _authorities(in_use: InUse, versions: Versions) -> tuple[Mapping[str, frozenset[str]], Mapping[str, str]]:
    """Whoever speaks to NATS must trust the authority that its certificate is signed by: our own parts, and devices."""

    def ours(certificates: Iterable[str]) -> frozenset[str]:
        return frozenset(
            in_use.authorities.get(certificate, certificate)
            for certificate in certificates
            if certificate not in in_use.foreign
        )

    trusting = {**in_use.trusting, **{name: keys.trusts for name, keys in in_use.callouts.items()}}
    signed = _tagged(in_use, AUTHORITY_TAG)
    honoured = {name: ours(certificates) for name, certificates in trusting.items()}
    if ZITADEL in in_use.provider:  # it trusts the authority in Postgres
        outdated = in_use.provider[ZITADEL] is Standing.OUTDATED
        honoured[ZITADEL] = frozenset({_OTHER}) if outdated else versions.ids
    used = {name: in_use.authorities.get(certificate, certificate) for name, certificate in signed.items()}
    return honoured, {**used, **_provider(in_use, versions)[1]}


def _public_keys(in_use: InUse, tag: str) -> Mapping[str, str]:
    return {name: key.upper() if key != _UNTOLD else key for name, key in _tagged(in_use, tag).items()}


def _tagged(in_use: InUse, tag: str) -> Mapping[str, str]:
    """The key that each server of NATS expects; one without a tag is from before there were any."""

    def key(tags: frozenset[str]) -> str:
        return next((one.removeprefix(tag) for one in tags if one.startswith(tag)), _UNTOLD)

    return {name: key(tags) for name, tags in in_use.servers.items()}


def _all_tagged(tags: frozenset[str], tag: str) -> frozenset[str]:
    return frozenset(one.removeprefix(tag) for one in tags if one.startswith(tag))


def _users_of(role: str) -> Parts:
    """Our own parts must have come in with the current password. Whoever else has the old one is cut off with it."""

    def parts(in_use: InUse, versions: Versions) -> tuple[Mapping[str, frozenset[str]], Mapping[str, str]]:
        def ours(user: str) -> bool:
            return user == role or user.rpartition("-")[0] == role

        honoured = {
            name: frozenset(user for tag in tags if ours(user := tag.removeprefix(USER_TAG)) and tag != user)
            for name, tags in in_use.servers.items()
        }
        wanted = {CALLOUT_USER: len(in_use.callouts), PUBLISHER_USER: 0, WEB_USER: 0, LOG_READER_USER: 0}.get(role, 1)
        current = [user for user in in_use.users.values() if user == versions.current]
        former = [user for user in in_use.users.values() if ours(user) and user != versions.current]
        came = [*current, *former, *(["no password at all"] * wanted)][:wanted]
        return honoured, {f"{role} {number}": user for number, user in enumerate(came, 1)}

    return parts


def _seed(name: str, what: str, used_by: str, role: Role, parts: Parts) -> Secret:
    return Secret(name, what, _public, used_by, Rotation(lambda: new_seed(role).encode(), parts))


def _password(name: str, role: str) -> Secret:
    def user(value: bytes) -> str:
        return user_of(role, value.decode())

    made = Rotation(lambda: rotated_password().encode(), _users_of(role))
    return Secret(name, f"password of {role} in NATS", user, _USED_BY[role], made)


def _of_postgres(name: str, what: str) -> Secret:
    return Secret(name, what, digest_of, "postgres, zitadel", Rotation(lambda: new_password().encode(), _provider))


_USED_BY = {
    APP_USER: "nats, operator",
    CONTROL_USER: "nats, operator",
    CALLOUT_USER: "nats, callout",
    SYSTEM_USER: "nats, operator",
    PUBLISHER_USER: "nats, who publishes agents",
    WEB_USER: "nats, operator",
    LOG_READER_USER: "nats, who reads logs",
}
_NEVER = "it cannot be rotated: Zitadel has no way to encrypt anew what it keeps"
_BY_HAND = "it cannot be rotated: it is the first password, and its owner changes it in Zitadel's console"

SECRETS = (
    _seed(ISSUER_SEED, "signs what the callout decides", "callout, nats (public half)", Role.ACCOUNT, _issuers),
    _seed(XKEY_SEED, "opens the questions of NATS", "callout, nats (public half)", Role.CURVE, _xkeys),
    *(_password(name, role) for name, role in PASSWORDS.items()),
    Secret(
        ROUTE_PASSWORD,
        "password between servers of NATS",
        digest_of,
        "nats",
        Rotation(lambda: new_password().encode(), _route_passwords),
    ),
    Secret(TLS_KEY, "key of NATS' certificate", _signing_key, "nats", Rotation(new_key, _tls_keys)),
    Secret(PAGE_KEY, "key of the web page's certificate", _signing_key, "operator", Rotation(new_key, _page_keys)),
    Secret(
        AUTHORITY_KEY,
        "the server's certificate authority",
        _signing_key,
        "nats (its certificate), everybody who connects",
        Rotation(new_key, _authorities),
        good_for=timedelta(days=9 * 365),  # of the ten years of its certificate: devices that are away need time
    ),
    _of_postgres(OWNER_PASSWORD, "password of the bundled Postgres' owner"),
    _of_postgres(USER_PASSWORD, "password of Zitadel in its Postgres"),
    Secret("zitadel_master_key", "encrypts what the bundled Zitadel keeps", digest_of, "zitadel", why_not=_NEVER),
    Secret("zitadel_admin_pass", "first password of Zitadel's admin", digest_of, "a person", why_not=_BY_HAND),
    Secret(
        PROVIDER_KEY, "key of Zitadel's certificate", _signing_key, "zitadel, postgres", Rotation(new_key, _provider)
    ),
)
"""In the order in which they are listed."""


def find(name: str) -> Secret:
    """The secret of that name.

    Raises:
        NotFound: there is none.
    """
    for secret in SECRETS:
        if secret.name == name:
            return secret
    raise NotFound(f"there is no secret {name!r}", next_step="see `fleet secrets list`")
