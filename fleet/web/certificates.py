"""When the certificates end that the page's process holds or is shown: it looks at them once an hour.

None of it is secret: a certificate is what a server shows to everybody who connects to it.
"""

from __future__ import annotations

import asyncio
import ssl
from urllib.parse import urlsplit

import structlog

from fleet.install.tls import certificates_of, ends
from fleet.nats.bus import Login
from fleet.process.backoff import Backoff
from fleet.process.failures import in_words
from fleet.process.tls import client_context
from fleet.web.messages import Start
from fleet.web.source import KUBERNETES, NATS, PROVIDER
from fleet.web.store import Store
from fleet.web.views.due import AUTHORITY, PAGE

log = structlog.get_logger()

_INTERVAL = 3600.0
"""Seconds between two looks."""
_AGAIN = 2.0
"""Seconds after a look that a server did not answer, at first: a busy NATS may greet who begins with TLS."""
_TIMEOUT = 10.0
"""Seconds for a server to show its certificate."""
_PORTS = {"https": 443, "tls": 4222, "nats": 4222}


async def watch(start: Start, store: Store) -> None:
    """Keep `store` told, until cancelled. A server that does not answer keeps what was known of it."""
    again = Backoff(_AGAIN, _INTERVAL)
    while True:
        missed = False
        store.set_certificate_expiry(PAGE, ends(start.page.certificate.encode()).timestamp())
        # A rotation hands out the next authority beside the present one: what counts is the newest.
        store.set_certificate_expiry(
            AUTHORITY, max(ends(certificate).timestamp() for certificate in certificates_of(start.ca))
        )
        login = Login(start.nats_url, "", start.ca)
        for name, url, ca, greets in (
            (NATS, login.address, start.ca, not login.tls_first),
            (PROVIDER, start.page.issuer, start.page.issuer_ca, False),
            (KUBERNETES, start.api_url, start.api_ca, False),
        ):
            try:
                async with asyncio.timeout(_TIMEOUT):
                    store.set_certificate_expiry(name, await _peer_certificate_expiry(url, ca, greets=greets))
            except (OSError, ValueError) as error:  # TimeoutError and ssl.SSLError are OSErrors
                log.info("a certificate was not seen", server=name, why=in_words(error))
                missed = True
        if not missed:
            again.reset()
        await asyncio.sleep(again.next() if missed else _INTERVAL)


async def _peer_certificate_expiry(url: str, ca: str, *, greets: bool) -> float:
    """The end (Unix seconds) of the certificate that a server shows. NATS greets in clear before TLS, unless told.

    Raises:
        OSError: it shows none that its authority signed.
        ValueError: the address is none of a server with TLS.
    """
    parts = urlsplit(url)
    if parts.scheme not in _PORTS or parts.hostname is None:
        raise ValueError(f"{parts.scheme} is no TLS")
    context, port = client_context(ca), parts.port or _PORTS[parts.scheme]
    reader, writer = await asyncio.open_connection(
        parts.hostname, port, ssl=None if greets else context, server_hostname=None if greets else parts.hostname
    )
    try:
        if greets:
            await reader.readline()
            await writer.start_tls(context, server_hostname=parts.hostname)
        return ssl.cert_time_to_seconds(writer.get_extra_info("peercert")["notAfter"])
    finally:
        # A server that hangs would leave our farewell unanswered.
        writer.transport.abort()
