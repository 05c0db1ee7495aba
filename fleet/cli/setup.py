"""`fleet device setup` and `fleet device uninstall`: what is on a device's host."""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from fleet.cli.output import Output, OutputOption, answer
from fleet.contract.config import AgentConfig, load_config
from fleet.contract.errors import InvalidInput, NotFound, NotPermitted
from fleet.process.failures import in_words

if TYPE_CHECKING:
    from fleet.install.first_agent import FirstAgent
    from fleet.topology.capabilities import RunsCommands


def _named(text: str) -> str:
    """An empty text names no host, and must not mean this one: a script's variable was not set."""
    if not text.strip():
        raise typer.BadParameter("it is empty, and names no host; leave it out for this machine.")
    return text


def _folder(text: str) -> Path:
    return Path(_named(text))


RootOption = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="the device's root folder on this machine; / if not given", parser=_folder),
]
SshOption = Annotated[
    str | None, typer.Option(metavar="USER@HOST", help="a machine over SSH instead of this one", parser=_named)
]


def setup(
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="what `fleet device enroll` wrote", show_default=False)
    ] = None,
    trust: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="instead: what a device that is set up is to trust (`fleet secrets bundle`)"),
    ] = None,
    agent: Annotated[
        Path | None, typer.Option(metavar="FILE", help="the device's first agent: what `fleet agent build` wrote")
    ] = None,
    trusted_keys: Annotated[
        Path | None, typer.Option(metavar="FILE", help="the release keys that the device trusts")
    ] = None,
    policy: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="what workloads may do to the device; the one it has stays if not given"),
    ] = None,
    root: RootOption = None,
    ssh: SshOption = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="take a host from another identity, and end what that one runs there")
    ] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Put the configuration and the unit on a device, and start its agent.

    With --agent, the device can be upgraded later: it gets this agent as its first version, and what starts the right
    one. A device that has versions keeps them. Without, it runs the fleet-agent that is installed on it.

    \b
    Examples:
      fleet device setup --config pi-1.json
      fleet device setup --config pi-1.json --ssh pi@10.0.0.7
      fleet device setup --config pi-1.json --agent fleet-agent-v0.1.1 --trusted-keys trusted-keys.json
      fleet device setup --trust bundle.pem --ssh pi@10.0.0.7
    """  # noqa: D301
    from fleet.install.setup import FleetDeviceSetupScore, load_policy  # noqa: PLC0415

    if (config is None) == (trust is None):
        raise InvalidInput(
            "give --config to set a device up, or --trust for one that is", next_step="see `fleet device setup --help`"
        )
    if config is None or trust is not None:
        _trust(trust or Path(), root, ssh, output, others=bool(agent or trusted_keys or policy or replace))
        return
    score = FleetDeviceSetupScore(
        load_config(config, AgentConfig),
        _first_agent(agent, trusted_keys),
        replace,
        None if policy is None else load_policy(policy),
    )
    device = str(score.config.device_id)
    with _host(root, ssh, f"set up as device {device}") as host:
        changed = [item.name for item in score.interpret(host) if item.changed]
    what = f"changed {', '.join(changed)}" if changed else "nothing changed"
    answer(output, {"device": device, "changed": changed}, f"the agent of {device} runs; {what}")


def _trust(bundle: Path, root: Path | None, ssh: str | None, output: Output, *, others: bool) -> None:
    from fleet.install.trust import DeviceTrustScore  # noqa: PLC0415

    if others:
        raise InvalidInput(
            "--trust changes what a device trusts, and nothing else", next_step="leave the other options out"
        )
    try:
        text = bundle.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise NotFound(
            f"cannot read {bundle}: {in_words(error)}", next_step="write it with `fleet secrets bundle`"
        ) from error
    with _host(root, ssh, f"given {bundle} to trust") as host:
        config, done = DeviceTrustScore(text).interpret(host)
    device = str(config.device_id)
    what = "trusts the bundle from now on" if done.changed else "trusts this bundle already; nothing changed"
    answer(output, {"device": device, "changed": [done.name] if done.changed else []}, f"{device} {what}")


def uninstall(root: RootOption = None, ssh: SshOption = None, output: OutputOption = Output.TABLE) -> None:
    """Undo the set-up of a device: end its workloads, and remove its agents, their state and its configuration.

    The container engine, images and what else runs on the device stay. The fleet knows the device until
    `fleet device delete ID`.

    \b
    Examples:
      fleet device uninstall
      fleet device uninstall --ssh pi@10.0.0.7
    """  # noqa: D301
    from fleet.install.uninstall import FleetDeviceUninstallScore  # noqa: PLC0415

    with _host(root, ssh, "rid of its agent") as host:
        removed = FleetDeviceUninstallScore().interpret(host)
    lines = [f"removed {name}" for name in removed.files]
    lines += [f"ended {name}" for name in removed.containers]
    if removed.device:
        lines.append(f"{removed.device} is no device any more; next: fleet device delete {removed.device}")
    answer(output, msgspec.to_builtins(removed), lines or "nothing changed: the host is set up as no device")


@contextlib.contextmanager
def _host(root: Path | None, ssh: str | None, wanted: str) -> Generator[RunsCommands]:
    """The device's host; `wanted` is what is to be done with it, to say what was refused."""
    from fleet.topology.host import LocalHost  # noqa: PLC0415
    from fleet.topology.ssh import SshHost  # noqa: PLC0415

    if ssh and root is not None:
        raise InvalidInput(
            "--root is a folder of this machine, and --ssh names another one", next_step="leave one of them out"
        )
    if ssh:
        with SshHost(ssh) as host:
            yield host
        return
    host = LocalHost(root or Path("/"))
    try:
        yield host
    except NotPermitted as error:
        next_step = "run this as root on the device itself, or from another machine with --ssh USER@HOST"
        raise NotPermitted(
            f"{host} cannot be {wanted}: {error.what}", next_step=error.next_step if root else next_step
        ) from error


def _first_agent(artifact: Path | None, trusted_keys: Path | None) -> FirstAgent | None:
    if artifact is None and trusted_keys is None:
        return None
    if artifact is None or trusted_keys is None:
        raise InvalidInput(
            "--agent and --trusted-keys go together: a device takes no agent that nobody it trusts has signed",
            next_step="give both, or neither to use the agent that is installed on the device",
        )
    from fleet.install.first_agent import FirstAgent, load_trusted  # noqa: PLC0415

    return FirstAgent.load(artifact, load_trusted(trusted_keys))
