"""A Docker daemon of our own leaves nothing on the machine: bridges of its networks would use up its addresses."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from pathlib import Path

from harness.engine import dockerd
from harness.engine.client import EngineClient


def bridges() -> str:
    return subprocess.run(
        ["ip", "-brief", "address", "show", "type", "bridge"], check=True, capture_output=True, text=True
    ).stdout


def test_no_bridge_of_a_network_outlives_the_daemon() -> None:
    # The folder of a test is too deep for the sockets of containerd.
    with (
        tempfile.TemporaryDirectory() as root,
        dockerd.dockerd(Path(root)) as listens,
        contextlib.closing(EngineClient(str(listens))) as client,
    ):
        made = client.call("POST", "/networks/create", json={"Name": "left"}).json()["Id"][:12]
        assert f"br-{made}" in bridges()
    assert f"br-{made}" not in bridges()


def test_what_a_killed_daemon_left_is_removed_by_the_next_owner_of_its_slot_and_nothing_else() -> None:
    with dockerd._slot() as slot, contextlib.ExitStack() as after:  # pyright: ignore[reportPrivateUsage]
        pool = dockerd._pool(slot)  # pyright: ignore[reportPrivateUsage]
        foreign = dockerd._POOLS.broadcast_address + 66  # pyright: ignore[reportPrivateUsage]
        links = {"fleet-dead": f"{pool[65]}/26", "fleet-another": f"{foreign}/26"}
        for name, address in links.items():
            subprocess.run(["ip", "link", "add", name, "type", "bridge"], check=True)
            after.callback(subprocess.run, ["ip", "link", "delete", name], check=False, capture_output=True)
            subprocess.run(["ip", "address", "add", address, "dev", name], check=True)
        after.callback(subprocess.run, ["ip", "link", "delete", dockerd._bridge(slot)], check=True)  # pyright: ignore[reportPrivateUsage]
        assert "fleet-dead" not in bridges()
        assert "fleet-another" in bridges()
