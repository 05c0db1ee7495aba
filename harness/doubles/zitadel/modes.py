"""How the double can be made slow, lagging, failing or old, while it runs."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import msgspec

Duration = Annotated[float, msgspec.Meta(ge=0)]


class TokenErrors(Enum):
    """How bad assertions are answered; three generations that the reference lists."""

    V4_10 = "v4.10"
    """500 `server_error`, whatever is wrong."""
    NEWER = "newer"
    """400 `invalid_client` for the key, `invalid_grant` for the claims."""
    LIBRARY = "library"
    """400 `invalid_request`, as the OIDC library without Zitadel's overrides."""


class DeviceErrors(Enum):
    """How a poll with a denied, used or unknown device code is answered."""

    NEWER = "invalid_grant"
    OLDER = "access_denied"


class Fault(msgspec.Struct):
    """Answers `status` to the next `times` calls whose path begins with `path`, or never answers them (`hang`)."""

    path: Annotated[str, msgspec.Meta(pattern="^/")]
    times: Annotated[int, msgspec.Meta(ge=1)] = 1
    status: Annotated[int, msgspec.Meta(ge=400, le=599)] = 503
    hang: bool = False


class Modes(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """All modes. The defaults play a healthy Zitadel of the newest version. Times in seconds; not kept on restart.

    `latency` delays every call. `lag` is how long a new user, key, grant, project, role or application stays unseen,
    and a removed user listed.
    `clock_offset` moves the double's clock, in tokens and in the Date header. `slow_down` is how many polls of
    the device flow are still answered so. `claims` are put into every token in the place of its own: what a foreign or
    faulty issuer might sign.
    """

    latency: Duration = 0
    lag: Duration = 0
    token_errors: TokenErrors = TokenErrors.NEWER
    device_errors: DeviceErrors = DeviceErrors.NEWER
    clock_offset: float = 0
    token_lifetime: Annotated[int, msgspec.Meta(ge=1)] = 12 * 3600
    device_interval: Annotated[int, msgspec.Meta(ge=1)] = 5
    device_lifetime: Annotated[int, msgspec.Meta(ge=1)] = 300
    slow_down: Annotated[int, msgspec.Meta(ge=0)] = 0
    faults: list[Fault] = []
    claims: dict[str, str | float | list[str]] = {}

    def take_fault(self, path: str) -> Fault | None:
        """The fault that meets this call, counted."""
        fault = next((fault for fault in self.faults if path.startswith(fault.path)), None)
        if fault is not None:
            fault.times -= 1
            self.faults = [fault for fault in self.faults if fault.times]
        return fault


def changed(modes: Modes, patch: bytes) -> Modes:
    """`modes` with what `patch`, a JSON object, names.

    Raises:
        msgspec.DecodeError: not JSON, or not a mode or value that exists.
    """
    fields = msgspec.json.decode(patch, type=dict[str, object])
    current = msgspec.to_builtins(modes)
    return msgspec.convert({**current, **fields}, Modes)
