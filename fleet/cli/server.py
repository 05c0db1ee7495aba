"""`fleet server install|status|uninstall`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from fleet.cli import admission_policy, chart, uninstall
from fleet.cli.context import (
    ClientIdOption,
    DryRunOption,
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
from fleet.cli.place_options import with_place_options
from fleet.cli.preview import preview
from fleet.contract.config import DEFAULT_NAMESPACE, MOST_DEVICES, UpgradeRules, read_whole
from fleet.contract.errors import Conflict, FleetError, InvalidInput
from fleet.contract.limits import OneDay
from fleet.topology.place_options import PlaceOptions

if TYPE_CHECKING:
    from fleet.topology.capabilities import PlaceRequest

app = typer.Typer(help="Install, inspect and remove the fleet server.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(chart.app, name="chart")
app.command()(uninstall.uninstall)
app.command()(admission_policy.admission_policy)

_ANNOUNCED = ("namespace", "serverId", "version", "issuer", "projectId", "cliClientId", "natsUrl")
_PATIENCE = 30.0
"""Seconds for a command that only reads."""


@app.command()
@with_place_options
def install(
    issuer: Annotated[str, typer.Option(metavar="URL", help="the identity provider, exactly as it calls itself")],
    issuer_ca: Annotated[
        str, typer.Option(metavar="FILE", help="PEM of its authority, if that is not a public one")
    ] = "",
    admin_oidc_client_id: ClientIdOption = "",
    admin_token_file: TokenFileOption = "",
    bundled_identity: Annotated[
        bool,
        typer.Option(
            "--bundled-identity", envvar="FLEET_BUNDLED_IDENTITY", help="run Zitadel and Postgres too, as the issuer"
        ),
    ] = False,
    *,
    options: PlaceOptions,
    upgrade_at_once: Annotated[
        int,
        typer.Option(
            envvar="FLEET_UPGRADE_AT_ONCE",
            min=1,
            max=MOST_DEVICES,
            metavar="N",
            help="agents replaced at the same time",
        ),
    ] = UpgradeRules().at_once,
    upgrade_abort_after: Annotated[
        int,
        typer.Option(
            envvar="FLEET_UPGRADE_ABORT_AFTER",
            min=1,
            max=MOST_DEVICES,
            metavar="N",
            help="failed agent upgrades that halt a version",
        ),
    ] = UpgradeRules().abort_after,
    upgrade_soak: Annotated[
        float,
        seconds("that a new agent must work well before it is confirmed", most=OneDay, variable="FLEET_UPGRADE_SOAK"),
    ] = UpgradeRules().soak,
    upgrade_grant: Annotated[
        float,
        seconds(
            "that one device's upgrade may hold up the others; then it counts as failed",
            most=OneDay,
            variable="FLEET_UPGRADE_GRANT",
        ),
    ] = UpgradeRules().grant,
    web_client_id: Annotated[
        str,
        typer.Option(
            envvar="FLEET_WEB_CLIENT_ID",
            metavar="ID",
            help="of a web application at the issuer, by which people may sign in to the page besides by code",
        ),
    ] = "",
    timeout: Annotated[float, seconds("until every part is ready", least=1)] = 300,
    dry_run: DryRunOption = False,
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
    from fleet.identity.issuer import parse_issuer  # noqa: PLC0415
    from fleet.install.server import FleetServerScore  # noqa: PLC0415
    from fleet.rotation.lease import require_no_rotation  # noqa: PLC0415
    from fleet.topology.capabilities import PlaceRequest  # noqa: PLC0415

    if not bundled_identity and (given := options.zitadel_image or options.postgres_image):
        raise InvalidInput(
            f"{given!r} is the image of a bundled identity provider, and --bundled-identity is not given",
            next_step="give it too, or leave --zitadel-image and --postgres-image out",
        )
    if web_client_id and not options.web:
        raise InvalidInput("--web-client-id counts only with --web", next_step="give --web too, or leave it out")
    first_login = bundled_identity and not (admin_oidc_client_id or admin_token_file)
    auth = None if first_login else admin_auth(None, admin_oidc_client_id, admin_token_file)
    rules = UpgradeRules(upgrade_at_once, upgrade_abort_after, upgrade_soak, upgrade_grant)
    score = FleetServerScore(
        parse_issuer(issuer), auth, _pem(issuer_ca), namespace, bundled_identity, rules, web_client_id
    )
    target = place(PlaceRequest(namespace=namespace, timeout=timeout, progress=progress, options=options))
    if dry_run:
        preview(score, target, output)
        return
    made_folder()
    kube = cluster()
    kube.require_same_clock()
    require_no_rotation(kube, namespace)
    done = score.interpret(target, tell=tell, progress=progress)
    confirm(server_key(kube.host, namespace), installed(kube, namespace))
    changed = [item.name for item in done if item.changed]
    lines = [f"  {'changed  ' if item.changed else 'unchanged'}  {item.name}" for item in done]
    summary = f"{len(changed)} of {len(done)} changed" if changed else "nothing changed"
    text = [*lines, f"fleet server in {namespace}: ready, {summary}"]
    answer(output, {"namespace": namespace, "changed": changed, "parts": msgspec.to_builtins(done)}, text)


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
        "secrets": (wanting := _wanting(namespace)),
    }
    shown = [(name, value[name]) for name in _ANNOUNCED]
    shown += [(part.name, "ready" if part.ready else f"not ready: {part.why}") for part in parts]
    shown += [(name, f"{why}: see `fleet secrets list`") for name, why in wanting.items()]
    answer(output, value, details(shown))
    if not parts:
        raise FleetError(
            f"the server in {namespace} was announced, and no part of it is there",
            next_step="install it again, or remove what is left with `fleet server uninstall`",
        )
    if not value["ready"]:
        waiting = ", ".join(part.name for part in parts if not part.ready)
        raise FleetError(f"not ready: {waiting}", next_step="read the log of the part; it says what it waits for")


def _wanting(namespace: str) -> dict[str, str]:
    """The problems of secrets, by name; if secrets cannot be read, the rest of the status is shown."""
    from fleet.cli.found import installed_in  # noqa: PLC0415
    from fleet.rotation.soon import wanting  # noqa: PLC0415

    try:
        return {secret.name: secret.why for secret in wanting(installed_in(cluster(), namespace, _PATIENCE))}
    except FleetError as error:
        return {"secrets": f"not looked at: {error.what}"}


def _request(namespace: str) -> PlaceRequest:
    """For commands that only read."""
    from fleet.topology.capabilities import PlaceRequest  # noqa: PLC0415

    return PlaceRequest(namespace=namespace, timeout=_PATIENCE, progress=progress)


def _pem(path: str) -> str:
    from fleet.identity.issuer import trust  # noqa: PLC0415

    if not path:
        return ""
    try:
        text = read_whole(Path(path))[0].decode("ascii")
        trust(text or "an empty file would mean this machine's authorities")
    except (OSError, UnicodeDecodeError, InvalidInput) as error:
        raise InvalidInput(
            f"--issuer-ca {path} is no file of PEM certificates",
            next_step="give the authority that signed the issuer's",
        ) from error
    return text
