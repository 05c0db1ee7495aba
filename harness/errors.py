"""Every way in which the world (not the product) can be wrong, for a person to read.

A wrong product is an `AssertionError` (Allure: failed). What stands here is the environment's fault (Allure: broken):
each error says what was found and what to do next.

    HarnessError              anything below
    ├── Misused               an option, a name or a call of the harness itself is wrong
    ├── TargetUnavailable     a target was asked for, and what it needs is missing
    ├── BinaryMissing         a real server is neither given, nor cached, nor buildable here
    ├── BuildFailed           Go ran, and failed
    ├── PortTaken             somebody else listens where a component of the world must
    ├── DiskFull              no space left where the world lives
    ├── ComponentDied              a server of the world ended without being asked
    ├── ComponentNotReady          a server of the world runs, but does not answer in time
    ├── IdentityProviderDown  the issuer does not answer
    ├── EngineUnavailable     no container engine answers, and none could be started
    ├── DeviceUnreachable     a machine does not answer (SSH, libvirt)
    ├── CommandHung           a command did not end before its deadline
    ├── Unanswered            a probe got no answer; `wait_until` asks again until its deadline
    └── WorldBroken           an earlier failure left the world unfit for more tests
"""

from __future__ import annotations

import errno
from pathlib import Path


class HarnessError(Exception):
    """Base of the tree: a sentence about what was found and one about what to do next."""

    def __init__(self, what: str, *, next_step: str) -> None:
        """Keep both sentences; `str()` shows them on two lines."""
        super().__init__(what)
        self.what = what
        self.next_step = next_step

    def __str__(self) -> str:
        return f"{self.what}\n  next: {self.next_step}"


class Misused(HarnessError):  # noqa: N818 - reads as what it is
    """An option, a name or a call of the harness is wrong."""


class TargetUnavailable(HarnessError):  # noqa: N818
    """A target was asked for, and what it needs is missing; asked-for targets fail, they never skip."""


class BinaryMissing(HarnessError):  # noqa: N818
    """A real server is neither given by a variable, nor in the cache, nor can it be built."""


class BuildFailed(HarnessError):  # noqa: N818
    """Go ran, and failed."""


class PortTaken(HarnessError):  # noqa: N818
    """Another program listens on a port that the world needs."""


class DiskFull(HarnessError):  # noqa: N818
    """No space is left where the world lives."""


class ComponentDied(HarnessError):  # noqa: N818
    """A server of the world ended without being asked."""


class ComponentNotReady(HarnessError):  # noqa: N818
    """A server of the world runs, but does not answer in time."""


class IdentityProviderDown(HarnessError):  # noqa: N818
    """The issuer does not answer."""


class EngineUnavailable(HarnessError):  # noqa: N818
    """No container engine answers, and none could be started."""


class DeviceUnreachable(HarnessError):  # noqa: N818
    """A machine does not answer."""


class CommandHung(HarnessError):  # noqa: N818
    """A command did not end before its deadline."""


class Unanswered(HarnessError):  # noqa: N818
    """A probe got no answer. `wait_until` takes it as "not yet"."""


class WorldBroken(HarnessError):  # noqa: N818
    """An earlier failure left the world unfit for more tests; the message quotes it."""


def of_os_error(error: OSError, doing: str, path: Path) -> HarnessError:
    """The tree's word for an operating-system error met while the harness wrote its own files."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return DiskFull(
            f"{doing}: no space left at {path}", next_step=f"free space there, or set TMPDIR (see df {path})"
        )
    return HarnessError(f"{doing}: {path}: {error.strerror}", next_step="check the path's owner and mode")
