"""The first agent of a device that is to be upgraded: its file, the keys that devices trust, launcher and units.

What comes later comes by an upgrade, over the device's own connection; a repeated set-up leaves versions alone.
"""

from __future__ import annotations

import time
from pathlib import Path

import msgspec

from fleet.agent.upgrade.protocol.journal import BadJournal, Release, parse
from fleet.artifacts.manifest import manifest_path
from fleet.artifacts.trusted import render
from fleet.artifacts.verify import check_file, open_manifest
from fleet.contract.config import read_whole
from fleet.contract.errors import Conflict, InvalidInput, NotFound
from fleet.contract.upgrade import EXIT_DONE, Manifest, TrustedKeys
from fleet.contract.wire import decode
from fleet.contract.written import parse_written
from fleet.launcher import launcher
from fleet.topology.capabilities import Applied, RunsCommands

LAUNCHER_PATH = "/usr/local/lib/fleet/fleet-launcher"
TRUSTED_KEYS_PATH = "/etc/fleet/trusted-keys.json"
TEMPLATE_PATH = "/etc/systemd/system/fleet-agent@.service"
_FOLDER = "/var/lib/fleet/agent"
_PUBLIC, _PROGRAM = 0o644, 0o755

SPARED = "OOMScoreAdjust=-900"
"""Where memory runs out, the kernel ends another process than the agent, unless the agent itself takes nearly all."""

BOOT_UNIT = f"""\
[Unit]
Description=Fleet agent: starts the version that has proven itself
Documentation=man:fleet-agent(1)
After=network-online.target docker.service podman.socket
Wants=network-online.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart={LAUNCHER_PATH} boot

[Install]
WantedBy=multi-user.target
"""
# One instance a version: an agent that starts another one is no parent of it, and workloads belong to the engine.
TEMPLATE = f"""\
[Unit]
Description=Fleet agent %i
Documentation=man:fleet-agent(1)
After=network-online.target docker.service podman.socket
StartLimitIntervalSec=0

[Service]
Type=exec
ExecStart={LAUNCHER_PATH} run %i
Restart=always
RestartPreventExitStatus={EXIT_DONE}
SuccessExitStatus={EXIT_DONE}
KillMode=mixed
TimeoutStopSec=10
{SPARED}
"""
_ADOPT = f"""\
set -eu
umask 022
unset PYTHONPATH PYTHONHOME
root=${{FLEET_ROOT:-}}
home=${{root%/}}{_FOLDER}
trap 'rm -rf "$home/unpacked"' EXIT
echo "$1  $home/incoming/$1" | sha256sum -c --status || {{ echo "the agent was damaged on its way" >&2; exit 1; }}
SHIV_ROOT=$home/unpacked SHIV_ENTRY_POINT=fleet.agent.upgrade.adopt:main python3 "$home/incoming/$1" "$2" "sha256:$1"
"""
"""Has the artefact that was put there lay itself down, with its own modules: $1 is its digest, $2 its version."""


class FirstAgent(msgspec.Struct, frozen=True):
    """An artefact with its signed manifest, and the release keys that the device is to trust."""

    artifact: bytes
    signed: bytes
    manifest: Manifest
    trusted: TrustedKeys

    @classmethod
    def load(cls, artifact: Path, trusted: TrustedKeys) -> FirstAgent:
        """Read an artefact and the manifest beside it, and prove them by the keys.

        Raises:
            NotFound: one of the files is not there.
            Refusal: the device would not take it.
        """
        beside = manifest_path(artifact)
        try:
            signed = beside.read_bytes()
            manifest = open_manifest(signed, trusted, time.time())
            check_file(artifact, manifest)
            return cls(artifact.read_bytes(), signed, manifest, trusted)
        except OSError as error:
            raise NotFound(
                f"cannot read {error.filename}: {error.strerror}",
                next_step="give what `fleet agent build` wrote; the manifest lies beside it",
            ) from error

    def require_no_older_keys(self, host: RunsCommands, *, taken_over: bool) -> None:
        """See that the list of release keys is not older than the host's own: it would bring a revoked key back.

        Of a host that is `taken_over` from somebody else, only a list of ours counts: one that has a key of this one.

        Raises:
            Conflict: it is older.
        """
        present = _trusted_on(host)
        if present is None or self.trusted.number >= present.number:
            return
        ours = {key.id for key in present.keys} & {key.id for key in self.trusted.keys}
        if ours or not taken_over:
            raise Conflict(
                f"the list of release keys has the number {self.trusted.number}, and {host} has a later one, "
                f"{present.number}: the older one may trust a key that was revoked since",
                next_step="give --trusted-keys as `fleet secrets rotate release_key` left it last; if that file is "
                f'lost, make a list with "number": {present.number} that revokes what was revoked',
            )

    def files(self, host: RunsCommands) -> list[Applied]:
        """Put the launcher, the template and the keys on the host."""
        program = Path(launcher.__file__).read_bytes()
        return [
            host.put(LAUNCHER_PATH, program, _PROGRAM),
            host.put(TEMPLATE_PATH, TEMPLATE.encode(), _PUBLIC),
            put_trusted(host, self.trusted),
        ]

    def lay_down(self, host: RunsCommands) -> list[Applied]:
        """Have the host verify and lay down its first version; a host that has one keeps it."""
        if committed(host):
            return []
        digest = self.manifest.digest.removeprefix("sha256:")
        host.put(f"{_FOLDER}/incoming/{digest}.json", self.signed, _PUBLIC)
        done = host.put(f"{_FOLDER}/incoming/{digest}", self.artifact, _PUBLIC)
        host.execute(["sh", "-c", _ADOPT, "adopt", digest, str(self.manifest.version)])
        return [done]


def put_trusted(host: RunsCommands, trusted: TrustedKeys) -> Applied:
    """Put the release keys on the host; an agent reads them at its next upgrade."""
    return host.put(TRUSTED_KEYS_PATH, render(trusted), _PUBLIC)


def _trusted_on(host: RunsCommands) -> TrustedKeys | None:
    """The host's list; None where it has none, or one that no agent can read."""
    data = host.read(TRUSTED_KEYS_PATH)
    try:
        return None if data is None else decode(data, TrustedKeys)
    except InvalidInput:
        return None


def load_trusted(path: Path) -> TrustedKeys:
    """Read a file of release keys.

    Raises:
        NotFound: there is none.
        InvalidInput: it does not parse, has a name in it that is unknown or twice, or lists no key.
    """
    try:
        data, _ = read_whole(path)
    except OSError as error:
        raise NotFound(
            f"cannot read the trusted keys {path}: {error.strerror}",
            next_step="`fleet agent new-key` writes one",
        ) from error
    trusted = parse_written(data, TrustedKeys, str(path), next_step="`fleet agent new-key` writes one")
    if not trusted.keys:
        raise InvalidInput(f"{path} lists no key", next_step="`fleet agent new-key` adds one")
    return trusted


def committed(host: RunsCommands) -> Release | None:
    """The release that has proven itself on the host; None where it has no journal that can be used."""
    journal = parse(host.read(f"{_FOLDER}/journal.json"))
    return None if isinstance(journal, BadJournal) else journal.committed
