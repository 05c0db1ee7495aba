"""Every error of the product, for a person to read.

Each says what happened and where (`what`) and what to do next (`next_step`). Only the command line turns one into
an exit code.

    FleetError          1  anything below; also "the product failed in a way it has no better word for"
    ├── InvalidInput    2  refused at the door: a value, a file, a message that does not parse
    ├── NotInstalled    3  the fleet server is not there
    ├── NotFound        4  a named thing does not exist
    ├── Conflict        5  it exists already, or belongs to somebody else
    ├── Unreachable     6  identity provider, NATS, Kubernetes or an engine does not answer
    ├── NotPermitted    7  it answered, and said no
    └── TimedOut        8  a named condition did not become true before its deadline
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from fleet.contract.printable import one_line

EXIT_CODES = (
    "0 done, 1 failed, 2 refused input, 3 no server installed, 4 not found, 5 exists already or is another's, "
    "6 a server does not answer, 7 not permitted, 8 timed out"
)
"""What the exit codes mean, for the help of every program."""


class FleetError(Exception):
    """Base of the tree: a sentence about what happened and one about what to do next."""

    exit_code: ClassVar[int] = 1

    def __init__(self, what: str, *, next_step: str, more: Sequence[str] = ()) -> None:
        """Keep both sentences; `str()` shows each on one line, whatever was put into it, and `more` between them."""
        super().__init__(what)
        self.what = what
        self.next_step = next_step
        self.more = tuple(more)

    @property
    def lines(self) -> tuple[str, ...]:
        """What a person reads."""
        return (self.what, *(f"  {line}" for line in self.more), f"  next: {self.next_step}")

    def __str__(self) -> str:
        return "\n".join(map(one_line, self.lines))


def why(error: Exception) -> str:
    """What to tell of an error in a line; `not foreseen` in front of one that is none of ours."""
    return error.what if isinstance(error, FleetError) else f"not foreseen: {error!r}"


class InvalidInput(FleetError, ValueError):  # noqa: N818 - reads as what it is
    """A value, file or message that does not parse; nothing was contacted and nothing changed."""

    exit_code = 2


class NotInstalled(FleetError):  # noqa: N818
    """The fleet server is not installed where we looked."""

    exit_code = 3


class NotFound(FleetError):  # noqa: N818
    """A named thing does not exist."""

    exit_code = 4


class Conflict(FleetError):  # noqa: N818
    """The thing exists already, changed under us, or belongs to somebody else."""

    exit_code = 5


class Unreachable(FleetError):  # noqa: N818
    """A server did not answer."""

    exit_code = 6


class NotPermitted(FleetError):  # noqa: N818
    """A server answered, and refused."""

    exit_code = 7


class TimedOut(FleetError):  # noqa: N818
    """A named condition did not become true before its deadline."""

    exit_code = 8
