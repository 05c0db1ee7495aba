"""The secrets of an install, each made once by the place's store."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

import msgspec

from fleet.contract.buckets import APP_USER, CALLOUT_USER, CONTROL_USER, PUBLISHER_USER, SYSTEM_USER, WEB_USER
from fleet.contract.logs import LOG_READER_USER
from fleet.install.authority import AUTHORITY_KEY, Authority
from fleet.install.damaged import checked
from fleet.install.nats import NatsPasswords
from fleet.install.tls import ends
from fleet.nats.keys import Role, decode_public, new_seed, public_key
from fleet.secrets.store import SecretStore

TLS_KEY, PAGE_KEY = "nats_tls_key", "web_tls_key"
ISSUER_SEED, XKEY_SEED = "nats_issuer_seed", "nats_xkey_seed"
PUBLISHER_PASSWORD = "nats_publisher_pass"  # noqa: S105 - its name
"""Kept by the server's place, and read by who may publish agents."""
LOG_READER_PASSWORD = "nats_log_reader_pass"  # noqa: S105 - its name
"""Written into a Secret of its own, too, for those who may read logs and nothing else."""
ROUTE_PASSWORD = "nats_route_pass"  # noqa: S105 - its name
APP_PASSWORD, CONTROL_PASSWORD, SYSTEM_PASSWORD = "nats_app_pass", "nats_control_pass", "nats_system_pass"
PASSWORDS = {
    APP_PASSWORD: APP_USER,
    CONTROL_PASSWORD: CONTROL_USER,
    "nats_auth_pass": CALLOUT_USER,
    SYSTEM_PASSWORD: SYSTEM_USER,
    PUBLISHER_PASSWORD: PUBLISHER_USER,
    "nats_web_pass": WEB_USER,
    LOG_READER_PASSWORD: LOG_READER_USER,
}
"""The names of the passwords, and the NATS user of each."""
_PASSWORD_BYTES = 32
_ID_BYTES = 8


class RouteSecrets(msgspec.Struct, frozen=True):
    """What replicas of NATS show each other: a password and a certificate (PEM, for the key of NATS).

    They come in elsewhere by `password`, and let others in by each that is `accepted`: while it is rotated, those are
    two.
    """

    password: str
    certificate: bytes
    accepted: frozenset[str]

    def __repr__(self) -> str:
        return "RouteSecrets(...)"


class WebSecrets(msgspec.Struct, frozen=True):
    """What the web page presents to browsers: a certificate and its key (PEM; the key is a secret)."""

    key: bytes
    certificate: bytes

    def __repr__(self) -> str:
        return "WebSecrets(...)"


class ServerSecrets(msgspec.Struct, frozen=True):
    """All that an install generates. Certificates are PEM; seeds and keys are secrets.

    `authority` is the certificate that the server's is signed by, `bundle` all that are to be trusted: while the
    authority is rotated, those are two. While a seed is rotated, two are honoured, in an order that does not tell
    which is the current one. `made` says when the current version of each was made, in Unix seconds, or 0.
    `server_id` is none: it is kept here because it, too, is made once.
    """

    passwords: NatsPasswords
    issuer_seed: str
    xkey_seed: str
    honoured_issuer_seeds: tuple[str, ...]
    honoured_xkey_seeds: tuple[str, ...]
    authority: str
    bundle: str
    nats_key: bytes
    nats_certificate: bytes
    server_id: str
    routes: RouteSecrets | None = None
    web: WebSecrets | None = None
    made: Mapping[str, int] = {}

    def __repr__(self) -> str:
        return "ServerSecrets(...)"

    @property
    def issuer(self) -> str:
        """The public key whose decisions nats-server trusts."""
        return public_key(self.issuer_seed)

    @property
    def xkey(self) -> str:
        """The public key for which nats-server seals its requests."""
        return public_key(self.xkey_seed)

    @property
    def ending(self) -> dict[str, datetime]:
        """When the certificates end, by the secret that they are for: of several, the first one's end."""
        shown = {TLS_KEY: [self.nats_certificate], AUTHORITY_KEY: [self.authority.encode()]}
        if self.routes:
            shown[TLS_KEY].append(self.routes.certificate)
        if self.web:
            shown[PAGE_KEY] = [self.web.certificate]
        return {name: min(map(ends, certificates)) for name, certificates in shown.items()}


