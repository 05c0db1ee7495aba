"""What devices are sent from OpenBao: a Secret that holds a path stands for the entry that is there.

The Secret `fleet-openbao` says which OpenBao that is. Who may write Secrets of the namespace decides both, and who may
only order deployments decides neither.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from fleet.contract.errors import InvalidInput, NotFound
from fleet.contract.sealed import OPENBAO_SECRET
from fleet.operator.openbao_server import Lacking, OpenBaoServer
from fleet.operator.reconcile.secrets import SecretProblem, SecretSeen
from fleet.secrets.openbao_connection import SEE, Token, connection_of, entry_path


class SecretApi(Protocol):
    """Where Secrets are read. Its methods raise FleetErrors."""

    async def secret(self, name: str) -> SecretSeen:
        """A Secret that deployments may name."""
        ...

    async def values(self, name: str) -> Mapping[str, bytes]:
        """One of the operator's own."""
        ...


class SecretSource:
    """The Secrets of the namespace, and what is in OpenBao in the place of those that stand for it."""

    def __init__(self, api: SecretApi, account: Callable[[], str]) -> None:
        """Contact nothing yet. `account` gives the token of the operator's ServiceAccount, a secret."""
        self._api = api
        self._account = account
        self._server: OpenBaoServer | None = None

    async def secret(self, name: str) -> SecretSeen:
        """A Secret as Kubernetes has it. Raises FleetError."""
        return await self._api.secret(name)

    async def entry(self, name: str, pointer: SecretSeen) -> SecretSeen | SecretProblem:
        """What a Secret stands for, or why that cannot be had. Raises FleetError for what Kubernetes refuses."""
        try:
            path = entry_path(pointer.data)
            return await (await self._connected()).entry(path)
        except Lacking as lacking:
            reason, why = lacking.reason, lacking.why
        except InvalidInput as error:
            reason, why = "SecretUnusable", f"{error.what}; {error.next_step}"
        return SecretProblem(reason, f"the Secret {name} stands for what is in OpenBao: {why}")

    async def token(self) -> Token | None:
        """What OpenBao said last of the token that somebody gave the operator; None where it logs in by itself."""
        return await self._server.token() if self._server is not None else None

    async def close(self) -> None:
        """End the connections."""
        if self._server is not None:
            await self._server.close()

    async def _connected(self) -> OpenBaoServer:
        """The OpenBao that the Secret names now."""
        try:
            connection = connection_of(await self._api.values(OPENBAO_SECRET))
        except NotFound:
            raise Lacking("SecretUnusable", f"there is no Secret {OPENBAO_SECRET} that says which one; {SEE}") from None
        if self._server is None or self._server.connection != connection:
            await self.close()
            self._server = OpenBaoServer(connection, self._account)
        return self._server
