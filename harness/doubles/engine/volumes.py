"""Named volumes: folders with labels, which outlive containers."""

from __future__ import annotations

import shutil
import stat
from collections.abc import Iterable
from pathlib import Path

import msgspec

from harness.doubles.engine.errors import no_such_volume, volume_in_use
from harness.doubles.engine.events import label_fits
from harness.doubles.engine.records import Record, now
from harness.processes.files import files_below


def size_of(folder: Path) -> int:
    """The bytes of the files below a folder."""
    return sum(about.st_size for _, about in files_below(folder) if stat.S_ISREG(about.st_mode))


class Volume(msgspec.Struct, rename="pascal"):
    """A volume, as the API shows it."""

    name: str
    labels: dict[str, str] | None = None
    driver: str = "local"
    mountpoint: str = ""
    created_at: str = ""


class Volumes:
    """Everything below `folder`: `<name>/{volume.json,_data/}`."""

    def __init__(self, folder: Path) -> None:
        """Use what earlier runs left there."""
        self._folder = folder

    def data(self, name: str) -> Path:
        """Where a volume's content is."""
        return self._folder / name / "_data"

    def sizes(self) -> dict[str, int]:
        """The bytes of each volume's files."""
        return {path.name: size_of(path / "_data") for path in self._folder.glob("*")}

    def list(self, labels: Iterable[str]) -> list[Volume]:
        """Those with each of the labels (`key` or `key=value`)."""
        files = sorted(self._folder.glob("*/volume.json"))
        volumes = [msgspec.json.decode(file.read_bytes(), type=Volume) for file in files]
        return [volume for volume in volumes if all(label_fits(volume.labels or {}, label) for label in labels)]

    def ensure(self, volume: Volume) -> Volume:
        """The volume of the name: the one that is there, with its own labels, or a new one."""
        file = self._folder / volume.name / "volume.json"
        if file.exists():
            return msgspec.json.decode(file.read_bytes(), type=Volume)
        self.data(volume.name).mkdir(parents=True)
        volume.mountpoint = str(self.data(volume.name))
        volume.created_at = now()
        file.write_bytes(msgspec.json.encode(volume))
        return volume

    def remove(self, name: str, records: Iterable[Record]) -> None:
        """Remove one with its content.

        Raises:
            Refused: 404 there is none; 409 a container was made with it, whether it runs or not.
        """
        if not (self._folder / name / "volume.json").exists():
            raise no_such_volume(name)
        if users := [record.id for record in records if name in record.volumes]:
            raise volume_in_use(name, users)
        shutil.rmtree(self._folder / name)
