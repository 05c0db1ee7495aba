"""A device that is a folder and an agent process: its root, its `systemctl`, its socket to an engine."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

from msgspec.structs import replace

from harness.devices import BOOT_ID
from harness.doubles.systemctl.manager import Systemd
from harness.errors import CommandHung, DeviceUnreachable, Misused, TargetUnavailable
from harness.processes.spawn import python_script, tail
from harness.processes.spec import ask, put, record, write_atomic
from harness.scenario.command import Result, run

AGENT_UNIT = "fleet-agent.service"
"""The unit that `fleet device setup` installs."""
_LONGEST_ID = 63
_OURS = ("fleet", "fleet-agent")
"""Our own commands that a device has."""
_FORBIDDEN = re.compile(
    r"systemctl|systemd.*|journalctl|loginctl|hostnamectl|timedatectl|service|init|telinit|reboot|shutdown|poweroff|halt"
    r"|docker.*|podman.*|ctr|containerd.*|apt.*|dpkg.*"
)
"""Commands of this machine that would act on this machine; a device has doubles of them, or none."""


class ProcessDevice:
    """Satisfies `Device`, `Killable`, `Pausable` and `HasEngine`."""

    kind = "process"

    def __init__(self, world: Path, name: str, base_env: Mapping[str, str], engine: str) -> None:
        """Make the root folder of a new device, or attach to an existing one.

        Raises:
            Misused: `name` cannot be a folder name of at most 63 characters.
        """
        if "/" in name or not 0 < len(name) <= _LONGEST_ID:
            raise Misused(f"{name!r} cannot name a device", next_step="use world.unique(...), at most 63 characters")
        self.id = name
        self.root = world / "devices" / name
        self._world = world
        self._on = True
        # What sshd gives a command on a real host, and which folder plays the device: it must not lack what we have.
        self.env: Mapping[str, str] = {
            **{variable: base_env[variable] for variable in ("LANG",) if variable in base_env},
            "PATH": os.pathsep.join([str(_commands(world)), str(_machine_commands(world, base_env))]),
            "HOME": str(self.root / "root"),
            "FLEET_ROOT": str(self.root),
            "FLEET_WORLD": str(world),
        }
        self._systemd = Systemd(self.root, world, dict(self.env))
        for folder in ("etc/systemd/system", "run", "tmp", "root", "var/lib"):
            (self.root / folder).mkdir(parents=True, exist_ok=True)
        socket = self.root / "run" / "docker.sock"
        if not socket.is_symlink():
            socket.symlink_to(engine)
            self._new_boot()

    @property
    def where(self) -> tuple[str, ...]:
        """The device is a root folder on this machine."""
        return ("--root", str(self.root))

    @property
    def engine_socket(self) -> str:
        """The socket that the agent uses."""
        return str(self.root / "run" / "docker.sock")

    @property
    def agent(self) -> str:
        """The name of the agent's component in the world: of the version that runs, where versions are units."""
        running = [unit for unit in self._systemd.known() if "@" in unit and self._systemd.running(unit)]
        return self._systemd.component_name(running[0] if running else AGENT_UNIT)

    def run(self, argv: Sequence[str], *, timeout: float = 60) -> Result:
        """As `Device.run`: with the device's own PATH and root in the environment."""
        self._must_be_on()
        result = run(argv, " ".join(argv), env=self.env, folder=self.root, deadline=timeout, on_line=lambda _: None)
        if result.code is None:
            raise CommandHung(f"on {self.id}: {result}", next_step="see the device's logs")
        return result

    def read(self, path: str) -> bytes:
        """As `Device.read`."""
        self._must_be_on()
        return (self.root / path.lstrip("/")).read_bytes()

    def write(self, path: str, data: bytes, *, mode: int = 0o600) -> None:
        """As `Device.write`."""
        self._must_be_on()
        write_atomic(self.root / path.lstrip("/"), data, mode=mode)

    def kill_agent(self) -> None:
        """As `Killable.kill_agent`."""
        ask(self._world, "kill", self.agent)

    def power_off(self) -> None:
        """As `Killable.power_off`. What the engine runs goes on: a shared engine has no plug per device."""
        record(self._world, "power cut", component=self.id, asked=True)
        for spec in self._systemd.components():
            put(self._world, replace(spec, run=False, grace=0))
        ask(self._world, "reconcile")
        self._on = False

    def power_on(self) -> None:
        """As `Killable.power_on`."""
        record(self._world, "power on", component=self.id, asked=True)
        self._on = True
        self._new_boot()
        self._systemd.boot()

    def reboot(self) -> None:
        """As `Killable.reboot`."""
        self.power_off()
        self.power_on()

    def pause(self) -> None:
        """As `Pausable.pause`."""
        ask(self._world, "pause", self.agent)

    def resume(self) -> None:
        """As `Pausable.resume`."""
        ask(self._world, "resume", self.agent)

    def boot_id(self) -> str:
        """As `Device.boot_id`."""
        return self.read(BOOT_ID).decode().strip()

    def logs(self) -> Mapping[str, str]:
        """As `Device.logs`: what each of the device's units said."""
        return {spec.name: tail(self._world / "logs" / f"{spec.name}.log", 1000) for spec in self._systemd.components()}

    def _must_be_on(self) -> None:
        if not self._on:
            raise DeviceUnreachable(f"{self.id} is powered off", next_step="power_on() it first")

    def _new_boot(self) -> None:
        """A boot id of its own (random(4)), which the machine's kernel cannot give to each device."""
        write_atomic(self.root / BOOT_ID.lstrip("/"), f"{uuid.uuid4()}\n".encode(), mode=0o644)


