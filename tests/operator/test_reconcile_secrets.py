"""Deployments that take secrets: what is sealed for whom, when that changes, and what is said where it cannot be."""

from __future__ import annotations

import base64
import json
from typing import Any

import msgspec
import pytest

from fleet.contract.mounts import File
from fleet.contract.objects import Strategy, StrategyType
from fleet.contract.pod import Pod, PodContainer
from fleet.contract.sealed import DOCKER_CONFIG_KEY, DOCKER_CONFIG_TYPE, MAX_SECRET_VALUE, Contents, FromSecret
from fleet.contract.wire import Container, Phase, Reason
from fleet.operator.reconcile.secrets import SecretContents, SecretProblem, SecretSeen, named, secret_contents
from tests.operator.model import INFO, World, fleet

KEY = base64.b64encode(b"k" * 32).decode()
OTHER = base64.b64encode(b"o" * 32).decode()
PASSWORD: dict[str, Any] = {"secret_env": {"PASSWORD": FromSecret("db", "password")}}
ROLLING = Strategy(StrategyType.ROLLING, 1)


def secret(version: int = 1, *, uid: str = "u", sealable: bool = True, **data: bytes) -> SecretSeen:
    return SecretSeen(uid, str(version), "Opaque", sealable, data or {"password": b"horse"})


def sealing(*names: str) -> World:
    world = fleet(*names)
    for name in names:
        world.infos[name] = msgspec.structs.replace(INFO, sealing_key=KEY)
    world.secrets["db"] = secret()
    return world


def runs(world: World) -> None:
    """Every device does what it is told, until nothing changes."""
    for _ in range(4):
        world.settle()
        world.report_all(world.devices, "web")
    world.settle()


def test_each_device_is_sent_its_own_seal_and_nothing_is_sealed_twice() -> None:
    world = sealing("pi-1", "pi-2")
    world.deploy("web", container=PASSWORD)
    runs(world)
    sealed = {name: world.desired[name]["web"].sealed for name in world.devices}
    assert all(one and one.key == KEY and one.data for one in sealed.values())
    assert len({one.data for one in sealed.values() if one}) == 2
    assert world.condition("web", "Ready") == ("True", "AllReady")
    world.restart()
    world.settle()
    assert {name: world.desired[name]["web"].sealed for name in world.devices} == sealed, "a seal stays as it is"


def test_a_changed_secret_is_another_edition_and_not_ready_before_it_runs() -> None:
    world = sealing("pi-1")
    world.deploy("web", container=PASSWORD)
    world.deploy("other")
    runs(world)
    world.report_all(world.devices, "other")
    world.settle()
    before, other = world.desired["pi-1"]["web"], world.desired["pi-1"]["other"]
    world.secrets["db"] = secret(2, password=b"battery")
    world.settle()
    after = world.desired["pi-1"]["web"]
    assert after.generation == before.generation
    assert after.edition != before.edition
    assert world.desired["pi-1"]["other"] == other, "what does not use it is left alone"
    assert world.condition("web", "Ready") == ("False", "InProgress")
    assert world.condition("other", "Ready") == ("True", "AllReady")
    runs(world)
    assert world.condition("web", "Ready") == ("True", "AllReady")


def test_a_changed_secret_spreads_as_every_change_does() -> None:
    world = sealing("pi-1", "pi-2")
    world.deploy("web", strategy=ROLLING, container=PASSWORD)
    runs(world)
    old = world.desired["pi-1"]["web"].edition
    world.secrets["db"] = secret(2, password=b"battery")
    world.settle()
    assert [world.desired[name]["web"].edition == old for name in ("pi-1", "pi-2")] == [False, True]
    runs(world)
    assert old not in {world.desired[name]["web"].edition for name in world.devices}


@pytest.mark.parametrize("how", ["cordoned", "paused", "revoked"])
def test_a_device_that_is_sent_nothing_is_sent_no_secret(how: str) -> None:
    world = sealing("pi-1")
    world.deploy("web", container=PASSWORD)
    runs(world)
    before = world.desired["pi-1"]["web"]
    if how == "paused":
        world.deploy("web", paused=True, container=PASSWORD)
    else:
        world.edit_device("pi-1", **{how: True})
    world.secrets["db"] = secret(2, password=b"battery")
    world.settle()
    assert world.desired["pi-1"]["web"] == before