def server_secrets(
    store: SecretStore, nats_hosts: Sequence[str], nats_peers: Sequence[str] = (), web_hosts: Sequence[str] = ()
) -> ServerSecrets:
    """Get what the store has, and make what it lacks.

    Args:
        store: Where they are kept.
        nats_hosts: The names clients reach NATS by.
        nats_peers: The names its replicas reach each other by; empty where there is only one.
        web_hosts: The names browsers reach the web page by; empty where there is none.
    """
    authority = Authority.of(store)
    key = authority.key(TLS_KEY)
    routes = None
    if nats_peers:
        routes = RouteSecrets(
            password(store, ROUTE_PASSWORD),
            authority.certificate("nats_route_cert", key, nats_peers, client=True),
            frozenset(_versions(store, ROUTE_PASSWORD)),
        )
    web = None
    if web_hosts:
        web_key = authority.key(PAGE_KEY)
        web = WebSecrets(web_key, authority.certificate("web_tls_cert", web_key, web_hosts))
    issuer_seed = _seed(store, ISSUER_SEED, Role.ACCOUNT)
    xkey_seed = _seed(store, XKEY_SEED, Role.CURVE)
    return ServerSecrets(
        passwords=_passwords(store),
        issuer_seed=issuer_seed,
        xkey_seed=xkey_seed,
        honoured_issuer_seeds=_versions(store, ISSUER_SEED),
        honoured_xkey_seeds=_versions(store, XKEY_SEED),
        authority=authority.text.decode(),
        bundle=authority.bundle,
        nats_key=key,
        nats_certificate=authority.certificate("nats_tls_cert", key, nats_hosts),
        server_id=text(store, "server_id", lambda: secrets.token_hex(_ID_BYTES)),
        routes=routes,
        web=web,
        made=_made(store, bool(nats_peers), bool(web_hosts)),
    )


def _made(store: SecretStore, routes: bool, web: bool) -> dict[str, int]:
    names = [AUTHORITY_KEY, ISSUER_SEED, XKEY_SEED, TLS_KEY, *PASSWORDS]
    names += [name for name, wanted in ((ROUTE_PASSWORD, routes), (PAGE_KEY, web)) if wanted]
    return {name: made_at(store, name) for name in sorted(names)}


def made_at(store: SecretStore, name: str) -> int:
    """When the current version was made, in Unix seconds; 0 where the store does not know."""
    kept = store.versions(name)
    return int(kept.made.timestamp()) if kept and kept.made else 0


def _seed(store: SecretStore, name: str, role: Role) -> str:
    kept = store.get_or_create(name, lambda: new_seed(role).encode())
    for version in _versions(store, name):
        with checked(name):
            decode_public(public_key(version), role)
    return kept.decode()


def _passwords(store: SecretStore) -> NatsPasswords:
    current = {role: password(store, name) for name, role in PASSWORDS.items()}
    others = {
        role: tuple(version for version in _versions(store, name) if version != current[role])
        for name, role in PASSWORDS.items()
    }
    return NatsPasswords(
        app=current[APP_USER],
        control=current[CONTROL_USER],
        callout=current[CALLOUT_USER],
        system=current[SYSTEM_USER],
        publisher=current[PUBLISHER_USER],
        web=current[WEB_USER],
        log_reader=current[LOG_READER_USER],
        others={role: kept for role, kept in others.items() if kept},
    )


def _versions(store: SecretStore, name: str) -> tuple[str, ...]:
    kept = store.versions(name)
    with checked(name):
        return tuple(value.decode() for value in kept.values) if kept else ()


def password(store: SecretStore, name: str) -> str:
    """A password, a secret."""
    return text(store, name, new_password)


def text(store: SecretStore, name: str, make: Callable[[], str]) -> str:
    """What a store has in its place, or what is made for it.

    Raises:
        InvalidInput: it was changed by hand to something that is no text.
    """
    kept = store.get_or_create(name, lambda: make().encode())
    with checked(name):
        return kept.decode()


def new_password() -> str:
    """A new password; a secret."""
    return secrets.token_urlsafe(_PASSWORD_BYTES)
