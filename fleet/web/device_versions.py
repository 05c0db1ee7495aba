"""Up to which version of the store each device's row and screen are known, by which pages ask for what is new alone."""

from __future__ import annotations

from collections.abc import Collection

_GONE = 1_000
"""Names of deleted devices that are kept at least: a page that is open is told of them. Twice as many at most."""


class DeviceVersions:
    """The last change of each device, by versions of the store, which only grow."""

    def __init__(self) -> None:
        """There is no device yet."""
        self._rows: dict[str, int] = {}
        self._gone: dict[str, None] = {}
        self._own: dict[str, int] = {}
        """Of each device that changed, the last change of it alone."""
        self._of_all = 1
        """The last change that may be one of any device."""
        self.oldest = 0
        """Who has seen no newer version does not hear of every device that is gone, so needs all rows."""

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
            self.oldest = max(self.oldest, self._rows.pop(old))
            self._own.pop(old, None)
        self._of_all = version  # a version of theirs would come again, and with it what was rendered for it

    def changed(self, version: int, device: str | None) -> None:
        """The store has a new version: of one device, of none (empty), or of any."""
        if device is None:
            self._of_all = version
        elif device in self._rows:  # a name that a message made up is kept nowhere
            self._own[device] = version

    def of(self, device: str) -> int:
        """Grows with every change that a device's own screen may show; what others do is none."""
        return max(self._of_all, self._own.get(device, 0))

    def since(self, version: int, present: Collection[str]) -> tuple[list[str], list[str]]:
        """The names of devices whose rows changed after a version: those that are present, and those that went."""
        changed: list[str] = []
        for name, moved in reversed(self._rows.items()):
            if moved <= version:
                break
            changed.append(name)
        return [name for name in changed if name in present], [name for name in changed if name not in present]
