"""`fleet device enroll|list|show|delete`; the other commands have modules of their own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from fleet.cli import cordon, device_doctor, device_logs, release, revoke, setup, upgrade
from fleet.cli.configuration import check_out, saved
from fleet.cli.context import (
    ClientIdOption,
    DeviceArgument,
    NamespaceOption,
    TokenFileOption,
    admin_auth,
    as_json,
    cluster,
    installed,
    read,
    seconds,
    tell,
    trusted,
)
from fleet.cli.events import device_events
from fleet.cli.label import SelectorOption, listed, parse_filter, parse_labels
from fleet.cli.label import label as label_device
from fleet.cli.output import Output, OutputOption, answer, details
from fleet.cli.provider import Login, at_provider
from fleet.cli.standing import conditions, status_of
from fleet.cli.standing import revoked as shut_out
from fleet.cli.suggestions import for_device
from fleet.cli.trouble import device_troubles, helpful_commands, last_heard, workloads_age
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
from fleet.cli.volumes import remove_volume, volume_lines
from fleet.cli.workloads import workload_lines
from fleet.contract.config import DEFAULT_NAMESPACE, ENGINE_SOCKET, SocketPath
from fleet.contract.errors import InvalidInput, TimedOut
from fleet.contract.labels import labels_of
from fleet.contract.names import DeviceId
from fleet.contract.objects import Device
from fleet.contract.wire import DeviceInfo

if TYPE_CHECKING:
    from fleet.identity.zitadel import Zitadel

    Act = Callable[[Zitadel, str], None]

app = typer.Typer(
    help="Enroll, set up, inspect, upgrade, release, revoke and delete devices.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

app.command("label")(label_device)
app.command()(device_logs.logs)
app.command("events")(device_events)
app.command()(device_doctor.doctor)
app.command()(cordon.cordon)
app.command()(cordon.uncordon)
app.command()(setup.setup)
app.command()(setup.uninstall)
app.command()(upgrade.upgrade)
app.command()(upgrade.rollback)
app.command()(release.release)
app.command()(revoke.revoke)
app.command("remove-volume")(remove_volume)

TimeoutOption = Annotated[float, seconds("to wait for the operator")]


@app.command()
def enroll(
    device_id: Annotated[str, typer.Option(metavar="ID", help="an RFC 1123 label, such as pi-1")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="where the agent's configuration goes; it holds a secret")],
    label: Annotated[list[str], typer.Option(metavar="KEY=VALUE", help="for selectors; may be repeated")] = [],  # noqa: B006
    heartbeat_interval: Annotated[float, seconds("between heartbeats", most=3600)] = 10,
    engine_socket: Annotated[
        str, typer.Option(metavar="PATH", help="where docker or podman listens on the device")
    ] = ENGINE_SOCKET,
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
      fleet device enroll --device-id pi-1 --out pi-1.json --engine-socket /run/podman/podman.sock
      fleet device enroll --device-id pi-1 --out pi-1.json --replace
    """  # noqa: D301
    device, labels = DeviceId(device_id), parse_labels("--label", label)
    socket = _socket(engine_socket)
    check_out(out, device)
    from fleet.install.enroll import FleetDeviceEnrollScore  # noqa: PLC0415

    kube = cluster()
    server = installed(kube, namespace)
    trusted(kube, namespace, server, admin_token_file)
    auth = admin_auth(server, admin_oidc_client_id, admin_token_file)
    score = FleetDeviceEnrollScore(device, server, auth, namespace, labels, heartbeat_interval, replace, socket)
    config = score.interpret(kube, tell=tell, save=lambda config: saved(out, config))
    value = {"device": str(device), "subject": config.auth.machine_key.user_id, "config": str(out)}
    answer(
        output,
        value,
        (f"{device} is enrolled; its agent's configuration is {out}", f"next: fleet device setup --config {out}"),
    )


@app.command("list")
def list_devices(
    selector: SelectorOption = None,
    watch: WatchOption = False,
    namespace: NamespaceOption = DEFAULT_NAMESPACE,
    output: ViewOption = View.TABLE,
) -> None:
    """List the devices. --watch prints a row again when it changes, and JSON as one object a line.

    \b
    Examples:
      fleet device list
      fleet device list --selector 'site=lab,ring in (early,late)' --output wide
      fleet device list --watch
    """  # noqa: D301
    wanted, kube = parse_filter(selector), cluster()
    columns = Columns(
        ["ID", "ONLINE", "REASON", "REVOKED", "AGENT", "LABELS"],
        lambda item: [
            item.metadata.name,
            *status_of(item, "Online"),
            shut_out(item),
            _version(item),
            listed(labels_of(item)),
        ],
        ["SYSTEM", "ENGINE", "HEARD", "WORKLOADS", "FREE"],
        _more_cells,
        "no devices" + (" with such labels" if selector else ""),
    )
    print_list(output, kube, namespace, Device, columns, lambda item: wanted.selects(labels_of(item)), watch=watch)


