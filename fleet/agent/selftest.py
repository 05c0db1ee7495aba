"""`fleet-agent --self-test`: whether an agent would work here, one line per thing it needs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import msgspec

from fleet.agent.advice import next_step
from fleet.agent.engine import Engine
from fleet.agent.paths import AgentPaths
from fleet.agent.setup import load
from fleet.contract.config import AgentConfig
from fleet.contract.errors import FleetError, Unreachable
from fleet.contract.permissions import inbox_prefix
from fleet.identity.access_token import AccessToken
from fleet.identity.tokens import fetch_token, parse_machine_key_file
from fleet.nats.bus import Login, connect

_NATS_WITHIN = 10.0


class Checks:
    """Runs checks one by one, prints a line for each, and remembers whether all were good."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self.good = True

    def fail(self, name: str, error: FleetError) -> None:
        """Print what is wrong, and what to do."""
        self.good = False
        self._say(f"{name:<7} FAILED  {error.what}; next: {next_step(error)}")

    def skip(self, name: str, why: str) -> None:
        """Print that a check was not possible."""
        self.good = False
        self._say(f"{name:<7} NOT RUN {why}")

    async def run(self, name: str, check: Awaitable[str]) -> None:
        """Do one check; it returns what to print, or raises a `FleetError`."""
        try:
            self._say(f"{name:<7} ok      {await check}")
        except FleetError as error:
            self.fail(name, error)


async def self_test(paths: AgentPaths, say: Callable[[str], None]) -> bool:
    """Check configuration, engine, issuer and NATS; True if an agent would work here. Changes nothing."""
    checks = Checks(say)
    try:
        config = load(paths)
        parse_machine_key_file(msgspec.json.encode(config.auth.machine_key))
    except FleetError as error:
        checks.fail("config", error)
        for name in ("engine", "issuer", "nats"):
            checks.skip(name, "without a configuration")
        return False
    say(f"config  ok      device {config.device_id}, {paths.config}")
    await checks.run("engine", engine(paths, config))
    tokens: list[AccessToken] = []
    await checks.run("issuer", issuer(config, tokens))
    if tokens:
        await checks.run("nats", nats(config, tokens[0]))
    else:
        checks.skip("nats", "without a token")
    return checks.good


async def engine(paths: AgentPaths, config: AgentConfig) -> str:
    """What engine answers.

    Raises:
        FleetError: none does.
    """
    asked = Engine(paths.engine(config.engine_socket))
    try:
        return f"{await asked.version()} at {paths.engine(config.engine_socket)}"
    finally:
        await asked.close()


async def issuer(config: AgentConfig, tokens: list[AccessToken]) -> str:
    """Log in at the identity provider; the token is put into `tokens`.

    Raises:
        FleetError: it gives none.
    """
    token = await fetch_token(config.auth)
    tokens.append(token)
    return f"token of {config.auth.issuer}, valid for {token.lifetime:.0f} s"


async def nats(config: AgentConfig, token: AccessToken) -> str:
    """Log in at NATS.

    Raises:
        FleetError: it lets us not in, or is not there.
    """
    login = Login(
        url=config.nats_url,
        name=config.device_id,
        ca=config.auth.ca,
        token=lambda: token.text,
        inbox=inbox_prefix(config.device_id),
    )
    try:
        async with asyncio.timeout(_NATS_WITHIN):
            bus = await connect(login, notice=lambda _: None, attempts=1)
    except TimeoutError as error:
        raise Unreachable(f"no answer from {config.nats_url}", next_step="is NATS running there?") from error
    await bus.close()
    return f"logged in at {config.nats_url}"
