"""What machines tell of a failed test, as logs of its world: so they stand in the report, and in its one timeline.

The journal's times are turned to the clock of this machine. No file that may hold a secret is read: of the agent's own
only the journal of upgrades, its counts of crashes, and the names of the others.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from harness.devices import Device
from harness.errors import HarnessError
from harness.scenario.command import Result

_LINES = 3000
_JOURNAL = f"journalctl --no-pager --quiet --output short-unix --lines {_LINES}"
_ASKED = {
    "services": "systemctl status --no-pager --full --lines 5 'fleet-agent*' podman.service podman.socket; "
    "systemctl list-units --failed --no-pager",
    "engine": "for engine in podman docker; do command -v $engine >/dev/null && $engine ps --all --no-trunc && "
    "$engine images && break; done",
    "agent": "ls -lAR /etc/fleet /var/lib/fleet; ls -l /usr/local/bin/fleet-agent*; "
    "tail -n +1 /var/lib/fleet/crashes.json /var/lib/fleet/agent/journal.json",
    "machine": "date --utc; uptime; free -m; df -h; df -i; ip address; dmesg | tail -n 200",
}
"""Scripts of a shell, by the name of the log; what one does not find is part of the answer."""
_TIME = re.compile(r"(\d+\.\d+) (.*)", re.DOTALL)


def machine_logs(run: Callable[[list[str]], Result]) -> dict[str, str]:
    """What a machine tells, by name, given what runs a command on it; a command that fails tells why instead.

    Raises:
        HarnessError: it does not answer.
    """
    before = time.time()
    clock = run(["date", "+%s.%N"])
    ahead = float(clock.stdout) - (before + time.time()) / 2
    journal = run(["sudo", "-n", "sh", "-c", _JOURNAL])
    outputs = {name: run(["sudo", "-n", "sh", "-c", f"{{ {script}; }} 2>&1"]).output for name, script in _ASKED.items()}
    return {
        "journal": "\n".join(_on_our_clock(line, ahead) for line in journal.output.splitlines()),
        **outputs,
        "clock": f"{ahead:+.3f} s ahead of ours; the journal is shown by ours\n",
    }


def save_logs(devices: Iterable[Device], folder: Path) -> None:
    """Write what each device tells to `<device>-<name>.log`; one that does not answer has its error there."""
    with ThreadPoolExecutor() as pool:
        list(pool.map(partial(_save, folder), devices))


def _save(folder: Path, device: Device) -> None:
    logs: Mapping[str, str]
    try:
        logs = device.logs()
    except (HarnessError, OSError, ValueError) as error:
        logs = {"journal": f"{device.id} did not tell: {error}\n"}
    folder.mkdir(exist_ok=True)
    for name, text in logs.items():
        (folder / f"{device.id}-{name}.log").write_text(text)


def _on_our_clock(line: str, ahead: float) -> str:
    """A line of the journal (`short-unix`) with an ISO time of this machine in front."""
    match = _TIME.fullmatch(line)
    if match is None:
        return line
    return f"{datetime.fromtimestamp(float(match[1]) - ahead, UTC).isoformat()} {match[2]}"
