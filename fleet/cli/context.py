"""What several commands need: the cluster, the installed server, the admin's login, and parsing of options."""

from __future__ import annotations

import gc
import json
import math
import os
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, cast

import msgspec
import typer

from fleet.cli.invalid import Invalid, raw_json, refuse_invalid, typed
from fleet.cli.output import progress
from fleet.cli.standing import as_seen, seen, shown_status
from fleet.contract.announcement import server_info
from fleet.contract.errors import InvalidInput, NotFound, NotInstalled
from fleet.contract.names import LABEL
from fleet.contract.objects import SERVER_CONFIG_MAP, Device, FleetDeployment, ServerInfo
from fleet.contract.wire import decode

if TYPE_CHECKING:
    from fleet.identity.device_login import Prompt
    from fleet.kube.client import KubeClient
    from fleet.topology.admin import AdminAuth
    from fleet.topology.capabilities import Json, PlaceRequest, ServerPlace


def _label(word: str) -> str:
    """A namespace's name: it becomes part of a path on the API server."""
    if not re.fullmatch(LABEL, word):
        raise typer.BadParameter(f"{word[:80]!r} is no RFC 1123 label of a-z, 0-9 and '-'.")
    return word


DeviceArgument = Annotated[str, typer.Argument(metavar="ID", help="the device's id")]
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="the deployment's name")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="say what would change, and change nothing")]
NamespaceOption = Annotated[
    str,
    typer.Option(
        "--namespace",
        "-n",
        envvar="FLEET_NAMESPACE",
        help="the Kubernetes namespace of the server",
        callback=_label,
    ),
]


def _one_login(context: typer.Context, param: typer.CallbackParam, value: str) -> str:
    """An option has precedence over a variable for the other way to log in; two of either kind are refused."""
    (other,) = {"admin_oidc_client_id", "admin_token_file"} - {param.name}
    if not value or not context.params.get(other):
        return value
    sources = [context.get_parameter_source(name or "") for name in (other, param.name)]
    if [source and source.name for source in sources] == ["COMMANDLINE", "ENVIRONMENT"]:
        return ""
    raise typer.BadParameter("an admin logs in by device code or with a token file: give only one of them.")


ClientIdOption = Annotated[
    str,
    typer.Option(
        envvar="FLEET_ADMIN_OIDC_CLIENT_ID",
        metavar="ID",
        help="log in by device code, as this OIDC client",
        callback=_one_login,
    ),
]
TokenFileOption = Annotated[
    str,
    typer.Option(
        envvar="FLEET_ADMIN_TOKEN_FILE",
        metavar="FILE",
        help="a personal access token, in a file of mode 0600",
        callback=_one_login,
    ),
]

K = TypeVar("K", Device, FleetDeployment)


def seconds(
    what: str = "to wait", *, least: float = 0.1, most: float | None = None, variable: str | None = None
) -> Any:  # noqa: ANN401 - as `typer.Option`
    """An option with a finite number of seconds."""
    return typer.Option(min=least, max=most, metavar="SECONDS", help=what, callback=_finite, envvar=variable)


def patience(given: float | None, *, wait: bool) -> float | None:
    """How many seconds a command waits; None for as long as that may take.

    Raises:
        InvalidInput: a time was given, and the command is not to wait.
    """
    if given is not None and not wait:
        raise InvalidInput("--timeout counts only with --wait", next_step="give --wait too, or leave --timeout out")
    return given


def _finite(value: float | None) -> float | None:
    # No comparison with NaN is true, so it passes for within any range.
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is not a number of seconds.")
    return value


def cluster() -> KubeClient:
    """The cluster of the current kubeconfig."""
    from fleet.kube.client import KubeClient  # noqa: PLC0415 - imports are paid by those who use them
    from fleet.process.retry import announce_waits  # noqa: PLC0415

    announce_waits(progress)
    return KubeClient()


def place(request: PlaceRequest) -> ServerPlace:
    """Where servers are installed: the cluster, or what FLEET_TOPOLOGY names among the installed topologies.

    Raises:
        InvalidInput: there is no topology of that name.
    """
    from importlib.metadata import entry_points  # noqa: PLC0415

    from fleet.process.retry import announce_waits  # noqa: PLC0415

    announce_waits(progress)
    wanted = os.environ.get("FLEET_TOPOLOGY", "kubernetes")
    found = {point.name: point for point in entry_points(group="fleet.topologies")}
    if wanted not in found:
        known = ", ".join(sorted(found))
        raise InvalidInput(
            f"nothing here can install on the topology {wanted!r}", next_step=f"set FLEET_TOPOLOGY to one of: {known}"
        )
    return cast("ServerPlace", found[wanted].load()(os.environ, request))


