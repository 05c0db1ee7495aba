"""`systemctl` for a device that is a folder: units below its root, run by the world's supervisor.

Plays `daemon-reload`, `enable`, `disable` (both with `--now`), `start`, `stop`, `restart`, `kill`, `is-active`,
`is-enabled`, `status`, `show`, with systemctl's exit codes (3: not active, 4: no such unit, 5: not loaded) and its
habit of using a unit as it was loaded until the next `daemon-reload`. The device is FLEET_ROOT, the world FLEET_WORLD.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from harness.doubles.units import Unit
from harness.errors import HarnessError, Misused
from harness.parts import PartStatus, ask, put, remove, statuses

_UNITS = "etc/systemd/system"
_LOADED = "run/systemd/loaded"
_KEPT = ("PATH", "FLEET_ROOT", "FLEET_WORLD", "HOME", "LANG", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE")
"""Of the device's own environment; systemd gives a unit even less."""


class Refused(Exception):  # noqa: N818
    """What systemctl says on standard error, and its exit code."""

    def __init__(self, code: int, words: str) -> None:
        """Keep both."""
        super().__init__(words)
        self.code = code


class Systemd:
    """The units of one device."""

    def __init__(self, device_root: Path, world: Path, env: dict[str, str]) -> None:
        """Bind a device to the supervisor that runs its units."""
        self._root = device_root
        self._world = world
        self._env = {key: env[key] for key in _KEPT if key in env}

    def part_name(self, unit: str) -> str:
        """What the world calls a unit of this device: `agent-pi-1` for `fleet-agent.service`."""
        return f"{unit.removesuffix('.service').removeprefix('fleet-')}-{self._root.name}"

    def daemon_reload(self) -> None:
        """Forget what was loaded; the next use reads the files anew."""
        shutil.rmtree(self._root / _LOADED, ignore_errors=True)

    def enable(self, unit: str) -> None:
        """Link it into the targets that want it."""
        text = self._file(unit, "Failed to enable unit: Unit file {unit} does not exist.", 1)
        for target in Unit(unit, text).wanted_by:
            wants = self._root / _UNITS / f"{target}.wants" / unit
            wants.parent.mkdir(parents=True, exist_ok=True)
            wants.unlink(missing_ok=True)
            wants.symlink_to(f"/{_UNITS}/{unit}")

    def disable(self, unit: str) -> None:
        """Remove every such link."""
        self._file(unit, "Failed to disable unit: Unit file {unit} does not exist.", 1)
        for target in (self._root / _UNITS).glob("*.wants"):
            (target / unit).unlink(missing_ok=True)

    def enabled(self) -> list[str]:
        """The units that start at boot."""
        return sorted({wants.name for wants in (self._root / _UNITS).glob("*.wants/*")})

    def start(self, unit: str) -> None:
        """Run it; nothing if it runs."""
        spec = self._loaded(unit, "start").part(self._root, self.part_name(unit), self._env)
        if self.active(unit):
            return
        put(self._world, spec)
        ask(self._world, "look")
        if not self.active(unit):  # the same specification as before, but it had ended
            ask(self._world, "restart", spec.name)

    def stop(self, unit: str) -> None:
        """End it, and wait until it has ended."""
        self._loaded(unit, "stop")
        remove(self._world, self.part_name(unit))
        ask(self._world, "look", timeout=100)

    def restart(self, unit: str) -> None:
        """Stop, and start as it is loaded."""
        self.stop(unit)
        self.start(unit)

    def kill(self, unit: str) -> None:
        """SIGKILL the main process."""
        if not self.active(unit):
            raise Refused(1, f"Failed to kill unit {unit}: Unit {unit} not loaded.")
        ask(self._world, "kill", self.part_name(unit))

    def status(self, unit: str) -> PartStatus | None:
        """What the supervisor knows of it; None: it was never started, or was stopped."""
        return statuses(self._world).get(self.part_name(unit))

    def active(self, unit: str) -> bool:
        """Whether its process runs."""
        status = self.status(unit)
        return status is not None and status.pid is not None

    def state(self, unit: str) -> str:
        """`active`, `activating`, `failed` or `inactive`, as `is-active` prints it."""
        status = self.status(unit)
        if status is None:
            return "inactive"
        if status.pid is not None:
            return "active"
        last = status.exits[-1] if status.exits else None
        spec_restart = self._loaded(unit, "show").last("Service", "Restart", "no")
        if spec_restart == "always" or (spec_restart == "on-failure" and last and last.code != 0):
            return "activating"
        return "failed" if last and last.code != 0 else "inactive"

    def exists(self, unit: str) -> bool:
        """Whether there is a file for it."""
        return (self._root / _UNITS / unit).is_file()

    def _file(self, unit: str, otherwise: str, code: int) -> str:
        try:
            return (self._root / _UNITS / unit).read_text()
        except FileNotFoundError:
            raise Refused(code, otherwise.format(unit=unit)) from None

    def _loaded(self, unit: str, doing: str) -> Unit:
        loaded = self._root / _LOADED / unit
        if not loaded.is_file():
            text = self._file(unit, f"Failed to {doing} {{unit}}: Unit {{unit}} not found.", 5)
            loaded.parent.mkdir(parents=True, exist_ok=True)
            loaded.write_text(text)
        return Unit(unit, loaded.read_text())


