"""A seeded mixture of every attack, for a bounded time; what came of it is told at the end."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Sequence

import msgspec

from fleet.contract.config import AgentConfig
from harness.devices.hostile.attacks import ATTACKS, Act
from harness.devices.hostile.grammar import mix
from harness.devices.hostile.line import LineEnded
from harness.devices.hostile.thief import Thief

_LONGEST_ACT = 8.0
"""Seconds that one attack may last."""
_PAUSE = 0.1
"""Seconds before the next try when nobody let us in."""
GRAMMAR = "grammar"
"""The name of what no list holds."""


class Assault(msgspec.Struct, frozen=True, rename="camel"):
    """What one assault did.

    Attributes:
        done: How often each attack was begun.
        alive_at: The last monotonic time at which a session that was let in still stood.
        sent: Bytes that were published.
        logins: How many sessions were let in; `refusals`, how many were not.
    """

    seed: int
    seconds: float
    done: dict[str, int]
    alive_at: float
    sent: int
    logins: int
    refusals: int


def names() -> list[str]:
    """What can be asked for by name."""
    return [*ATTACKS, GRAMMAR]


async def assault(
    config: AgentConfig, seed: int, seconds: float, *, neighbours: Sequence[str] = (), only: Sequence[str] = ()
) -> Assault:
    """Attack for so many seconds, whatever the server does; each attack once, in any order, before any comes again.

    Args:
        config: What the stolen device holds.
        seed: The same seed makes the same choices.
        seconds: After these it ends by itself.
        neighbours: Ids of other devices.
        only: Names of attacks; every one without.
    """
    chance = random.Random(seed)  # noqa: S311 - repeatable, and no secret
    thief = Thief(config, chance, tuple(neighbours))
    acts: dict[str, Act] = {name: attack.act for name, attack in ATTACKS.items()} | {GRAMMAR: mix}
    wanted = [name for name in acts if not only or name in only]
    started, done = time.monotonic(), Counter[str]()
    queue: list[str] = []
    while (left := seconds - (time.monotonic() - started)) > 0:
        queue = queue or chance.sample(wanted, len(wanted))
        name = queue.pop()
        done[name] += 1
        try:
            async with asyncio.timeout(min(left, _LONGEST_ACT)):
                await acts[name](thief)
        except LineEnded:
            await asyncio.sleep(_PAUSE)
        except TimeoutError:
            continue
    alive_at = thief.alive_at
    thief.close()
    return Assault(seed, seconds, dict(done), alive_at, thief.sent, thief.logins, thief.refusals)
