"""Secrets on a device: in the container, in memory, and nowhere else in clear."""

from __future__ import annotations

import asyncio
import base64
import shutil
import stat
import subprocess
from pathlib import Path

import msgspec
import pytest

from fleet.contract.buckets import APP_BUCKETS, DESIRED_STATE
from fleet.contract.confinement import Stop, Update
from fleet.contract.containers import CONTAINER_LABEL, DEVICE_LABEL
from fleet.contract.mounts import File
from fleet.contract.pod import Pod, PodContainer, as_sent
from fleet.contract.sealed import Contents, FromSecret, Sealed
from fleet.contract.wire import Container, Desired, Health, Phase, Reason
from fleet.sealing.box import new_key, public_half, seal
from harness.images import IMAGE
from tests.agent.stage import STAYS, Stage

CANARY = "canary-7d40"
WITH_SECRETS = Container(
    image=IMAGE,
    command=("sh", "-c", "echo $PASSWORD > /tmp/seen; cat /etc/key >> /tmp/seen; exec sleep 1000000"),
    secret_env={"PASSWORD": FromSecret("db", "password")},
    stop=Stop(grace=0),
    files=(File("/etc/plain", "plain"), File("/etc/key", mode="0400", secret=FromSecret("db", "key"))),
)


async def sealing_key(stage: Stage) -> str:
    info = await stage.eventually(stage.info, lambda info: bool(info and info.sealing_key), "a sealing key", within=30)
    return info.sealing_key


async def deploy(
    stage: Stage,
    workload: Container | Pod,
    contents: Contents,
    *,
    key: str,
    version: str = "1",
    generation: int = 1,
    name: str = "web",
) -> None:
    sealed = Sealed(key, version, seal(contents, key, stage.device, name))
    desired = Desired(generation, as_sent(workload), sealed=sealed)
    await stage.bus.kv(DESIRED_STATE).put(f"{stage.device}.{name}", desired)
    await stage.index(**{name: generation})


def contents(text: str = CANARY) -> Contents:
    return Contents({"PASSWORD": text}, {"/etc/key": f"key of {text}\n".encode()})


async def runs_with(stage: Stage, version: str, name: str = "web") -> str:
    """The id of the container, once the device says that it runs with these secrets."""
    state = await stage.eventually(
        lambda: stage.state(name),
        lambda state: state is not None and (state.phase, state.secrets) == (Phase.RUNNING, version),
        f"{name} runs with the secrets {version}",
        within=30,
    )
    return state.container_id


def in_clear(root: Path, text: str) -> list[str]:
    """The files below a folder that hold a text, also in base64."""
    words = [text, base64.b64encode(text.encode()).decode().rstrip("=")[:-1]]
    found = subprocess.run(
        ["grep", "-rlaF", *(part for word in words for part in ("-e", word)), str(root)],
        capture_output=True,
        text=True,
        check=False,
    )
    return found.stdout.splitlines()


def test_a_container_has_its_secrets_and_the_disk_and_nats_have_none(stage: Stage) -> None:
    async def body() -> None:
        async with stage.agent():
            key = await sealing_key(stage)
            await deploy(stage, WITH_SECRETS, contents(), key=key)
            await runs_with(stage, "1")
            mounted = {one.source: one for one in (await stage.containers())["web"].mounts or ()}
            (memory,) = (stage.root / "run/fleet/secrets/web").glob("*/1")
            assert str(memory) in mounted
            assert memory.read_text() == f"key of {CANARY}\n"
            assert stat.S_IMODE(memory.stat().st_mode) == 0o400
            assert stat.S_IMODE((stage.root / "run/fleet/secrets/web").stat().st_mode) == 0o700
            assert in_clear(stage.root / "var", CANARY) == []
            assert in_clear(stage.root / "run/fleet", CANARY) == [str(memory)]
            assert stat.S_IMODE((stage.root / "var/lib/fleet/sealing.key").stat().st_mode) == 0o600
            private = (stage.root / "var/lib/fleet/sealing.key").read_text()
            for bucket in APP_BUCKETS:
                for entry in await stage.bus.kv(bucket).read_all(">"):  # pyright: ignore[reportArgumentType]
                    kept = msgspec.json.encode(getattr(entry, "value", ""), enc_hook=str).decode()
                    assert CANARY not in kept, entry.key
                    assert private not in kept, entry.key
            await stage.withdraw("web")
            await stage.without_container("web")
            await stage.eventually(
                lambda: asyncio.to_thread(in_clear, stage.root / "run/fleet", CANARY),
                lambda found: found == [],
                "what was in memory is gone with the container",
                within=30,
            )

    stage.play(body)
    assert CANARY not in str(stage.logs)
    assert CANARY not in str(stage.own_log.__dict__)


