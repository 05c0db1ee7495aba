"""A machine in the state of a snapshot with its memory: each acquire reverts to it, and proves that."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable

from harness.devices.domain import LibvirtDomain
from harness.devices.libvirt import LibvirtDevice, Machine
from harness.devices.vm.disk import VolatileDisk
from harness.errors import TargetUnavailable

_MARK = "fleet-test-run"
_PLANT = f"""\
set -e
echo "$1" > /etc/{_MARK}
logger -t {_MARK} "$1"
sync
"""
"""A file and a line in the journal that the next revert must take away."""
_PROVE = f"""\
[ ! -e /etc/{_MARK} ] || {{ echo "the file of the former use is there: $(cat /etc/{_MARK})"; exit 1; }}
journalctl --quiet --identifier {_MARK} | grep . && {{ echo "the journal has the former use"; exit 1; }}
date --utc --set "@$1" > /dev/null || exit 1
exec python3 -c '
import fcntl, os
with open("/dev/urandom", "r+b", 0) as kernel, open("/dev/hwrng", "rb", 0) as host:
    kernel.write(host.read(64))
    fcntl.ioctl(kernel, 0x5207)
print(os.urandom(16).hex())'
"""
"""Sets the clock too, which stood still since the snapshot, and has the kernel draw from the host's randomness anew
(RNDRESEEDCRNG, random(4)): else each use has the numbers of the former one."""


class VolatileDomain(LibvirtDomain):
    """A machine of our own libvirt on a disk of ours, whose power cut loses what was not flushed."""

    def __init__(self, uri: str, name: str, disk: VolatileDisk) -> None:
        """Nothing is asked of libvirt yet."""
        super().__init__(uri, name)
        self._disk = disk

    def start(self) -> None:
        """As `Domain.start`, with its disk."""
        self._disk.start()
        super().start()

    def destroy(self) -> None:
        """As `Domain.destroy`: the disk goes first, for QEMU flushes when it ends."""
        self._disk.cut()
        super().destroy()

    def revert(self) -> None:
        """As `LibvirtDomain.revert`, also when its power was cut."""
        self._disk.start()
        super().revert()


class PooledDevice(LibvirtDevice):
    """A machine of ours: `acquire` reverts it to its snapshot, so nothing of a former use is left."""

    def __init__(
        self,
        name: str,
        machine: Machine,
        *,
        domain: VolatileDomain,
        seen: set[str],
        ready: Callable[[LibvirtDevice], None],
        put_aside: Callable[[], str] | None,
    ) -> None:
        """`seen` are the random numbers of former uses, and `ready` is called with the device once it is reverted.

        `put_aside` keeps the machine for a person, and returns how to enter it; None: no more machines are kept.
        """
        super().__init__(name, machine, domain=domain)
        self._volatile, self._seen, self._ready = domain, seen, ready
        self._put_aside = put_aside

    def acquire(self) -> None:
        """As `Acquirable.acquire`.

        Raises:
            TargetUnavailable: something of the former use is there after the revert.
            DeviceUnreachable: it does not answer afterwards, or its host key is another one.
        """
        self.close()
        self._volatile.revert()
        self.power_on()
        proven = self.run(["sudo", "sh", "-c", _PROVE, "prove", f"{time.time():.3f}"])
        if proven.code != 0 or proven.stdout in self._seen:
            raise TargetUnavailable(
                f"{self.id} was not reverted to its snapshot: {proven}", next_step="run again; it is a fault of ours"
            )
        self._seen.add(proven.stdout)
        planted = self.run(["sudo", "sh", "-c", _PLANT, "plant", secrets.token_hex(8)])
        if planted.code != 0:
            raise TargetUnavailable(f"{self.id} cannot be marked: {planted}", next_step="see its console")
        self._ready(self)

    def keep(self) -> str:
        """As `Keepable.keep`.

        Raises:
            HarnessError: libvirt refuses.
        """
        if self._put_aside is None:
            return f"the machine of {self.id} is not kept, because there are enough"
        self.close()
        self.returned = True
        return self._put_aside()

    def release(self) -> None:
        """As `Acquirable.release`: without power; the next `acquire` reverts it. Nothing if it is kept."""
        if not self.returned:
            self.power_off()
            self.returned = True
