"""How often people who are not signed in may have the page ask the identity provider something."""

from __future__ import annotations

import time
from collections.abc import Callable

from fleet.contract.errors import FleetError
from fleet.process.log_budget import Sampler
from fleet.web.networks import wide_network_of

_OF_A_NETWORK, _OF_A_WIDE_NETWORK, _OF_ALL = 60, 120, 300
"""Questions in a minute. Behind a proxy all users are one network."""


class TooOften(FleetError):  # noqa: N818 - reads as what it is
    """The provider is not asked now."""


class Pace:
    """Counts questions by the network that has them asked."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        """`now` is monotonic, in seconds."""
        self._now = now
        self._own, self._wide, self._all = map(Sampler, (_OF_A_NETWORK, _OF_A_WIDE_NETWORK, _OF_ALL))

    def take(self, network: str) -> None:
        """Count one question. What is refused to a network is not counted for all.

        Raises:
            TooOften: it would be one too many.
        """
        now = self._now()
        counted = ((self._own, network), (self._wide, wide_network_of(network)), (self._all, ""))
        if any(questions.take(kind, now) is None for questions, kind in counted):
            raise TooOften("there are too many sign-ins at this moment", next_step="try again in a minute")
