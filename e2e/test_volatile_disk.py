"""A cut of a virtual machine's power loses what nobody flushed: else chapters that cut it would show nothing."""

from __future__ import annotations

import pytest

from harness.devices import Acquirable, Killable
from harness.world.world import World

pytestmark = [pytest.mark.libvirt, pytest.mark.embedded]
_WRITE = """
import mmap, os
with open("direct", "wb") as file:
    file.write(bytes(4096))
    os.fsync(file.fileno())
with open("flushed", "w") as file:
    file.write("kept")
    file.flush()
    os.fsync(file.fileno())
folder = os.open(".", os.O_RDONLY)
os.fsync(folder)
page = mmap.mmap(-1, 4096)
page.write(b"x" * 4096)
os.write(os.open("direct", os.O_WRONLY | os.O_DIRECT), page)
open("lazy", "w").write("lost")
"""
"""Three files: one that is flushed, one written past the guest's memory, and one that the guest has in memory."""


def test_what_was_not_flushed_is_lost(world: World) -> None:
    """A write past the memory of the guest (O_DIRECT) was with the disk, and is lost because nobody flushed it."""
    device = world.device(world.unique("pi"))
    assert isinstance(device, Acquirable)
    assert isinstance(device, Killable)
    try:
        written = device.run(["python3", "-c", _WRITE])
        assert written.code == 0, str(written)
        device.power_off()
        device.power_on()
        found = {name: device.run(["cat", name]).stdout for name in ("flushed", "direct", "lazy")}
    finally:
        device.release()
    assert found["flushed"] == "kept"
    assert found["direct"].strip("\0") == "", "an unflushed write outlived the cut"
    assert found["lazy"] == "", "a write that the guest's kernel held outlived the cut"
