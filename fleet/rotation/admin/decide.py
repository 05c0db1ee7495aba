"""What to do next for an admin's token: a pure decision over what is seen, never over what was last attempted.

The note beside the token's file has both tokens, so whatever moment the command is killed in, one that works is kept.
"""

from __future__ import annotations

from enum import Enum

import msgspec

from fleet.rotation.decide import Goal


class Seen(msgspec.Struct, frozen=True):
    """What is so now.

    Attributes:
        begun: Whether there is a note.
        noted: Whether the note has the new token.
        young: Whether that was made so recently that the provider may not know it everywhere.
        stored: Whether the file has the new token.
        removing: Whether the note says that the old one is to be removed at the provider. It may seem to work for a
            while after that, so there is no way back.
        given_up: Whether the note says so of the new one.
        old_works: Whether the provider accepts the old token.
        new_works: Whether the new one is an admin's, and of the same user.
        old_listed: Whether the provider lists the old one.
        new_listed: Whether it lists the new one.
        orphans: The ids of tokens that were made for this rotation and whose text nobody has.
        unlisted: Whether there may be another such token that the provider does not list yet.
    """

    begun: bool
    noted: bool = False
    young: bool = False
    stored: bool = False
    removing: bool = False
    given_up: bool = False
    old_works: bool = True
    new_works: bool = False
    old_listed: bool = True
    new_listed: bool = False
    orphans: tuple[str, ...] = ()
    unlisted: bool = False


class Step(Enum):
    """What is to be done, each safe to repeat."""

    NOTE = "the rotation is noted beside the file"
    SWEEP = "a token that was made and then lost is removed at the identity provider"
    ADD = "another token is made at the identity provider, and noted"
    DISCARD = "the noted token is forgotten, for the identity provider does not have it"
    STORE = "the new token works, and takes the place of the old one in the file"
    REMOVE = "the old token is removed at the identity provider"
    RESTORE = "the old token takes its place in the file again"
    GIVE_UP = "the new token is removed at the identity provider"
    FINISH = "the note is removed"


class Wait(msgspec.Struct, frozen=True):
    """The provider has to catch up first; `why` says in words with what."""

    why: str


class Refused(msgspec.Struct, frozen=True):
    """It goes no further that way; `why` says in words."""

    why: str


class Done(msgspec.Struct, frozen=True):
    """Nothing is on its way."""


def decide(seen: Seen, goal: Goal, *, begin: bool) -> Step | Wait | Refused | Done:
    """The next step. `begin` says that a rotation is to begin where none is on its way."""
    if not seen.begun:
        return Step.NOTE if begin and goal is Goal.FORWARD else Done()
    if goal is Goal.BACK:
        return _back(seen)
    return _to_a_new_one(seen) or _away_from_the_old_one(seen)


def _to_a_new_one(seen: Seen) -> Step | Wait | None:
    """Until one has worked; None then."""
    if seen.orphans:
        return Step.SWEEP
    if not seen.noted:
        return Step.ADD
    if seen.new_works and not seen.given_up:
        return None
    gone = seen.given_up or not (seen.new_listed or seen.young or seen.stored)
    return Step.DISCARD if gone else Wait("the identity provider does not accept the new token")


def _away_from_the_old_one(seen: Seen) -> Step | Wait:
    if not seen.stored:
        return Step.STORE
    if seen.old_listed or not seen.removing:
        return Step.REMOVE
    return Wait("the identity provider still accepts the old token") if seen.old_works else _end(seen)


def _back(seen: Seen) -> Step | Wait | Refused:
    if seen.removing:
        return Refused("there is no way back: the removal of the old token at the identity provider has begun")
    if not seen.old_works:
        return Refused("there is no way back: the identity provider does not accept the old token any more")
    if seen.stored:
        return Step.RESTORE
    if seen.orphans:
        return Step.SWEEP
    if seen.new_listed or (seen.noted and not seen.given_up):
        return Step.GIVE_UP
    return Wait("the identity provider still accepts the new token") if seen.new_works else _end(seen)


def _end(seen: Seen) -> Step | Wait:
    """By the note alone a lost token is found."""
    if seen.unlisted:
        return Wait("a token was perhaps made and then lost, and the identity provider may not list it yet")
    return Step.FINISH
