"""What to do next for a secret that is rotated: a pure decision over what is seen, never over what was last attempted.

Some parts *honour* a secret (they must know the version that others use), others *use* one. A new version is honoured
by all before anybody uses it, and used by all before the old one is no longer honoured: trust, then sign, then
distrust. The store says which versions there are, and the parts themselves say which they have, so that a crash at any
point leaves a position that the next call reads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum

import msgspec

from fleet.secrets.store import Change


class Versions(msgspec.Struct, frozen=True):
    """Which versions are kept, by key ids; empty where there is none."""

    current: str
    next: str = ""
    previous: str = ""

    @property
    def ids(self) -> frozenset[str]:
        """All of them."""
        return frozenset({self.current, self.next, self.previous} - {""})


class Seen(msgspec.Struct, frozen=True):
    """What is in use now.

    Attributes:
        versions: In the store.
        honoured: The key ids that each part honours, by the part's name.
        used: The key id that each part uses, by the part's name.
        silent: The parts that have not said what they have, in words.
    """

    versions: Versions
    honoured: Mapping[str, frozenset[str]]
    used: Mapping[str, str]
    silent: tuple[str, ...] = ()


class Goal(Enum):
    """Where a rotation is to go."""

    FORWARD = "forward"
    BACK = "back"


class Apply(msgspec.Struct, frozen=True):
    """Bring the parts to what the store has; `blockers` says in words what they still lack for the next step."""

    blockers: tuple[str, ...]


class Done(msgspec.Struct, frozen=True):
    """One version is kept, and no part has another."""


Step = Change | Apply | Done
Guard = Callable[[Seen], list[str]]


def everybody_answers(seen: Seen) -> list[str]:
    """Who has not said what they have."""
    return list(seen.silent)


def all_honour_the_next(seen: Seen) -> list[str]:
    """Who does not yet honour the version that is about to be used."""
    following = seen.versions.next
    return [
        f"{part} does not honour {following} yet" for part, ids in sorted(seen.honoured.items()) if following not in ids
    ]


def all_use_the_current(seen: Seen) -> list[str]:
    """Who still uses another version than the store's current one."""
    current = seen.versions.current
    return [f"{part} still uses {used}" for part, used in sorted(seen.used.items()) if used != current]


def none_honours_another(seen: Seen) -> list[str]:
    """Who honours a version that is no longer kept."""
    ids = seen.versions.ids
    return [
        f"{part} still honours {', '.join(sorted(others))}"
        for part, honoured in sorted(seen.honoured.items())
        if (others := honoured - ids)
    ]


GUARDS: Mapping[Change | type[Done], tuple[Guard, ...]] = {
    Change.PROMOTE: (everybody_answers, all_honour_the_next),
    Change.RETIRE: (everybody_answers, all_use_the_current),
    # The way back is open while both are kept, for whatever is used then is honoured by all.
    Change.DEMOTE: (),
    Change.DROP: (everybody_answers, all_use_the_current),
    Done: (everybody_answers, none_honours_another),
}
"""What must hold before each step. `tests/rotation` removes each in turn and finds what goes wrong without it."""


def decide(seen: Seen, goal: Goal, *, begin: bool) -> Step:
    """The next step. `begin` says that a rotation that is neither begun nor left unfinished is to begin now."""
    wanted = _wanted(seen.versions, goal)
    if lacking := [why for guard in GUARDS[wanted] for why in guard(seen)]:
        return Apply(tuple(lacking))
    if isinstance(wanted, Change):
        return wanted
    return Change.STAGE if begin and goal is Goal.FORWARD else Done()


def begun(seen: Seen) -> bool:
    """Whether a rotation is on its way, or has ended without the last parts having taken note."""
    return bool(seen.versions.ids - {seen.versions.current} or none_honours_another(seen))


def _wanted(versions: Versions, goal: Goal) -> Change | type[Done]:
    if goal is Goal.BACK:
        return Change.DEMOTE if versions.previous else Change.DROP if versions.next else Done
    return Change.PROMOTE if versions.next else Change.RETIRE if versions.previous else Done
