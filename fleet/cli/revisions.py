"""`fleet deployment history|rollback|restart`, and `show --revision`: a deployment's past, and the way back."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from fleet.cli.applying import carry_out, without_defaults
from fleet.cli.context import DryRunOption, NameArgument, NamespaceOption, as_json, cluster, patience, read_any, seconds
from fleet.cli.ordering import added, change_json, hand_over, order
from fleet.cli.output import Output, OutputOption, answer, details, progress, table
from fleet.cli.standing import counts
from fleet.cli.views import View, print_one
from fleet.cli.waiting import outcome
from fleet.contract.change import OURS, noted
from fleet.contract.config import DEFAULT_NAMESPACE
from fleet.contract.errors import Conflict, InvalidInput, NotFound
from fleet.contract.names import DeploymentName
from fleet.contract.objects import FleetDeployment
from fleet.contract.pod import Pod, images
from fleet.contract.revision import DEPLOYMENT, RESTARTED, Revision, parse_revision, runs_same, same_revision
from fleet.contract.wire import Container, from_builtins

if TYPE_CHECKING:
    from fleet.kube.client import KubeClient
    from fleet.topology.capabilities import Json

_KIND = "ControllerRevision"
WaitOption = Annotated[bool, typer.Option("--wait", help="until every selected device runs it")]
TimeoutOption = Annotated[float | None, seconds("to wait; as long as the strategy needs if not given")]


def history(
    name: NameArgument, namespace: NamespaceOption = DEFAULT_NAMESPACE, output: OutputOption = Output.TABLE
) -> None:
    """List the revisions of a deployment that are kept, the newest first: what ran, since when, and who ordered it.

    A revision has the number of the generation that brought it. The ten newest are kept.

    \b
    Example:
      fleet deployment history web
    """  # noqa: D301
    kube = cluster()
    item = read_any(kube, DeploymentName(name), namespace)
    kept = revisions(kube, item)
    rows = [
        [
            revision.revision,
            revision.metadata.creation_timestamp,
            *_who(revision),
            images(revision.spec.workload),
            _now(item, revision, kept),
        ]
        for revision in kept
    ]
    none = f"no revision of {name} is kept yet: the operator keeps them, see `fleet server status`"
    headings = ["REVISION", "CREATED", "BY", "COMMAND", "CHANGE", "IMAGE", "NOW"]
    answer(output, [_as_json(item, revision, kept) for revision in kept], table(headings, rows) if kept else none)


def show_revision(kube: KubeClient, item: FleetDeployment, number: int, output: View) -> None:
    """Print one revision: every field that is not at its default.

    Raises:
        NotFound: it is not kept.
    """
    kept = revisions(kube, item)
    revision = chosen(item, kept, number)
    by, command, change = _who(revision)
    shown: list[tuple[str, object]] = [
        ("deployment", item.metadata.name),
        ("revision", revision.revision),
        ("created", revision.metadata.creation_timestamp),
        ("by", by),
        ("command", command),
        ("change", change),
    ]
    name = f"controllerrevision.apps/{revision.metadata.name}"
    print_one(output, _as_json(item, revision, kept), name, [*details(shown), *without_defaults(revision.spec)])


def rollback(
    name: NameArgument,
    to_revision: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="which; without it, the newest that differs from what is now")
    ] = None,
    dry_run: DryRunOption = False,
    wait: WaitOption = False,
    timeout: TimeoutOption = None,
    namespace: NamespaceOption = DEFAULT_NAMESPACE,
    output: OutputOption = Output.TABLE,
) -> None:
    """Order what a deployment was before: its workload and its strategy. Where it runs stays as it is now.

    It is a change like any other, with a generation of its own, and spreads by the strategy that it brings back.

    \b
    Examples:
      fleet deployment rollback web --dry-run
      fleet deployment rollback web --wait
      fleet deployment rollback web --to-revision 3
    """  # noqa: D301
    within = patience(timeout, wait=wait)
    if wait and dry_run:
        raise InvalidInput("--wait has nothing to wait for with --dry-run", next_step="leave one of them out")
    deployment, kube = DeploymentName(name), cluster()
    item = read_any(kube, deployment, namespace)
    target = chosen(item, revisions(kube, item), to_revision)
    done = carry_out(
        kube,
        RevisionSource(deployment, _as_kept(kube, target, namespace)),
        namespace,
        "fleet deployment rollback",
        dry_run=dry_run,
        force=True,
    )
    value: Json = {
        "revision": target.revision,
        "changed": bool(done.changes),
        "changes": done.changes,
        "change": done.change.id if done.change else "",
    }
    lines = [f"  {line}" for line in done.changes]
    if dry_run:
        what = f"would go back to revision {target.revision}" if lines else f"is as in revision {target.revision}"
        stands = from_builtins(done.item, FleetDeployment)
        answer(output, as_json(stands) | value | {"dryRun": True}, [f"{name}: {what}; nothing was applied", *lines])
        return
    stands = outcome(kube, deployment, namespace, within, wait=wait)
    what = f"goes back to revision {target.revision} (change {value['change']})" if lines else "nothing changed"
    answer(output, as_json(stands) | value, [f"{name}: {what}; {counts(stands)}", *lines])


def restart(
    name: NameArgument,
    wait: WaitOption = False,
    timeout: TimeoutOption = None,
    namespace: NamespaceOption = DEFAULT_NAMESPACE,
    output: OutputOption = Output.TABLE,
) -> None:
    """Replace the containers of a deployment by new ones of the same workload, by its strategy and its update order.

    \b
    Example:
      fleet deployment restart web --wait
    """  # noqa: D301
    within = patience(timeout, wait=wait)
    deployment, kube = DeploymentName(name), cluster()
    moment = datetime.now(UTC).isoformat(timespec="milliseconds")

    def changes(item: FleetDeployment) -> list[Json]:
        if item.spec.paused:
            raise Conflict(f"{name} is paused", next_step=f"run `fleet deployment resume {name}` first")
        return _marks(item.spec.workload, moment)

    _, change = order(kube, FleetDeployment, (deployment, namespace), "fleet deployment restart", changes)
    hand_over(kube, deployment, namespace)
    stands = outcome(kube, deployment, namespace, within, wait=wait)
    how = f"its containers are replaced (change {change.id if change else ''})"
    answer(output, as_json(stands) | change_json(change), f"{name}: {how}; {counts(stands)}")


def _marks(workload: Container | Pod, moment: str) -> list[Json]:
    """Nothing else is written: a newer version may have said more of a container than this one knows."""
    mark, place = {RESTARTED: moment}, "/spec/workload"
    if isinstance(workload, Container):
        return added(f"{place}/labels", workload.labels, mark)
    operations: list[Json] = []
    for kind, parts in (("containers", workload.containers), ("initContainers", workload.init_containers)):
        for number, part in enumerate(parts):
            path = f"{place}/{kind}/{number}"
            operations += [{"op": "test", "path": f"{path}/name", "value": part.name}]
            operations += added(f"{path}/labels", part.labels, mark)
    return operations


class RevisionSource:
    """The workload and the strategy of a revision, merged into the present object."""

    generation, uid = 0, ""
    """The generation and the uid of the object that it was made from: none."""

    def __init__(self, name: DeploymentName, spec: Json) -> None:
        """`spec` is that of the revision to go back to, as Kubernetes holds it."""
        self.name = name
        self._spec = spec

    def merged_with(self, before: Json | None) -> Json:
        """The whole object; labels and annotations stay.

        Raises:
            NotFound: it was deleted meanwhile.
        """
        if before is None:
            raise NotFound(f"{self.name} was deleted meanwhile", next_step="see `fleet deployment list`")
        whole: Json = {key: copy.deepcopy(before[key]) for key in ("apiVersion", "kind", "spec")}
        meta: Json = before["metadata"]
        annotations: dict[str, str] = meta.get("annotations") or {}
        kept = {key: text for key, text in annotations.items() if key not in OURS}
        whole["metadata"] = {"name": str(self.name), "labels": meta.get("labels") or {}, "annotations": kept}
        whole["spec"]["workload"] = self._spec["workload"]
        whole["spec"]["strategy"] = self._spec.get("strategy", {})
        return whole


def _as_kept(kube: KubeClient, target: Revision, namespace: str) -> Json:
    """Its spec, with what a newer version has said that this one does not know.

    Raises:
        NotFound: it has gone.
    """
    found = kube.find(_KIND, target.metadata.name, namespace)
    if found is None:
        raise NotFound(f"revision {target.revision} has gone meanwhile", next_step="repeat this")
    return found["data"]["spec"]


def revisions(kube: KubeClient, item: FleetDeployment) -> list[Revision]:
    """The revisions of a deployment, the newest first; without those of a former deployment of the same name."""
    meta = item.metadata
    found = kube.list_raw(_KIND, meta.namespace, f"labelSelector={DEPLOYMENT}%3D{meta.name}")
    own = [revision for revision in map(_parsed, found) if revision is not None and revision.owner == meta.uid]
    return sorted(own, key=lambda revision: revision.revision, reverse=True)


def chosen(item: FleetDeployment, kept: Sequence[Revision], number: int | None) -> Revision:
    """The revision of a number; without one, the newest that runs something else, or otherwise, than now.

    Raises:
        NotFound: there is none.
    """
    name = item.metadata.name
    if number is None:
        found = next((revision for revision in kept if not runs_same(revision.spec, item.spec)), None)
        what = f"no revision of {name} is kept that differs from what it is now"
    else:
        found = next((revision for revision in kept if revision.revision == number), None)
        what = f"revision {number} of {name} is not kept"
    if found is None:
        numbers = ", ".join(str(revision.revision) for revision in kept) or "none"
        raise NotFound(what, next_step=f"see `fleet deployment history {name}`; kept are: {numbers}")
    return found


def _who(revision: Revision) -> tuple[str, str, str]:
    change = noted(revision.metadata.annotations, revision.revision)
    return (change.by or "-", change.command, change.id) if change else ("-", "another tool", "-")


def _now(item: FleetDeployment, revision: Revision, kept: Sequence[Revision]) -> str:
    """Whether a revision is the present one: of several equal ones, the newest."""
    same = next((known for known in kept if same_revision(known.spec, item.spec)), None)
    return "yes" if same is revision else ""


def _as_json(item: FleetDeployment, revision: Revision, kept: Sequence[Revision]) -> Json:
    by, command, change = _who(revision)
    return {
        "revision": revision.revision,
        "created": revision.metadata.creation_timestamp,
        "by": by,
        "command": command,
        "change": change,
        "current": bool(_now(item, revision, kept)),
        "spec": msgspec.to_builtins(revision.spec, enc_hook=str),
    }


def _parsed(data: bytes) -> Revision | None:
    """None for one that somebody else has put there: it hides no other."""
    try:
        return parse_revision(data)
    except InvalidInput as error:
        name = json.loads(data)["metadata"]["name"]
        progress(f"ControllerRevision {name} is passed over: {error.what}")
        return None
