"""How a change spreads over a deployment's devices."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from fleet.contract.objects import Strategy, StrategyType
from fleet.contract.wire import Edition


class Member(msgspec.Struct, frozen=True):
    """A selected device. `current` is the edition that it is ordered to run, None for none; `ready`: it runs it.

    One that is `withheld` is not told anything else than it was. One that is `kept_out` is in quarantine.
    """

    name: str
    current: Edition | None
    ready: bool
    online: bool
    withheld: bool = False
    kept_out: bool = False

    @property
    def on_its_way(self) -> bool:
        """Whether others wait for it, once it has the order. None waits for a quarantine, which may never end."""
        return not (self.ready or self.kept_out)


def updated(members: Sequence[Member], edition: Edition, strategy: Strategy) -> set[str]:
    """The devices that are to run `edition` now; the others keep what they have.

    `Rolling` waits for a device before it takes the next: at most `max_unavailable` are on their way at once, and one
    that fails or falls silent on its way keeps its place, so that a change which kills devices stops by itself. One in
    quarantine loses it: a hostile device stops no rollout. A
    device that is offline is not begun with, so it holds up nobody; it gets the change when it is back. Devices that
    are not well come first: they have the least to lose, and a fix may be what they wait for.
    """
    if strategy.type is StrategyType.ALL_AT_ONCE:
        return {member.name for member in members if not member.withheld or member.current == edition}
    begun = [member for member in members if member.current == edition]
    on_their_way = sum(member.on_its_way for member in begun)
    waiting = [member for member in members if member.current != edition and member.online and not member.withheld]
    waiting.sort(key=lambda member: (member.ready, member.name))
    return {member.name for member in (*begun, *waiting[: max(0, strategy.max_unavailable - on_their_way)])}
