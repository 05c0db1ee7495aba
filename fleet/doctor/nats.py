"""NATS as a device connects to it: its name, its port, its greeting, and its certificate."""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from datetime import UTC, datetime
from urllib.parse import urlsplit

from fleet.contract.errors import FleetError, InvalidInput, Unreachable
from fleet.doctor.findings import Worrying
from fleet.process.failures import in_words
from fleet.process.tls import client_context

_WITHIN = 5.0
"""Seconds for each step."""
_LONGEST_GREETING = 64 * 1024
_SOON = 30 * 86_400
"""A certificate that ends within so many seconds is a warning."""
_EXPIRED, _NOT_YET = 10, 9
"""OpenSSL's X509_V_ERR_CERT_HAS_EXPIRED and _CERT_NOT_YET_VALID."""
_OTHER_NAME = (62, 64)
"""X509_V_ERR_HOSTNAME_MISMATCH and _IP_ADDRESS_MISMATCH."""


def check_nats(url: str, ca: str, now: float) -> str:
    """What is well with NATS at `url`, whose certificate `ca` (PEM) is to have signed; `now` is Unix seconds.

    Raises:
        FleetError: it cannot be reached as a device would reach it.
        Worrying: it can, and its certificate ends soon.
    """
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or 4222
    with contextlib.closing(_connected(host, port)) as connection:
        if parts.scheme != "tls+first":
            _await_greeting(connection, url)
        ends = _shown(connection, host, ca, url, now)
    day = f"{datetime.fromtimestamp(ends, UTC):%Y-%m-%d}"
    if ends - now < _SOON:
        raise Worrying(
            f"the certificate of {url} ends on {day}",
            next_step="run `fleet server install` again with the options of the last install: it signs another",
        )
    return f"{url} answers; its certificate is good until {day}"


def _connected(host: str, port: int) -> socket.socket:
    try:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise Unreachable(
            f"the name {host} does not resolve: {in_words(error)}",
            next_step="make a DNS record for it, or install with another --nats-address",
        ) from error
    why = ""
    for family, kind, protocol, _, address in addresses:
        connection = socket.socket(family, kind, protocol)
        connection.settimeout(_WITHIN)
        try:
            connection.connect(address)
        except OSError as error:
            connection.close()
            why = in_words(error)
        else:
            return connection
    raise Unreachable(
        f"nothing answers at {host}:{port}: {why}",
        next_step="does NATS run (`fleet server status`)? does a firewall or a router stand before that port?",
    )


def _await_greeting(connection: socket.socket, url: str) -> None:
    got, until = b"", time.monotonic() + _WITHIN
    try:
        while b"\r\n" not in got and len(got) < _LONGEST_GREETING and time.monotonic() < until:
            part = connection.recv(4096)
            if not part:
                break
            got += part
    except OSError as error:
        raise FleetError(
            f"{url} takes a connection, and says nothing: {in_words(error)}",
            next_step="does a router before it want TLS first? then install with --exposure route or ingress",
        ) from error
    if not got.startswith(b"INFO "):
        raise InvalidInput(
            f"what answers at {url} is no NATS server", next_step="is it another program's port? see --nats-address"
        )


def _shown(connection: socket.socket, host: str, ca: str, url: str, now: float) -> float:
    """When the certificate ends, Unix seconds."""
    try:
        with client_context(ca).wrap_socket(connection, server_hostname=host) as secured:
            shown = secured.getpeercert() or {}
    except ssl.SSLCertVerificationError as error:
        raise _untrusted(url, error, now) from error
    except OSError as error:
        raise Unreachable(
            f"{url} does not speak TLS: {in_words(error)}",
            next_step="does a proxy before NATS end TLS? it must pass TLS through",
        ) from error
    return ssl.cert_time_to_seconds(str(shown["notAfter"]))


def _untrusted(url: str, error: ssl.SSLCertVerificationError, now: float) -> FleetError:
    clock = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(now))
    if error.verify_code in {_EXPIRED, _NOT_YET}:
        when = "has ended" if error.verify_code == _EXPIRED else "has not begun"
        return Unreachable(
            f"the certificate of {url} {when}, by a clock that says {clock}",
            next_step="is that clock right? then run `fleet server install` again: it signs another",
        )
    if error.verify_code in _OTHER_NAME:
        return InvalidInput(
            f"the certificate of {url} is for another name: {error.verify_message}",
            next_step="install with --nats-address and the name that devices use",
        )
    return InvalidInput(
        f"the certificate of {url} is signed by somebody else: {error.verify_message}",
        next_step="is it this server? does a proxy before NATS end TLS? it must pass TLS through",
    )
