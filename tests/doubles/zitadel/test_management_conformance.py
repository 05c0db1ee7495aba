"""The management API v1, row by row, as the identity reference has it."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from typing import Any

import httpx
import msgspec
import pytest
from joserfc.jwk import RSAKey

from harness.wait import wait_until
from tests.doubles.zitadel.idp import DEVICE_APP, Device, Idp, spare_key, unique

Json = dict[str, Any]

NEVER = "9999-12-31T23:59:59Z"


def _is_details(details: Json) -> None:
    assert re.fullmatch(r"\d+", details["sequence"]), "a 64-bit number is a text in protobuf's JSON"
    assert details["resourceOwner"]
    assert re.match(r"\d{4}-\d\d-\d\dT.*Z$", details.get("changeDate") or details["creationDate"])


def _is_error(answer: httpx.Response, status: int, code: int) -> None:
    found = answer.json()
    assert (answer.status_code, found["code"]) == (status, code), answer.text
    assert isinstance(found["message"], str)


def _is_raised(answer: httpx.Response, status: int, code: int) -> None:
    """An error that Zitadel's own code raised: the message ends with the id, and the detail repeats both."""
    _is_error(answer, status, code)
    (detail,) = answer.json()["details"]
    assert detail["@type"].endswith("ErrorDetail")
    assert answer.json()["message"] == f"{detail['message']} ({detail['id']})"


def _machine(idp: Idp, **changes: object) -> Json:
    return idp.made("/users/machine", {"userName": unique("user"), "name": "A machine", **changes})


def _search(idp: Idp, path: str, queries: list[Json], until: Callable[[list[Json]], object] = bool) -> list[Json]:
    """The rows a search shows once the projections have caught up."""

    def look() -> list[Json]:
        return idp.made(f"{path}/_search", {"queries": queries}).get("result", [])

    return wait_until(look, f"{path}/_search shows it", timeout=20, until=until)


def _named(field: str, value: str) -> list[Json]:
    return [{f"{field}Query": {field: value, "method": "TEXT_QUERY_METHOD_EQUALS"}}]


def test_the_admins_organisation(conformant: Idp) -> None:
    org = conformant.manage("GET", "/orgs/me").json()["org"]
    assert {"id", "name", "primaryDomain", "state"} <= set(org)
    _is_details(org["details"])


def test_a_machine_user_is_made_found_and_refused_a_second_time(conformant: Idp) -> None:
    name = unique("user")
    asked = {"userName": name, "name": "Pi", "description": "d", "accessTokenType": "ACCESS_TOKEN_TYPE_JWT"}
    made = conformant.made("/users/machine", asked)
    _is_details(made["details"])
    (user,) = _search(conformant, "/users", _named("userName", name))
    assert (user["id"], user["state"], user["userName"]) == (made["userId"], "USER_STATE_ACTIVE", name)
    assert user["machine"] == {"name": "Pi", "description": "d", "accessTokenType": "ACCESS_TOKEN_TYPE_JWT"}
    again = conformant.manage("POST", "/users/machine", asked)
    _is_raised(again, 409, 6)


def test_the_default_token_type_is_left_out_like_everything_that_is_zero(conformant: Idp) -> None:
    name = unique("user")
    _machine(conformant, userName=name)
    (user,) = _search(conformant, "/users", _named("userName", name))
    assert "accessTokenType" not in user["machine"]


def test_a_search_without_hits_has_no_result(conformant: Idp) -> None:
    found = conformant.made("/users/_search", {"queries": _named("userName", unique("nobody"))})
    assert "result" not in found
    assert "totalResult" not in found["details"]


def test_the_user_id_may_be_chosen(conformant: Idp) -> None:
    chosen = unique("id")
    assert _machine(conformant, userId=chosen)["userId"] == chosen


@pytest.mark.parametrize("body", [{}, {"userName": "", "name": "x"}, {"userName": "x"}, {"userName": "x" * 201}])
def test_a_machine_user_needs_names(conformant: Idp, body: Json) -> None:
    _is_error(conformant.manage("POST", "/users/machine", body), 400, 3)


