"""A real OpenBao that is sealed, away, or refuses us; what it keeps, and what it no longer does."""

from __future__ import annotations

import base64
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fleet.contract.errors import InvalidInput, NotFound, NotPermitted, Unreachable
from fleet.secrets import openbao_api
from fleet.secrets.store import Change, Kept, SecretStore
from tests.secrets.conftest import OpenBaoStore
from tests.support.kube import Kube
from tests.support.openbao import POLICY, Bao, secret_file
from tests.support.tls import Tls, make_tls


def never() -> bytes:
    raise AssertionError("the secret was made anew")


@pytest.fixture
def sealed(bao: Bao) -> Iterator[None]:
    bao.seal()
    yield
    bao.unseal()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openbao_api, "_OUTAGE", 0.1)


def kept(store: SecretStore, name: str = "a") -> Kept:
    found = store.versions(name)
    assert found
    return found


def test_sealed_is_said_at_once_and_nothing_is_made(openbao: OpenBaoStore, bao: Bao) -> None:
    openbao().get_or_create("a", lambda: b"value")
    bao.seal()
    try:
        with pytest.raises(Unreachable, match=r"OpenBao at .* is sealed.*\n.*bao operator unseal"):
            openbao().get_or_create("a", never)
    finally:
        bao.unseal()
    assert openbao().get_or_create("a", never) == b"value"


@pytest.mark.usefixtures("sealed")
def test_sealed_is_told_of_a_login_too(openbao: OpenBaoStore, tmp_path: Path) -> None:
    token = secret_file(tmp_path / "jwt", "eyJ.e30.x")
    login = {"role": "fleet", "tokenFile": str(token)}
    with pytest.raises(Unreachable, match="is sealed"):
        openbao(tokenFile=None, kubernetes=login).get("a")


@pytest.mark.usefixtures("impatient")
def test_away(openbao: OpenBaoStore) -> None:
    with pytest.raises(Unreachable, match=r"OpenBao at https://127.0.0.1:1 does not answer.*\n.*does it run"):
        openbao(url="https://127.0.0.1:1").get("a")


def test_a_token_that_has_expired_or_was_never_one(openbao: OpenBaoStore, tmp_path: Path) -> None:
    secret_file(tmp_path / "old", "s.longexpired")
    with pytest.raises(NotPermitted, match=r"does not know the token: it has expired.*\n.*log in again"):
        openbao(tokenFile="old").get("a")


def test_a_token_that_is_renewed_in_its_file_is_taken_up(
    openbao: OpenBaoStore, bao: Bao, path: str, tmp_path: Path
) -> None:
    first = bao.token_for(POLICY.format(mount="secret", path=path))
    file = secret_file(tmp_path / "mine", first)
    store = openbao(tokenFile="mine")
    store.get_or_create("a", lambda: b"value")
    bao.call("POST", "auth/token/revoke", {"token": first})
    file.write_text(bao.token_for(POLICY.format(mount="secret", path=path)))
    assert store.get("a") == b"value"


def test_the_policy_of_the_documents_is_enough(openbao: OpenBaoStore, bao: Bao, path: str, tmp_path: Path) -> None:
    text = Path("docs/operations.md").read_text()
    asked = POLICY.format(mount="secret", path="fleet/production").strip()
    assert all(line in text for line in asked.splitlines()), "docs/operations.md has another policy"
    secret_file(tmp_path / "mine", bao.token_for(POLICY.format(mount="secret", path=path)))
    store = openbao(tokenFile="mine")
    store.get_or_create("a", lambda: b"old")
    store.change("a", kept(store), Change.STAGE, b"new")
    store.clear()
    assert store.get("a") is None


