"""All containers of the double: found by name, id or the start of an id; made from images; kept on disk."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from harness.doubles.engine.container import Container
from harness.doubles.engine.errors import (
    Refused,
    address_taken,
    image_in_use,
    name_taken,
    no_source,
    no_such_container,
    too_many_cpus,
    went_meanwhile,
)
from harness.doubles.engine.events import Events, label_fits
from harness.doubles.engine.images import Images
from harness.doubles.engine.manners import Manners
from harness.doubles.engine.networks import Networks
from harness.doubles.engine.records import Config, Creation, HostConfig, Record, now
from harness.doubles.engine.volumes import Volume, Volumes

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")


class Containers:
    """Everything below `folder`: `<id>/{record.json,root/,log}`."""

    def __init__(
        self,
        folder: Path,
        images: Images,
        events: Events,
        manners: Manners,
        volumes: Volumes,
        networks: Networks,
    ) -> None:
        """Use what earlier runs left there; `revive` starts what should run."""
        self._folder = folder
        self._images = images
        self._events = events
        self._manners = manners
        self._volumes = volumes
        self._networks = networks
        self._removed: set[str] = set()
        folder.mkdir(parents=True, exist_ok=True)
        self._all: dict[str, Container] = {}
        for file in folder.glob("*/record.json"):
            record = msgspec.json.decode(file.read_bytes(), type=Record)
            self._all[record.id] = self._container(record, self._image_config(record.image))

    async def revive(self) -> None:
        """Start again what its policy says, after the double itself was restarted."""
        for container in list(self._all.values()):
            await container.revive()

    def list(self, *, everything: bool, filters: Mapping[str, Sequence[str]]) -> list[Record]:
        """Records, newest first; without `everything`, only what runs."""
        records = [
            container.record
            for container in self._all.values()
            if (everything or container.record.state.running)
            and all(label_fits(container.record.labels, label) for label in filters.get("label", ()))
            and (not (volumes := filters.get("volume")) or not container.record.volumes.isdisjoint(volumes))
        ]
        return sorted(records, key=lambda record: record.created, reverse=True)

    def find(self, name: str) -> Container:
        """The container of a name, id or unique start of an id.

        Raises:
            Refused: 404 there is none.
        """
        for container in self._all.values():
            if name.lstrip("/") == container.record.name or container.record.id.startswith(name):
                return container
        raise no_such_container(name)

    def inspect(self, name: str) -> Record:
        """As `find`; the first look after a removal finds it going, as one that was begun before it would.

        Raises:
            Refused: it is not there, or not any more.
        """
        if name in self._removed:
            self._removed.remove(name)
            raise went_meanwhile(name)
        return self.find(name).record

    def create(self, name: str, body: Creation) -> Record:
        """A new container that does not run.

        Raises:
            Refused: 400 a bad name or port; 404 no such image; 409 the name is taken.
        """
        name = self._free(name.lstrip("/") or f"container-{secrets.token_hex(4)}")
        self._check(body.host_config)
        image = self._images.find(self._manners.own_name(body.image))
        number = secrets.token_hex(32)
        home = self._folder / number
        config = msgspec.convert(msgspec.to_builtins(body), type=Config)
        record = Record(
            number, name, now(), image.id, config, body.host_config, networking_config=body.networking_config
        )
        self._networks.check(record)
        shutil.copytree(self._images.root(image), home / "root", symlinks=True)
        _write_names(home / "root", body.host_config)
        container = self._all[number] = self._container(record, image.config)
        container.save()
        self._events.emit("create", record)
        return record

    def _container(self, record: Record, image: Config) -> Container:
        home = self._folder / record.id
        return Container(record, image, home, self._events, self._manners, self._volumes, self._neighbour)

    @contextlib.asynccontextmanager
    async def _neighbour(self, record: Record) -> AsyncGenerator[int]:
        """A process in the network that a container is in, if one runs; 0 for none. No other joins meanwhile.

        Raises:
            Refused: one that runs there has the address that it asks for.
        """
        name = next(iter(record.networks), "")
        if not name:
            yield 0
            return
        async with self._networks.joining[name]:
            self._networks.join(record)
            there = [
                container for container in self._all.values() if name in container.record.networks and container.pid
            ]
            address = record.address(name)
            if address and any(container.record.address(name) == address for container in there):
                raise address_taken(address)
            yield next((container.pid for container in there), 0)

    def records(self) -> Iterable[Record]:
        """All of them."""
        return [container.record for container in self._all.values()]

    def _check(self, host: HostConfig) -> None:
        """What the daemon refuses when a container is made; a volume that is not there is made."""
        if not self._manners.is_podman and host.nano_cpus > (most := (os.cpu_count() or 1)) * 10**9:
            raise too_many_cpus(most)
        for mount in host.mounts or []:
            if mount.type == "volume":
                self._volumes.ensure(Volume(mount.source))
            elif mount.type == "bind" and not Path(mount.source).exists():
                raise no_source(mount.source)

    def refuse_if_used(self, image: str) -> None:
        """Raises `Refused` 409 while a container was made from the image."""
        for container in self._all.values():
            if container.record.image == image:
                raise image_in_use(image, container.record.id)

    def rename(self, container: str, name: str) -> None:
        """Give it another name.

        Raises:
            Refused: 400 a bad name; 404 no such container; 409 the name is taken.
        """
        found = self.find(container)
        found.record.name = self._free(name.lstrip("/"))
        found.save()
        self._events.emit("rename", found.record)

    def _free(self, name: str) -> str:
        if not _NAME.fullmatch(name):
            raise Refused(400, f"Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")
        for container in self._all.values():
            if container.record.name == name:
                raise name_taken(name, container.record.id)
        return name

    async def remove(self, container: Container, *, force: bool) -> None:
        """Make it gone; as `Container.remove`."""
        await container.remove(force=force)
        del self._all[container.record.id]
        self._removed.add(container.record.id)

    def _image_config(self, image: str) -> Config:
        try:
            return self._images.find(image).config
        except Refused:
            return Config()


def _write_names(root: Path, host: HostConfig) -> None:
    """The files in which a container looks for names; its image's own do not count."""
    (root / "etc").mkdir(exist_ok=True)
    pairs = [
        host_entry.rpartition(":") if host_entry.count(":") == 1 else host_entry.partition(":")
        for host_entry in host.extra_hosts or []
    ]
    lines = ["127.0.0.1\tlocalhost", *(f"{address}\t{name}" for name, _, address in pairs)]
    (root / "etc/hosts").write_text("\n".join(lines) + "\n")
    (root / "etc/resolv.conf").write_text("".join(f"nameserver {server}\n" for server in host.dns or []))
