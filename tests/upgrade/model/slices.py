"""What is explored: which faults may come together. Each slice is exhaustive within its budget."""

from __future__ import annotations

from typing import NamedTuple

from tests.upgrade.model.explore import Explorer, Found
from tests.upgrade.model.model import Model
from tests.upgrade.model.world import Budget, Nature, Pace, Switches


class Slice(NamedTuple):
    """A start, a budget of faults, and a pace of messages."""

    name: str
    budget: Budget
    natures: tuple[Nature, ...] = (Nature.GOOD,)
    pace: Pace = Pace.PROMPT
    rollback: bool = False

    def explore(self, switches: Switches | None = None) -> Found:
        """All of it, up to the first violation."""
        model = Model(self.pace, switches)
        start = model.rollback if self.rollback else model.start
        return Explorer(model).run([start(nature, self.budget) for nature in self.natures])


BAD = tuple(nature for nature in Nature if nature is not Nature.GOOD)
SLICES = (
    Slice("two crashes in an upgrade", Budget(crashes=2)),
    Slice("a crash, and another order under way", Budget(crashes=1, changes_of_mind=1)),
    Slice("two crashes in a rollback", Budget(crashes=2), rollback=True),
    Slice("a candidate that is bad, and a crash", Budget(crashes=1), BAD),
    Slice("a crash, and messages of any pace", Budget(crashes=1), pace=Pace.ANY),
    Slice("another order under way: rollback, again, or none", Budget(changes_of_mind=1), pace=Pace.ANY),
    Slice("another order under way, and a bad candidate", Budget(changes_of_mind=1), BAD),
    Slice("a late message that repeats itself", Budget(delays=1), pace=Pace.ANY),
    Slice("a late message, and a crash", Budget(delays=1, crashes=1)),
    Slice("a late message, and another order", Budget(delays=1, changes_of_mind=1)),
    Slice("a late message, and a crash in a rollback", Budget(delays=1, crashes=1), rollback=True),
    Slice("NATS away, and a crash", Budget(outages=1, crashes=1)),
    Slice("the operator gone for good, and a crash", Budget(operator_ends=1, crashes=1)),
    Slice("a file that rots, and a crash", Budget(rot=1, crashes=1)),
    Slice("a file that rots, and a crash in a rollback", Budget(rot=1, crashes=1), rollback=True),
    Slice("a full disk, and a crash", Budget(full=1, crashes=1)),
    Slice("a grant that ends, and a crash", Budget(grants=1, crashes=1)),
    Slice("a grant that ends, and messages of any pace", Budget(grants=1), pace=Pace.ANY),
    Slice("a grant that ends, and another order", Budget(grants=1, changes_of_mind=1)),
    Slice("a grant that ends, and a late message", Budget(grants=1, delays=1)),
    Slice("a grant that ends, and a bad candidate", Budget(grants=1), BAD),
    Slice("the lock's file removed", Budget(tampers=1), pace=Pace.ANY),
)
"""What every run of the tests explores."""
LARGEST = Slice("two crashes in an upgrade, and another order under way", Budget(crashes=2, changes_of_mind=1))
"""It takes twice as long as all others together, so only `python -m tests.upgrade.model` explores it, each night."""
