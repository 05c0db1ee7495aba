"""The responder: receives the NATS server's requests, and answers each in time and sealed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Callable

import msgspec
import nats.errors
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from fleet.callout.claims import AuthRequest, Signer, parse_request
from fleet.callout.decide import Allow, Deny, Reason, decide
from fleet.callout.metrics import Metrics
from fleet.callout.registry import Registry
from fleet.callout.seal import XKEY_HEADER, ClearRequest, Envelope
from fleet.callout.tokens import Tokens
from fleet.contract.buckets import AUTH_SUBJECT, CALLOUT_QUEUE
from fleet.contract.certificates import certificate_ids
from fleet.contract.config import CalloutConfig
from fleet.contract.errors import InvalidInput
from fleet.contract.limits import MAX_TRUSTED
from fleet.contract.versions import CALLOUT_KEYS_SUBJECT, CalloutKeys
from fleet.contract.wire import encode
from fleet.nats.keys import curve_key, key_pair, public_key
from fleet.process.log_budget import Sampler

_REFUSED = b""
"""The answer if no signed one can be made; nats-server refuses the login at once instead of waiting."""

log = structlog.get_logger()


class Responder:
    """Decides on logins, each in a task of its own, at most `max_concurrent` at a time."""

    def __init__(self, config: CalloutConfig, tokens: Tokens, registry: Registry, metrics: Metrics) -> None:
        """Prepare to answer.

        Raises:
            InvalidInput: a seed in the configuration is invalid.
        """
        self._config = config
        self._tokens = tokens
        self._registry = registry
        self._metrics = metrics
        self._sampler = Sampler()
        signers = [Signer(key_pair(seed)) for seed in (config.issuer_seed, *config.other_issuer_seeds)]
        self._signers = {signer.issuer: signer for signer in signers}
        self._envelope = Envelope(*(curve_key(seed) for seed in (config.xkey_seed, *config.other_xkey_seeds) if seed))
        self.keys = CalloutKeys(
            f"{socket.gethostname()}-{os.getpid()}"[-253:],
            tuple(sorted(self._signers)),
            tuple(sorted(public_key(seed) for seed in (config.xkey_seed, *config.other_xkey_seeds) if seed)),
            certificate_ids(config.ca)[:MAX_TRUSTED],
        )
        self._tasks: set[asyncio.Task[None]] = set()
        self._subscription: Subscription | None = None

    async def start(self, client: Client) -> None:
        """Take a share of the requests from now on."""
        self._subscription = await client.subscribe(AUTH_SUBJECT, queue=CALLOUT_QUEUE, cb=self._heard)
        await client.flush()

    async def tell_keys(self, client: Client, unready: Callable[[], str]) -> None:
        """Answer from now on who asks for our keys, and say why we cannot decide, which `unready` returns."""

        async def tell(message: Msg) -> None:
            with contextlib.suppress(nats.errors.Error):
                await message.respond(encode(msgspec.structs.replace(self.keys, unready=unready())))

        await client.subscribe(CALLOUT_KEYS_SUBJECT, cb=tell)

    async def stop(self) -> None:
        """Take no more requests, and answer those already taken."""
        if self._subscription:
            # Where NATS is gone, nobody asks any more.
            with contextlib.suppress(nats.errors.Error):
                await self._subscription.drain()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=self._config.answer_within)

    def signer_of(self, request: AuthRequest) -> Signer | None:
        """The signer that the asking server expects; None if we do not have its key."""
        return self._signers.get(request.issuer)

    async def _heard(self, message: Msg) -> None:
        # One task per question: a wait in here would serialise all of them.
        overloaded = len(self._tasks) >= self._config.max_concurrent
        task = asyncio.create_task(self._handle(message, overloaded=overloaded))
        self._tasks.add(task)
        self._metrics.in_flight.inc()
        task.add_done_callback(self._handled)

    def _handled(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._metrics.in_flight.dec()
        if not task.cancelled() and task.exception():
            log.error("answer not sent", why=repr(task.exception()))

    async def _handle(self, message: Msg, *, overloaded: bool) -> None:
        started = time.perf_counter()
        server_xkey = (message.headers or {}).get(XKEY_HEADER, "")
        try:
            request = parse_request(self._envelope.open(message.data, server_xkey))
        except InvalidInput as error:
            await message.respond(_REFUSED)
            reason = Reason.CLEAR_REQUEST if isinstance(error, ClearRequest) else Reason.UNDECODABLE_REQUEST
            self._record(Deny(reason), started, why=error.what)
            return
        signer = self.signer_of(request)
        if signer is None:
            await message.respond(_REFUSED)
            why = f"the server expects an answer by {request.issuer or 'nobody'}, whose seed is not ours"
            self._record(Deny(Reason.UNKNOWN_SIGNER, why), started, server=request.server_name)
            return
        outcome = Deny(Reason.OVERLOADED) if overloaded else await self._judge_in_time(request)
        match outcome:
            case Allow():
                answer = signer.allow(request, outcome)
            case Deny(reason=reason):
                answer = signer.deny(request, reason)
        await message.respond(self._envelope.seal(answer, server_xkey))
        self._record(outcome, started, client=request.client_name, host=request.client_host, server=request.server_name)

    async def _judge_in_time(self, request: AuthRequest) -> Allow | Deny:
        try:
            async with asyncio.timeout(self._config.answer_within):
                return await self._judge(request)
        except TimeoutError:
            # The two things that can be waited for; the server must not be left without an answer for either.
            fresh = self._registry.fresh.is_set()
            return Deny(Reason.KEYS_UNAVAILABLE if fresh else Reason.REGISTRY_UNAVAILABLE)
        except Exception:  # without an answer NATS holds the login until it times out
            log.exception("decision failed")
            return Deny(Reason.INTERNAL_ERROR)

    async def _judge(self, request: AuthRequest) -> Allow | Deny:
        claims = await self._tokens.verify(request.token)
        if isinstance(claims, Deny):
            return claims
        await self._registry.fresh.wait()
        return decide(
            claims,
            self._registry.identities,
            issuer=self._config.issuer,
            project=self._config.project_id,
            now=time.time(),
        )

    def _record(self, outcome: Allow | Deny, started: float, **facts: str) -> None:
        seconds = time.perf_counter() - started
        reason = outcome.reason if isinstance(outcome, Deny) else Reason.ALLOWED
        device = str(outcome.device) if isinstance(outcome, Allow) else ""
        self._metrics.decisions.labels(reason.value).inc()
        self._metrics.seconds.observe(seconds)
        untold = self._sampler.take((reason, device or facts.get("host")), time.monotonic())
        if untold is None:
            return
        if isinstance(outcome, Deny) and outcome.why:
            facts["why"] = outcome.why
        if untold:
            facts["untold"] = str(untold)
        shown = {name: text[:200] for name, text in facts.items()}
        log.info("decision", reason=reason.value, device=device, milliseconds=round(seconds * 1000, 2), **shown)
