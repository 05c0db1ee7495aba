"""The device flow (RFC 8628), as the identity reference has it; a person's part needs the double's page."""

from __future__ import annotations

import re

import httpx
import pytest

from harness.doubles.zitadel.modes import DeviceErrors, Modes
from harness.wait import wait_until
from tests.doubles.zitadel.idp import DEVICE_CODE, Idp, claims_of

Json = dict[str, object]


@pytest.fixture(scope="session")
def client_id(conformant: Idp, project: str) -> str:
    """A native application for device logins, known to the issuer."""
    client_id = conformant.device_app(project)
    wait_until(lambda: _start(conformant, client_id).status_code, "the client is known", timeout=30, until=(200).__eq__)
    return client_id


def _start(idp: Idp, client_id: str, scope: str = "openid") -> httpx.Response:
    return idp.http.post("/oauth/v2/device_authorization", data={"client_id": client_id, "scope": scope})


def _poll(idp: Idp, client_id: str, device_code: object) -> tuple[int, str]:
    form = {"grant_type": DEVICE_CODE, "client_id": client_id, "device_code": device_code}
    answer = idp.token(form)
    return answer.status_code, answer.json().get("error", "")


def _decide(idp: Idp, user_code: object, action: str = "allow", **changes: str) -> httpx.Response:
    assert idp.double is not None
    login, password = idp.double.admin_password()
    form = {"user_code": user_code, "login_name": login, "password": password, "action": action, **changes}
    return idp.http.post("/device", data=form)


def test_an_authorization_has_the_codes_and_the_addresses(conformant: Idp, client_id: str) -> None:
    found = _start(conformant, client_id).json()
    assert re.fullmatch(r"[A-Z]{4}-[A-Z]{4}", found["user_code"])
    assert found["verification_uri"] == f"{conformant.issuer}/device"
    assert found["user_code"] in found["verification_uri_complete"]
    assert (found["expires_in"], found["interval"]) == (300, 5)


def test_an_unknown_client_gets_no_codes(conformant: Idp) -> None:
    answer = _start(conformant, "123")
    assert (answer.status_code, answer.json()["error"]) in {(400, "invalid_client"), (500, "server_error")}


def test_a_poll_before_the_decision_is_pending(conformant: Idp, client_id: str) -> None:
    code = _start(conformant, client_id).json()["device_code"]
    assert _poll(conformant, client_id, code) == (400, "authorization_pending")


def test_an_unknown_device_code_is_refused(conformant: Idp, client_id: str) -> None:
    assert _poll(conformant, client_id, "nonsense") in {(400, "invalid_grant"), (400, "access_denied")}


@pytest.fixture
def app(double: Idp) -> str:
    """The client id of an application of the double."""
    return double.device_app(double.project())


@pytest.mark.parametrize("generation", DeviceErrors)
def test_both_generations_of_refusals_can_be_played(double: Idp, app: str, generation: DeviceErrors) -> None:
    double.set(deviceErrors=generation.value)
    assert _poll(double, app, "nonsense") == (400, generation.value)


def test_an_approved_code_gives_one_jwt_for_the_application(double: Idp, app: str) -> None:
    scope = "openid profile urn:zitadel:iam:org:project:id:zitadel:aud"
    started = _start(double, app, scope).json()
    approved = _decide(double, started["user_code"])
    assert (approved.status_code, "Allowed" in approved.text) == (200, True)
    form = {"grant_type": DEVICE_CODE, "client_id": app, "device_code": started["device_code"]}
    answer = double.token(form).json()
    claims = claims_of(answer["access_token"])
    assert claims["client_id"] == app
    assert app in claims["aud"]
    assert "id_token" in answer
    assert double.manage("GET", "/orgs/me", token=answer["access_token"]).status_code == 200, "the admin's own token"
    assert _poll(double, app, started["device_code"]) == (400, "invalid_grant"), "a code is good for one token"