def test_who_may_only_read_is_told_what_is_missing(openbao: OpenBaoStore, bao: Bao, path: str, tmp_path: Path) -> None:
    openbao().get_or_create("a", lambda: b"value")
    rights = f'path "secret/data/{path}/*" {{ capabilities = ["read"] }}'
    secret_file(tmp_path / "mine", bao.token_for(rights))
    store = openbao(tokenFile="mine")
    assert store.get("a") == b"value"
    with pytest.raises(NotPermitted, match=r"does not allow our token POST secret/metadata/.*/b.*\n.*the policy of"):
        store.get_or_create("b", lambda: b"other")
    seen = kept(store)
    with pytest.raises(NotPermitted, match="does not allow our token POST secret/data"):
        store.change("a", seen, Change.STAGE, b"new")
    assert kept(openbao()) == seen


@pytest.mark.parametrize("policy", ["", 'path "secret/data/elsewhere/*" { capabilities = ["read"] }'])
def test_who_may_read_nothing_of_it(openbao: OpenBaoStore, bao: Bao, tmp_path: Path, policy: str) -> None:
    secret_file(tmp_path / "mine", bao.token_for(policy or 'path "none" { capabilities = ["deny"] }'))
    with pytest.raises(NotPermitted, match="no right to anything in it" if not policy else "does not allow our token"):
        openbao(tokenFile="mine").get("a")


def test_a_mount_that_is_none(openbao: OpenBaoStore) -> None:
    with pytest.raises(NotPermitted, match=r"has no mount 'nowhere'.*\n.*bao secrets enable -path=nowhere kv-v2"):
        openbao(mount="nowhere").get("a")


def test_a_mount_of_version_1_or_of_another_kind(openbao: OpenBaoStore, bao: Bao) -> None:
    """Of version 1 everything would seem to work, and the comparison would be passed over."""
    first, transit = bao.fresh(), bao.fresh()
    bao.mount(first, version=1)
    bao.call("POST", f"sys/mounts/{transit}", {"type": "transit"})
    with pytest.raises(InvalidInput, match=r"is a key-value engine of version 1.*\n.*bao kv enable-versioning"):
        openbao(mount=first).get_or_create("a", never)
    with pytest.raises(InvalidInput, match="is of type transit"):
        openbao(mount=transit).get("a")


def test_a_certificate_that_is_not_trusted(openbao: OpenBaoStore, tmp_path: Path) -> None:
    other: Tls = make_tls(tmp_path)
    (tmp_path / "other.pem").write_text(other.ca)
    with pytest.raises(InvalidInput, match=r"certificate of OpenBao at .* is not trusted.*\n.*caFile"):
        openbao(caFile="other.pem").get("a")
    with pytest.raises(InvalidInput, match="is not trusted"):
        openbao(caFile=None).get("a")


def test_something_that_is_no_openbao(openbao: OpenBaoStore, kube: Kube, tmp_path: Path) -> None:
    (tmp_path / "kube.pem").write_bytes(kube.ca.read_bytes())
    with pytest.raises((InvalidInput, NotPermitted)) as refused:
        openbao(url=kube.url, caFile="kube.pem").get("a")
    assert "no words of OpenBao's" in str(refused.value) or "does not know the token" in str(refused.value)


def test_a_retired_version_is_nowhere_any_more(openbao: OpenBaoStore, bao: Bao, namespace: str, path: str) -> None:
    store = openbao()
    store.get_or_create("a", lambda: b"old")
    for change in (Change.STAGE, Change.PROMOTE, Change.RETIRE):
        store.change("a", kept(store), change, b"new" if change is Change.STAGE else b"")
    assert kept(store).values == (b"new",)
    versions = bao.call("GET", f"secret/metadata/{path}/{namespace}/a")["data"]["versions"]
    assert list(versions) == ["4"]


def test_nobody_writes_without_naming_what_is_there(openbao: OpenBaoStore, bao: Bao, namespace: str, path: str) -> None:
    openbao().get_or_create("a", lambda: b"value")
    with pytest.raises(AssertionError, match="check-and-set parameter required"):
        bao.call("POST", f"secret/data/{path}/{namespace}/a", {"data": {"current": "by hand"}})


