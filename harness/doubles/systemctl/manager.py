"""The manager of one device's units: what runs, what starts at boot, and what may be asked of it."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

from msgspec.structs import replace

from harness.doubles.systemctl.units import Unit, template, valid_name
from harness.processes.spec import ComponentSpec, ComponentStatus, Request, ask, put, remove, specs, statuses, tell
from harness.wait import wait_until

UNITS = "etc/systemd/system"
_LOADED = "run/systemd/loaded"
_KEPT = ("PATH", "FLEET_ROOT", "FLEET_WORLD", "LANG")
"""Of the device's own environment: what systemd gives a unit, and which folder plays the device."""
_STOP = 100.0
"""Seconds: longer than the longest grace of a unit."""
_ONESHOT = 60.0
"""Seconds that a oneshot unit may take here; the real one waits for ever."""


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

    def component_name(self, unit: str) -> str:
        """What the world calls a unit of this device: `agent-pi-1` for `fleet-agent.service`."""
        return f"{unit.removesuffix('.service').removeprefix('fleet-')}-{self._root.name}"

    def daemon_reload(self) -> None:
        """Forget what was loaded; the next use reads the files anew."""
        shutil.rmtree(self._root / _LOADED, ignore_errors=True)

    def enable(self, unit: str) -> None:
        """Link it into the targets that want it."""
        source, text = self._file(unit, f"Failed to enable unit: Unit file {unit} does not exist.", 1)
        for target in Unit(unit, text).wanted_by:
            wants = self._root / UNITS / f"{target}.wants" / unit
            wants.parent.mkdir(parents=True, exist_ok=True)
            wants.unlink(missing_ok=True)
            wants.symlink_to(f"/{UNITS}/{source}")

    def disable(self, unit: str) -> None:
        """Remove every such link."""
        self._file(unit, f"Failed to disable unit: Unit file {unit} does not exist.", 1)
        for target in (self._root / UNITS).glob("*.wants"):
            (target / unit).unlink(missing_ok=True)

    def enabled(self) -> list[str]:
        """The units that start at boot."""
        return sorted({wants.name for wants in (self._root / UNITS).glob("*.wants/*")})

    def boot(self) -> None:
        """Nothing runs, nothing is remembered of the boot before; start what is enabled, and wait for it."""
        self.daemon_reload()
        for unit in self.known():
            remove(self._world, self.component_name(unit))
        ask(self._world, "reconcile", timeout=_STOP)
        for unit in self.enabled():
            self.start(unit)

    def start(self, unit: str, *, wait: bool = True) -> None:
        """Run it; nothing if it is active. Without `wait` it returns before a oneshot unit has ended."""
        loaded = self._loaded(unit, "start")
        if self.state(unit) == "active":
            return
        spec = loaded.component(self._root, self.component_name(unit), self._env)
        if loaded.last("Service", "Type") == "exec" and not os.access(spec.argv[0], os.X_OK):
            raise Refused(1, f"Job for {unit} failed because the control process exited with error code.")
        before = self._starts(unit)
        put(self._world, spec)
        ask(self._world, "reconcile")
        if self._starts(unit) == before:  # the same specification as before, but it had ended
            ask(self._world, "restart", spec.name)
        if loaded.oneshot and wait:
            wait_until(lambda: self._ended(unit), f"{unit} has ended", timeout=_ONESHOT, interval=0.02)
        status = self.status(unit)
        if status is not None and status.result == "start-limit-hit":
            raise Refused(1, f"Job for {unit} failed.\n{unit}: Start request repeated too quickly.")
        if loaded.oneshot and wait and self.state(unit) == "failed":
            raise Refused(1, f"Job for {unit} failed because the control process exited with error code.")

    def stop(self, unit: str, *, wait: bool = True) -> None:
        """End it, and wait until it has ended."""
        self._loaded(unit, "stop")
        spec = specs(self._world).get(self.component_name(unit))
        if spec is not None:
            put(self._world, replace(spec, run=False))
            tell(self._world, Request("reconcile", wait=wait), timeout=_STOP)

    def restart(self, unit: str) -> None:
        """Stop, and start as it is loaded."""
        self.stop(unit)
        self.start(unit)

    def kill(self, unit: str, number: signal.Signals = signal.SIGTERM, *, alone: bool = False) -> None:
        """Send a signal to every process of it, or to the main one alone."""
        if not self.running(unit):
            raise Refused(1, f"Failed to kill unit {unit}: Unit {unit} not loaded.")
        tell(self._world, Request("signal", self.component_name(unit), number, alone))

    def reset_failed(self, unit: str) -> None:
        """Forget that it failed, and how often it was started."""
        if not self.running(unit):
            remove(self._world, self.component_name(unit))
            ask(self._world, "reconcile")

    def status(self, unit: str) -> ComponentStatus | None:
        """What the supervisor knows of it; None: it was never started."""
        return statuses(self._world).get(self.component_name(unit))

    def running(self, unit: str) -> bool:
        """Whether its process runs."""
        status = self.status(unit)
        return status is not None and status.pid is not None

    def state(self, unit: str) -> str:
        """`active`, `activating`, `failed` or `inactive`, as `is-active` prints it."""
        status, spec = self.status(unit), specs(self._world).get(self.component_name(unit))
        if status is None or spec is None:
            return "inactive"
        loaded = self._loaded(unit, "show")
        if status.pid is not None:
            return "activating" if loaded.oneshot else "active"
        if not spec.run:
            return "inactive"
        if status.result == "success":
            return "active" if loaded.remains else "inactive"
        return "failed" if status.result else "activating"

    def exists(self, unit: str) -> bool:
        """Whether there is a file for it."""
        return any((self._root / UNITS / name).is_file() for name in (unit, template(unit)) if name)

    def known(self) -> list[str]:
        """The units that were started since the device was made."""
        return sorted(_unit_name(spec, self._root.name) for spec in self.components())

    def components(self) -> list[ComponentSpec]:
        """The components of the world that play this device's units."""
        return [spec for spec in specs(self._world).values() if spec.env.get("FLEET_ROOT") == str(self._root)]

    def _starts(self, unit: str) -> int:
        status = self.status(unit)
        return status.starts if status is not None else 0

    def _ended(self, unit: str) -> bool:
        status = self.status(unit)
        return status is not None and bool(status.result)

    def _file(self, unit: str, otherwise: str, code: int) -> tuple[str, str]:
        """The file's name and text: its own, or that of its template."""
        if not valid_name(unit):
            raise Refused(1, f"Invalid unit name {unit!r}.")
        for name in (unit, template(unit)):
            if name and (self._root / UNITS / name).is_file():
                return name, (self._root / UNITS / name).read_text()
        raise Refused(code, otherwise)

    def _loaded(self, unit: str, doing: str) -> Unit:
        loaded = self._root / _LOADED / unit
        if not loaded.is_file():
            _, text = self._file(unit, f"Failed to {doing} {unit}: Unit {unit} not found.", 5)
            loaded.parent.mkdir(parents=True, exist_ok=True)
            loaded.write_text(text)
        return Unit(unit, loaded.read_text())


def _unit_name(spec: ComponentSpec, device: str) -> str:
    return f"fleet-{spec.name.removesuffix(f'-{device}')}.service"
