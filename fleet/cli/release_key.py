"""`fleet secrets rotate release_key`: the key that signs agents is followed by another one on every device."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fleet.cli.device_keys import NOT_AT_ITS_END
from fleet.cli.output import progress
from fleet.contract.errors import InvalidInput, TimedOut
from fleet.contract.release_keys import RELEASE_KEY

_HOW_ON = "repeat the command once they are there, or on without a device with --leave-behind DEVICE"
_NEXT = "sign agents with it, and destroy the old one"

if TYPE_CHECKING:
    from fleet.kube.client import KubeClient
    from fleet.rotation.ground import Installed


class ReleaseKeyAsked:
    """The files of a rotation of the release key, and its direction."""

    def __init__(
        self,
        key: Path | None,
        out: Path | None,
        trusted_keys: Path | None,
        *,
        abort: bool,
        dry_run: bool,
        wait: bool,
    ) -> None:
        """Check what can be checked here.

        Raises:
            InvalidInput: a file is not named.
        """
        if key is None or out is None or trusted_keys is None:
            raise InvalidInput(
                f"{RELEASE_KEY} is on no server: its owner has it",
                next_step="give --key (the one of now), --out (the one that follows), and --trusted-keys (the list)",
            )
        self.key, self.out, self.trusted_keys = key, out, trusted_keys
        self.abort, self.dry_run, self.wait = abort, dry_run, wait

    def rotate(self, kube: KubeClient, installed: Installed, *, timeout: float) -> dict[str, str]:
        """Do it, and return the outcome; see `rotate_release_key` for what it raises."""
        return rotate_release_key(kube, installed, self, timeout=timeout)


def rotate_release_key(
    kube: KubeClient, installed: Installed, asked: ReleaseKeyAsked, *, timeout: float
) -> dict[str, str]:
    """Have the new key follow the old one, and return the outcome.

    Raises:
        TimedOut: some devices have not taken a list, and were to be waited for; names them.
        FleetError: any of its kinds; repeat the command to go on.
    """
    from fleet.rotation.decide import Goal  # noqa: PLC0415
    from fleet.rotation.drive import PATIENCE  # noqa: PLC0415
    from fleet.rotation.lease import lease  # noqa: PLC0415
    from fleet.rotation.release.drive import drive, foretell  # noqa: PLC0415
    from fleet.rotation.release.ground import Ground, KeyFiles  # noqa: PLC0415

    installed.require_valid_authority(RELEASE_KEY)
    goal = Goal.BACK if asked.abort else Goal.FORWARD
    files = KeyFiles(asked.key, asked.out, asked.trusted_keys)
    ground = Ground(installed, files, writes=not asked.dry_run)
    if asked.dry_run:
        return {"name": RELEASE_KEY, "id": ground.old, "outcome": foretell(ground, goal)}
    with lease(kube, installed.install.settings.namespace, RELEASE_KEY) as held:
        within = timeout if asked.wait else min(timeout, PATIENCE)
        driven = drive(ground, goal, timeout=within, progress=progress, check=held.check)
    if driven.left and asked.wait:
        raise TimedOut(
            "not every device has the list of release keys yet",
            next_step="mend it, then repeat the command: it goes on from here; or go on without a device by "
            "--leave-behind DEVICE, or go back with --abort",
            more=driven.left.split("; "),
        )
    key = ground.old if asked.abort else ground.new
    if driven.left:
        return {"name": RELEASE_KEY, "id": key, "outcome": f"{NOT_AT_ITS_END}: {driven.left}; {_HOW_ON}"}
    if not driven.acted:
        return {"name": RELEASE_KEY, "id": key, "outcome": f"nothing to do, still {key}"}
    outcome = f"back at {key}; {asked.out} signs nothing any more" if asked.abort else f"rotated, now {key}: {_NEXT}"
    return {"name": RELEASE_KEY, "id": key, "outcome": outcome}
