"""How an admin gets in: device-code login and token file, against the Zitadel double."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from fleet.contract.errors import FleetError, InvalidInput, NotFound, NotPermitted, TimedOut, Unreachable
from fleet.identity.access_token import AccessToken
from fleet.identity.device_login import Clock, Prompt, device_login
from fleet.identity.zitadel import Zitadel
from fleet.topology.admin import AdminAuth
from tests.doubles.zitadel.idp import Idp


@pytest.fixture(scope="module")
def client_id(_one_double: Idp, project: str) -> str:
    """The client id of the application for device logins."""
    return _one_double.device_app(project)


class Time:
    """A clock that only moves when slept on; remembers every sleep, and what to do during the next one."""

    def __init__(self, *during: Callable[[], object]) -> None:
        self.at, self.slept, self._during = 0.0, list[float](), list(during)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.at += seconds
        if self._during:
            self._during.pop(0)()

    @property
    def clock(self) -> Clock:
        return Clock(now=lambda: self.at, sleep=self.sleep)


class Person:
    """Reads the prompt, and decides in the browser."""

    def __init__(self, idp: Idp) -> None:
        self.idp = idp
        self.told: list[Prompt] = []

    def decide(self, action: str) -> httpx.Response:
        assert self.idp.double is not None
        login, password = self.idp.double.admin_password()
        form = {"user_code": self.told[-1].user_code, "login_name": login, "password": password, "action": action}
        answer = self.idp.http.post("/device", data=form)
        assert answer.status_code == 200
        return answer


def _login(idp: Idp, client_id: str, person: Person, time: Time) -> AccessToken:
    return device_login(idp.issuer, idp.ca, client_id, tell=person.told.append, clock=time.clock)


def _refusal(kind: type[FleetError], idp: Idp, client_id: str, time: Time, person: Person | None = None) -> str:
    with pytest.raises(kind) as refused:
        _login(idp, client_id, person or Person(idp), time)
    return str(refused.value)


def test_a_login_that_is_allowed_gives_a_token_that_manages(idp: Idp, client_id: str) -> None:
    person = Person(idp)
    time = Time(lambda: None, lambda: person.decide("allow"))
    token = _login(idp, client_id, person, time)
    assert time.slept == [5, 5]
    (prompt,) = person.told
    assert prompt.verification_uri == f"{idp.issuer}/device"
    assert prompt.user_code in prompt.verification_uri_complete
    with Zitadel(idp.issuer, idp.ca, token.text) as zitadel:
        assert zitadel.check().name == "fleet"


def test_the_interval_is_the_issuers(idp: Idp, client_id: str) -> None:
    idp.set(deviceInterval=2)
    person = Person(idp)
    time = Time(lambda: person.decide("allow"))
    _login(idp, client_id, person, time)
    assert time.slept == [2]


def test_slow_down_is_obeyed_for_good(idp: Idp, client_id: str) -> None:
    idp.set(slowDown=2)
    person = Person(idp)
    time = Time(*[lambda: None] * 3, lambda: person.decide("allow"))
    _login(idp, client_id, person, time)
    assert time.slept == [5, 10, 15, 15]


def test_a_login_that_is_denied(idp: Idp, client_id: str) -> None:
    person = Person(idp)
    said = _refusal(NotPermitted, idp, client_id, Time(lambda: person.decide("deny")), person)
    assert "denied (access_denied" in said


@pytest.mark.parametrize("generation", ["invalid_grant", "access_denied"])
def test_a_code_that_the_issuer_forgot(idp: Idp, client_id: str, generation: str) -> None:
    idp.set(deviceErrors=generation)
    assert idp.double is not None
    instance = idp.double.double.store.instances["localhost"]
    time = Time(lambda: setattr(instance, "device_codes", {}))
    assert f"denied ({generation}" in _refusal(NotPermitted, idp, client_id, time)


def test_a_code_that_expires_at_the_issuer(idp: Idp, client_id: str) -> None:
    time = Time(lambda: idp.set(clockOffset=301))
    assert "expired before it was approved" in _refusal(TimedOut, idp, client_id, time)


def test_nobody_decides(idp: Idp, client_id: str) -> None:
    idp.set(deviceLifetime=12)
    time = Time()
    assert "nobody approved" in _refusal(TimedOut, idp, client_id, time)
    assert time.slept == [5, 5, 2], "never past the deadline"


def test_a_user_who_was_locked_after_allowing(idp: Idp, client_id: str) -> None:
    person = Person(idp)
    assert idp.double is not None
    users = idp.double.double.store.instances["localhost"].users
    (human,) = [user for user in users.values() if not user.machine]

    def allow_and_lock() -> None:
        person.decide("allow")
        human.state = "LOCKED"

    try:
        assert "must be active" in _refusal(NotPermitted, idp, client_id, Time(allow_and_lock), person)
    finally:
        human.state = "ACTIVE"


@pytest.mark.parametrize("status", [400, 500])
def test_an_unknown_client(idp: Idp, status: int) -> None:
    if status == 500:  # the older answer
        idp.set(faults=[{"path": "/oauth/v2/device_authorization", "status": 500}])
        assert "answers 500" in _refusal(Unreachable, idp, "123", Time())
    else:
        assert "knows no client '123'" in _refusal(InvalidInput, idp, "123", Time())


def test_an_issuer_that_falls_ill_during_the_login(idp: Idp, client_id: str) -> None:
    time = Time(lambda: idp.set(faults=[{"path": "/oauth/v2/token", "status": 503}]))
    assert "503" in _refusal(Unreachable, idp, client_id, time)


def test_nobody_there(idp: Idp) -> None:
    with pytest.raises(Unreachable, match="does not answer"):
        device_login("https://localhost:1", idp.ca, "1", tell=lambda _: None)


def test_an_issuer_that_is_none(idp: Idp) -> None:
    with pytest.raises(InvalidInput, match="is not an issuer"):
        device_login("http://localhost:1", idp.ca, "1", tell=lambda _: None)


def _never(_: Prompt) -> None:
    raise AssertionError("nobody is to be asked")


def _file(tmp_path: Path, content: bytes, mode: int = 0o600) -> Path:
    path = tmp_path / "pat"
    path.write_bytes(content)
    path.chmod(mode)
    return path


def test_a_token_file_is_read_without_its_line_end(idp: Idp, tmp_path: Path) -> None:
    token = AdminAuth(token_file=_file(tmp_path, b"secret\n")).access_token(idp.issuer, idp.ca, _never)
    assert (token.text, token.expires_at) == ("secret", math.inf)


@pytest.mark.parametrize(
    ("content", "mode", "said"),
    [
        (b"", 0o600, "holds no access token"),
        (b"two words", 0o600, "holds no access token"),
        (b"\xff", 0o600, "holds no access token"),
        (b"hunter2", 0o644, "has mode 0644"),
        (b"hunter2", 0o640, "has mode 0640"),
    ],
)
def test_a_token_file_that_is_unfit(tmp_path: Path, content: bytes, mode: int, said: str) -> None:
    auth = AdminAuth(token_file=_file(tmp_path, content, mode))
    with pytest.raises(InvalidInput, match=said) as refused:
        auth.access_token("https://localhost", "", _never)
    assert "hunter2" not in str(refused.value)


def test_a_token_file_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="cannot read the admin's token"):
        AdminAuth(token_file=tmp_path / "none").access_token("https://localhost", "", _never)


@pytest.mark.parametrize("both", [True, False])
def test_an_admin_has_exactly_one_way(both: bool) -> None:
    with pytest.raises(InvalidInput, match="either by device code or") as refused:
        AdminAuth("1", Path("x")) if both else AdminAuth()
    assert "only one of them" in refused.value.next_step


def test_a_device_login_goes_through_the_same_door(idp: Idp, client_id: str) -> None:
    idp.set(deviceInterval=1)
    person = Person(idp)

    def tell(prompt: Prompt) -> None:
        person.told.append(prompt)
        person.decide("allow")

    token = AdminAuth(oidc_client_id=client_id).access_token(idp.issuer, idp.ca, tell)
    assert token.lifetime == 12 * 3600
