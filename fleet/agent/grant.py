"""Tokens from a process of its own: what signs and talks to the issuer takes 10 MB, and is needed twice a day.

`python -m fleet.agent.grant check|ask` reads a `FleetDeviceAuth` from standard input and writes the outcome, a token
or an error, to standard output. Nothing secret is an argument.
"""

from __future__ import annotations

import asyncio
import sys

import msgspec

from fleet.contract import errors
from fleet.contract.config import FleetDeviceAuth
from fleet.contract.errors import FleetError, Unreachable

_WITHIN = 30.0
"""Seconds for the whole process: it gives the issuer ten."""


class Token(msgspec.Struct, frozen=True, tag="token"):
    """An access token, a secret. `expires_at` is in seconds of the monotonic clock, which all processes share."""

    text: str
    expires_at: float
    lifetime: float

    def __repr__(self) -> str:
        return f"Token(text=..., expires_at={self.expires_at!r}, lifetime={self.lifetime!r})"


class _Good(msgspec.Struct, frozen=True, tag="good"):
    pass


class _Bad(msgspec.Struct, frozen=True, tag="bad"):
    kind: str
    what: str
    next_step: str


_Outcome = Token | _Good | _Bad


async def check(auth: FleetDeviceAuth) -> None:
    """Look at the machine key; contacts nobody.

    Raises:
        InvalidInput: it is truncated, damaged or of another kind.
    """
    await _run("check", auth)


async def ask(auth: FleetDeviceAuth) -> Token:
    """Get a token; for errors see `fleet.tokens.fetch_token`."""
    outcome = await _run("ask", auth)
    if isinstance(outcome, Token):
        return outcome
    raise _died("it gave no token")


async def _run(what: str, auth: FleetDeviceAuth) -> Token | _Good:
    argv = (sys.executable, "-m", __name__, what)
    child = await asyncio.create_subprocess_exec(*argv, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE)
    try:
        async with asyncio.timeout(_WITHIN):
            told, _ = await child.communicate(msgspec.json.encode(auth))
        outcome = msgspec.json.decode(told, type=_Outcome)
    except (TimeoutError, msgspec.DecodeError) as error:
        raise _died(str(error) or "no answer in time") from error
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    if isinstance(outcome, _Bad):
        kind = getattr(errors, outcome.kind, FleetError)
        raise kind(outcome.what, next_step=outcome.next_step)
    return outcome


def _died(why: str) -> FleetError:
    return Unreachable(f"the process that gets tokens failed: {why}", next_step="see its traceback in the agent's log")


async def _answer(what: str, auth: FleetDeviceAuth) -> _Outcome:
    from fleet import tokens  # noqa: PLC0415 - the weight that this process exists for

    try:
        tokens.parse_machine_key_file(msgspec.json.encode(auth.machine_key))
        if what == "check":
            return _Good()
        token = await tokens.fetch_token(auth)
    except FleetError as error:
        return _Bad(type(error).__name__, error.what, error.next_step)
    return Token(token.text, token.expires_at, token.lifetime)


if __name__ == "__main__":
    _auth = msgspec.json.decode(sys.stdin.buffer.read(), type=FleetDeviceAuth)
    sys.stdout.buffer.write(msgspec.json.encode(asyncio.run(_answer(sys.argv[1], _auth))))
