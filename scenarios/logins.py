"""Logging in at NATS as a device does, beside its agent: with its key, or with a token that was had earlier."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing

from fleet.contract.config import AgentConfig, load_config
from fleet.contract.objects import ServerInfo
from harness.probes.identity import IdentityProbe
from harness.probes.login import LoginOutcome, try_login
from harness.scenario.run import Run


def server(run: Run) -> ServerInfo:
    """The installed server, which must be announced."""
    found = run.world.kube.server()
    assert found is not None, "the ConfigMap that announces the server is missing"
    return found


def config(run: Run, placeholder: str = "config") -> AgentConfig:
    """A device's configuration file, as it lies beside the admin."""
    return load_config(run.folder / run.name(placeholder), AgentConfig)


def token(run: Run, placeholder: str = "config") -> str:
    """An access token for the key in a device's configuration file, as its agent asks for one."""
    with closing(IdentityProbe(run.world)) as identity:
        return identity.token(config(run, placeholder).auth.machine_key, server(run).project_id)


def visit(run: Run, token: str, *, publish: Sequence[str] = (), subscribe: Sequence[str] = ()) -> LoginOutcome:
    """Log in with a token, and try subjects."""
    announced = server(run)
    return try_login(announced.nats_url, announced.ca, token, publish=publish, subscribe=subscribe)


def machine_users(run: Run, placeholder: str = "device") -> dict[str, bool]:
    """The machine users that a device has at the identity provider, by id, and whether each is active."""
    with closing(IdentityProbe(run.world)) as identity:
        return identity.machines(run.name(placeholder))
