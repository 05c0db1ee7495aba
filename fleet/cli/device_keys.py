"""`fleet secrets rotate device_key`: another machine key for devices, made by each of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fleet.cli.context import admin_auth, read, read_all, tell
from fleet.cli.invalid import Invalid, left_out, parted, refusal
from fleet.cli.label import parse_filter
from fleet.cli.ordering import order
from fleet.cli.output import progress
from fleet.contract.errors import InvalidInput, NotFound, NotPermitted, TimedOut
from fleet.contract.labels import labels_of
from fleet.contract.machine_keys import DEVICE_KEY
from fleet.contract.names import DeviceId
from fleet.contract.objects import Device

if TYPE_CHECKING:
    from datetime import datetime

    from fleet.kube.client import KubeClient
    from fleet.rotation.devices.drive import Outcome
    from fleet.rotation.ground import Installed
    from fleet.rotation.listing import Listed
    from fleet.topology.capabilities import Json


NOT_AT_ITS_END = "begun, and not at its end"
"""The outcome of a rotation that did not wait for a device."""


class Asked:
    """The devices of a rotation, and its direction."""

    def __init__(self, devices: Sequence[str], selector: str | None, *, abort: bool, dry_run: bool, wait: bool) -> None:
        """Check what can be checked here.

        Raises:
            InvalidInput: no device is named, or one is no id.
        """
        if not devices and selector is None:
            raise InvalidInput(
                f"{DEVICE_KEY} is a secret of each device", next_step="name devices, or choose them with --selector"
            )
        self.names = [DeviceId(name) for name in devices]
        self.selector = parse_filter(selector)
        self.selects = selector is not None
        self.abort, self.dry_run, self.wait = abort, dry_run, wait
        self.left_out: Sequence[Invalid] = ()
        """Devices that `--selector` may mean, and whose spec does not parse."""

    def chosen(self, kube: KubeClient, namespace: str) -> dict[str, str]:
        """The machine user of each of them.

        Raises:
            NotFound: one that was named is no device, or none fits.
            NotPermitted: one that was named is revoked.
        """
        named = [read(kube, Device, name, namespace) for name in self.names]
        if out := [one.id for one in named if one.spec.revoked]:
            raise NotPermitted(f"{out[0]} is revoked", next_step="enroll it again: fleet device enroll --replace")
        every, self.left_out = parted(read_all(kube, Device, namespace) if self.selects else [])
        fit = [one for one in every if self.selector.selects(labels_of(one)) and not one.spec.revoked]
        found = {str(one.id): one.spec.subject for one in (*named, *fit) if one.spec.subject}
        if not found:
            if self.left_out:
                raise left_out(self.left_out)
            raise NotFound("no device fits", next_step="see `fleet device list`; nothing was changed")
        return found


def rotate_device_keys(
    kube: KubeClient, installed: Installed, asked: Asked, *, client_id: str, token_file: str, timeout: float
) -> list[Json]:
    """Renew the keys, and return the outcome of each device.

    Raises:
        TimedOut: some devices lack something, and were to be waited for; names them.
        FleetError: any of its kinds; repeat it to go on.
    """
    from fleet.identity.zitadel import Zitadel  # noqa: PLC0415
    from fleet.rotation.decide import Goal  # noqa: PLC0415
    from fleet.rotation.devices.drive import drive, foretell  # noqa: PLC0415
    from fleet.rotation.devices.ground import Ground  # noqa: PLC0415
    from fleet.rotation.drive import PATIENCE  # noqa: PLC0415
    from fleet.rotation.lease import lease  # noqa: PLC0415

    server, namespace = installed.info, installed.install.settings.namespace
    subjects = asked.chosen(kube, namespace)
    goal = Goal.BACK if asked.abort else Goal.FORWARD
    within = timeout if asked.wait else min(timeout, PATIENCE)
    token = admin_auth(server, client_id, token_file).access_token(server.issuer, server.ca, tell)
    with Zitadel(server.issuer, server.ca, token.text) as zitadel:
        ground = Ground(installed, zitadel, subjects, lambda name, until: _refuse(kube, namespace, name, until))
        if asked.dry_run:
            seen = ground.look(sorted(subjects))
            return [{"device": name, "id": one.used, "outcome": foretell(one, goal)} for name, one in seen.items()]
        with lease(kube, namespace, DEVICE_KEY) as held:
            done = drive(ground, sorted(subjects), goal, timeout=within, progress=progress, check=held.check)
    if late := [one for one in done if one.why and (asked.wait or not one.awaits_device)]:
        raise TimedOut(
            f"{len(late)} of {len(done)} devices have not a new machine key yet",
            next_step="mend it, then repeat the command for those alone: it goes on from here",
            more=[f"{one.device}: {one.why}" for one in late] + [refusal(one).what for one in asked.left_out],
        )
    if asked.left_out:
        raise left_out(asked.left_out)
    return [{"device": one.device, "id": one.key, "outcome": _outcome_text(one, abort=asked.abort)} for one in done]


def due_now(rows: Sequence[Listed], now: datetime) -> list[str]:
    """The secrets that `rotate --due` rotates. It prints which machine keys are due, and does not rotate them."""
    from fleet.rotation.drive import named  # noqa: PLC0415
    from fleet.rotation.listing import overdue  # noqa: PLC0415

    if names := [name for row in rows for name in overdue(row.devices, now)]:
        progress(
            f"machine keys are due: {named(names)}; --due does not rotate them, because that needs a login at the "
            f"identity provider: `fleet secrets rotate {DEVICE_KEY} DEVICE...`"
        )
    return [row.name for row in rows if row.is_for_now(now)]


def _refuse(kube: KubeClient, namespace: str, device: str, until: int) -> None:
    def changes(item: Device) -> Json:
        return {"tokensAfter": until} if item.spec.tokens_after < until else {}

    order(kube, Device, (device, namespace), "fleet secrets rotate", changes)


def _outcome_text(one: Outcome, *, abort: bool) -> str:
    if one.why:
        return f"{NOT_AT_ITS_END}: {one.why}; repeat the command once it is there"
    if not one.acted:
        return f"nothing to do, still {one.key}"
    return f"back at {one.key}" if abort else f"rotated, now {one.key}"
