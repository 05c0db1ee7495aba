"""The certificates that a device trusts: taken from NATS, proven against the servers, and written before they count.

A bundle that would lock the device out is not taken: the server of NATS and the issuer must be trusted by it as they
are now.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import structlog

from fleet.agent.locked import locked
from fleet.agent.read_trigger import ReadTrigger
from fleet.contract.buckets import TRUST_BUNDLE, TRUST_KEY
from fleet.contract.certificates import certificate_ids
from fleet.contract.config import AgentConfig, load_config, render_config
from fleet.contract.errors import FleetError, InvalidInput
from fleet.contract.limits import MAX_TRUSTED
from fleet.contract.owner import Owner
from fleet.identity.issuer import trust
from fleet.identity.proxies import proxy_for
from fleet.nats.bus import Bus, Entry
from fleet.process.durable import replace_file
from fleet.process.failures import in_words

_log = structlog.stdlib.get_logger()
_WITHIN = 5.0
"""Seconds for a handshake."""
_SECRET = 0o600


class TrustBundleRotation:
    """What one device trusts. `changed` takes the ids of the certificates whenever they are others."""

    def __init__(self, path: Path, config: AgentConfig, changed: Callable[[tuple[str, ...]], None]) -> None:
        """Contact nothing yet. `path` is that of the configuration, which holds the certificates."""
        self._path = path
        self._config = config
        self._changed = changed
        self._trigger = ReadTrigger(config.resync_interval)
        self._last_error = ""
        self.ca = config.auth.ca
        """The certificates (PEM) that count now."""
        changed(_ids(self.ca))

    def missed(self) -> None:
        """The bundle may have changed without our hearing of it."""
        self._trigger.fire()

    async def serve(self, bus: Bus) -> None:
        """Take every bundle that the server tells of, for as long as the connection lives."""
        await bus.subscribe(TRUST_BUNDLE.notify_subject(TRUST_KEY), self._trigger.fire)
        async for _ in self._trigger.times():
            try:
                await self._read(bus)
            except (FleetError, OSError) as error:
                self._trigger.failed()
                self._log_error(error.what if isinstance(error, FleetError) else in_words(error))
            else:
                self._last_error = ""

    async def _read(self, bus: Bus) -> None:
        entry = await bus.kv(TRUST_BUNDLE).get(TRUST_KEY)
        if entry is None:
            return
        if not isinstance(entry, Entry):
            raise InvalidInput(entry.why, next_step="the operator writes it anew")
        bundle = entry.value.certificates
        if bundle == self.ca:
            return
        context = trust(bundle)
        if not certificate_ids(bundle):
            raise InvalidInput("it holds no certificate", next_step="the operator writes it anew")
        await self._prove(context)
        await asyncio.to_thread(self._keep, bundle)
        self.ca = bundle
        bus.trust(context)
        self._changed(_ids(bundle))
        _log.info("the server's trust bundle is taken", certificates=_ids(bundle))

    async def _prove(self, context: ssl.SSLContext) -> None:
        """See that the servers would be trusted.

        Raises:
            InvalidInput: one would not.
            OSError, TimeoutError: NATS does not answer.
        """
        urls = [self._config.nats_url]
        if not proxy_for(self._config.auth.issuer):
            urls.append(self._config.auth.issuer)
        for url in urls:
            try:
                async with asyncio.timeout(_WITHIN):
                    await _shake_hands(url, context)
            except ssl.SSLCertVerificationError as error:
                raise InvalidInput(
                    f"with it, {url} would not be trusted: {error.verify_message}",
                    next_step="see which certificate that server shows",
                ) from error
            except OSError:
                if url == self._config.nats_url:
                    raise

    def _keep(self, bundle: str) -> None:
        """Write the bundle into the configuration as it is on the disk, which may have a newer key than ours.

        Raises:
            InvalidInput: the device was given to another identity meanwhile.
        """
        with locked(self._path.parent):
            config = load_config(self._path, AgentConfig)
            if Owner.of(config) != Owner.of(self._config):
                raise InvalidInput("the device has another identity by now", next_step="its agent is being restarted")
            if config.auth.ca != bundle:
                auth = msgspec.structs.replace(config.auth, ca=bundle)
                replace_file(self._path, render_config(msgspec.structs.replace(config, auth=auth)), _SECRET)

    def _log_error(self, why: str) -> None:
        if why != self._last_error:
            self._last_error = why
            _log.warning("the server's trust bundle is not taken; what was trusted still is", why=why)


async def _shake_hands(url: str, context: ssl.SSLContext) -> None:
    """TLS as a client of that server has it, which is closed again at once."""
    parts = urlsplit(url)
    assert parts.hostname
    host, port = parts.hostname, parts.port or 443
    if parts.scheme == "tls":  # NATS greets in clear
        reader, writer = await asyncio.open_connection(host, port)
        try:
            await reader.readline()
            await writer.start_tls(context, server_hostname=host)
        finally:
            await _close(writer)
    else:
        _, writer = await asyncio.open_connection(host, port, ssl=context, server_hostname=host)
        await _close(writer)


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


def _ids(ca: str) -> tuple[str, ...]:
    return certificate_ids(ca)[:MAX_TRUSTED]