def _more_cells(item: Device) -> list[object]:
    info, status = item.status.info, item.status
    system = f"{info.os} {info.arch}" if info else "-"
    free = f"{info.disk_usage.free / 2**20:.0f} MiB" if info and info.disk_usage else "-"
    return [system, (info.engine if info else "") or "-", last_heard(item), status.deployments, free]


def _disk(info: DeviceInfo) -> str:
    size, used = f"{info.disk / 2**30:.0f} GiB", info.disk_usage
    if used is None:
        return size
    parts = (("images", used.images), ("containers", used.containers), ("volumes", used.volumes))
    full = ", too little for another image" if used.free < used.floor else ""
    shares = ", ".join(f"{name} {count / 2**20:.0f} MiB" for name, count in parts)
    return f"{size}; {used.free / 2**20:.0f} MiB free for the engine{full}; about {shares}"


@app.command()
def show(
    device: DeviceArgument, namespace: NamespaceOption = DEFAULT_NAMESPACE, output: ViewOption = View.TABLE
) -> None:
    """Show one device.

    \b
    Examples:
      fleet device show pi-1
      fleet device show pi-1 --output wide
    """  # noqa: D301
    name = DeviceId(device)
    item = read(cluster(), Device, name, namespace)
    info, age = item.status.info, workloads_age(item)
    shown: list[tuple[str, object]] = [
        ("device", item.metadata.name),
        *_wrong(item, namespace),
        ("heard", last_heard(item)),
        ("labels", listed(labels_of(item))),
        ("agent", _version(item)),
        ("upgrade", upgrade.shown(item)),
    ]
    if info is not None:
        shown += [
            ("system", f"{info.os}, kernel {info.kernel}, {info.arch}"),
            ("memory", f"{info.memory / 2**20:.0f} MiB"),
        ]
        shown += [("disk", _disk(info)), ("engine", info.engine or "none"), ("boot", info.boot_id)]
    if output is View.WIDE:
        shown += [*object_details(item), *_identity(item)]
    workloads = workload_lines(item)
    if age and workloads:
        workloads = [f"workloads, {age}:", *workloads]
    lines = [*details([*shown, *conditions(item)]), *workloads, *volume_lines(info)]
    print_one(output, as_json(item), name_of(item), lines)


def _wrong(item: Device, namespace: str) -> list[tuple[str, object]]:
    """What is wrong with a device, what to do, and the commands that help more than this one."""
    troubles = device_troubles(item, item.status.workloads)
    lines: list[tuple[str, object]] = []
    for one in troubles:
        lines += [("wrong", f"{one.reason} ({one.about}) since {one.since}: {one.means}"), ("next", one.next_step)]
    commands = helpful_commands(item, troubles, item.status.workloads, namespace)
    plain = for_device(item.metadata.name, (), namespace)
    return lines + [("command", one) for one in commands if one not in plain]


def _identity(item: Device) -> list[tuple[str, object]]:
    info = item.status.info
    known: list[tuple[str, object]] = [("subject", item.spec.subject or "-")]
    if info is not None:
        known += [("instance", info.instance_id or "-"), ("machine key", info.key_id or "-")]
        known += [("trusts", ", ".join(info.trusts) or "-")]
    return known


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
    from fleet.kube.client import wait_for  # noqa: PLC0415

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
    login = Login(kube, namespace, server, admin_oidc_client_id, admin_token_file)
    identity = at_provider(lambda zitadel, user: zitadel.delete_user(user), item, login)
    value = {"device": str(name), "deleted": True, "identity": identity or "deleted"}
    answer(output, value, f"{name} is deleted; its identity: {value['identity']}")


def _socket(path: str) -> str:
    try:
        return msgspec.convert(path, SocketPath)
    except msgspec.ValidationError as error:
        raise InvalidInput(
            f"--engine-socket {path!r} is no absolute path of at most 107 bytes",
            next_step="give the path on the device, such as /run/podman/podman.sock",
        ) from error


def _version(item: Device) -> str:
    return str(item.status.info.agent_version) if item.status.info else "-"
