"""Discovery, the key set, introspection and userinfo, as the identity reference has them."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

from harness.wait import wait_until
from tests.doubles.zitadel.idp import Device, Idp, unique

Json = dict[str, Any]


def test_discovery_names_the_issuer_and_its_endpoints(conformant: Idp) -> None:
    found = conformant.http.get("/.well-known/openid-configuration").json()
    issuer = conformant.issuer
    assert found["issuer"] == issuer
    for field, path in {
        "authorization_endpoint": "/oauth/v2/authorize",
        "token_endpoint": "/oauth/v2/token",
        "introspection_endpoint": "/oauth/v2/introspect",
        "revocation_endpoint": "/oauth/v2/revoke",
        "jwks_uri": "/oauth/v2/keys",
        "device_authorization_endpoint": "/oauth/v2/device_authorization",
        "userinfo_endpoint": "/oidc/v1/userinfo",
        "end_session_endpoint": "/oidc/v1/end_session",
    }.items():
        assert found[field] == f"{issuer}{path}"


def test_the_key_set_may_be_kept_for_five_minutes(conformant: Idp) -> None:
    answer = conformant.http.get("/oauth/v2/keys")
    assert answer.headers["cache-control"] == "max-age=300, must-revalidate"
    assert {key["kty"] for key in answer.json()["keys"]} == {"RSA"}


def test_a_token_verifies_with_the_key_set(conformant: Idp, enrolled: Device) -> None:
    keys = KeySet.import_key_set(conformant.http.get("/oauth/v2/keys").json())
    assert jwt.decode(enrolled.access_token(), keys, algorithms=["RS256"]).claims["sub"] == enrolled.user


@pytest.fixture(scope="session")
def checker(conformant: Idp, project: str, enrolled: Device) -> tuple[str, str]:
    """Client id and secret of an API application of the project, known to the issuer."""
    asked = {"name": unique("api"), "authMethodType": "API_AUTH_METHOD_TYPE_BASIC"}
    made = conformant.made(f"/projects/{project}/apps/api", asked)
    known = (str(made["clientId"]), str(made["clientSecret"]))
    token = enrolled.access_token()
    wait_until(lambda: _introspect(conformant, token, known).json(), "it introspects", timeout=30, until=_active)
    return known


def _active(answer: Json) -> bool:
    return answer.get("active") is True


def _introspect(idp: Idp, token: str, client: tuple[str, str] | None) -> httpx.Response:
    auth = httpx.BasicAuth(*client) if client else httpx.USE_CLIENT_DEFAULT
    return idp.http.post("/oauth/v2/introspect", data={"token": token}, auth=auth)


def test_introspection_of_a_good_token(conformant: Idp, enrolled: Device, checker: tuple[str, str]) -> None:
    answer = _introspect(conformant, enrolled.access_token(), checker).json()
    assert answer["active"] is True
    assert answer["sub"] == enrolled.user
    assert answer["exp"] > answer["iat"]
    assert "openid" in answer["scope"].split()
    assert answer[f"urn:zitadel:iam:org:project:{enrolled.project}:roles"]


def test_the_client_may_send_its_secret_in_the_form(
    conformant: Idp, enrolled: Device, checker: tuple[str, str]
) -> None:
    form = {"token": enrolled.access_token(), "client_id": checker[0], "client_secret": checker[1]}
    assert conformant.http.post("/oauth/v2/introspect", data=form).json()["active"] is True


@pytest.mark.parametrize("token", ["garbage", "", "a.b.c"])
def test_whatever_is_no_token_is_merely_not_active(conformant: Idp, checker: tuple[str, str], token: str) -> None:
    answer = _introspect(conformant, token, checker)
    assert (answer.status_code, answer.json()) == (200, {"active": False})


def test_a_token_for_somebody_else_is_not_active(conformant: Idp, enrolled: Device, checker: tuple[str, str]) -> None:
    elsewhere = enrolled.access_token("openid urn:zitadel:iam:org:project:id:123456:aud")
    answer = _introspect(conformant, elsewhere, checker)
    assert (answer.status_code, answer.json()["active"]) == (200, False)


def test_a_client_must_prove_itself(conformant: Idp, enrolled: Device, checker: tuple[str, str]) -> None:
    token = enrolled.access_token()
    for client in (None, (checker[0], "wrong"), ("123", "wrong")):
        assert _introspect(conformant, token, client).status_code in {400, 401}


def _userinfo(idp: Idp, token: str) -> httpx.Response:
    return idp.http.get("/oidc/v1/userinfo", headers={"Authorization": f"Bearer {token}"} if token else {})


def test_userinfo_tells_who_it_is(conformant: Idp, enrolled: Device) -> None:
    answer = _userinfo(conformant, enrolled.access_token())
    assert (answer.status_code, answer.json()["sub"]) == (200, enrolled.user)


def test_userinfo_of_garbage_and_of_nothing_is_401(conformant: Idp) -> None:
    assert [_userinfo(conformant, token).status_code for token in ("garbage", "")] == [401, 401]


ENDINGS = {"deactivated": "POST _deactivate", "locked": "POST _lock", "removed": "DELETE"}


@pytest.mark.parametrize("ending", ENDINGS)
def test_online_checks_fail_at_once_but_the_jwt_stays_good(
    conformant: Idp, project: str, checker: tuple[str, str], ending: str
) -> None:
    device = conformant.device(project)
    token = device.access_token()
    keys = KeySet.import_key_set(conformant.http.get("/oauth/v2/keys").json())
    assert _introspect(conformant, token, checker).json()["active"] is True
    method, _, action = ENDINGS[ending].partition(" ")
    path = f"/users/{device.user}/{action}".rstrip("/")
    assert conformant.manage(method, path, {} if method == "POST" else None).status_code == 200
    assert _introspect(conformant, token, checker).json()["active"] is False
    assert _userinfo(conformant, token).status_code == 401
    assert jwt.decode(token, keys, algorithms=["RS256"]).claims["sub"] == device.user, "until it expires"


@pytest.mark.parametrize(("there", "back"), [("_deactivate", "_reactivate"), ("_lock", "_unlock")])
def test_restoring_a_user_does_not_revive_its_tokens(
    conformant: Idp, project: str, checker: tuple[str, str], there: str, back: str
) -> None:
    device = conformant.device(project)
    token = device.access_token()
    for action in (there, back):
        assert conformant.manage("POST", f"/users/{device.user}/{action}", {}).status_code == 200
    assert _introspect(conformant, token, checker).json()["active"] is False
    assert _introspect(conformant, device.access_token(), checker).json()["active"] is True


def test_opaque_tokens_introspect_too(conformant: Idp, project: str, checker: tuple[str, str]) -> None:
    device = conformant.device(project, jwt_tokens=False)
    assert _introspect(conformant, device.access_token(), checker).json()["sub"] == device.user
