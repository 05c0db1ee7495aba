"""What a device's owner forbids is not done, whatever a server orders; and what runs goes on."""

from __future__ import annotations

import asyncio
import json
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given

from fleet.agent.answers import Details, Mounted, State
from fleet.agent.policy import refusal
from fleet.contract.confinement import Capabilities, HostDevice, Network, Security
from fleet.contract.mounts import File, Mount, MountType
from fleet.contract.pod import as_sent
from fleet.contract.policy import DevicePolicy, objections
from fleet.contract.wire import Container, Phase, Reason, encode
from harness.images import IMAGE
from tests.agent.stage import STAYS, Stage
from tests.contract.anything import values_of


def bind(source: str, *, read_only: bool = False) -> Container:
    mount = Mount(MountType.BIND, "/host", source, read_only=read_only)
    return Container(image=IMAGE, command=STAYS.command, mounts=(mount,))


def allow(root: Path, policy: DevicePolicy) -> None:
    (root / "etc/fleet").mkdir(parents=True, exist_ok=True)
    (root / "etc/fleet/policy.json").write_bytes(encode(policy))


FORBIDDEN = {
    "privileged": Container(image=IMAGE, security=Security(privileged=True)),
    "network": Container(image=IMAGE, network=Network.HOST),
    "SYS_ADMIN": Container(image=IMAGE, security=Security(capabilities=Capabilities(add=("SYS_ADMIN",)))),
    "ALL": Container(image=IMAGE, security=Security(capabilities=Capabilities(add=("ALL",)))),
    "seccomp=unconfined": Container(image=IMAGE, security=Security(options=("seccomp=unconfined",))),
    "/etc": bind("/etc"),
    "/dev/sda": Container(image=IMAGE, devices=(HostDevice("/dev/sda"),)),
}


@pytest.mark.parametrize("name", FORBIDDEN)
def test_a_device_without_a_policy_allows_an_ordinary_container_only(tmp_path: Path, name: str) -> None:
    found = refusal(FORBIDDEN[name], tmp_path, [])
    assert found is not None
    assert (found.reason, name in found.message) == (Reason.NOT_ALLOWED, True)
    ordinary = Security(
        capabilities=Capabilities(add=("NET_BIND_SERVICE",), drop=("ALL",)), options=("no-new-privileges",)
    )
    assert refusal(Container(image=IMAGE, security=ordinary, user="1000", files=(File("/a"),)), tmp_path, []) is None


def test_what_the_policy_lists_is_allowed_and_nothing_beside_it(tmp_path: Path) -> None:
    policy = DevicePolicy(
        folders=("/srv/data",),
        devices=("/dev/ttyUSB*",),
        capabilities=("SYS_ADMIN",),
        security_options=("seccomp=unconfined",),
        host_network=True,
        privileged=True,
    )
    for name in FORBIDDEN.keys() - {"ALL", "/etc", "/dev/sda"}:
        assert objections(FORBIDDEN[name], policy) == []
    for name in ("ALL", "/etc", "/dev/sda"):
        assert objections(FORBIDDEN[name], policy) != []
    for source, refused in (("/dev/ttyUSB0", 0), ("/dev/ttyUSB0/x", 1), ("/dev/ttyS0", 1)):
        assert len(objections(Container(image=IMAGE, devices=(HostDevice(source),)), policy)) == refused, source
    for source in ("/srv/data", "/srv/data/deep/er"):
        assert objections(bind(source), policy) == []
    for source in ("/srv", "/srv/database", "/srv/other"):
        assert objections(bind(source), policy) != []
    allow(tmp_path, policy)
    assert refusal(FORBIDDEN["privileged"], tmp_path, []) is None


@pytest.mark.parametrize(
    "text", ["", "{", '{"type":"policy","priviliged":true}', '{"type":"policy","privileged":"yes"}', "[]"]
)
def test_a_policy_that_does_not_parse_allows_nothing_and_says_so(tmp_path: Path, text: str) -> None:
    (tmp_path / "etc/fleet").mkdir(parents=True)
    (tmp_path / "etc/fleet/policy.json").write_text(text)
    found = refusal(FORBIDDEN["privileged"], tmp_path, [])
    assert found is not None
    assert "policy cannot be read" in found.message
    assert found.message.isprintable(), "a message is one line"
    assert "next:" not in found.message, "a whole error stands inside another"
    assert refusal(STAYS, tmp_path, []) is None


