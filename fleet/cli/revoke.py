"""`fleet device revoke`: one device, or all of a batch whose configurations have leaked."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from fleet.cli.context import (
    ClientIdOption,
    NamespaceOption,
    TokenFileOption,
    cluster,
    installed,
    read,
    read_all,
    seconds,
)
from fleet.cli.invalid import InvalidDevice, left_out, parted, refusal
from fleet.cli.label import SelectorOption, parse_filter
from fleet.cli.ordering import order
from fleet.cli.output import Output, OutputOption, answer
from fleet.cli.provider import Login, at_provider
from fleet.contract.config import DEFAULT_NAMESPACE
from fleet.contract.errors import Conflict, FleetError, InvalidInput, NotFound, TimedOut
from fleet.contract.labels import labels_of
from fleet.contract.names import DeviceId
from fleet.contract.objects import ENROLLED_AT, Device
from fleet.contract.selector import Selector

if TYPE_CHECKING:
    from fleet.kube.client import KubeClient
    from fleet.topology.capabilities import Json

_NAMED = 10
"""How many devices are named; the others are counted."""


def revoke(
    device: Annotated[
        str | None, typer.Argument(metavar="ID", help="the device's id; or choose devices by the options")
    ] = None,
    enrolled_before: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="every device whose last enrollment was earlier: 2026-11-29T08:00:00Z"),
    ] = None,
    selector: SelectorOption = None,
    confirm: Annotated[
        int | None,
        typer.Option(metavar="N", help="with options: revoke, if they are so many devices, as --dry-run says"),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="say which devices fit, and revoke none")] = False,
    timeout: Annotated[float, seconds("to wait for the operator")] = 30,
    admin_oidc_client_id: ClientIdOption = "",
    admin_token_file: TokenFileOption = "",
    namespace: NamespaceOption = DEFAULT_NAMESPACE,
    output: OutputOption = Output.TABLE,
) -> None:
    """Shut a lost device out: its session is dropped when this returns, and it is never let in again.

    Its identity at the provider is deactivated as well, when you are logged in there. With options in place of an id,
    every device that fits all of them is shut out: a batch whose configurations have leaked. How many that are must be
    said, so that a slip in an option revokes nobody.

    \b
    Examples:
      fleet device revoke pi-1
      fleet device revoke --enrolled-before 2026-11-29T08:00:00Z --selector site=lab --dry-run
      fleet device revoke --enrolled-before 2026-11-29T08:00:00Z --selector site=lab --confirm 12
    """  # noqa: D301
    if (device is not None) == (enrolled_before is not None or selector is not None):
        raise InvalidInput("name one device, or choose with --enrolled-before and --selector", next_step="do one of it")
    if device is not None and (dry_run or confirm is not None):
        raise InvalidInput("--dry-run and --confirm are for a batch", next_step="leave them away")
    before, wanted = _time(enrolled_before), parse_filter(selector)
    name = None if device is None else DeviceId(device)
    kube = cluster()
    login = Login(kube, namespace, installed(kube, namespace), admin_oidc_client_id, admin_token_file)
    if name is not None:
        read(kube, Device, name, namespace)
        value = _finish(kube, _begin(kube, name, namespace), timeout, login)
        answer(output, value, _outcome(value))
        return
    known, invalid = parted(read_all(kube, Device, namespace))
    # The labels that it has in its spec are not known, so it may be one of the batch.
    unclear = [one for one in invalid if isinstance(one, InvalidDevice) and fits(one, before, Selector())]
    chosen = [item for item in known if fits(item, before, wanted)]
    if not chosen and not unclear:
        raise NotFound("no device fits", next_step="see `fleet device list`; nothing was revoked")
    if dry_run:
        would = [{"device": str(item.id), "revoked": item.spec.revoked} for item in chosen]
        answer(output, would, [*(str(item.id) for item in chosen), f"{len(chosen)} devices would be revoked"])
        _tell_left_out(unclear)
        return
    if chosen:
        _require_confirmed(chosen, confirm)
    # All are barred before any is waited for.
    begun = [_begin(kube, item.id, namespace) for item in chosen]
    done, late = _all(kube, begun, timeout, login)
    answer(output, done, [_outcome(value) for value in done])
    if late:
        raise type(late[0])(
            f"{len(late)} of {len(begun)} revocations are recorded, and not finished",
            next_step=late[0].next_step,
            more=[error.what for error in late] + [refusal(one).what for one in unclear],
        )
    _tell_left_out(unclear)


def _tell_left_out(unclear: Sequence[InvalidDevice]) -> None:
    if unclear:
        raise left_out(unclear)


def _require_confirmed(chosen: Sequence[Device], confirm: int | None) -> None:
    if confirm == len(chosen):
        return
    names = ", ".join(str(item.id) for item in chosen[:_NAMED])
    more = f" and {len(chosen) - _NAMED} more" if len(chosen) > _NAMED else ""
    meant = "" if confirm is None else f", not {confirm}"
    raise Conflict(
        f"{len(chosen)} devices fit{meant}: {names}{more}; nothing was revoked",
        next_step=f"see all of them with --dry-run, then repeat with --confirm {len(chosen)}",
    )


def _all(
    kube: KubeClient, begun: Sequence[Device], timeout: float, login: Login
) -> tuple[list[Json], list[FleetError]]:
    """Revoke each device, also if another one fails; `timeout` is for all."""
    done: list[Json] = []
    late: list[FleetError] = []
    deadline = time.monotonic() + timeout
    for item in begun:
        try:
            done.append(_finish(kube, item, max(deadline - time.monotonic(), 0), login))
        except FleetError as error:
            late.append(error)
    return done, late


def _begin(kube: KubeClient, name: DeviceId, namespace: str) -> Device:
    where = (name, namespace)
    return order(
        kube, Device, where, "fleet device revoke", lambda item: {} if item.spec.revoked else {"revoked": True}
    )[0]


def _finish(kube: KubeClient, begun: Device, timeout: float, login: Login) -> Json:
    _await_revoked(kube, begun, timeout)
    identity = at_provider(lambda zitadel, user: zitadel.deactivate(user), begun, login)
    return {"device": str(begun.id), "revoked": True, "sessions": "dropped", "identity": identity or "deactivated"}


def _outcome(value: Json) -> str:
    return f"{value['device']} is revoked, and its session dropped; its identity: {value['identity']}"


def fits(item: Device, before: datetime | None, wanted: Selector) -> bool:
    """Whether a device has such labels, and was enrolled for the last time before a moment."""
    return wanted.selects(labels_of(item)) and (before is None or _enrolled(item) < before)


def _enrolled(item: Device) -> datetime:
    """The time of the last enrollment; a device of a former release has only that of the first."""
    created = datetime.fromisoformat(item.metadata.creation_timestamp)
    try:
        enrolled_at = datetime.fromisoformat(item.metadata.annotations.get(ENROLLED_AT, ""))
    except ValueError:
        return created
    # What somebody wrote without a zone, or before the object was made, cannot be.
    return enrolled_at if enrolled_at.tzinfo and enrolled_at >= created else created


def _time(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise InvalidInput(
            f"--enrolled-before {text!r} is no time with a zone", next_step="for example 2026-11-29T08:00:00Z"
        )
    if found > datetime.now(UTC):
        raise InvalidInput(
            f"--enrolled-before {text} lies ahead, so it would be every device",
            next_step="give the time after which new configurations were safe",
        )
    return found


def _await_revoked(kube: KubeClient, revoked: Device, timeout: float) -> None:
    from fleet.kube.client import wait_for  # noqa: PLC0415

    name, last = revoked.id, ["nothing yet"]

    def dropped() -> bool | None:
        device = read(kube, Device, name, revoked.metadata.namespace)
        condition = next((known for known in device.status.conditions if known.type == "Revoked"), None)
        if condition is None:
            return None
        last[0] = f"Revoked={condition.status} ({condition.reason})"
        # An older one is of the life before the last `enroll --replace`.
        return (
            True
            if condition.status == "True" and condition.observed_generation >= revoked.metadata.generation
            else None
        )

    try:
        wait_for(dropped, f"the operator to drop the sessions of {name}", timeout)
    except TimedOut as error:
        raise TimedOut(
            f"{error.what}; last seen: {last[0]}",
            next_step="the revocation is recorded, and the operator finishes it once it runs: see "
            "`fleet server status`, then repeat this, which also ends its identity at the provider",
        ) from error
