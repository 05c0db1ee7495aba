"""How a change spreads over a deployment's devices."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from fleet.contract.objects import Strategy, StrategyType


class Member(msgspec.Struct, frozen=True):
    """A selected device. `current` is the generation it is told to run, None for none; `ready` says that it does."""

    name: str
    current: int | None
    ready: bool
    online: bool


def updated(members: Sequence[Member], generation: int, strategy: Strategy) -> set[str]:
    """The devices that are to run `generation` now; the others keep what they have.

    `Rolling` waits for a device before it takes the next: at most `max_unavailable` are on their way at once, and one
    that fails or falls silent on its way keeps its place, so that a change which kills devices stops by itself. A
    device that is offline is not begun with, so it holds up nobody; it gets the change when it is back. Devices that
    are not well come first: they have the least to lose, and a fix may be what they wait for.
    """
    if strategy.type is StrategyType.ALL_AT_ONCE:
        return {member.name for member in members}
    begun = [member for member in members if member.current == generation]
    on_their_way = sum(not member.ready for member in begun)
    waiting = [member for member in members if member.current != generation and member.online]
    waiting.sort(key=lambda member: (member.ready, member.name))
    return {member.name for member in (*begun, *waiting[: max(0, strategy.max_unavailable - on_their_way)])}
