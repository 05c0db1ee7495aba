"""How an admin reaches the identity provider."""

from __future__ import annotations

import math
import stat
from collections.abc import Callable
from pathlib import Path

import msgspec

from fleet.contract.config import is_open_to_others, read_whole
from fleet.contract.errors import InvalidInput, NotFound
from fleet.identity.access_token import AccessToken
from fleet.identity.device_login import Prompt, device_login

Tell = Callable[[Prompt], None]


class AdminAuth(msgspec.Struct, frozen=True):
    """A device-code login by `oidc_client_id`, or a personal access token in `token_file` (mode 0600); one of them."""

    oidc_client_id: str = ""
    token_file: Path | None = None

    def __post_init__(self) -> None:
        """Refuse none and both.

        Raises:
            InvalidInput: not exactly one way is given.
        """
        if bool(self.oidc_client_id) == (self.token_file is not None):
            raise InvalidInput(
                "an admin logs in either by device code or with a personal access token",
                next_step="give --admin-oidc-client-id ID or --admin-token-file FILE, and only one of them",
            )

    def access_token(self, issuer: str, ca: str, tell: Tell) -> AccessToken:
        """A token for Zitadel's management API; `tell` shows a person what to open, if somebody must approve.

        Raises:
            NotFound: there is no such file.
            InvalidInput: the file is empty or readable by others; or see `device_login`.
            NotPermitted, TimedOut, Unreachable: see `device_login`.
        """
        if self.token_file is None:
            return device_login(issuer, ca, self.oidc_client_id, tell=tell)
        return AccessToken(read_token(self.token_file), math.inf, math.inf)


def read_token(path: Path, kind: str = "a Zitadel PAT") -> str:
    """The token in a file, which is to be of some kind; see `AdminAuth.access_token` for what it raises."""
    try:
        data, status = read_whole(path)
        text = data.decode("ascii").strip()
    except OSError as error:
        raise NotFound(
            f"cannot read the admin's token in {path}: {error.strerror}", next_step=f"save {kind} there"
        ) from error
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path} holds no access token", next_step=f"save {kind} there") from error
    if is_open_to_others(status):
        mode = stat.S_IMODE(status.st_mode)
        raise InvalidInput(f"{path} has mode {mode:04o}, but holds a secret", next_step=f"chmod 600 {path}")
    if not text or len(text.split()) != 1:
        raise InvalidInput(f"{path} holds no access token", next_step=f"save {kind} there, and nothing else")
    return text