def test_a_key_file_has_the_shape_of_the_reference(conformant: Idp) -> None:
    user = _machine(conformant)["userId"]
    made = conformant.made(f"/users/{user}/keys", {"type": "KEY_TYPE_JSON"})
    _is_details(made["details"])
    file = msgspec.json.decode(base64.b64decode(made["keyDetails"]))
    assert set(file) == {"type", "keyId", "key", "expirationDate", "userId"}
    assert (file["type"], file["keyId"], file["userId"]) == ("serviceaccount", made["keyId"], user)
    assert file["expirationDate"] == NEVER
    assert file["key"].startswith("-----BEGIN RSA PRIVATE KEY-----"), "PKCS#1"
    (listed,) = _search(conformant, f"/users/{user}/keys", [])
    assert (listed["id"], listed["type"], listed["expirationDate"]) == (made["keyId"], "KEY_TYPE_JSON", NEVER)


def test_a_key_may_expire(conformant: Idp) -> None:
    user = _machine(conformant)["userId"]
    asked = {"type": "KEY_TYPE_JSON", "expirationDate": "2099-01-02T03:04:05Z"}
    file = base64.b64decode(conformant.made(f"/users/{user}/keys", asked)["keyDetails"])
    assert msgspec.json.decode(file)["expirationDate"] == "2099-01-02T03:04:05Z"


@pytest.mark.parametrize("expires", ["2001-01-01T00:00:00Z", "tomorrow"])
def test_a_key_cannot_have_expired(conformant: Idp, expires: str) -> None:
    user = _machine(conformant)["userId"]
    asked = {"type": "KEY_TYPE_JSON", "expirationDate": expires}
    _is_error(conformant.manage("POST", f"/users/{user}/keys", asked), 400, 3)


def test_a_key_pair_may_be_ones_own(conformant: Idp, project: str) -> None:
    device = conformant.device(project)
    public = RSAKey.import_key(spare_key()).as_pem(private=False)
    asked = {"type": "KEY_TYPE_JSON", "publicKey": base64.b64encode(public).decode()}
    made = conformant.made(f"/users/{device.user}/keys", asked)
    header = {"alg": "RS256", "kid": made["keyId"]}
    wait_until(
        lambda: device.ask(device.assertion(spare_key(), header)).status_code,
        "the supplied key works (zitadel#7948)",
        timeout=20,
        until=(200).__eq__,
    )


def test_a_key_needs_its_type(conformant: Idp) -> None:
    user = _machine(conformant)["userId"]
    _is_error(conformant.manage("POST", f"/users/{user}/keys", {}), 400, 3)


CHANGES = [("_deactivate", "_reactivate"), ("_lock", "_unlock")]


@pytest.mark.parametrize(("there", "back"), CHANGES)
def test_a_state_changes_once_and_back(conformant: Idp, there: str, back: str) -> None:
    user = _machine(conformant)["userId"]
    for action, refused in ((there, there), (back, back)):
        done = conformant.manage("POST", f"/users/{user}/{action}", {})
        assert done.status_code == 200
        _is_details(done.json()["details"])
        _is_raised(conformant.manage("POST", f"/users/{user}/{refused}", {}), 400, 9)


def test_states_are_shown(conformant: Idp) -> None:
    name = unique("user")
    user = _machine(conformant, userName=name)["userId"]
    for action, state in (("_deactivate", "INACTIVE"), ("_reactivate", "ACTIVE"), ("_lock", "LOCKED")):
        assert conformant.manage("POST", f"/users/{user}/{action}", {}).status_code == 200
        wanted = f"USER_STATE_{state}"
        _search(conformant, "/users", _named("userName", name), lambda rows, w=wanted: rows and rows[0]["state"] == w)


