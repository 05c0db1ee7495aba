"""The desired state of a device's host: the agent's configuration and unit in place, and the agent running."""

from __future__ import annotations

import hashlib

import msgspec

from fleet.contract.config import AgentConfig, render_config
from fleet.contract.errors import Conflict, InvalidInput
from fleet.contract.owner import REPLACED_PATH, Owner, parse_owners
from fleet.contract.wire import decode
from fleet.scores.first_agent import BOOT_UNIT, FirstAgent, committed
from fleet.topology.capabilities import Applied, RunsCommands

CONFIG_PATH = "/etc/fleet/agent.json"
UNIT = "fleet-agent.service"
UNIT_PATH = f"/etc/systemd/system/{UNIT}"
_APPLIED_PATH = "/var/lib/fleet/setup.sha256"
"""Says which configuration and unit the agent was last started with."""
_STATE_PATH = "/var/lib/fleet/desired.json"
AGENT = "/usr/local/bin/fleet-agent"
_SECRET, _PUBLIC = 0o600, 0o644

# Workloads belong to the engine, so ending the agent leaves them. systemd's own limit, five starts in ten seconds,
# would leave a device without an agent for good after a bad quarter of a minute. An agent's start costs more than
# systemd's own pause of 100 ms, so a longer one would save little and leave the device silent for longer.
_UNIT_TEXT = f"""\
[Unit]
Description=Fleet agent
Documentation=man:fleet-agent(1)
After=network-online.target docker.service podman.socket
Wants=network-online.target
StartLimitIntervalSec=0

[Service]
Type=exec
ExecStart={AGENT} run
Restart=always
KillMode=mixed
TimeoutStopSec=10

[Install]
WantedBy=multi-user.target
"""


class FleetDeviceSetupScore(msgspec.Struct, frozen=True):
    """A device that runs its agent, as the configuration says.

    With an `agent`, the device gets it as its first version, and can be upgraded; without one, the agent is what is
    installed at `/usr/local/bin`.
    """

    config: AgentConfig
    agent: FirstAgent | None = None
    replace: bool = False
    """Whether a host that belongs to another identity may be taken from it."""

    def interpret(self, host: RunsCommands) -> list[Applied]:
        """Set the host up; an agent whose configuration and unit did not change goes on undisturbed.

        Raises:
            FleetError: the host does not let us; the message holds what the command said.
        """
        self._take_over(host)
        if self.agent is not None:
            return self._with_versions(host, self.agent)
        config, unit = render_config(self.config), _UNIT_TEXT.encode()
        # Written last: without it, a repeat would take an agent that runs with older files for one with these.
        applied = hashlib.sha256(config + unit).hexdigest().encode()
        known = host.read(_APPLIED_PATH) == applied
        done = [host.put(CONFIG_PATH, config, _SECRET), host.put(UNIT_PATH, unit, _PUBLIC)]
        afresh = not known or any(item.changed for item in done)
        _start(host, afresh=afresh)
        if afresh:
            host.put(_APPLIED_PATH, applied, _PUBLIC)
        return done

    def _take_over(self, host: RunsCommands) -> None:
        """Have the agent end what another identity ordered on this host.

        Raises:
            Conflict: the host belongs to another identity, and `replace` was not said.
        """
        present, before = Owner.of(self.config), owner_on(host)
        known = parse_owners(host.read(REPLACED_PATH))
        owners = [owner for owner in known if owner != present]
        if before is not None and before != present:
            if not self.replace:
                raise _taken(host, before)
            owners = [*(owner for owner in owners if owner != before), before]
        if owners != known:
            host.put(REPLACED_PATH, msgspec.json.encode(owners), _SECRET)

    def _with_versions(self, host: RunsCommands, agent: FirstAgent) -> list[Applied]:
        config = render_config(self.config)
        applied = hashlib.sha256(config + BOOT_UNIT.encode()).hexdigest().encode()
        known = host.read(_APPLIED_PATH) == applied
        unit = host.put(UNIT_PATH, BOOT_UNIT.encode(), _PUBLIC)
        done = [host.put(CONFIG_PATH, config, _SECRET), unit]
        done += agent.files(host) + agent.lay_down(host)
        _start(host, afresh=unit.changed)  # before, the unit was an agent, or was not
        if not unit.changed and (not known or done[0].changed) and (release := committed(host)):
            host.execute(["systemctl", "restart", f"fleet-agent@{release.version}.service"])
        if not known:
            host.put(_APPLIED_PATH, applied, _PUBLIC)
        return done


def owner_on(host: RunsCommands) -> Owner | None:
    """To whom a host belongs; None where it was not set up, or its configuration is damaged."""
    try:
        return Owner.of(decode(host.read(CONFIG_PATH) or b"", AgentConfig))
    except InvalidInput:
        return None


def workloads_on(host: RunsCommands) -> list[str]:
    """The deployments that the last agent of a host kept on disk; none where nothing can be read."""
    try:
        return sorted(msgspec.json.decode(host.read(_STATE_PATH) or b"{}", type=_Kept).wishes)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return []


class _Kept(msgspec.Struct):
    wishes: dict[str, msgspec.Raw] = {}


def _taken(host: RunsCommands, owner: Owner) -> Conflict:
    names = ", ".join(workloads_on(host)) or "nothing that is known"
    return Conflict(
        f"{host} is set up as device {owner.device}; what it runs for that one would end: {names}",
        next_step="give --replace to end it, or set up another host",
    )


def _start(host: RunsCommands, *, afresh: bool) -> None:
    """Have the unit run now and after every boot; `afresh` also ends what runs in it with older files."""
    host.execute(["systemctl", "daemon-reload"])
    host.execute(["systemctl", "enable", UNIT])
    host.execute(["systemctl", "restart" if afresh else "start", UNIT])
