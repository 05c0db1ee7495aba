"""Makes a machine key in a process of its own: what makes it takes memory that an agent has no use for afterwards.

`python -m fleet.agent.new_key` writes a `NewKey` to standard output. Nothing secret is an argument.
"""

from __future__ import annotations

import sys

import msgspec

from fleet.agent.child import call
from fleet.contract.errors import FleetError
from fleet.contract.grammar import validation_words
from fleet.contract.machine_keys import PublicKey
from fleet.contract.parsing import NOT_JSON

_WITHIN = 120.0
"""Seconds: the smallest of our devices take several."""
_BITS = 2048
"""Of an RSA key: as many as Zitadel's own machine keys have."""


class NewKey(msgspec.Struct, frozen=True):
    """A key and its public half, both PEM; `private` is a secret."""

    private: str
    public: PublicKey

    def __repr__(self) -> str:
        return f"NewKey(private=..., public={self.public!r})"


async def make() -> NewKey:
    """A fresh key.

    Raises:
        FleetError: the process that makes it failed.
    """
    try:
        _, key = await call(__name__, within=_WITHIN)
        return msgspec.json.decode(key, type=NewKey)
    except (TimeoutError, *NOT_JSON) as error:
        raise FleetError(
            f"the process that makes a key failed: {validation_words(error) or 'no answer in time'}",
            next_step="see its traceback in the agent's log",
        ) from error


def _made() -> NewKey:
    from joserfc.jwk import RSAKey  # noqa: PLC0415 - the weight that this process exists for

    key = RSAKey.generate_key(_BITS, private=True)
    return NewKey(key.as_pem(private=True).decode(), key.as_pem(private=False).decode())


if __name__ == "__main__":
    sys.stdout.buffer.write(msgspec.json.encode(_made()))
