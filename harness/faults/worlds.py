"""Faults of the world: what can go wrong with a machine, done from outside at a named moment.

The name of a fault is its function's, with dashes; the function's docstring says what is wrong. Functions use signals
and files, never the harness's own verbs, for what those do is asked for and no fault.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import ssl
import struct
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import httpx

from harness.devices import HasEngine
from harness.errors import Misused
from harness.faults import private_mount
from harness.faults.fault import Fault
from harness.processes.ports import Ports
from harness.processes.spec import history, statuses
from harness.targets.certificates import Authority
from harness.world.world import World

Moment = Literal["before", "booted", "step"]
"""Before anything of a world exists; once the world runs, without a server; when a test's first command is typed."""

_ENROLL = "e2e/test_runbook.py::test_enroll"
"""Uses Kubernetes, the identity provider and NATS, and is quick."""
_WORKLOADS = "e2e/test_runbook.py::test_bad_workloads"
"""Uses the engine, without waiting for long."""
_INSTALL = "e2e/test_runbook.py::test_install"
"""Uses the administrator's token and the identity provider, and needs no server that is there already."""


@dataclass(frozen=True)
class WorldFault(Fault):
    """A fault that a function plants.

    Attributes:
        moment: When `plant` is called.
        plant: Gets the world, or None before there is one.
        prepare: Called before anything of a world exists.
    """

    moment: Moment = "step"
    plant: Callable[[World | None], None] = lambda _: None
    prepare: Callable[[], None] = lambda: None


_FAULTS: list[WorldFault] = []


def world_faults() -> list[WorldFault]:
    """Every fault of the world, in the order of this file."""
    return list(_FAULTS)


def world_fault(name: str) -> WorldFault:
    """One of them.

    Raises:
        Misused: there is none of that name.
    """
    for fault in _FAULTS:
        if fault.name == name:
            return fault
    raise Misused(f"there is no fault of the world {name!r}", next_step="see python -m harness.faults --list")


def _before(says: str) -> Callable[[Callable[[], None]], None]:
    def add(plant: Callable[[], None]) -> None:
        _FAULTS.append(_fault(plant, says, _ENROLL, "before", lambda _: plant()))

    return add


def _at(
    moment: Moment, says: str, *, test: str = _ENROLL, prepare: Callable[[], None] = lambda: None
) -> Callable[[Callable[[World], None]], None]:
    def add(plant: Callable[[World], None]) -> None:
        def with_world(world: World | None) -> None:
            assert world is not None, "there is a world at every moment but the first"
            plant(world)

        _FAULTS.append(replace(_fault(plant, says, test, moment, with_world), prepare=prepare))

    return add


def _fault(
    function: Callable[..., None], says: str, test: str, moment: Moment, plant: Callable[[World | None], None]
) -> WorldFault:
    name = function.__name__.strip("_").replace("_", "-")
    return WorldFault(name, function.__doc__ or "", test, "world", says, moment=moment, plant=plant)


def _worlds_live_in(folder: Path) -> None:
    os.environ["TMPDIR"] = str(folder)
    tempfile.tempdir = None  # else the folder chosen earlier stays chosen


def _small_disk() -> None:
    _worlds_live_in(private_mount.tmpfs("size=512m"))


@_before(r"NATS_SERVER=\S+, but \S+ is not an executable file")
def _nats_server_binary_missing() -> None:
    """The nats-server binary is not where it is said to be."""
    os.environ["NATS_SERVER"] = "/nonexistent/nats-server"


@_before(r"KUBEBUILDER_ASSETS=\S+, but \S+kube-apiserver is not an executable file")
def _apiserver_binary_missing() -> None:
    """The folder of Kubernetes servers is empty."""
    os.environ["KUBEBUILDER_ASSETS"] = "/var/empty"


@_before(r"its port is taken")
def _port_taken() -> None:
    """A stranger listens on a port that the world has chosen for a server."""
    take = Ports.take
    strangers: list[socket.socket] = []

    def taken(self: Ports) -> int:
        port = take(self)
        if not strangers:
            strangers.append(socket.create_server(("127.0.0.1", port)))
        return port

    Ports.take = taken  # the stranger comes between the choice and the start


@_before(r"\S+ is too long: a device's socket below it would exceed")
def _temporary_folder_too_deep() -> None:
    """The temporary folder's path leaves no room for a device's socket."""
    deep = Path("/tmp") / ("deep-" * 16)  # noqa: S108 - the path is the fault
    deep.mkdir(exist_ok=True)
    _worlds_live_in(deep)


@_before(r"only \d+ MiB are free")
def _disk_full_at_start() -> None:
    """The temporary folder's file system is too small for a world."""
    _worlds_live_in(private_mount.tmpfs("size=64k"))


@_at("booted", r"only \d+ MiB are free|cannot write at", prepare=_small_disk)
def _disk_full(world: World) -> None:
    """The file system fills up once the world runs."""
    with contextlib.suppress(OSError), (world.root / "filler").open("wb", buffering=0) as filler:
        while True:
            filler.write(bytes(1 << 20))


