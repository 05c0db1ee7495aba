"""`fleet deployment apply|delete`; the other commands have modules of their own."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fleet.cli import container_options as more
from fleet.cli.context import (
    DryRunOption,
    NameArgument,
    NamespaceOption,
    as_json,
    cluster,
    installed,
    patience,
    read,
    seconds,
)
from fleet.cli.cordon import pause, resume
from fleet.cli.deployment_views import list_deployments, show
from fleet.cli.events import deployment_events
from fleet.cli.output import Output, OutputOption, answer
from fleet.cli.revisions import history, restart, rollback
from fleet.cli.standing import counts
from fleet.cli.waiting import outcome
from fleet.contract.config import DEFAULT_NAMESPACE
from fleet.contract.errors import InvalidInput
from fleet.contract.names import DeploymentName
from fleet.contract.objects import FleetDeployment
from fleet.contract.wire import Restart, from_builtins
from fleet.contract.written import MAX_FILE

if TYPE_CHECKING:
    from fleet.cli.compose import ComposeSource
    from fleet.cli.deployment_source import FileSource, Options

app = typer.Typer(help="Roll out, inspect and delete workloads.", no_args_is_help=True, rich_markup_mode=None)

app.command("list")(list_deployments)
app.command()(show)
app.command()(pause)
app.command()(resume)
app.command("events")(deployment_events)
app.command()(history)
app.command()(rollback)
app.command()(restart)


@app.command()
def apply(
    name: Annotated[str, typer.Option(metavar="NAME", help="an RFC 1123 label")] = "",
    image: Annotated[str | None, typer.Option(metavar="IMAGE", help="what to run")] = None,
    command: Annotated[
        str | None, typer.Option(metavar="WORDS", help="instead of the image's entry point, quoted as for a shell")
    ] = None,
    selector: Annotated[list[str], typer.Option(metavar="KEY=VALUE", help="devices with these labels")] = [],  # noqa: B006
    every_device: Annotated[bool, typer.Option("--all", help="every device, instead of a selector")] = False,
    env: Annotated[
        list[str],
        typer.Option(metavar="KEY=VALUE", help="an environment variable, KEY- takes it away; repeatable"),
    ] = [],  # noqa: B006
    port: Annotated[list[str], typer.Option(metavar="HOST:CONTAINER[/udp]", help="a published port")] = [],  # noqa: B006
    restart: Annotated[
        Restart | None, typer.Option(help="when the engine starts it again; unless-stopped if never given")
    ] = None,
    health_command: Annotated[
        str | None, typer.Option(metavar="WORDS", help="exit code 0 inside the container is healthy")
    ] = None,
    health_interval: Annotated[float | None, seconds("between health checks; 10 if never given")] = None,
    volume: more.VolumeOption = [],  # noqa: B006
    tmpfs: more.TmpfsOption = [],  # noqa: B006
    config_file: more.ConfigFileOption = [],  # noqa: B006
    secret_env: more.SecretEnvOption = [],  # noqa: B006
    secret_file: more.SecretFileOption = [],  # noqa: B006
    image_pull_secret: more.PullSecretOption = None,
    memory: more.MemoryOption = None,
    cpus: more.CpusOption = None,
    pids: more.PidsOption = None,
    ulimit: more.UlimitOption = [],  # noqa: B006
    shm_size: more.ShmOption = None,
    user: more.UserOption = None,
    workdir: more.FolderOption = None,
    hostname: more.HostnameOption = None,
    container_label: more.LabelOption = [],  # noqa: B006
    network: more.NetworkOption = None,
    add_host: more.HostOption = [],  # noqa: B006
    dns: more.DnsOption = [],  # noqa: B006
    device: more.DeviceOption = [],  # noqa: B006
    read_only: more.ReadOnlyOption = None,
    privileged: more.PrivilegedOption = None,
    cap_add: more.CapAddOption = [],  # noqa: B006
    cap_drop: more.CapDropOption = [],  # noqa: B006
    security_opt: more.SecurityOption = [],  # noqa: B006
    stop_signal: more.SignalOption = None,
    stop_grace: more.GraceOption = None,
    log: more.LogOption = None,
    pull: more.PullOption = None,
    platform: more.PlatformOption = None,
    update_order: more.OrderOption = None,
    update_deadline: more.DeadlineOption = None,
    rolling: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="change at most N devices at a time; 0: all at once")
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="a FleetDeployment, YAML or JSON, instead of options; -: standard input"),
    ] = None,
    compose: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="a Compose file, for the workload instead of options; several services are one pod"
        ),
    ] = None,
    service: Annotated[str, typer.Option(metavar="NAME", help="one of its services alone, where it has several")] = "",
    dry_run: DryRunOption = False,
    wait: Annotated[bool, typer.Option(help="until every selected device runs it")] = False,
    timeout: Annotated[float | None, seconds("to wait; as long as the strategy needs if not given")] = None,
    namespace: NamespaceOption = DEFAULT_NAMESPACE,
    output: OutputOption = Output.TABLE,
) -> None:
    """Create a deployment, or change one. A repeat without a change changes nothing.

    Options change what they name, and leave the rest as it is. --env names single variables; --selector,
    --port and the other repeatable ones name all of theirs, --volume and --tmpfs together, --config-file and
    --secret-file too. An empty text takes away: --command '', --port ''. A file is the whole of a deployment.

    \b
    Examples:
      fleet deployment apply --name web --image nginx:1.27 --selector site=lab --port 8080:80 --wait
      fleet deployment apply --name web --image nginx:1.28 --dry-run
      fleet deployment apply --name web --memory 256M --volume data:/data --volume /srv/media:/media:ro
      fleet deployment apply --name web --secret-env PASSWORD=db/password --image-pull-secret registry
      fleet deployment apply --file web.yaml
      fleet deployment apply --compose compose.yaml --selector site=lab --wait
    """  # noqa: D301
    from fleet.cli.applying import carry_out, would  # noqa: PLC0415
    from fleet.cli.deployment_source import Options, OptionSource  # noqa: PLC0415

    within = patience(timeout, wait=wait)
    if wait and dry_run:
        raise InvalidInput("--wait has nothing to wait for with --dry-run", next_step="leave one of them out")
    options = Options(
        name,
        image,
        command,
        tuple(selector),
        tuple(env),
        tuple(port),
        restart,
        health_command,
        health_interval,
        rolling,
        more.ContainerOptions(
            tuple(volume),
            tuple(tmpfs),
            tuple(config_file),
            tuple(ulimit),
            tuple(device),
            tuple(cap_add),
            tuple(cap_drop),
            tuple(security_opt),
            tuple(container_label),
            tuple(add_host),
            tuple(dns),
            memory,
            shm_size,
            user,
            workdir,
            hostname,
            stop_signal,
            log,
            platform,
            cpus,
            pids,
            stop_grace,
            read_only,
            privileged,
            network,
            pull,
            update_order,
            update_deadline,
            tuple(secret_env),
            tuple(secret_file),
            image_pull_secret,
        ),
    )
    if compose is not None:
        source = _from_compose(compose, service, options, file, every_device=every_device)
    elif file is not None:
        source = _from_file(file, options, namespace, every_device=every_device)
    else:
        source = OptionSource(options, every_device=every_device)
    kube = cluster()
    installed(kube, namespace)
    done = carry_out(kube, source, namespace, "fleet deployment apply", dry_run=dry_run)
    value: dict[str, object] = {
        "changed": done.created or bool(done.changes),
        "created": done.created,
        "changes": done.changes,
        "change": done.change.id if done.change else "",
    }
    if dry_run:
        stands = from_builtins(done.item, FleetDeployment)
        answer(output, as_json(stands) | value | {"dryRun": True}, would(source.name, done))
        return
    stands = outcome(kube, source.name, namespace, within, wait=wait)
    what = "changed" if value["changed"] else "nothing changed"
    by = f"; change {done.change.id}" if done.change else ""
    changes = [] if done.created else [f"  {line}" for line in done.changes]
    answer(output, as_json(stands) | value, [f"{source.name}: {what}; {counts(stands)}{by}", *changes])


def _from_file(path: Path, options: Options, namespace: str, *, every_device: bool) -> FileSource:
    from fleet.cli.deployment_source import FileSource  # noqa: PLC0415

    if given := options.given():
        raise InvalidInput(
            f"--file holds all of a deployment, so {', '.join(given)} would be ignored",
            next_step="give one or the other",
        )
    data, name = _read(path)
    return FileSource(data, name, namespace=namespace, every_device=every_device)


def _from_compose(
    path: Path, service: str, options: Options, file: Path | None, *, every_device: bool
) -> ComposeSource:
    from fleet.cli.compose import ComposeSource  # noqa: PLC0415

    given = [option for option in options.given() if option not in {"--name", "--selector", "--rolling"}]
    if file is not None:
        given.append("--file")
    if given:
        raise InvalidInput(
            f"--compose holds all of a workload, so {', '.join(given)} would be ignored",
            next_step="give one or the other; --name, --selector, --all and --rolling go with it",
        )
    data, name = _read(path)
    return ComposeSource(data, name, service, options, every_device=every_device)


def _read(path: Path) -> tuple[bytes, str]:
    """What is in a file, and how messages call it; `-` is standard input, as `kubectl apply --filename -` has it."""
    if path == Path("-"):
        return sys.stdin.buffer.read(MAX_FILE + 1), "standard input"
    try:
        with path.open("rb") as file:
            return file.read(MAX_FILE + 1), str(path)  # what is larger is refused, and a device file has no end
    except OSError as error:
        raise InvalidInput(f"cannot read {path}: {error.strerror}", next_step="give a file that exists") from error


@app.command()
def delete(
    name: NameArgument,
    timeout: Annotated[float, seconds("to wait for the operator")] = 30,
    namespace: NamespaceOption = DEFAULT_NAMESPACE,
    output: OutputOption = Output.TABLE,
) -> None:
    """Delete a deployment; its containers go from every device that can be reached, now or when it returns.

    \b
    Example:
      fleet deployment delete web
    """  # noqa: D301
    from fleet.kube.client import wait_for  # noqa: PLC0415

    deployment = DeploymentName(name)
    kube = cluster()
    if kube.find("FleetDeployment", deployment, namespace) is None:
        read(kube, FleetDeployment, deployment, namespace)  # says what is missing; one that does not parse goes, too
    kube.delete([{"kind": "FleetDeployment", "metadata": {"name": str(deployment), "namespace": namespace}}])
    gone = f"{deployment} to be cleaned up by the operator"
    wait_for(lambda: None if kube.find("FleetDeployment", deployment, namespace) else True, gone, timeout)
    answer(output, {"deployment": str(deployment), "deleted": True}, f"{deployment} is deleted")
