"""What goes wrong with a machine: its device is heard, or Kubernetes says why not, and is well once the machine is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import pytest

from fleet.contract.buckets import DEVICE_HEARTBEAT
from harness.scenario.player import Run
from harness.scenario.scenario import Scenario
from harness.scenario.setup import prepared
from harness.wait import wait_until
from harness.world.world import World
from scenarios import checks
from scenarios.machine_faults import (
    RECOVERED,
    as_ordered,
    as_root,
    fault,
    heard_again,
    order,
    shown_offline,
    tells,
    untouched,
)

pytestmark = [pytest.mark.libvirt, pytest.mark.embedded]

ONE_DEVICE = Scenario(id="machine-faults", title="Faults of a machine", chapter="Rules", why="", devices=1)
"""What each fault finds: a device that is online."""


_FILL = """
mkdir /fill
for size in 512M 16M 1M 4K; do
  number=0
  while fallocate --length $size /fill/$size-$number 2>/dev/null; do number=$((number+1)); done
  rm -f /fill/$size-$number
done
! dd if=/dev/zero of=/fill/more bs=4k count=64 2>/dev/null
"""
_USE_INODES = """
mkdir /fill
python3 -c '
import os
number = 0
try:
    while True:
        os.mknod(f"/fill/{number}")
        number += 1
except OSError:
    pass
'
! touch /fill/more 2>/dev/null
"""


def _a_full_disk(run: Run, begin: str) -> None:
    """It says that there is no room. What runs goes on, and with room again the order is carried out."""
    life = checks.container(run).life
    with fault(run, begin, "rm -rf /fill", timeout=600):
        untouched(run, life)
        order(run, 2, wait=False)
        tells(run, ["no space left", "mib are free"])
        checks.running(run)
        checks.next_beat(run)
    as_ordered(run, 2)


def _a_file_system_with_an_error(run: Run) -> None:
    """ext4 makes it read-only: the device is heard and says so; what runs goes on, and a restart mends it."""
    life = checks.container(run).life
    as_root(run, "mount -o remount,errors=remount-ro /; echo test > /sys/fs/ext4/vda/trigger_fs_error")
    as_root(run, "! touch /more 2>/dev/null")
    untouched(run, life)
    order(run, 2, wait=False)
    tells(run, ["read-only file system"])
    untouched(run, life)
    checks.killable(run).reboot()
    heard_again(run)
    as_ordered(run, 2)


def _a_clock_that_jumps(run: Run, jump: str) -> None:
    """What runs is left alone, the device is heard and carries out an order; the same when the clock is right again."""
    life = checks.container(run).life
    back = jump.translate(str.maketrans("+-", "-+"))
    with fault(run, f"date --set '{jump}'", f"date --set '{back}'"):
        untouched(run, life)
        order(run, 2)
    as_ordered(run, 2)
    life = checks.container(run).life
    untouched(run, life)


_WRONG_CLOCK = r"""
printf '[Unit]\nDefaultDependencies=no\nBefore=sysinit.target\n[Service]\nType=oneshot
ExecStart=date --set 2019-02-03\n[Install]\nWantedBy=sysinit.target\n' > /etc/systemd/system/wrong-clock.service
systemctl enable wrong-clock
sync
"""


def _a_clock_that_is_wrong_from_the_start(run: Run) -> None:
    """As a board without a battery: it runs what it ran, its log names the clock, and it is back once that is set."""
    as_root(run, _WRONG_CLOCK)
    now = as_root(run, "date +%s").strip()
    host = checks.killable(run)
    host.power_off()
    before = checks.beat(run)
    host.power_on()
    assert as_root(run, "date +%Y").strip() == "2019"
    checks.running(run)
    wait_until(
        lambda: as_root(run, "journalctl --boot --quiet --unit 'fleet-agent*' --grep 'clock' | tail -n 1; true"),
        "the agent's log names the clock",
        timeout=RECOVERED,
    )
    shown_offline(run)
    heard = run.world.nats.get(DEVICE_HEARTBEAT, run.name("device"))
    assert heard == before, "TLS let a device of another decade in"
    life = checks.container(run).life
    as_root(run, f"systemctl disable wrong-clock; date --set '@{now}'; date --set '+2 minutes'")
    heard_again(run)
    untouched(run, life)
    order(run, 2)


def _a_bad_line(run: Run) -> None:
    """An eighth of the packets is lost, and each takes 150 ms: all is slower, and nothing is wrong."""
    life = checks.container(run).life
    bad = "modprobe sch_netem; tc qdisc add dev eth0 root netem loss 12% delay 150ms 50ms"
    with fault(run, bad, "tc qdisc del dev eth0 root"):
        heard_again(run)
        assert checks.container(run).life == life
        order(run, 2, wait=False)
        as_ordered(run, 2)


_CUT = 120
"""Seconds."""


def _a_line_that_is_cut_for_minutes(run: Run) -> None:
    """It goes on with what it has, and carries out what was ordered meanwhile."""
    first = checks.container(run)
    back = "ip link set eth0 up; ip route replace default via 10.0.2.2"
    as_root(run, f"systemd-run --quiet sh -c 'sleep 2; ip link set eth0 down; sleep {_CUT}; {back}'")
    shown_offline(run)
    order(run, 2, wait=False)
    heard_again(run)
    as_ordered(run, 2)
    assert checks.container(run).id != first.id


_WRONG_NAMES = {
    "another address": "echo 192.0.2.1 localhost > /etc/hosts",
    "no such name": "echo > /etc/hosts; sed -i s/^hosts:.*/hosts:files/ /etc/nsswitch.conf",
    "no answer": "echo > /etc/hosts; echo nameserver 192.0.2.1 > /etc/resolv.conf",
}


def _names_that_lead_nowhere(run: Run, wrong: str) -> None:
    """A connection that ends meanwhile is not made anew; it is once names are right again. What runs goes on."""
    life = checks.container(run).life
    keep = "cp -a /etc/hosts /etc/resolv.conf /etc/nsswitch.conf /root/"
    begin = f"{keep}; {_WRONG_NAMES[wrong]}; ss --kill --no-header 'dst 10.0.2.2 and not sport = :22'"
    with fault(run, begin, "cp -a /root/hosts /root/resolv.conf /root/nsswitch.conf /etc/"):
        shown_offline(run)
        assert checks.container(run).life == life
    heard_again(run)
    untouched(run, life)
    order(run, 2)


_HOGS = """
import os, signal
for _ in range(80):
    if os.fork() == 0:
        taken = bytearray(os.urandom(4096)) * (16 << 8)
        signal.pause()
