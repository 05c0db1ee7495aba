"""The device's sealing key: made once, its owner's alone, and replaced where it is of no use."""

from __future__ import annotations

import asyncio
import base64
import stat
import threading
from pathlib import Path

import pytest

from fleet.agent.desired_state import Deployment
from fleet.agent.problems import Problem
from fleet.agent.sealing import Sealing, Unopened
from fleet.agent.unseal import Ask, answer, private_key
from fleet.contract.names import DeviceId
from fleet.contract.sealed import Contents, FromSecret, Sealed
from fleet.contract.wire import Container2, Reason
from fleet.sealing.box import new_key, public_half, seal

WEB = Container2("web:1", secret_env={"PASSWORD": FromSecret("db", "password")})


def sealed(contents: Contents, key: str, version: str = "1", deployment: str = "web") -> Sealed:
    return Sealed(key, version, seal(contents, key, "pi-1", deployment))


def test_a_key_is_made_once_and_nobody_else_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "var/lib/fleet/sealing.key"
    key = private_key(path)
    assert private_key(path) == key
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [one.name for one in path.parent.iterdir()] == ["sealing.key"], "no draft is left"
    assert answer(Ask(str(path), "pi-1")).key == public_half(key)


def test_two_agents_that_begin_together_have_one_key(tmp_path: Path) -> None:
    path, found = tmp_path / "sealing.key", list[bytes]()
    begin = threading.Barrier(8)

    def start() -> None:
        begin.wait()
        found.append(private_key(path))

    threads = [threading.Thread(target=start) for _ in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert set(found) == {private_key(path)}


@pytest.mark.parametrize("content", [b"", b"AAAA", b"%%", b"\xff" * 40, base64.b64encode(b"x" * 31)])
def test_a_damaged_key_is_replaced(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "sealing.key"
    path.write_bytes(content)
    path.chmod(0o600)
    assert len(private_key(path)) == 32
    assert private_key(path) == private_key(path)


def test_a_key_that_others_could_read_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "sealing.key"
    path.write_bytes(base64.b64encode(b"x" * 32))
    path.chmod(0o640)
    assert private_key(path) != b"x" * 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_without_a_place_for_the_key_it_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Unopened, match=r"sealing\.key"):
        asyncio.run(Sealing(tmp_path / "file" / "sealing.key", "pi-1").key())


def test_a_deployment_gets_the_digest_of_its_secrets_and_keeps_it_while_they_stay(tmp_path: Path) -> None:
    async def body() -> None:
        sealing = Sealing(tmp_path / "sealing.key", DeviceId("pi-1"))
        key = await sealing.key()
        first = await sealing.noted(
            {"web": Deployment(1, WEB, sealed=sealed(Contents({"PASSWORD": "horse"}), key))}, {}
        )
        known = first["web"].workload
        assert isinstance(known, Container2)
        assert len(known.secrets_digest) == 32
        # Sealed anew with the same in it: nothing is to be made anew.
        same = {"web": Deployment(1, WEB, sealed=sealed(Contents({"PASSWORD": "horse"}), key, "2"), secrets="2")}
        assert (await sealing.noted(same, first))["web"].workload == known
        changed = {"web": Deployment(1, WEB, sealed=sealed(Contents({"PASSWORD": "battery"}), key, "3"))}
        assert (await sealing.noted(changed, first))["web"].workload != known
        again = await sealing.noted({"web": Deployment(1, WEB, sealed=first["web"].sealed)}, first)
        assert again["web"] == first["web"]

    asyncio.run(body())


def test_what_does_not_open_is_that_deployments_problem_and_what_runs_goes_on(tmp_path: Path) -> None:
    async def body() -> None:
        sealing = Sealing(tmp_path / "sealing.key", DeviceId("pi-1"))
        key = await sealing.key()
        good = {"web": Deployment(1, WEB, sealed=sealed(Contents({"PASSWORD": "horse"}), key))}
        known = await sealing.noted(good, {})
        foreign = sealed(Contents({"PASSWORD": "x"}), public_half(new_key()), "2")
        desired_state = {
            "web": Deployment(2, WEB, sealed=foreign, secrets="2"),
            "db": Deployment(1, WEB, sealed=good["web"].sealed),
        }
        found = await sealing.noted(desired_state, known)
        web, db = found["web"], found["db"]
        assert (web.generation, web.secrets) == (2, "2")
        assert (web.workload, web.sealed) == (known["web"].workload, known["web"].sealed)
        assert isinstance(web.problem, Problem)
        assert web.problem.reason is Reason.SECRETS_NOT_OPENED
        assert db.problem, "a seal of another deployment"

    asyncio.run(body())
