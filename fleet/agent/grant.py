"""Tokens from a process of its own: what signs and talks to the issuer takes 10 MB, and is needed twice a day.

`python -m fleet.agent.grant` reads a `FleetDeviceAuth` from standard input and writes the outcome, a token or an error,
to standard output. Nothing secret is an argument.
"""

from __future__ import annotations

import asyncio
import sys

import msgspec

from fleet.agent.child import call
from fleet.contract import errors
from fleet.contract.config import FleetDeviceAuth
from fleet.contract.errors import FleetError, InvalidInput, Unreachable
from fleet.contract.grammar import validation_words
from fleet.contract.parsing import NOT_JSON
from fleet.identity.access_token import AccessToken

_WITHIN = 30.0
"""Seconds for the whole process: it gives the issuer ten."""


class BadKey(InvalidInput):
    """The machine key is truncated, damaged or of another kind; no connection was made."""


class _Bad(msgspec.Struct, frozen=True, tag="bad"):
    kind: str
    what: str
    next_step: str


_KINDS = {**vars(errors), BadKey.__name__: BadKey}


async def ask(auth: FleetDeviceAuth) -> AccessToken:
    """Get a token.

    Raises:
        BadKey: the machine key is of no use.
        FleetError: see `fleet.identity.tokens.fetch_token`.
    """
    try:
        _, answer = await call(__name__, stdin=msgspec.json.encode(auth), within=_WITHIN)
        outcome = msgspec.json.decode(answer, type=AccessToken | _Bad)
    except (TimeoutError, *NOT_JSON) as error:
        raise _died(validation_words(error) or "no answer in time") from error
    if isinstance(outcome, _Bad):
        raise _KINDS.get(outcome.kind, FleetError)(outcome.what, next_step=outcome.next_step)
    return outcome


def _died(why: str) -> FleetError:
    return Unreachable(f"the process that gets tokens failed: {why}", next_step="see its traceback in the agent's log")


async def _answer(auth: FleetDeviceAuth) -> AccessToken | _Bad:
    from fleet.identity import tokens  # noqa: PLC0415 - the weight that this process exists for

    try:
        tokens.parse_machine_key_file(msgspec.json.encode(auth.machine_key))
    except FleetError as error:
        return _Bad(BadKey.__name__, error.what, error.next_step)
    try:
        return await tokens.fetch_token(auth)
    except FleetError as error:
        return _Bad(type(error).__name__, error.what, error.next_step)


if __name__ == "__main__":
    _auth = msgspec.json.decode(sys.stdin.buffer.read(), type=FleetDeviceAuth)
    sys.stdout.buffer.write(msgspec.json.encode(asyncio.run(_answer(_auth))))
