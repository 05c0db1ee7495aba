"""Lists of release keys that follow one another: rendered, signed, and proven by the list before."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from fleet.artifacts.keys import ReleaseKey, good_signature, is_public_key
from fleet.artifacts.refusal import Refusal
from fleet.artifacts.verify import has_ended, trusted_key
from fleet.contract.errors import FleetError, InvalidInput
from fleet.contract.release_keys import SignedKeys
from fleet.contract.upgrade import TrustedKeys, UpgradeReason
from fleet.contract.wire import decode, encode


def render(trusted: TrustedKeys) -> bytes:
    """A list as it is signed, and as it lies on a disk: the same bytes, so that one digest names both."""
    return msgspec.json.format(encode(trusted), indent=2)


def sign_keys(trusted: TrustedKeys, key: ReleaseKey) -> SignedKeys:
    """The list as it travels."""
    payload = render(trusted)
    return SignedKeys(payload.decode(), key.public.id, key.sign(payload))


def number_of(offered: SignedKeys) -> int:
    """The number of a list, which nothing proves yet.

    Raises:
        InvalidInput: it is no list.
    """
    return decode(offered.payload.encode(), TrustedKeys).number


def is_list(offered: SignedKeys) -> bool:
    """Whether it is a list that can follow another one, as far as that is seen without a proof."""
    try:
        return number_of(offered) > 0
    except InvalidInput:
        return False


def follow(present: TrustedKeys, offered: SignedKeys, now: float) -> TrustedKeys:
    """The list that takes the place of the present one, once it is proven; `now` is Unix seconds.

    Raises:
        FleetError: its form, its number, its signature, its keys or its `minimum_version` speaks against it.
    """
    following = decode(offered.payload.encode(), TrustedKeys)
    if following.number <= present.number:
        raise InvalidInput(
            f"the list has the number {following.number}, and the present one {present.number}",
            next_step="offer one that was signed later",
        )
    key = trusted_key(offered.key_id, present, now, signed=f"the list {following.number}")
    if not good_signature(key, offered.payload.encode(), offered.signature):
        raise Refusal(
            UpgradeReason.SIGNATURE_INVALID,
            f"the signature of the list {following.number} is not that of the key {key.id}",
            next_step="offer the list as it was signed; somebody changed it",
        )
    _check_keys(following, now)
    oldest, before = following.minimum_version, present.minimum_version
    if before and (oldest is None or oldest.precedence < before.precedence):
        raise InvalidInput(
            f"the list {following.number} takes agents older than {before}, the oldest that is taken now",
            next_step=f"sign a list whose minimumVersion is {before} or newer",
        )
    return following


def newest(present: TrustedKeys, lists: Sequence[SignedKeys], now: float) -> tuple[SignedKeys | None, str]:
    """The last of the lists that can be reached from the present one, each proven by the one before.

    Returns:
        That list, or None where the present one stays; and why one with a higher number was not taken, or nothing.
    """
    reached, why = None, ""
    for offered in sorted(lists, key=_order):
        try:
            if number_of(offered) <= present.number:
                continue
            present = follow(present, offered, now)
        except FleetError as error:
            why = error.what
        else:
            reached, why = offered, ""
    return reached, why


def _order(offered: SignedKeys) -> int:
    """What is no list comes first, so that it does not hide why a later list was refused."""
    return number_of(offered) if is_list(offered) else 0


def _check_keys(following: TrustedKeys, now: float) -> None:
    ids = [key.id for key in following.keys]
    if len(set(ids)) < len(ids):
        raise InvalidInput(f"the list {following.number} names a key twice", next_step="sign one that does not")
    if wrong := [key.id for key in following.keys if not is_public_key(key)]:
        raise InvalidInput(
            f"what the list {following.number} has as the key {wrong[0]} is no Ed25519 public key",
            next_step="list what `fleet agent new-key` showed",
        )
    if all(key.revoked or has_ended(key, now) for key in following.keys):
        raise InvalidInput(
            f"the list {following.number} has no key that is neither revoked nor at its end",
            next_step="sign a list with a key that is good; no device takes an agent without one",
        )
