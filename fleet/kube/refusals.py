"""What an API server's refusals mean to a command: the product's own errors, each with the next step."""

from __future__ import annotations

import json
import re
import ssl
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus

from fleet.contract.errors import Conflict, FleetError, InvalidInput, NotFound, NotPermitted
from fleet.contract.parsing import NOT_JSON

_CLOCKS = timedelta(hours=1)
"""By how much our clock and the API server's may differ."""
_UNKNOWN = "field not declared in schema"
_AWAY = {429, 500, 502, 503, 504}
_FULL = "database space exceeded"
"""etcd's word for its quota (NOSPACE); the API server hands it on with status 500. It does not go by itself."""
_OUT_OF_TIME = {9, 10}
"""OpenSSL's X509_V_ERR_CERT_NOT_YET_VALID and _CERT_HAS_EXPIRED."""
_REFUSALS: dict[int, tuple[type[FleetError], str]] = {
    HTTPStatus.BAD_REQUEST: (InvalidInput, "correct the value that the message names"),
    HTTPStatus.UNAUTHORIZED: (NotPermitted, "log in to the cluster again: the credentials expired or are unknown"),
    HTTPStatus.FORBIDDEN: (NotPermitted, "ask the cluster's admin for this right, or use another context"),
    HTTPStatus.NOT_FOUND: (NotFound, "check the name with `fleet device list` or `fleet deployment list`"),
    HTTPStatus.UNPROCESSABLE_ENTITY: (InvalidInput, "correct the value that the message names"),
}


class Outdated(Conflict):
    """The object has changed since it was read."""


class Away(Exception):  # noqa: N818 - never leaves the client
    """The API server is not there, or says that it is not ready."""


def refused(host: str, status: int, data: bytes, what: str) -> Exception:
    """The error that an answer to the request `what` means; `Away` where a repeat may succeed."""
    message = _message(data)
    if _UNKNOWN in message:  # server-side apply answers 500
        step = "bring the server up to date with `fleet server install`, or take the field out"
        return InvalidInput(f"Kubernetes at {host}: {what}: {message}", next_step=step)
    if status in _AWAY and _FULL not in message:
        return Away(f"{status} {message}")
    what = f"Kubernetes at {host}: {what}: {message}"
    if status == HTTPStatus.CONFLICT:
        return _conflict(what)
    if _FULL in message:
        return NotPermitted(
            f"{what} ({status}): etcd is full, and this was not written",
            next_step="compact and defragment etcd, or give it a larger quota; disarm its alarm, then repeat",
        )
    if "exceeded quota" in message:
        return NotPermitted(what, next_step="ask for a larger quota, or make room in the namespace, then repeat")
    kind, next_step = _REFUSALS.get(status, (FleetError, "see the API server's log"))
    return kind(f"{what} ({status})", next_step=next_step)


def untrusted(host: str, error: ssl.SSLCertVerificationError) -> InvalidInput:
    """The error that a certificate means which the kubeconfig's CA does not vouch for, now and for this name."""
    if error.verify_code in _OUT_OF_TIME:
        return InvalidInput(
            f"Kubernetes at {host} shows a certificate that is out of its time ({error.verify_message}) by this "
            f"machine's clock, which says {datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
            next_step="set the clock (timedatectl set-ntp true); if it is right, renew the API server's certificate",
        )
    return InvalidInput(
        f"Kubernetes at {host} shows a certificate that the kubeconfig's CA did not sign, "
        f"or one for another name: {error.verify_message}",
        next_step="get a fresh kubeconfig for this cluster",
    )


def require_same_clock(host: str, date: str) -> None:
    """See that this machine's clock is the API server's, which tells its own as HTTP's `Date`; or nothing.

    Raises:
        NotPermitted: they are more than an hour apart.
    """
    if not date:
        return
    here, there = datetime.now(UTC), parsedate_to_datetime(date)
    if abs(here - there) > _CLOCKS:
        raise NotPermitted(
            f"this machine's clock says {here:%Y-%m-%d %H:%M} UTC, and that of Kubernetes at {host} "
            f"{there:%Y-%m-%d %H:%M} UTC: certificates that are made now would not be valid",
            next_step="set the clock that is wrong (timedatectl set-ntp true), then repeat; nothing was changed",
        )


def _conflict(what: str) -> Conflict:
    managers = sorted(set(re.findall(r'conflicts? with "([^"]+)"', what)))
    if managers:
        return Conflict(what, next_step=f"{', '.join(managers)} set these fields: let it release them first")
    kind = Outdated if "the object has been modified" in what else Conflict
    return kind(what, next_step="read it again, and decide again")


def _message(data: bytes | str) -> str:
    try:
        return str(json.loads(data)["message"])
    except (*NOT_JSON, KeyError, TypeError):
        text = data.decode(errors="replace") if isinstance(data, bytes) else data
        return text.strip()[:300] or "no reason given"
