"""In which version of the store each object changed last, by which pages ask for what is new alone."""

from __future__ import annotations

from collections.abc import Collection

_GONE = 1_000
"""Names of deleted devices that are kept at least: a page that is open is told of them. Twice as many at most."""


class ObjectVersions:
    """The last change of each device and deployment, by versions of the store, which only grow."""

    def __init__(self) -> None:
        """There is nothing yet."""
        self._rows: dict[str, int] = {}
        self._gone: dict[str, None] = {}
        self._own: dict[str, int] = {}
        """Of each device that changed, the last change of it alone, the newest last."""
        self._deployments: dict[str, int] = {}
        self._deployment_gone = 0
        self._of_all = 1
        """The last change that may be one of any device."""
        self._oldest = 0

    def __len__(self) -> int:
        """How many names are kept."""
        return len(self._rows)

    def row_changed(self, name: str, version: int) -> None:
        """The row of a device that is there is another one."""
        self._gone.pop(name, None)
        # The newest stands last, so that a reader of what is new looks at nothing else.
        self._rows.pop(name, None)
        self._rows[name] = version

    def row_gone(self, name: str, version: int) -> None:
        """A device is there no more."""
        self.row_changed(name, version)
        self._gone[name] = None
        if len(self._gone) <= 2 * _GONE:
            return
        for old in list(self._gone)[:_GONE]:
            del self._gone[old]
            self._oldest = max(self._oldest, self._rows.pop(old))
            self._own.pop(old, None)
        self._of_all = version  # a version of theirs would come again, and with it what was rendered for it

    def changed(self, version: int, device: str | None) -> None:
        """The store has a new version: of one device, of none (empty), or of any."""
        if device is None:
            self._of_all = version
        elif device in self._rows:  # a name that a message made up is kept nowhere
            self._own.pop(device, None)
            self._own[device] = version

    def knows_rows_since(self, version: int) -> bool:
        """Whether every device that went after a version is known; who has that version needs all rows if not."""
        return version >= self._oldest

    def deployment_changed(self, name: str, version: int) -> None:
        """A deployment that is there has changed, or what was said of it."""
        self._deployments[name] = version

    def deployment_gone(self, name: str, version: int) -> None:
        """A deployment is there no more."""
        self._deployments.pop(name, None)
        self._deployment_gone = version

    def of(self, device: str) -> int:
        """Grows with every change that a device's own screen may show; what others do is none."""
        return max(self._of_all, self._own.get(device, 0))

    def of_deployment(self, name: str) -> int:
        """Grows with every change of the deployment itself; what devices say of it is none."""
        return max(self._deployment_gone, self._deployments.get(name, 0))

    def touched_since(self, version: int) -> list[str] | None:
        """The devices of which something changed after a version; None where that may be any device."""
        if version < self._of_all:
            return None
        touched: list[str] = []
        for name, moved in reversed(self._own.items()):
            if moved <= version:
                break
            touched.append(name)
        return touched

    def since(self, version: int, present: Collection[str]) -> tuple[list[str], list[str]]:
        """The names of devices whose rows changed after a version: those that are present, and those that went."""
        changed: list[str] = []
        for name, moved in reversed(self._rows.items()):
            if moved <= version:
                break
            changed.append(name)
        return [name for name in changed if name in present], [name for name in changed if name not in present]
