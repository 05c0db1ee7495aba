"""A seeded mixture of every attack, for a bounded time; the results are printed at the end."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Sequence

import msgspec

from fleet.contract.config import AgentConfig
from harness.devices.hostile.attack import Act
from harness.devices.hostile.attacks import WORDS
from harness.devices.hostile.floods import FLOODS
from harness.devices.hostile.grammar import mix
from harness.devices.hostile.pace import Pace
from harness.devices.hostile.raw_connection import ConnectionEnded
from harness.devices.hostile.readers import READERS
from harness.devices.hostile.thief import Thief
from harness.devices.hostile.wildcards import WILDCARDS

_LONGEST_ACT = 8.0
"""Seconds that one attack may last."""
_PAUSE = 0.1
"""Seconds before the next try after a refused login."""
ATTACKS = WORDS | READERS | FLOODS | WILDCARDS
"""Every attack, by name."""
GRAMMAR = "grammar"
"""The name of what no list holds."""
_PATIENT = 0.7
"""The share of an assault without floods: the first flood puts the attacker in quarantine."""
_LAST = 0.9
"""The share after which he does what shuts him out for good."""


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

    Of every attack at once, the floods come late: until then he stays below what counts as one. What shuts him out for
    good comes last.

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
    chosen = [name for name in acts if not only or name in only]
    forgiven = [name for name in chosen if name not in WILDCARDS]
    words = [name for name in forgiven if name not in FLOODS]
    patient = seconds * _PATIENT if words and len(words) < len(chosen) else 0.0
    last = [name for name in chosen if name in WILDCARDS] if forgiven else []
    thief.pace = Pace() if patient else None
    started, done = time.monotonic(), Counter[str]()
    queue: list[str] = []
    while (left := seconds - (time.monotonic() - started)) > 0:
        if thief.pace is not None and seconds - left >= patient:
            thief.pace, queue = None, []
        if last and seconds - left >= seconds * _LAST:
            forgiven, last, queue = last, [], []
        some = words if thief.pace is not None else forgiven or chosen
        queue = queue or chance.sample(some, len(some))
        name = queue.pop()
        done[name] += 1
        try:
            async with asyncio.timeout(min(left, _LONGEST_ACT)):
                await acts[name](thief)
        except ConnectionEnded:
            await asyncio.sleep(_PAUSE)
        except TimeoutError:
            continue
    alive_at = thief.alive_at
    thief.close()
    return Assault(seed, seconds, dict(done), alive_at, thief.sent, thief.logins, thief.refusals)
