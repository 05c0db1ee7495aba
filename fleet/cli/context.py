"""What several commands need: the cluster, the installed server, the admin's login, and parsing of options."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, cast

import msgspec
import typer

from fleet.cli.output import progress
from fleet.contract.errors import InvalidInput, NotFound, NotInstalled
from fleet.contract.objects import SERVER_CONFIG_MAP, Device, FleetDeployment, ServerInfo
from fleet.contract.wire import decode, from_builtins

if TYPE_CHECKING:
    from fleet.topology.admin import AdminAuth
    from fleet.topology.capabilities import Json, PlaceRequest, ServerPlace
    from fleet.topology.device_login import Prompt
    from fleet.topology.kube import KubeClient

NamespaceOption = Annotated[
    str, typer.Option("--namespace", "-n", envvar="FLEET_NAMESPACE", help="the Kubernetes namespace of the server")
]
ClientIdOption = Annotated[
    str,
    typer.Option(envvar="FLEET_ADMIN_OIDC_CLIENT_ID", metavar="ID", help="log in by device code, as this OIDC client"),
]
TokenFileOption = Annotated[
    str,
    typer.Option(
        envvar="FLEET_ADMIN_TOKEN_FILE", metavar="FILE", help="a personal access token, in a file of mode 0600"
    ),
]
DEFAULT_NAMESPACE = "fleet-system"

K = TypeVar("K", Device, FleetDeployment)


def seconds(what: str = "to wait", *, least: float = 0.1, most: float | None = None) -> Any:  # noqa: ANN401 - as `typer.Option`
    """An option that takes a finite number of seconds."""
    return typer.Option(min=least, max=most, metavar="SECONDS", help=what, callback=_finite)


def _finite(value: float) -> float:
    # No comparison with NaN is true, so it passes for within any range.
    if not math.isfinite(value):
        raise typer.BadParameter(f"{value} is not a number of seconds.")
    return value


def cluster() -> KubeClient:
    """The cluster of the current kubeconfig."""
    from fleet.topology.kube import KubeClient  # noqa: PLC0415 - imports are paid by those who use them
    from fleet.topology.patience import announce_waits  # noqa: PLC0415

    announce_waits(progress)
    return KubeClient()


def place(request: PlaceRequest) -> ServerPlace:
    """Where servers are installed: the cluster, or what FLEET_TOPOLOGY names among the installed topologies.

    Raises:
        InvalidInput: there is no topology of that name.
    """
    from importlib.metadata import entry_points  # noqa: PLC0415

    from fleet.topology.patience import announce_waits  # noqa: PLC0415

    announce_waits(progress)
    wanted = os.environ.get("FLEET_TOPOLOGY", "kubernetes")
    found = {point.name: point for point in entry_points(group="fleet.topologies")}
    if wanted not in found:
        known = ", ".join(sorted(found))
        raise InvalidInput(
            f"nothing here can install on the topology {wanted!r}", next_step=f"set FLEET_TOPOLOGY to one of: {known}"
        )
    return cast("ServerPlace", found[wanted].load()(os.environ, request))


def installed(kube: KubeClient, namespace: str) -> ServerInfo:
    """What the server in a namespace says of itself.

    Raises:
        NotInstalled: there is none.
    """
    config_map = kube.find("ConfigMap", SERVER_CONFIG_MAP, namespace)
    if config_map is None:
        raise NotInstalled(
            f"no fleet server is installed in namespace {namespace!r} of {kube.host}",
            next_step="run `fleet server install`, or point KUBECONFIG and --namespace at the right place; what a "
            "removed server has left goes with `fleet server uninstall --delete-data`",
        )
    return decode(config_map["data"]["server.json"].encode(), ServerInfo)


def read(kube: KubeClient, kind: type[K], name: str, namespace: str) -> K:
    """One object, typed.

    Raises:
        NotInstalled, NotFound: there is no server, or no such object.
    """
    found = kube.find(kind.__name__, name, namespace)
    if found is None:
        installed(kube, namespace)
        raise NotFound(f"there is no {kind.__name__} {name!r} in {namespace}", next_step=f"see `{_list_command(kind)}`")
    return from_builtins(found, kind)


def read_all(kube: KubeClient, kind: type[K], namespace: str) -> list[K]:
    """All objects of a kind, typed, by name.

    Raises:
        NotInstalled: there is no server.
    """
    try:
        found = kube.list(kind.__name__, namespace)
    except NotFound:
        found = []
    if not found:
        installed(kube, namespace)
    return sorted((from_builtins(item, kind) for item in found), key=lambda item: item.metadata.name)


def status_of(item: Device | FleetDeployment, condition: str) -> tuple[str, str]:
    """A condition's status and reason; `Unknown` while the operator has said nothing."""
    for known in item.status.conditions:
        if known.type == condition:
            return known.status, known.reason
    return "Unknown", "NotReported"


def as_json(item: Device | FleetDeployment) -> Json:
    """The object as a program reads it."""
    return {"apiVersion": item.api_version, "kind": item.kind, **msgspec.to_builtins(item, enc_hook=str)}


def trusted(kube: KubeClient, namespace: str, server: ServerInfo, token_file: str = "") -> None:
    """Refuse to go on when the server has changed since this admin used it first: before anything is sent.

    Raises:
        NotPermitted: see `fleet.cli.trust.check`.
        InvalidInput, NotFound: the token file holds none, or is not there.
    """
    from pathlib import Path  # noqa: PLC0415

    from fleet.cli.trust import check, server_key  # noqa: PLC0415
    from fleet.topology.admin import read_token  # noqa: PLC0415

    check(server_key(kube.host, namespace), server, read_token(Path(token_file)) if token_file else "")


def admin_auth(server: ServerInfo | None, client_id: str, token_file: str) -> AdminAuth:
    """How the admin gets in: as told, else by the stored login, else by a new login with the server's own client.

    Raises:
        InvalidInput: told two ways, or none and there is no server to ask.
    """
    from pathlib import Path  # noqa: PLC0415

    from fleet.cli.store import stored_token  # noqa: PLC0415
    from fleet.topology.admin import AdminAuth  # noqa: PLC0415

    if client_id:
        return AdminAuth(oidc_client_id=client_id)
    if token_file:
        return AdminAuth(token_file=Path(token_file))
    if server is None:
        return AdminAuth()
    stored = stored_token(server.issuer, server.ca)
    return AdminAuth(token_file=stored) if stored else AdminAuth(oidc_client_id=server.cli_client_id)


def tell(prompt: Prompt) -> None:
    """Show the person what to open; at once, for somebody waits for it."""
    where = prompt.verification_uri_complete or prompt.verification_uri
    code = f"and confirm the code {prompt.user_code} (valid for {prompt.expires_in:.0f} s)."
    progress("To log in, open", f"  {where}", code)


def pairs(option: str, words: Sequence[str]) -> dict[str, str]:
    """Parse repeated `KEY=VALUE` options.

    Raises:
        InvalidInput: one is not of the form.
    """
    found: dict[str, str] = {}
    for word in words:
        key, separator, value = word.partition("=")
        if not separator or not key:
            raise InvalidInput(f"{option} {word!r} is not KEY=VALUE", next_step=f"for example {option} site=lab")
        found[key] = value
    return found


def _list_command(kind: type[K]) -> str:
    return "fleet device list" if kind is Device else "fleet deployment list"
