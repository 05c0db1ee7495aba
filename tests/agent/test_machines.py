"""An image that nothing here can run replaces nothing, nor does one that may not; what is emulated is tried."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from fleet.agent import machines
from fleet.agent.machines import runs
from fleet.contract.wire import Container, Phase, Reason
from harness.images import ARCHITECTURES, Busybox, busybox_archive, own_busybox
from tests.agent.stage import STAYS, Stage

AARCH64 = "7f454c460201010000000000000000000200b700"
S390X = "7f454c4602020100000000000000000000020016"
HANDLER = "enabled\ninterpreter /usr/libexec/qemu-binfmt/it\nflags: OCF\noffset 0\nmagic {magic}\nmask ffffffff\n"
JAVA = "enabled\ninterpreter /usr/bin/jexec\nflags:\noffset 0\nmagic 504b0304\n"
KERNELS = {"amd64": "x86_64", "arm64": "aarch64"}
FOREIGN = "fleet-test/foreign:1"
HERE = ARCHITECTURES.get(os.uname().machine, os.uname().machine)
ELSEWHERE = "s390x"


@pytest.fixture
def binfmt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the kernel tells of emulators: that there are none."""
    folder = tmp_path / "binfmt_misc"
    folder.mkdir()
    (folder / "status").write_text("enabled\n")
    (folder / "register").write_text("")
    monkeypatch.setattr(machines, "BINFMT", folder)
    return folder


@pytest.mark.parametrize(
    ("made", "here", "handlers", "can"),
    [
        ("amd64", "amd64", (), True),
        ("386", "amd64", (), True),
        ("amd64", "386", (), True),  # a program of 32 bits tells of a kernel of 64
        ("arm64", "amd64", (), False),
        ("amd64", "arm64", (), False),
        ("arm", "arm64", (), True),
        ("", "amd64", (), True),
        ("arm64", "amd64", (JAVA,), False),
        ("arm64", "amd64", (JAVA, HANDLER.format(magic=AARCH64)), True),
        ("arm64", "amd64", (HANDLER.format(magic=AARCH64).replace("enabled", "disabled"),), False),
        ("s390x", "amd64", (HANDLER.format(magic=AARCH64),), False),
        ("s390x", "amd64", (HANDLER.format(magic=S390X),), True),
        ("mips64le", "amd64", (), True),
    ],
)
def test_what_can_run(
    monkeypatch: pytest.MonkeyPatch, binfmt: Path, made: str, here: str, handlers: tuple[str, ...], can: bool
) -> None:
    kernel = KERNELS.get("amd64" if here == "386" else here, "")
    monkeypatch.setattr(machines.os, "uname", lambda: os.uname_result(("Linux", "pi", "6", "1", kernel)))
    for number, text in enumerate(handlers):
        (binfmt / f"handler-{number}").write_text(text)
    assert runs(made, here) is can


def test_where_emulators_are_not_listed_it_is_not_known_unless_the_kernel_can_have_none(
    binfmt: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = tmp_path / "filesystems"
    monkeypatch.setattr(machines, "FILESYSTEMS", kernel)
    (binfmt / "status").write_text("disabled\n")
    assert runs(ELSEWHERE, HERE) is False
    (binfmt / "status").unlink()
    assert runs(ELSEWHERE, HERE) is None
    kernel.write_text("nodev\tproc\nnodev\tbinfmt_misc\n\text4\n")
    assert runs(ELSEWHERE, HERE) is None
    kernel.write_text("nodev\tproc\n\text4\n")
    assert runs(ELSEWHERE, HERE) is False
    assert runs(HERE, HERE) is True


def foreign_workload(stage: Stage) -> Container:
    """A workload whose image is made for another machine; the engine has it."""
    own = own_busybox()
    stage.raw.load(busybox_archive(FOREIGN, page=b"foreign\n", of=Busybox(own.program, own.applets, ELSEWHERE)))
    return Container(image=FOREIGN, command=("sleep", "2000000"))


async def replaces_nothing(stage: Stage, foreign: Container, why: str = "") -> None:
    """What runs stays as it is when such a workload is ordered, which is refused."""
    await stage.deploy("web", STAYS)
    await stage.until("web", Phase.RUNNING, Reason.STARTED)
    before = (await stage.containers())["web"]
    await stage.deploy("web", foreign, generation=2)
    state = await stage.until("web", Phase.FAILED, Reason.WRONG_PLATFORM, generation=2)
    assert state.message == f"its image is made for {ELSEWHERE}, and this device is {HERE}{why}"
    after = (await stage.containers())["web"]
    assert (after.id, after.state.started_at) == (before.id, before.state.started_at)


def test_where_that_is_not_known_what_runs_is_not_replaced_and_what_is_new_is_tried(stage: Stage, binfmt: Path) -> None:
    (binfmt / "status").unlink()
    foreign = foreign_workload(stage)

    async def body() -> None:
        async with stage.agent():
            await stage.deploy("new", foreign)
            await stage.until("new", Phase.RUNNING, Reason.STARTED)
            await replaces_nothing(stage, foreign, why=machines.UNKNOWN)

    stage.play(body)


def test_an_image_for_another_machine_replaces_nothing(stage: Stage, binfmt: Path) -> None:
    """It is reported before anything is stopped. Once the kernel can emulate that machine, it is tried."""
    foreign = foreign_workload(stage)

    async def body() -> None:
        async with stage.agent():
            await replaces_nothing(stage, foreign)
            (binfmt / "qemu-it").write_text(HANDLER.format(magic=S390X))
            await stage.deploy("web", msgspec.structs.replace(foreign, env={"A": "1"}), generation=3)
            await stage.until("web", Phase.RUNNING, Reason.STARTED, generation=3)

    stage.play(body)
