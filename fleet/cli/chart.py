"""`fleet server chart render|publish|application`, for helm and ArgoCD; `prepare|withdraw`, for the chart's jobs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from fleet.cli.context import NamespaceOption, TokenFileOption, cluster, tell
from fleet.cli.output import Output, OutputOption, answer, document, progress
from fleet.contract.config import DEFAULT_NAMESPACE, read_whole
from fleet.contract.errors import Conflict, InvalidInput
from fleet.process.failures import in_words

if TYPE_CHECKING:
    from fleet.chart.values import ChartValues
    from fleet.topology.capabilities import Json

app = typer.Typer(help="The server as a Helm chart.", no_args_is_help=True, rich_markup_mode=None)

_Repository = Annotated[
    str, typer.Argument(metavar="OCI-REPOSITORY", help="where charts are kept: oci://registry.example.org/charts")
]
_ValuesOption = Annotated[str, typer.Option("--values", "-f", metavar="FILE", help="the chart's values, YAML or JSON")]


@app.command()
def render(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="a folder that is empty, holds a chart, or is made")],
    output: OutputOption = Output.TABLE,
) -> None:
    """Write the chart into a folder, for `helm lint`, `helm template` and `helm install`.

    \b
    Example:
      fleet server chart render chart && helm template fleet chart --values values.yaml
    """  # noqa: D301
    from fleet.chart.files import chart_files  # noqa: PLC0415
    from fleet.process.durable import replace_file  # noqa: PLC0415

    if folder.exists() and any(folder.iterdir()) and not (folder / "Chart.yaml").exists():
        raise Conflict(f"{folder} holds something, and no chart", next_step="choose another folder")
    files = chart_files()
    try:
        for path, text in files.items():
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            replace_file(target, text.encode(), 0o644)
    except OSError as error:
        raise InvalidInput(
            f"the chart cannot be written into {folder}: {in_words(error)}; what is there is incomplete",
            next_step="free space there and render it again, or choose another folder",
        ) from error
    answer(output, {"folder": str(folder), "files": sorted(files)}, f"wrote the chart into {folder}")


@app.command()
def publish(
    repository: _Repository,
    plain_http: Annotated[bool, typer.Option(help="the registry has no TLS")] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Push the chart to an OCI registry. Log in there before, with `helm registry login`.

    \b
    Example:
      fleet server chart publish oci://registry.example.org/charts
    """  # noqa: D301
    from fleet.chart.publish import parse_repository, publish  # noqa: PLC0415

    reference, digest = publish(parse_repository(repository), plain_http=plain_http)
    answer(output, {"reference": reference, "digest": digest}, (f"pushed {reference}", f"  {digest}"))


@app.command()
def application(repository: _Repository, values: _ValuesOption, namespace: NamespaceOption = DEFAULT_NAMESPACE) -> None:
    """Print an ArgoCD Application that installs the published chart with these values.

    \b
    Example:
      fleet server chart application oci://registry.example.org/charts -f values.yaml | kubectl apply -f -
    """  # noqa: D301
    import yaml  # noqa: PLC0415

    from fleet.chart.argo import application  # noqa: PLC0415
    from fleet.chart.publish import parse_repository  # noqa: PLC0415

    given, _ = _read(values)
    item = application(parse_repository(repository), namespace, given)
    document(yaml.safe_dump(item, sort_keys=False))


@app.command()
def prepare(
    values: _ValuesOption,
    admin_token_file: TokenFileOption = "",
    namespace: NamespaceOption = DEFAULT_NAMESPACE,
    output: OutputOption = Output.TABLE,
) -> None:
    """Make the project, the secrets and the pods' files of a release. The chart's own job runs this, in its namespace.

    \b
    Example:
      fleet server chart prepare -f values.yaml --admin-token-file admin.pat
    """  # noqa: D301
    from fleet.chart.place import ChartPlace  # noqa: PLC0415
    from fleet.chart.values import shape_of  # noqa: PLC0415
    from fleet.identity.issuer import parse_issuer  # noqa: PLC0415
    from fleet.install.server import FleetServerScore, RegisteredProject  # noqa: PLC0415
    from fleet.topology.admin import AdminAuth  # noqa: PLC0415

    _, parsed = _read(values)
    identity = parsed.identity
    if identity.admin_token_secret:
        if not admin_token_file:
            raise InvalidInput(
                "identity.adminTokenSecret is set, and --admin-token-file is missing",
                next_step="give the file that holds what that Secret's key `token` does",
            )
        admin = AdminAuth(token_file=Path(admin_token_file))
    elif admin_token_file:
        raise InvalidInput(
            "--admin-token-file would be ignored: identity.adminTokenSecret is not set, but the project's ids are",
            next_step="leave it out, and unset FLEET_ADMIN_TOKEN_FILE",
        )
    else:
        admin = RegisteredProject(identity.project_id, identity.cli_client_id)
    score = FleetServerScore(
        parse_issuer(identity.issuer),
        admin,
        identity.ca,
        namespace,
        upgrade=parsed.upgrade,
        web_client_id=parsed.web.client_id,
    )
    done = score.interpret(ChartPlace(cluster(), namespace, shape_of(parsed)), tell=tell, progress=progress)
    changed = sum(item.changed for item in done)
    answer(output, {"namespace": namespace, "parts": msgspec.to_builtins(done)}, f"{changed} of {len(done)} changed")


@app.command()
def withdraw(
    values: _ValuesOption, namespace: NamespaceOption = DEFAULT_NAMESPACE, output: OutputOption = Output.TABLE
) -> None:
    """Remove what `prepare` wrote, but for the secrets. The chart's own job runs this when a release is gone.

    \b
    Example:
      fleet server chart withdraw -f values.yaml
    """  # noqa: D301
    from fleet.chart.place import ChartPlace  # noqa: PLC0415
    from fleet.chart.values import shape_of  # noqa: PLC0415
    from fleet.install.server import uninstall  # noqa: PLC0415

    _, parsed = _read(values)
    place = ChartPlace(cluster(), namespace, shape_of(parsed))
    done = uninstall(place, namespace, delete_data=False, delete_definitions=False)
    removed = [item.name for item in done if item.changed]
    answer(output, {"namespace": namespace, "removed": removed}, f"removed {len(removed)}; the secrets stay")


def _read(path: str) -> tuple[Json, ChartValues]:
    """The values as they were written, and parsed."""
    from fleet.chart.values import ChartValues, parse_values  # noqa: PLC0415
    from fleet.contract.written import Written  # noqa: PLC0415

    see = "give the chart's values, YAML or JSON: `fleet server chart render` writes all of them into values.yaml"
    try:
        data, _ = read_whole(Path(path))
    except OSError as error:
        raise InvalidInput(f"cannot read --values {path}: {error.strerror}", next_step=see) from error
    written = Written(data, f"--values {path}", next_step=see)
    if not isinstance(written.value, dict):
        raise InvalidInput(f"--values {path} holds no values", next_step=see)
    written.as_kind(ChartValues)
    given: Json = msgspec.to_builtins(written.value)  # plain, so that it can be printed
    return given, parse_values(given)
