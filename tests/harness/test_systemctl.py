"""The systemctl double and the device that lives on it: as on a real host, as far as an agent's unit needs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Generator
from pathlib import Path

import pytest

from harness.devices import Device, HasEngine, Killable, Pausable
from harness.devices.process import ProcessDevice
from harness.doubles.systemctl.units import Unit, seconds
from harness.errors import DeviceUnreachable, Misused, TargetUnavailable
from harness.processes.spec import statuses
from harness.scenario.command import Result
from harness.targets.local import inherited
from harness.wait import wait_until
from tests.harness.tiny import tiny_world

UNIT = """
[Unit]
Description=Fleet agent

[Service]
ExecStart=/usr/local/bin/fleet-agent run
Environment=A=1 "B=two words"
Environment=C=3
Restart=always
RestartSec=10ms

[Install]
WantedBy=multi-user.target
"""
AGENT = "fleet-agent.service"


@pytest.fixture
def device() -> Generator[ProcessDevice]:
    """Function: a device of its own world, with an agent that only sleeps, and its unit not yet installed."""
    with tiny_world() as world:
        made = ProcessDevice(world.root, "pi-1", inherited(), "/run/engine.sock")
        made.write("/usr/local/bin/fleet-agent", b'#!/bin/sh\necho "$B" "$C"\nexec sleep 1000\n', mode=0o755)
        yield made


def systemctl(device: ProcessDevice, *words: str) -> Result:
    return device.run(["systemctl", *words])


def install(device: ProcessDevice, text: str = UNIT) -> None:
    device.write(f"/etc/systemd/system/{AGENT}", text.encode(), mode=0o644)
    assert systemctl(device, "daemon-reload").code == 0


def pid(device: ProcessDevice) -> int | None:
    status = statuses(device.root.parents[1]).get("agent-pi-1")
    return status.pid if status else None


PLAYED = {"FLEET_ROOT", "FLEET_WORLD"}
"""Which folder plays the device: the one thing that a real host has not."""
BY_SSHD = {"PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG"}
"""What a command has over SSH (sshd(8), LOGIN PROCESS)."""


def test_a_device_has_nothing_in_its_environment_that_a_real_host_lacks(
    device: ProcessDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", "/ours")
    assert set(device.env) - BY_SSHD == PLAYED


def test_a_device_has_the_commands_of_the_checkout_that_is_played(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where another one is installed: a fault that is planted in a copy must reach devices."""
    for module in ("__init__", "entry", "cli/__init__", "cli/main", "agent/__init__", "agent/main"):
        file = tmp_path / "fleet" / f"{module}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("import os\n\n\ndef main() -> None:\n    print('the copy', 'PYTHONPATH' in os.environ)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with tiny_world() as world:
        device = ProcessDevice(world.root, "pi-1", inherited(), "/run/engine.sock")
        for command in ("fleet", "fleet-agent"):
            done = device.run([command])
            assert done.stdout == "the copy False\n", done


def test_enable_now_starts_below_the_devices_root(device: ProcessDevice) -> None:
    """The program, its environment and its log are the unit's."""
    install(device)
    assert systemctl(device, "enable", "--now", AGENT).code == 0
    assert systemctl(device, "is-active", AGENT).stdout == "active\n"
    assert systemctl(device, "is-enabled", "fleet-agent").stdout == "enabled\n"
    wait_until(lambda: device.logs()["agent-pi-1"], "the agent spoke", timeout=30, until=lambda it: "two words 3" in it)
    agent = pid(device)
    assert agent is not None
    environ = Path(f"/proc/{agent}/environ").read_bytes().split(b"\0")
    assert f"FLEET_ROOT={device.root}".encode() in environ
    assert b"A=1" in environ


def test_stop_start_restart(device: ProcessDevice) -> None:
    """Each returns once it is done, and restart means another process."""
    install(device)
    systemctl(device, "start", AGENT)
    first = pid(device)
    assert systemctl(device, "start", AGENT).code == 0
    assert pid(device) == first, "start leaves alone what runs"
    systemctl(device, "restart", AGENT)
    assert pid(device) not in {first, None}
    systemctl(device, "stop", AGENT)
    assert pid(device) is None
    stopped = systemctl(device, "is-active", AGENT)
    assert (stopped.stdout, stopped.code) == ("inactive\n", 3)


def test_a_changed_unit_counts_after_daemon_reload(device: ProcessDevice) -> None:
    """As with the real one, which warns about it."""
    install(device)
    systemctl(device, "start", AGENT)
    device.write(f"/etc/systemd/system/{AGENT}", UNIT.replace("C=3", "C=4").encode())
    systemctl(device, "restart", AGENT)
    wait_until(lambda: device.logs()["agent-pi-1"].count("two words 3"), "the old unit ran", timeout=30, until=_twice)
    systemctl(device, "daemon-reload")
    systemctl(device, "restart", AGENT)
    wait_until(lambda: device.logs()["agent-pi-1"], "the new unit ran", timeout=30, until=lambda it: "words 4" in it)


def _twice(count: int) -> bool:
    return count == 2


