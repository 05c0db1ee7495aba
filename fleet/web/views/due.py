"""Certificates that end before long, and secrets that are due to be rotated, as the first screen shows them.

Of secrets the page knows names and times, and no value: the operator hands them on (`fleet.web.messages.Start`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

import msgspec

from fleet.cli.suggestions import for_secret
from fleet.contract.config import SecretAge
from fleet.contract.errors import NotFound
from fleet.install.authority import AUTHORITY_KEY
from fleet.install.secrets import PAGE_KEY, TLS_KEY
from fleet.rotation.catalogue import find
from fleet.web.source import KUBERNETES, NATS, PROVIDER

PAGE, AUTHORITY = "this page", "the server's own authority"
"""Certificates that are no source's, as the page names them."""
AHEAD = 30 * 86_400.0
"""Seconds before its end from which a certificate is shown, and a secret before it is due; as `fleet doctor` does."""
_KEYS = {PAGE: PAGE_KEY, AUTHORITY: AUTHORITY_KEY, NATS: TLS_KEY}
"""The secrets whose rotation brings another certificate."""
_OTHERS = {PROVIDER: "the admin of the identity provider renews it", KUBERNETES: "the admin of the cluster renews it"}
_ROTATE = "an admin rotates it"


class Due(msgspec.Struct, frozen=True):
    """A certificate, or a secret. Moments are RFC 3339.

    `moment` is when a certificate ends (`ends`) or a secret is due, and `over` says that this has passed. `made` is
    when the secret was made that is in use, empty where that is not known. `command` is empty where none of ours helps.
    """

    name: str
    what: str
    moment: str
    ends: bool
    over: bool
    made: str
    next_step: str
    command: str


def due(certificates: Mapping[str, float], ages: Iterable[SecretAge], now: float, namespace: str) -> tuple[Due, ...]:
    """Those that have ended or were due, or will within `AHEAD`, the first first; times are Unix seconds.

    A secret whose certificate is named already is not named a second time.
    """
    ending = {name: end for name, end in certificates.items() if end <= now + AHEAD}
    found = [(end, _certificate(name, end, now, namespace)) for name, end in ending.items()]
    named = {_KEYS[name] for name in ending if name in _KEYS}
    for age in ages:
        moment = _due(age)
        if moment is not None and moment <= now + AHEAD and age.name not in named:
            found.append((moment, _secret(age, moment, now, namespace)))
    return tuple(item for _, item in sorted(found, key=lambda item: (item[0], item[1].name)))


def _certificate(name: str, end: float, now: float, namespace: str) -> Due:
    key = _KEYS.get(name)
    command = for_secret(key, namespace) if key else ""
    return Due(name, "certificate", _moment(end), True, end <= now, "", _OTHERS.get(name, _ROTATE), command)


def _secret(age: SecretAge, moment: float, now: float, namespace: str) -> Due:
    made = _moment(age.made) if age.made else ""
    what = find(age.name).what
    return Due(age.name, what, _moment(moment), False, moment <= now, made, _ROTATE, for_secret(age.name, namespace))


def _due(age: SecretAge) -> float | None:
    """When a secret is due, in Unix seconds; None where that is not known, or where it cannot be rotated."""
    try:
        secret = find(age.name)
    except NotFound:  # a newer install knows more of them
        return None
    found = secret.due(_time(age.made), _time(age.ends))
    return found.timestamp() if found else None


def _time(seconds: int) -> datetime | None:
    return datetime.fromtimestamp(seconds, UTC) if seconds else None


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
