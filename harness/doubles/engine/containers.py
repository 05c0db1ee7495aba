"""All containers of the double: found by name, id or the start of an id; made from images; kept on disk."""

from __future__ import annotations

import re
import secrets
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from harness.doubles.engine.container import Container
from harness.doubles.engine.errors import Refused, no_such_container
from harness.doubles.engine.events import Events, label_fits
from harness.doubles.engine.images import Images
from harness.doubles.engine.records import Config, Creation, Record, now

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")


class Containers:
    """Everything below `folder`: `<id>/{record.json,root/,log}`."""

    def __init__(self, folder: Path, images: Images, events: Events) -> None:
        """Use what earlier runs left there; `revive` starts what should run."""
        self._folder = folder
        self._images = images
        self._events = events
        folder.mkdir(parents=True, exist_ok=True)
        self._all: dict[str, Container] = {}
        for file in folder.glob("*/record.json"):
            record = msgspec.json.decode(file.read_bytes(), type=Record)
            self._all[record.id] = Container(record, self._image_config(record.image), file.parent, events)

    async def revive(self) -> None:
        """Start again what its policy says, after the double itself was restarted."""
        for container in list(self._all.values()):
            await container.revive()

    def list(self, *, everything: bool, filters: Mapping[str, Sequence[str]]) -> list[Record]:
        """Records, newest first; without `everything`, only what runs."""
        found = [
            one.record
            for one in self._all.values()
            if (everything or one.record.state.running)
            and all(label_fits(one.record.labels, label) for label in filters.get("label", ()))
        ]
        return sorted(found, key=lambda record: record.created, reverse=True)

    def find(self, name: str) -> Container:
        """The container of a name, id or unique start of an id.

        Raises:
            Refused: 404 there is none.
        """
        for one in self._all.values():
            if name.lstrip("/") == one.record.name or one.record.id.startswith(name):
                return one
        raise no_such_container(name)

    def create(self, name: str, body: Creation) -> Record:
        """A new container that does not run.

        Raises:
            Refused: 400 a bad name or port; 404 no such image; 409 the name is taken.
        """
        name = self._free(name.lstrip("/") or f"container-{secrets.token_hex(4)}")
        image = self._images.find(body.image)
        number = secrets.token_hex(32)
        home = self._folder / number
        config = msgspec.convert(msgspec.to_builtins(body), type=Config)
        record = Record(number, name, now(), image.id, config, body.host_config)
        shutil.copytree(self._images.root(image), home / "root", symlinks=True)
        container = self._all[number] = Container(record, image.config, home, self._events)
        container.save()
        self._events.emit("create", record)
        return record

    def refuse_if_used(self, image: str) -> None:
        """Raises `Refused` 409 while a container was made from the image."""
        if any(one.record.image == image for one in self._all.values()):
            raise Refused(409, f"conflict: unable to remove {image}: a container is using it")

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
        for one in self._all.values():
            if one.record.name == name:
                raise Refused(
                    409,
                    f'Conflict. The container name "/{name}" is already in use by container "{one.record.id}". '
                    "You have to remove (or rename) that container to be able to reuse that name.",
                )
        return name

    async def remove(self, container: Container, *, force: bool) -> None:
        """Make it gone; as `Container.remove`."""
        await container.remove(force=force)
        del self._all[container.record.id]

    def log(self, container: Container) -> bytes:
        """What its process has written."""
        file = self._folder / container.record.id / "log"
        return file.read_bytes() if file.exists() else b""

    def _image_config(self, image: str) -> Config:
        try:
            return self._images.find(image).config
        except Refused:
            return Config()
