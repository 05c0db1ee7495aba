"""A pod at its limits on a device: the most containers, the longest names, the most bytes."""

from __future__ import annotations

import asyncio

import msgspec

from fleet.contract.containers import CONTAINER_LABEL, DEVICE_LABEL
from fleet.contract.limits import MAX_DESIRED, MAX_POD_CONTAINERS
from fleet.contract.mounts import File
from fleet.contract.pod import Condition, Dependency, InitContainer, Pod, PodContainer, as_sent
from fleet.contract.wire import Desired, Phase, Reason, Workload, encode
from harness.images import IMAGE
from tests.agent.stage import STAYS, Stage

NAMES = [f"c{number:02}-{'x' * 59}" for number in range(2 + MAX_POD_CONTAINERS)]
DEPLOYMENT = f"app-{'y' * 59}"
PATH = "/etc/page"


def pod(size: int) -> Workload:
    """Each container waits for all before it, and has a file of so many bytes."""
    inits, others = NAMES[:2], NAMES[2:]
    files = (File(PATH, "z" * size),)
    shows = f"wc -c < {PATH}"
    made = Pod(
        tuple(
            PodContainer(
                name=name,
                image=IMAGE,
                command=("sh", "-c", f"{shows}; exec sleep 1000000"),
                files=files,
                depends_on=tuple(Dependency(one, Condition.STARTED) for one in others[:at]),
            )
            for at, name in enumerate(others)
        ),
        tuple(InitContainer(name=name, image=IMAGE, command=("sh", "-c", shows), files=files) for name in inits),
    )
    return as_sent(made)


def test_a_pod_at_its_limits_runs(stage: Stage) -> None:
    """It starts in its order, each container has its file, and an agent that starts anew leaves it as it is."""
    size = 1 + (MAX_DESIRED - len(encode(Desired(1, pod(1))))) // len(NAMES)
    wanted = pod(size)
    assert MAX_DESIRED - len(NAMES) <= len(encode(Desired(1, wanted))) <= MAX_DESIRED

    def seen() -> dict[str, tuple[str, str]]:
        label = msgspec.json.encode({"label": [f"{DEVICE_LABEL}={stage.device}"]}).decode()
        listed = stage.raw.call("GET", "/containers/json", params={"all": "1", "filters": label}).json()
        shown = [stage.raw.call("GET", f"/containers/{one['Id']}/json").json() for one in listed]
        every = ((it["Config"]["Labels"].get(CONTAINER_LABEL, ""), it) for it in shown)
        return {name: (it["State"]["StartedAt"], it["Id"]) for name, it in every if name}

    def log(container: str) -> str:
        return stage.raw.call("GET", f"/containers/{container}/logs", params={"stdout": "1"}).text[8:].strip()

    async def body() -> None:
        async with stage.agent():
            await stage.deploy(DEPLOYMENT, wanted)
            state = await stage.until(DEPLOYMENT, Phase.RUNNING, Reason.STARTED, within=240)
            assert [one.name for one in state.containers] == NAMES
            before = await asyncio.to_thread(seen)
            assert sorted(before, key=before.__getitem__) == NAMES, "they began in another order"
            for name in NAMES:
                assert await asyncio.to_thread(log, before[name][1]) == str(size)
        async with stage.agent():
            await stage.deploy("other", STAYS)
            await stage.until("other", Phase.RUNNING, Reason.STARTED)
            assert await asyncio.to_thread(seen) == before

    stage.play(body, within=300)
