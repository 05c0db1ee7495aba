"""Devices behind one small protocol; what only some can do is a protocol of its own, so a fault exists where it can."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

from harness.commands import Result


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
class HasLogs(Protocol):
    """A device that tells what happened on it."""

    def logs(self) -> Mapping[str, str]:
        """The text of each of its logs, by name."""
        ...


@runtime_checkable
class HasEngine(Protocol):
    """A device whose container engine can be asked from here."""

    @property
    def engine_socket(self) -> str:
        """Path of the engine's socket on this machine."""
        ...


@runtime_checkable
class Borrowed(Device, Protocol):
    """A machine that exists apart from any run, and is left as it was found: without an agent, and its workloads."""

    @property
    def returned(self) -> bool:
        """Whether it was given back, and may be lent again."""
        ...

    def lend(self) -> None:
        """Make it a bare machine: end the agent that a test run left, and remove it and its workloads.

        Raises:
            TargetUnavailable: it runs an agent that no test run set up, or does not let us.
            DeviceUnreachable: it does not answer.
        """
        ...

    def give_back(self) -> None:
        """Make it bare again, and let others have it; as `lend` for errors."""
        ...
