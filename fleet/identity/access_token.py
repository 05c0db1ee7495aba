"""A token that an issuer granted; apart, because an agent holds tokens and a child process fetches them."""

from __future__ import annotations

import msgspec


class AccessToken(msgspec.Struct, frozen=True, tag="token"):
    """A secret that opens doors until `expires_at`, in seconds of `time.monotonic()`, which no clock change moves.

    All processes of a machine share that clock. `lifetime` is what the issuer gave it, in seconds; `clock_ahead` is by
    how many seconds this machine's clock is ahead of the issuer's, as far as an HTTP header of whole seconds tells.
    `key_id` is the machine key that it was had by, if any.
    """

    text: str
    expires_at: float
    lifetime: float
    clock_ahead: float = 0
    key_id: str = ""

    def __repr__(self) -> str:
        return f"AccessToken(text=..., expires_at={self.expires_at!r}, lifetime={self.lifetime!r})"
