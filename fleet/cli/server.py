"""`fleet server install|status|uninstall`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from fleet.cli.context import (
    DEFAULT_NAMESPACE,
    ClientIdOption,
    NamespaceOption,
    TokenFileOption,
    admin_auth,
    cluster,
    installed,
    place,
    tell,
)
from fleet.cli.output import Output, OutputOption, answer, details, progress
from fleet.contract.errors import FleetError, InvalidInput, NotFound, NotPermitted, TimedOut

if TYPE_CHECKING:
    from fleet.topology.capabilities import Json
    from fleet.topology.kube import KubeClient

app = typer.Typer(help="Install, inspect and remove the fleet server.", no_args_is_help=True, rich_markup_mode=None)

_KINDS = ("FleetDeployment", "Device")
_REMOVAL = 30.0
"""Seconds for the operator to clean up after deleted devices and deployments."""


@app.command()
def install(
    issuer: Annotated[str, typer.Option(metavar="URL", help="the identity provider, exactly as it calls itself")],
    issuer_ca: Annotated[
        str, typer.Option(metavar="FILE", help="PEM of its authority, if that is not a public one")
    ] = "",
    admin_oidc_client_id: ClientIdOption = "",
    admin_token_file: TokenFileOption = "",
    namespace: NamespaceOption = DEFAULT_NAMESPACE,
    output: OutputOption = Output.TABLE,
) -> None:
    """Install a fleet server, or bring one up to date. A repeat without a change changes nothing.

    \b
    Example:
      fleet server install --issuer https://id.example.org --admin-token-file admin.pat
    """  # noqa: D301
    from fleet.issuer import parse_issuer  # noqa: PLC0415
    from fleet.scores.server import FleetServerScore  # noqa: PLC0415

    auth = admin_auth(None, admin_oidc_client_id, admin_token_file)
    score = FleetServerScore(parse_issuer(issuer), auth, _pem(issuer_ca), namespace)
    done = score.interpret(place(), tell=tell, progress=progress)
    changed = [item.name for item in done if item.changed]
    lines = [f"  {'changed  ' if item.changed else 'unchanged'}  {item.name}" for item in done]
    summary = f"{len(changed)} of {len(done)} changed" if changed else "nothing changed"
    text = "\n".join([*lines, f"fleet server in {namespace}: ready, {summary}"])
    answer(output, {"namespace": namespace, "changed": changed, "parts": msgspec.to_builtins(done)}, text)


@app.command()
def status(namespace: NamespaceOption = DEFAULT_NAMESPACE, output: OutputOption = Output.TABLE) -> None:
    """Show what is installed, and whether it is ready. Ends with code 1 when a part is not.

    \b
    Example:
      fleet server status --output json
    """  # noqa: D301
    info = installed(cluster(), namespace)
    parts = place().services()
    value: dict[str, Any] = {
        "namespace": namespace,
        "version": info.version,
        "issuer": info.issuer,
        "projectId": info.project_id,
        "cliClientId": info.cli_client_id,
        "natsUrl": info.nats_url,
        "ready": all(part.ready for part in parts),
        "parts": msgspec.to_builtins(parts),
    }
    shown = [(name, value[name]) for name in ("namespace", "version", "issuer", "projectId", "cliClientId", "natsUrl")]
    shown += [(part.name, "ready" if part.ready else f"not ready: {part.why}") for part in parts]
    answer(output, value, details(shown))
    if not value["ready"]:
        waiting = ", ".join(part.name for part in parts if not part.ready)
        raise FleetError(f"not ready: {waiting}", next_step="read the log of the part; it says what it waits for")


@app.command()
def uninstall(
    delete_data: Annotated[
        bool, typer.Option(help="also delete devices, deployments, keys, secrets and NATS' data")
    ] = False,
    namespace: NamespaceOption = DEFAULT_NAMESPACE,
    output: OutputOption = Output.TABLE,
) -> None:
    """Remove the server. Data and secrets stay, so that a later install goes on where this one stopped.

    \b
    Example:
      fleet server uninstall --delete-data
    """  # noqa: D301
    from fleet.scores.server import uninstall as remove  # noqa: PLC0415

    kube = cluster()
    installed(kube, namespace)
    if delete_data:
        _delete_objects(kube, namespace)
    done = remove(place(), namespace, delete_data=delete_data, delete_definitions=delete_data and _is_alone(kube))
    removed = [item.name for item in done if item.changed]
    kept = "" if delete_data else "; devices, deployments, secrets and NATS' data stay"
    answer(output, {"namespace": namespace, "removed": removed}, f"removed {len(removed)} parts of {namespace}{kept}")


def _is_alone(kube: KubeClient) -> bool:
    """Whether nobody else in the cluster uses our definitions, as far as we may see."""
    try:
        return not any(_all(kube, kind, "") for kind in _KINDS)
    except NotPermitted:
        return False


def _all(kube: KubeClient, kind: str, namespace: str) -> list[Json]:
    try:
        return kube.list(kind, namespace)
    except NotFound:  # an uninstall that broke off has removed the definition already
        return []


def _delete_objects(kube: KubeClient, namespace: str) -> None:
    from fleet.topology.kube import wait_for  # noqa: PLC0415

    for kind in _KINDS:
        progress(f"deleting every {kind}")
        kube.delete(_all(kube, kind, namespace))
        try:
            wait_for(
                lambda kind=kind: None if _all(kube, kind, namespace) else True, f"every {kind} to be gone", _REMOVAL
            )
        except TimedOut as error:
            left = [item["metadata"]["name"] for item in _all(kube, kind, namespace)]
            raise TimedOut(
                f"{error.what}; left: {', '.join(left)}",
                next_step="the operator cleans up: see `fleet server status`, then repeat",
            ) from error


def _pem(path: str) -> str:
    from fleet.issuer import trust  # noqa: PLC0415

    if not path:
        return ""
    try:
        text = Path(path).read_text(encoding="ascii")
        trust(text or "an empty file would mean this machine's authorities")
    except (OSError, UnicodeDecodeError, InvalidInput) as error:
        raise InvalidInput(
            f"--issuer-ca {path} is no file of PEM certificates",
            next_step="give the authority that signed the issuer's",
        ) from error
    return text
