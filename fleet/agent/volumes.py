"""The engine's volumes: those of a deployment are made for it, outlive it, and go by an admin's order alone."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Collection, Iterable, Mapping, Sequence

import msgspec

from fleet.agent.answers import Details, Listed, parse
from fleet.agent.engine import Engine, filters
from fleet.contract.containers import DEPLOYMENT_LABEL, DEVICE_LABEL, SERVER_LABEL, VOLUME_LABEL, container_name
from fleet.contract.owner import Owner
from fleet.contract.volumes import VolumeOrder

_IN_USE, _GONE = 409, 404


class Volume(msgspec.Struct, frozen=True, rename="pascal"):
    """A volume. The time of its creation is what the engine says of it, which may not be so."""

    name: str
    labels: dict[str, str] | None = None
    created_at: str = ""

    @property
    def id(self) -> str:
        """What tells it from another one that is made under its name later.

        Without a label it is the time. docker 20.10 moves that with each file that comes or goes at the volume's top,
        so such an order may be refused; it never removes another volume.
        """
        return (self.labels or {}).get(VOLUME_LABEL) or self.created_at


class _Volumes(msgspec.Struct, frozen=True, rename="pascal"):
    volumes: list[Volume] | None = None


class OwnVolume(msgspec.Struct, frozen=True):
    """A volume that was made for a deployment: its name there, whose it is, and how the engine has it."""

    name: str
    deployment: str
    owner: Owner
    engine: Volume


def usual_name(device: str, deployment: str, name: str) -> str:
    """How a volume is called in the engine, and was by agents of every release.

    Volume `b-c` of the deployment `a` and volume `c` of `a-b` have one such name.
    """
    return f"{container_name(device, deployment)}-{name}"


def own_name(device: str, deployment: str, name: str) -> str:
    """How it is called where another deployment's volume has the usual name."""
    return f"{usual_name(device, deployment, name)}{_mark(deployment)}"


def _mark(deployment: str) -> str:
    return f".{hashlib.sha256(deployment.encode()).hexdigest()[:8]}"


async def renamed(engine: Engine, owner: Owner, deployment: str, names: Collection[str]) -> dict[str, str]:
    """Those of a deployment's volumes that have not their usual names in the engine, with the names that they have.

    One that is there keeps its name, whatever has become of the one that took the usual name before it.
    """
    if not names:
        return {}
    there = {
        volume.name: volume.labels or {} for volume in await volumes_with(engine, f"{DEVICE_LABEL}={owner.device}")
    }
    ours = {DEVICE_LABEL: owner.device, SERVER_LABEL: owner.server}
    found: dict[str, str] = {}
    for name in names:
        own, usual = own_name(owner.device, deployment, name), usual_name(owner.device, deployment, name)
        exists = (ours | {DEPLOYMENT_LABEL: deployment}).items() <= there.get(own, {}).items()
        holder = there.get(usual, {})
        taken = ours.items() <= holder.items() and holder.get(DEPLOYMENT_LABEL, deployment) != deployment
        if exists or taken:
            found[name] = own
    return found


async def ensure_volume(engine: Engine, name: str, labels: Mapping[str, str]) -> Mapping[str, str]:
    """Make a volume if none has the name, with an id; returns the labels of the existing one."""
    body = msgspec.json.encode({"Name": name, "Labels": {**labels, VOLUME_LABEL: secrets.token_hex(8)}})
    answer = await engine.call("POST", "/volumes/create", f"create volume {name}", body=body, good=(200, 201))
    return parse(answer, Volume).labels or {}


async def volumes_with(engine: Engine, label: str) -> list[Volume]:
    """Every volume with the label (`key=value`)."""
    answer = await engine.call("GET", "/volumes", "list volumes", {"filters": filters(label=[label])})
    return parse(answer, _Volumes).volumes or []


async def remove_volume(engine: Engine, name: str) -> bool:
    """Remove a volume; none is fine. False, and it stays, while a container was made with it."""
    answer = await engine.call("DELETE", f"/volumes/{name}", f"remove volume {name}", good=(200, 204, _GONE, _IN_USE))
    return answer.status_code != _IN_USE


async def users_of(engine: Engine, name: str) -> list[Listed]:
    """The containers that were made with a volume, whosever they are, and whether they run or not."""
    query = {"all": "1", "filters": filters(volume=[name])}
    return parse(await engine.call("GET", "/containers/json", f"list who uses volume {name}", query), list[Listed])


async def volumes_of(engine: Engine, owners: Iterable[Owner]) -> list[OwnVolume]:
    """The volumes that were made for deployments of these identities."""
    return [
        own
        for owner in owners
        for volume in await volumes_with(engine, f"{DEVICE_LABEL}={owner.device}")
        if (own := _owned(volume, owner)) is not None
    ]


def _owned(volume: Volume, owner: Owner) -> OwnVolume | None:
    labels, ours = volume.labels or {}, {DEVICE_LABEL: owner.device, SERVER_LABEL: owner.server}
    deployment = labels.get(DEPLOYMENT_LABEL)
    if not deployment or not ours.items() <= labels.items():
        return None
    name = volume.name.removeprefix(usual_name(owner.device, deployment, "")).removesuffix(_mark(deployment))
    return OwnVolume(name, deployment, owner, volume)


def ordered(order: VolumeOrder, there: Sequence[OwnVolume], present: Owner) -> OwnVolume | None:
    """The volume that an order is about, among those that are there; None if it is gone, whatever has its name now."""
    for volume in there:
        former = "" if volume.owner == present else volume.owner.text
        if (volume.deployment, volume.name, volume.engine.id, former) == (
            order.deployment,
            order.name,
            order.id,
            order.former,
        ):
            return volume
    return None


def mounted(containers: Collection[Details]) -> dict[str, int]:
    """How many of the containers have each volume mounted, by its name in the engine."""
    counts: dict[str, int] = {}
    for container in containers:
        for name in {mount.name for mount in container.mounts or () if mount.type == "volume"}:
            counts[name] = counts.get(name, 0) + 1
    return counts
