"""What commands do at the identity provider besides, where somebody is logged in there."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from fleet.cli.context import admin_auth, tell, trusted
from fleet.cli.output import progress
from fleet.contract.errors import FleetError
from fleet.contract.objects import Device, ServerInfo

if TYPE_CHECKING:
    from fleet.identity.zitadel import Zitadel
    from fleet.kube.client import KubeClient

    Act = Callable[[Zitadel, str], None]


class Login(NamedTuple):
    """By which login, if any, a command may touch the provider of the server in a namespace."""

    kube: KubeClient
    namespace: str
    server: ServerInfo
    client_id: str
    token_file: str


def at_provider(act: Act, item: Device, login: Login) -> str:
    """Do something to the device's machine user; returns why it was left alone, or nothing."""
    from fleet.cli.store import stored_token  # noqa: PLC0415
    from fleet.identity.zitadel import Zitadel  # noqa: PLC0415
    from fleet.install.identities import own_users  # noqa: PLC0415

    server = login.server
    if not (login.client_id or login.token_file or stored_token(server.issuer, server.ca)):
        return "left as it is, since nobody is logged in at the provider (`fleet login`)"
    try:
        trusted(login.kube, login.namespace, server, login.token_file)
        token = admin_auth(server, login.client_id, login.token_file).access_token(server.issuer, server.ca, tell)
        with Zitadel(server.issuer, server.ca, token.text) as zitadel:
            users = own_users(zitadel, server, item.id, item.spec.subject)
            for user in users:
                act(zitadel, user.id)
            if not users:
                return "was gone already"
    except FleetError as error:
        # The device is out already; what failed is the second lock, and the admin must know.
        progress(f"warning: {error.lines[0]}", *error.lines[1:])
        return f"left as it is: {error.what}"
    return ""
