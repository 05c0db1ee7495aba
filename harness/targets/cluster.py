"""The target `staging:FILE`: a cluster that exists already, with a live identity provider and real boards.

FILE is JSON or YAML with the fields of `Description`. The parts are pods, which only Kubernetes restarts; nothing of
the cluster is ever ended by us, and what is broken in it is judged by asking the API server and the issuer.
"""

from __future__ import annotations

import contextlib
import os
import ssl
import tempfile
from collections.abc import Generator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import msgspec

from harness.devices import Device
from harness.devices.libvirt import LibvirtDevice, Machine
from harness.devices.ssh import Address, SshDevice
from harness.errors import HarnessError, Misused, TargetUnavailable
from harness.parts import Event, PartStatus, history, record
from harness.probes.kube import KubeProbe
from harness.targets.local import inherited
from harness.world import World

_PART_LABEL = "app.kubernetes.io/name"
_PRODUCT = ("callout", "operator")


class Description(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What must be known of a cluster.

    Attributes:
        kubeconfig: Path of a kubeconfig with a token or client certificate of an admin of `namespace`.
        namespace: Where the fleet server is, or will be, installed.
        issuer: The identity provider's URL.
        issuer_ca: Path of the PEM file that its certificate is checked against.
        admin_token_file: Path of a file with an administrator's personal access token.
        boards: Machines over SSH, by the name that tests use.
        machines: Virtual machines, likewise.
    """

    kubeconfig: Path
    namespace: str
    issuer: str
    issuer_ca: Path
    admin_token_file: Path
    boards: dict[str, Address] = {}
    machines: dict[str, Machine] = {}


@contextlib.contextmanager
def cluster(file: Path, *, run_id: str, worker: str) -> Generator[World]:
    """A world in a cluster that is only visited.

    Raises:
        TargetUnavailable: something that the description names is missing; the message lists all of it.
    """
    description = _read(file)
    with tempfile.TemporaryDirectory(prefix="fleet-") as folder:
        root = Path(folder)
        (root / "logs").mkdir()
        env = {
            **inherited(),
            "HOME": str(root),
            "XDG_CONFIG_HOME": str(root / ".config"),
            "KUBECONFIG": str(description.kubeconfig),
            "FLEET_NAMESPACE": description.namespace,
            "FLEET_ADMIN_TOKEN_FILE": str(description.admin_token_file),
            "NO_COLOR": "1",
        }
        kube = KubeProbe(description.kubeconfig, description.namespace)
        world = World(
            root=root,
            run_id=run_id,
            worker=worker,
            target="staging",
            env=env,
            namespace=description.namespace,
            identity=Person(description),
            parts=Pods(root, kube, description),
            engine="each device's own",
            make_device=partial(_device, description),
            device_kinds=frozenset([*["pi"] * bool(description.boards), *["libvirt"] * bool(description.machines)]),
            secret=lambda name: kube.secret("fleet-secrets", name) or "",
        )
        with contextlib.closing(kube), contextlib.closing(world):
            yield world


class Person(msgspec.Struct, frozen=True):
    """Satisfies `Identity`: a live provider, at which only a person can approve."""

    description: Description

    @property
    def issuer(self) -> str:
        """Its URL."""
        return self.description.issuer

    @property
    def ca(self) -> Path:
        """The authority of its certificate."""
        return self.description.issuer_ca

    @property
    def admin_token_file(self) -> Path:
        """As described."""
        return self.description.admin_token_file

    def approve(self, user_code: str) -> None:
        """Ask the person at the terminal."""
        with contextlib.suppress(OSError), Path("/dev/tty").open("w") as terminal:
            terminal.write(f"\napprove {user_code} at {self.issuer}/device\n")


class Pods:
    """Satisfies `Parts`: pods, as far as the Kubernetes API lets an admin touch them."""

    def __init__(self, root: Path, kube: KubeProbe, description: Description) -> None:
        """Look through `kube`; keep the history in `root`."""
        self._root = root
        self._kube = kube
        self._description = description

    def statuses(self) -> Mapping[str, PartStatus]:
        """As `Parts.statuses`; a part with several pods counts as ready when one is."""
        found: dict[str, PartStatus] = {}
        for pod in self._pods():
            name = pod["metadata"].get("labels", {}).get(_PART_LABEL, pod["metadata"]["name"])
            conditions: list[dict[str, str]] = pod["status"].get("conditions", [])
            ready = any(it["type"] == "Ready" and it["status"] == "True" for it in conditions)
            restarts = sum(it["restartCount"] for it in pod["status"].get("containerStatuses", []))
            side = "product" if name in _PRODUCT else "world"
            if name not in found or ready:
                found[name] = PartStatus(name, side, 1, 1 + restarts, unready="" if ready else "its pod is not ready")
        return found

    def kill(self, name: str) -> None:
        """Delete its pods without grace; the workload's controller makes new ones."""
        self.record("pods deleted", name)
        for pod in self._pods():
            if pod["metadata"].get("labels", {}).get(_PART_LABEL) == name:
                self._kube.delete(f"{self._pod_path()}/{pod['metadata']['name']}?gracePeriodSeconds=0")

    def stop(self, name: str) -> None:
        """As `Parts.stop`."""
        self._cannot("stop", name)

    def start(self, name: str) -> None:
        """As `Parts.start`."""
        self._cannot("start", name)

    def pause(self, name: str) -> None:
        """As `Parts.pause`."""
        self._cannot("freeze", name)

    def resume(self, name: str) -> None:
        """As `Parts.resume`."""
        self._cannot("unfreeze", name)

    def problems(self, since: float) -> list[str]:
        """As `Parts.problems`."""
        del since
        found: list[str] = []
        try:
            statuses = self.statuses()
            found += [f"{name}: {it.unready}" for name, it in statuses.items() if it.side == "world" and it.unready]
        except HarnessError as error:
            found.append(error.what)
        trust = ssl.create_default_context(cafile=str(self._description.issuer_ca))
        try:
            httpx.get(f"{self._description.issuer}/.well-known/openid-configuration", verify=trust).raise_for_status()
        except httpx.HTTPError as error:
            found.append(f"the issuer {self._description.issuer} does not answer: {error}")
        return found

    def product_deaths(self, since: float) -> list[str]:
        """Containers of the product that restarted; the API tells no monotonic time, so all of them."""
        del since
        return [f"{it.name} restarted {it.starts - 1} times" for it in self.statuses().values() if it.starts > 1]

    def history(self, since: float) -> list[Event]:
        """As `Parts.history`."""
        return history(self._root, since)

    def record(self, what: str, part: str) -> None:
        """As `Parts.record`."""
        record(self._root, what, part=part, asked=True)

    def _pod_path(self) -> str:
        return f"/api/v1/namespaces/{self._description.namespace}/pods"

    def _pods(self) -> list[dict[str, Any]]:
        return (self._kube.get(self._pod_path()) or {"items": []})["items"]

    def _cannot(self, verb: str, name: str) -> None:
        raise Misused(f"cannot {verb} {name} in a cluster that is only visited", next_step="mark the test `embedded`")


def _device(description: Description, name: str) -> Device:
    """Machines are scarce: a name that was made unique takes the one whose name it begins with."""
    for board, address in description.boards.items():
        if name == board or name.startswith(f"{board}-"):
            return SshDevice(name, address)
    for machine, defined in description.machines.items():
        if name == machine or name.startswith(f"{machine}-"):
            return LibvirtDevice(name, defined)
    known = ", ".join([*description.boards, *description.machines]) or "none"
    raise TargetUnavailable(
        f"no machine for the device {name!r}; there are: {known}", next_step="add it to `boards` or `machines`"
    )


def _read(file: Path) -> Description:
    try:
        load = msgspec.json.decode if file.suffix == ".json" else msgspec.yaml.decode
        found: Description = load(file.read_bytes(), type=Description, dec_hook=lambda _, value: Path(value))
    except (OSError, msgspec.DecodeError) as error:
        raise TargetUnavailable(
            f"{file}: {error}", next_step="see `Description` in harness/targets/cluster.py"
        ) from error
    files = (found.kubeconfig, found.issuer_ca, found.admin_token_file)
    missing = [str(path) for path in files if not os.access(path, os.R_OK)]
    if missing:
        raise TargetUnavailable(f"{file} names files that cannot be read: {', '.join(missing)}", next_step="correct it")
    return found
