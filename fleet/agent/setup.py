"""The configuration, proven before anything is contacted: what is wrong with it is a sentence now, not a log later."""

from __future__ import annotations

from urllib.parse import urlsplit

from fleet.agent.paths import AgentPaths
from fleet.contract.config import AgentConfig, load_config
from fleet.contract.errors import FleetError, InvalidInput
from fleet.identity.issuer import parse_issuer, trust


def load(paths: AgentPaths) -> AgentConfig:
    """Read the configuration and look at every part of it but the key, which is for `fleet.agent.grant`.

    Raises:
        NotFound: there is none.
        InvalidInput: it is readable by others, or a part of it is not what it should be.
    """
    config = load_config(paths.config, AgentConfig)
    try:
        parse_issuer(config.auth.issuer)
        trust(config.auth.ca)
        _check_address(config.nats_url)
    except FleetError as error:
        raise InvalidInput(f"{paths.config}: {error.what}", next_step=error.next_step) from error
    return config


def _check_address(url: str) -> None:
    try:
        parts = urlsplit(url)
        good = parts.scheme in {"tls", "tls+first"} and bool(parts.hostname) and parts.port is not None
    except ValueError:
        good = False
    if not good:
        raise InvalidInput(f"{url!r} is no NATS address", next_step="use tls://host:port, or tls+first://host:port")
