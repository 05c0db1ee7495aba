"""A container engine in memory, for what is to be tried hundreds of times: it ends whoever uses it after any change."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from pathlib import Path

import httpx
import msgspec

from fleet.agent.answers import Details, EngineRefused
from fleet.agent.creation import Where
from fleet.agent.engine import Engine
from fleet.agent.machines import Machines
from fleet.contract.pod import Member
from fleet.contract.wire import Container, Restart

WELL, UNWELL = "true", "false"
"""Health checks, by their command."""
BROKEN = "no-such-program"


class Crash(BaseException):
    """As SIGKILL: nobody cleans up."""


class Made(msgspec.Struct):
    """A container. `ends` is whether it runs to its end at once."""

    id: str
    name: str
    labels: dict[str, str]
    workload: Container
    network: str
    address: str
    ends: bool
    status: str = "created"
    has_started: bool = False

    @property
    def details(self) -> Details:
        """As `inspect` shows it."""
        check = self.workload.health
        says = "healthy" if check and check.command[0] == WELL else "unhealthy"
        state: dict[str, object] = {"Status": self.status, "StartedAt": self.id if self.has_started else ""}
        if check and self.status == "running":
            state["Health"] = {"Status": says, "Log": []}
        shown = {
            "Id": self.id,
            "Name": f"/{self.name}",
            "State": state,
            "Config": {"Labels": self.labels},
            "HostConfig": {"RestartPolicy": {"Name": self.workload.restart.value}},
        }
        return msgspec.convert(shown, Details)


class EngineModel(Engine):
    """`left` is how many changes there are until the crash; 0 for none. `before_end` looks at what is about to end."""

    def __init__(self, ends: frozenset[str]) -> None:
        """Containers of a pod with a name in `ends` run to their end at once."""
        super().__init__(Path("/nowhere"))
        self._ends = ends
        self._numbers = itertools.count(1)
        self.made: dict[str, Made] = {}
        self.networks: dict[str, dict[str, object]] = {}
        self.volumes: dict[str, dict[str, object]] = {}
        self.left = 0
        self.before_end: Callable[[Made, bool], None] = lambda _one, _removed: None

    def lose_power(self, *, starts: bool) -> None:
        """Everything ends; then the engine starts what ran, in no particular order, if it `starts` anything."""
        ran = [one for one in self.made.values() if one.status == "running"]
        for one in ran:
            one.status = "running" if starts and one.workload.restart is not Restart.NO else "exited"

    def changed(self) -> None:
        """Something was changed."""
        self.left -= 1
        if self.left == 0:
            raise Crash

    async def folder(self) -> Path:
        return Path("/")

    async def containers(self, label: str) -> list[Details]:
        name, _, value = label.partition("=")
        return [one.details for one in self.made.values() if one.labels.get(name) == value]

    async def has_image(self, image: str, platform: str = "") -> bool:
        del image, platform
        return True

    async def digests(self, image: str) -> tuple[str, ...]:
        del image
        return ()

    async def machines(self, image: str) -> Machines:
        return Machines("amd64", "amd64")

    async def create(
        self,
        name: str,
        workload: Container,
        labels: Mapping[str, str],
        where: Where = Where(),  # noqa: B008 - frozen
    ) -> str:
        if any(one.name == name for one in self.made.values()):
            raise EngineRefused("create", 409, f"the name {name} is in use")
        member = workload.name if isinstance(workload, Member) else ""
        number = f"c{next(self._numbers)}"
        address = where.addresses.get(member, "")
        ends = member in self._ends
        self.made[number] = Made(number, name, dict(labels), workload, where.network, address, ends)
        self.changed()
        return number

    async def rename(self, container: str, name: str) -> None:
        self._found(container).name = name
        self.changed()

    async def start(self, container: str) -> None:
        one = self._found(container)
        if one.workload.command[0] == BROKEN:
            raise EngineRefused("start", 400, f'exec: "{BROKEN}": executable file not found in $PATH')
        if one.network and one.network not in self.networks:
            raise EngineRefused("start", 404, f"network {one.network} not found")
        if one.address and any(
            other.address == one.address and other.status == "running" and other is not one
            for other in self.made.values()
        ):
            raise EngineRefused("start", 403, "Address already in use")
        one.status, one.has_started = "exited" if one.ends else "running", True
        self.changed()

    async def stop(self, container: str) -> None:
        one = self.made.get(container)
        if one is not None and one.status == "running":
            self.before_end(one, False)
            one.status = "exited"
            self.changed()

    async def remove(self, container: str) -> None:
        one = self.made.get(container)
        if one is not None:
            self.before_end(one, True)
            await self.stop(container)
            del self.made[container]
            self.changed()

    async def call(
        self,
        method: str,
        path: str,
        doing: str,
        query: Mapping[str, str] | None = None,
        body: bytes = b"",
        *,
        good: tuple[int, ...] = (200,),
        limit: float = 0,
    ) -> httpx.Response:
        """What is asked of networks and volumes."""
        del query, good, limit
        if path == "/volumes":
            return httpx.Response(200, json={"Volumes": list(self.volumes.values())})
        if path == "/volumes/create":
            wanted = msgspec.json.decode(body)
            made = self.volumes.setdefault(wanted["Name"], wanted)
            self.changed()
            return httpx.Response(201, json=made)
        name = path.removeprefix("/networks").strip("/")
        match method:
            case "GET" if not name:
                return httpx.Response(200, json=list(self.networks.values()))
            case "GET":
                found = self.networks.get(name)
                return httpx.Response(200, json=found) if found else httpx.Response(404)
            case "POST":
                asked = msgspec.json.decode(body)
                subnet = f"10.0.{next(self._numbers) % 250}.0/24"
                ipam = asked.get("IPAM") or {"Config": [{"Subnet": subnet}]}
                self.networks[asked["Name"]] = {**asked, "IPAM": ipam, "Id": f"n{next(self._numbers)}"}
            case _:
                inside = [one for one in self.made.values() if one.network == name and one.status == "running"]
                if inside:
                    raise EngineRefused(doing, 403, f"network {name} has active endpoints")
                self.networks.pop(name, None)
        self.changed()
        return httpx.Response(201)

    def _found(self, container: str) -> Made:
        if container not in self.made:
            raise EngineRefused("find", 404, f"No such container: {container}")
        return self.made[container]
