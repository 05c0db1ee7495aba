"""What an attack is, and how a module makes a list of its own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from harness.devices.hostile.thief import Thief

Act = Callable[[Thief], Awaitable[None]]


@dataclass(frozen=True)
class Attack:
    """A named act. `purpose` says in a sentence what it would break."""

    name: str
    purpose: str
    act: Act


def listing() -> tuple[dict[str, Attack], Callable[[Act], Act]]:
    """An empty list of attacks by name, and the decorator that puts an act on it under the act's own name."""
    attacks: dict[str, Attack] = {}

    def attack(act: Act) -> Act:
        name = act.__name__.replace("_", "-")
        attacks[name] = Attack(name, (act.__doc__ or "").strip(), act)
        return act

    return attacks, attack
