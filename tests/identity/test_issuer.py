from __future__ import annotations

import time
from email.utils import formatdate

import httpx
import pytest

from fleet.contract.errors import InvalidInput, NotPermitted, Unreachable
from fleet.identity import issuer as idp

HERE = "https://localhost:8443"


@pytest.mark.parametrize("text", [HERE, "https://id.example.com", "https://[::1]:8443", "https://127.0.0.1"])
def test_an_issuer_is_https_and_a_host(text: str) -> None:
    assert idp.parse_issuer(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "localhost",
        "http://localhost",
        "https://",
        "https://localhost/",
        "https://localhost/path",
        "https://localhost?x",
        "https://localhost#x",
        "https://user@localhost",
        "https://local host",
        "https://localhost:99999",
        "https://localhost:0",
        "https://[::1",
        "https://löcalhost",
        "HTTPS://localhost",
        "https://localhost\n",
    ],
)
def test_anything_else_is_refused_before_it_is_contacted(text: str) -> None:
    with pytest.raises(InvalidInput, match="is not an issuer") as refused:
        idp.parse_issuer(text)
    assert "without a trailing slash" in refused.value.next_step


@pytest.mark.parametrize("ca", ["garbage", "-----BEGIN CERTIFICATE-----\ntruncated", "zertifikät"])
def test_a_ca_that_is_none_is_refused(ca: str) -> None:
    with pytest.raises(InvalidInput, match="not a PEM certificate"):
        idp.trust(ca)


def _answer(status: int = 200, **fields: object) -> httpx.Response:
    body = {"issuer": HERE, "token_endpoint": f"{HERE}/oauth/v2/token", **fields}
    return httpx.Response(status, json=body)


def test_discovery_of_the_right_issuer() -> None:
    assert idp.discovered(HERE, _answer()).token_endpoint == f"{HERE}/oauth/v2/token"


@pytest.mark.parametrize(
    "other", [f"{HERE}/", "https://127.0.0.1:8443", "https://LOCALHOST:8443", "http://localhost:8443"]
)
def test_an_issuer_of_another_name_is_refused_byte_for_byte(other: str) -> None:
    with pytest.raises(InvalidInput, match="byte for byte") as refused:
        idp.discovered(HERE, _answer(issuer=other))
    assert other in str(refused.value)
    assert "127.0.0.1 and localhost are different" in refused.value.next_step


def test_a_token_endpoint_elsewhere_is_refused() -> None:
    with pytest.raises(InvalidInput, match="elsewhere"):
        idp.discovered(HERE, _answer(token_endpoint="https://evil.example/token"))


@pytest.mark.parametrize("status", [301, 400, 403, 404])
def test_no_instance_there_names_the_loopback_trap(status: int) -> None:
    with pytest.raises(InvalidInput, match=f"answers {status}") as refused:
        idp.discovered(HERE, httpx.Response(status))
    assert "perhaps 127.0.0.1" in refused.value.next_step


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_a_server_that_is_ill_is_unreachable(status: int) -> None:
    with pytest.raises(Unreachable, match=str(status)):
        idp.discovered(HERE, httpx.Response(status))


@pytest.mark.parametrize("body", [b"<html>", b"", b"[]", b"\xff", b'{"issuer": 5}'])
def test_something_else_than_an_issuer_is_named_so(body: bytes) -> None:
    with pytest.raises(InvalidInput, match="not an OpenID issuer"):
        idp.discovered(HERE, httpx.Response(200, content=body))


def _dated(at: float) -> httpx.Response:
    return httpx.Response(200, headers={"Date": formatdate(at, usegmt=True)})


@pytest.mark.parametrize(
    ("off", "said"),
    [
        (-26 * 365.25 * 86400, "26 years behind"),
        (3 * 365.25 * 86400, "3 years ahead of"),
        (5 * 86400, "5 days ahead of"),
        (-7 * 3600, "7 hours behind"),
        (40 * 60, "40 minutes ahead of"),
    ],
)
def test_a_clock_that_is_off_is_told_by_how_much(off: float, said: str) -> None:
    now = time.time()
    with pytest.raises(NotPermitted, match=said) as refused:
        idp.check_clock(HERE, _dated(now), now + off)
    assert "timedatectl" in refused.value.next_step


@pytest.mark.parametrize("off", [0, 20 * 60, -20 * 60])
def test_a_clock_that_assertions_tolerate_is_fine(off: float) -> None:
    now = time.time()
    idp.check_clock(HERE, _dated(now), now + off)


@pytest.mark.parametrize("headers", [{}, {"Date": "nonsense"}])
def test_without_a_date_the_clock_is_not_judged(headers: dict[str, str]) -> None:
    idp.check_clock(HERE, httpx.Response(200, headers=headers), 0)