def test_no_link_leads_out_of_a_folder(tmp_path: Path) -> None:
    allow(tmp_path, DevicePolicy(folders=("/srv/data",)))
    inner = tmp_path / "srv/data/inner"
    inner.mkdir(parents=True)
    (tmp_path / "etc/secret").write_text("")
    (inner.parent / "out").symlink_to(tmp_path / "etc")
    (inner.parent / "aside").symlink_to(inner)
    os.mkfifo(inner / "pipe")
    assert refusal(bind("/srv/data/inner"), tmp_path, []) is None
    for source, why in (
        ("/srv/data/out", "symbolic link"),
        ("/srv/data/out/fleet", "symbolic link"),
        ("/srv/data/aside", "symbolic link"),
        ("/srv/data/none", "No such file"),
        ("/srv/data/inner/pipe", "neither a folder nor a file"),
    ):
        found = refusal(bind(source), tmp_path, [])
        assert found is not None, source
        assert (found.reason, why in found.message) == (Reason.NOT_ALLOWED, True), found


def test_the_listed_folder_itself_may_be_a_link_of_its_owner(tmp_path: Path) -> None:
    allow(tmp_path, DevicePolicy(folders=("/data",)))
    (tmp_path / "mnt/disk").mkdir(parents=True)
    (tmp_path / "data").symlink_to(tmp_path / "mnt")
    assert refusal(bind("/data/disk"), tmp_path, []) is None


def test_nothing_is_mounted_below_a_folder_that_a_container_can_write(tmp_path: Path) -> None:
    """It could put a link there whenever it likes, which the engine would follow at its next start of the other."""
    allow(tmp_path, DevicePolicy(folders=("/srv",)))
    (tmp_path / "srv/a/b").mkdir(parents=True)

    def other(path: str, *, writable: bool) -> Details:
        return Details("1", State("running"), "/other", mounts=[Mounted("bind", str(tmp_path / path), writable)])

    assert refusal(bind("/srv/a/b"), tmp_path, [other("srv/a", writable=False)]) is None
    assert refusal(bind("/srv/a"), tmp_path, [other("srv/a", writable=True)]) is None
    assert refusal(bind("/srv/a", read_only=True), tmp_path, [other("srv/a/b", writable=True)]) is None
    for wanted, there in (("/srv/a/b", other("srv/a", writable=True)), ("/srv/a", other("srv/a/b", writable=False))):
        found = refusal(bind(wanted), tmp_path, [there])
        assert found is not None
        assert "lie in one another" in found.message
    both = (Mount(MountType.BIND, "/one", "/srv/a"), Mount(MountType.BIND, "/two", "/srv/a/b"))
    assert refusal(Container(image=IMAGE, mounts=both), tmp_path, []) is not None


@given(values_of(Container))
def test_every_workload_is_judged(workload: Container) -> None:
    """No value that the wire can hold gets past a device that allows nothing, or ends the agent."""
    found = refusal(workload, Path("/nowhere"), [])
    wants = (
        workload.security.privileged
        or workload.network is Network.HOST
        or workload.devices
        or any(mount.type is MountType.BIND for mount in workload.mounts)
    )
    assert not wants or (found is not None and found.reason is Reason.NOT_ALLOWED)


def test_a_workload_that_is_not_allowed_takes_nothing_away(stage: Stage) -> None:
    async def body() -> None:
        async with stage.agent():
            await stage.deploy("web", STAYS)
            await stage.until("web", Phase.RUNNING, Reason.STARTED, within=20)
            before = (await stage.containers())["web"]
            forbidden = Container(image=IMAGE, command=STAYS.command, security=Security(privileged=True))
            await stage.deploy("web", as_sent(forbidden), generation=2)
            state = await stage.until("web", Phase.FAILED, Reason.NOT_ALLOWED, generation=2, within=20)
            assert "does not allow privileged" in state.message
            assert (await stage.containers())["web"].id == before.id
            allow(stage.root, DevicePolicy(privileged=True))
            await stage.until("web", Phase.RUNNING, Reason.STARTED, generation=2, within=20)

    stage.play(body)


def test_a_workload_waits_for_its_device(stage: Stage) -> None:
    """It says what it waits for, and runs once that is plugged in."""
    node = stage.root / "dev/ttyUSB0"

    async def body() -> None:
        allow(stage.root, DevicePolicy(devices=("/dev/ttyUSB*",)))
        async with stage.agent():
            wanted = Container(image=IMAGE, command=STAYS.command, devices=(HostDevice("/dev/ttyUSB0"),))
            await stage.deploy("reader", as_sent(wanted))
            state = await stage.until("reader", Phase.PENDING, Reason.DEVICE_MISSING, within=20)
            assert "waits for /dev/ttyUSB0" in state.message
            node.parent.mkdir()
            os.mknod(node, stat.S_IFCHR | 0o666, os.makedev(1, 5))
            await stage.until("reader", Phase.RUNNING, Reason.STARTED, within=20)

    stage.play(body)


