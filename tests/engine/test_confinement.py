"""What a workload says of its mounts, its limits and its rights: the same on a real engine and on the double."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import pytest

from fleet.agent.answers import EngineRefused, Usage
from fleet.agent.creation import Where
from fleet.agent.engine import Engine
from fleet.agent.volumes import ensure_volume
from fleet.contract.confinement import (
    Capabilities,
    HostDevice,
    Log,
    Network,
    ResourceLimits,
    Security,
    Stop,
    Ulimit,
)
from fleet.contract.mounts import File, Mount, MountType
from fleet.contract.wire import Container, Reason, Restart
from harness.images import IMAGE
from tests.engine.lab import LABEL, STAYS, Lab
from tests.support.waiting import eventually


def script(text: str, **fields: object) -> Container:
    return Container(image=IMAGE, command=("sh", "-c", f"exec 2>&1; {text}"), restart=Restart.NO, **fields)  # pyright: ignore[reportArgumentType]


def said(lab: Lab, wanted: Container, where: Where = Where()) -> list[str]:  # noqa: B008 - frozen
    """The lines that the container writes until it ends."""

    async def body(engine: Engine) -> str:
        container = await engine.create(lab.name(os.urandom(3).hex()), wanted, {LABEL: lab.mark}, where)
        await engine.start(container)
        await lab.until(engine, container, "it has ended", lambda one: one.state.status == "exited", within=20)
        return container

    return lab.log(lab.run(body)).splitlines()


def test_volumes_folders_memory_and_files(lab: Lab, tmp_path: Path) -> None:
    """Written is what may be written, and a volume is there for the next container."""
    (tmp_path / "srv").mkdir()
    (tmp_path / "srv/given").write_text("by the device\n")
    (tmp_path / "files").mkdir()
    (tmp_path / "files/0").write_text("setting\n")
    (tmp_path / "files/0").chmod(0o640)
    os.chown(tmp_path / "files/0", 7, 8)
    where = Where(str(tmp_path), f"test-{lab.mark}-", str(tmp_path / "files"))
    wanted = script(
        "cat /host/given /etc/app.conf /data/kept; stat -c '%a %u %g' /etc/app.conf; echo kept > /data/kept;"
        "echo x > /etc/app.conf; echo x > /host/new; echo x > /memory/new;"
        "df -k /memory | tail -n 1 | awk '{print $2}'",
        mounts=(
            Mount(MountType.VOLUME, "/data", "data"),
            Mount(MountType.BIND, "/host", "/srv", read_only=True),
            Mount(MountType.TMPFS, "/memory", size=2**20),
        ),
        files=(File("/etc/app.conf"),),
    )

    async def usage(engine: Engine) -> Usage:
        return await engine.usage()

    lab.run(lambda engine: ensure_volume(engine, where.volume("data"), {LABEL: lab.mark}))
    first, second = said(lab, wanted, where), said(lab, wanted, where)
    assert first[:2] == second[:2] == ["by the device", "setting"]
    assert "kept" not in first
    assert second[2:4] == ["kept", "640 7 8"]
    assert second[-1] == "1024"
    assert sum("Read-only file system" in line for line in second) == 2
    assert not (tmp_path / "srv/new").exists()
    sizes = {one.name: one.usage_data.size for one in lab.run(usage).volumes or () if one.usage_data}
    assert sizes[where.volume("data")] >= len("kept\n")


def test_who_where_and_by_what_name(lab: Lab) -> None:
    wanted = script(
        "id -u; id -g; pwd; hostname; grep -c cache.example /etc/hosts; grep -c 192.0.2.53 /etc/resolv.conf; ulimit -n;"
        "df -k /dev/shm | tail -n 1 | awk '{print $2}'",
        user="1234:2345",
        working_dir="/www",
        hostname="box",
        extra_hosts={"cache.example": "192.0.2.7"},
        dns=("192.0.2.53",),
        # A podman without CAP_SYS_RESOURCE raises what is not named.
        ulimits=(Ulimit("nofile", 64, 128), Ulimit("nproc", 1024, 1024)),
        shm_size=2**21,
    )
    assert said(lab, wanted) == ["1234", "2345", "/www", "box", "1", "1", "64", "2048"]


def test_labels_of_the_workload_are_there_and_ours_count(lab: Lab) -> None:
    async def body(engine: Engine) -> None:
        wanted = Container(image=IMAGE, command=STAYS, labels={"team": "red"})
        made = await lab.look(engine, await lab.make(engine, wanted))
        assert (made.labels["team"], made.labels[LABEL]) == ("red", lab.mark)

    lab.run(body)


EFFECTIVE = "grep CapEff /proc/self/status | awk '{print $2}'; grep NoNewPrivs /proc/self/status | awk '{print $2}'"
CHOWN, SETUID, NET_ADMIN = 1 << 0, 1 << 7, 1 << 12


def test_capabilities_are_added_and_dropped(lab: Lab) -> None:
    def effective(security: Security) -> tuple[int, str]:
        capabilities, unprivileged = said(lab, script(EFFECTIVE, security=security))
        return int(capabilities, 16), unprivileged

    ordinary, _ = effective(Security())
    assert ordinary & (CHOWN | SETUID | NET_ADMIN) == CHOWN | SETUID
    changed = Capabilities(add=("NET_ADMIN",), drop=("SETUID",))
    other, locked = effective(Security(capabilities=changed, options=("no-new-privileges",)))
    assert other & (CHOWN | SETUID | NET_ADMIN) == CHOWN | NET_ADMIN
    assert locked == "1"
    assert effective(Security(capabilities=Capabilities(drop=("ALL",))))[0] == 0


def test_a_root_that_is_only_read(lab: Lab) -> None:
    wanted = script(
        "echo x > /new; echo x > /scratch/new && echo written",
        security=Security(read_only_root=True),
        mounts=(Mount(MountType.TMPFS, "/scratch"),),
    )
    refused, written = said(lab, wanted)
    assert "Read-only file system" in refused
    assert written == "written"


@pytest.mark.parametrize("network", [Network.HOST, Network.NONE])
def test_the_devices_network_or_none(lab: Lab, network: Network) -> None:
    lines = said(lab, script("cat /proc/net/dev | grep : | awk '{print $1}'", network=network))
    found = {line.partition(":")[0] for line in lines}
    here = {line.partition(":")[0].strip() for line in Path("/proc/net/dev").read_text().splitlines() if ":" in line}
    assert found >= {"lo"}
    assert network is Network.HOST or not found & (here - {"lo"})
    assert network is Network.NONE or found >= here - {name for name in here if name.startswith("veth")}


def test_a_device_node(lab: Lab) -> None:
    wanted = script("head -c 3 /dev/given | wc -c", devices=(HostDevice("/dev/zero", "/dev/given", "r"),))
    assert said(lab, wanted) == ["3"]


def test_limits_are_told_to_the_engine(lab: Lab) -> None:
    wanted = Container(
        image=IMAGE,
        command=STAYS,
        limits=ResourceLimits(memory=64 * 2**20, cpus=0.5, pids=50),
        stop=Stop("SIGINT", 3),
        log=Log(size=1_000_000, files=2),
    )

    async def body(engine: Engine) -> str:
        container = await lab.make(engine, wanted)
        assert (await lab.look(engine, container)).grace == 3
        return container

    host = lab.raw.call("GET", f"/containers/{lab.run(body)}/json").json()["HostConfig"]
    assert (host["Memory"], host["NanoCpus"], host["PidsLimit"]) == (64 * 2**20, 500_000_000, 50)


def _ready(lab: Lab, container: str) -> bool:
    return "ready" in lab.log(container)


def test_what_outlives_its_grace_is_killed(lab: Lab) -> None:
    """With the signal that was asked for: the container ends by it, or else only by SIGKILL."""
    ends = Container(image=IMAGE, command=("sh", "-c", "trap 'exit 5' USR1; echo ready; while :; do sleep 0.05; done"))
    late = Container(image=IMAGE, command=("sh", "-c", "trap 'exit 6' 37; echo ready; while :; do sleep 0.05; done"))
    deaf = Container(image=IMAGE, command=("sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.05; done"))

    async def body(engine: Engine) -> None:
        cases = (
            (ends, "SIGUSR1", 1, {5}),
            (late, "SIGRTMIN+3", 1, {6}),
            (deaf, "", 1, {137}),
            (deaf, "", 0, {137, 255}),
        )
        for number, (wanted, signal, grace, codes) in enumerate(cases):
            made = Container(image=IMAGE, command=wanted.command, stop=Stop(signal, grace))
            container = await lab.started(engine, made, str(number))
            await eventually(partial(_ready, lab, container), "it has set its trap")
            await engine.stop(container)
            assert (await lab.look(engine, container)).state.exit_code in codes

    lab.run(body)


def test_a_limit_that_the_machine_cannot_give_is_refused_or_taken(lab: Lab) -> None:
    """docker refuses more processors than there are; podman takes it for no limit."""
    wanted = Container(image=IMAGE, command=STAYS, limits=ResourceLimits(cpus=1024))

    async def body(engine: Engine) -> None:
        if lab.is_podman:
            await lab.make(engine, wanted)
            return
        with pytest.raises(EngineRefused, match="CPUs") as refused:
            await lab.make(engine, wanted)
        assert refused.value.problem.reason is Reason.INVALID_DESIRED_STATE

    lab.run(body)
