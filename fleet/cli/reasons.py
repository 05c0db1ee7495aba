"""What each reason means that a person can read in a status, and what to do next; `docs/reasons.md` is made of it.

`python -m fleet.cli.reasons FILE` writes the page.
"""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec


class Advice(msgspec.Struct, frozen=True):
    """What a reason means, and what to do next."""

    means: str
    next_step: str


Table = dict[str, Advice]


def _table(text: str) -> Table:
    """Rows of `Reason | what it means | what to do next`; a line that is indented goes on with the row before."""
    rows = text.strip().replace("\n  ", " ").split("\n")
    found: Table = {}
    for row in rows:
        reason, means, next_step = (part.strip() for part in row.split("|"))
        found[reason] = Advice(means, next_step)
    return found


_SECRETS = _table("""
OpenBaoAway | a Secret that it takes stands for what is in OpenBao, which is sealed or does not answer; what runs goes
  on | have it unsealed or started: it is asked again by itself
SecretForbidden | the operator may not read a Secret that it takes; what runs goes on | install again: it restores the
  operator's rights; those in OpenBao are given there
SecretMissing | a Secret that it takes is not there, or has no such key; what runs goes on | make it in the namespace of
  the deployment, or in OpenBao
SecretNotRead | a Secret that it takes has not been read yet | wait; if it lasts, see `fleet server status`
SecretNotSealable | a Secret that it takes is not marked as one that devices may have | `kubectl label secret NAME
  fleet.nationtech.io/sealable=true`, if they may
SecretTooLarge | a value of a Secret is larger than what it is for can hold | make it smaller
SecretUnusable | a Secret cannot be what it is taken for; the message says why | correct the Secret, or the deployment
""")
"""Of a Secret that a workload takes: on each device, and of the deployment."""

WORKLOADS = (
    _table("""
NotReported | the device has the order, and has not answered yet | wait; if it lasts, see the agent's log on the device
NotBegun | a rolling change has not come to this device | nothing: it goes on when the devices before it are ready
Cordoned | the device is cordoned: no change is sent to it | `fleet device uncordon` once it may change
Paused | the deployment is paused: no change of it is sent | `fleet deployment resume` once it may go on
Offline | the device cannot be heard | see `fleet device show`; it gets the change when it is back
Pulling | the image is being fetched | wait; if it lasts, can the device reach the registry?
Starting | the container is being made, or waits for its first health check | wait; if it lasts, read its log
Started | it runs, and has no health check | nothing
Healthy | it runs, and its health check passes | nothing
Completed | it exited with code 0, and is not to be started again | nothing
HealthCheckFailed | it runs, and its health check does not pass | run the health command in the container
CrashLoop | it exits again and again | read its log: `fleet device logs ID --deployment NAME`
Exited | it exited with an error | read its log: `fleet device logs ID --deployment NAME`
ImageNotFound | the image is not there, and cannot be fetched | check its name; can the device reach the registry?
RegistryRefused | the registry wants another login, or does not give the image to this device; the message names the
  login | check the image's name, and the Secret of `imagePullSecret`
RegistryBusy | the registry limits how often it is asked | wait: it is asked less often
RegistryUnavailable | the registry fails, says nothing, or gave what is damaged | is it well? it is asked again
WrongPlatform | the image is made for another kind of machine | build it for the device's architecture
DiskFull | no image is fetched, because the device's disk is nearly full; what runs goes on | see `fleet device show`;
  free space on the device
PortInUse | something else on the device listens on its port | free the port, or publish another
EngineUnavailable | no container engine answers; what runs goes on | is docker or podman running on the device?
EngineError | the engine refused; the message says what | see the engine's log on the device
UnsupportedWorkload | the device's agent is older than what it is to run | upgrade the device's agent
InvalidDesiredState | the desired state cannot be read, or no engine can do it | correct the deployment
WentBack | it was not well before its deadline, and what ran before runs again; the message says why | mend it, and
  order it anew
NotAllowed | the device's owner does not allow what it asks for; the message names it | change the deployment, or have
  the owner list it in /etc/fleet/policy.json on the device
DeviceMissing | it waits for a device node; the message names it | plug it in
FilesNotWritten | the device cannot write its files | free space on the device, or mend its disk
KeyNotTold | it takes secrets, and the device has not told the key to seal them with | wait; if it was never
  heard, set it up with `fleet device setup`
NoSealingKey | it takes secrets, and the device's agent knows of no sealing | upgrade the device's agent
""")
    | _SECRETS
    | _table("""
SecretsNotOpened | the device cannot open the secrets that are sealed for it; what runs goes on | restart its agent; if
  it lasts, see the agent's log on the device
StateNotSaved | it runs, and would not come back after a reboot without a network | free space on the
  device, or mend its disk
InternalError | the agent met something that it was not made for | see the agent's log, and report it
Other | the device's agent is newer than the server | read the message; upgrade the server
""")
)
"""Of a workload on a device: in `fleet device show`, in `WorkloadTrouble`, and of the devices of a deployment."""

