"""The devices of the deployments whose screens are open, brought up to date by what changed since the last look."""

from __future__ import annotations

from fleet.web.store import Store
from fleet.web.views.deployment_devices import DeploymentDevices

_KEPT = 2_000_000
"""Devices of all deployments that are kept, which are those that were looked at last: as many as the most pages that
are kept up to date show of 10,000 devices each. With them a deployment takes a third of a mebibyte at most."""
_OVERHEAD = 500
"""What a deployment counts beside its devices."""


class _Kept:
    def __init__(self, devices: DeploymentDevices, version: int) -> None:
        self.devices = devices
        self.seen = version
        """Up to which version of the store all changes are in it."""
        self.changed = version
        """The version in which something of it changed last."""


class ShownDeployments:
    """By the names of deployments that are there."""

    def __init__(self, store: Store) -> None:
        """None is looked at yet."""
        self._store = store
        self._kept: dict[str, _Kept] = {}

    def version(self, name: str) -> int:
        """Grows with every change that the screen of a deployment may show; what other devices do is none."""
        if name not in self._store.deployments:
            return self._store.version
        return max(self._current(name).changed, self._store.versions.of_deployment(name))

    def devices(self, name: str) -> DeploymentDevices:
        """How each device stands with a deployment now."""
        return self._current(name).devices

    def _current(self, name: str) -> _Kept:
        store, item = self._store, self._store.deployments[name]
        kept = self._kept.pop(name, None)
        if kept is not None and not kept.devices.fits(item):
            kept = None
        touched = store.versions.touched_since(kept.seen) if kept is not None else None
        if kept is None or touched is None:
            devices = DeploymentDevices(item)
            known = (
                (store.devices[one], store.summaries.get(one), store.workloads(one)) for one in sorted(store.devices)
            )
            devices.fill(known)
            kept = _Kept(devices, store.version)
            self._make_room(len(devices) + _OVERHEAD)
        else:
            news = [self._put(kept.devices, device) for device in touched]
            kept.seen = store.version
            kept.changed = store.version if any(news) else kept.changed
        self._kept[name] = kept
        return kept

    def _make_room(self, size: int) -> None:
        held = size + sum(len(one.devices) + _OVERHEAD for one in self._kept.values())
        for name, one in tuple(self._kept.items()):
            if held <= _KEPT:
                break
            held -= len(one.devices) + _OVERHEAD
            del self._kept[name]

    def _put(self, devices: DeploymentDevices, name: str) -> bool:
        store = self._store
        return devices.put(name, store.devices.get(name), store.summaries.get(name), store.workloads(name))