def test_without_the_audience_of_zitadel_itself_an_admins_token_manages_nothing(double: Idp, app: str) -> None:
    started = _start(double, app).json()
    _decide(double, started["user_code"])
    form = {"grant_type": DEVICE_CODE, "client_id": app, "device_code": started["device_code"]}
    token = double.token(form).json()["access_token"]
    assert double.manage("GET", "/orgs/me", token=token).status_code == 401


def test_the_generic_role_claim_is_in_an_applications_token(double: Idp) -> None:
    project = double.project()
    app = double.device_app(project)
    people = double.manage("POST", "/users/_search", {}).json()["result"]
    (human,) = [user["id"] for user in people if "human" in user]
    double.made(f"/users/{human}/grants", {"projectId": project, "roleKeys": ["device"]})
    started = _start(
        double, app, f"openid urn:zitadel:iam:org:project:id:{project}:aud urn:zitadel:iam:org:projects:roles"
    )
    _decide(double, started.json()["user_code"])
    form = {"grant_type": DEVICE_CODE, "client_id": app, "device_code": started.json()["device_code"]}
    claims = claims_of(double.token(form).json()["access_token"])
    assert claims["urn:zitadel:iam:org:project:roles"] == claims[f"urn:zitadel:iam:org:project:{project}:roles"]


def test_a_denied_code_is_denied(double: Idp, app: str) -> None:
    started = _start(double, app).json()
    assert "Denied" in _decide(double, started["user_code"], "deny").text
    assert _poll(double, app, started["device_code"]) == (400, "access_denied")


def test_an_expired_code_says_so_and_cannot_be_approved(double: Idp, app: str) -> None:
    started = _start(double, app).json()
    double.set(clockOffset=301)
    assert _poll(double, app, started["device_code"]) == (400, "expired_token")
    assert _decide(double, started["user_code"]).status_code == 400


def test_slow_down_is_played_as_often_as_asked(double: Idp, app: str) -> None:
    code = _start(double, app).json()["device_code"]
    double.set(slowDown=1)
    polls = [_poll(double, app, code)[1] for _ in range(2)]
    assert polls == ["slow_down", "authorization_pending"]


def test_another_clients_code_is_unknown(double: Idp, app: str) -> None:
    code = _start(double, app).json()["device_code"]
    other = double.device_app(double.project())
    assert _poll(double, other, code) == (400, "invalid_grant")


def test_the_page_is_a_form_with_the_code_filled_in_and_escaped(double: Idp, app: str) -> None:
    started = _start(double, app).json()
    page = double.http.get(started["verification_uri_complete"])
    assert page.headers["content-type"].startswith("text/html")
    assert f'value="{started["user_code"]}"' in page.text
    assert "<script" not in double.http.get("/device", params={"user_code": '"><script>'}).text


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"password": "wrong"}, 401),
        ({"password": ""}, 401),
        ({"login_name": "nobody"}, 401),
        ({"login_name": "fleet-admin", "password": ""}, 401),
        ({"action": "perhaps"}, 400),
        ({"user_code": "AAAA-AAAA"}, 400),
    ],
)
def test_the_page_refuses_whoever_is_not_the_admin(double: Idp, app: str, changes: dict[str, str], status: int) -> None:
    started = _start(double, app).json()
    assert _decide(double, changes.pop("user_code", started["user_code"]), **changes).status_code == status
    assert _poll(double, app, started["device_code"]) == (400, "authorization_pending")


def test_codes_typed_by_people_are_forgiven_case_and_blanks(double: Idp, app: str) -> None:
    started = _start(double, app).json()
    assert _decide(double, f" {started['user_code'].lower()} ").status_code == 200


def test_interval_and_lifetime_are_modes(double: Idp, app: str) -> None:
    assert double.double is not None
    double.double.double.modes = Modes(device_interval=1, device_lifetime=7)
    found = _start(double, app).json()
    assert (found["interval"], found["expires_in"]) == (1, 7)
