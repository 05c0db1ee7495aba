"""`fleet deployment apply|list|show|delete`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from fleet.cli.context import (
    DEFAULT_NAMESPACE,
    NamespaceOption,
    as_json,
    cluster,
    installed,
    pairs,
    read,
    read_all,
    seconds,
    status_of,
)
from fleet.cli.output import Output, OutputOption, answer, details, table
from fleet.contract.errors import FleetError, InvalidInput, TimedOut
from fleet.contract.names import DeploymentName
from fleet.contract.objects import (
    API_VERSION,
    DeploymentSpec,
    FleetDeployment,
    Metadata,
    Selector,
    Strategy,
    StrategyType,
)
from fleet.contract.wire import Container, Health, Port, Restart, from_builtins

if TYPE_CHECKING:
    from fleet.topology.kube import KubeClient

app = typer.Typer(help="Roll out, inspect and delete workloads.", no_args_is_help=True, rich_markup_mode=None)

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="the deployment's name")]
_NEXT_LOOK = 0.1


@app.command()
def apply(
    name: Annotated[str, typer.Option(metavar="NAME", help="an RFC 1123 label")] = "",
    image: Annotated[str, typer.Option(metavar="IMAGE", help="what to run")] = "",
    command: Annotated[
        str, typer.Option(metavar="WORDS", help="instead of the image's entry point, quoted as for a shell")
    ] = "",
    selector: Annotated[list[str], typer.Option(metavar="KEY=VALUE", help="devices with these labels; none: all")] = [],  # noqa: B006
    env: Annotated[list[str], typer.Option(metavar="KEY=VALUE", help="an environment variable; may be repeated")] = [],  # noqa: B006
    port: Annotated[list[str], typer.Option(metavar="HOST:CONTAINER[/udp]", help="a published port")] = [],  # noqa: B006
    restart: Annotated[Restart, typer.Option(help="when the engine starts it again")] = Restart.UNLESS_STOPPED,
    health_command: Annotated[
        str, typer.Option(metavar="WORDS", help="exit code 0 inside the container is healthy")
    ] = "",
    health_interval: Annotated[float, seconds("between health checks")] = 10,
    rolling: Annotated[
        int, typer.Option(min=0, metavar="N", help="change at most N devices at a time; 0: all at once")
    ] = 0,
    file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="a FleetDeployment as JSON, instead of options")
    ] = None,
    wait: Annotated[bool, typer.Option(help="until every selected device runs it")] = False,
    timeout: Annotated[float, seconds()] = 60,
    namespace: NamespaceOption = DEFAULT_NAMESPACE,
    output: OutputOption = Output.TABLE,
) -> None:
    """Create a deployment, or change one. A repeat without a change changes nothing.

    \b
    Examples:
      fleet deployment apply --name web --image nginx:1.27 --selector site=lab --port 8080:80 --wait
      fleet deployment apply --file web.json
    """  # noqa: D301
    options = _Options(
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
    )
    wanted = options.deployment() if file is None else _from_file(file, options)
    deployment = DeploymentName(wanted.metadata.name)
    kube = cluster()
    installed(kube, namespace)
    (done,) = kube.apply([as_json(wanted) | {"metadata": {"name": str(deployment), "namespace": namespace}}])
    stands = (
        _await_ready(kube, deployment, namespace, timeout)
        if wait
        else read(kube, FleetDeployment, deployment, namespace)
    )
    text = f"{deployment}: {'changed' if done.changed else 'nothing changed'}; {_counts(stands)}"
    answer(output, as_json(stands) | {"changed": done.changed}, text)


class _Options(msgspec.Struct, frozen=True):
    """What `apply` was told of the deployment itself, as typed."""

    name: str = ""
    image: str = ""
    command: str = ""
    selector: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    port: tuple[str, ...] = ()
    restart: Restart = Restart.UNLESS_STOPPED
    health_command: str = ""
    health_interval: float = 10
    rolling: int = 0

    def given(self) -> list[str]:
        """The options that were typed."""
        default = _Options()
        return [
            f"--{field.replace('_', '-')}"
            for field in self.__struct_fields__
            if getattr(self, field) != getattr(default, field)
        ]

    def _workload(self) -> Container:
        check = _words("--health-command", self.health_command)
        return Container(
            _required("--image", self.image),
            command=_words("--command", self.command),
            env=pairs("--env", self.env),
            ports=tuple(_port(text) for text in self.port),
            restart=self.restart,
            health=Health(check, interval=self.health_interval) if check else None,
        )

    def deployment(self) -> FleetDeployment:
        """All of it, parsed."""
        try:
            workload = self._workload()
        except InvalidInput:
            raise
        except ValueError as error:
            raise InvalidInput(str(error), next_step="correct the option, and type the command again") from error
        strategy = Strategy(StrategyType.ROLLING, self.rolling) if self.rolling else Strategy()
        spec = DeploymentSpec(workload, Selector(pairs("--selector", self.selector)), strategy)
        # Constructors take what parsing refuses, such as a value that is too long.
        return from_builtins(as_json(FleetDeployment(Metadata(_required("--name", self.name)), spec)), FleetDeployment)


@app.command("list")
def list_deployments(namespace: NamespaceOption = DEFAULT_NAMESPACE, output: OutputOption = Output.TABLE) -> None:
    """List the deployments.

    \b
    Example:
      fleet deployment list
    """  # noqa: D301
    found = read_all(cluster(), FleetDeployment, namespace)
    rows = [
        [
            item.metadata.name,
            item.spec.workload.image,
            item.status.matched,
            item.status.updated,
            item.status.ready,
            item.status.failed,
            status_of(item, "Ready")[1],
        ]
        for item in found
    ]
    headings = ["NAME", "IMAGE", "MATCHED", "UPDATED", "READY", "FAILED", "REASON"]
    answer(output, [as_json(item) for item in found], table(headings, rows) if found else "no deployments")


@app.command()
def show(
    name: NameArgument, namespace: NamespaceOption = DEFAULT_NAMESPACE, output: OutputOption = Output.TABLE
) -> None:
    """Show one deployment.

    \b
    Example:
      fleet deployment show web
    """  # noqa: D301
    deployment = DeploymentName(name)
    item = read(cluster(), FleetDeployment, deployment, namespace)
    selected = ",".join(f"{key}={value}" for key, value in sorted(item.spec.selector.match_labels.items()))
    shown: list[tuple[str, object]] = [
        ("deployment", item.metadata.name),
        ("image", item.spec.workload.image),
        ("selector", selected or "every device"),
        ("strategy", item.spec.strategy.type.value),
        ("devices", _counts(item)),
    ]
    shown += [(known.type, f"{known.status} ({known.reason}) {known.message}") for known in item.status.conditions]
    answer(output, as_json(item), details(shown))


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
    from fleet.topology.kube import wait_for  # noqa: PLC0415

    deployment = DeploymentName(name)
    kube = cluster()
    item = read(kube, FleetDeployment, deployment, namespace)
    kube.delete([{"kind": "FleetDeployment", "metadata": {"name": item.metadata.name, "namespace": namespace}}])
    gone = f"{deployment} to be cleaned up by the operator"
    wait_for(lambda: None if kube.find("FleetDeployment", deployment, namespace) else True, gone, timeout)
    answer(output, {"deployment": str(deployment), "deleted": True}, f"{deployment} is deleted")


def _await_ready(kube: KubeClient, name: DeploymentName, namespace: str, timeout: float) -> FleetDeployment:
    from fleet.topology.kube import wait_for  # noqa: PLC0415

    last: list[FleetDeployment] = []

    def ready() -> FleetDeployment | None:
        item = read(kube, FleetDeployment, name, namespace)
        last[:] = [item]
        seen = item.status.observed_generation == item.metadata.generation
        status, reason = status_of(item, "Ready")
        if seen and reason == "DevicesFailed":
            raise FleetError(
                f"{name} failed: {_counts(item)}; {_why(item)}", next_step=f"see `fleet deployment show {name}`"
            )
        return item if seen and status == "True" else None

    try:
        return wait_for(ready, f"{name} to run on every selected device", timeout, interval=_NEXT_LOOK)
    except TimedOut as error:
        seen = f"{_counts(last[0])}; {_why(last[0])}" if last else "nothing"
        raise TimedOut(f"{error.what}; last seen: {seen}", next_step=f"see `fleet deployment show {name}`") from error


def _counts(item: FleetDeployment) -> str:
    status = item.status
    return f"{status.matched} matched, {status.updated} updated, {status.ready} ready, {status.failed} failed"


def _why(item: FleetDeployment) -> str:
    return "; ".join(f"{known.type}: {known.reason} {known.message}".strip() for known in item.status.conditions)


def _from_file(path: Path, options: _Options) -> FleetDeployment:
    if given := options.given():
        raise InvalidInput(
            f"--file holds all of a deployment, so {', '.join(given)} would be ignored",
            next_step="give one or the other",
        )
    try:
        wanted = from_builtins(msgspec.json.decode(path.read_bytes()), FleetDeployment)
    except InvalidInput as error:
        raise InvalidInput(f"{path}: {error.what}", next_step="see `fleet deployment show NAME -o json`") from error
    except OSError as error:
        raise InvalidInput(f"cannot read {path}: {error.strerror}", next_step="give a file that exists") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(
            f"{path} is not JSON: {error}", next_step="see `fleet deployment show NAME -o json`"
        ) from error
    if (wanted.api_version, wanted.kind) != (API_VERSION, FleetDeployment.__name__):
        raise InvalidInput(
            f"{path} holds a {wanted.kind} of {wanted.api_version}",
            next_step=f"give a FleetDeployment of {API_VERSION}",
        )
    return wanted


def _required(option: str, value: str) -> str:
    if not value:
        raise InvalidInput(f"{option} is missing", next_step="give --name and --image, or --file")
    return value


def _words(option: str, text: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        raise InvalidInput(f"{option} {text!r}: {error}", next_step="quote it as for a shell") from error


def _port(text: str) -> Port:
    numbers, _, protocol = text.partition("/")
    host, _, container = numbers.partition(":")
    try:
        return from_builtins({"host": int(host), "container": int(container), "protocol": protocol or "tcp"}, Port)
    except ValueError as error:  # InvalidInput is one
        raise InvalidInput(
            f"--port {text!r} is not HOST:CONTAINER[/udp] with ports from 1 to 65535",
            next_step="for example --port 8080:80",
        ) from error
