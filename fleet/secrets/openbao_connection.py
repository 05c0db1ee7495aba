"""The Secret `fleet-openbao`: which OpenBao has what Secrets of workloads stand for, and the operator's login there."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated

import msgspec

from fleet.contract.errors import InvalidInput
from fleet.contract.grammar import validation_words
from fleet.contract.parsing import NOT_JSON
from fleet.contract.sealed import OPENBAO_PATH_KEY, OPENBAO_SECRET
from fleet.secrets.openbao_names import SEGMENTS, Role, Segments, is_address

SEE = "see docs/operations.md, Secrets of workloads in OpenBao"
_SOON = 7 * 86_400
_SHARE = 3
"""A token ends soon when less than `_SOON` seconds are left, and less than one part in `_SHARE` of its time: a short
one that somebody renews again and again is no trouble."""
RENEW = f"renew it, or put another one into the Secret {OPENBAO_SECRET}: the operator takes it by itself"


class Connection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the Secret `fleet-openbao` holds. One of `token` and `role` is given.

    `path` is what every path that a Secret stands for is below of, in a key-value engine of version 2 at `mount`.
    `role` is a role of the auth method at `auth`, by which the operator's ServiceAccount logs in.
    """

    url: str
    path: Segments
    mount: Segments = "secret"
    ca: str = ""
    token: Annotated[str, msgspec.Meta(max_length=4096, pattern=r"^[!-~]*\Z")] = ""
    role: Role | msgspec.UnsetType = msgspec.UNSET
    auth: Segments = "kubernetes"

    def __repr__(self) -> str:
        return f"Connection({self.url!r})"


Seconds = Annotated[int, msgspec.Meta(ge=-(2**40), le=2**40)]
_LAST = datetime.max.replace(tzinfo=UTC).timestamp() - 1


class Token(msgspec.Struct, frozen=True):
    """What OpenBao says of a token that asks about itself; `ttl`, `creation_ttl`: seconds, 0 where it has no end."""

    ttl: Seconds
    expire_time: str | None = None
    creation_ttl: Seconds = 0
    num_uses: int = 0
    policies: tuple[str, ...] = ()

    def end(self, now: float) -> float | None:
        """When it ends, in Unix seconds by OpenBao's clock; `now` is our own. None where it has no end."""
        try:
            return datetime.fromisoformat(self.expire_time or "").timestamp()
        except (ValueError, OverflowError):
            return now + self.ttl if self.ttl else None

    @property
    def ends_soon(self) -> bool:
        """Whether somebody should act."""
        return self.expire_time is not None and self.ttl < min(_SOON, (self.creation_ttl or _SOON * _SHARE) / _SHARE)


class _LookedUp(msgspec.Struct, frozen=True):
    data: Token


def connection_of(data: Mapping[str, bytes]) -> Connection:
    """The connection that the values of the Secret describe.

    Raises:
        InvalidInput: they describe none.
    """
    try:
        said = {name: value.decode().strip() for name, value in data.items()}
        found = msgspec.convert(said, Connection)
    except (msgspec.ValidationError, UnicodeDecodeError) as error:
        why = "a value is no text" if isinstance(error, UnicodeDecodeError) else validation_words(error)
        raise InvalidInput(f"the Secret {OPENBAO_SECRET}: {why}", next_step=SEE) from None
    if not is_address(found.url):
        raise InvalidInput(f"`url` of the Secret {OPENBAO_SECRET} is not as https://HOST:PORT", next_step=SEE)
    if bool(found.token) == (found.role is not msgspec.UNSET):
        raise InvalidInput(f"the Secret {OPENBAO_SECRET} must hold `token` or `role`, and only one", next_step=SEE)
    return found


def entry_path(data: Mapping[str, bytes]) -> str:
    """The path that a Secret of a workload stands for, below that of the connection.

    Raises:
        InvalidInput: it holds none, or something else, too.
    """
    path = data.get(OPENBAO_PATH_KEY, b"").decode("ascii", "replace").strip()
    if set(data) != {OPENBAO_PATH_KEY} or re.fullmatch(SEGMENTS, path) is None:
        raise InvalidInput(
            f"it must hold `{OPENBAO_PATH_KEY}` alone: names with slashes between them, as web/db", next_step=SEE
        )
    return path


def token_of(answer: bytes) -> Token | None:
    """What a token's look at itself (`auth/token/lookup-self`) says; None where it is something else."""
    try:
        return msgspec.json.decode(answer, type=_LookedUp).data
    except NOT_JSON:
        return None


def when(moment: float) -> str:
    """A moment in Unix seconds, for people."""
    return f"{datetime.fromtimestamp(min(max(moment, 0.0), _LAST), UTC):%Y-%m-%d %H:%M} UTC"