def test_a_removed_user_is_gone(conformant: Idp) -> None:
    name = unique("user")
    user = _machine(conformant, userName=name)["userId"]
    assert conformant.manage("DELETE", f"/users/{user}").status_code == 200
    _search(conformant, "/users", _named("userName", name), lambda rows: not rows)
    _is_raised(conformant.manage("DELETE", f"/users/{user}"), 404, 5)
    assert _machine(conformant, userName=name)["userId"] != user, "the name is free again"


MISSING: list[tuple[str, str, Json | None]] = [
    ("POST", "/users/1/keys", {"type": "KEY_TYPE_JSON"}),
    ("POST", "/users/1/_deactivate", {}),
    ("DELETE", "/users/1", None),
    ("POST", "/projects/1/roles", {"roleKey": "x", "displayName": "x"}),
]


@pytest.mark.parametrize(("method", "path", "body"), MISSING)
def test_what_does_not_exist_is_not_found(conformant: Idp, method: str, path: str, body: Json | None) -> None:
    _is_raised(conformant.manage(method, path, body), 404, 5)


def test_a_key_is_removed_once(conformant: Idp, project: str) -> None:
    device = conformant.device(project)
    path = f"/users/{device.user}/keys/{device.key.key_id}"
    assert conformant.manage("DELETE", path).status_code == 200
    _is_raised(conformant.manage("DELETE", path), 404, 5)


def test_a_project_and_its_roles_are_made_once_and_found(conformant: Idp) -> None:
    name = unique("project")
    made = conformant.made("/projects", {"name": name, "projectRoleAssertion": True})
    _is_details(made["details"])
    (found,) = _search(conformant, "/projects", _named("name", name))
    assert (found["id"], found["projectRoleAssertion"]) == (made["id"], True)
    assert "projectRoleCheck" not in found
    role = {"roleKey": "device", "displayName": "Device", "group": ""}
    _is_details(conformant.made(f"/projects/{made['id']}/roles", role)["details"])
    _is_raised(conformant.manage("POST", f"/projects/{made['id']}/roles", role), 409, 6)
    (listed,) = _search(conformant, f"/projects/{made['id']}/roles", _named("key", "device"))
    assert (listed["key"], listed["displayName"]) == ("device", "Device")


def test_a_native_application_has_a_client_id_and_no_secret(conformant: Idp, project: str) -> None:
    name = unique("app")
    made = conformant.made(f"/projects/{project}/apps/oidc", {"name": name, **DEVICE_APP})
    assert {"appId", "clientId", "details"} <= set(made)
    assert not made.get("clientSecret")
    (found,) = _search(conformant, f"/projects/{project}/apps", _named("name", name))
    assert found["oidcConfig"]["clientId"] == made["clientId"]
    assert found["oidcConfig"]["grantTypes"] == ["OIDC_GRANT_TYPE_DEVICE_CODE"]


def test_a_grant_is_made_once_found_changed_and_taken_back(conformant: Idp, project: str) -> None:
    user = _machine(conformant)["userId"]
    asked = {"projectId": project, "roleKeys": ["device"]}
    made = conformant.made(f"/users/{user}/grants", asked)
    _is_details(made["details"])
    _is_raised(conformant.manage("POST", f"/users/{user}/grants", asked), 409, 6)
    queries = [{"userIdQuery": {"userId": user}}, {"projectIdQuery": {"projectId": project}}]
    (found,) = _search(conformant, "/users/grants", queries)
    assert (found["id"], found["roleKeys"], found["projectId"]) == (made["userGrantId"], ["device"], project)
    path = f"/users/{user}/grants/{made['userGrantId']}"
    _is_raised(conformant.manage("PUT", path, {"roleKeys": ["device"]}), 400, 9)
    assert conformant.manage("DELETE", path).status_code == 200
    _is_raised(conformant.manage("DELETE", path), 404, 5)


def test_a_role_that_does_not_exist_cannot_be_granted(conformant: Idp, project: str) -> None:
    user = _machine(conformant)["userId"]
    answer = conformant.manage("POST", f"/users/{user}/grants", {"projectId": project, "roleKeys": ["nonsense"]})
    assert answer.status_code in {400, 404}


