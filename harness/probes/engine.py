"""A look at a container engine over its Docker-compatible API: what runs for a device, and its volumes."""

from __future__ import annotations

from typing import Any

import msgspec

from fleet.contract.containers import DEVICE_LABEL
from fleet.contract.names import DeviceId
from harness.engine.client import EngineClient
from harness.errors import HarnessError

_REGISTRIES = ("localhost/", "docker.io/library/", "docker.io/")
"""What podman puts before a short name: of an image that was loaded, and of one from the Docker registry."""


def image_name(shown: str) -> str:
    """An image's name as a person writes it, whichever engine shows it."""
    before = next((prefix for prefix in _REGISTRIES if shown.startswith(prefix)), "")
    return shown.removeprefix(before)


class EngineProbe:
    """Looks at one engine through its unix socket; every call can raise `Unanswered`."""

    def __init__(self, socket: str) -> None:
        """Nothing is contacted before the first look."""
        self._client = EngineClient(socket)

    def containers(self, device: DeviceId | str) -> list[dict[str, Any]]:
        """Every container of a device, running or not, as the engine lists them."""
        filters = msgspec.json.encode({"label": [f"{DEVICE_LABEL}={device}"]}).decode()
        return self._client.call("GET", "/containers/json", params={"all": "true", "filters": filters}).json()

    def volumes(self, device: DeviceId | str) -> list[str]:
        """The names of the volumes that were made for a device, as the engine has them."""
        filters = msgspec.json.encode({"label": [f"{DEVICE_LABEL}={device}"]}).decode()
        listed: list[dict[str, Any]] = (
            self._client.call("GET", "/volumes", params={"filters": filters}).json()["Volumes"] or []
        )
        return [item["Name"] for item in listed]

    def inspect(self, container: str) -> dict[str, Any]:
        """All that the engine tells of one container.

        Raises:
            HarnessError: there is none of that id.
        """
        answer = self._client.call("GET", f"/containers/{container}/json")
        if answer.is_error:
            raise HarnessError(f"the engine shows no {container}: {answer.text.strip()}", next_step="list it first")
        return answer.json()

    def remove(self, device: DeviceId | str) -> None:
        """Remove every container of a device, running or not.

        Raises:
            HarnessError: the engine refused.
        """
        for container in self.containers(device):
            path = f"/containers/{container['Id']}"
            answer = self._client.call("DELETE", path, params={"force": "true", "v": "true"})
            # 404 and 409: gone, or going, since it was listed; podman says it with a 500, too.
            if answer.is_error and answer.status_code not in {404, 409} and "no such container" not in answer.text:
                raise HarnessError(f"the engine keeps {path}: {answer.text.strip()}", next_step="see the engine's log")

    def close(self) -> None:
        """End the connections."""
        self._client.close()