def test_a_changed_secret_replaces_what_uses_it_and_nothing_else(stage: Stage) -> None:
    async def body() -> None:
        async with stage.agent():
            key = await sealing_key(stage)
            await deploy(stage, WITH_SECRETS, contents(), key=key)
            await stage.deploy("other", STAYS)
            first, other = await runs_with(stage, "1"), (await stage.until("other", Phase.RUNNING, Reason.STARTED))
            # A Secret that was touched, and holds the same.
            await deploy(stage, WITH_SECRETS, contents(), key=key, version="2")
            assert await runs_with(stage, "2") == first
            await deploy(stage, WITH_SECRETS, contents("changed"), key=key, version="3")
            second = await stage.eventually(
                stage.containers,
                lambda found: "web" in found and found["web"].id != first,
                "another container",
                within=30,
            )
            assert second["other"].id == other.container_id
            assert await runs_with(stage, "3") == second["web"].id
            await stage.eventually(
                lambda: asyncio.to_thread(in_clear, stage.root / "run/fleet", CANARY),
                lambda found: found == [],
                "the secret before is gone",
                within=30,
            )

    stage.play(body)


def test_a_reboot_without_a_network_restores_what_takes_secrets(stage: Stage) -> None:
    async def body() -> None:
        async with stage.agent():
            key = await sealing_key(stage)
            await deploy(stage, WITH_SECRETS, contents(), key=key)
            before = await runs_with(stage, "1")
        # What lies in memory is gone, and NATS answers nobody.
        await asyncio.to_thread(stage.raw.call, "POST", f"/containers/{before}/stop", params={"t": "0"})
        shutil.rmtree(stage.root / "run/fleet")
        stage.nats.stop()
        try:
            async with stage.agent():
                await stage.eventually(
                    stage.containers,
                    lambda found: "web" in found and found["web"].state.status == "running",
                    "it runs again",
                    within=30,
                )
                (memory,) = (stage.root / "run/fleet/secrets/web").glob("*/1")
                assert memory.read_text() == f"key of {CANARY}\n"
        finally:
            stage.nats.start()

    stage.play(body)


@pytest.mark.parametrize("damaged", [False, True])
def test_a_reboot_after_a_rollback_restores_the_secrets_of_what_runs_again(stage: Stage, damaged: bool) -> None:
    """The order is for others; those of the container before are kept sealed, and no longer than it is there."""
    check = Health(command=("false",), interval=0.2, retries=1)
    ill = msgspec.structs.replace(WITH_SECRETS, health=check, update=Update(deadline=1))
    kept = stage.root / "var/lib/fleet/sealed/web"

    async def body() -> None:
        async with stage.agent():
            key = await sealing_key(stage)
            await deploy(stage, WITH_SECRETS, contents(), key=key)
            before = await runs_with(stage, "1")
            await deploy(stage, ill, contents("another"), key=key, version="2", generation=2)
            await stage.until("web", Phase.FAILED, Reason.WENT_BACK, generation=2)
        await asyncio.to_thread(stage.raw.call, "POST", f"/containers/{before}/stop", params={"t": "0"})
        shutil.rmtree(stage.root / "run/fleet")
        for one in kept.iterdir() if damaged else ():
            one.write_bytes(one.read_bytes()[:40])
        async with stage.agent():
            if not damaged:
                again = await stage.eventually(
                    stage.containers, lambda found: found["web"].state.status == "running", "it runs again"
                )
                assert again["web"].id == before
                (memory,) = (stage.root / "run/fleet/secrets/web").glob("*/1")
                assert memory.read_text() == f"key of {CANARY}\n"
                assert in_clear(stage.root / "var", CANARY) == []
                assert {stat.S_IMODE(one.stat().st_mode) for one in kept.iterdir()} == {0o600}
            await deploy(stage, WITH_SECRETS, contents("third"), key=key, version="3", generation=3)
            await runs_with(stage, "3")
            await stage.eventually(
                lambda: asyncio.to_thread(lambda: len(list(kept.iterdir()))), lambda left: left == 1, "one is kept"
            )
            await stage.withdraw("web")
            await stage.eventually(
                lambda: asyncio.to_thread(kept.exists), lambda there: not there, "nothing is kept of what is gone"
            )

    stage.play(body)