def announcement(kube: KubeClient, namespace: str) -> Json:
    """The ConfigMap that announces the server in a namespace, whatever it says.

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
    return config_map


def installed(kube: KubeClient, namespace: str) -> ServerInfo:
    """The server in a namespace, as it is announced.

    Raises:
        NotInstalled: none is.
        InvalidInput: somebody has changed the announcement.
    """
    return server_info(announcement(kube, namespace))


def read(kube: KubeClient, kind: type[K], name: str, namespace: str) -> K:
    """One object, typed, and its status as it stands now: see `as_seen`.

    Raises:
        NotInstalled, NotFound: there is no server, or no such object.
        InvalidInput: its spec does not parse.
    """
    item = typed(_found(kube, kind, name, namespace), kind)
    refuse_invalid([item])
    return as_seen(item)


def read_any(kube: KubeClient, name: str, namespace: str) -> FleetDeployment:
    """A deployment as `read` has it; an `InvalidDeployment` where its spec does not parse.

    Raises:
        NotInstalled, NotFound: as `read`.
    """
    return as_seen(typed(_found(kube, FleetDeployment, name, namespace), FleetDeployment))


def _found(kube: KubeClient, kind: type[K], name: str, namespace: str) -> Json:
    found = kube.find(kind.__name__, name, namespace)
    if found is None:
        installed(kube, namespace)
        raise NotFound(f"there is no {kind.__name__} {name!r} in {namespace}", next_step=f"see `{_list_command(kind)}`")
    return found


def read_all(kube: KubeClient, kind: type[K], namespace: str) -> list[K]:
    """All objects of a kind, typed, by name, each as it stands now; an `Invalid` one where its spec does not parse.

    Raises:
        NotInstalled: there is no server.
    """
    # Thousands of objects are made here and none is garbage: to look for it again and again takes half of the time.
    gc.disable()
    try:
        found = [_typed(item, kind) for item in kube.list_raw(kind.__name__, namespace)]
    except NotFound:
        found = []
    finally:
        gc.enable()
    if not found:
        installed(kube, namespace)
    return sorted(found, key=lambda item: item.metadata.name)


def _typed(data: bytes, kind: type[K]) -> K:
    try:
        return as_seen(decode(data, kind))
    except InvalidInput:
        return as_seen(typed(json.loads(data), kind))


def as_json(item: Device | FleetDeployment) -> Json:
    """The object as a program reads it; without the counts of an earlier generation."""
    status = shown_status(item.status) if isinstance(item, FleetDeployment) and not seen(item) else None
    if isinstance(item, Invalid):
        return raw_json(item, status or msgspec.to_builtins(item.status, enc_hook=str))
    value = {"apiVersion": item.api_version, "kind": item.kind, **msgspec.to_builtins(item, enc_hook=str)}
    return value | ({"status": status} if status else {})


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
    """The admin's login: by the options, else the stored login, else a new login with the server's own client.

    Raises:
        InvalidInput: the options name two ways, or none and there is no server to ask.
    """
    from pathlib import Path  # noqa: PLC0415

    from fleet.cli.store import stored_token  # noqa: PLC0415
    from fleet.topology.admin import AdminAuth  # noqa: PLC0415

    if client_id or token_file:
        return AdminAuth(client_id, Path(token_file) if token_file else None)
    if server is None:
        return AdminAuth()
    stored = stored_token(server.issuer, server.ca)
    return AdminAuth(token_file=stored) if stored else AdminAuth(oidc_client_id=server.cli_client_id)


def tell(prompt: Prompt) -> None:
    """Show the person what to open; flushed at once, because somebody waits for it."""
    where = prompt.verification_uri_complete or prompt.verification_uri
    code = f"and confirm the code {prompt.user_code} (valid for {prompt.expires_in:.0f} s)."
    progress("To log in, open", f"  {where}", code)


def pairs(option: str, words: Sequence[str]) -> dict[str, str]:
    """Parse repeated `KEY=VALUE` options.

    Raises:
        InvalidInput: one is not of the form, or two name one key.
    """
    found: dict[str, str] = {}
    for word in words:
        key, separator, value = word.partition("=")
        if not separator or not key:
            raise InvalidInput(f"{option} {word!r} is not KEY=VALUE", next_step=f"for example {option} site=lab")
        if found.get(key, value) != value:
            problem = f"{option} gives {key} twice: {found[key]!r} and {value!r}"
            raise InvalidInput(problem, next_step="give one of them")
        found[key] = value
    return found


def _list_command(kind: type[K]) -> str:
    return "fleet device list" if kind is Device else "fleet deployment list"