def test_disable_now_ends_it_for_good(device: ProcessDevice) -> None:
    """Also over a reboot."""
    install(device)
    systemctl(device, "enable", "--now", AGENT)
    assert systemctl(device, "disable", "--now", AGENT).code == 0
    device.reboot()
    assert pid(device) is None
    assert systemctl(device, "is-enabled", AGENT).code == 1


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("start", "ghost"), 5, "Failed to start ghost.service: Unit ghost.service not found."),
        (("enable", "ghost"), 1, "Unit file ghost.service does not exist."),
        (("status", "ghost"), 4, "Unit ghost.service could not be found."),
        (("is-active", "ghost"), 3, "inactive"),
        (("frobnicate", "ghost"), 1, "Unknown command verb 'frobnicate'"),
        (("--what", "start", "ghost"), 1, "cannot play this: unrecognized arguments: --what"),
    ],
)
def test_refusals_are_those_of_systemctl(device: ProcessDevice, words: tuple[str, ...], code: int, says: str) -> None:
    """Exit code and words."""
    result = systemctl(device, *words)
    assert result.code == code
    assert says in result.output


def test_restart_always_survives_a_crash(device: ProcessDevice) -> None:
    """The supervisor keeps the unit's promise."""
    install(device)
    systemctl(device, "enable", "--now", AGENT)
    first = pid(device)
    device.kill_agent()
    wait_until(lambda: pid(device), "the agent is back", timeout=30, until=lambda now: now not in {first, None})


def test_a_power_cut_lasts_until_power_on(device: ProcessDevice) -> None:
    """Nothing says goodbye, nothing answers, and what is enabled comes back with another boot id."""
    install(device)
    systemctl(device, "enable", "--now", AGENT)
    before = device.read("/proc/sys/kernel/random/boot_id")
    device.power_off()
    assert pid(device) is None
    with pytest.raises(DeviceUnreachable, match="pi-1 is powered off"):
        systemctl(device, "status", AGENT)
    device.power_on()
    assert pid(device) is not None
    assert device.read("/proc/sys/kernel/random/boot_id") != before
    ends = statuses(device.root.parents[1])["agent-pi-1"].exits
    assert [end for end in ends if not end.asked] == []


def test_a_frozen_agent_goes_on_where_it_was(device: ProcessDevice) -> None:
    """The same process, after any time."""
    install(device)
    systemctl(device, "enable", "--now", AGENT)
    agent = pid(device)
    device.pause()
    stat = Path(f"/proc/{agent}/stat")
    wait_until(lambda: stat.read_text().split()[2], "it is frozen", timeout=30, until=lambda state: state == "T")
    device.resume()
    wait_until(lambda: stat.read_text().split()[2], "it goes on", timeout=30, until=lambda state: state == "S")
    assert pid(device) == agent


def test_a_process_device_has_every_capability(device: ProcessDevice) -> None:
    """And its engine's socket is a link at the place where the agent looks."""
    as_device: Device = device
    assert as_device.where == ("--root", str(device.root))
    for capability in (Killable, Pausable, HasEngine):
        assert isinstance(device, capability)
    assert Path(device.engine_socket).readlink() == Path("/run/engine.sock")


@pytest.mark.parametrize("name", ["", "a/b", "x" * 64])
def test_a_name_that_cannot_be_a_folder_is_refused(device: ProcessDevice, name: str) -> None:
    """Before anything is made."""
    with pytest.raises(Misused, match="cannot name a device"):
        ProcessDevice(device.root.parents[1], name, inherited(), "/run/engine.sock")


def test_what_is_not_played_is_refused_not_ignored(device: ProcessDevice) -> None:
    """A unit whose ExecStartPre never ran would prove nothing."""
    install(device, UNIT.replace("Restart=always", "ExecStartPre=/bin/true"))
    result = systemctl(device, "start", AGENT)
    assert result.code == 1
    assert "uses ExecStartPre, which the systemctl double does not play" in result.stderr


def test_an_empty_value_resets_a_directive() -> None:
    """systemd.exec(5): so that a drop-in can take back what came before."""
    unit = Unit("x.service", "[Service]\nEnvironment=A=1\nEnvironment=\nEnvironment=B=2\n# a comment\n")
    assert unit.all("Service", "Environment") == ["B=2"]


@pytest.mark.parametrize(("span", "value"), [("5", 5), ("100ms", 0.1), ("1min 30s", 90), ("2s", 2), ("0", 0)])
def test_time_spans_are_those_of_systemd(span: str, value: float) -> None:
    """systemd.time(7)."""
    assert seconds(span) == pytest.approx(value)


def test_a_double_that_cannot_be_executed_does_not_reach_the_machines_own(
    device: ProcessDevice, tmp_path: Path
) -> None:
    """As on a file system that is mounted noexec: the machine's `systemctl` stood behind the double on PATH."""
    (tmp_path / "systemctl").write_text("#!/bin/sh\necho the machine >&2; exit 0\n")
    (tmp_path / "systemctl").chmod(0o755)
    world = device.root.parents[1]
    shutil.rmtree(world / "machine-bin")
    made = ProcessDevice(world, "pi-3", {**inherited(), "PATH": f"{tmp_path}:{os.environ['PATH']}"}, "/run/engine.sock")
    (world / "devbin" / "bin" / "systemctl").chmod(0o644)
    result = made.run(["sh", "-c", "systemctl daemon-reload"])
    assert result.code != 0
    assert "the machine" not in result.stderr


def test_a_world_where_nothing_may_be_executed_is_refused(device: ProcessDevice) -> None:
    world = device.root.parents[1]
    (world / "devbin" / "bin" / "systemctl").chmod(0o644)
    with pytest.raises(TargetUnavailable, match="noexec"):
        ProcessDevice(world, "pi-2", inherited(), "/run/engine.sock")