@_at("booted", r"zitadel runs, but does not answer: \S+ answered 500", test=_INSTALL)
def _identity_provider_answers_500(world: World) -> None:
    """The identity provider answers every call with an internal error."""
    token = world.admin_token_file.read_text().strip()
    trust = ssl.create_default_context(cafile=str(world.issuer_ca))
    fault = {"path": "/", "times": 10**6, "status": 500}
    httpx.patch(
        f"{world.issuer}/_double/modes",
        json={"faults": [fault]},
        headers={"Authorization": f"Bearer {token}"},
        verify=trust,
        timeout=5,
        trust_env=False,
    ).raise_for_status()


@_at("step", r"zitadel runs, but does not answer: no answer")
def _identity_provider_hung(world: World) -> None:
    """The identity provider accepts connections and never answers."""
    _signal(world, "zitadel", signal.SIGSTOP)


@_at("step", r"nats runs, but does not answer: no answer")
def _nats_hung(world: World) -> None:
    """NATS is frozen."""
    _signal(world, "nats", signal.SIGSTOP)


@_at("step", r"nats ended with code -9 without being asked")
def _nats_killed_again_and_again(world: World) -> None:
    """Something kills NATS whenever it is back."""
    _keep_killing(world, "nats")


@_at("step", r"the engine \S+ does not answer", test=_WORKLOADS)
def _engine_killed(world: World) -> None:
    """The container engine of the devices is killed."""
    _signal_engine(world, signal.SIGKILL)


@_at("step", r"the engine \S+ does not answer", test=_WORKLOADS)
def _engine_hung(world: World) -> None:
    """The container engine of the devices accepts connections and never answers."""
    _signal_engine(world, signal.SIGSTOP)


@_at("step", r"kube-apiserver runs, but does not answer: no answer")
def _apiserver_hung(world: World) -> None:
    """The API server is frozen."""
    _signal(world, "kube-apiserver", signal.SIGSTOP)


@_at("step", r"etcd ended with code -9 without being asked")
def _etcd_killed_again_and_again(world: World) -> None:
    """Something kills etcd whenever it is back."""
    _keep_killing(world, "etcd")


@_at("step", r"etcd ended with code -?\d+ without being asked")
def _etcd_lost_its_data(world: World) -> None:
    """Etcd is killed, and its data folder is gone when it comes back."""
    shutil.rmtree(world.root / "kubernetes" / "etcd")
    _signal(world, "etcd", signal.SIGKILL)


@_at("step", r"no supervisor answers|the supervisor \S+ ended")
def _supervisor_killed(world: World) -> None:
    """The process that keeps the world's servers is killed, and they die with it."""
    started = next(event.what for event in history(world.root) if event.what.startswith("supervisor started"))
    os.kill(int(started.rpartition(" ")[2]), signal.SIGKILL)


@_at("step", r"the world's folder cannot be read|no supervisor answers|is gone")
def _world_folder_deleted(world: World) -> None:
    """A cleaner of temporary files removes the world's folder."""
    shutil.rmtree(world.root, ignore_errors=True)


@_at("step", r"admin\.kubeconfig is not as it was made")
def _kubeconfig_corrupted(world: World) -> None:
    """The admin's kubeconfig is overwritten with garbage."""
    Path(world.env["KUBECONFIG"]).write_bytes(b"\0garbage")


@_at("step", r"ca\.crt is not as it was made")
def _ca_file_replaced(world: World) -> None:
    """The file of the authority that everybody trusts holds another authority."""
    other = world.root / "other-authority"
    other.mkdir()
    shutil.copyfile(Authority(other).certificate, world.issuer_ca)


@_at("step", r"admin\.pat is gone", test=_INSTALL)
def _admin_token_lost(world: World) -> None:
    """The identity administrator's token file is gone."""
    world.admin_token_file.unlink()


def _signal(world: World, component: str, number: signal.Signals) -> None:
    pid = statuses(world.root)[component].pid
    assert pid is not None, f"{component} runs at this moment"
    os.kill(pid, number)


def _signal_engine(world: World, number: signal.Signals) -> None:
    """Signal the process that listens on the socket of a device's engine (unix(7), SO_PEERCRED)."""
    device = next(device for device in world.devices().values() if isinstance(device, HasEngine))
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as engine:
        engine.connect(device.engine_socket)
        pid, _, _ = struct.unpack("3i", engine.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    os.kill(pid, number)


def _keep_killing(world: World, component: str) -> None:
    ended = threading.Event()

    def again_and_again() -> None:
        while not ended.wait(0.1):
            try:
                _signal(world, component, signal.SIGKILL)
            except (AssertionError, ProcessLookupError):
                continue  # not back yet
            except (KeyError, OSError):
                return  # the world has ended

    threading.Thread(target=again_and_again, name=f"kills {component}", daemon=True).start()
