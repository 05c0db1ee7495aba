"""What the double can be made to do, and that only the admin can make it."""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import pytest

from harness.wait import wait_until
from tests.doubles.zitadel.idp import Device, Idp, payload, unique

Json = dict[str, Any]


@pytest.fixture(scope="module")
def device(_one_double: Idp) -> Device:
    """A device of the double."""
    return _one_double.device(_one_double.project())


def _control(idp: Idp, method: str, path: str, body: object = None, token: str = "") -> httpx.Response:
    headers = {"Authorization": f"Bearer {token or idp.admin_token}"}
    return idp.http.request(method, f"/_double{path}", json=body, headers=headers)


def test_modes_are_shown_changed_and_reset(double: Idp) -> None:
    healthy = _control(double, "GET", "/modes").json()
    assert _control(double, "PATCH", "/modes", {"lag": 2}).json() == {**healthy, "lag": 2}
    assert _control(double, "PATCH", "/modes", {"latency": 0.001}).json()["lag"] == 2
    assert _control(double, "DELETE", "/modes").json() == healthy


@pytest.mark.parametrize(
    "patch", [{"nonsense": 1}, {"lag": -1}, {"tokenErrors": "v1"}, {"faults": [{"path": "x"}]}, [], {"lag": "NaN"}]
)
def test_a_mode_that_does_not_exist_changes_nothing(double: Idp, patch: object) -> None:
    healthy = _control(double, "GET", "/modes").json()
    assert _control(double, "PATCH", "/modes", patch).status_code == 400
    assert _control(double, "GET", "/modes").json() == healthy


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/modes"), ("PATCH", "/modes"), ("POST", "/keys/rotate"), ("DELETE", "/keys/inactive"), ("GET", "/calls")],
)
def test_only_the_main_admin_controls(double: Idp, device: Device, method: str, path: str) -> None:
    for token in ("garbage", device.access_token()):
        assert _control(double, method, path, {}, token).status_code == 403


def test_latency_delays_but_not_the_control(double: Idp) -> None:
    double.set(latency=2)
    started = time.monotonic()
    double.http.get("/.well-known/openid-configuration")
    assert time.monotonic() - started >= 2
    started = time.monotonic()
    _control(double, "GET", "/modes")
    assert time.monotonic() - started < 2


def test_a_fault_meets_the_path_as_often_as_told(double: Idp, device: Device) -> None:
    double.set(faults=[{"path": "/oauth/v2/token", "status": 502, "times": 2}])
    assert [device.ask().status_code for _ in range(3)] == [502, 502, 200]
    assert double.http.get("/oauth/v2/keys").status_code == 200


def test_a_hang_answers_nothing(double: Idp, device: Device) -> None:
    double.set(faults=[{"path": "/oauth/v2/keys", "hang": True}])
    with pytest.raises(httpx.ReadTimeout):
        double.http.get("/oauth/v2/keys", timeout=0.2)
    assert double.http.get("/oauth/v2/keys").status_code == 200


def test_a_new_key_lags_and_looks_unknown(double: Idp) -> None:
    double.set(lag=60, tokenErrors="v4.10")
    late = double.device(double.project())
    assert late.ask().status_code == 500
    double.set(lag=0)
    assert late.ask().status_code == 200


def test_a_personal_access_token_lags_when_made_and_when_removed(double: Idp) -> None:
    double.set(lag=60)
    user = double.made("/users/machine", {"userName": unique("user"), "name": "x"})["userId"]
    made = double.made(f"/users/{user}/pats", {})

    def works() -> tuple[bool, bool]:
        answer = double.http.get("/oidc/v1/userinfo", headers={"Authorization": f"Bearer {made['token']}"})
        return answer.status_code == 200, "result" in double.made(f"/users/{user}/pats/_search", {})

    assert works() == (False, False)
    double.set(lag=0)
    assert works() == (True, True)
    double.set(lag=60)
    removal = ("DELETE", f"/users/{user}/pats/{made['tokenId']}")
    assert double.manage(*removal).status_code == 200
    assert double.manage(*removal).status_code == 404, "a second removal is refused at once"
    double.set(lag=0)
    assert works() == (False, False)


def test_a_new_grant_lags_and_its_role_is_missing(double: Idp) -> None:
    project = double.project()
    role = f"urn:zitadel:iam:org:project:{project}:roles"
    later, late = (double.device(project, role=False) for _ in range(2))
    double.set(lag=60)
    double.made(f"/users/{later.user}/grants", {"projectId": project, "roleKeys": ["device"]})
    assert role not in payload(later.ask())
    double.set(lag=0.2)
    double.made(f"/users/{late.user}/grants", {"projectId": project, "roleKeys": ["device"]})
    wait_until(lambda: list(payload(late.ask())), "the grant shows", timeout=30, until=lambda names: role in names)


def test_searches_lag_but_a_second_creation_is_refused_at_once(double: Idp) -> None:
    double.set(lag=60)
    asked = {"userName": unique("user"), "name": "x"}
    double.made("/users/machine", asked)
    query = {"queries": [{"userNameQuery": {"userName": asked["userName"]}}]}
    assert "result" not in double.made("/users/_search", query)
    assert double.manage("POST", "/users/machine", asked).status_code == 409


def test_the_clock_moves_tokens_checks_and_the_date_header(double: Idp, device: Device) -> None:
    year = 365 * 86400
    double.set(clockOffset=year)
    date = parsedate_to_datetime(double.http.get("/oauth/v2/keys").headers["date"]).timestamp()
    assert abs(date - time.time() - year) < 5
    assert device.ask().status_code == 400, "an assertion of today is expired then"
    now = int(time.time()) + year
    assert abs(payload(device.ask(device.assertion(iat=now, exp=now + 60)))["iat"] - now) < 5


def test_the_lifetime_of_tokens_is_a_mode(double: Idp, device: Device) -> None:
    double.set(tokenLifetime=7)
    claims = payload(device.ask())
    assert claims["exp"] - claims["iat"] == 7


def test_what_a_faulty_issuer_would_sign_is_a_mode(double: Idp, device: Device) -> None:
    double.set(claims={"aud": ["somebody-else"], "exp": 1})
    forged = payload(device.ask())
    assert (forged["aud"], forged["exp"]) == (["somebody-else"], 1)
    assert forged["sub"] == device.user, "what is not named is as ever"
    double.set(claims={})
    assert payload(device.ask())["exp"] > 1


def test_web_keys_rotate_through_their_states(double: Idp, device: Device) -> None:
    published = {key["kid"] for key in double.http.get("/oauth/v2/keys").json()["keys"]}
    keys = _control(double, "POST", "/keys/rotate").json()["keys"]
    assert [key["state"] for key in keys][-2:] == ["ACTIVE", "INITIAL"]
    assert published < {key["id"] for key in keys}, "an inactive key is still published"
    (active,) = [key["id"] for key in keys if key["state"] == "ACTIVE"]
    assert active in published, "the next key was known before it was used"
    left = {key["id"] for key in _control(double, "DELETE", "/keys/inactive").json()["keys"]}
    assert left == {key["kid"] for key in double.http.get("/oauth/v2/keys").json()["keys"]}
    assert len(left) == 2
    assert device.ask().status_code == 200


def test_calls_are_counted(double: Idp) -> None:
    before = _control(double, "GET", "/calls").json().get("GET /oauth/v2/keys", 0)
    double.http.get("/oauth/v2/keys")
    assert _control(double, "GET", "/calls").json()["GET /oauth/v2/keys"] == before + 1
