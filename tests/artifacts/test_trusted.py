"""A list of release keys is taken only where the list before proves it; each refusal says why."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from fleet.artifacts.keys import ReleaseKey
from fleet.artifacts.manifest import sign
from fleet.artifacts.refusal import Refusal
from fleet.artifacts.trusted import follow, newest, render, sign_keys
from fleet.artifacts.verify import chunk_digest, has_ended, open_manifest
from fleet.contract.errors import FleetError
from fleet.contract.names import AgentVersion
from fleet.contract.release_keys import SignedKeys
from fleet.contract.upgrade import Manifest, SignedManifest, TrustedKey, TrustedKeys, UpgradeReason
from fleet.contract.wire import decode, encode

NOW = 1_800_000_000.0
OLD, NEW, FOREIGN = (ReleaseKey(bytes([number]) * 32) for number in (1, 2, 3))
FIRST = TrustedKeys((OLD.public,))
BOTH = TrustedKeys((OLD.public, NEW.public), number=1)
RETIRED = TrustedKeys((replace(OLD.public, revoked=True), NEW.public), number=2)


def test_a_new_key_is_added_and_the_old_one_retired() -> None:
    lists = (sign_keys(BOTH, OLD), sign_keys(RETIRED, NEW))
    assert follow(FIRST, lists[0], NOW) == BOTH
    assert follow(BOTH, lists[1], NOW) == RETIRED
    assert newest(FIRST, lists[::-1], NOW) == (lists[1], ""), "the order in which they came counted"
    assert newest(RETIRED, lists, NOW) == (None, "")


@pytest.mark.parametrize(
    ("present", "offered", "why"),
    [
        (FIRST, sign_keys(BOTH, FOREIGN), "not trusted here"),
        (FIRST, replace(sign_keys(BOTH, FOREIGN), key_id=OLD.public.id), "the signature of the list 1 is not that of"),
        (FIRST, replace(sign_keys(BOTH, OLD), signature=""), "the signature of the list 1 is not that of"),
        (RETIRED, sign_keys(replace(BOTH, number=3), OLD), "which was revoked"),
        (
            replace(FIRST, keys=(replace(OLD.public, not_after=NOW - 1),)),
            sign_keys(BOTH, OLD),
            "which has expired",
        ),
        (RETIRED, sign_keys(BOTH, NEW), "the list has the number 1, and the present one 2"),
        (BOTH, sign_keys(BOTH, OLD), "the list has the number 1, and the present one 1"),
        (FIRST, sign_keys(TrustedKeys((), number=1), OLD), "no key that is neither revoked nor at its end"),
        (
            FIRST,
            sign_keys(TrustedKeys((replace(OLD.public, revoked=True),), number=1), OLD),
            "no key that is neither revoked nor at its end",
        ),
        (
            FIRST,
            sign_keys(TrustedKeys((replace(NEW.public, not_after=NOW - 1),), number=1), OLD),
            "no key that is neither revoked nor at its end",
        ),
        (FIRST, sign_keys(TrustedKeys((NEW.public, NEW.public), number=1), OLD), "names a key twice"),
        (FIRST, sign_keys(TrustedKeys((NEW.public, TrustedKey("x", "AAAA")), number=1), OLD), "no Ed25519 public key"),
        (
            replace(FIRST, minimum_version=AgentVersion("v1.2.3")),
            sign_keys(BOTH, OLD),
            "takes agents older than v1.2.3",
        ),
        (
            replace(FIRST, minimum_version=AgentVersion("v1.2.3")),
            sign_keys(replace(BOTH, minimum_version=AgentVersion("v1.2.2")), OLD),
            "takes agents older than v1.2.3",
        ),
        (FIRST, SignedKeys("no JSON", OLD.public.id, OLD.sign(b"no JSON")), "not a valid TrustedKeys"),
    ],
)
def test_what_is_not_taken(present: TrustedKeys, offered: SignedKeys, why: str) -> None:
    with pytest.raises(FleetError, match=why):
        follow(present, offered, NOW)


def test_a_refused_list_is_told_unless_a_later_one_is_taken() -> None:
    foreign, good = sign_keys(BOTH, FOREIGN), sign_keys(replace(BOTH, number=2), OLD)
    reached, why = newest(FIRST, (foreign,), NOW)
    assert reached is None
    assert "not trusted here" in why
    assert newest(FIRST, (foreign, good), NOW) == (good, "")
    reached, why = newest(FIRST, (sign_keys(BOTH, OLD), sign_keys(replace(BOTH, number=2), FOREIGN)), NOW)
    assert reached == sign_keys(BOTH, OLD)
    assert "the list 2 is signed by" in why


def test_a_manifest_is_no_list_and_a_list_no_manifest() -> None:
    """The key is the same; the signature covers the kind of what it signs."""
    digest = chunk_digest(b"any")
    manifest = sign(Manifest(AgentVersion("v1.0.0"), digest, 3, (digest,)), OLD)
    with pytest.raises(FleetError, match="not a valid TrustedKeys"):
        follow(FIRST, SignedKeys(manifest.payload, manifest.key_id, manifest.signature), NOW)
    keys = sign_keys(BOTH, OLD)
    with pytest.raises(Refusal) as caught:
        open_manifest(encode(SignedManifest(keys.payload, keys.key_id, keys.signature)), FIRST, NOW)
    assert caught.value.reason is UpgradeReason.MANIFEST_INVALID


def test_a_list_is_signed_as_it_lies_on_a_disk() -> None:
    """One digest names the list of a set-up and that of a rotation."""
    assert sign_keys(BOTH, OLD).payload.encode() == render(BOTH)
    assert decode(render(BOTH), TrustedKeys) == BOTH


RELEASES = (OLD, NEW, FOREIGN)
versions = st.sampled_from([None, *(AgentVersion(f"v1.0.{number}") for number in range(3))])


@st.composite
def lists_of_keys(draw: st.DrawFn, number: int) -> TrustedKeys:
    held = draw(st.lists(st.sampled_from(RELEASES), min_size=0, max_size=3, unique=True))
    keys = tuple(
        replace(one.public, revoked=draw(st.booleans()), not_after=draw(st.sampled_from([0, NOW - 1, NOW + 1])))
        for one in held
    )
    return TrustedKeys(keys, draw(versions), number)


@st.composite
def offers(draw: st.DrawFn) -> SignedKeys:
    signed = sign_keys(draw(lists_of_keys(draw(st.integers(0, 4)))), draw(st.sampled_from(RELEASES)))
    if draw(st.integers(0, 4)) == 0:
        return replace(signed, payload=signed.payload.replace('"keys"', draw(st.sampled_from(['"kEys"', '"keys" ']))))
    return signed


def good(trusted: TrustedKeys) -> set[str]:
    return {key.id for key in trusted.keys if not key.revoked and not has_ended(key, NOW)}


@given(present=lists_of_keys(1), lists=st.lists(offers(), max_size=5))
def test_whatever_is_offered(present: TrustedKeys, lists: Sequence[SignedKeys]) -> None:
    """The list only ever moves on, by steps that a good key of the list before signed, and never opens the device."""
    reached, _ = newest(present, lists, NOW)
    if reached is None:
        assert not any(takes(present, one) for one in lists)
        return
    after = decode(reached.payload.encode(), TrustedKeys)
    assert after.number > present.number
    assert good(after)
    assert good(present), "a list without a good key was followed by another one"
    if present.minimum_version:
        assert after.minimum_version
        assert after.minimum_version.precedence >= present.minimum_version.precedence
    signers = good(present)
    for one in sorted(lists, key=lambda one: read(one).number):
        between = read(one)
        if between.number <= after.number and one.key_id in signers:
            signers |= good(between)
    assert reached.key_id in signers
    assert newest(after, lists, NOW)[0] is None, "it would have been taken further by another look"


def read(offered: SignedKeys) -> TrustedKeys:
    try:
        return decode(offered.payload.encode(), TrustedKeys)
    except FleetError:
        return TrustedKeys(())


def takes(present: TrustedKeys, offered: SignedKeys) -> bool:
    try:
        follow(present, offered, NOW)
    except FleetError:
        return False
    return True


@given(place=st.integers(min_value=0), bit=st.integers(0, 6))
def test_one_flipped_bit(place: int, bit: int) -> None:
    one = sign_keys(BOTH, OLD)
    payload = bytearray(one.payload.encode())
    payload[place % len(payload)] ^= 1 << bit
    assert not takes(FIRST, replace(one, payload=payload.decode()))
