"""`fleet deployment list` and `show`."""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer

from fleet.cli.applying import without_defaults
from fleet.cli.context import NamespaceOption, as_json, cluster, read_all, read_any
from fleet.cli.invalid import InvalidDeployment, invalid_details
from fleet.cli.label import SelectorOption, parse_filter
from fleet.cli.output import details
from fleet.cli.revisions import NameArgument, show_revision
from fleet.cli.standing import cells, conditions, containers, counts, status_of
from fleet.cli.views import (
    Columns,
    View,
    ViewOption,
    WatchOption,
    name_of,
    object_details,
    print_list,
    print_one,
)
from fleet.cli.workloads import blockers, named, running_images
from fleet.contract.config import DEFAULT_NAMESPACE
from fleet.contract.names import DeploymentName
from fleet.contract.objects import Device, FleetDeployment
from fleet.contract.pod import images


def list_deployments(
    selector: SelectorOption = None,
    watch: WatchOption = False,
    namespace: NamespaceOption = DEFAULT_NAMESPACE,
    output: ViewOption = View.TABLE,
) -> None:
    """List the deployments. --selector looks at their own labels, which a file gives them.

    --watch prints a row again when it changes, and JSON as one object a line.

    \b
    Examples:
      fleet deployment list
      fleet deployment list --selector team=red --output wide
      fleet deployment list --watch
    """  # noqa: D301
    wanted, kube = parse_filter(selector), cluster()
    columns = Columns(
        ["NAME", "IMAGE", "MATCHED", "UPDATED", "READY", "FAILED", "REASON"],
        lambda item: [item.metadata.name, _images(item), *cells(item), status_of(item, "Ready")[1]],
        ["SELECTOR", "STRATEGY", "PAUSED", "RUNS"],
        _more_cells,
        "no deployments" + (" with such labels" if selector else ""),
    )
    print_list(
        output,
        kube,
        namespace,
        FleetDeployment,
        columns,
        lambda item: wanted.selects(item.metadata.labels),
        watch=watch,
    )


def _images(item: FleetDeployment) -> str:
    return "-" if isinstance(item, InvalidDeployment) else images(item.spec.workload)


def _more_cells(item: FleetDeployment) -> list[object]:
    if isinstance(item, InvalidDeployment):
        return ["-"] * 4
    runs = ", ".join(str(words) for _, words in running_images(item)) or "-"
    paused = "yes" if item.spec.paused else "no"
    return [str(item.spec.selector) or "every device", item.spec.strategy.type.value, paused, runs]


def show(
    name: NameArgument,
    revision: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="as it was: see `fleet deployment history`")
    ] = None,
    namespace: NamespaceOption = DEFAULT_NAMESPACE,
    output: ViewOption = View.TABLE,
) -> None:
    """Show one deployment. --output wide has each field that was given, and every device that fails or waits.

    \b
    Examples:
      fleet deployment show web
      fleet deployment show web --output wide
      fleet deployment show web --revision 3
    """  # noqa: D301
    deployment = DeploymentName(name)
    kube = cluster()
    item = read_any(kube, deployment, namespace)
    if revision is not None:
        show_revision(kube, item, revision, output)
        return
    devices = read_all(kube, Device, namespace)
    if isinstance(item, InvalidDeployment):
        more = object_details(item) if output is View.WIDE else []
        lines = details([*invalid_details(item, devices), *more, *conditions(item)])
        print_one(output, as_json(item), name_of(item), lines)
        return
    found = blockers(item, devices)
    shown: list[tuple[str, object]] = [
        ("deployment", item.metadata.name),
        ("image", images(item.spec.workload)),
        *containers(item),
        ("selector", str(item.spec.selector) or "every device"),
        ("strategy", item.spec.strategy.type.value),
        ("devices", counts(item)),
    ]
    value = as_json(item)
    value["status"]["blockers"] = msgspec.to_builtins(found)
    lines = [*details([*shown, *running_images(item), *conditions(item)]), *named(found)]
    if output is View.WIDE:
        wide = details([*shown, *object_details(item), *running_images(item), *conditions(item)])
        lines = [*wide, *map(str, found), *without_defaults(item.spec)]
    print_one(output, value, name_of(item), lines)
