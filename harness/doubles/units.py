"""systemd unit files, as far as an agent's unit needs: parsed, and turned into a part of the world.

Directives follow systemd.unit(5), systemd.service(5) and systemd.exec(5). What restricts or describes a service is
ignored; what would change how it runs, and is not played, is refused rather than ignored.
"""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

from harness.errors import Misused
from harness.parts import PartSpec, Restart

_RESTARTS: dict[str, Restart] = {
    "no": "no",
    "always": "always",
    "on-failure": "on-failure",
    "on-abnormal": "on-failure",
    "on-abort": "on-failure",
}
_UNPLAYED = {"ExecStartPre", "ExecStartPost", "ExecReload", "ExecStop", "ExecStopPost", "Sockets", "WatchdogSec"}
_TYPES = {"simple", "exec"}
_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|sec|min|)")
_SECONDS = {"ms": 0.001, "": 1, "s": 1, "sec": 1, "min": 60}


class Unit:
    """A parsed unit file: every value of every directive, by section."""

    def __init__(self, name: str, text: str) -> None:
        """Parse; a directive may come several times."""
        self.name = name
        self._values: dict[tuple[str, str], list[str]] = {}
        section = ""
        for line in text.replace("\\\n", " ").splitlines():
            bare = line.strip()
            if bare.startswith("[") and bare.endswith("]"):
                section = bare[1:-1]
            elif bare and bare[0] not in "#;" and "=" in bare:
                key, _, value = bare.partition("=")
                self._values.setdefault((section, key.strip()), []).append(value.strip())

    def all(self, section: str, key: str) -> list[str]:
        """Every value of a directive, since the last empty one, which resets it."""
        values = self._values.get((section, key), [])
        resets = [index for index, value in enumerate(values) if not value]
        return values[resets[-1] + 1 :] if resets else values

    def last(self, section: str, key: str, default: str = "") -> str:
        """The value that counts when a directive takes only one."""
        return (self.all(section, key) or [default])[-1]

    @property
    def wanted_by(self) -> list[str]:
        """The targets that pull it in once it is enabled."""
        return [target for value in self.all("Install", "WantedBy") for target in value.split()]

    def part(self, device_root: Path, name: str, env: dict[str, str]) -> PartSpec:
        """The part that plays this unit on a device.

        Raises:
            Misused: it uses what is not played, or has no ExecStart.
        """
        unplayed = sorted(key for section, key in self._values if section == "Service" and key in _UNPLAYED)
        kind = self.last("Service", "Type", "simple")
        if unplayed or kind not in _TYPES:
            raise Misused(
                f"{self.name} uses {', '.join(unplayed) or f'Type={kind}'}, which the systemctl double does not play",
                next_step="teach it in harness/doubles/units.py, or use a libvirt device, which has the real one",
            )
        argv = shlex.split(self.last("Service", "ExecStart"))
        if not argv:
            raise Misused(f"{self.name} has no ExecStart=", next_step="see systemd.service(5)")
        argv[0] = _program(argv[0].lstrip("-@:+!"), device_root, env)
        pause = seconds(self.last("Service", "RestartSec", "100ms"))
        folder = self.last("Service", "WorkingDirectory")
        return PartSpec(
            name=name,
            argv=tuple(argv),
            side="product",
            env={**env, **self._environment()},
            cwd=str(device_root / folder.lstrip("/")) if folder else "",
            restart=_RESTARTS.get(self.last("Service", "Restart", "no"), "no"),
            pause=pause,
            longest_pause=pause,
            grace=seconds(self.last("Service", "TimeoutStopSec", "5s")),
        )

    def _environment(self) -> dict[str, str]:
        pairs = [pair for value in self.all("Service", "Environment") for pair in shlex.split(value)]
        return dict(pair.split("=", 1) for pair in pairs)


def seconds(span: str) -> float:
    """A time span such as `5`, `100ms` or `1min 30s` (systemd.time(7)), in seconds."""
    return sum(float(number) * _SECONDS[unit] for number, unit in _SPAN.findall(span))


def _program(path: str, device_root: Path, env: dict[str, str]) -> str:
    """Where the device keeps a program: below its root, or else what its PATH finds under that name."""
    below = device_root / path.lstrip("/")
    if below.exists():
        return str(below)
    return shutil.which(Path(path).name, path=env.get("PATH")) or str(below)