def damage(bao: Bao, entry: str, data: object) -> None:
    about = bao.call("GET", f"secret/metadata/{entry}")["data"]["current_version"]
    bao.call("POST", f"secret/data/{entry}", {"options": {"cas": about}, "data": data})


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"value": "by hand"}, "is not as Fleet writes it"),
        ({"current": {"value": "***", "made": "2026-01-01T00:00:00Z"}}, "is not as Fleet writes it"),
        ({"current": {"value": "", "made": "2026-01-01T00:00:00Z"}}, "is empty"),
    ],
)
def test_a_damaged_entry_is_never_replaced(
    openbao: OpenBaoStore, bao: Bao, namespace: str, path: str, data: object, said: str
) -> None:
    openbao().get_or_create("a", lambda: b"value")
    damage(bao, f"{path}/{namespace}/a", data)
    with pytest.raises(InvalidInput, match=rf"the secret a in .* {said}\n.*never made anew"):
        openbao().get_or_create("a", never)


def test_a_deleted_entry_is_never_replaced(openbao: OpenBaoStore, bao: Bao, namespace: str, path: str) -> None:
    openbao().get_or_create("a", lambda: b"value")
    entry = f"{path}/{namespace}/a"
    bao.call("DELETE", f"secret/data/{entry}")
    with pytest.raises(InvalidInput, match=rf"was deleted\n.*bao kv undelete -mount=secret -versions=1 {entry}"):
        openbao().get_or_create("a", never)
    bao.call("POST", f"secret/undelete/{entry}", {"versions": [1]})
    assert openbao().get("a") == b"value"
    bao.call("PUT", f"secret/destroy/{entry}", {"versions": [1]})
    with pytest.raises(InvalidInput, match=r"was deleted\n.*from a backup"):
        openbao().get_or_create("a", never)


def test_nothing_of_it_is_logged(openbao: OpenBaoStore, bao: Bao, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    store = openbao()
    store.get_or_create("a", lambda: b"a-secret-value")
    assert caplog.messages, "nothing was looked at"
    for secret in (bao.token, "a-secret-value", base64.b64encode(b"a-secret-value").decode()):
        assert secret not in caplog.text
        assert secret not in repr(kept(store))


@pytest.fixture
def account(bao: Bao, kube: Kube, namespace: str, path: str, tmp_path: Path) -> Callable[..., dict[str, str]]:
    """Lets ServiceAccounts of the real API server log in; makes one, and says how it does."""
    method = bao.accept_accounts(kube, namespace, "job", POLICY.format(mount="secret", path=path))

    def make(name: str, role: str = "fleet") -> dict[str, str]:
        kube.kubectl("-n", namespace, "create", "serviceaccount", name)
        token = tmp_path / f"{name}.jwt"
        token.write_text(kube.kubectl("-n", namespace, "create", "token", name))
        return {"role": role, "mount": method, "tokenFile": token.name}

    return make


def test_a_service_account_logs_in(openbao: OpenBaoStore, account: Callable[..., dict[str, str]], bao: Bao) -> None:
    login = account("job")
    store = openbao(tokenFile=None, kubernetes=login)
    assert store.get_or_create("a", lambda: b"value") == b"value"
    # Its token of OpenBao ends in the middle of a command: it logs in again.
    bao.call("PUT", f"sys/leases/revoke-prefix/auth/{login['mount']}/login")
    assert store.get("a") == b"value"


def test_a_service_account_that_may_not(
    openbao: OpenBaoStore, account: Callable[..., dict[str, str]], bao: Bao
) -> None:
    with pytest.raises(NotPermitted, match=r"refused the login as role 'fleet' at auth/.*not authorized"):
        openbao(tokenFile=None, kubernetes=account("somebody")).get("a")
    with pytest.raises(NotPermitted, match=r"refused the login as role 'none' at auth/"):
        openbao(tokenFile=None, kubernetes=account("job", "none")).get("a")
    with pytest.raises(NotPermitted, match=r"refused the login as role 'fleet' at auth/nowhere"):
        openbao(tokenFile=None, kubernetes={**account("other"), "mount": "nowhere"}).get("a")
    with pytest.raises(NotFound, match=r"cannot read the ServiceAccount's token in .*missing"):
        openbao(tokenFile=None, kubernetes={"role": "fleet", "tokenFile": "missing"}).get("a")
