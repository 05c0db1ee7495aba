"""Devices behind one small protocol; what only some can do is a protocol of its own, so a fault exists where it can."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

from harness.scenario.command import Result

BOOT_ID = "/proc/sys/kernel/random/boot_id"


class Device(Protocol):
    """A machine that an agent can live on.

    Attributes:
        id: Its device id.
        kind: Such as `process`, `libvirt`, `ssh`.
        where: The arguments of `fleet device setup` that lead to it.
        env: What a shell has in which a command reaches the device's host; empty where only `run` leads there.
    """

    @property
    def id(self) -> str: ...  # noqa: D102
    @property
    def kind(self) -> str: ...  # noqa: D102
    @property
    def where(self) -> tuple[str, ...]: ...  # noqa: D102

    @property
    def env(self) -> Mapping[str, str]: ...  # noqa: D102

    def run(self, argv: Sequence[str], *, timeout: float = 60) -> Result:
        """Run a command on the device's host, as its administrator.

        Raises:
            DeviceUnreachable: the machine is off, or does not answer.
            CommandHung: the command did not end within `timeout` seconds.
        """
        ...

    def read(self, path: str) -> bytes:
        """A file's content, by its absolute path on the device; as `run` for errors."""
        ...

    def write(self, path: str, data: bytes, *, mode: int = 0o600) -> None:
        """Write a file, whole; as `run` for errors."""
        ...

    def logs(self) -> Mapping[str, str]:
        """What it tells of itself, by name of the log; as `run` for errors."""
        ...

    def boot_id(self) -> str:
        """Its kernel's id of this boot (random(4)): another one after each restart; as `run` for errors."""
        ...


@runtime_checkable
class Killable(Protocol):
    """A device whose power and agent can be cut."""

    def kill_agent(self) -> None:
        """SIGKILL the agent; its unit's `Restart=` decides what follows."""
        ...

    def power_off(self) -> None:
        """Cut the power: nothing on it gets to say goodbye."""
        ...

    def power_on(self) -> None:
        """Boot; returns once enabled units were started."""
        ...

    def reboot(self) -> None:
        """Power off and on."""
        ...


@runtime_checkable
class Pausable(Protocol):
    """A device whose agent can be frozen, as a stalled network or disk would."""

    def pause(self) -> None:
        """Freeze the agent."""
        ...

    def resume(self) -> None:
        """Let it go on."""
        ...


@runtime_checkable
class HasEngine(Protocol):
    """A device whose container engine can be asked from here."""

    @property
    def engine_socket(self) -> str:
        """Path of the engine's socket on this machine."""
        ...


@runtime_checkable
class HasClock(Protocol):
    """A device with a clock of its own, which others do not share."""

    def set_clock(self, at: float) -> None:
        """Set it, in seconds since 1970; it goes on from there. As `Device.run` for errors."""
        ...


@runtime_checkable
class Disconnectable(Protocol):
    """A device whose network can be cut from outside: nothing on it is asked, and `Device.run` reaches it no more."""

    def disconnect(self) -> None:
        """Pull the network's plug."""
        ...

    def reconnect(self) -> None:
        """Put it back; returns once commands reach the device again."""
        ...


@runtime_checkable
class HasConsole(Protocol):
    """A device whose serial console is written down."""

    def console(self) -> str:
        """All that it said since it was made.

        Raises:
            TargetUnavailable: nobody writes it down.
        """
        ...


@runtime_checkable
class Keepable(Protocol):
    """A machine that can be put aside as it is, so that a person can look at it after the run."""

    def keep(self) -> str:
        """Freeze it and count it as returned; another machine takes its place. Returns how to enter it."""
        ...


@runtime_checkable
class Acquirable(Device, Protocol):
    """A machine that exists apart from any run, and is left as it was found: without an agent, and its workloads."""

    @property
    def returned(self) -> bool:
        """Whether it was released, and may be acquired again."""
        ...

    def acquire(self) -> None:
        """Make it a bare machine: end the agent that a test run left, and remove it and its workloads.

        Raises:
            TargetUnavailable: it runs an agent that no test run set up, or does not let us.
            DeviceUnreachable: it does not answer.
        """
        ...

    def release(self) -> None:
        """Make it bare again, and let others have it; as `acquire` for errors."""
        ...
