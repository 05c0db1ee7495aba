"""The server's own certificate authority, made once, and what it signs."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import msgspec

from fleet.contract.certificates import joined
from fleet.install.damaged import checked, damaged
from fleet.install.tls import (
    covers,
    digest_of_certified,
    ends,
    is_for,
    is_signed_by,
    lasts,
    new_authority,
    new_key,
    new_server_certificate,
    public_digest,
)
from fleet.secrets.store import SecretStore

AUTHORITY_KEY, AUTHORITY_CERTIFICATE = "ca_key", "ca_cert"


class Authority(msgspec.Struct, frozen=True):
    """The server's own certificate authority: its certificate (PEM), its key, and where what it signs is kept.

    `bundle` are the certificates that are to be trusted: while the authority is rotated, those of both versions.
    """

    text: bytes
    signing_key: bytes
    store: SecretStore
    bundle: str

    def __repr__(self) -> str:
        return "Authority(...)"

    @classmethod
    def of(cls, store: SecretStore) -> Authority:
        """The one that the store has, or a new one.

        Raises:
            InvalidInput: its key or its certificate is none, or the two do not belong together.
        """
        key = _key(store, AUTHORITY_KEY)
        _require_own(store, key)
        kept = store.versions(AUTHORITY_KEY)
        bundle = joined(authority_certificate(store, value).decode() for value in (kept.values if kept else (key,)))
        return cls(authority_certificate(store, key), key, store, bundle)

    def key(self, name: str) -> bytes:
        """A server's key, a secret.

        Raises:
            InvalidInput: what is kept is none.
        """
        return _key(self.store, name)

    def certificate(self, name: str, key: bytes, hosts: Sequence[str], *, client: bool = False) -> bytes:
        """A server's certificate for the hosts.

        Where the kept one lacks a host, is for another key, by another authority, or ends within 90 days, another
        one is kept beside it.
        """

        def sign() -> bytes:
            return new_server_certificate(key, self.signing_key, self.text, hosts, client=client)

        about = (public_digest(key), *hosts)
        # The second name is that of releases whose authority was always the same.
        for kept_as in (name, f"{name}_{_digest(*about)}"):
            kept = self.store.get_or_create(kept_as, sign)
            with checked(kept_as):
                if covers(kept, hosts) and is_for(kept, key) and is_signed_by(kept, self.text) and lasts(kept):
                    return kept
        after = ""
        # Each is named after the end of the one before it, so two who install at once make the same one.
        while True:
            kept_as = f"{name}_{_digest(*about, public_digest(self.signing_key), *([after] if after else []))}"
            kept = self.store.get_or_create(kept_as, sign)
            with checked(kept_as):
                if lasts(kept):
                    return kept
                after = ends(kept).isoformat()


def authority_certificate(store: SecretStore, key: bytes) -> bytes:
    """The certificate (PEM) of an authority's key, made once for each key.

    Raises:
        InvalidInput: the key or a certificate that is kept is none.
    """
    with checked(AUTHORITY_KEY):
        digest = public_digest(key)[:16]
    first = store.get_or_create(AUTHORITY_CERTIFICATE, lambda: new_authority(key, "fleet"))
    with checked(AUTHORITY_CERTIFICATE):
        if is_for(first, key):
            return first
    name = f"{AUTHORITY_CERTIFICATE}_{digest}"
    made = store.get_or_create(name, lambda: new_authority(key, f"fleet {digest}"))
    with checked(name):
        if not is_for(made, key):
            raise damaged(name, "it is the certificate of another key")
    return made


def _require_own(store: SecretStore, key: bytes) -> None:
    """See that the authority's certificate was not exchanged: another one is trusted by no device.

    Each version of the key has had its certificate before it was used, so none is made for the current one here.

    Raises:
        InvalidInput: it was, or the key was.
    """
    first = store.get(AUTHORITY_CERTIFICATE)
    if first is None or store.get(f"{AUTHORITY_CERTIFICATE}_{public_digest(key)[:16]}") is not None:
        return
    with checked(AUTHORITY_CERTIFICATE):
        if not is_for(first, key):
            raise damaged(AUTHORITY_CERTIFICATE, f"it is the certificate of another key than {AUTHORITY_KEY}")


def _key(store: SecretStore, name: str) -> bytes:
    kept = store.get_or_create(name, new_key)
    with checked(name):
        public_digest(kept)
    return kept


def is_authority_of(store: SecretStore, certificate: str) -> bool:
    """Whether the certificate (PEM) is of an authority that this server has or had."""
    name = f"{AUTHORITY_CERTIFICATE}_{digest_of_certified(certificate.encode())[:16]}"
    ours = (store.get(AUTHORITY_CERTIFICATE), store.get(name))
    return certificate.strip().encode() in {authority.strip() for authority in ours if authority is not None}


def _digest(*about: str) -> str:
    return hashlib.sha256("\n".join(about).encode()).hexdigest()[:16]
