"""The publisher's connection: by the password that the server's place keeps, to the address that devices use."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from fleet.cli.context import cluster, installed, place, trusted
from fleet.cli.output import progress
from fleet.contract.buckets import PUBLISHER_INBOX, PUBLISHER_USER
from fleet.contract.errors import NotInstalled
from fleet.contract.versions import user_of
from fleet.install.damaged import checked
from fleet.install.secrets import PUBLISHER_PASSWORD
from fleet.nats.blobs import Blobs
from fleet.nats.bus import Login, connect
from fleet.topology.capabilities import PlaceRequest

_READY_WITHIN = 30.0
_ATTEMPTS = 3


@asynccontextmanager
async def publisher(namespace: str) -> AsyncGenerator[Blobs]:
    """The store of agents of the server in a namespace.

    Raises:
        NotInstalled: there is no server, or one from before agents were published.
        NotPermitted: it has changed since its first use, its secrets are not for us, or NATS refused the login.
        Unreachable: NATS does not answer.
        InvalidInput: the password was changed by hand to something that is none.
    """
    kube = cluster()
    info = installed(kube, namespace)
    trusted(kube, namespace, info)
    home = place(PlaceRequest(namespace=namespace, timeout=_READY_WITHIN, progress=progress))
    kept = home.secrets.get(PUBLISHER_PASSWORD)
    if kept is None:
        raise NotInstalled(
            f"the server in {namespace} knows no publisher of agents", next_step="run `fleet server install` again"
        )
    with checked(PUBLISHER_PASSWORD):
        password = kept.decode()
    user = user_of(PUBLISHER_USER, password)
    login = Login(info.nats_url, PUBLISHER_USER, info.ca, user=user, password=password, inbox=PUBLISHER_INBOX)
    bus = await connect(login, notice=lambda _: None, attempts=_ATTEMPTS)
    try:
        yield bus.blobs()
    finally:
        await bus.close()
