"""`python -m harness.play`: a fleet to try things on, with a server, three devices and workloads, until Ctrl-C.

The world is the embedded one: real servers, doubles of systemd and of the identity provider. `python -m harness.play
on DEVICE COMMAND…` types a command on the host of a device, as a shell there would; a new name makes a new host.
With `--broken`, a workload of one device crashes: something to find on the web page.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shlex
import signal
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from fleet.contract.config import VIEWER_ROLE
from fleet.process.console import answer, tell
from harness.devices import Device
from harness.devices.process import ProcessDevice
from harness.errors import HarnessError
from harness.images import IMAGE
from harness.probes.identity import IdentityProbe
from harness.scenario.command_line import Command, Value
from harness.scenario.setup import INSTALL, is_online, names_for, type_one
from harness.targets.embedded import embedded
from harness.targets.local import write_env
from harness.targets.setup import shared_resources
from harness.wait import wait_until
from harness.world.world import World

DEVICES = {"pi-1": "berlin", "pi-2": "berlin", "pi-3": "oslo"}
"""The devices, and the site that each stands at."""
ENTER = Path("out") / "play.sh"
"""The file that a second terminal reads, from the folder of the checkout."""
LOGIN = "admin@fleet.localhost"
"""The person who administers the double of the identity provider."""
_ENGINE = "FLEET_PLAY_ENGINE"
"""Names the socket of the container engine to a shell that has entered the fleet."""
_ONLINE = 20.0
"""Seconds from the set-up of a device to its first heartbeat in Kubernetes."""
_INSTALL = Command(f"{INSTALL.template} --web", deadline=INSTALL.deadline)
_ENROLL = Command(
    "fleet device enroll --device-id {device} --label site={site} --admin-token-file {admin_token_file} --out {config}"
)
_SET_UP = Command("fleet device setup --config {config} {where}")
_WORKLOADS = (
    Command(
        "fleet deployment apply --name web --image {image} --command 'httpd -f -p 8080' --selector site=berlin --wait",
        deadline=70,
    ),
    Command(
        "fleet deployment apply --name sensor --image {image} --command 'sleep 1000000' --selector site=oslo --wait",
        deadline=70,
    ),
)
_BROKEN = Command(
    "fleet deployment apply --name thermometer --image {image} --command 'cat /dev/thermometer' --selector site=oslo"
)
"""No host of these devices has such a file, and the log of the workload says so."""
_USAGE = (
    "usage: python -m harness.play [--broken]           # make the fleet, or one that is broken; Ctrl-C ends it",
    "       python -m harness.play on DEVICE COMMAND…   # type a command on the host of a device",
)


def main(argv: Sequence[str]) -> int:
    """Returns the exit code."""
    try:
        match argv:
            case []:
                return play(_WORKLOADS)
            case ["--broken"]:
                return play((*_WORKLOADS, _BROKEN))
            case ["on", device, *command] if command:
                return on_device(device, command)
            case _:
                tell(*_USAGE)
                return 2
    except (HarnessError, AssertionError) as error:
        tell(*str(error).splitlines())
        return 1


def play(workloads: Sequence[Command]) -> int:
    """Make the fleet with these workloads, say how to enter it, and end it on Ctrl-C or SIGTERM."""
    for number in (signal.SIGINT, signal.SIGTERM):  # a shell that starts it with `&` has SIGINT ignored
        signal.signal(number, signal.default_int_handler)
    with contextlib.ExitStack() as cleanup, contextlib.suppress(KeyboardInterrupt):
        cleanup.callback(tell, "the fleet has ended")
        shared = cleanup.enter_context(shared_resources(tell))
        world = cleanup.enter_context(embedded(shared, run_id=secrets.token_hex(4), worker="play"))
        cleanup.callback(_begin_to_end)
        _fill(world, workloads)
        if not ENTER.parent.exists():
            cleanup.callback(_remove_if_empty, ENTER.parent)
            ENTER.parent.mkdir()
        cleanup.callback(ENTER.unlink, missing_ok=True)
        _say_how_to_enter(world, shared.engine)
        signal.pause()
    return 0


def on_device(name: str, command: Sequence[str]) -> int:
    """Type a command on the host of a device of the world whose shell this is; returns the command's exit code.

    Raises:
        HarnessError: this is no shell of such a world.
    """
    root, engine = os.environ.get("FLEET_PROCESS_ROOT"), os.environ.get(_ENGINE)
    if not root or not engine:
        raise HarnessError("this shell has not entered a fleet", next_step=f"run `make play`, and here: . {ENTER}")
    device = ProcessDevice(Path(root), name, os.environ, engine)
    result = device.run(command, timeout=120)
    answer(*result.stdout.splitlines())
    tell(*result.stderr.splitlines())
    return result.code or 0


def _fill(world: World, workloads: Sequence[Command]) -> None:
    """Install a server that its admin may look at, bring the devices in, and roll the workloads out."""
    folder = world.root / "home"
    _type(_INSTALL, names_for(world, []), world.env, folder)
    server = world.kube.server()
    assert server is not None
    with contextlib.closing(IdentityProbe(world)) as provider:
        provider.grant_person(server.project_id, VIEWER_ROLE)
    hosts = [world.device(name) for name in DEVICES]
    with ThreadPoolExecutor(len(hosts)) as pool:
        list(pool.map(partial(_bring_in, world, folder), hosts))
    for command in workloads:
        _type(command, {"image": IMAGE}, world.env, folder)


def _bring_in(world: World, folder: Path, host: Device) -> None:
    """Enroll one device, set it up, and wait until it is online."""
    names = {**names_for(world, [host]), "site": DEVICES[host.id]}
    _type(_ENROLL, names, world.env, folder)
    _type(_SET_UP, names, host.env, folder)
    wait_until(lambda: world.kube.device(host.id), f"{host.id} is online", timeout=_ONLINE, until=is_online)


def _type(command: Command, names: Mapping[str, Value], env: Mapping[str, str], folder: Path) -> None:
    tell(f"$ {command.text(names)}")
    type_one(command, names, env, folder)


def _begin_to_end() -> None:
    """From here on no signal interrupts: half a fleet would be left behind."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    tell("ending the fleet")


def _remove_if_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):  # somebody put something there
        folder.rmdir()


def _say_how_to_enter(world: World, engine: str) -> None:
    write_env(world.root, {**world.env, _ENGINE: engine})
    config = shlex.quote(str(world.root / "home" / "pi-4.json"))  # goes with the world
    ENTER.write_text(f". {shlex.quote(str(world.root / 'env.sh'))}\n")
    answer(
        "",
        "The fleet is ready. In a second terminal, in this folder:",
        "",
        f"  . {ENTER}",
        "  fleet device list",
        "  fleet deployment show web",
        "  kubectl get devices,fleetdeployments -n fleet-system",
        "",
        "One more device:",
        "",
        f"  fleet device enroll --device-id pi-4 --label site=berlin --out {config}",
        f"  python -m harness.play on pi-4 fleet device setup --config {config}"
        f" --root {shlex.quote(str(world.root / 'devices' / 'pi-4'))}",
        "",
        "The web page shows what is wrong, and which command helps:",
        "",
        "  fleet web",
        "",
        f"Sign in there as {LOGIN} with the password that this prints:",
        "",
        f"  cat {shlex.quote(str(world.admin_token_file.with_name('admin.password')))}",
        "",
        "Your browser asks twice whether to trust a certificate of this fleet: for the page, and for the sign-in.",
        "",
        f"Logs: {world.root / 'logs'}",
        "Ctrl-C here ends the fleet and removes it.",
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
