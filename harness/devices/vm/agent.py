"""What a machine of the harness's own has before it is set up as a device: this source's agent."""

from __future__ import annotations

from pathlib import Path

from fleet.artifacts.build import build
from fleet.artifacts.layer import Target
from fleet.contract.errors import FleetError
from fleet.contract.names import AgentVersion
from fleet.version import VERSION
from harness.devices import Device
from harness.devices.vm.speed import SLOW
from harness.errors import BuildFailed


def ensure_agent(device: Device, target: Target, folder: Path) -> None:
    """Build the agent, and install it where `fleet device setup` looks for it.

    Raises:
        BuildFailed: it cannot be built, or the machine does not take it.
    """
    try:
        artifact = build(AgentVersion(VERSION), folder, target)
    except FleetError as error:
        raise BuildFailed(f"the agent was not built: {error.what}", next_step=error.next_step) from error
    device.write("/tmp/fleet-agent", artifact.read_bytes())  # noqa: S108 - on a machine that nobody else enters
    sure(device, "sudo", "install", "-m", "755", "/tmp/fleet-agent", "/usr/local/bin/fleet-agent")  # noqa: S108


def sure(device: Device, *argv: str) -> None:
    """Run a command on a machine.

    Raises:
        BuildFailed: it failed.
    """
    result = device.run(argv, timeout=SLOW)
    if result.code != 0:
        raise BuildFailed(f"the machine was not equipped: {result}", next_step="see its console and journal")
