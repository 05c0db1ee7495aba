"""Which tokens let somebody look: none that is forged, foreign, expired or without the role."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from fleet.callout.keys import Keys
from fleet.callout.metrics import Metrics
from fleet.callout.tokens import Tokens
from fleet.contract.config import VIEWER_ROLE
from fleet.contract.errors import FleetError, NotPermitted, Unreachable
from fleet.web.viewer import Viewers
from tests.support.issuer import OTHER_PROJECT, PROJECT, Issuer, roles_claim, rsa
from tests.support.tls import Tls
from tests.support.web import web_page

SOMEBODY = "341"
VIEWER: dict[str, Any] = {roles_claim(PROJECT): {VIEWER_ROLE: {"351": "fleet.localhost"}}}


@pytest.fixture(scope="module")
def issuer(tls: Tls) -> Iterator[Issuer]:
    """An identity provider of this module."""
    found = Issuer(tls)
    yield found
    found.stop()


def admitted(issuer: Issuer, tls: Tls, token: str) -> str:
    """Whose token it is."""
    keys = Keys(issuer.url, tls.ca, Metrics())
    page = web_page(tls, issuer=issuer.url, issuer_ca=tls.ca, project_id=PROJECT)

    async def run() -> str:
        return (await Viewers(Tokens(keys, PROJECT), page).admit(token)).subject

    return asyncio.run(run())


def refusal(issuer: Issuer, tls: Tls, token: str) -> NotPermitted | None:
    """How a token is refused; None where it is not."""
    try:
        admitted(issuer, tls, token)
    except NotPermitted as refused:
        return refused
    return None


def bad(issuer: Issuer) -> dict[str, str]:
    """Tokens, by what is wrong with them."""
    good = issuer.token(SOMEBODY, **VIEWER)
    head, payload, signature = good.split(".")
    ours = roles_claim(PROJECT)
    return {
        "signed by somebody else": issuer.token(SOMEBODY, rsa(9), **VIEWER),
        "another payload under the signature": f"{head}.{payload[:-4]}AAAA.{signature}",
        "no signature": f"{head}.{payload}.",
        "alg none": issuer.unsigned(SOMEBODY),
        "HS256 with the public key": issuer.signed_with_the_public_key(SOMEBODY),
        "another issuer": issuer.token(SOMEBODY, iss="https://issuer.invalid", **VIEWER),
        "another project": issuer.token(SOMEBODY, aud=[OTHER_PROJECT], **VIEWER),
        "expired": issuer.token(SOMEBODY, exp=1, **VIEWER),
        "not valid yet": issuer.token(SOMEBODY, nbf=4_000_000_000, **VIEWER),
        "the role of a device": issuer.token(SOMEBODY),
        "no role": issuer.token(SOMEBODY, **{ours: None}),
        "another project's role": issuer.token(SOMEBODY, **{ours: None, roles_claim(OTHER_PROJECT): VIEWER[ours]}),
        "roles as a text": issuer.token(SOMEBODY, None, **{ours: VIEWER_ROLE}),
        "garbage": "a.b.c",
        "nothing": "",
        "13 KB": good + "A" * 13 * 1024,
    }


def test_a_token_with_the_role_lets_its_user_look(issuer: Issuer, tls: Tls) -> None:
    assert admitted(issuer, tls, issuer.token(SOMEBODY, **VIEWER)) == SOMEBODY


def test_every_bad_token_is_refused_with_what_to_do_next(issuer: Issuer, tls: Tls) -> None:
    answers = {what: refusal(issuer, tls, token) for what, token in bad(issuer).items()}
    assert [what for what, refused in answers.items() if refused is None or not refused.next_step] == []


def test_without_the_role_its_name_is_told(issuer: Issuer, tls: Tls) -> None:
    with pytest.raises(NotPermitted) as refused:
        admitted(issuer, tls, issuer.token(SOMEBODY))
    assert VIEWER_ROLE in f"{refused.value.what} {refused.value.next_step}"


def test_a_provider_whose_keys_cannot_be_had_is_no_fault_of_the_token(issuer: Issuer, tls: Tls) -> None:
    token = issuer.token(SOMEBODY, **VIEWER)
    issuer.status = 503
    try:
        with pytest.raises(FleetError) as failed:
            admitted(issuer, tls, token)
    finally:
        issuer.status = 200
    assert isinstance(failed.value, Unreachable)


@pytest.mark.parametrize(
    ("nonce", "claims"),
    [
        ("", {"nonce": ""}),
        ("sent", {}),
        ("sent", {"nonce": "another"}),
        ("sent", {"nonce": 7}),
        ("sent", {"nonce": "sent", "aud": ["another client"]}),
        ("sent", {"nonce": "sent", "iss": "https://evil.example"}),
        ("sent", {"nonce": "sent", "exp": 1.0}),
    ],
)
def test_an_id_token_answers_one_sign_in(issuer: Issuer, tls: Tls, nonce: str, claims: dict[str, Any]) -> None:
    keys = Keys(issuer.url, tls.ca, Metrics())
    page = web_page(tls, issuer=issuer.url, issuer_ca=tls.ca, project_id=PROJECT, client_id="client-2")
    good = issuer.token(SOMEBODY, aud=["client-2"], nonce="sent")

    async def run() -> None:
        viewers = Viewers(Tokens(keys, PROJECT), page)
        await viewers.check_identity(good, "sent")
        with pytest.raises(NotPermitted, match="answered another sign-in"):
            await viewers.check_identity(issuer.token(SOMEBODY, None, **{"aud": ["client-2"], **claims}), nonce)
        for none in ("", good[:-8]):
            with pytest.raises(NotPermitted):
                await viewers.check_identity(none, "sent")

    asyncio.run(run())
