"""A condition before it has a history: what is true of an object, and why."""

from __future__ import annotations

from typing import Literal

import msgspec

Truth = Literal["True", "False", "Unknown"]


class NewCondition(msgspec.Struct, frozen=True):
    """A condition without its history."""

    type: str
    status: Truth
    reason: str
    message: str
