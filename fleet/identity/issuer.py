"""The identity provider's address: parsing it, trusting it, and saying what is wrong with it. No I/O here.

Shared by the agent (asynchronous, light) and by the admin's clients. Zitadel takes its issuer from the Host header, so
the same server is another instance under another name; discovery compares the issuer byte for byte.
"""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec

from fleet.contract.errors import FleetError, InvalidInput, NotPermitted, Unreachable
from fleet.contract.parsing import NOT_JSON
from fleet.identity.proxies import check_proxies, proxy_for
from fleet.process.failures import in_words
from fleet.process.tls import client_context

if TYPE_CHECKING:
    import httpx

DISCOVERY_PATH = "/.well-known/openid-configuration"
MAX_SKEW = 25 * 60
"""Seconds a clock may be off: an assertion is made to hold 30 minutes either side of now."""

_NOT_YET_VALID, _EXPIRED, _WRONG_HOST, _WRONG_ADDRESS = 9, 10, 62, 64
"""OpenSSL's X509_V_ERR_CERT_NOT_YET_VALID, _CERT_HAS_EXPIRED, _HOSTNAME_MISMATCH and _IP_ADDRESS_MISMATCH."""
_LOOPBACK = {"localhost": "127.0.0.1", "127.0.0.1": "localhost", "::1": "localhost"}


class Discovery(msgspec.Struct, frozen=True):
    """What we need of the issuer's metadata (OpenID Connect Discovery 1.0)."""

    issuer: str
    token_endpoint: str
    device_authorization_endpoint: str = ""


class OAuthRefusal(msgspec.Struct, frozen=True):
    """An error answer of RFC 6749."""

    error: str
    error_description: str = ""


def parse_issuer(text: str) -> str:
    """An issuer as Zitadel names itself: `https://host[:port]`, nothing else.

    Raises:
        InvalidInput: it is anything else; nothing was contacted.
    """
    try:
        parts = urlsplit(text)
        good = parts.scheme == "https" and bool(parts.hostname) and parts.port != 0 and text.isascii()
    except ValueError:
        parts, good = None, False
    if parts is None or not good or text != f"https://{parts.netloc}" or "@" in text or " " in text:
        raise InvalidInput(
            f"{text!r} is not an issuer",
            next_step="use https://host or https://host:port, as Zitadel's console shows it, without a trailing slash",
        )
    return text


def trust(ca: str) -> ssl.SSLContext:
    """TLS that trusts the PEM certificates in `ca`, or this machine's authorities if it is empty.

    Raises:
        InvalidInput: `ca` holds no certificate, or the environment names a proxy that cannot be used.
    """
    check_proxies()
    try:
        return client_context(ca)
    except ssl.SSLError as error:
        raise InvalidInput(
            f"the CA is not a PEM certificate: {error}",
            next_step="give the file that begins with -----BEGIN CERTIFICATE-----",
        ) from error


def unreachable(issuer: str, error: Exception, now: float) -> FleetError:
    """The error for a request without an answer. `now` is this machine's clock, Unix seconds."""
    cause = tls_cause(error)
    if cause is not None:
        return _untrusted(issuer, cause, now)
    from httpx import TimeoutException  # noqa: PLC0415 - it is loaded where such an error comes from; an agent starts without it

    proxy = proxy_for(issuer)
    way = f" through the proxy {proxy}" if proxy else ""
    if isinstance(error, TimeoutException | TimeoutError):
        return Unreachable(
            f"the issuer {issuer} does not answer in time{way}",
            next_step="is it running, or overloaded? try again later",
        )
    if proxy:
        return Unreachable(
            f"the issuer {issuer} does not answer{way}: {in_words(error)}",
            next_step="correct HTTPS_PROXY or ALL_PROXY, or name the issuer's host in NO_PROXY",
        )
    return Unreachable(
        f"the issuer {issuer} does not answer: {in_words(error)}",
        next_step=f"check the address, the network and whether Zitadel runs: curl {issuer}{DISCOVERY_PATH}",
    )


def tls_cause(error: BaseException | None) -> ssl.SSLCertVerificationError | None:
    """The refusal of a certificate that an error of httpx stands for; None where it is another error."""
    while error is not None and not isinstance(error, ssl.SSLCertVerificationError):
        error = error.__cause__ or error.__context__
    return error


