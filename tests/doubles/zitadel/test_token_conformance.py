"""The token endpoint, row by row, as the identity reference has it."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from joserfc.jwk import RSAKey

from harness.doubles.zitadel.modes import Modes, TokenErrors
from harness.wait import wait_until
from tests.doubles.zitadel.idp import JWT_PROFILE, Device, Idp, healthy, payload, spare_key

Outcome = tuple[int, str]
"""HTTP status and OAuth error."""

HOUR = 3600
BAD_ASSERTION: dict[TokenErrors, set[Outcome]] = {
    TokenErrors.V4_10: {(500, "server_error")},
    TokenErrors.NEWER: {(400, "invalid_client"), (400, "invalid_grant")},
    TokenErrors.LIBRARY: {(400, "invalid_request")},
}


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _joined(header: dict[str, str], device: Device) -> str:
    return f"{_text(msgspec.json.encode(header))}.{_text(msgspec.json.encode(device.claims()))}"


def _unsigned(device: Device) -> str:
    return _joined({"alg": "none", "kid": device.key.key_id}, device) + "."


def _hs256_with_the_public_key(device: Device) -> str:
    signed = _joined({"alg": "HS256", "kid": device.key.key_id}, device)
    public = RSAKey.import_key(device.key.key).as_pem(private=False)
    return f"{signed}.{_text(hmac.digest(public, signed.encode(), hashlib.sha256))}"


def _now() -> int:
    return int(time.time())


BAD: dict[str, Callable[[Device], str]] = {
    "garbage": lambda _: "garbage",
    "two dots": lambda _: "a.b.c",
    "not UTF-8 inside": lambda _: f"{_text(bytes([255]))}.{_text(bytes([254]))}.x",
    "a payload that is a list": lambda _: f"{_text(b'{}')}.{_text(b'[]')}.x",
    "wrong audience": lambda d: d.assertion(aud="https://elsewhere"),
    "audience with a slash too many": lambda d: d.assertion(aud=f"{d.idp.issuer}/"),
    "missing audience": lambda d: d.assertion(aud=None),
    "expired": lambda d: d.assertion(iat=_now() - 700, exp=_now() - 60),
    "no exp": lambda d: d.assertion(exp=None),
    "no iat": lambda d: d.assertion(iat=None),
    "iat over an hour old": lambda d: d.assertion(iat=_now() - HOUR - 10),
    "iat 60 s ahead": lambda d: d.assertion(iat=_now() + 60),
    "iat a text": lambda d: d.assertion(iat="now"),
    "iss is not sub": lambda d: d.assertion(sub="somebody"),
    "unknown kid": lambda d: d.assertion(header={"alg": "RS256", "kid": "1"}),
    "missing kid": lambda d: d.assertion(header={"alg": "RS256"}),
    "another key under a known kid": lambda d: d.assertion(spare_key()),
    "a user that does not exist": lambda d: d.assertion(iss="1", sub="1"),
    "alg none": _unsigned,
    "HS256 with the public key": _hs256_with_the_public_key,
}


def _outcome(device: Device, assertion: str) -> Outcome:
    answer = device.ask(assertion)
    return answer.status_code, answer.json().get("error", "")


def _judge(idp: Idp, device: Device, assertion: str) -> None:
    """A real Zitadel may be any generation; the double must play each one exactly."""
    if idp.double is None:
        assert _outcome(device, assertion) in set.union(*BAD_ASSERTION.values())
        return
    try:
        for generation, outcomes in BAD_ASSERTION.items():
            idp.double.double.modes = Modes(token_errors=generation)
            assert _outcome(device, assertion) in outcomes, generation
    finally:
        healthy(idp)


@pytest.mark.parametrize("name", BAD)
def test_a_bad_assertion_is_refused(conformant: Idp, enrolled: Device, name: str) -> None:
    _judge(conformant, enrolled, BAD[name](enrolled))
    assert _outcome(enrolled, enrolled.assertion()) == (200, ""), "and the good one still works"


def test_a_removed_key_is_refused(conformant: Idp, project: str) -> None:
    device = conformant.device(project)
    removed = conformant.manage("DELETE", f"/users/{device.user}/keys/{device.key.key_id}")
    assert removed.status_code == 200
    _judge(conformant, device, device.assertion())


def test_an_expired_key_is_refused(conformant: Idp, project: str) -> None:
    soon = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=2)
    device = conformant.device(project, expires=soon.isoformat().replace("+00:00", "Z"))
    wait_until(lambda: datetime.now(UTC) > soon, "the key has expired", timeout=30)
    _judge(conformant, device, device.assertion())


GOOD: dict[str, Callable[[Device], str]] = {
    "aud as a text": lambda d: d.assertion(),
    "aud as a list": lambda d: d.assertion(aud=[d.idp.issuer]),
    "aud as a list with others": lambda d: d.assertion(aud=["https://elsewhere", d.idp.issuer]),
    "iat almost an hour old": lambda d: d.assertion(iat=_now() - HOUR + 60),
    "a header with typ": lambda d: d.assertion(header={"alg": "RS256", "kid": d.key.key_id, "typ": "JWT"}),
}


@pytest.mark.parametrize("name", GOOD)
def test_a_good_assertion_is_accepted_and_may_be_used_again(enrolled: Device, name: str) -> None:
    assertion = GOOD[name](enrolled)
    assert [_outcome(enrolled, assertion) for _ in range(2)] == [(200, "")] * 2


def test_the_answer_is_a_bearer_token_without_scope_or_refresh_token(enrolled: Device) -> None:
    answer = enrolled.ask().json()
    assert answer["token_type"] == "Bearer"
    assert answer["expires_in"] > 0
    assert set(answer) <= {"access_token", "token_type", "expires_in", "id_token"}


def test_the_token_is_a_jwt_with_the_claims_of_the_reference(conformant: Idp, enrolled: Device) -> None:
    answer = enrolled.ask()
    header = msgspec.json.decode(base64.urlsafe_b64decode(answer.json()["access_token"].split(".")[0] + "=="))
    claims = payload(answer)
    assert (header["alg"], header["typ"]) == ("RS256", "JWT")
    assert header["kid"] in {key["kid"] for key in conformant.http.get("/oauth/v2/keys").json()["keys"]}
    assert claims["iss"] == conformant.issuer
    assert claims["sub"] == enrolled.user
    assert claims["aud"] == [enrolled.project]
    assert claims["exp"] - claims["iat"] == answer.json()["expires_in"]
    assert claims["jti"].startswith("V2_")
    assert "-at_" in claims["jti"]
    assert {"nbf", "client_id"} <= set(claims)
    (orgs,) = claims[f"urn:zitadel:iam:org:project:{enrolled.project}:roles"].values()
    assert all(isinstance(domain, str) for domain in orgs.values())
    assert "urn:zitadel:iam:org:project:roles" not in claims, "the generic claim is for applications' tokens only"


def test_any_project_id_can_be_had_as_audience_but_not_its_roles(enrolled: Device) -> None:
    scope = "openid urn:zitadel:iam:org:project:id:123456:aud urn:zitadel:iam:org:projects:roles"
    claims = payload(enrolled.ask(scope=scope))
    assert claims["aud"] == ["123456"]
    assert not [name for name in claims if name.endswith(":roles")]


def test_roles_must_be_asked_for_by_the_scope_not_the_claim(enrolled: Device) -> None:
    audience = f"openid urn:zitadel:iam:org:project:id:{enrolled.project}:aud"
    claims = payload(enrolled.ask(scope=f"{audience} urn:zitadel:iam:org:project:roles"))
    assert not [name for name in claims if name.endswith(":roles")]


def test_unknown_scopes_are_dropped(enrolled: Device) -> None:
    assert enrolled.ask(scope="openid nonsense more:nonsense").status_code == 200


def test_a_user_without_the_jwt_type_gets_an_opaque_token(conformant: Idp, project: str) -> None:
    token = conformant.device(project, jwt_tokens=False).access_token()
    assert token.count(".") != 2


@pytest.mark.parametrize("state", ["_deactivate", "_lock"])
def test_a_user_who_is_not_active_gets_no_token_until_restored(conformant: Idp, project: str, state: str) -> None:
    device = conformant.device(project)
    restored = {"_deactivate": "_reactivate", "_lock": "_unlock"}[state]
    assert conformant.manage("POST", f"/users/{device.user}/{state}", {}).status_code == 200
    answer = device.ask()
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")
    assert answer.json()["error_description"] == "Errors.User.NotActive"
    assert conformant.manage("POST", f"/users/{device.user}/{restored}", {}).status_code == 200
    assert device.ask().status_code == 200


def test_a_removed_user_is_a_bad_assertion(conformant: Idp, project: str) -> None:
    device = conformant.device(project)
    assert conformant.manage("DELETE", f"/users/{device.user}").status_code == 200
    _judge(conformant, device, device.assertion())


def test_a_deactivated_grant_leaves_the_roles_out(conformant: Idp, project: str) -> None:
    device = conformant.device(project)
    path = f"/users/{device.user}/grants/{device.grant}"
    assert conformant.manage("POST", f"{path}/_deactivate", {}).status_code == 200
    wait_until(lambda: payload(device.ask()), "no role in new tokens", timeout=20, until=_without_roles)
    assert conformant.manage("POST", f"{path}/_reactivate", {}).status_code == 200
    wait_until(lambda: payload(device.ask()), "the role is back", timeout=20, until=lambda c: not _without_roles(c))


def _without_roles(claims: dict[str, object]) -> bool:
    return not [name for name in claims if name.endswith(":roles")]


REQUESTS: dict[str, tuple[dict[str, str], Outcome]] = {
    "no grant_type": ({"assertion": "x"}, (400, "invalid_request")),
    "unknown grant_type": ({"grant_type": "nonsense"}, (400, "unsupported_grant_type")),
    "no assertion": ({"grant_type": JWT_PROFILE, "scope": "openid"}, (400, "invalid_request")),
    "empty assertion": ({"grant_type": JWT_PROFILE, "scope": "openid", "assertion": ""}, (400, "invalid_request")),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_an_incomplete_request_is_refused(conformant: Idp, name: str) -> None:
    form, wanted = REQUESTS[name]
    answer = conformant.token(form)
    assert (answer.status_code, answer.json()["error"]) == wanted


def test_a_request_without_scope_is_refused(conformant: Idp, enrolled: Device) -> None:
    answer = conformant.token({"grant_type": JWT_PROFILE, "assertion": enrolled.assertion()})
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


def test_get_and_json_have_no_grant_type(conformant: Idp) -> None:
    got = conformant.http.get("/oauth/v2/token")
    posted = conformant.http.post("/oauth/v2/token", json={"grant_type": JWT_PROFILE})
    assert [(answer.status_code, answer.json()["error"]) for answer in (got, posted)] == [(400, "invalid_request")] * 2


def test_the_newest_version_tells_keys_from_claims(double: Idp) -> None:
    device = double.device(double.project())
    assert _outcome(device, device.assertion(header={"alg": "RS256", "kid": "1"})) == (400, "invalid_client")
    assert _outcome(device, device.assertion(aud="x")) == (400, "invalid_grant")