def test_a_workload_whose_device_is_pulled_out_waits_for_it_at_its_next_start(stage: Stage) -> None:
    """What runs goes on, for the kernel decides what becomes of the node that it holds."""
    node = stage.root / "dev/ttyUSB0"

    def plug_in() -> None:
        os.mknod(node, stat.S_IFCHR | 0o666, os.makedev(1, 5))

    async def body() -> None:
        allow(stage.root, DevicePolicy(devices=("/dev/ttyUSB*",)))
        node.parent.mkdir()
        plug_in()
        async with stage.agent():
            wanted = Container(image=IMAGE, command=STAYS.command, devices=(HostDevice("/dev/ttyUSB0"),))
            await stage.deploy("reader", as_sent(wanted))
            await stage.deploy("web", STAYS)
            await stage.until("reader", Phase.RUNNING, Reason.STARTED)
            await stage.until("web", Phase.RUNNING, Reason.STARTED)
            before = await stage.containers()
            node.unlink()
            stage.raw.call("POST", f"/containers/{before['reader'].id}/stop", params={"t": "0"})
            state = await stage.until("reader", Phase.PENDING, Reason.DEVICE_MISSING)
            assert "waits for /dev/ttyUSB0" in state.message
            plug_in()
            await stage.until("reader", Phase.RUNNING, Reason.STARTED)
            after = await stage.containers()
            assert {name: one.id for name, one in after.items()} == {name: one.id for name, one in before.items()}
            assert after["web"].state.started_at == before["web"].state.started_at

    stage.play(body)


def test_volumes_files_and_what_is_left_of_them(stage: Stage) -> None:
    """Files go with the last container that has them; a volume stays, and another fleet's is not touched."""
    wanted = Container(
        image=IMAGE,
        command=("sh", "-c", "cat /etc/app.conf > /data/seen; exec sleep 1000000"),
        mounts=(Mount(MountType.VOLUME, "/data", "data"),),
        files=(File("/etc/app.conf", "one\n", "0440", 0, 12),),
    )
    folder = stage.root / "var/lib/fleet/files/web"

    async def body() -> None:
        async with stage.agent():
            await stage.deploy("web", as_sent(wanted))
            await stage.until("web", Phase.RUNNING, Reason.STARTED, within=20)
            (file,) = folder.glob("*/0")
            facts = file.stat()
            assert (file.read_text(), stat.S_IMODE(facts.st_mode), facts.st_gid) == ("one\n", 0o440, 12)
            (mounted,) = [one for one in (await stage.containers())["web"].mounts or [] if one.type == "volume"]
            seen = Path(mounted.source, "seen")
            changed = Container(
                image=IMAGE, command=wanted.command, mounts=wanted.mounts, files=(File("/etc/app.conf", "two\n"),)
            )
            await stage.deploy("web", as_sent(changed), generation=2)
            await stage.until("web", Phase.RUNNING, Reason.STARTED, generation=2, within=20)

            async def files() -> list[str]:
                return [one.read_text() for one in folder.glob("*/0")]

            await stage.eventually(files, lambda found: found == ["two\n"], "only the new file is left", within=20)
            await stage.withdraw("web")
            await stage.without_container("web")

            async def there() -> bool:
                return folder.exists()

            await stage.eventually(there, lambda found: not found, "no file is left", within=20)
            assert await asyncio.to_thread(seen.read_text) in {"one\n", "two\n"}
            name = f"fleet-{stage.device}-other-data"
            stage.raw.call("POST", "/volumes/create", json={"Name": name, "Labels": {"io.fleet.device": "another"}})
            await stage.deploy("other", as_sent(wanted))
            assert name in (await stage.until("other", Phase.FAILED, Reason.NOT_ALLOWED, within=20)).message

    stage.play(body)


def test_what_only_a_newer_agent_knows_is_unsupported(stage: Stage) -> None:
    """An unknown field of a workload is no field to pass over: the container would run without it."""

    async def body() -> None:
        async with stage.agent():
            await stage.deploy("web", STAYS)
            await stage.until("web", Phase.RUNNING, Reason.STARTED, within=20)
            before = (await stage.containers())["web"]
            for generation, more in ((2, {"hologram": 1}), (3, {"limits": {"photons": 1}})):
                workload = {"type": "container2", "image": IMAGE, **more}
                data = json.dumps({"type": "desired", "generation": generation, "workload": workload}).encode()
                await stage.write("web", data, generation)
                await stage.until("web", Phase.FAILED, Reason.UNSUPPORTED_WORKLOAD, generation=generation, within=20)
            assert (await stage.containers())["web"].id == before.id

    stage.play(body)
