"""`fleet server install|status|uninstall`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from fleet.cli import chart, uninstall
from fleet.cli.context import (
    DEFAULT_NAMESPACE,
    ClientIdOption,
    NamespaceOption,
    TokenFileOption,
    admin_auth,
    cluster,
    installed,
    place,
    seconds,
    tell,
)
from fleet.cli.output import Output, OutputOption, answer, details, progress
from fleet.contract.errors import Conflict, FleetError, InvalidInput

if TYPE_CHECKING:
    from fleet.scores.server import FleetServerScore
    from fleet.topology.capabilities import PlaceRequest, Preview, ServerPlace

app = typer.Typer(help="Install, inspect and remove the fleet server.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(chart.app, name="chart")
app.command()(uninstall.uninstall)

_ANNOUNCED = ("namespace", "serverId", "version", "issuer", "projectId", "cliClientId", "natsUrl")
_PATIENCE = 30.0
"""Seconds for a command that only looks."""


@app.command()
def install(
    issuer: Annotated[str, typer.Option(metavar="URL", help="the identity provider, exactly as it calls itself")],
    issuer_ca: Annotated[
        str, typer.Option(metavar="FILE", help="PEM of its authority, if that is not a public one")
    ] = "",
    admin_oidc_client_id: ClientIdOption = "",
    admin_token_file: TokenFileOption = "",
    nats_address: Annotated[
        str,
        typer.Option(
            envvar="FLEET_NATS_ADDRESS", metavar="HOST[:PORT]", help="by which devices reach NATS, for good; required"
        ),
    ] = "",
    exposure: Annotated[
        str,
        typer.Option(
            envvar="FLEET_EXPOSURE",
            metavar="WAY",
            help="how that address leads in: node-port, load-balancer, ingress or route; without it, route on "
            "OpenShift, else node-port",
        ),
    ] = "",
    ingress_class: Annotated[
        str, typer.Option(envvar="FLEET_INGRESS_CLASS", metavar="NAME", help="a controller that hands TLS through")
    ] = "",
    nats_replicas: Annotated[
        int, typer.Option(envvar="FLEET_NATS_REPLICAS", metavar="1|3", help="servers of NATS; not to be changed later")
    ] = 1,
    storage_class: Annotated[
        str, typer.Option(envvar="FLEET_STORAGE_CLASS", metavar="NAME", help="of NATS' volumes; else the default one")
    ] = "",
    storage_size: Annotated[
        str, typer.Option(envvar="FLEET_STORAGE_SIZE", metavar="SIZE", help="of each of NATS' volumes; else 1Gi")
    ] = "",
    image: Annotated[
        str, typer.Option(envvar="FLEET_IMAGE", metavar="IMAGE", help="of operator and callout; else fleet:VERSION")
    ] = "",
    nats_image: Annotated[
        str, typer.Option(envvar="FLEET_NATS_IMAGE", metavar="IMAGE", help="whose entry point is nats-server")
    ] = "",
    bundled_identity: Annotated[
        bool,
        typer.Option(
            "--bundled-identity", envvar="FLEET_BUNDLED_IDENTITY", help="run Zitadel and Postgres too, as the issuer"
        ),
    ] = False,
    zitadel_image: Annotated[str, typer.Option(envvar="FLEET_ZITADEL_IMAGE", metavar="IMAGE", help="bundled")] = "",
    postgres_image: Annotated[str, typer.Option(envvar="FLEET_POSTGRES_IMAGE", metavar="IMAGE", help="bundled")] = "",
    pull_secret: Annotated[
        str, typer.Option(envvar="FLEET_PULL_SECRET", metavar="NAME", help="a Secret for the images' registry")
    ] = "",
    pull_policy: Annotated[
        str, typer.Option(envvar="FLEET_PULL_POLICY", metavar="WHEN", help="IfNotPresent, Always or Never")
    ] = "",
    user: Annotated[
        int | None,
        typer.Option(
            envvar="FLEET_POD_USER",
            min=1,
            metavar="UID",
            help="of the pods; without it 65532, and on OpenShift the namespace's own",
        ),
    ] = None,
    timeout: Annotated[float, seconds("until every part is ready", least=1)] = 300,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="say what would change, and change nothing")] = False,
    namespace: NamespaceOption = DEFAULT_NAMESPACE,
    output: OutputOption = Output.TABLE,
) -> None:
    """Install a fleet server, or bring one up to date. A repeat without a change changes nothing.

    Give the same options at every install: one that is left out goes back to its default. Each of a place's options has
    a variable, such as FLEET_IMAGE, for those who would rather set it once.

    \b
    Examples:
      fleet server install --issuer https://id.example.org --admin-token-file admin.pat --nats-address nats.example.org
      fleet server install ... --dry-run
    """  # noqa: D301
    from fleet.cli.store import made_folder  # noqa: PLC0415
    from fleet.cli.trust import confirm, server_key  # noqa: PLC0415
    from fleet.issuer import parse_issuer  # noqa: PLC0415
    from fleet.scores.server import FleetServerScore  # noqa: PLC0415
    from fleet.topology.capabilities import PlaceOptions, PlaceRequest  # noqa: PLC0415

    first_login = bundled_identity and not (admin_oidc_client_id or admin_token_file)
    auth = None if first_login else admin_auth(None, admin_oidc_client_id, admin_token_file)
    score = FleetServerScore(parse_issuer(issuer), auth, _pem(issuer_ca), namespace, bundled_identity)
    options = PlaceOptions(
        image=image,
        nats_image=nats_image,
        zitadel_image=zitadel_image,
        postgres_image=postgres_image,
        nats_address=nats_address,
        exposure=exposure,
        ingress_class=ingress_class,
        nats_replicas=nats_replicas,
        storage_class=storage_class,
        storage_size=storage_size,
        pull_secret=pull_secret,
        pull_policy=pull_policy,
        user=user,
    )
    target = place(PlaceRequest(namespace=namespace, timeout=timeout, progress=progress, options=options))
    if dry_run:
        _preview(score, target, output)
        return
    made_folder()
    done = score.interpret(target, tell=tell, progress=progress)
    kube = cluster()
    confirm(server_key(kube.host, namespace), installed(kube, namespace))
    changed = [item.name for item in done if item.changed]
    lines = [f"  {'changed  ' if item.changed else 'unchanged'}  {item.name}" for item in done]
    summary = f"{len(changed)} of {len(done)} changed" if changed else "nothing changed"
    text = [*lines, f"fleet server in {namespace}: ready, {summary}"]
    answer(output, {"namespace": namespace, "changed": changed, "parts": msgspec.to_builtins(done)}, text)


def _preview(score: FleetServerScore, target: ServerPlace, output: Output) -> None:
    from fleet.topology.capabilities import PreviewsChanges  # noqa: PLC0415

    if not isinstance(target, PreviewsChanges):
        raise InvalidInput("this topology cannot tell what would change", next_step="leave --dry-run away")
    seen = score.preview(target)
    changes = [item for item in seen if item.action != "keep"]
    lines = [line for item in changes for line in _told(item)]
    summary = f"{len(changes)} of {len(seen)} objects would change" if changes else "nothing would change"
    text = [*lines, f"fleet server in {score.namespace}: {summary}; the identity provider was not asked"]
    answer(output, {"namespace": score.namespace, "objects": msgspec.to_builtins(seen)}, text)


def _told(item: Preview) -> list[str]:
    return [f"  would {item.action:<6}  {item.name}", *(f"      {field}" for field in item.fields)]


@app.command()
def trust(
    issuer: Annotated[str, typer.Option(metavar="URL", help="the identity provider that the server is to have")],
    authority: Annotated[str, typer.Option(metavar="SHA256", help="of its authorities, where they have changed")] = "",
    nats_url: Annotated[str, typer.Option(metavar="URL", help="of NATS, where it has changed")] = "",
    server_id: Annotated[str, typer.Option(metavar="ID", help="the server's own id, where it has changed")] = "",
    namespace: NamespaceOption = DEFAULT_NAMESPACE,
    output: OutputOption = Output.TABLE,
) -> None:
    """Confirm to whom your credentials may go, after a server has changed. Ask who runs it for these words.

    What a server says of itself is remembered at its first use, and by an install; commands that send a token or a
    password refuse it once it says something else.

    \b
    Example:
      fleet server trust --issuer https://id.example.org
    """  # noqa: D301
    from fleet.cli.trust import Trusted, confirm, known, server_key  # noqa: PLC0415

    kube = cluster()
    server, key = installed(kube, namespace), server_key(kube.host, namespace)
    says, before = Trusted.of(server).named(), known(key)
    given = {"--issuer": issuer, "--authority": authority, "--nats-url": nats_url, "--server-id": server_id}
    for option, value in says.items():
        changed = before is not None and before.named()[option] != value
        if given[option] != value and (given[option] or changed):
            raise Conflict(
                f"{key} says {option[2:]} {value}, and you named {given[option] or 'none'}",
                next_step=f"ask who runs that server; if it is right, give {option} {value}",
            )
    changed = confirm(key, server)
    what = "is trusted" if changed else "was trusted already; nothing changed"
    answer(output, {"server": key, "changed": changed, **msgspec.to_builtins(Trusted.of(server))}, f"{key} {what}")


@app.command()
def status(namespace: NamespaceOption = DEFAULT_NAMESPACE, output: OutputOption = Output.TABLE) -> None:
    """Show what is installed, and whether it is ready. Ends with code 1 when a part is not.

    \b
    Example:
      fleet server status --output json
    """  # noqa: D301
    info = installed(cluster(), namespace)
    parts = place(_request(namespace)).services()
    value: dict[str, Any] = {
        "namespace": namespace,
        "serverId": info.server_id,
        "version": info.version,
        "issuer": info.issuer,
        "projectId": info.project_id,
        "cliClientId": info.cli_client_id,
        "natsUrl": info.nats_url,
        "ready": bool(parts) and all(part.ready for part in parts),
        "parts": msgspec.to_builtins(parts),
    }
    shown = [(name, value[name]) for name in _ANNOUNCED]
    shown += [(part.name, "ready" if part.ready else f"not ready: {part.why}") for part in parts]
    answer(output, value, details(shown))
    if not parts:
        raise FleetError(
            f"the server in {namespace} was announced, and no part of it is there",
            next_step="install it again, or remove what is left with `fleet server uninstall`",
        )
    if not value["ready"]:
        waiting = ", ".join(part.name for part in parts if not part.ready)
        raise FleetError(f"not ready: {waiting}", next_step="read the log of the part; it says what it waits for")


def _request(namespace: str) -> PlaceRequest:
    """For commands that only look."""
    from fleet.topology.capabilities import PlaceRequest  # noqa: PLC0415

    return PlaceRequest(namespace=namespace, timeout=_PATIENCE, progress=progress)


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
