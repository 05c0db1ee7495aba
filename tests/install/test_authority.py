"""The server's certificates while its authority is rotated: trusted first, then signed by, then trusted no more."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path

import pytest

from fleet.contract.certificates import certificates
from fleet.install import tls
from fleet.install.authority import AUTHORITY_KEY, is_authority_of
from fleet.install.secrets import ServerSecrets, server_secrets
from fleet.install.tls import is_signed_by, new_authority, new_key
from fleet.secrets.file import FileSecretStore
from fleet.secrets.store import Change

HOSTS = ["nats.example.org"]


@pytest.fixture
def store(tmp_path: Path) -> FileSecretStore:
    return FileSecretStore(tmp_path)


def step(store: FileSecretStore, change: Change, value: bytes = b"") -> ServerSecrets:
    kept = store.versions(AUTHORITY_KEY)
    assert kept
    store.change(AUTHORITY_KEY, kept, change, value)
    after = server_secrets(store, HOSTS, HOSTS)
    assert server_secrets(store, HOSTS, HOSTS) == after, "another look makes nothing anew"
    return after


def test_trust_then_sign_then_distrust(store: FileSecretStore) -> None:
    before = server_secrets(store, HOSTS, HOSTS)
    old = before.authority
    assert before.bundle == old

    staged = step(store, Change.STAGE, new_key())
    assert staged.authority == old
    assert (staged.nats_certificate, staged.routes) == (before.nats_certificate, before.routes)
    (new,) = set(certificates(staged.bundle)) - {old}

    promoted = step(store, Change.PROMOTE)
    assert (promoted.authority, promoted.bundle) == (new, staged.bundle)
    assert promoted.routes
    for certificate in (promoted.nats_certificate, promoted.routes.certificate):
        assert is_signed_by(certificate, new.encode())
        assert not is_signed_by(certificate, old.encode())

    retired = step(store, Change.RETIRE)
    assert (retired.authority, retired.bundle) == (new, new)
    assert retired.nats_certificate == promoted.nats_certificate
    assert is_authority_of(store, old)
    assert is_authority_of(store, new)
    assert not is_authority_of(store, new_authority(new_key(), "fleet").decode())


def test_the_way_back_shows_the_first_certificate_again(store: FileSecretStore) -> None:
    before = server_secrets(store, HOSTS)
    step(store, Change.STAGE, new_key())
    step(store, Change.PROMOTE)
    step(store, Change.DEMOTE)
    step(store, Change.DROP)
    assert server_secrets(store, HOSTS) == before


@pytest.mark.parametrize(("days", "renewed"), [(700, False), (740, True), (2000, True)])
def test_a_certificate_that_ends_soon_is_made_anew(
    store: FileSecretStore, monkeypatch: pytest.MonkeyPatch, days: int, renewed: bool
) -> None:
    """By an install that is repeated; keys stay, and a second repeat changes nothing."""
    before = server_secrets(store, HOSTS, HOSTS, HOSTS)

    class Later(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:
            return datetime.now(tz) + timedelta(days=days)

    monkeypatch.setattr(tls, "datetime", Later)
    after = server_secrets(store, HOSTS, HOSTS, HOSTS)
    assert server_secrets(store, HOSTS, HOSTS, HOSTS) == after
    assert before.web
    assert after.web
    assert before.routes
    assert after.routes
    pairs = (
        (before.nats_certificate, after.nats_certificate),
        (before.web.certificate, after.web.certificate),
        (before.routes.certificate, after.routes.certificate),
    )
    for first, second in pairs:
        assert (first != second) == renewed
        assert tls.ends(second) > Later.now(UTC) + timedelta(days=90)
    assert (before.web.key, before.authority) == (after.web.key, after.authority)
