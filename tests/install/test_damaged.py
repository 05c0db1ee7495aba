"""A secret that was edited by hand, or exchanged: it is named, nothing is made of it, and nothing is made anew."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleet.contract.errors import InvalidInput
from fleet.install.authority import authority_certificate
from fleet.install.secrets import PASSWORDS, ROUTE_PASSWORD, server_secrets
from fleet.install.tls import new_authority, new_key, new_server_certificate
from fleet.nats.keys import Role, new_seed
from fleet.secrets.draft import DraftSecretStore
from fleet.secrets.file import FileSecretStore
from fleet.secrets.store import Change, SecretStore

PLAIN = {*PASSWORDS, ROUTE_PASSWORD, "server_id"}
"""Any text is one."""


def made(store: SecretStore) -> object:
    return server_secrets(store, ["nats.example.org"], ["nats-0", "nats-1", "nats-2"], ["localhost"])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made(FileSecretStore(tmp_path / "secrets"))
    return tmp_path / "secrets"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def refused(folder: Path, name: str, value: bytes) -> None:
    """It is, also by who only looks, and what is kept stays as it is."""
    (folder / name).write_bytes(value)
    before = contents(folder)
    for store in (FileSecretStore(folder), DraftSecretStore(FileSecretStore(folder))):
        with pytest.raises(InvalidInput, match=f"the secret {name} is damaged: ") as error:
            made(store)
        assert "edited" not in str(error.value)
        assert "restore it from a backup" in str(error.value)
    assert contents(folder) == before


def test_whatever_is_no_secret_of_its_kind_is_named(folder: Path) -> None:
    names = sorted(contents(folder).keys() - PLAIN)
    assert {"ca_key", "ca_cert", "nats_xkey_seed", "web_tls_key", "nats_route_cert"} <= set(names)
    for name in names:
        whole = (folder / name).read_bytes()
        for value in (b"edited by hand", b"\xff\xfe", whole[: len(whole) // 2]):
            refused(folder, name, value)
        (folder / name).write_bytes(whole)
    made(FileSecretStore(folder))


@pytest.mark.parametrize("name", sorted(PASSWORDS))
def test_a_password_is_text(folder: Path, name: str) -> None:
    refused(folder, name, b"\xff\xfe")


def test_another_authority_that_was_pasted_in_is_not_taken(folder: Path) -> None:
    """No device would trust what it signs."""
    whole = (folder / "ca_cert").read_bytes()
    refused(folder, "ca_cert", new_authority(new_key(), "another"))
    key = new_key()
    refused(folder, "ca_cert", new_server_certificate(key, key, new_authority(key, "another"), ["localhost"]))
    (folder / "ca_cert").write_bytes(whole)
    (folder / "ca_key").write_bytes(new_key())
    with pytest.raises(InvalidInput, match="it is the certificate of another key than ca_key"):
        made(FileSecretStore(folder))


def test_the_next_authority_gets_its_certificate_and_no_other_is_taken_for_it(folder: Path) -> None:
    store = FileSecretStore(folder)
    for change in (Change.STAGE, Change.PROMOTE, Change.RETIRE):
        kept = store.versions("ca_key")
        assert kept
        store.change("ca_key", kept, change, new_key() if change is Change.STAGE else b"")
        made(store)
    kept = store.versions("ca_key")
    assert kept
    second = authority_certificate(store, kept.current)
    (name,) = (one for one in contents(folder) if one.startswith("ca_cert_") and (folder / one).read_bytes() == second)
    refused(folder, name, new_authority(new_key(), "another"))


def test_a_seed_of_another_kind(folder: Path) -> None:
    refused(folder, "nats_xkey_seed", new_seed(Role.ACCOUNT).encode())
    (folder / "nats_xkey_seed").write_bytes(new_seed(Role.CURVE).encode())
    refused(folder, "nats_issuer_seed", new_seed(Role.SERVER).encode())
