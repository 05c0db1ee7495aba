"""`fleet secrets rotate admin_token`: the access token in an admin's file is followed by another one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fleet.cli.output import progress
from fleet.contract.errors import InvalidInput
from fleet.rotation.admin import ADMIN_TOKEN

if TYPE_CHECKING:
    from fleet.kube.client import KubeClient
    from fleet.rotation.ground import Installed

_COPIES = "copies of the old one elsewhere (a CI's variable, a Secret) let nobody in any more"


class AdminTokenAsked:
    """The file of a rotation of an admin's token, and its direction."""

    def __init__(self, file: str, token_id: str, *, abort: bool, dry_run: bool) -> None:
        """Check what can be checked here.

        Raises:
            InvalidInput: no file is named.
        """
        if not file:
            raise InvalidInput(
                f"{ADMIN_TOKEN} is on no server: its owner has it in a file", next_step="name it: --admin-token-file"
            )
        self.file, self.token_id = Path(file), token_id
        self.abort, self.dry_run = abort, dry_run

    def rotate(self, kube: KubeClient, installed: Installed, *, timeout: float) -> dict[str, str]:
        """Do it, and return the outcome; see `rotate_admin_token` for what it raises."""
        return rotate_admin_token(kube, installed, self, timeout=timeout)


def rotate_admin_token(
    kube: KubeClient, installed: Installed, asked: AdminTokenAsked, *, timeout: float
) -> dict[str, str]:
    """Have a new token follow the one in the file, and return the outcome.

    Raises:
        FleetError: any of its kinds; repeat the command to go on.
    """
    from fleet.rotation.admin.drive import drive, foretell  # noqa: PLC0415
    from fleet.rotation.admin.ground import Ground  # noqa: PLC0415
    from fleet.rotation.decide import Goal  # noqa: PLC0415
    from fleet.rotation.lease import lease  # noqa: PLC0415

    goal = Goal.BACK if asked.abort else Goal.FORWARD
    ground = Ground(installed.info.issuer, installed.info.ca, asked.file, asked.token_id)
    if asked.dry_run:
        return {"name": ADMIN_TOKEN, "id": ground.token_id(), "outcome": foretell(ground.look(), goal)}
    with lease(kube, installed.install.settings.namespace, ADMIN_TOKEN) as held:
        acted = drive(ground, goal, timeout=timeout, progress=progress, check=held.check)
    return {"name": ADMIN_TOKEN, "id": ground.ended_with, "outcome": _outcome(ground.ended_with, acted, asked)}


def _outcome(token_id: str, acted: bool, asked: AdminTokenAsked) -> str:
    if not acted:
        return "nothing to do"
    return f"back at {token_id}" if asked.abort else f"rotated, now {token_id}: {_COPIES}"
