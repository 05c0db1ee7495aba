"""The exact command for each next step, to copy; `tests/web/test_commands.py` has the command line parse them."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from fleet.contract.config import DEFAULT_NAMESPACE
from fleet.contract.names import DeploymentName
from fleet.contract.objects import DEPLOYMENTS, DEVICES, GROUP
from fleet.contract.printable import one_line
from fleet.contract.sealed import mark_sealable
from fleet.contract.upgrade import UpgradeReason
from fleet.contract.volumes import VolumeOrder
from fleet.contract.wire import Reason

_REPLACE = "fleet device enroll --device-id {name} --out {name}.json --replace"
_SHOW = "fleet device show {name}"
_SERVER = "fleet server status"
_LOGS = "fleet device logs {name} --deployment {workload}"
_BY_REASON = {
    "NoSubject": "fleet device enroll --device-id {name} --out {name}.json",
    "SubjectTaken": _REPLACE,
    "Revoked": _REPLACE,
    "TwoDevicesBeat": _REPLACE,
    "NeverSeen": "fleet device setup --config {name}.json",
    "Flooding": "fleet device release {name}",
    "Cordoned": "fleet device uncordon {name}",
    "UnknownVersion": "fleet agent list",
    "LeftBehind": "fleet secrets bundle",
    "NotTakenYet": "fleet secrets rotate ca_key --leave-behind {name}",
    "NatsSilent": _SERVER,
    "NotYetSeen": _SERVER,
    "Revoking": _SERVER,
    "SecretNotRead": _SERVER,
    "ControlPlaneUnreachable": _SERVER,
    "StopNotOrdered": _SERVER,
    "NotConfirmed": _SERVER,
}
"""What helps more than a look at the device, by reason."""
_TAKE_BACK = "fleet device remove-volume {name} {volume.name} --deployment {volume.deployment}{former} --cancel"
_SET_UP = "fleet device setup --config {name}.json --agent fleet-agent-{version} --trusted-keys trusted-keys.json"
_OF_DEPLOYMENTS = {
    "Paused": "fleet deployment resume {name}",
    "NoDevices": "fleet device list",
    "ReadyWhenLastHeard": "fleet device list",
    "NatsSilent": _SERVER,
    "NotYetSeen": _SERVER,
    "SecretNotRead": _SERVER,
}
"""What helps more than a look at the deployment, by reason."""
_LOGGED = frozenset({Reason.CRASH_LOOP.value, Reason.EXITED.value, Reason.HEALTH_CHECK_FAILED.value})
"""Reasons of a workload of which its log says more."""


def has_logs(workload: str, reason: str) -> bool:
    """Whether a workload's log says more of it; of a name that no command would take there is none."""
    return reason in _LOGGED and DeploymentName.grammar.fullmatch(workload) is not None


def for_device(
    name: str,
    reasons: tuple[str, ...],
    namespace: str,
    failing: tuple[str, ...] = (),
    *,
    version: str = "",
    unanswered: Sequence[VolumeOrder] = (),
) -> list[str]:
    """What to type about a device, the most helpful first; `failing` are its workloads whose logs say more.

    `version` is that of the agent that is wanted, `unanswered` are the orders that it has not answered.
    """
    wanted = [_BY_REASON[reason].format(name=name) for reason in reasons if reason in _BY_REASON]
    if UpgradeReason.NOT_UPGRADABLE.value in reasons and version:
        wanted += [_SET_UP.format(name=name, version=shlex.quote(one_line(version)))]
    for order in unanswered:
        former = f" --former {shlex.quote(order.former)}" if order.former else ""
        wanted += [_TAKE_BACK.format(name=name, volume=order, former=former)]
    wanted += [_LOGS.format(name=name, workload=workload) for workload in failing]
    wanted += [_SHOW.format(name=name)]
    return [*_within(wanted, namespace), describe(DEVICES, name, namespace)]


def for_deployment(
    name: str, namespace: str, reason: str = "", *, failing: str = "", may_go_back: bool = False, withheld: str = ""
) -> list[str]:
    """What to type about a deployment, the most helpful first.

    `reason` is why it is as it is, `failing` a device on which its log says more, and `may_go_back` is whether a former
    revision is kept. `withheld` is the Secret that devices may not have.
    """
    wanted = [f"{mark_sealable(withheld)} -n {namespace}"] if withheld else []
    wanted += [_LOGS.format(name=failing, workload=name)] if failing else []
    wanted += [_OF_DEPLOYMENTS[reason].format(name=name)] if reason in _OF_DEPLOYMENTS else []
    wanted += [f"fleet deployment show {name}"]
    if may_go_back:
        wanted += [f"fleet deployment history {name}", f"fleet deployment rollback {name} --dry-run"]
    return [*_within(wanted, namespace), describe(DEPLOYMENTS, name, namespace)]


def describe(kind: str, name: str, namespace: str) -> str:
    """What shows an object of a kind (its plural) whatever it holds; its name is quoted where a shell asks for it."""
    return f"kubectl describe {kind}.{GROUP} {shlex.quote(one_line(name))} -n {namespace}"


def for_server(namespace: str) -> list[str]:
    """What to type about the server."""
    return _within([_SERVER], namespace)


def for_secret(name: str, namespace: str) -> str:
    """What renews a secret."""
    return _within([f"fleet secrets rotate {name}"], namespace)[0]


def _within(commands: list[str], namespace: str) -> list[str]:
    """Each once, and in the namespace that is meant."""
    where = "" if namespace == DEFAULT_NAMESPACE else f" --namespace {namespace}"
    return [
        f"{command}{'' if command.startswith(('fleet device setup', 'kubectl ')) else where}"
        for command in dict.fromkeys(commands)
    ]
