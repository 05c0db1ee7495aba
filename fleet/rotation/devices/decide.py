"""What to do next for a device's machine key: a pure decision over what is seen, never over what was last attempted.

The device makes the new key, the command registers its public half, the device comes in by it, and only then does the
old one go. The order in NATS is all that is written down; a crash at any point leaves a position to go on from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum

import msgspec

from fleet.contract.machine_keys import KeyOrder
from fleet.rotation.decide import Goal


class Seen(msgspec.Struct, frozen=True):
    """What is in use now of one device.

    Attributes:
        used: The key by which the session came in that sent the last heartbeat; empty where that does not say.
        kept: The key that the device says it has on its disk.
        offered: The id of the public half that it says it offers.
        order: What it was ordered.
        registered: The keys that the identity provider has of it.
        refused_until: Tokens that the issuer gave until then (Unix seconds) let in no more, as the registry says.
        heard: When it reported last, in words.
        revoked: Whether it is let in no more, as the registry says.
    """

    used: str
    kept: str
    offered: str
    order: KeyOrder | None
    registered: frozenset[str]
    heard: str = ""
    refused_until: int = 0
    revoked: bool = False


class Step(Enum):
    """What is to be done, each safe to repeat."""

    ORDER = "the device gets the order to make another key"
    REGISTER = "the public half that the device made is registered at the identity provider"
    REMOVE = "the old key is removed at the identity provider"
    REFUSE = "tokens that were had until now are to let in no more"
    FINISH = "the device's sessions end once"
    WITHDRAW = "the device gets the order to give up the key that it made"
    FORGET = "the new key is removed at the identity provider"


class Wait(msgspec.Struct, frozen=True):
    """The device has to do something first; `why` says in words what."""

    why: str


class Refused(msgspec.Struct, frozen=True):
    """This device goes no further that way; `why` says in words."""

    why: str


class Done(msgspec.Struct, frozen=True):
    """Nothing is on its way."""


Guard = Callable[[Seen], str]


def tells_its_key(seen: Seen) -> str:
    """A former agent takes no key, and one that just came back from a restart may not have said which one it has."""
    if not seen.used:
        return "its agent does not say by which key it comes in: it never reported, or has to be upgraded"
    return ""


def comes_in_by_another(seen: Seen) -> str:
    """The device has shown that the new key works, and has it on its disk."""
    assert seen.order
    if seen.used != seen.order.replaces:
        return ""
    if not seen.offered:
        return "it has not offered a new key yet"
    return "it has not come in by its new key yet (see `fleet device logs`)"


def the_provider_has_it(seen: Seen) -> str:
    """What stays is the key that the device uses, so the provider must have it: an enrollment may have gone before."""
    if seen.used in seen.registered:
        return ""
    return "the identity provider does not have the key that it came in by last; was it enrolled again?"


def its_tokens_are_refused(seen: Seen) -> str:
    """Whoever had a token by the old key would come in again at once."""
    assert seen.order
    if seen.refused_until >= seen.order.tokens_after:
        return ""
    return "the operator has not written yet that tokens of before let in no more: is it ready (`fleet server status`)?"


def gave_up_its_offer(seen: Seen) -> str:
    """As long as the device has what it offered, it may be about to take it."""
    return "it has not given up its new key yet" if seen.offered else ""


GUARDS: Mapping[Step, tuple[Guard, ...]] = {
    Step.ORDER: (tells_its_key,),
    Step.REGISTER: (),
    Step.REMOVE: (comes_in_by_another, the_provider_has_it),
    Step.REFUSE: (comes_in_by_another,),
    Step.FINISH: (its_tokens_are_refused,),
    Step.WITHDRAW: (),
    Step.FORGET: (gave_up_its_offer, the_provider_has_it),
}
"""What must hold before each step. `tests/rotation` removes each in turn and finds what goes wrong without it."""


def decide(seen: Seen, goal: Goal, *, begin: bool) -> Step | Wait | Refused | Done:
    """The next step. `begin` says that a rotation is to begin where none is on its way."""
    wanted = _wanted(seen, goal, begin)
    if not isinstance(wanted, Step):
        return wanted
    why = next((why for guard in GUARDS[wanted] if (why := guard(seen))), "")
    return Wait(f"{why} ({seen.heard})" if seen.heard else why) if why else wanted


def _wanted(seen: Seen, goal: Goal, begin: bool) -> Step | Refused | Done:
    if seen.revoked:  # in the meantime: no key of it lets it in, and none ever will
        return Refused("it was revoked meanwhile, so none of its keys lets it in")
    order = seen.order
    if order is None:
        return Step.ORDER if begin and goal is Goal.FORWARD else Done()
    if goal is Goal.FORWARD:
        if order.withdrawn and seen.used == order.replaces:
            return Step.ORDER
        return Step.REGISTER if _new_offer(seen, order) else _end(seen, order)
    if order.replaces not in {seen.used} or seen.kept not in {"", order.replaces}:
        return Refused("it has its new key already: repeat the command without --abort")
    return Step.FORGET if order.withdrawn else Step.WITHDRAW


def _end(seen: Seen, order: KeyOrder) -> Step:
    """The old key gets no token any more before those that it got are refused: else another one would be had after."""
    if seen.registered - {seen.used}:
        return Step.REMOVE
    return Step.FINISH if order.tokens_after else Step.REFUSE


def _new_offer(seen: Seen, order: KeyOrder) -> bool:
    return seen.used == order.replaces == seen.kept and bool(seen.offered) and seen.offered != order.offer