DEPLOYMENTS = (
    _table("""
NotYetSeen | the operator has not seen this change, and what it said is about the one before | wait; if it lasts, see
  `fleet server status`
AllReady | every selected device runs it | nothing
ReadyWhenLastHeard | every selected device ran it when it was last heard, and some are not online now | see
  `fleet device list`
ImagesDiffer | every selected device runs it, and not the same image: its tag was moved | name the image by its digest
Paused | it is paused: no change of it is sent to a device | `fleet deployment resume` once it may go on
InProgress | devices are on their way; the message names them | wait, or see `fleet deployment show`
DevicesFailed | it does not run on some devices; the message names them | see `fleet deployment show`
InvalidSpec | no device could run it; the message says why, and what ran before goes on | correct it, or `fleet
  deployment rollback`
NoDevices | the selector matches no device | compare it with the labels in `fleet device list`
WorkloadTooLarge | it is larger than what a device can be sent | make its arguments, environment and secrets smaller
""")
    | _SECRETS
    | _table("""
NatsSilent | the operator hears nothing from NATS; the message says since when | see `fleet server status`
RollingOut | the change is on its way | wait
Complete | the change has reached every device | nothing
Idle | there is nothing to roll out | nothing
Halted | as many devices failed as may be unavailable: no further one is changed | mend the deployment, or the devices
Failed | every device has answered, and some failed | see `fleet deployment show`
""")
)
"""Of a deployment's conditions `Ready` and `Progressing`. `Ready` has a workload's reason where that is to be known."""

DEVICES = _table("""
NotYetSeen | the operator has not seen this change | wait; if it lasts, see `fleet server status`
IdentityRegistered | the device may come in | nothing
NoSubject | it has no identity | `fleet device enroll`
SubjectTaken | its identity belongs to another device | enroll it with `--replace`
SubjectChanging | its former identity's sessions are being ended | wait
HeartbeatReceived | it was heard lately | nothing
HeartbeatMissed | three of its heartbeats in a row were missed | is it switched on, and on the network?
HeartbeatAwaited | NATS was away from the operator, and the device has time to be heard again | wait
NeverSeen | it has never been heard | set it up with `fleet device setup`
NatsSilent | the operator hears nothing from NATS, so it cannot know; the message says since when | see
  `fleet server status`
Revoked | it is shut out | nothing; `fleet device enroll --replace` lets it in again
NotRevoked | it may come in | nothing
Revoking | it is denied, and its sessions are being ended | wait; if it lasts, see `fleet server status`
SessionsDropped | it is denied, and has no session | nothing
TwoDevicesBeat | two devices use its identity, such as a copied disk | enroll one of them anew, with `--replace`
Throttled | it flooded NATS, and is kept out for a while; the message says until when | see what writes as this device
Flooding | it flooded NATS again and again, or sent a wildcard | see what writes as it, then `fleet device release`
Over | it may come in again after it flooded | nothing; see what wrote as this device
Released | an admin let it in again | nothing
InfoRefused | what it says of itself cannot be stored; the rest of its status can | see what writes as this device
NotTakenYet | a new certificate authority is on its way, and it has not said that it trusts it | is it switched on?
  `fleet secrets rotate ca_key --leave-behind ID` goes on without it
LeftBehind | a certificate authority was renewed without it, so it cannot connect | `fleet secrets bundle`, then
  `fleet device setup --trust FILE` on the device
StillTrusts | it trusts a certificate authority that is not used any more | nothing: it gets the bundle when it is back
NotAnswered | volumes are ordered to be removed from it, and it has not answered; the message names them | is it on, and
  on the network? `fleet device remove-volume --cancel` takes an order back
ClockWrong | its clock differs from the server's by more than a minute | set its clock, or start its time service
""")
"""Of a device's conditions `Enrolled`, `Online`, `Revoked`, and those that are there while there is cause."""

_AGAIN = "then order it again"
VOLUMES = _table(f"""
Removed | the volume is gone, with what was in it | nothing
NotFound | the device has no such volume: it is gone, or another one has its name now | see `fleet device show`
InUse | a container uses it, or a deployment that is to run there mounts it; the message names them | delete the
  deployment, or take the mount out of it, {_AGAIN}
EngineError | the engine refused; the message says what | see the engine's log on the device, {_AGAIN}
""")
"""Of an order to remove a volume: what `fleet device remove-volume` waits for, and its events."""

