"""What a container finds in its file system beside its image: volumes, host folders, memory, and files of its own."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import msgspec

from fleet.contract.limits import MAX_CONTENT, Bytes, Identifier
from fleet.contract.sealed import FromSecret
from fleet.contract.volumes import VOLUME_NAME

_SEGMENT = r"([^/.:\x00-\x1f\x7f][^/:\x00-\x1f\x7f]*|\.[^/.:\x00-\x1f\x7f][^/:\x00-\x1f\x7f]*|\.\.[^/:\x00-\x1f\x7f]+)"
"""A name in a path: never `.` or `..`, and without what separates paths in the engines' own words."""
PATH = rf"(/{_SEGMENT})+"
MAX_PATH = 1024
Path = Annotated[str, msgspec.Meta(min_length=2, max_length=MAX_PATH, pattern=rf"^{PATH}\Z")]
"""An absolute path without `.`, `..` and empty names."""
OptionalPath = Annotated[str, msgspec.Meta(max_length=MAX_PATH, pattern=rf"^({PATH})?\Z")]
Source = Annotated[str, msgspec.Meta(max_length=MAX_PATH, pattern=rf"^({VOLUME_NAME}|{PATH})?\Z")]
FileMode = Annotated[str, msgspec.Meta(max_length=4, pattern=r"^0?[0-7]{3}\Z")]


class MountType(Enum):
    """Where a mount's content lies (Docker Engine API, `Mount.Type`)."""

    VOLUME = "volume"
    BIND = "bind"
    TMPFS = "tmpfs"


MOUNT_RULES = (
    {
        "rule": "self.type != 'volume' || (has(self.source) && self.source != '' && !self.source.startsWith('/'))",
        "message": "a volume's source is its name",
    },
    {
        "rule": "self.type != 'bind' || (has(self.source) && self.source.startsWith('/'))",
        "message": "a bind's source is an absolute path of the device",
    },
    {
        "rule": "self.type != 'tmpfs' || !has(self.source) || self.source == ''",
        "message": "a tmpfs has no source",
    },
    {
        "rule": "self.type == 'tmpfs' || !has(self.size) || self.size == 0",
        "message": "only a tmpfs has a size",
    },
)
"""For Kubernetes; `Mount` holds them, too."""


class Mount(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, forbid_unknown_fields=True):
    """A folder of the container whose content lies elsewhere. `size` in bytes, 0 for the engine's own limit."""

    type: MountType
    path: Path
    source: Source = ""
    read_only: bool = False
    size: Bytes = 0

    def __post_init__(self) -> None:
        """Refuse what has no meaning for its type.

        Raises:
            ValueError: one of these, in words.
        """
        is_path = self.source.startswith("/")
        held = (
            self.type is not MountType.VOLUME or (self.source != "" and not is_path),
            self.type is not MountType.BIND or is_path,
            self.type is not MountType.TMPFS or not self.source,
            self.type is MountType.TMPFS or not self.size,
        )
        for holds, rule in zip(held, MOUNT_RULES, strict=True):
            if not holds:
                raise ValueError(rule["message"])


FILE_RULE = {
    "rule": "!has(self.secret) || !has(self.content) || self.content == ''",
    "message": "a file has its content in the deployment or in a Secret, not in both",
}


class File(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, forbid_unknown_fields=True):
    """A file with this content, which the container can read and not change. `mode` is octal, as chmod(1) takes it.

    One from a `secret` lies in memory on the device.
    """

    path: Path
    content: Annotated[str, msgspec.Meta(max_length=MAX_CONTENT)] = ""
    mode: FileMode = "0444"
    user: Identifier = 0
    group: Identifier = 0
    secret: FromSecret | None = None

    def __post_init__(self) -> None:
        """Refuse two contents.

        Raises:
            ValueError: there are two.
        """
        if self.secret is not None and self.content:
            raise ValueError(FILE_RULE["message"])


PATHS_RULE = {
    "rule": "self.all(one, self.exists_one(other, other.path == one.path))",
    "message": "a path is mounted twice",
}
BOTH_PATHS_RULE = {
    "rule": "!has(self.mounts) || !has(self.files) || "
    "self.mounts.all(one, !self.files.exists(other, other.path == one.path))",
    "message": "a path is mounted twice: as a folder, and as a file",
}


def check_paths(mounts: tuple[Mount, ...], files: tuple[File, ...]) -> None:
    """Nothing, where each path of a container has one content.

    Raises:
        ValueError: a path is named twice.
    """
    taken: set[str] = set()
    for path in (*(mount.path for mount in mounts), *(file.path for file in files)):
        if path in taken:
            raise ValueError(f"{path} is mounted twice")
        taken.add(path)