def test_a_seal_of_another_device_does_not_open_and_what_runs_goes_on(stage: Stage) -> None:
    async def body() -> None:
        async with stage.agent():
            key = await sealing_key(stage)
            await deploy(stage, WITH_SECRETS, contents(), key=key)
            before = await runs_with(stage, "1")
            foreign = public_half(new_key())
            await deploy(stage, WITH_SECRETS, contents("x"), key=foreign, version="2", generation=2)
            state = await stage.until("web", Phase.FAILED, Reason.SECRETS_NOT_OPENED, generation=2, within=30)
            assert state.secrets == "2", "the version that it was told"
            assert (await stage.containers())["web"].id == before
            await deploy(stage, WITH_SECRETS, contents("y"), key=key, version="3", generation=3)
            assert await runs_with(stage, "3") != before

    stage.play(body)


def test_each_container_of_a_pod_has_its_own_secrets_and_only_whose_changed_is_replaced(stage: Stage) -> None:
    parts = [
        PodContainer(
            name=name,
            image=IMAGE,
            command=("sh", "-c", 'echo "$PASSWORD $(cat /etc/key)"; exec sleep 1000000'),
            secret_env={"PASSWORD": FromSecret(name, "password")},
            files=(File("/etc/key", secret=FromSecret(name, "key")),),
        )
        for name in ("one", "two")
    ]
    pod = Pod((*parts, PodContainer(name="none", image=IMAGE, command=("sleep", "1000000"))))

    def sealed_for(**texts: str) -> Contents:
        return Contents(containers={name: contents(text) for name, text in texts.items()})

    def seen() -> dict[str, tuple[str, str]]:
        label = msgspec.json.encode({"label": [f"{DEVICE_LABEL}={stage.device}"]}).decode()
        found: dict[str, tuple[str, str]] = {}
        for one in stage.raw.call("GET", "/containers/json", params={"all": "1", "filters": label}).json():
            log = stage.raw.call("GET", f"/containers/{one['Id']}/logs", params={"stdout": "1"}).text
            found[one["Labels"][CONTAINER_LABEL]] = (one["Id"], log[8:].strip())
        return found

    async def body() -> None:
        async with stage.agent():
            key = await sealing_key(stage)
            await deploy(stage, pod, sealed_for(one=CANARY, two="second"), key=key)
            await runs_with(stage, "1")
            before = await stage.eventually(
                lambda: asyncio.to_thread(seen),
                lambda now: now["one"][1] == f"{CANARY} key of {CANARY}" and now["two"][1] == "second key of second",
                "each says its own",
            )
            assert in_clear(stage.root / "var", CANARY) == []
            assert len(in_clear(stage.root / "run/fleet", CANARY)) == 1, "its own file, and no other's"
            await deploy(stage, pod, sealed_for(one=CANARY, two="third"), key=key, version="2", generation=1)
            await runs_with(stage, "2")
            after = await asyncio.to_thread(seen)
            assert {name for name in after if after[name][0] != before[name][0]} == {"two"}
            await stage.withdraw("web")
            await stage.without_container("web")
            await stage.eventually(
                lambda: asyncio.to_thread(in_clear, stage.root / "run/fleet", CANARY),
                lambda left: left == [],
                "what was in memory is gone with the container",
            )

    stage.play(body)
