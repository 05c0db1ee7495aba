"""The management client against the Zitadel double."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from joserfc.jwk import RSAKey

from fleet.contract.config import FleetDeviceAuth, MachineKey
from fleet.contract.errors import Conflict, InvalidInput, NotFound, NotPermitted, TimedOut, Unreachable
from fleet.identity.device_token import roles, wait_for_token
from fleet.identity.tokens import fetch_token
from fleet.identity.zitadel import Zitadel
from harness.doubles.zitadel.serve import make_certificate
from tests.doubles.zitadel.idp import Device, Idp, unique


def _user(zitadel: Zitadel) -> str:
    return zitadel.ensure_machine_user(unique("user"), "Pi", "a device").id


def test_the_check_names_the_organisation(zitadel: Zitadel) -> None:
    assert zitadel.check().name == "fleet"


def test_an_install_run_twice_changes_nothing(idp: Idp, zitadel: Zitadel) -> None:
    name = unique("fleet")

    def install() -> tuple[str, str]:
        project = zitadel.ensure_project(name)
        zitadel.ensure_role(project, "device", "Device")
        return project, zitadel.ensure_cli_app(project, "fleet-cli")

    first = install()
    assert idp.double is not None
    before = idp.double.double.store.instances["localhost"].sequence
    assert install() == first
    assert idp.double.double.store.instances["localhost"].sequence == before


@pytest.mark.parametrize("lag", [0, 0.5])
def test_an_enrollment_from_nothing_to_a_token_with_the_role(idp: Idp, zitadel: Zitadel, lag: float) -> None:
    idp.set(lag=lag)
    project = zitadel.ensure_project(unique("fleet"))
    zitadel.ensure_role(project, "device", "Device")
    user = zitadel.ensure_machine_user(unique("user"), "Pi", "a device")
    assert user.created
    key = zitadel.create_key(user.id)
    zitadel.ensure_grant(user.id, project, "device")
    token = wait_for_token(FleetDeviceAuth(idp.issuer, project, key, idp.ca), timeout=30)
    assert roles(token.text, project) == {"device"}


def test_what_exists_unseen_is_waited_for(idp: Idp, zitadel: Zitadel) -> None:
    idp.set(lag=0.5)
    name, project = unique("user"), zitadel.ensure_project(unique("fleet"))
    zitadel.ensure_role(project, "device", "Device")
    first = zitadel.ensure_machine_user(name, "Pi", "")
    again = zitadel.ensure_machine_user(name, "Pi", "")
    assert (again.id, first.created, again.created) == (first.id, True, False)
    for _ in range(2):
        zitadel.ensure_grant(first.id, project, "device")
        zitadel.ensure_role(project, "device", "Device")


def test_what_never_shows_is_given_up_and_named(idp: Idp) -> None:
    idp.set(lag=60)
    with Zitadel(idp.issuer, idp.ca, idp.admin_token, catch_up=0.3) as zitadel:
        name = unique("user")
        zitadel.ensure_machine_user(name, "Pi", "")
        with pytest.raises(TimedOut, match=f"'{name}' exists .* did not show within 0.3 s"):
            zitadel.ensure_machine_user(name, "Pi", "")


def test_a_person_of_that_name_is_a_conflict(idp: Idp, zitadel: Zitadel) -> None:
    assert idp.double is not None
    person, _ = idp.double.admin_password()
    with pytest.raises(Conflict, match="not a machine user with JWT"):
        zitadel.find_user(person)


def test_a_machine_with_opaque_tokens_is_a_conflict(idp: Idp, zitadel: Zitadel) -> None:
    name = unique("user")
    idp.made("/users/machine", {"userName": name, "name": "x"})
    with pytest.raises(Conflict, match="not a machine user with JWT"):
        zitadel.ensure_machine_user(name, "x", "")


def test_another_kind_of_application_is_a_conflict(idp: Idp, zitadel: Zitadel) -> None:
    project = zitadel.ensure_project(unique("fleet"))
    idp.made(f"/projects/{project}/apps/api", {"name": "fleet-cli"})
    with pytest.raises(Conflict, match="not one for device-code logins"):
        zitadel.ensure_cli_app(project, "fleet-cli")


def test_nobody_is_found(zitadel: Zitadel) -> None:
    assert zitadel.find_user(unique("nobody")) is None


def test_a_state_is_reached_however_often_it_is_asked_for(zitadel: Zitadel) -> None:
    name = unique("user")
    user = zitadel.ensure_machine_user(name, "Pi", "").id
    for change, active in ((zitadel.deactivate, False), (zitadel.reactivate, True)):
        for _ in range(2):
            change(user)
            found = zitadel.find_user(name)
            assert found is not None
            assert found.active is active


def test_a_user_is_deleted_once_or_more(zitadel: Zitadel) -> None:
    name = unique("user")
    user = zitadel.ensure_machine_user(name, "Pi", "").id
    for _ in range(2):
        zitadel.delete_user(user)
    assert zitadel.find_user(name) is None
    for change in (zitadel.deactivate, zitadel.reactivate):
        with pytest.raises(NotFound):
            change(user)


def test_a_user_is_deleted_only_once_it_is_no_longer_listed(idp: Idp, zitadel: Zitadel) -> None:
    name = unique("user")
    old = zitadel.ensure_machine_user(name, "Pi", "")
    idp.set(lag=0.4)
    zitadel.delete_user(old.id)
    new = zitadel.ensure_machine_user(name, "Pi", "")
    assert (new.id != old.id, new.created) == (True, True)


def test_keys_are_made_listed_and_removed_however_often(idp: Idp, zitadel: Zitadel) -> None:
    user = _user(zitadel)
    expires = (datetime.now(UTC) + timedelta(days=30)).replace(microsecond=0)
    keys = [zitadel.create_key(user), zitadel.create_key(user, expires)]
    assert datetime.fromisoformat(keys[1].expiration_date) == expires
    assert {key.id for key in zitadel.keys(user)} == {key.key_id for key in keys}
    for _ in range(2):
        zitadel.remove_key(user, keys[0].key_id)
    assert [key.id for key in zitadel.keys(user)] == [keys[1].key_id]


def test_the_issuers_clock_is_told_unless_one_of_the_two_is_wrong(
    zitadel: Zitadel, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    assert int(now) - 1 <= zitadel.clock() <= now + 60
    monkeypatch.setattr("fleet.identity.zitadel_api.time", SimpleNamespace(time=lambda: now + 7200))
    with pytest.raises(NotPermitted, match="this machine's clock says"):
        zitadel.clock()


def test_a_grant_that_was_deactivated_or_has_other_roles_is_mended(idp: Idp, zitadel: Zitadel) -> None:
    project = zitadel.ensure_project(unique("fleet"))
    for role in ("device", "other"):
        zitadel.ensure_role(project, role, role)
    user = _user(zitadel)
    key = zitadel.create_key(user)
    grant = idp.made(f"/users/{user}/grants", {"projectId": project, "roleKeys": ["other"]})["userGrantId"]
    idp.manage("POST", f"/users/{user}/grants/{grant}/_deactivate", {})
    zitadel.ensure_grant(user, project, "device")
    token = asyncio.run(fetch_token(FleetDeviceAuth(idp.issuer, project, key, idp.ca)))
    assert roles(token.text, project) == {"device", "other"}


def test_a_grant_in_a_project_that_does_not_exist_is_refused(zitadel: Zitadel) -> None:
    with pytest.raises(Conflict, match="Project not found"):
        zitadel.ensure_grant(_user(zitadel), "1", "device")


def test_an_identity_that_never_works_is_given_up_with_the_reason(idp: Idp, project: str) -> None:
    device = idp.device(project, role=False)
    with pytest.raises(TimedOut, match="lack the role 'device'"):
        wait_for_token(device.auth, timeout=0.3)


def test_a_wrong_ca_is_not_waited_for(idp: Idp, device: Device) -> None:
    ca, _, _ = make_certificate(["localhost"])
    started = time.monotonic()
    with pytest.raises(InvalidInput, match="not signed by the CA"):
        wait_for_token(msgspec.structs.replace(device.auth, ca=ca), timeout=60)
    assert time.monotonic() - started < 30


@pytest.mark.parametrize("token", ["", "two words\n", "schlüssel", "a\r\nX: y"])
def test_a_token_that_cannot_be_one_is_refused(idp: Idp, token: str) -> None:
    with pytest.raises(InvalidInput, match="not an access token"):
        Zitadel(idp.issuer, idp.ca, token)


def test_a_token_that_is_not_accepted(idp: Idp) -> None:
    assert idp.double is not None
    for issuer in (idp.issuer, idp.double.issuer_at("127.0.0.1")):
        token = "garbage" if issuer == idp.issuer else idp.admin_token
        with Zitadel(issuer, idp.ca, token) as zitadel, pytest.raises(NotPermitted, match="401") as refused:
            zitadel.check()
        assert "are different ones" in refused.value.next_step
        assert token not in str(refused.value)


def test_a_user_without_rights(idp: Idp, zitadel: Zitadel) -> None:
    token = idp.made(f"/users/{_user(zitadel)}/pats", {})["token"]
    with Zitadel(idp.issuer, idp.ca, token) as other, pytest.raises(NotPermitted, match="403") as refused:
        other.check()
    assert "Org Owner" in refused.value.next_step


@pytest.mark.parametrize("status", [500, 502, 503])
def test_an_issuer_that_is_ill(idp: Idp, zitadel: Zitadel, status: int) -> None:
    idp.set(faults=[{"path": "/management", "status": status}])
    with pytest.raises(Unreachable, match=str(status)):
        zitadel.find_user("x")


def test_an_issuer_that_hangs(idp: Idp) -> None:
    idp.set(faults=[{"path": "/management", "hang": True}])
    with (
        Zitadel(idp.issuer, idp.ca, idp.admin_token, timeout=0.3) as zitadel,
        pytest.raises(Unreachable, match="in time"),
    ):
        zitadel.find_user("x")


def test_an_issuer_under_another_name(idp: Idp, zitadel: Zitadel) -> None:
    idp.set(faults=[{"path": "/.well-known", "status": 404}])
    with pytest.raises(InvalidInput, match="no Zitadel instance"):
        zitadel.check()


def test_nobody_there(idp: Idp) -> None:
    with Zitadel("https://localhost:1", idp.ca, "x") as zitadel, pytest.raises(Unreachable, match="does not answer"):
        zitadel.check()


def test_a_wrong_ca(idp: Idp) -> None:
    ca, _, _ = make_certificate(["localhost"])
    with Zitadel(idp.issuer, ca, "x") as zitadel, pytest.raises(InvalidInput, match="not signed by the CA"):
        zitadel.check()


def test_a_key_is_registered_by_its_public_half(idp: Idp, zitadel: Zitadel) -> None:
    user, project = _user(zitadel), zitadel.ensure_project(unique("fleet"))
    key = RSAKey.generate_key(2048, private=True)
    added = zitadel.register_key(user, key.as_pem(private=False).decode())
    mine = MachineKey(user_id=user, key_id=added, key=key.as_pem(private=True).decode())
    assert asyncio.run(fetch_token(FleetDeviceAuth(idp.issuer, project, mine, idp.ca))).key_id == added
    assert {one.id for one in zitadel.keys(user)} == {added}


def test_what_is_no_public_half_is_refused(zitadel: Zitadel) -> None:
    with pytest.raises(InvalidInput):
        zitadel.register_key(_user(zitadel), "no key")


def test_a_provider_that_makes_its_own_key_is_found_out(zitadel: Zitadel, monkeypatch: pytest.MonkeyPatch) -> None:
    user = _user(zitadel)
    call = zitadel.api.call

    def ignorant(method: str, path: str, body: Any, kind: Any) -> Any:  # noqa: ANN401 - as it is called
        return call(method, path, {"type": "KEY_TYPE_JSON"} if body else body, kind)

    monkeypatch.setattr(zitadel.api, "call", ignorant)
    with pytest.raises(InvalidInput, match="takes no key that was made elsewhere"):
        zitadel.register_key(user, "(PEM)")
    monkeypatch.undo()
    assert zitadel.keys(user) == ()