UPGRADES = _table(f"""
NotYetSeen | the operator has not seen this order | wait; if it lasts, see `fleet server status`
Ordered | the device has the order, and has not answered yet | is the agent up? see its log on the device
DeviceOffline | the device cannot be heard | it is upgraded when it is back; an empty `spec.agentVersion` withdraws it
NotWanted | no version is wanted any more | nothing
InProgress | it is on its way | wait
Downloading | the device fetches the new agent | wait
Staged | it is on the device, and examined there | wait
SelfTested | it passed its examination | wait
Swapped | the device is about to start it | wait
Starting | both agents run; the old one works | wait
HandingOver | the old agent hands over to the new one | wait
Soaking | the new agent works, and is not confirmed yet | wait
Reverting | the device goes back to its old agent | wait
Committed | the new agent is confirmed | nothing
Reverted | the old agent runs again; the message says why | mend what it says, {_AGAIN}
Refused | the device did not take it; the message says why | mend what it says, {_AGAIN}
WaitingForLock | as many devices as may be are being upgraded now | nothing: it goes on by itself
WaitingForReconciles | the device changes a workload just now | nothing: it goes on by itself
WaitingForHealth | a workload of the device is not well | mend the workload: see `fleet device show`
ControlPlaneUnreachable | NATS answers neither agent | see `fleet server status`
GrantExpired | it took too long, and got the order to go back; the others go on | see the device's log, {_AGAIN}
RolloutHalted | too many devices failed with this version | see why they failed, then order a version that works
Confirmed | the new agent is confirmed | nothing
AlreadyRunning | the device ran it before | nothing
Superseded | another version was ordered meanwhile | see `fleet device show`
Withdrawn | the order was taken back | nothing
NotUpgradable | it has no place for versions side by side | set it up once with `fleet device setup --agent FILE`
JournalUnreadable | the device's record of its agents cannot be read | set the device up again with `--agent FILE`
JournalNotSaved | the device's record of its agents cannot be written | free space on the device, {_AGAIN}
UnknownVersion | there is no such version | see `fleet agent list`, and publish it with `fleet agent publish`
VersionTooOld | the device is set up to refuse versions as old as that | order a newer one, or set up other trusted keys
DigestConflict | the version is on the device with another content | build the agent under a new version
BadVersion | it failed on this device before | build the mended agent under a new version
LinkMissing | what names the present agent on the device is gone | set the device up again with `--agent FILE`
StateTooNew | what is on the device was written by a newer agent | order a newer version
ManifestMissing | the agent has no manifest | publish it again
ManifestInvalid | its manifest cannot be read | publish the agent and its manifest as they were built
SignatureMissing | it is not signed | sign the agent, and publish it again
SignatureInvalid | it is not what was signed | publish the agent and its manifest as they were built
KeyUnknown | the device does not trust the key that signed it | sign it with a trusted key, or set the
  device up with that one
KeyRevoked | the key that signed it is revoked | sign it with a key that is not
ArtifactExpired | it is older than its manifest allows | build it again
ArtifactMissing | it is published, and not there | publish it again
ArtifactTooLarge | it is larger than a device takes | build a smaller one
ArtifactCorrupt | what arrived is not what was signed | publish it again
WrongArchitecture | it is for other machines | build it for this architecture
PythonTooOld | the device's Python is older than it needs | upgrade Python on the device
NoSpace | the device has no room for it | free space on the device, {_AGAIN}
ReadOnly | the device's disk cannot be written | mount it writable, {_AGAIN}
DiskError | the device's disk failed | mend the disk, {_AGAIN}
NotExecutable | the device cannot start it | see the agent's log on the device
SelfTestFailed | it failed its examination | build the mended agent under a new version
SelfTestTimedOut | its examination did not end | build the mended agent under a new version
SelfTestWrongVersion | it says that it is another version | build it again under a new version
ReconcileTimedOut | the device was busy for too long | see what it is busy with, {_AGAIN}
WorkloadUnhealthy | a workload was not well | mend the workload, {_AGAIN}: see `fleet device show`
CandidateNotStarted | it did not come up | see the agent's log on the device
CandidateCrashed | it ended again and again | build the mended agent under a new version
CandidateDamaged | its file on the device changed | look at the device's disk, {_AGAIN}
CandidateNotConnected | it did not reach NATS | build the mended agent under a new version
CandidateWrongVersion | it says that it is another version | build it again under a new version
StopNotOrdered | the operator did not let the old agent go in time | see `fleet server status`, {_AGAIN}
NotConfirmed | the operator did not confirm it in time | see `fleet server status`, {_AGAIN}
Degraded | workloads were not well under it | see `fleet device show`
CommittedDamaged | the file of the present agent changed | set the device up again with `--agent FILE`
Other | the device's agent is newer than the server | read the message; upgrade the server
""")
"""Of a device's condition `Upgraded`."""

_SECTIONS = {
    "A workload on a device": WORKLOADS,
    "A deployment": DEPLOYMENTS,
    "A device": DEVICES,
    "An order to remove a volume": VOLUMES,
    "An agent's upgrade": UPGRADES,
}
_TOP = """# Reasons

Every reason that a status can have, in `kubectl` and in `fleet`: what it means, and what to do next. `make docs` makes
this page of `fleet/cli/reasons.py`, by which the commands know what to say.
"""


def next_step(table: Table, reason: str, otherwise: str) -> str:
    """What to do about a reason; `otherwise` for one that only a newer server has."""
    known = table.get(reason)
    return known.next_step if known else otherwise


def page() -> str:
    """`docs/reasons.md`."""
    parts = [_TOP]
    for title, table in _SECTIONS.items():
        rows = [f"| `{reason}` | {row.means} | {row.next_step} |" for reason, row in table.items()]
        parts.append("\n".join([f"## {title}", "| reason | what it means | what to do |", "|---|---|---|", *rows, ""]))
    return "\n".join(parts)


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page())
