"""How the callouts are, by their own word: each answers over NATS, also while it cannot decide on logins."""

from __future__ import annotations

from typing import Protocol

from fleet.contract.errors import FleetError, InvalidInput
from fleet.contract.versions import CALLOUT_KEYS_SUBJECT, CalloutKeys, deciding
from fleet.contract.wire import decode
from fleet.web.messages import PartState, Standing

_LINGER = 0.2
"""Seconds for which it is waited for another one after each answer."""


class Control(Protocol):
    """A connection to NATS in the account of the callouts."""

    @property
    def connected(self) -> bool:
        """Whether it stands."""
        ...

    async def ask_all(self, subject: str, question: bytes, *, expected: int, linger: float = 0) -> list[bytes]:
        """See `fleet.nats.bus.Bus`."""
        ...

    async def ask(self) -> None:
        """See `fleet.nats.bus.Bus`."""
        ...


class Callouts:
    """Those that decide on logins."""

    def __init__(self, number: int) -> None:
        """There are `number` of them. Nobody can be asked until `control` is there, over which they are."""
        self._number = number
        self.control: Control | None = None

    async def state(self) -> PartState:
        """Ask them. It takes some seconds where one does not answer."""
        control = self.control
        if control is None or not control.connected:
            return PartState(Standing.UNKNOWN, "the operator asks for its state over NATS, and is not connected there")
        try:
            answers = await control.ask_all(CALLOUT_KEYS_SUBJECT, b"", expected=self._number, linger=_LINGER)
            if not answers:
                await control.ask()  # a NATS that hangs hands no question on
        except FleetError as error:
            return PartState(Standing.UNKNOWN, f"the operator could not ask for its state over NATS: {error.what}")
        return judged([one for one in map(_read, answers) if one is not None], self._number)


def judged(answers: list[CalloutKeys], number: int) -> PartState:
    """Whether each decides on logins. There are `number`, and while they are replaced one by one, some more."""
    if not answers:
        return PartState(Standing.SILENT, "no callout answers over NATS, so no device can log in anew")
    number, able = max(number, len(answers)), deciding(answers)
    if able == number:
        return PartState()
    why = [one.unready for one in answers if one.unready]
    if len(answers) < number:
        why.append("no answer over NATS")
    logins = "the others decide on logins" if able else "no device can log in anew"
    counted = f"{number - able} of {number}: " if number > 1 else ""
    return PartState(Standing.UNREADY, f"{counted}{', '.join(dict.fromkeys(why))}; {logins}")


def _read(data: bytes) -> CalloutKeys | None:
    try:
        return decode(data, CalloutKeys)
    except InvalidInput:
        return None