def main(argv: list[str]) -> int:
    """Play one command line."""
    verb, now, units, quiet = _parse(argv)
    device = Path(os.environ["FLEET_ROOT"])
    systemd = Systemd(device, Path(os.environ["FLEET_WORLD"]), dict(os.environ))
    try:
        if verb == "daemon-reload":
            systemd.daemon_reload()
            return 0
        return max((_one(systemd, verb, unit, now=now, quiet=quiet) for unit in units), default=1)
    except Refused as error:
        print(error, file=sys.stderr)  # noqa: T201
        return error.code
    except HarnessError as error:
        print(f"Failed to {verb}: {error}", file=sys.stderr)  # noqa: T201
        return 1


def _parse(argv: list[str]) -> tuple[str, bool, list[str], bool]:
    words = [word for word in argv if not word.startswith("-")]
    options = {word for word in argv if word.startswith("-")}
    unknown = options - {"--now", "--quiet", "-q", "--no-pager", "--system"}
    if unknown or not words:
        raise SystemExit(f"systemctl double: cannot play {' '.join(argv) or 'an empty command'}")
    units = [word if "." in word else f"{word}.service" for word in words[1:]]
    return words[0], "--now" in options, units, bool(options & {"--quiet", "-q"})


def _one(systemd: Systemd, verb: str, unit: str, *, now: bool, quiet: bool) -> int:
    if verb in {"is-active", "status", "is-enabled", "show"}:
        return _ask(systemd, verb, unit, quiet=quiet)
    acts = {
        "enable": systemd.enable,
        "disable": systemd.disable,
        "start": systemd.start,
        "stop": systemd.stop,
        "restart": systemd.restart,
        "kill": systemd.kill,
    }
    if verb not in acts:
        raise Refused(1, f"Unknown command verb '{verb}' (systemctl double).")
    acts[verb](unit)
    if now and verb == "enable":
        systemd.start(unit)
    elif now and verb == "disable":
        systemd.stop(unit)
    return 0


def _ask(systemd: Systemd, verb: str, unit: str, *, quiet: bool) -> int:
    if verb == "is-enabled":
        answer, code = ("enabled", 0) if unit in systemd.enabled() else ("disabled", 1)
    elif not systemd.exists(unit) and verb == "status":
        raise Refused(4, f"Unit {unit} could not be found.")
    else:
        answer = systemd.state(unit) if systemd.exists(unit) else "inactive"
        code = 0 if answer == "active" or verb == "show" else 3
    status = systemd.status(unit)
    if verb == "status":
        answer = f"{unit}\n     Active: {answer}\n   Main PID: {status.pid if status else 0}"
    elif verb == "show":
        answer = f"ActiveState={answer}\nMainPID={status.pid if status and status.pid else 0}"
    if not quiet:
        print(answer)  # noqa: T201
    return code


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (KeyError, Misused) as error:
        sys.exit(f"systemctl double: {error}: it runs only on a device of the harness")
