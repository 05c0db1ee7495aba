"""The NATS JWTs, and their seal."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

import nkeys
import pytest
from nacl.public import Box, PublicKey
from nacl.signing import VerifyKey

from fleet.callout.claims import AuthRequest, Signer, parse_request
from fleet.callout.decide import Allow, Reason
from fleet.callout.seal import ClearRequest, Envelope
from fleet.contract.errors import InvalidInput
from fleet.contract.names import DeviceId
from fleet.contract.permissions import device_permissions
from fleet.nats.keys import Role, curve_key, decode_public, key_pair, new_seed, public_key
from tests.callout.questions import SERVER, USER, question

Json = dict[str, Any]
BASE32 = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
ISSUER = new_seed(Role.ACCOUNT)
REQUEST = AuthRequest(public_key(SERVER), "nats-0", USER, "agent", "10.0.0.1", "the-token")


def read(jwt: bytes) -> Json:
    """The claims of an answer of ours, once its signature is verified."""
    header, payload, signature = jwt.split(b".")
    claims: Json = json.loads(base64.urlsafe_b64decode(payload + b"=="))
    key = VerifyKey(decode_public(claims["iss"], Role.ACCOUNT))
    key.verify(header + b"." + payload, base64.urlsafe_b64decode(signature + b"=="))
    assert json.loads(base64.urlsafe_b64decode(header + b"==")) == {"typ": "JWT", "alg": "ed25519-nkey"}
    return claims


def test_a_servers_question_is_understood() -> None:
    assert parse_request(question()) == REQUEST


def test_a_request_shows_no_token() -> None:
    assert "the-token" not in repr(REQUEST)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"..",
        b"\xff.\xff.\xff",
        question()[:-8] + b"AAAAAAAA",
        question(alg="none"),
        question(aud="another-request"),
        question(new_seed(Role.SERVER)),
        question(new_seed(Role.USER)),
        question(nats={"server_id": {"id": public_key(SERVER)}, "user_nkey": public_key(SERVER)}),
        question(nats=None),
    ],
    ids=[
        *("empty", "dots", "bytes", "signature", "algorithm", "audience", "another server", "a user's", "no user key"),
        "nothing asked",
    ],
)
def test_what_no_server_has_signed_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidInput):
        parse_request(data)


def test_an_allowed_device_gets_its_own_permissions_and_nothing_else() -> None:
    answer = read(Signer(key_pair(ISSUER)).allow(REQUEST, Allow(DeviceId("pi-1"), 1_900_000_000.7)))
    assert (answer["iss"], answer["sub"], answer["aud"]) == (public_key(ISSUER), USER, public_key(SERVER))
    assert answer["nats"]["type"] == "authorization_response"
    user = read(answer["nats"]["jwt"].encode())
    assert (user["sub"], user["aud"], user["name"], user["exp"]) == (USER, "APP", "pi-1", 1_900_000_000)
    allowed = device_permissions(DeviceId("pi-1"))
    assert user["nats"]["pub"] == {"allow": list(allowed.publish)}
    assert user["nats"]["sub"] == {"allow": list(allowed.subscribe)}
    assert allowed.publish, "an empty list would allow everything"
    assert allowed.subscribe, "an empty list would allow everything"
    assert "resp" not in user["nats"]
    assert "issuer_account" not in user["nats"]


def test_a_denial_names_the_reason_and_carries_no_user() -> None:
    answer = read(Signer(key_pair(ISSUER)).deny(REQUEST, Reason.REVOKED))
    assert answer["nats"]["error"] == "revoked"
    assert "jwt" not in answer["nats"]


def test_what_is_sealed_opens_on_the_other_side_only() -> None:
    ours, theirs = new_seed(Role.CURVE), new_seed(Role.CURVE)
    server = Box(curve_key(theirs), PublicKey(decode_public(public_key(ours), Role.CURVE)))
    envelope = Envelope(curve_key(ours))
    assert envelope.open(b"xkv1" + server.encrypt(b"question"), public_key(theirs)) == b"question"
    sealed = envelope.seal(b"answer", public_key(theirs))
    assert sealed.startswith(b"xkv1")
    assert b"answer" not in sealed
    assert server.decrypt(sealed[4:]) == b"answer"
    with pytest.raises(InvalidInput, match="no key of ours opens"):
        Envelope(curve_key(new_seed(Role.CURVE))).open(sealed, public_key(theirs))


def test_with_a_key_nothing_in_clear_is_opened() -> None:
    envelope = Envelope(curve_key(new_seed(Role.CURVE)))
    for data, xkey in ((b"question", ""), (question(), ""), (question(), public_key(new_seed(Role.CURVE)))):
        with pytest.raises(ClearRequest):
            envelope.open(data, xkey)


def test_many_servers_leave_a_bounded_memory() -> None:
    """A made-up header for each request must not fill the memory, nor keep the real server out."""
    envelope = Envelope(curve_key(new_seed(Role.CURVE)))
    for _ in range(200):
        envelope.seal(b"x", public_key(new_seed(Role.CURVE)))
    assert len(envelope._boxes) <= 64  # pyright: ignore[reportPrivateUsage]


@pytest.mark.parametrize("role", list(Role))
def test_keys_come_back_from_their_text(role: Role) -> None:
    seed = new_seed(role)
    public = public_key(seed)
    assert re.fullmatch(r"[A-Z2-7]{58}", seed)
    assert re.fullmatch(r"[A-Z2-7]{56}", public)
    assert len(decode_public(public, role)) == 32
    for other in set(Role) - {role}:
        with pytest.raises(InvalidInput):
            decode_public(public, other)


@pytest.mark.parametrize("text", ["", "A", "S", "not base32 !", "é", "SA" + "A" * 56, "U" + "A" * 55])
def test_what_is_no_key_is_refused(text: str) -> None:
    for refuse in (public_key, key_pair, curve_key):
        with pytest.raises(InvalidInput):
            refuse(text)
    with pytest.raises(InvalidInput):
        decode_public(text, Role.USER)


def test_a_seed_of_the_wrong_role_is_refused() -> None:
    with pytest.raises(InvalidInput, match="cannot sign"):
        key_pair(new_seed(Role.CURVE))
    with pytest.raises(InvalidInput, match="curve"):
        curve_key(new_seed(Role.ACCOUNT))


def test_the_library_takes_the_keys_that_are_made_here() -> None:
    seed = new_seed(Role.ACCOUNT)
    theirs = nkeys.from_seed(seed.encode())
    assert bytes(theirs.public_key) == public_key(seed).encode()
    assert VerifyKey(decode_public(public_key(seed), Role.ACCOUNT)).verify(b"text", theirs.sign(b"text")) == b"text"


@pytest.mark.parametrize("role", Role)
def test_a_typing_error_anywhere_in_a_seed_is_refused(role: Role) -> None:
    """By any other letter: the last one has two bits that base32 does not use."""
    seed = new_seed(role)
    for place in range(2, len(seed)):
        for letter in BASE32.replace(seed[place], ""):
            with pytest.raises(InvalidInput):
                public_key(seed[:place] + letter + seed[place + 1 :])