for _ in range(5):
    os.wait()
os.killpg(0, signal.SIGKILL)
"""
"""Each smaller than an agent, so the kernel would take the agent first."""


def _memory_that_runs_out(run: Run) -> None:
    """The kernel ends what took it, and not the agent, which is larger."""
    life, before = checks.container(run).life, checks.next_beat(run).instance_id
    as_root(run, f"setsid python3 -c '{_HOGS}'; true", timeout=300)
    killed = as_root(run, "journalctl --dmesg --boot --quiet --no-pager --grep 'Out of memory: Killed'")
    assert killed.strip(), "nothing was killed for its memory"
    assert checks.next_beat(run).instance_id == before, f"the agent was not spared:\n{killed}"
    untouched(run, life)
    order(run, 2)


def _a_podman_that_hangs(run: Run) -> None:
    """The device is heard meanwhile, and says that its engine does not answer."""
    life = checks.container(run).life
    with fault(
        run,
        "systemctl start podman.service; systemctl kill --signal=STOP podman.service",
        "systemctl kill --signal=CONT podman.service",
    ):
        order(run, 2, wait=False)
        tells(run, ["no container engine answers"])
        checks.next_beat(run)
        pid = as_root(run, "pgrep --count --exact httpd; true").strip()
        assert pid == "1", f"{pid} web servers run while podman hangs"
    as_ordered(run, 2)
    assert checks.container(run).life != life


def _podman_replaced_under_its_containers(run: Run) -> None:
    """As an upgrade of packages at night: what runs goes on, and so does the device."""
    life = checks.container(run).life
    as_root(
        run,
        "DEBIAN_FRONTEND=noninteractive apt-get install --yes --reinstall --allow-downgrades /opt/packages/*.deb",
        timeout=600,
    )
    untouched(run, life)
    order(run, 2)
    as_ordered(run, 2)


def _units_that_stop_leave_workloads_alone(run: Run, manager: str) -> None:
    """Row 33 of the matrix: conmon is in no control group that ends with the agent, or with podman's service."""
    as_root(run, f"printf '[engine]\\ncgroup_manager = \"{manager}\"\\n' > /etc/containers/containers.conf")
    as_root(run, "systemctl stop podman.service")
    order(run, 2)
    life = checks.container(run).life
    as_root(run, "systemctl restart fleet-agent.service")
    heard_again(run)
    as_root(run, "systemctl stop podman.service")
    untouched(run, life)
    checks.settled(run)


FAULTS: Mapping[str, Callable[[Run], None]] = {
    "full disk": partial(_a_full_disk, begin=_FILL),
    "no inodes": partial(_a_full_disk, begin=_USE_INODES),
    "file system error": _a_file_system_with_an_error,
    "clock jumps back": partial(_a_clock_that_jumps, jump="-2000 days"),
    "clock jumps ahead": partial(_a_clock_that_jumps, jump="+2000 days"),
    "clock wrong from the start": _a_clock_that_is_wrong_from_the_start,
    "bad line": _a_bad_line,
    "line cut for minutes": _a_line_that_is_cut_for_minutes,
    **{f"names: {wrong}": partial(_names_that_lead_nowhere, wrong=wrong) for wrong in _WRONG_NAMES},
    "memory runs out": _memory_that_runs_out,
    "podman hangs": _a_podman_that_hangs,
    "podman replaced": _podman_replaced_under_its_containers,
    "units stop, systemd": partial(_units_that_stop_leave_workloads_alone, manager="systemd"),
    "units stop, cgroupfs": partial(_units_that_stop_leave_workloads_alone, manager="cgroupfs"),
}


@pytest.mark.parametrize("which", FAULTS)
def test_a_device_comes_through(world: World, tmp_path: Path, which: str) -> None:
    with prepared(ONE_DEVICE, world, tmp_path) as run:
        order(run, 1)
        FAULTS[which](run)
