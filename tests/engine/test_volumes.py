"""Volumes, on real engines and on the double: made with an id, told with who uses them, removed while nothing does."""

from __future__ import annotations

import msgspec
import pytest

from fleet.agent.creation import Where
from fleet.agent.engine import Engine
from fleet.agent.volumes import ensure_volume, mounted, remove_volume, users_of, volumes_with
from fleet.contract.containers import VOLUME_LABEL
from fleet.contract.mounts import Mount, MountType
from fleet.contract.pod import as_sent
from fleet.contract.wire import Container
from tests.engine.lab import LABEL, STAYS, Lab, workload


def with_volume() -> Container:
    return as_sent(msgspec.structs.replace(workload(*STAYS), mounts=(Mount(MountType.VOLUME, "/data", "data"),)))


async def ids(engine: Engine, lab: Lab) -> list[str]:
    return [one.id for one in await volumes_with(engine, lab.label)]


def test_a_volume_keeps_the_labels_that_it_was_made_with(lab: Lab) -> None:
    async def body(engine: Engine) -> None:
        first = await ensure_volume(engine, lab.name("data"), {LABEL: lab.mark})
        assert (first[LABEL], len(first[VOLUME_LABEL])) == (lab.mark, 16)
        assert await ensure_volume(engine, lab.name("data"), {LABEL: "other"}) == first
        assert await ids(engine, lab) == [first[VOLUME_LABEL]]
        assert await volumes_with(engine, f"{LABEL}=other") == []

    lab.run(body)


def test_one_that_was_made_without_an_id_is_known_by_the_time_of_its_creation(lab: Lab) -> None:
    body = {"Name": lab.name("old"), "Labels": {LABEL: lab.mark}}
    lab.raw.call("POST", "/volumes/create", json=body)
    (found,) = lab.run(lambda engine: volumes_with(engine, lab.label))
    assert found.id == found.created_at
    assert found.id.startswith("20")


def test_it_is_removed_and_another_one_of_the_name_has_another_id(lab: Lab) -> None:
    async def body(engine: Engine) -> None:
        await ensure_volume(engine, lab.name("data"), {LABEL: lab.mark})
        before = await ids(engine, lab)
        assert await remove_volume(engine, lab.name("data"))
        assert await ids(engine, lab) == []
        assert await remove_volume(engine, lab.name("data")), "one that is gone is fine"
        await ensure_volume(engine, lab.name("data"), {LABEL: lab.mark})
        assert await ids(engine, lab) != before

    lab.run(body)


@pytest.mark.parametrize("state", ["created", "running", "exited"])
def test_one_that_a_container_was_made_with_stays_and_its_user_is_known(lab: Lab, state: str) -> None:
    """Also by a container that never ran, or runs no more: it would start with an empty volume."""
    where = Where(volumes=lab.name(""))

    async def body(engine: Engine) -> None:
        await ensure_volume(engine, where.volume("data"), {LABEL: lab.mark})
        await ensure_volume(engine, where.volume("data2"), {LABEL: lab.mark})
        container = await engine.create(lab.name(), with_volume(), {LABEL: lab.mark}, where)
        if state != "created":
            await engine.start(container)
        if state == "exited":
            await engine.stop(container)
        assert not await remove_volume(engine, where.volume("data"))
        assert len(await ids(engine, lab)) == 2
        (user,) = await users_of(engine, where.volume("data"))
        assert (user.names or [""])[0].lstrip("/") == lab.name()
        assert (user.labels or {})[LABEL] == lab.mark
        assert await users_of(engine, where.volume("data2")) == [], "a name that begins alike is another volume"
        assert mounted(await engine.containers(lab.label)) == {where.volume("data"): 1}
        await engine.remove(container)
        assert await remove_volume(engine, where.volume("data"))
        assert await users_of(engine, where.volume("data")) == []

    lab.run(body)
