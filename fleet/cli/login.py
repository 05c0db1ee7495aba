"""`fleet login`."""

from __future__ import annotations

from fleet.cli.context import ClientIdOption, NamespaceOption, cluster, installed, tell, trusted
from fleet.cli.output import Output, OutputOption, answer
from fleet.contract.config import DEFAULT_NAMESPACE


def login(
    admin_oidc_client_id: ClientIdOption = "",
    namespace: NamespaceOption = DEFAULT_NAMESPACE,
    output: OutputOption = Output.TABLE,
) -> None:
    """Log in at the server's identity provider, in a browser, and keep the token.

    \b
    Example:
      fleet login
    """  # noqa: D301 - \b is click's mark
    from fleet.cli.store import made_folder, store  # noqa: PLC0415
    from fleet.topology.admin import AdminAuth  # noqa: PLC0415

    made_folder()  # nobody should approve what cannot be kept
    kube = cluster()
    server = installed(kube, namespace)
    trusted(kube, namespace, server)
    auth = AdminAuth(oidc_client_id=admin_oidc_client_id or server.cli_client_id)
    path = store(server.issuer, server.ca, auth.access_token(server.issuer, server.ca, tell))
    answer(output, {"issuer": server.issuer, "tokenFile": str(path)}, f"logged in at {server.issuer}")
