"""systemd unit files, as far as an agent's units need: parsed, and turned into a component of the world.

Directives follow systemd.unit(5), systemd.service(5), systemd.kill(5) and systemd.exec(5). What restricts or describes
a service is ignored; what would change how it runs, and is not played, is refused rather than ignored.
"""

from __future__ import annotations

import re
import shlex
import shutil
import signal
from pathlib import Path

from harness.errors import Misused
from harness.processes.spec import ComponentSpec, KillMode, Restart

_RESTARTS: dict[str, Restart] = {"no": "no", "always": "always", "on-failure": "on-failure"}
_KILLS: dict[str, KillMode] = {"control-group": "group", "mixed": "mixed", "process": "process"}
_UNPLAYED = {"ExecStartPre", "ExecStartPost", "ExecReload", "ExecStop", "ExecStopPost", "Sockets", "WatchdogSec"}
_TYPES = {"simple", "exec", "oneshot"}
_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|sec|min|)")
_SECONDS = {"ms": 0.001, "": 1, "s": 1, "sec": 1, "min": 60}
_YES = {"yes", "true", "on", "1"}
_NAME = re.compile(r"[A-Za-z0-9:_.\\-]+(@[A-Za-z0-9:_.\\-]*)?\.(service|target)")
"""systemd.unit(5): what a unit's name may hold. A version's `+build` is not among it."""


class Unit:
    """A parsed unit file: every value of every directive, by section. `name` is that of the instance."""

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
        return [self._specified(value) for value in (values[resets[-1] + 1 :] if resets else values)]

    def last(self, section: str, key: str, default: str = "") -> str:
        """The value that counts when a directive takes only one."""
        return (self.all(section, key) or [default])[-1]

    @property
    def wanted_by(self) -> list[str]:
        """The targets that pull it in once it is enabled."""
        return [target for value in self.all("Install", "WantedBy") for target in value.split()]

    @property
    def oneshot(self) -> bool:
        """Whether starting it means running it to its end."""
        return self.last("Service", "Type", "simple") == "oneshot"

    @property
    def remains(self) -> bool:
        """Whether it counts as active after its process has ended well."""
        return self.last("Service", "RemainAfterExit") in _YES

    def component(self, device_root: Path, name: str, env: dict[str, str]) -> ComponentSpec:
        """The component that plays this unit on a device.

        Raises:
            Misused: it uses what is not played, or has no ExecStart.
        """
        self._refuse_unplayed()
        argv = shlex.split(self.last("Service", "ExecStart"))
        if not argv:
            raise Misused(f"{self.name} has no ExecStart=", next_step="see systemd.service(5)")
        argv[0] = program(argv[0].lstrip("-@:+!"), device_root, env)
        pause = seconds(self.last("Service", "RestartSec", "100ms"))
        folder = self.last("Service", "WorkingDirectory")
        window = seconds(self.last("Unit", "StartLimitIntervalSec", "10s"))
        return ComponentSpec(
            name=name,
            argv=tuple(argv),
            side="product",
            env={**env, **self._environment()},
            inherits=False,
            cwd=str(device_root / folder.lstrip("/")) if folder else "",
            restart=_RESTARTS[self.last("Service", "Restart", "no")],
            pause=pause,
            longest_pause=pause,
            grace=seconds(self.last("Service", "TimeoutStopSec", "90s")),
            kill=_KILLS[self.last("Service", "KillMode", "control-group")],
            clean=self._codes("SuccessExitStatus"),
            stay_down=self._codes("RestartPreventExitStatus"),
            # systemd-system.conf(5), DefaultStartLimitBurst=; an interval of 0 lifts the limit.
            burst=int(self.last("Unit", "StartLimitBurst", "5")) if window else 0,
            window=window,
        )

    def _refuse_unplayed(self) -> None:
        unplayed = sorted(key for section, key in self._values if section == "Service" and key in _UNPLAYED)
        for key, played, default in (
            ("Type", _TYPES, "simple"),
            ("Restart", set(_RESTARTS), "no"),
            ("KillMode", set(_KILLS), "control-group"),
        ):
            value = self.last("Service", key, default)
            unplayed += [] if value in played else [f"{key}={value}"]
        if unplayed:
            raise Misused(
                f"{self.name} uses {', '.join(unplayed)}, which the systemctl double does not play",
                next_step="teach it in harness/doubles/systemctl/units.py, or use a device with the real one",
            )

    def _codes(self, key: str) -> tuple[int, ...]:
        words = [word for value in self.all("Service", key) for word in value.split()]
        return tuple(int(word) if word.isdigit() else -signal.Signals[word] for word in words)

    def _environment(self) -> dict[str, str]:
        pairs = [pair for value in self.all("Service", "Environment") for pair in shlex.split(value)]
        return dict(pair.split("=", 1) for pair in pairs)

    def _specified(self, value: str) -> str:
        """A value with its specifiers replaced (systemd.unit(5), "Specifiers")."""
        stem = self.name.rpartition(".")[0]
        prefix, _, instance = stem.partition("@")
        specifiers = {"i": instance, "n": self.name, "N": stem, "p": prefix, "%": "%"}

        def replaced(match: re.Match[str]) -> str:
            if match[1] not in specifiers:
                raise Misused(f"{self.name} uses %{match[1]}", next_step="use %i, %n, %N or %p, or teach the double")
            return specifiers[match[1]]

        return re.sub(r"%(.)", replaced, value)


def valid_name(name: str) -> bool:
    """Whether systemd takes this as a unit's name."""
    return bool(_NAME.fullmatch(name))


def template(name: str) -> str:
    """The template that an instance such as `a@b.service` is made from; empty for a plain unit."""
    prefix, at, rest = name.partition("@")
    return f"{prefix}@.{rest.rpartition('.')[2]}" if at else ""


def seconds(span: str) -> float:
    """A time span such as `5`, `100ms` or `1min 30s` (systemd.time(7)), in seconds."""
    return sum(float(number) * _SECONDS[unit] for number, unit in _SPAN.findall(span))


def program(path: str, device_root: Path, env: dict[str, str]) -> str:
    """Where the device keeps a program: below its root, or else what its PATH finds under that name."""
    below = device_root / path.lstrip("/")
    if below.exists():
        return str(below)
    return shutil.which(Path(path).name, path=env.get("PATH")) or str(below)
