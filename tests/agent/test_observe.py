"""What the agent sees of the images that its containers were made from."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from fleet.agent.answers import Details, EngineRefused, EngineSilent, Listed, from_list
from fleet.agent.engine import Engine
from fleet.agent.machines import Machines
from fleet.agent.observe import Observer
from fleet.contract.containers import DEPLOYMENT_LABEL, DEVICE_LABEL, SERVER_LABEL
from fleet.contract.owner import Owner

OWNER = Owner("pi-1", "server")
BARE = "ab" * 32


class Showing(Engine):
    """An engine with one container of each image; `answers` are the digests of an image, or why it tells none."""

    def __init__(self, answers: dict[str, tuple[str, ...] | Exception]) -> None:
        super().__init__(Path("/nowhere"))
        self.answers = answers
        self.asked: list[str] = []

    async def containers(self, label: str) -> list[Details]:
        del label
        labels = {DEVICE_LABEL: OWNER.device, SERVER_LABEL: OWNER.server, DEPLOYMENT_LABEL: "web"}
        shown = [from_list(Listed(image, labels=labels, state="running"), "") for image in self.answers]
        return [msgspec.structs.replace(one, image=one.id) for one in shown]

    async def digests(self, image: str) -> tuple[str, ...]:
        self.asked.append(image)
        answer = self.answers[image]
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def machines(self, image: str) -> Machines:
        return Machines(image if self.answers[image] else "", "here")


def looks(engine: Engine, times: int) -> list[tuple[str, tuple[str, ...]]]:
    async def go() -> list[tuple[str, tuple[str, ...]]]:
        observer = Observer(engine, OWNER)
        found = [await observer.look() for _ in range(times)][-1]
        return [(one.image_id, one.image_digests) for one in found]

    return asyncio.run(go())


def test_both_engines_ids_are_told_in_one_form() -> None:
    engine = Showing({BARE: ("sha256:1",), f"sha256:{BARE}": ()})
    assert looks(engine, 1) == [(f"sha256:{BARE}", ("sha256:1",)), (f"sha256:{BARE}", ())]


def test_an_image_for_another_machine_is_told_with_its_container() -> None:
    async def go() -> list[str]:
        return [one.foreign for one in await Observer(Showing({"a": ("sha256:1",), "b": ()}), OWNER).look()]

    assert asyncio.run(go()) == ["its image is made for a, and this device is here", ""]


def test_an_image_is_asked_for_once_also_when_nothing_is_told_of_it() -> None:
    refused = EngineRefused("look at image b", 500, "storage is corrupt")
    engine = Showing({"a": ("sha256:1",), "b": refused, "c": EngineSilent("hangs", next_step="wait")})
    assert [digests for _, digests in looks(engine, 3)] == [("sha256:1",), (), ()]
    assert sorted(engine.asked) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("status", "code", "policy", "resumes"),
    [
        ("exited", 0, "unless-stopped", True),
        ("exited", 0, "always", True),
        ("exited", 1, "on-failure", True),
        ("exited", 0, "on-failure", False),
        ("exited", 1, "no", False),
        ("exited", 1, "", False),
        ("created", 0, "unless-stopped", True),
        ("created", 0, "on-failure", True),
        ("created", 0, "no", False),
        ("running", 0, "unless-stopped", False),
        ("restarting", 1, "unless-stopped", False),
    ],
)
def test_what_ran_and_is_to_run_by_its_own_policy_is_told(status: str, code: int, policy: str, resumes: bool) -> None:
    assert resumed(status, code, policy, "2026-11-30T10:00:00Z") is resumes


@pytest.mark.parametrize("started", ["", "0001-01-01T00:00:00Z"])
def test_what_never_ran_does_not_run_again(started: str) -> None:
    assert resumed("created", 0, "always", started) is False


def resumed(status: str, code: int, policy: str, started: str) -> bool:
    labels = {DEVICE_LABEL: OWNER.device, SERVER_LABEL: OWNER.server, DEPLOYMENT_LABEL: "web"}
    shown = {
        "Id": "c1",
        "State": {"Status": status, "ExitCode": code, "StartedAt": started},
        "Config": {"Labels": labels},
        "HostConfig": {"RestartPolicy": {"Name": policy}},
    }

    class One(Engine):
        async def containers(self, label: str) -> list[Details]:
            del label
            return [msgspec.convert(shown, Details)]

    (found,) = asyncio.run(Observer(One(Path("/nowhere")), OWNER).look())
    return found.resumes
