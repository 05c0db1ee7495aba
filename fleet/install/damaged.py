"""Secrets that somebody changed by hand: named before anything is made of them, and never told."""

from __future__ import annotations

import contextlib
from collections.abc import Generator

from fleet.contract.errors import InvalidInput


@contextlib.contextmanager
def checked(name: str) -> Generator[None]:
    """What fails here fails because the secret of that name is not what it should be.

    Raises:
        InvalidInput: names the secret, and tells nothing of its value.
    """
    try:
        yield
    except InvalidInput as error:
        raise damaged(name, error.what) from None
    except UnicodeDecodeError:
        raise damaged(name, "it is no text") from None
    except (ValueError, TypeError):
        raise damaged(name, "it is no key or certificate of ours (PEM, P-256)") from None


def damaged(name: str, why: str) -> InvalidInput:
    """Says what to do about it."""
    return InvalidInput(
        f"the secret {name} is damaged: {why}", next_step="restore it from a backup; it is never made anew"
    )