def _write_program(path: Path, command: Path, played: str) -> None:
    """A program that is one of our commands, with the modules of the checkout that is played."""
    module = path.parent.parent / "played" / f"run-{command.name}.py"
    # Not by PYTHONPATH: what the program starts would have it too.
    lines = [
        "import runpy, sys",
        f"sys.path[:0] = {played.split(os.pathsep)!r}",
        f"runpy.run_path({str(command)!r}, run_name='__main__')",
    ]
    write_atomic(module, "".join(f"{line}\n" for line in lines).encode())
    write_atomic(path, python_script(str(module)).encode(), mode=0o755)


def _commands(world: Path) -> Path:
    """The folder of commands that only devices have on their PATH: the double, and a Python with nothing of ours."""
    folder = world / "devbin" / "bin"
    if not (folder / "systemctl").exists():
        ours = Path(sys.executable).resolve()
        # An environment without packages (PEP 405): what this machine's own Python has is no part of a device.
        config = f"home = {ours.parent}\ninclude-system-site-packages = false\n"
        write_atomic(folder.parent / "pyvenv.cfg", config.encode(), mode=0o644)
        (folder / "python3").unlink(missing_ok=True)
        folder.mkdir(exist_ok=True)
        (folder / "python3").symlink_to(ours)
        script = python_script("-m", "harness.doubles.systemctl")
        write_atomic(folder / "systemctl", script.encode(), mode=0o755)
    if not os.access(folder / "systemctl", os.X_OK):
        raise TargetUnavailable(
            f"programs in {world} may not be executed: its file system is mounted noexec",
            next_step="set TMPDIR to a folder on another file system",
        )
    return folder


def _machine_commands(world: Path, base_env: Mapping[str, str]) -> Path:
    """A folder of links to this machine's commands, without those that would change this machine instead of a device.

    The double of `systemctl` stands before it on a device's PATH. A double that cannot be executed must not be replaced
    by the machine's own command. Our own commands are those of the checkout that is played, where `PYTHONPATH` names
    one that is not the installed one: a device has no such variable.
    """
    played = base_env.get("PYTHONPATH", "")
    folder = world / "machine-bin"
    if folder.exists():
        return folder
    whole = folder.with_name(f"{folder.name}.{uuid.uuid4().hex}")
    whole.mkdir()
    for place in map(Path, base_env["PATH"].split(os.pathsep)):
        for command in place.iterdir() if place.is_dir() else ():
            link = whole / command.name
            if _FORBIDDEN.fullmatch(command.name) or os.path.lexists(link):
                continue
            if played and command.name in _OURS:
                _write_program(link, command, played)
            else:
                link.symlink_to(command)
    with contextlib.suppress(OSError):  # another process was faster
        whole.rename(folder)
    return folder
