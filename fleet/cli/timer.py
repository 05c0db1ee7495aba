"""`fleet secrets timer`."""

from __future__ import annotations

from typing import Annotated

import typer

from fleet.cli.context import NamespaceOption, cluster
from fleet.cli.found import installed_in
from fleet.cli.output import document
from fleet.contract.config import DEFAULT_NAMESPACE
from fleet.contract.errors import InvalidInput, NotPermitted

_FIELDS = 5
"""Of a cron schedule."""


def timer(
    schedule: Annotated[
        str, typer.Option(metavar="CRON", help="when it looks: minute, hour, day, month and weekday, as cron has them")
    ] = "23 4 * * *",
    namespace: NamespaceOption = DEFAULT_NAMESPACE,
) -> None:
    """Print a CronJob by which the cluster renews what is due, with an account that may do just that.

    Print it again after each install, for it runs the image of the server's release. `kubectl delete` removes it.

    \b
    Example:
      fleet secrets timer | kubectl apply -f -
    """  # noqa: D301
    import yaml  # noqa: PLC0415

    from fleet.install.server import plan_of  # noqa: PLC0415
    from fleet.secrets.draft import DraftSecretStore  # noqa: PLC0415
    from fleet.topology.capabilities import RunsTimers  # noqa: PLC0415

    if len(schedule.split()) != _FIELDS or not schedule.isprintable():
        raise InvalidInput(
            f"--schedule {schedule!r} has not five fields", next_step="for example --schedule '23 4 * * *'"
        )
    found = installed_in(cluster(), namespace, 30)
    found.require_as_announced()
    if not isinstance(found.place, RunsTimers):
        raise NotPermitted(
            "this server is in no cluster that could run it", next_step="let cron run `fleet secrets rotate --due`"
        )
    draft = DraftSecretStore(found.place.secrets)
    plan = plan_of(found.install, draft, found.endpoints)
    services = [*found.provider.services(draft), *plan.services]
    document(yaml.safe_dump_all(found.place.timer(services, plan.published, schedule), sort_keys=False))
