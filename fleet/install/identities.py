"""A device's machine users at the provider, and which of them are this server's: decision 036.

Several servers may use one provider and have devices of one id. Nothing is deleted or deactivated there that is not
this server's by its name and by its metadata.
"""

from __future__ import annotations

import secrets

from fleet.contract.errors import NotInstalled
from fleet.contract.names import DeviceId
from fleet.contract.objects import ServerInfo
from fleet.identity.zitadel import MachineUser, Zitadel

SERVER_KEY = "fleet-server"
"""The key of the metadata that holds the id of the server whose device it is."""


def user_prefix(server: ServerInfo, device: DeviceId) -> str:
    """How the names of a device's machine users begin: no person, other device or other server has such a name.

    Every enrollment makes a user of its own, so that of two at once neither touches the other's; a dot is in no id.

    Raises:
        NotInstalled: the server is of a release that had no id.
    """
    if not server.server_id:
        raise NotInstalled(
            f"the server of {server.issuer} was installed by a release in which servers had no id of their own",
            next_step="run `fleet server install` of this release, then repeat",
        )
    return f"fleet-{server.server_id}-{device}."


def create_user(zitadel: Zitadel, server: ServerInfo, device: DeviceId) -> MachineUser:
    """A fresh machine user of a device of this server."""
    name = f"{user_prefix(server, device)}{secrets.token_hex(4)}"
    user = zitadel.ensure_machine_user(name, str(device), f"a device of the fleet server {server.server_id}")
    zitadel.set_metadata(user.id, SERVER_KEY, server.server_id)
    return user


def own_users(zitadel: Zitadel, server: ServerInfo, device: DeviceId, subject: str) -> list[MachineUser]:
    """The machine users of a device of this server; `subject` is the one that its `Device` names, or nothing.

    One that the former release made is named `fleet-<device>.`, as those of every other server: it is this server's
    only if the `Device` names it.
    """
    found = zitadel.machine_users(user_prefix(server, device))
    former = [user for user in zitadel.machine_users(f"fleet-{device}.") if user.id == subject]
    return [user for user in (*found, *former) if _is_ours(zitadel, server, user)]


def _is_ours(zitadel: Zitadel, server: ServerInfo, user: MachineUser) -> bool:
    # None where an enrollment broke off before it was written, or the former release made the user.
    return zitadel.metadata(user.id, SERVER_KEY) in {None, server.server_id}
