"""Undoes what `fleet device setup` did to a host: its workloads, its agents, and every file of ours."""

from __future__ import annotations

from pathlib import Path

import msgspec

from fleet.contract.config import AgentConfig
from fleet.contract.errors import InvalidInput, NotFound
from fleet.contract.machine_keys import NEXT_KEY_PATH
from fleet.contract.owner import REPLACED_PATH, Owner, parse_owners
from fleet.contract.wire import decode
from fleet.install.first_agent import LAUNCHER_PATH, TEMPLATE_PATH, TRUSTED_KEYS_PATH
from fleet.install.setup import AGENT, CONFIG_PATH, UNIT, UNIT_PATH, workloads_on
from fleet.launcher import ender
from fleet.topology.capabilities import RunsCommands

_INSTANCES = "fleet-agent@*.service"
_STATE = "/var/lib/fleet"
_FILES = (UNIT_PATH, TEMPLATE_PATH, str(Path(LAUNCHER_PATH).parent), "/run/fleet", _STATE)
"""All but the configuration, which goes last: it says whose workloads are to end, should this be cut and repeated."""
_RELEASE = f"""\
set -eu
agent=${{FLEET_ROOT:-}}
agent=${{agent%/}}{AGENT}
[ ! -L "$agent" ] || case $(readlink "$agent") in *{_STATE}/*) rm -f "$agent"; echo {AGENT};; esac
[ ! -e "$agent.before-versions" ] || mv -f "$agent.before-versions" "$agent"
"""
"""Removes the link to a version. What was installed there before a device had versions comes back."""
_REMOVE = """\
set -eu
root=${FLEET_ROOT:-}
for path in "$@"; do
  [ -e "${root%/}$path" ] || [ -L "${root%/}$path" ] || continue
  rm -rf "${root%/}$path"
  echo "$path"
done
rmdir "${root%/}/etc/fleet" 2>/dev/null || :
"""


_NO_ENGINE = "(no engine)"
_END = f"""\
set -u
program=$1
shift
python3 -c "$program" "$@"
code=$?
[ $code -ne {ender.NO_ENGINE} ] || echo "{_NO_ENGINE}"
[ $code -eq {ender.NO_ENGINE} ] || exit $code
"""


class Removed(msgspec.Struct, frozen=True, rename="camel"):
    """What was undone: the device that the host was, its containers by name, and files and folders."""

    device: str
    containers: list[str]
    files: list[str]


class FleetDeviceUninstallScore(msgspec.Struct, frozen=True):
    """A host without an agent. Neither the engine, nor images, nor what others run on it is touched."""

    def interpret(self, host: RunsCommands) -> Removed:
        """Undo the set-up; a repeat finds nothing, and a repeat after an interruption does the rest.

        Raises:
            InvalidInput: the configuration is damaged, so that nobody can tell whose workloads these are.
            NotFound: there are workloads, and no engine that answers.
            FleetError: the host refuses; the message has the output of the command.
        """
        config = _config(host)
        if host.read(UNIT_PATH) is not None:
            host.execute(["systemctl", "disable", "--now", UNIT])
        host.execute(["systemctl", "stop", _INSTANCES])
        containers = _end_workloads(host, config) if config else []
        files = host.execute(["sh", "-c", _RELEASE]).splitlines()
        files += host.execute(["sh", "-c", _REMOVE, "remove", *_FILES]).splitlines()
        host.execute(["systemctl", "daemon-reload"])
        files += host.execute(
            ["sh", "-c", _REMOVE, "remove", TRUSTED_KEYS_PATH, NEXT_KEY_PATH, CONFIG_PATH]
        ).splitlines()
        return Removed(str(config.device_id) if config else "", containers, files)


def _config(host: RunsCommands) -> AgentConfig | None:
    data = host.read(CONFIG_PATH)
    try:
        return None if data is None else decode(data, AgentConfig)
    except InvalidInput as error:
        raise InvalidInput(
            f"{CONFIG_PATH} on {host} is damaged, so that nobody can tell whose workloads run there: {error.what}",
            next_step="set the device up again with its configuration and run this again, or remove the file",
        ) from error


def _end_workloads(host: RunsCommands, config: AgentConfig) -> list[str]:
    """Of the identity that the host has, and of those before it whose workloads its agent had not ended yet."""
    owners = [Owner.of(config), *parse_owners(host.read(REPLACED_PATH))]
    words = [word for owner in owners for word in (owner.device, owner.server)]
    program = Path(ender.__file__).read_text()
    output = host.execute(["sh", "-c", _END, "end", program, config.engine_socket, *words]).splitlines()
    if output[-1:] != [_NO_ENGINE]:
        return output
    left = workloads_on(host)
    if left:
        raise NotFound(
            f"no container engine answers at {config.engine_socket} on {host}, and these run there: {', '.join(left)}",
            next_step=f"start it and run this again; if it is gone for good, remove {_STATE}/desired.json there first",
        )
    return []
