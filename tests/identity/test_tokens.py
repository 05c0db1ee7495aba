"""The device's token client against the Zitadel double: what works, and what is said of everything that does not."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from joserfc.jwk import RSAKey

from fleet.contract.config import FleetDeviceAuth
from fleet.contract.errors import FleetError, InvalidInput, NotPermitted, Unreachable
from fleet.identity.access_token import AccessToken
from fleet.identity.device_token import roles
from fleet.identity.tokens import fetch_token, parse_machine_key_file
from harness.doubles.zitadel.modes import TokenErrors
from harness.doubles.zitadel.serve import make_certificate, running
from tests.doubles.zitadel.idp import Device, Idp, claims_of, spare_key

YEAR = 365 * 86400


def _fetch(auth: FleetDeviceAuth, *, within: float = 10, off: float = 0) -> AccessToken:
    return asyncio.run(fetch_token(auth, within=within, clock=lambda: time.time() + off))


def _changed(auth: FleetDeviceAuth, **fields: str) -> FleetDeviceAuth:
    """`auth` with another issuer or CA, or with another machine key field."""
    own = {name: value for name, value in fields.items() if name in {"issuer", "ca", "project"}}
    key = {name: value for name, value in fields.items() if name not in own}
    changed = msgspec.structs.replace(auth, **own)
    return msgspec.structs.replace(changed, machine_key=msgspec.structs.replace(auth.machine_key, **key))


def _refusal(kind: type[FleetError], auth: FleetDeviceAuth, **options: float) -> FleetError:
    with pytest.raises(kind) as refused:
        _fetch(auth, **options)
    assert auth.machine_key.key not in str(refused.value)
    return refused.value


def test_a_machine_key_becomes_a_token_with_the_role(idp: Idp, device: Device) -> None:
    before = time.monotonic()
    token = _fetch(device.auth)
    claims = claims_of(token.text)
    assert (claims["sub"], claims["aud"]) == (device.user, [device.project])
    assert roles(token.text, device.project) == {"device"}
    assert token.lifetime == 12 * 3600
    assert before + token.lifetime <= token.expires_at <= time.monotonic() + token.lifetime


def test_the_lifetime_counts_from_before_the_request(idp: Idp, device: Device) -> None:
    idp.set(tokenLifetime=60, latency=0.2)
    token = _fetch(device.auth)
    assert token.expires_at - time.monotonic() <= 60 - 0.2


def test_a_token_hides_itself(device: Device) -> None:
    token = AccessToken("secret-text", 1.0, 2.0)
    assert "secret-text" not in f"{token!r} {token}"
    assert device.key.key not in repr(device.auth)


@pytest.mark.parametrize("off", [-20 * 60, 20 * 60])
def test_a_clock_that_is_minutes_off_does_not_matter(idp: Idp, device: Device, off: float) -> None:
    assert _fetch(device.auth, off=off).text


@pytest.mark.parametrize("off", [-20 * 60, 0, 20 * 60])
def test_a_token_tells_how_the_clocks_differ(idp: Idp, device: Device, off: float) -> None:
    assert _fetch(device.auth, off=off).clock_ahead == pytest.approx(off, abs=2)


def test_a_refusal_says_the_difference_in_seconds(idp: Idp, project: str) -> None:
    gone = idp.device(project)
    idp.manage("DELETE", f"/users/{gone.user}/keys/{gone.key.key_id}")
    said = re.search(
        r"this machine's clock is (\d+) s behind the issuer's", _refusal(NotPermitted, gone.auth, off=-90).what
    )
    assert said is not None
    assert int(said[1]) == pytest.approx(90, abs=2)
    far = re.search(r"a difference of (\d+) s", _refusal(NotPermitted, gone.auth, off=7200).what)
    assert far is not None
    assert int(far[1]) == pytest.approx(7200, abs=2)


@pytest.mark.parametrize(("off", "said"), [(-26 * YEAR, "26 years behind"), (5 * YEAR, "5 years ahead of")])
def test_a_clock_off_by_years_is_said_so(idp: Idp, device: Device, off: float, said: str) -> None:
    error = _refusal(NotPermitted, device.auth, off=off)
    assert said in error.what
    assert "timedatectl" in error.next_step


def test_an_issuer_whose_clock_is_off_is_said_so_too(idp: Idp, device: Device) -> None:
    idp.set(clockOffset=3 * YEAR)
    assert "3 years behind" in _refusal(NotPermitted, device.auth).what


@pytest.mark.parametrize("generation", TokenErrors)
def test_every_generation_refuses_a_removed_key_and_it_is_said_the_same(
    idp: Idp, project: str, generation: TokenErrors
) -> None:
    gone = idp.device(project)
    idp.manage("DELETE", f"/users/{gone.user}/keys/{gone.key.key_id}")
    idp.set(tokenErrors=generation.value)
    error = _refusal(NotPermitted, gone.auth)
    assert "was removed, has expired, or is of another instance" in error.what
    assert "fleet device enroll --replace" in error.next_step
    assert ("may be ill" in error.next_step) == (generation is TokenErrors.V4_10)


@pytest.mark.parametrize("generation", TokenErrors)
def test_a_key_of_another_instance_names_the_trap(idp: Idp, device: Device, generation: TokenErrors) -> None:
    assert idp.double is not None
    idp.set(tokenErrors=generation.value)
    error = _refusal(NotPermitted, _changed(device.auth, issuer=idp.double.issuer_at("127.0.0.1")))
    assert "another instance" in error.what
    assert "localhost and 127.0.0.1 are different" in error.next_step


def test_another_private_key_under_the_same_id_is_refused(idp: Idp, device: Device) -> None:
    assert "refused machine key" in _refusal(NotPermitted, _changed(device.auth, key=spare_key())).what


@pytest.mark.parametrize("action", ["_deactivate", "_lock"])
def test_a_user_who_is_not_active_is_told_from_a_bad_key(idp: Idp, project: str, action: str) -> None:
    device = idp.device(project)
    idp.manage("POST", f"/users/{device.user}/{action}", {})
    assert "deactivated or locked" in _refusal(NotPermitted, device.auth).what


def test_a_key_past_its_date_is_refused_by_the_issuers_clock(idp: Idp, device: Device) -> None:
    auth = _changed(device.auth, expiration_date="2020-02-03T00:00:00Z")
    assert "expired on 2020-02-03" in _refusal(NotPermitted, auth).what


def test_an_unknown_host_is_no_instance(idp: Idp, device: Device) -> None:
    idp.set(faults=[{"path": "/.well-known", "status": 404}])
    error = _refusal(InvalidInput, device.auth)
    assert "no Zitadel instance" in error.what
    assert "perhaps 127.0.0.1" in error.next_step


def test_a_certificate_of_another_ca_is_refused(idp: Idp, device: Device) -> None:
    ca, _, _ = make_certificate(["localhost"])
    error = _refusal(InvalidInput, _changed(device.auth, ca=ca))
    assert "not signed by the CA given" in error.what


def test_a_host_that_the_certificate_does_not_name_is_refused(device: Device, tmp_path: Path) -> None:
    with running(tmp_path, domains=["localhost"]) as double:
        auth = _changed(device.auth, issuer=double.issuer_at("127.0.0.1"), ca=double.ca)
        error = _refusal(InvalidInput, auth)
    assert "another host name" in error.what
    assert "perhaps localhost" in error.next_step


@pytest.mark.parametrize(("days", "said"), [(-40, "not valid yet"), (40, "no longer valid")])
def test_a_certificate_outside_its_days_tells_this_machines_clock(
    device: Device, tmp_path: Path, days: int, said: str
) -> None:
    with running(tmp_path, made=datetime.now(UTC) - timedelta(days=days)) as double:
        error = _refusal(Unreachable, _changed(device.auth, issuer=double.issuer, ca=double.ca))
    assert said in error.what
    assert f"{datetime.now(UTC):%Y-%m-%d}" in error.what
    assert "set the clock" in error.next_step


def test_nobody_there_is_unreachable(device: Device) -> None:
    error = _refusal(Unreachable, _changed(device.auth, issuer="https://localhost:1"))
    assert "https://localhost:1 does not answer" in error.what


def test_a_name_that_does_not_resolve_is_unreachable(device: Device) -> None:
    assert "does not answer" in _refusal(Unreachable, _changed(device.auth, issuer="https://nowhere.invalid")).what


@pytest.mark.parametrize("path", ["/.well-known", "/oauth/v2/token"])
def test_an_issuer_that_hangs_is_unreachable_in_time(idp: Idp, device: Device, path: str) -> None:
    idp.set(faults=[{"path": path, "hang": True}])
    assert "in time" in _refusal(Unreachable, device.auth, within=0.5).what


@pytest.mark.parametrize("path", ["/.well-known", "/oauth/v2/token"])
@pytest.mark.parametrize("status", [429, 502, 503])
def test_an_issuer_that_is_ill_is_unreachable(idp: Idp, device: Device, path: str, status: int) -> None:
    idp.set(faults=[{"path": path, "status": status}])
    assert f"answers {status}" in _refusal(Unreachable, device.auth).what
    assert _fetch(device.auth).text, "and is asked again"


def test_a_slow_issuer_is_waited_for(idp: Idp, device: Device) -> None:
    idp.set(latency=0.3)
    assert _fetch(device.auth).text


def _file(**changes: object) -> bytes:
    good = {"type": "serviceaccount", "keyId": "1", "key": spare_key(), "expirationDate": "2099-01-01T00:00:00Z"}
    return msgspec.json.encode({**good, "userId": "2", **changes})


def test_a_key_file_is_parsed() -> None:
    key = parse_machine_key_file(_file())
    assert (key.user_id, key.key_id, key.expiration_date) == ("2", "1", "2099-01-01T00:00:00Z")


def test_an_old_key_file_without_a_date_never_expires() -> None:
    old = {name: value for name, value in msgspec.json.decode(_file()).items() if name != "expirationDate"}
    assert parse_machine_key_file(msgspec.json.encode(old)).expiration_date == "9999-12-31T23:59:59Z"


def _public() -> str:
    return RSAKey.import_key(spare_key()).as_pem(private=False).decode()


BAD_FILES: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", "truncated or not JSON"),
    "cut in the middle": (lambda: _file()[: len(_file()) // 2], "truncated or not JSON"),
    "without its last byte": (lambda: _file()[:-1], "truncated or not JSON"),
    "not UTF-8": (lambda: b"\xff\xfe", "truncated or not JSON"),
    "a list": (lambda: b"[]", "not a machine key file"),
    "a number as key": (lambda: _file(key=5), "not a machine key file"),
    "no user": (lambda: _file(userId=""), "names no user"),
    "an application's key": (lambda: _file(type="application"), "not 'serviceaccount'"),
    "a key cut short": (lambda: _file(key=spare_key()[:800]), "truncated or damaged"),
    "a key with a hole": (lambda: _file(key=spare_key().replace("\n", "", 3)[5:]), "truncated or damaged"),
    "no key": (lambda: _file(key=""), "truncated or damaged"),
    "a public key": (lambda: _file(key=_public()), "holds a public key"),
    "a date that is none": (lambda: _file(expirationDate="soon"), "which is no time"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_key_file_is_refused_and_says_why(name: str) -> None:
    make, said = BAD_FILES[name]
    with pytest.raises(InvalidInput) as refused:
        parse_machine_key_file(make())
    assert said in refused.value.what
    assert spare_key()[40:80] not in str(refused.value)


def test_a_truncated_key_on_disk_is_refused_before_anything_is_contacted(device: Device) -> None:
    auth = _changed(device.auth, key=device.key.key[:900], issuer="https://localhost:1")
    assert "truncated or damaged" in _refusal(InvalidInput, auth).what


def test_an_agent_imports_nothing_heavy_for_its_tokens() -> None:
    heavy = ["kubernetes", "typer", "starlette", "uvicorn", "aiohttp"]
    code = f"import sys, fleet.identity.tokens; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.strip() == "[]"


def test_a_handshake_that_is_given_up_is_closed(device: Device) -> None:
    """An agent that is cut off asks for tokens for as long as it lives; each question must leave nothing open."""
    asyncio.run(_given_up(device.auth))


async def _given_up(auth: FleetDeviceAuth) -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readexactly(1) == b"\x16", "a TLS handshake has begun"
        begun.set()
        await reader.read()
        writer.close()
        ended.set()

    async with await asyncio.start_server(hang, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        asked = asyncio.create_task(fetch_token(_changed(auth, issuer=f"https://localhost:{port}"), within=60))
        await asyncio.wait_for(begun.wait(), 60)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        await asyncio.wait_for(ended.wait(), 20)