def test_a_device_that_tells_another_key_is_sealed_for_anew() -> None:
    world = sealing("pi-1")
    world.deploy("web", container=PASSWORD)
    runs(world)
    before = world.desired["pi-1"]["web"]
    world.infos["pi-1"] = msgspec.structs.replace(INFO, sealing_key=OTHER)
    world.settle()
    after = world.desired["pi-1"]["web"]
    assert after.edition == before.edition
    assert after.sealed
    assert (after.sealed.key, after.sealed != before.sealed) == (OTHER, True)


def test_a_device_that_was_never_heard_is_waited_for_and_has_not_failed() -> None:
    world = sealing("pi-1", "pi-2")
    del world.infos["pi-2"]
    world.deploy("web", container=PASSWORD)
    runs(world)
    assert "web" not in world.runs("pi-2")
    assert "pi-2: KeyNotTold" in world.message("web", "Ready")
    (told,) = world.devices["pi-2"].status.workloads
    assert (told.phase, told.reason, told.generation) == ("Pending", "KeyNotTold", 0)
    assert "WorkloadTrouble" not in {one.type for one in world.devices["pi-2"].status.conditions}
    world.infos["pi-2"] = INFO
    world.settle()
    assert world.devices["pi-2"].status.workloads[0].reason == "NoSealingKey", "it is heard, and its agent has none"
    world.infos["pi-2"] = msgspec.structs.replace(INFO, sealing_key=KEY)
    runs(world)
    assert world.condition("web", "Ready") == ("True", "AllReady")


def test_an_agent_without_a_sealing_key_is_named_and_keeps_what_it_has() -> None:
    world = sealing("pi-1", "pi-2")
    world.deploy("web")
    runs(world)
    world.infos["pi-2"] = INFO
    world.deploy("web", container=PASSWORD)
    runs(world)
    assert world.runs("pi-1") == {"web": 2}
    assert world.runs("pi-2") == {"web": 1}, "what runs is left alone"
    assert "pi-2: NoSealingKey" in world.message("web", "Ready")
    assert world.condition("pi-2", "WorkloadTrouble") == ("True", "NoSealingKey")
    world.infos["pi-2"] = msgspec.structs.replace(INFO, sealing_key=KEY)
    runs(world)
    assert world.runs("pi-2") == {"web": 2}
    assert world.condition("web", "Ready") == ("True", "AllReady")
    # It goes back to an agent that knows of no sealing: what it was told stays.
    before = world.desired["pi-2"]["web"]
    world.infos["pi-2"] = INFO
    world.settle()
    assert world.desired["pi-2"]["web"] == before


LACKS = {
    "gone": (SecretProblem("SecretMissing", "there is no Secret db"), "SecretMissing"),
    "without the key": (secret(2, user=b"x"), "SecretMissing"),
    "not marked": (secret(2, sealable=False), "SecretNotSealable"),
    "too long for a variable": (secret(2, password=b"x" * 32_769), "SecretTooLarge"),
    "no text": (secret(2, password=b"\xff\xfe"), "SecretUnusable"),
    "with a zero byte": (secret(2, password=b"a\0b"), "SecretUnusable"),
    "forbidden": (SecretProblem("SecretForbidden", "may not"), "SecretForbidden"),
}


@pytest.mark.parametrize("name", LACKS)
def test_a_secret_that_cannot_be_sealed_is_said_and_what_runs_goes_on(name: str) -> None:
    found, reason = LACKS[name]
    world = sealing("pi-1", "pi-2")
    world.deploy("web", container=PASSWORD)
    runs(world)
    before = {device: world.desired[device]["web"] for device in world.devices}
    world.secrets["db"] = found
    world.add_device("pi-3", subject="sub-pi-3", site="lab")
    world.settle()
    world.beat("pi-3")
    world.infos["pi-3"] = msgspec.structs.replace(INFO, sealing_key=KEY)
    world.settle()
    assert {device: world.desired[device]["web"] for device in before} == before
    assert "web" not in world.desired.get("pi-3", {})
    assert world.condition("web", "Ready") == ("False", reason)
    assert world.deployments["web"].status.ready == 2, "two run it"
    for device in world.devices:
        assert world.condition(device, "WorkloadTrouble") == ("True", reason)
    world.secrets["db"] = secret(3, password=b"correct")
    runs(world)
    assert world.condition("web", "Ready") == ("True", "AllReady")
    assert all(one.type != "WorkloadTrouble" for one in world.devices["pi-1"].status.conditions)


