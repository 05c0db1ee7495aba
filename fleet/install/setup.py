"""The desired state of a device's host: the agent's configuration and unit in place, and the agent running."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec

from fleet.contract.config import AgentConfig, read_whole, render_config
from fleet.contract.errors import Conflict, InvalidInput, NotFound
from fleet.contract.owner import REPLACED_PATH, Owner, parse_owners
from fleet.contract.parsing import NOT_JSON
from fleet.contract.policy import POLICY_PATH, DevicePolicy
from fleet.contract.wire import decode, encode
from fleet.contract.written import parse_written
from fleet.install.first_agent import BOOT_UNIT, SPARED, FirstAgent, committed
from fleet.topology.capabilities import Applied, RunsCommands

CONFIG_PATH = "/etc/fleet/agent.json"
UNIT = "fleet-agent.service"
UNIT_PATH = f"/etc/systemd/system/{UNIT}"
_APPLIED_PATH = "/var/lib/fleet/setup.sha256"
"""Records the configuration and unit of the agent's last start, and the configuration that was given last."""
_STATE_PATH = "/var/lib/fleet/desired.json"
AGENT = "/usr/local/bin/fleet-agent"
SECRET, _PUBLIC = 0o600, 0o644

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
{SPARED}

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
    """Whether a host of another identity may be taken over."""
    policy: DevicePolicy | None = None
    """The policy for the device's workloads; without one, the present policy stays."""

    def interpret(self, host: RunsCommands) -> list[Applied]:
        """Set the host up; an agent whose configuration and unit did not change goes on undisturbed.

        Raises:
            FleetError: the host refuses; the message has the output of the command.
        """
        owners = self._owners_before(host)
        if self.agent is not None:
            self.agent.require_no_older_keys(host, taken_over=self.replace)
        if owners is not None:
            host.put(REPLACED_PATH, msgspec.json.encode(owners), SECRET)
        done = [] if self.policy is None else [host.put(POLICY_PATH, _shown(self.policy), _PUBLIC)]
        return done + self._installed(host)

    def _installed(self, host: RunsCommands) -> list[Applied]:
        if self.agent is not None:
            return self._with_versions(host, self.agent)
        config, unit = self._file(host), _UNIT_TEXT.encode()
        # Written last: without it, a repeat would take an agent that runs with older files for one with these.
        applied = self._applied(unit)
        known = host.read(_APPLIED_PATH) == applied
        done = [host.put(CONFIG_PATH, config, SECRET), host.put(UNIT_PATH, unit, _PUBLIC)]
        afresh = not known or any(item.changed for item in done)
        _start(host, afresh=afresh)
        if afresh:
            host.put(_APPLIED_PATH, applied, _PUBLIC)
        return done

    def _owners_before(self, host: RunsCommands) -> list[Owner] | None:
        """The identities whose workloads the agent is to end on this host; None where that stays as it is.

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
        return owners if owners != known else None

    def _with_versions(self, host: RunsCommands, agent: FirstAgent) -> list[Applied]:
        config, applied = self._file(host), self._applied(BOOT_UNIT.encode())
        known = host.read(_APPLIED_PATH) == applied
        unit = host.put(UNIT_PATH, BOOT_UNIT.encode(), _PUBLIC)
        done = [host.put(CONFIG_PATH, config, SECRET), unit]
        done += agent.files(host) + agent.lay_down(host)
        _start(host, afresh=unit.changed)  # before, the unit was an agent, or was not
        if not unit.changed and (not known or done[0].changed):
            _restart_committed(host)
        if not known:
            host.put(_APPLIED_PATH, applied, _PUBLIC)
        return done

    def _applied(self, unit: bytes) -> bytes:
        given = render_config(self.config)
        return f"{_digest(given + unit)} {_digest(given)}".encode()

    def _file(self, host: RunsCommands) -> bytes:
        """The configuration for the host: where the same one was given last, it keeps what the agent took since."""
        given, known = render_config(self.config), host.read(CONFIG_PATH)
        if known is None or (host.read(_APPLIED_PATH) or b"").split()[1:] != [_digest(given).encode()]:
            return given
        try:
            found = decode(known, AgentConfig)
        except InvalidInput:
            return given
        mine, theirs = self.config.auth, found.auth
        renewed = theirs.machine_key.user_id == mine.machine_key.user_id
        key = mine.machine_key if renewed else theirs.machine_key
        auth = msgspec.structs.replace(theirs, ca=mine.ca, machine_key=key)
        return known if msgspec.structs.replace(found, auth=auth) == self.config else given


def restart_agent(host: RunsCommands) -> None:
    """Restart the agent of a device with the present files."""
    if not _restart_committed(host):
        host.execute(["systemctl", "restart", UNIT])


def _restart_committed(host: RunsCommands) -> bool:
    """Restart the active version; returns whether there is one."""
    release = committed(host)
    if release is not None:
        host.execute(["systemctl", "restart", f"fleet-agent@{release.version}.service"])
    return release is not None


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def load_policy(path: Path) -> DevicePolicy:
    """Read the owner's policy for a device's workloads.

    Raises:
        NotFound: there is no such file.
        InvalidInput: it does not parse, or has a name in it that is unknown or twice.
    """
    try:
        data, _ = read_whole(path)
    except OSError as error:
        raise NotFound(
            f"cannot read {path}: {error.strerror}", next_step="see docs/security.md for what it holds"
        ) from error
    return parse_written(data, DevicePolicy, str(path), next_step="nothing was changed; see docs/security.md")


def _shown(policy: DevicePolicy) -> bytes:
    return msgspec.json.format(encode(policy), indent=2)


def owner_on(host: RunsCommands) -> Owner | None:
    """The owner of a host; None if it was not set up, or its configuration is damaged."""
    try:
        return Owner.of(decode(host.read(CONFIG_PATH) or b"", AgentConfig))
    except InvalidInput:
        return None


def workloads_on(host: RunsCommands) -> list[str]:
    """The deployments that the last agent of a host kept on disk; none where nothing can be read."""
    try:
        return sorted(msgspec.json.decode(host.read(_STATE_PATH) or b"{}", type=_Kept).deployments)
    except NOT_JSON:
        return []


class _Kept(msgspec.Struct):
    deployments: dict[str, msgspec.Raw] = msgspec.field(name="wishes", default_factory=dict[str, msgspec.Raw])


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
