"""`fleet secrets list|rotate`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from fleet.cli import timer
from fleet.cli.admin_token import AdminTokenAsked
from fleet.cli.context import (
    ClientIdOption,
    NamespaceOption,
    TokenFileOption,
    cluster,
    installed,
    seconds,
    trusted,
)
from fleet.cli.device_keys import NOT_AT_ITS_END, Asked, due_now, rotate_device_keys
from fleet.cli.found import installed_in
from fleet.cli.label import SelectorOption
from fleet.cli.output import Output, OutputOption, answer, progress, table
from fleet.cli.release_key import ReleaseKeyAsked
from fleet.contract.config import DEFAULT_NAMESPACE
from fleet.contract.errors import FleetError, InvalidInput, NotPermitted
from fleet.contract.machine_keys import DEVICE_KEY
from fleet.contract.release_keys import RELEASE_KEY
from fleet.rotation.admin import ADMIN_TOKEN

if TYPE_CHECKING:
    from fleet.kube.client import KubeClient
    from fleet.rotation.catalogue import Secret
    from fleet.rotation.ground import Installed
    from fleet.rotation.listing import Listed

app = typer.Typer(
    help="List the secrets of a server, and renew them while it works.", no_args_is_help=True, rich_markup_mode=None
)
app.command()(timer.timer)


@app.command("list")
def list_all(namespace: NamespaceOption = DEFAULT_NAMESPACE, output: OutputOption = Output.TABLE) -> None:
    """List every secret that the server keeps: what it is, its age, who uses it and which version. No value is shown.

    \b
    Example:
      fleet secrets list --output json
    """  # noqa: D301
    found = _listed(_reached(cluster(), namespace, 30))
    rows = [
        (one.name, one.what, one.id, _made(one), _day(one.due), _day(one.expires), one.used_by, one.state)
        for one in found
    ]
    text = table(("NAME", "WHAT", "ID", "MADE", "DUE", "EXPIRES", "USED BY", "STATE"), rows)
    answer(output, [msgspec.to_builtins(one) for one in found], text)


@app.command()
def rotate(
    name: Annotated[str, typer.Argument(help="of the secret, as `fleet secrets list` shows it")] = "",
    devices: Annotated[
        list[str] | None, typer.Argument(metavar="DEVICE...", help="with device_key: whose machine keys")
    ] = None,
    selector: SelectorOption = None,
    due: Annotated[
        bool, typer.Option("--due", help="rotate every secret that is due, and go on with what was broken off")
    ] = False,
    abort: Annotated[bool, typer.Option("--abort", help="go back to the old version, while it is still kept")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="say what would be done, and change nothing")] = False,
    wait: Annotated[
        bool, typer.Option("--wait", help="for devices that are away, too; --timeout says how long")
    ] = False,
    leave_behind: Annotated[
        list[str] | None,
        typer.Option(metavar="DEVICE", help="go on without this device, which may be unable to come back by itself"),
    ] = None,
    key: Annotated[
        Path | None, typer.Option(metavar="FILE", help="with release_key: the private key that signs agents now")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="with release_key: the one that follows; made if it is not there"),
    ] = None,
    trusted_keys: Annotated[
        Path | None, typer.Option(metavar="FILE", help="with release_key: the list for devices; it is kept up to date")
    ] = None,
    token_id: Annotated[
        str, typer.Option(metavar="ID", help="with admin_token: its id at the provider, if its user has several")
    ] = "",
    timeout: Annotated[float, seconds("until the parts have taken up a step", least=1)] = 300,
    admin_oidc_client_id: ClientIdOption = "",
    admin_token_file: TokenFileOption = "",
    namespace: NamespaceOption = DEFAULT_NAMESPACE,
    output: OutputOption = Output.TABLE,
) -> None:
    """Renew a secret while the fleet works. What was broken off goes on where it stopped: repeat the command.

    The new version is honoured everywhere before anybody uses it, and used everywhere before the old one is taken away.
    With device_key, each device makes a new machine key; the old one goes once the device has come in by the new one.
    Devices that are away are named, and waited for with --wait only. With release_key, every device gets the order to
    trust the key that follows, by a list that the present one signs; once all have it, the present one is retired. With
    admin_token, the personal access token in the file of --admin-token-file is followed by another one; the old one
    goes once the new one has worked.

    \b
    Examples:
      fleet secrets rotate nats_issuer_seed
      fleet secrets rotate nats_issuer_seed --abort
      fleet secrets rotate ca_key --leave-behind pi-7 --leave-behind pi-9
      fleet secrets rotate device_key pi-7 pi-9
      fleet secrets rotate device_key --selector site=lab
      fleet secrets rotate release_key --key release.key --out release-2.key --trusted-keys trusted-keys.json
      fleet secrets rotate admin_token --admin-token-file admin.pat
      fleet secrets rotate --due
    """  # noqa: D301
    from fleet.install.authority import AUTHORITY_KEY  # noqa: PLC0415
    from fleet.rotation.catalogue import find  # noqa: PLC0415

    if wait and dry_run:
        raise InvalidInput("--wait has nothing to wait for with --dry-run", next_step="leave one of them out")
    asked = _devices(name, devices, selector, abort=abort, dry_run=dry_run, wait=wait)
    owned = _release_key(name, (key, out, trusted_keys), abort=abort, dry_run=dry_run, wait=wait) or _admin_token(
        name, admin_token_file, token_id, abort=abort, dry_run=dry_run, wait=wait
    )
    if asked and (due or leave_behind):
        raise InvalidInput(f"--due and --leave-behind are not for {name}", next_step="leave them away")
    if bool(name) == due:
        raise InvalidInput("name one secret, or give --due", next_step="see `fleet secrets list`")
    if due and abort:
        raise InvalidInput("--abort is for one secret", next_step="name it, and leave --due away")
    if leave_behind and name not in {AUTHORITY_KEY, RELEASE_KEY}:
        raise InvalidInput(
            f"--leave-behind is for {AUTHORITY_KEY} and {RELEASE_KEY}: devices have no other secret of a server",
            next_step="leave it out, or name that secret",
        )
    wanted = [find(name)] if name and not asked and not owned else []
    for secret in wanted:
        if secret.rotation is None:
            raise NotPermitted(f"{name}: {secret.why_not}", next_step="see docs/operations.md, After a leak")
    kube = cluster()
    kube.require_same_clock()
    found = _reached(kube, namespace, timeout)
    found.require_as_announced()
    if asked:
        found.require_valid_authority(DEVICE_KEY)
        login = {"client_id": admin_oidc_client_id, "token_file": admin_token_file}
        outcomes = rotate_device_keys(kube, found, asked, **login, timeout=timeout)
        answer(output, outcomes, [f"{one['device']}: {one['outcome']}" for one in outcomes])
        return
    found.left_behind = frozenset(leave_behind or ())
    if owned:
        one = owned.rotate(kube, found, timeout=timeout)
        answer(output, [one], f"{name}: {one['outcome']}")
        return
    wanted = wanted or [find(one) for one in due_now(_listed(found), datetime.now(UTC))]
    how = {"abort": abort, "dry_run": dry_run, "wait": wait}
    _each(wanted, lambda secret: _one(kube, found, secret, **how, timeout=timeout), output)


@app.command()
def bundle(namespace: NamespaceOption = DEFAULT_NAMESPACE, output: OutputOption = Output.TABLE) -> None:
    """Print the certificates that devices are to trust (PEM), for one that cannot be reached: no secret.

    \b
    Example:
      fleet secrets bundle > bundle.pem
    """  # noqa: D301
    kube = cluster()
    server = installed(kube, namespace)
    trusted(kube, namespace, server)
    answer(output, {"certificates": server.ca}, server.ca.splitlines())


def _devices(
    name: str, devices: Sequence[str] | None, selector: str | None, *, abort: bool, dry_run: bool, wait: bool
) -> Asked | None:
    if name == DEVICE_KEY:
        return Asked(devices or (), selector, abort=abort, dry_run=dry_run, wait=wait)
    if devices or selector is not None:
        raise InvalidInput(f"devices are chosen for {DEVICE_KEY} only", next_step="leave them away")
    return None


def _release_key(
    name: str, files: tuple[Path | None, Path | None, Path | None], *, abort: bool, dry_run: bool, wait: bool
) -> ReleaseKeyAsked | None:
    if name == RELEASE_KEY:
        return ReleaseKeyAsked(*files, abort=abort, dry_run=dry_run, wait=wait)
    if any(files):
        raise InvalidInput(f"--key, --out and --trusted-keys are for {RELEASE_KEY} only", next_step="leave them out")
    return None


def _admin_token(
    name: str, file: str, token_id: str, *, abort: bool, dry_run: bool, wait: bool
) -> AdminTokenAsked | None:
    if name == ADMIN_TOKEN:
        if wait:
            raise InvalidInput(f"--wait is for devices, and none has the {ADMIN_TOKEN}", next_step="leave it out")
        return AdminTokenAsked(file, token_id, abort=abort, dry_run=dry_run)
    if token_id:
        raise InvalidInput(f"--token-id is for {ADMIN_TOKEN} only", next_step="leave it out")
    return None


def _one(
    kube: KubeClient, installed: Installed, secret: Secret, *, abort: bool, dry_run: bool, wait: bool, timeout: float
) -> dict[str, str]:
    from fleet.rotation.decide import Goal  # noqa: PLC0415
    from fleet.rotation.drive import drive, foretell  # noqa: PLC0415
    from fleet.rotation.ground import Ground  # noqa: PLC0415
    from fleet.rotation.lease import lease  # noqa: PLC0415

    installed.require_rotatable(secret.name, back=abort)
    goal = Goal.BACK if abort else Goal.FORWARD
    before = secret.versions(installed.kept(secret.name)).current
    visit = _to_visit(installed, secret)
    if dry_run:
        return {"name": secret.name, "id": before, "outcome": foretell(Ground(installed, secret).look(), goal) + visit}
    if visit:
        progress(visit.removeprefix("; "))
    with lease(kube, installed.install.settings.namespace, secret.name) as held:
        driven = drive(Ground(installed, secret, held), goal, timeout=timeout, wait=wait, progress=progress)
    after = secret.versions(installed.kept(secret.name)).current
    if driven.left:
        return {"name": secret.name, "id": after, "outcome": f"{NOT_AT_ITS_END}: {driven.left}{visit}"}
    outcome = f"{_outcome(driven.acted, abort, before != after)} {after}{visit}"
    return {"name": secret.name, "id": after, "outcome": outcome}


def _each(wanted: Sequence[Secret], rotate_one: Callable[[Secret], dict[str, str]], output: Output) -> None:
    """Rotate each of them, also if another one cannot be."""
    done, failed = list[dict[str, str]](), list[tuple[str, FleetError]]()
    for secret in wanted:
        try:
            done.append(rotate_one(secret))
        except FleetError as error:
            if len(wanted) == 1:
                raise
            progress(f"{secret.name}: {error.what}")
            failed.append((secret.name, error))
    nothing = [] if failed else ["no secret is due"]
    answer(output, list(done), [f"{one['name']}: {one['outcome']}" for one in done] or nothing)
    if failed:
        first = failed[0][1]
        raise type(first)(
            f"{len(failed)} of {len(wanted)} secrets that are due are not rotated",
            next_step=first.next_step,
            more=[f"{name}: {error.what}" for name, error in failed],
        )


def _to_visit(installed: Installed, secret: Secret) -> str:
    """Which devices have to be visited because the authority has ended before it was rotated."""
    from fleet.install.authority import AUTHORITY_KEY  # noqa: PLC0415

    if secret.name != AUTHORITY_KEY or not (ended := installed.authority_ended()):
        return ""
    names = ", ".join(installed.to_visit()) or "none"
    return (
        f"; the authority ended on {ended:%Y-%m-%d}, so no device can be told of another one. These must be visited "
        f"(`fleet secrets bundle > FILE`, then `fleet device setup --trust FILE`): {names}"
    )


def _outcome(acted: bool, abort: bool, changed: bool) -> str:
    if not acted:
        return "nothing to do, still"
    if abort:
        return "back at"
    return "rotated, now" if changed else "finished what was broken off, now"


def _listed(installed: Installed) -> list[Listed]:
    from fleet.rotation.catalogue import SECRETS  # noqa: PLC0415
    from fleet.rotation.listing import admin_token, device_keys, key_since, listed, release_key  # noqa: PLC0415
    from fleet.rotation.soon import expiries  # noqa: PLC0415

    in_use, now, ending = installed.in_use(devices=True), datetime.now(UTC), expiries(installed)
    kept = ((secret, installed.place.secrets.versions(secret.name)) for secret in SECRETS)
    return [
        *(
            listed(secret, found, in_use, now, ending.get(secret.name), installed.provider.why_not(secret.name))
            for secret, found in kept
            if found is not None
        ),
        device_keys(in_use, {one["metadata"]["name"]: key_since(one) for one in installed.devices()}, now),
        release_key(in_use),
        admin_token(),
    ]


def _reached(kube: KubeClient, namespace: str, timeout: float) -> Installed:
    """The same server, once the admin has confirmed it: our passwords may be sent to it."""
    from fleet.cli.trust import confirm, explained, server_key  # noqa: PLC0415

    found = installed_in(kube, namespace, timeout)
    key = server_key(kube.host, namespace)
    # Whoever reads the server's secrets knows its authorities, also those of a rotation that was broken off.
    if explained(key, found.info, found.announced()):
        confirm(key, found.info)
    trusted(kube, namespace, found.info)
    found.announcing = lambda info: confirm(key, info)
    return found


def _made(one: Listed) -> str:
    """Of several, the oldest and the youngest."""
    youngest = max((since for since in one.devices.values() if since), default=one.made)
    return _day(one.made) if youngest == one.made else f"{_day(one.made)} to {_day(youngest)}"


def _day(when: datetime | None) -> str:
    return f"{when:%Y-%m-%d}" if when else "-"
