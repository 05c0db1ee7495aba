"""`fleet device setup`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fleet.cli.output import Output, OutputOption, answer
from fleet.contract.config import AgentConfig, load_config
from fleet.contract.errors import InvalidInput

if TYPE_CHECKING:
    from fleet.scores.first_agent import FirstAgent
    from fleet.scores.setup import FleetDeviceSetupScore
    from fleet.topology.capabilities import RunsCommands


def setup(
    config: Annotated[Path, typer.Option(metavar="FILE", help="what `fleet device enroll` wrote")],
    agent: Annotated[
        Path | None, typer.Option(metavar="FILE", help="the device's first agent: what `fleet agent build` wrote")
    ] = None,
    trusted_keys: Annotated[
        Path | None, typer.Option(metavar="FILE", help="the release keys that the device trusts")
    ] = None,
    root: Annotated[Path, typer.Option(metavar="DIR", help="the device's root folder on this machine")] = Path("/"),
    ssh: Annotated[str, typer.Option(metavar="USER@HOST", help="a machine over SSH instead of this one")] = "",
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
    """  # noqa: D301
    from fleet.scores.setup import FleetDeviceSetupScore  # noqa: PLC0415
    from fleet.topology.host import LocalHost  # noqa: PLC0415
    from fleet.topology.ssh import SshHost  # noqa: PLC0415

    loaded, first = load_config(config, AgentConfig), _first_agent(agent, trusted_keys)
    if ssh:
        with SshHost(ssh) as host:
            _set_up(host, FleetDeviceSetupScore(loaded, first, replace), output)
    else:
        _set_up(LocalHost(root), FleetDeviceSetupScore(loaded, first, replace), output)


def _first_agent(artifact: Path | None, trusted_keys: Path | None) -> FirstAgent | None:
    if artifact is None and trusted_keys is None:
        return None
    if artifact is None or trusted_keys is None:
        raise InvalidInput(
            "--agent and --trusted-keys go together: a device takes no agent that nobody it trusts has signed",
            next_step="give both, or neither to use the agent that is installed on the device",
        )
    from fleet.scores.first_agent import FirstAgent, load_trusted  # noqa: PLC0415

    return FirstAgent.load(artifact, load_trusted(trusted_keys))


def _set_up(host: RunsCommands, score: FleetDeviceSetupScore, output: Output) -> None:
    config = score.config
    changed = [item.name for item in score.interpret(host) if item.changed]
    what = f"changed {', '.join(changed)}" if changed else "nothing changed"
    answer(
        output, {"device": str(config.device_id), "changed": changed}, f"the agent of {config.device_id} runs; {what}"
    )
