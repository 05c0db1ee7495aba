"""Have another key follow the one that signs the agents of devices."""

from __future__ import annotations

import json
from dataclasses import dataclass

from fleet.contract.release_keys import RELEASE_KEY
from fleet.contract.upgrade import UpgradePhase, UpgradeReason
from harness.scenario.command import Result
from harness.scenario.command_line import Command, killed
from harness.scenario.run import Run
from harness.scenario.scenario import Scenario
from harness.wait import wait_until
from scenarios import checks
from scenarios.rotate import LIST, secrets_in
from scenarios.upgrade import ENDED, ends
from scenarios.workloads import web

_BEFORE, _AFTER = "v0.1.8", "v0.1.9"
_BUILD = "fleet agent build --out . --architecture {arch} --python {python} --version"
_ROTATE = "fleet secrets rotate release_key --key release.key --out release-2.key --trusted-keys trusted-keys.json"

rotate_release_key = Scenario(
    id="rotate-release-key",
    title="Renew the key that signs agents",
    chapter="Rotate",
    why="A device takes an agent only if a key that it trusts has signed it. Another key takes the place of that one "
    "without a visit to any device: the server carries lists that the owner's keys sign, and can make none itself.",
)


@dataclass(frozen=True)
class Before:
    """The container that must not be touched."""

    container: str


@rotate_release_key.step(
    "Set up a device that takes agents",
    "fleet agent new-key --out release.key --trusted-keys trusted-keys.json",
    Command(f"{_BUILD} {_BEFORE} --key release.key", deadline=300),
    "fleet device enroll --device-id {device} --label site={site} --heartbeat-interval 1"
    " --admin-token-file {admin_token_file} --out {config}",
    Command(
        f"fleet device setup --config {{config}} --agent fleet-agent-{_BEFORE}"
        " --trusted-keys trusted-keys.json {where}",
        on="device",
        deadline=60,
    ),
    look_at=("agent:device", "operator"),
)
def set_up(run: Run, *_results: Result) -> None:
    """It is online, and says which list of keys it has: the one of the set-up."""
    checks.online(run)
    _has_list(run, 0)


@rotate_release_key.step("Run a workload", web(), look_at=("agent:device",))
def workload(run: Run, _applied: Result) -> None:
    """It must not notice anything of what follows."""
    checks.settled(run)
    run.keep(Before(checks.running(run).id))


@rotate_release_key.step(
    "Say what would be done",
    Command(f"{_ROTATE} --dry-run", contains=("a list that adds the new key is signed by the old one",)),
)
def nothing_changed(run: Run, _said: Result) -> None:
    """Nothing has changed, and no key was made."""
    assert not (run.folder / "release-2.key").exists()
    _has_list(run, 0)


@rotate_release_key.step(
    "Renew the key, and be cut off",
    # It waits for a device that has never reported, so it cannot end by itself.
    "fleet device enroll --device-id {device}-away --admin-token-file {admin_token_file} --out away.json",
    killed(f"{_ROTATE} --wait", at="device {device}-away: it does not say", deadline=120),
    look_at=("agent:device",),
)
def cut_off(run: Run, _enrolled: Result, _cut: Result) -> None:
    """Wherever it was, the device works."""
    checks.online(run)


@rotate_release_key.step(
    "Revoke the device that never reported, and go on",
    "fleet device revoke {device}-away",
    Command(f"{_ROTATE} --wait", contains=("sign agents with it, and destroy the old one",), deadline=120),
    LIST,
    "fleet device delete {device}-away",
    look_at=("agent:device",),
)
def renewed(run: Run, _revoked: Result, _rotated: Result, result: Result, _deleted: Result) -> None:
    """A revoked device holds nothing up. It ends where it would have ended: the other's list has no old key."""
    number = json.loads((run.folder / "trusted-keys.json").read_text())["number"]
    _has_list(run, number)
    shown = secrets_in(result)[RELEASE_KEY]
    assert shown["state"] == "current", shown
    assert shown["id"] == f"list {number}", shown


@rotate_release_key.step(
    "Upgrade the device to an agent that the new key has signed",
    Command(f"{_BUILD} {_AFTER} --key release-2.key", deadline=300),
    Command(f"fleet agent publish fleet-agent-{_AFTER}", deadline=60),
    Command(f"fleet device upgrade {{device}} --to {_AFTER} --wait", contains=(f"runs {_AFTER}",), deadline=ENDED),
    look_at=("agent:device", "operator"),
)
def taken(run: Run, *_results: Result) -> None:
    """The device takes it, and the workload is the same container."""
    assert str(ends(run, UpgradePhase.COMMITTED).committed) == _AFTER
    assert checks.running(run).id == run.kept(Before).container, "the workload was touched"


@rotate_release_key.step(
    "Order an agent that the old key has signed",
    Command(f"fleet agent publish fleet-agent-{_BEFORE}", deadline=60),
    Command(f"fleet device upgrade {{device}} --to {_BEFORE} --wait", 1, contains=("KeyRevoked",), deadline=ENDED),
    look_at=("agent:device",),
)
def refused(run: Run, *_results: Result) -> None:
    """The device refuses it (`KeyRevoked`), though it has run it before; its own agent goes on."""
    assert ends(run, UpgradePhase.REFUSED).reason is UpgradeReason.KEY_REVOKED
    assert str(checks.next_beat(run).agent_version) == _AFTER


@rotate_release_key.step(
    "Ask for the way back",
    Command(f"{_ROTATE} --abort", 7, contains=("there is no way back",)),
    Command(_ROTATE, contains=("nothing to do, still",)),
)
def no_way_back(run: Run, *_results: Result) -> None:
    """There is none any more, and a repeat changes nothing."""
    assert checks.running(run).id == run.kept(Before).container, "the workload was touched"


def _has_list(run: Run, number: int) -> None:
    def said(held: object) -> bool:
        return held == number

    def numbered() -> int | None:
        info = checks.device(run).status.info
        return info.release_keys.number if info and info.release_keys and info.release_keys.digest else None

    wait_until(numbered, f"Kubernetes shows that the device has the list {number}", timeout=checks.ROLLOUT, until=said)