def test_who_cannot_open_it_says_so_for_the_version_that_it_was_told() -> None:
    world = sealing("pi-1")
    world.deploy("web", container=PASSWORD)
    world.settle()
    world.report("pi-1", "web", Phase.FAILED, Reason.SECRETS_NOT_OPENED)
    world.settle()
    assert world.condition("web", "Ready") == ("False", "DevicesFailed")
    world.report("pi-1", "web", Phase.FAILED, Reason.UNSUPPORTED_WORKLOAD, secrets="")
    world.settle()
    assert "UnsupportedWorkload" in world.message("web", "Ready")


def test_more_than_a_device_can_be_sent_is_too_large() -> None:
    world = sealing("pi-1")
    world.secrets["db"] = secret(password=b"x" * MAX_SECRET_VALUE)
    files = tuple(File(f"/{number}", secret=FromSecret("db", "password")) for number in range(3))
    world.deploy("web", container={"files": files})
    world.settle()
    assert world.condition("web", "Ready") == ("False", "WorkloadTooLarge")
    assert "web" not in world.desired.get("pi-1", {})


def logins(**auths: object) -> SecretSeen:
    data = json.dumps({"auths": auths}).encode()
    return SecretSeen("u", "1", DOCKER_CONFIG_TYPE, True, {DOCKER_CONFIG_KEY: data})


@pytest.mark.parametrize(
    ("image", "place", "auth"),
    [
        ("registry.example:5000/web:1", "registry.example:5000", {"username": "u", "password": "p"}),
        ("registry.example/web", "https://registry.example/v2/", {"auth": base64.b64encode(b"u:p").decode()}),
        ("library/web", "https://index.docker.io/v1/", {"username": "u", "password": "p"}),
        ("localhost/web", "localhost", {"username": "u", "password": "p"}),
    ],
)
def test_the_login_of_the_images_registry_is_taken_and_no_other(image: str, place: str, auth: object) -> None:
    secrets = {"r": logins(**{"other.example": {"username": "x", "password": "y"}, place: auth})}
    found = secret_contents(Container(image, image_pull_secret="r"), secrets)
    assert isinstance(found, SecretContents)
    assert found.contents.login
    assert (found.contents.login.username, found.contents.login.password) == ("u", "p")
    assert "p'" not in repr(found.contents)


@pytest.mark.parametrize(
    "seen",
    [
        secret(),
        logins(),
        logins(**{"other.example": {"username": "x", "password": "y"}}),
        logins(**{"r.example": {"auth": "%%"}}),
        SecretSeen("u", "1", DOCKER_CONFIG_TYPE, True, {DOCKER_CONFIG_KEY: b"{"}),
        SecretSeen("u", "1", DOCKER_CONFIG_TYPE, True, {}),
    ],
    ids=["another type", "empty", "another registry", "damaged", "no JSON", "no key"],
)
def test_a_secret_without_a_login_for_the_registry_is_said(seen: SecretSeen) -> None:
    found = secret_contents(Container("r.example/web", image_pull_secret="r"), {"r": seen})
    assert isinstance(found, SecretProblem)
    assert found.reason in {"SecretUnusable", "SecretMissing"}
    assert "r" in found.message


def test_nothing_of_a_secret_stands_where_it_is_printed() -> None:
    assert "horse" not in repr(secret())
    found = secret_contents(Container("a", secret_env=PASSWORD["secret_env"]), {"db": secret()})
    assert "horse" not in repr(found)


def test_each_container_of_a_pod_takes_its_own() -> None:
    password = PodContainer(name="db", image="db:1", secret_env={"PASSWORD": FromSecret("db", "password")})
    key = PodContainer(name="web", image="web:1", files=(File("/etc/key", secret=FromSecret("web", "key")),))
    pod = Pod((password, key, PodContainer(name="plain", image="plain:1")))
    assert named(pod) == {"db", "web"}
    assert pod.takes_secrets
    found = secret_contents(pod, {"db": secret(), "web": secret(key=b"private")})
    assert isinstance(found, SecretContents)
    assert found.contents == Contents(
        containers={"db": Contents(env={"PASSWORD": "horse"}), "web": Contents(files={"/etc/key": b"private"})}
    )
    lack = secret_contents(pod, {"db": secret()})
    assert isinstance(lack, SecretProblem)
    assert "web" in lack.message
    assert secret_contents(Pod((PodContainer(name="plain", image="plain:1"),)), {}) is None
