"""A server whose secrets are in a real OpenBao: installed, rotated and removed; OpenBao may be sealed while it runs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.scenario.command_line import Command
from harness.scenario.setup import INSTALL, UNINSTALL, ensure_bare, names_for, type_one
from harness.world.world import World
from tests.support.openbao import Bao

pytestmark = pytest.mark.embedded
PASSWORD = "nats_app_pass"
SECONDS = 240.0
"""For each command: a busy machine is slow, and what is asked of it here is not how fast it is."""
LIST = Command("fleet secrets list --output json", deadline=SECONDS)
STATUS = Command("fleet server status", deadline=SECONDS)
INSTALLED, REMOVED = replace(INSTALL, deadline=SECONDS), replace(UNINSTALL, deadline=SECONDS)
Json = dict[str, Any]


@pytest.fixture
def shell(world: World, bao: Bao, tmp_path: Path) -> Iterator[Mapping[str, str]]:
    """An admin's environment with OpenBao, and a world without a server before and after."""
    ensure_bare(world, tmp_path)
    env = {**world.env, "FLEET_OPENBAO": str(bao.file(tmp_path / "openbao"))}
    yield env
    if world.kube.server() is not None:
        type_one(REMOVED, {}, env, tmp_path)


def kept(bao: Bao, env: Mapping[str, str], world: World) -> dict[str, Json]:
    """What OpenBao has of each secret, seen by somebody else."""
    folder = f"{json.loads(Path(env['FLEET_OPENBAO']).read_text())['path']}/{world.namespace}"
    names = bao.call("GET", f"secret/metadata/{folder}?list=true")["data"]["keys"]
    return {name: bao.call("GET", f"secret/data/{folder}/{name}")["data"]["data"] for name in names}


def listed(env: Mapping[str, str], folder: Path) -> dict[str, Json]:
    return {one["name"]: one for one in json.loads(type_one(LIST, {}, env, folder).stdout)}


def test_a_server_with_its_secrets_in_openbao(world: World, bao: Bao, shell: Mapping[str, str], tmp_path: Path) -> None:
    names = names_for(world, [])
    done = type_one(INSTALLED, names, shell, tmp_path)
    before = kept(bao, shell, world)
    assert {"ca_key", PASSWORD, "nats_issuer_seed"} <= set(before)
    assert not (world.root / "secrets").exists() or not list((world.root / "secrets").iterdir())
    typed = [done]

    shown = listed(shell, tmp_path)
    typed.append(type_one(Command(f"fleet secrets rotate {PASSWORD}", deadline=SECONDS), {}, shell, tmp_path))
    assert "rotated, now" in typed[-1].output
    after = kept(bao, shell, world)
    assert set(after[PASSWORD]) == {"current"}
    assert after[PASSWORD]["current"]["value"] != before[PASSWORD]["current"]["value"]
    assert {**after, PASSWORD: None} == {**before, PASSWORD: None}
    assert listed(shell, tmp_path)[PASSWORD]["id"] != shown[PASSWORD]["id"]

    bao.seal()
    try:
        refused = Command("fleet secrets rotate nats_xkey_seed", exit_code=6, deadline=SECONDS)
        typed.append(type_one(refused, {}, shell, tmp_path))
        assert "is sealed" in typed[-1].output
        status = type_one(STATUS, {}, shell, tmp_path)
        assert "not looked at" in status.output
        assert "is sealed" in status.output
    finally:
        bao.unseal()
    assert kept(bao, shell, world) == after

    again = type_one(INSTALLED, names, shell, tmp_path)
    assert "nothing changed" in again.output
    values = [one["current"]["value"] for one in after.values()]
    assert not any(value in result.output for value in [*values, bao.token] for result in [*typed, status, again])

    type_one(REMOVED, {}, shell, tmp_path)
    with pytest.raises(AssertionError, match='"errors":'):  # 404: there is no entry
        kept(bao, shell, world)
