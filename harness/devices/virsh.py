"""libvirt by its own command line: the Python binding has no wheel, and wants a compiler and libvirt's headers."""

from __future__ import annotations

import subprocess

import msgspec

from harness.errors import TargetUnavailable

_LIMIT = 60
"""Seconds; each of these takes less than one."""


def virsh(uri: str, *words: str) -> str:
    """What `virsh` prints.

    Raises:
        TargetUnavailable: it is missing, or libvirt refuses; the message holds its words.
    """
    argv = ["virsh", "--quiet", "--connect", uri, *words]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=_LIMIT)
    except FileNotFoundError as error:
        raise TargetUnavailable("there is no virsh", next_step="apt-get install libvirt-clients") from error
    except subprocess.TimeoutExpired as error:
        raise TargetUnavailable(
            f"libvirt at {uri} had not answered `{words[0]}` after {_LIMIT} s", next_step="is libvirtd up?"
        ) from error
    if done.returncode:
        raise TargetUnavailable(
            f"libvirt at {uri} refuses `{' '.join(words)}`: {done.stderr.strip()}",
            next_step=f"virsh -c '{uri}' list --all shows what there is",
        )
    return done.stdout.strip()


class Virsh(msgspec.Struct, frozen=True):
    """Satisfies `harness.devices.libvirt.Domain`."""

    uri: str
    domain: str

    def start(self) -> None:
        """Boot it."""
        virsh(self.uri, "start", self.domain)

    def destroy(self) -> None:
        """Cut its power."""
        virsh(self.uri, "destroy", self.domain)

    def suspend(self) -> None:
        """Freeze its CPUs."""
        virsh(self.uri, "suspend", self.domain)

    def resume(self) -> None:
        """Let it go on."""
        virsh(self.uri, "resume", self.domain)

    def is_on(self) -> bool:
        """Whether it has power, frozen or not."""
        return virsh(self.uri, "domstate", self.domain) in {"running", "paused", "idle", "in shutdown"}
