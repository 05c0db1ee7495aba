"""What the operator says of the callouts is what each says of itself, and how many do not answer."""

from __future__ import annotations

import asyncio

import pytest

from fleet.contract.errors import Unreachable
from fleet.contract.versions import CALLOUT_KEYS_SUBJECT, CalloutKeys
from fleet.contract.wire import encode
from fleet.operator.callouts import Callouts
from fleet.web.messages import PartState, Standing

_KEYLESS = "the issuer's keys are not loaded"
_READY, _UNREADY = CalloutKeys("a", (), ()), CalloutKeys("b", (), (), (), _KEYLESS)


class _Control:
    """A connection on which these answer."""

    def __init__(self, *said: bytes, connected: bool = True, lost: bool = False, hangs: bool = False) -> None:
        self.connected = connected
        self.number = 1
        self._said, self._lost, self._hangs = said, lost, hangs

    async def ask_all(self, subject: str, question: bytes, *, expected: int, linger: float = 0) -> list[bytes]:
        assert (subject, question, expected) == (CALLOUT_KEYS_SUBJECT, b"", self.number)
        assert 0 < linger < 1
        if self._lost:
            raise Unreachable("the connection is lost", next_step="wait")
        return list(self._said)

    async def ask(self) -> None:
        if self._hangs:
            raise Unreachable("it gave no sign of life", next_step="wait")


def _asked(control: _Control | None, number: int = 1) -> Callouts:
    found = Callouts(number)
    if control is not None:
        control.number = number
    found.control = control
    return found


@pytest.mark.parametrize(
    ("number", "said", "standing", "words"),
    [
        (2, (_READY, _READY), Standing.READY, ""),
        (1, (_READY, _READY), Standing.READY, ""),
        (1, (_UNREADY,), Standing.UNREADY, f"{_KEYLESS}; no device can log in anew"),
        (2, (_UNREADY, _UNREADY), Standing.UNREADY, f"2 of 2: {_KEYLESS}; no device can log in anew"),
        (1, (_READY, _UNREADY), Standing.UNREADY, f"1 of 2: {_KEYLESS}; the others decide on logins"),
        (2, (_READY,), Standing.UNREADY, "1 of 2: no answer over NATS; the others decide on logins"),
        (
            3,
            (_READY, _UNREADY),
            Standing.UNREADY,
            f"2 of 3: {_KEYLESS}, no answer over NATS; the others decide on logins",
        ),
        (2, (_UNREADY,), Standing.UNREADY, f"2 of 2: {_KEYLESS}, no answer over NATS; no device can log in anew"),
        (2, (), Standing.SILENT, "no callout answers over NATS, so no device can log in anew"),
    ],
)
def test_who_cannot_decide_is_told_with_its_reason(
    number: int, said: tuple[CalloutKeys, ...], standing: Standing, words: str
) -> None:
    control = _Control(*map(encode, said), b"no json")
    assert asyncio.run(_asked(control, number).state()) == PartState(standing, words)


@pytest.mark.parametrize(
    "control",
    [_Control(connected=False), _Control(lost=True), _Control(hangs=True), None],
    ids=["away", "lost", "hangs", "not yet"],
)
def test_who_cannot_ask_says_so(control: _Control | None) -> None:
    state = asyncio.run(_asked(control).state())
    assert state.standing is Standing.UNKNOWN
    assert "the operator" in state.why
