"""The world of one device as the model sees it: small tuples of numbers, so that many of them can be compared.

A state of the world is a tuple, its places named by the constants below. Everything richer, such as a process or a
disk, is kept once in a `Pool` and stands in the tuple as a number.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Generic, NamedTuple, TypeVar

from fleet.agent.upgrade.protocol.deadlines import Deadline
from fleet.agent.upgrade.protocol.effects import Effect
from fleet.agent.upgrade.protocol.journal import Change, Release
from tests.upgrade.releases import release

T = TypeVar("T")


class Pool(Generic[T]):
    """Numbers for values."""

    def __init__(self) -> None:
        self._numbers: dict[T, int] = {}
        self.values: list[T] = []

    def number(self, value: T) -> int:
        found = self._numbers.get(value)
        if found is None:
            found = self._numbers[value] = len(self.values)
            self.values.append(value)
        return found

    def __getitem__(self, number: int) -> T:
        return self.values[number]


class Unit(IntEnum):
    """A version's unit, as systemd has it."""

    OFF = 0
    LAUNCH = 1
    """Active; the launcher is about to run, at the start or after the process died."""
    RECORDING = 2
    """Active; the launcher has written to the journal, and not synced it."""
    RUN = 3
    LEFT = 4
    """The process has ended with EXIT_DONE, and systemd has not noticed yet: still active."""


ACTIVE = (Unit.LAUNCH, Unit.RECORDING, Unit.RUN)


class Files(IntEnum):
    """The second version's folder; the first one's is always whole."""

    NONE = 0
    PART = 1
    WHOLE = 2
    """All bytes, no marker."""
    MARKED = 3
    DAMAGED = 4
    """A marker, and other bytes than it vouches for."""


class Nature(IntEnum):
    """What is wrong with the second version."""

    GOOD = 0
    FAILS_TEST = 1
    DIES_AT_START = 2
    DIES_AS_WRITER = 3
    CANNOT_CONNECT = 4
    SAYS_ANOTHER_VERSION = 5
    MAKES_SICK = 6
    DIES_AT_RESTART = 7
    """At every start once it was handed over: it has run until then."""


class Desired(IntEnum):
    """What the admin ordered last."""

    SECOND = 0
    FIRST_AGAIN = 1
    """A rollback."""
    SECOND_AGAIN = 2
    """The same version once more."""
    NOTHING = 3


class Plan(NamedTuple):
    """The launcher's: first the line in the journal, durably; then become the version, or start another's unit."""

    change: Change | None
    become: bool
    other: int = 0
    restart: bool = False


class Proc(NamedTuple):
    """A version's unit and the process in it; the machine's state by number."""

    unit: Unit = Unit.OFF
    state: int = -1
    queue: tuple[Effect, ...] = ()
    half: bool = False
    """The first effect of the queue is done, but for making it durable."""
    armed: Deadline | None = None
    wants_lock: bool = False
    wants_lease: int = 0
    """1 as a patient taker, 2 as one that holds the lock."""
    job: Effect | None = None
    job_step: int = 0
    engine: bool = False
    reports: bool = False
    plan: Plan | None = None
    """What the launcher will do once its line in the journal is durable."""


class Disk(NamedTuple):
    """What processes see, and what a power cut would leave. Journals by number; links by version."""

    journal: int
    journal_kept: int
    link: int = 0
    link_kept: int = 0
    files: Files = Files.NONE
    files_kept: Files = Files.NONE


class Budget(NamedTuple):
    """Faults that may still happen."""

    crashes: int = 0
    """Of a process, of the operator, or of power."""
    delays: int = 0
    """Messages that come late, and then as often as they like."""
    outages: int = 0
    changes_of_mind: int = 0
    operator_ends: int = 0
    rot: int = 0
    """The second version's file changes on disk."""
    full: int = 0
    """The journal cannot be written, or a version not be laid down, once."""
    grants: int = 0
    """The time that an attempt may hold the lock is over, by the operator's clock."""
    tampers: int = 0
    """Somebody removes the lock's file."""


class Switches(NamedTuple):
    """Guards that lie outside the machines, in what carries out their effects."""

    sync_journal: bool = True
    sync_files: bool = True
    digest: bool = True
    compare_and_set: bool = True
    afresh: bool = True
    lease: bool = True


class Pace(IntEnum):
    """How long messages take."""

    ANY = 0
    PROMPT = 1
    """None, once they are sent: what was written is known at once, but for late ones. When it is written is free."""


class Violation(Exception):  # noqa: N818
    """An oracle does not hold."""


VERSIONS_KEPT = 1
"""What the admin orders. The second version counts as an old one: it goes whenever nothing needs it."""
RELEASES: tuple[Release, Release] = (release(1), release(2))
NONE = -1
World = tuple[int, ...]
# Places in a world. The first two, and the two of heartbeats and of starts, are by version.
P0, P1, LOCK, DISK, TARGET, LATE_TARGET, LEASE, INFO, HEARD0, HEARD1, LATE_BEAT, LATE_REPORT = range(12)
BOOT, STARTS0, STARTS1, NET, ZOMBIE, OPERATOR, DESIRED, BUDGET, NATURE, PROVEN, CONFIRMED, GRANT, SIZE = range(12, 25)


def replaced(world: World, place: int, value: int) -> World:
    return (*world[:place], value, *world[place + 1 :])