def test_a_personal_access_token_speaks_for_its_user_who_is_no_admin(conformant: Idp) -> None:
    user = _machine(conformant)["userId"]
    made = conformant.made(f"/users/{user}/pats", {"expirationDate": "2099-01-01T00:00:00Z"})
    _is_details(made["details"])
    assert made["tokenId"]
    wait_until(
        lambda: conformant.http.get("/oidc/v1/userinfo", headers={"Authorization": f"Bearer {made['token']}"}).json(),
        "the token works",
        timeout=20,
        until=lambda answer: answer.get("sub") == user,
    )
    refused = conformant.manage("POST", "/users/machine", {"userName": "x", "name": "x"}, token=made["token"])
    _is_error(refused, 403, 7)


def test_a_personal_access_token_is_listed_without_its_text_until_it_is_removed(conformant: Idp) -> None:
    user = _machine(conformant)["userId"]
    made = conformant.made(f"/users/{user}/pats", {"expirationDate": "2099-01-01T00:00:00Z"})
    endless = conformant.made(f"/users/{user}/pats", {})
    rows = _search(conformant, f"/users/{user}/pats", [], until=lambda rows: len(rows) == 2)
    shown = {row["id"]: row["expirationDate"] for row in rows}
    assert shown == {made["tokenId"]: "2099-01-01T00:00:00Z", endless["tokenId"]: NEVER}
    _is_details(rows[0]["details"])
    assert rows[0]["scopes"]
    assert not any(text in str(rows) for text in (made["token"], endless["token"]))
    removal = ("DELETE", f"/users/{user}/pats/{made['tokenId']}")
    _is_details(conformant.manage(*removal).json()["details"])
    _is_raised(conformant.manage(*removal), 404, 5)
    wait_until(
        lambda: conformant.http.get("/oidc/v1/userinfo", headers={"Authorization": f"Bearer {made['token']}"}),
        "the removed token is refused",
        timeout=20,
        until=lambda answer: answer.status_code == 401,
    )
    _search(
        conformant, f"/users/{user}/pats", [], until=lambda rows: [one["id"] for one in rows] == [endless["tokenId"]]
    )
    _is_error(conformant.manage("DELETE", f"/users/nobody/pats/{endless['tokenId']}"), 404, 5)


def test_who_proves_nothing_is_unauthenticated(conformant: Idp, enrolled: Device) -> None:
    _is_error(conformant.http.get("/management/v1/orgs/me"), 401, 16)
    for token in ("garbage", enrolled.access_token()):
        _is_error(conformant.manage("GET", "/orgs/me", token=token), 401, 16)


@pytest.mark.parametrize("body", [b"{", b"[]", b"\xff", b'{"userName": 5}', b'"text"'])
def test_a_body_that_is_no_message_is_invalid(conformant: Idp, body: bytes) -> None:
    headers = {"Authorization": f"Bearer {conformant.admin_token}", "Content-Type": "application/json"}
    answer = conformant.http.post("/management/v1/users/machine", content=body, headers=headers)
    _is_error(answer, 400, 3)


def test_unknown_fields_are_dropped(conformant: Idp) -> None:
    assert _machine(conformant, nonsense=[1])["userId"]


def test_metadata_is_kept_in_base64_and_what_is_not_there_is_not_found(conformant: Idp) -> None:
    user = _machine(conformant)["userId"]
    path = f"/users/{user}/metadata/fleet-server"
    _is_error(conformant.manage("GET", path), 404, 5)
    _is_error(conformant.manage("POST", path, {"value": ""}), 400, 3)
    _is_error(conformant.manage("POST", "/users/1/metadata/fleet-server", {"value": "YQ=="}), 404, 5)
    _is_details(conformant.made(path, {"value": "YQ=="})["details"])
    conformant.made(path, {"value": "Yg=="})
    found = wait_until(
        lambda: conformant.manage("GET", path).json().get("metadata", {}),
        "the metadata is shown",
        timeout=20,
        until=lambda shown: shown.get("value") == "Yg==",
    )
    assert found["key"] == "fleet-server"
    _is_details(found["details"])
