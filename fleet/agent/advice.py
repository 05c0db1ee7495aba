"""What a person should do about a connection that does not come: one place for the causes that devices meet."""

from __future__ import annotations

import time

from fleet.contract.errors import FleetError


def certificate_trouble(text: str) -> bool:
    """Whether an error is about a TLS certificate."""
    return "certificate" in text.lower()


def next_step(error: FleetError) -> str:
    """The error's own advice, or the one for TLS, where the device's clock is the usual culprit."""
    return clock_hint() if certificate_trouble(error.what) else error.next_step


def clock_hint() -> str:
    """Tells the device's own time, for a clock that is years off looks like a bad certificate."""
    shown = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return (
        f"TLS failed: is this device's clock right (it says {shown}), and the CA the one that the server was made with?"
    )


def login_refused(notice: str) -> bool:
    """Whether NATS let the device not in: it was revoked, deleted, or never enrolled. An outage says other things."""
    return "authorization violation" in notice.lower()
