"""`fleet device enroll|setup|list|show|revoke|delete`; `upgrade` and `rollback` are in `fleet.cli.upgrade`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from fleet.cli import setup, upgrade
from fleet.cli.configuration import check_out, saved
from fleet.cli.context import (
    DEFAULT_NAMESPACE,
    ClientIdOption,
    NamespaceOption,
    TokenFileOption,
    admin_auth,
    as_json,
    cluster,
    installed,
    pairs,
    read,
    read_all,
    seconds,
    status_of,
    tell,
    trusted,
)
from fleet.cli.output import Output, OutputOption, answer, details, progress, table
from fleet.contract.errors import FleetError, InvalidInput, TimedOut
from fleet.contract.names import DeviceId
from fleet.contract.objects import Device, DeviceSpec, ServerInfo
from fleet.contract.wire import from_builtins

if TYPE_CHECKING:
    from fleet.topology.kube import KubeClient
    from fleet.topology.zitadel import Zitadel

    Act = Callable[[Zitadel, str], None]

app = typer.Typer(
    help="Enroll, set up, inspect, upgrade, revoke and delete devices.", no_args_is_help=True, rich_markup_mode=None
)

app.command()(setup.setup)
app.command()(upgrade.upgrade)
app.command()(upgrade.rollback)

DeviceArgument = Annotated[str, typer.Argument(metavar="ID", help="the device's id")]
TimeoutOption = Annotated[float, seconds("to wait for the operator")]


@app.command()
def enroll(
    device_id: Annotated[str, typer.Option(metavar="ID", help="an RFC 1123 label, such as pi-1")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="where the agent's configuration goes; it holds a secret")],
    label: Annotated[list[str], typer.Option(metavar="KEY=VALUE", help="for selectors; may be repeated")] = [],  # noqa: B006
    heartbeat_interval: Annotated[float, seconds("between heartbeats", most=3600)] = 10,
    replace: Annotated[bool, typer.Option(help="give a known device a new identity, and lift a revocation")] = False,
    admin_oidc_client_id: ClientIdOption = "",
    admin_token_file: TokenFileOption = "",
    namespace: NamespaceOption = DEFAULT_NAMESPACE,
    output: OutputOption = Output.TABLE,
) -> None:
    """Give a device an identity, and write its agent's configuration (mode 0600).

    \b
    Examples:
      fleet device enroll --device-id pi-1 --out pi-1.json --label site=lab
      fleet device enroll --device-id pi-1 --out pi-1.json --replace
    """  # noqa: D301
    device, labels = DeviceId(device_id), _label_values(label)
    check_out(out, device)
    from fleet.scores.enroll import FleetDeviceEnrollScore  # noqa: PLC0415

    kube = cluster()
    server = installed(kube, namespace)
    trusted(kube, namespace, server, admin_token_file)
    auth = admin_auth(server, admin_oidc_client_id, admin_token_file)
    score = FleetDeviceEnrollScore(device, server, auth, namespace, labels, heartbeat_interval, replace)
    config = score.interpret(kube, tell=tell, save=lambda config: saved(out, config))
    value = {"device": str(device), "subject": config.auth.machine_key.user_id, "config": str(out)}
    answer(
        output,
        value,
        (f"{device} is enrolled; its agent's configuration is {out}", f"next: fleet device setup --config {out}"),
    )


@app.command("list")
def list_devices(namespace: NamespaceOption = DEFAULT_NAMESPACE, output: OutputOption = Output.TABLE) -> None:
    """List the devices.

    \b
    Example:
      fleet device list
    """  # noqa: D301
    devices = read_all(cluster(), Device, namespace)
    rows = [
        [
            item.metadata.name,
            *status_of(item, "Online"),
            "yes" if item.spec.revoked else "no",
            _version(item),
            _labels(item),
        ]
        for item in devices
    ]
    text = table(["ID", "ONLINE", "REASON", "REVOKED", "AGENT", "LABELS"], rows) if devices else "no devices"
    answer(output, [as_json(item) for item in devices], text)


@app.command()
def show(
    device: DeviceArgument, namespace: NamespaceOption = DEFAULT_NAMESPACE, output: OutputOption = Output.TABLE
) -> None:
    """Show one device.

    \b
    Example:
      fleet device show pi-1
    """  # noqa: D301
    name = DeviceId(device)
    item = read(cluster(), Device, name, namespace)
    info = item.status.info
    shown: list[tuple[str, object]] = [
        ("device", item.metadata.name),
        ("labels", _labels(item)),
        ("agent", _version(item)),
        ("upgrade", upgrade.shown(item)),
    ]
    if info is not None:
        shown += [
            ("system", f"{info.os}, kernel {info.kernel}, {info.arch}"),
            ("memory", f"{info.memory / 2**20:.0f} MiB"),
        ]
        shown += [("disk", f"{info.disk / 2**30:.0f} GiB"), ("engine", info.engine or "none"), ("boot", info.boot_id)]
    shown += [(known.type, f"{known.status} ({known.reason}) {known.message}") for known in item.status.conditions]
    answer(output, as_json(item), details(shown))


@app.command()
def revoke(
    device: DeviceArgument,
    timeout: TimeoutOption = 30,
    admin_oidc_client_id: ClientIdOption = "",
    admin_token_file: TokenFileOption = "",
    namespace: NamespaceOption = DEFAULT_NAMESPACE,
    output: OutputOption = Output.TABLE,
) -> None:
    """Shut a lost device out: its session is dropped when this returns, and it is never let in again.

    Its identity at the provider is deactivated as well, when you are logged in there.

    \b
    Example:
      fleet device revoke pi-1
    """  # noqa: D301
    name = DeviceId(device)
    kube = cluster()
    server = installed(kube, namespace)
    read(kube, Device, name, namespace)
    patched = from_builtins(kube.patch("Device", name, namespace, {"spec": {"revoked": True}}), Device)
    _await_revoked(kube, patched, timeout)
    login = _Login(kube, namespace, server, admin_oidc_client_id, admin_token_file)
    identity = _at_provider(lambda zitadel, user: zitadel.deactivate(user), patched, login)
    value = {"device": str(name), "revoked": True, "sessions": "dropped", "identity": identity or "deactivated"}
    answer(output, value, f"{name} is revoked, and its session dropped; its identity: {value['identity']}")


@app.command()
def delete(
    device: DeviceArgument,
    timeout: TimeoutOption = 30,
    admin_oidc_client_id: ClientIdOption = "",
    admin_token_file: TokenFileOption = "",
    namespace: NamespaceOption = DEFAULT_NAMESPACE,
    output: OutputOption = Output.TABLE,
) -> None:
    """Remove a device: its session, its keys in NATS, and its identity when you are logged in at the provider.

    \b
    Example:
      fleet device delete pi-1
    """  # noqa: D301
    from fleet.topology.kube import wait_for  # noqa: PLC0415

    name = DeviceId(device)
    kube = cluster()
    server = installed(kube, namespace)
    item = read(kube, Device, name, namespace)
    kube.delete([{"kind": "Device", "metadata": {"name": item.metadata.name, "namespace": namespace}}])
    gone = f"{name} to be cleaned up by the operator"
    try:
        wait_for(lambda: None if kube.find("Device", name, namespace) else True, gone, timeout)
    except TimedOut as error:
        raise TimedOut(
            error.what,
            next_step="the operator finishes it once it runs: see `fleet server status`, then repeat this; where there "
            "is no server any more, `fleet server uninstall --delete-data` finishes what is left",
        ) from error
    login = _Login(kube, namespace, server, admin_oidc_client_id, admin_token_file)
    identity = _at_provider(lambda zitadel, user: zitadel.delete_user(user), item, login)
    value = {"device": str(name), "deleted": True, "identity": identity or "deleted"}
    answer(output, value, f"{name} is deleted; its identity: {value['identity']}")


def _label_values(words: list[str]) -> dict[str, str]:
    labels = pairs("--label", words)
    try:
        return from_builtins({"labels": labels}, DeviceSpec).labels
    except InvalidInput as error:
        raise InvalidInput(f"--label: {error.what}", next_step="use values of at most 63 characters") from error


def _await_revoked(kube: KubeClient, revoked: Device, timeout: float) -> None:
    from fleet.topology.kube import wait_for  # noqa: PLC0415

    name, last = revoked.id, ["nothing yet"]

    def dropped() -> bool | None:
        device = read(kube, Device, name, revoked.metadata.namespace)
        said = next((known for known in device.status.conditions if known.type == "Revoked"), None)
        if said is None:
            return None
        last[0] = f"Revoked={said.status} ({said.reason})"
        # An older one is of the life before the last `enroll --replace`.
        return True if said.status == "True" and said.observed_generation >= revoked.metadata.generation else None

    try:
        wait_for(dropped, f"the operator to drop the sessions of {name}", timeout)
    except TimedOut as error:
        raise TimedOut(
            f"{error.what}; last seen: {last[0]}",
            next_step="the revocation is recorded, and the operator finishes it once it runs: see "
            "`fleet server status`, then repeat this, which also ends its identity at the provider",
        ) from error


class _Login(NamedTuple):
    """By which login, if any, a command may touch the provider of the server in a namespace."""

    kube: KubeClient
    namespace: str
    server: ServerInfo
    client_id: str
    token_file: str


def _at_provider(act: Act, item: Device, login: _Login) -> str:
    """Do something to the device's machine user; returns why it was left alone, or nothing."""
    from fleet.cli.store import stored_token  # noqa: PLC0415
    from fleet.scores.identities import own_users  # noqa: PLC0415
    from fleet.topology.zitadel import Zitadel  # noqa: PLC0415

    server = login.server
    if not (login.client_id or login.token_file or stored_token(server.issuer, server.ca)):
        return "left as it is, since nobody is logged in at the provider (`fleet login`)"
    try:
        trusted(login.kube, login.namespace, server, login.token_file)
        token = admin_auth(server, login.client_id, login.token_file).access_token(server.issuer, server.ca, tell)
        with Zitadel(server.issuer, server.ca, token.text) as zitadel:
            users = own_users(zitadel, server, item.id, item.spec.subject)
            for user in users:
                act(zitadel, user.id)
            if not users:
                return "was gone already"
    except FleetError as error:
        # The device is out already; what failed is the second lock, and the admin must know.
        progress(f"warning: {error.lines[0]}", *error.lines[1:])
        return f"left as it is: {error.what}"
    return ""


def _version(item: Device) -> str:
    return str(item.status.info.agent_version) if item.status.info else "-"


def _labels(item: Device) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted(item.spec.labels.items())) or "-"
