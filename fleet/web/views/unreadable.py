"""What is wrong with an object that cannot be read."""

from __future__ import annotations

from fleet.cli.trouble import Trouble
from fleet.web.objects import Unreadable

UNREADABLE = "cannot be read"


def unreadable_trouble(item: Unreadable) -> Trouble:
    """What is wrong with an object that does not parse."""
    means = "the object is not as this server's definition of it demands, and counts for nothing until it is corrected"
    return Trouble("object", "InvalidSpec", f"{UNREADABLE}: {item.why}", item.since, means, "correct what it names")