def _untrusted(issuer: str, cause: ssl.SSLCertVerificationError, now: float) -> FleetError:
    clock = datetime.fromtimestamp(now, UTC)
    if cause.verify_code in {_NOT_YET_VALID, _EXPIRED}:
        when = "not valid yet" if cause.verify_code == _NOT_YET_VALID else "no longer valid"
        return Unreachable(
            f"the certificate of {issuer} is {when} by this machine's clock, which says {clock:%Y-%m-%d %H:%M} UTC",
            next_step="set the clock (timedatectl set-ntp true); if it is right, renew the issuer's certificate",
        )
    if cause.verify_code in {_WRONG_HOST, _WRONG_ADDRESS}:
        return InvalidInput(
            f"the certificate of {issuer} is for another host name: {cause.verify_message}",
            next_step=f"use the name in the certificate{_other_name(issuer)}",
        )
    return InvalidInput(
        f"the certificate of {issuer} is not signed by the CA given: {cause.verify_message}",
        next_step="give the CA that signed the issuer's certificate; is this the right server?",
    )


def discovered(issuer: str, response: httpx.Response) -> Discovery:
    """The metadata in the answer to `GET <issuer>/.well-known/openid-configuration`.

    Raises:
        InvalidInput: no instance has that name, or it names itself differently.
        Unreachable: the server has a problem, or another program answered.
    """
    if response.status_code >= 500 or response.status_code == 429:
        raise ill(issuer, response)
    if response.status_code != 200:
        raise InvalidInput(
            f"no Zitadel instance at {issuer}: discovery answers {response.status_code}",
            next_step=f"use the issuer's own name{_other_name(issuer)}",
        )
    try:
        found = msgspec.json.decode(response.content, type=Discovery)
    except NOT_JSON as error:
        raise InvalidInput(
            f"{issuer} answers, but is not an OpenID issuer", next_step="is that Zitadel's address?"
        ) from error
    if found.issuer != issuer:
        raise InvalidInput(
            f"the issuer calls itself {found.issuer}, not {issuer}; it is compared byte for byte",
            next_step=f"configure {found.issuer}{_other_name(issuer)}",
        )
    if not found.token_endpoint.startswith(f"{issuer}/"):
        raise InvalidInput(
            f"{issuer} sends its clients elsewhere for tokens: {found.token_endpoint}",
            next_step="check the proxy before Zitadel: it must pass the Host header on",
        )
    return found


def ill(issuer: str, response: httpx.Response) -> Unreachable:
    """The error for an answer that says only that the server, or a proxy in front of it, has a problem."""
    return Unreachable(
        f"the issuer {issuer} answers {response.status_code} {response.reason_phrase}".rstrip(),
        next_step="see Zitadel's log, and that of the proxy before it; it is worth trying again",
    )


def refusal(response: httpx.Response) -> OAuthRefusal | None:
    """The OAuth error in an answer, if there is one."""
    try:
        return msgspec.json.decode(response.content, type=OAuthRefusal)
    except NOT_JSON:
        return None


def other_instance(issuer: str) -> str:
    """A hint for a refusal by an issuer on a loopback address; empty for others."""
    other = _LOOPBACK.get(urlsplit(issuer).hostname or "")
    if other is None:
        return ""
    return f" (Zitadel tells instances by the host name: {other} and {urlsplit(issuer).hostname} are different ones)"


def _other_name(issuer: str) -> str:
    other = _LOOPBACK.get(urlsplit(issuer).hostname or "")
    return f", perhaps {other}:{other_instance(issuer)}" if other else ""


def server_time(response: httpx.Response) -> float | None:
    """The answer's Date header in Unix seconds, if it has one."""
    try:
        return parsedate_to_datetime(response.headers.get("date", "")).timestamp()
    except (ValueError, TypeError):
        return None


def ahead(response: httpx.Response, now: float) -> float:
    """By how many seconds this machine's clock, `now` in Unix seconds, is ahead of the server's; 0 if it tells none."""
    theirs = server_time(response)
    return 0.0 if theirs is None else now - theirs


def difference(seconds: float) -> str:
    """A difference of clocks in words; the owner of the clock follows."""
    return f"{abs(seconds):.0f} s {'ahead of' if seconds > 0 else 'behind'}"


def check_clock(issuer: str, response: httpx.Response, now: float) -> None:
    """Compare this machine's clock, `now` in Unix seconds, with the issuer's.

    Raises:
        NotPermitted: they are so far apart that any assertion would be refused.
    """
    theirs = server_time(response)
    if theirs is None or abs(now - theirs) <= MAX_SKEW:
        return
    here, there = datetime.fromtimestamp(now, UTC), datetime.fromtimestamp(theirs, UTC)
    way = "ahead of" if now > theirs else "behind"
    raise NotPermitted(
        f"this machine's clock says {here:%Y-%m-%d %H:%M} UTC, {_span(abs(now - theirs))} {way} "
        f"that of the issuer {issuer} ({there:%Y-%m-%d %H:%M} UTC): a difference of {abs(now - theirs):.0f} s",
        next_step="set the clock: timedatectl set-ntp true",
    )


def _span(seconds: float) -> str:
    for unit, size in (("years", 365.25 * 86400), ("days", 86400.0), ("hours", 3600.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds / 60:.0f} minutes"
