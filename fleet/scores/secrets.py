"""The secrets of an install, each made once by the place's store."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence

import msgspec

from fleet.nkey import Role, new_seed, public_key
from fleet.scores.nats import NatsPasswords
from fleet.scores.tls import covers, new_authority, new_key, new_server_certificate
from fleet.secrets.store import SecretStore

PUBLISHER_PASSWORD = "nats_publisher_pass"  # noqa: S105 - its name
"""Kept by the server's place, and read by who may publish agents."""
_PASSWORD_BYTES = 32
_ID_BYTES = 8


class RouteSecrets(msgspec.Struct, frozen=True):
    """What replicas of NATS show each other: a password and a certificate (PEM, for the key of NATS)."""

    password: str
    certificate: bytes

    def __repr__(self) -> str:
        return "RouteSecrets(...)"


class ServerSecrets(msgspec.Struct, frozen=True):
    """All that an install generates. `authority` and the certificate are PEM; seeds and keys are secrets.

    `server_id` is none: it is kept here because it, too, is made once.
    """

    passwords: NatsPasswords
    issuer_seed: str
    xkey_seed: str
    authority: str
    nats_key: bytes
    nats_certificate: bytes
    server_id: str
    routes: RouteSecrets | None = None

    def __repr__(self) -> str:
        return "ServerSecrets(...)"

    @property
    def issuer(self) -> str:
        """The public key that nats-server trusts decisions of."""
        return public_key(self.issuer_seed)

    @property
    def xkey(self) -> str:
        """The public key that nats-server seals its questions for."""
        return public_key(self.xkey_seed)


class Authority(msgspec.Struct, frozen=True):
    """The server's own certificate authority: its certificate (PEM), its key, and where what it signs is kept."""

    text: bytes
    signing_key: bytes
    store: SecretStore

    def __repr__(self) -> str:
        return "Authority(...)"

    @classmethod
    def of(cls, store: SecretStore) -> Authority:
        """The one that the store has, or a new one."""
        key = store.get_or_create("ca_key", new_key)
        return cls(store.get_or_create("ca_cert", lambda: new_authority(key, "fleet")), key, store)

    def key(self, name: str) -> bytes:
        """A server's key, a secret."""
        return self.store.get_or_create(name, new_key)

    def certificate(self, name: str, key: bytes, hosts: Sequence[str], *, client: bool = False) -> bytes:
        """A server's certificate for the hosts.

        Where the kept one lacks a host, another one is kept beside it, by the same authority and for the same key: what
        devices trust stays the same.
        """

        def sign() -> bytes:
            return new_server_certificate(key, self.signing_key, self.text, hosts, client=client)

        kept = self.store.get_or_create(name, sign)
        if covers(kept, hosts):
            return kept
        digest = hashlib.sha256("\n".join(hosts).encode()).hexdigest()[:16]
        return self.store.get_or_create(f"{name}_{digest}", sign)


def server_secrets(store: SecretStore, nats_hosts: Sequence[str], nats_peers: Sequence[str] = ()) -> ServerSecrets:
    """Get what the store has, and make what it lacks.

    Args:
        store: Where they are kept.
        nats_hosts: The names clients reach NATS by.
        nats_peers: The names its replicas reach each other by; empty where there is only one.
    """
    authority = Authority.of(store)
    key = authority.key("nats_tls_key")
    routes = None
    if nats_peers:
        routes = RouteSecrets(
            password(store, "nats_route_pass"), authority.certificate("nats_route_cert", key, nats_peers, client=True)
        )
    return ServerSecrets(
        passwords=NatsPasswords(
            app=password(store, "nats_app_pass"),
            control=password(store, "nats_control_pass"),
            callout=password(store, "nats_auth_pass"),
            system=password(store, "nats_system_pass"),
            publisher=password(store, PUBLISHER_PASSWORD),
        ),
        issuer_seed=store.get_or_create("nats_issuer_seed", lambda: new_seed(Role.ACCOUNT).encode()).decode(),
        xkey_seed=store.get_or_create("nats_xkey_seed", lambda: new_seed(Role.CURVE).encode()).decode(),
        authority=authority.text.decode(),
        nats_key=key,
        nats_certificate=authority.certificate("nats_tls_cert", key, nats_hosts),
        server_id=store.get_or_create("server_id", lambda: secrets.token_hex(_ID_BYTES).encode()).decode(),
        routes=routes,
    )


def password(store: SecretStore, name: str) -> str:
    """A password, a secret."""
    return store.get_or_create(name, lambda: secrets.token_urlsafe(_PASSWORD_BYTES).encode()).decode()
