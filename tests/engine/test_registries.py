"""Images from registries, on real engines: with a login, without one, and from registries that fail in their ways."""

from __future__ import annotations

import asyncio
import contextlib
import re
import secrets
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import msgspec
import pytest

from fleet.agent import engine as client
from fleet.agent.answers import EngineRefused
from fleet.agent.engine import Engine
from fleet.agent.pulls import AT_ONCE, OF_ONE_REGISTRY
from fleet.contract.sealed import RegistryLogin
from fleet.contract.wire import Reason
from harness.engine.client import EngineClient
from harness.engine.select import VARIABLE, double_engine, engine, own_engine, podman_engine
from harness.images import IMAGE
from harness.images.private_registry import Place, PrivateRegistry, private_registry
from harness.targets.certificates import Authority
from tests.engine.lab import Lab
from tests.engine.puller import device
from tests.engine.registries import login_at, scripted_registry
from tests.support.waiting import eventually

ELSEWHERE = "127.0.0.1:1"
"""A registry that nobody reaches."""
MIRRORED = """\
[[registry]]
location = "{}"
[[registry.mirror]]
location = "{}"
insecure = true
"""
"""One registry of containers-registries.conf(5); `insecure`, because this mirror has no TLS."""


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateRegistry]:
    """A mirror that asks for the password."""
    with private_registry(tmp_path_factory.mktemp("mirror")) as found:
        yield found


@pytest.fixture(scope="module")
def open_mirror(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateRegistry]:
    with private_registry(tmp_path_factory.mktemp("open-mirror"), is_open=True) as found:
        yield found


@pytest.fixture(scope="module", params=["docker", "podman", "double"])
def trusting(
    request: pytest.FixtureRequest,
    authority: Authority,
    mirror: PrivateRegistry,
    open_mirror: PrivateRegistry,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[str]:
    """The socket of an engine that trusts the private authority; docker and podman have mirrors of other registries."""
    registries = tmp_path_factory.mktemp("podman") / "registries.conf"
    registries.write_text("".join(MIRRORED.format(one, open_mirror.address) for one in ("docker.io", ELSEWHERE)))
    kind = {
        "docker": partial(own_engine, mirror=f"http://{mirror.address}"),
        "podman": partial(podman_engine, registries=registries),
        "double": double_engine,
    }[request.param]
    with kind(trusts=authority.certificate) as found:
        yield found.socket


@pytest.fixture(scope="module")
def host(trusting: str) -> str:
    """Where the registries listen: dockerd checks no certificate at 127.0.0.0/8 (dockerd, "Insecure registries")."""
    with contextlib.closing(EngineClient(trusting)) as raw:
        if any(word in raw.version().lower() for word in ("podman", "double")):
            return "127.0.0.1"
        return raw.call("GET", "/networks/bridge").json()["IPAM"]["Config"][0]["Gateway"]


@pytest.fixture(scope="module")
def registry(host: str, authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateRegistry]:
    with private_registry(tmp_path_factory.mktemp("registry"), Place.below(authority, host)) as found:
        yield found


@pytest.fixture(scope="module")
def scripted(host: str, authority: Authority) -> Iterator[str]:
    with scripted_registry(host, authority) as found:
        yield found


@pytest.fixture
def lab(trusting: str) -> Iterator[Lab]:
    with contextlib.closing(Lab(trusting)) as lab:
        yield lab


def repository() -> str:
    return f"private/{secrets.token_hex(4)}"


def test_an_image_is_fetched_with_the_login(lab: Lab, registry: PrivateRegistry) -> None:
    image = registry.push(repository())

    async def body(engine: Engine) -> None:
        assert not await engine.has_image(image)
        await engine.pull(image, "", login_at(registry))
        assert await engine.has_image(image)

    lab.run(body)


@pytest.mark.parametrize("kind", ["double", "own"])
def test_the_engine_of_a_run_trusts_the_authority_of_its_registry(kind: str, tmp_path: Path) -> None:
    with engine({VARIABLE: kind}) as found, private_registry(tmp_path, found.image_registry) as registry:
        assert registry.ca is not None
        image = registry.push(repository())

        async def body(client: Engine) -> None:
            await client.pull(image, "", login_at(registry))
            assert await client.has_image(image)

        with contextlib.closing(Lab(found.socket)) as lab:
            lab.run(body)


@pytest.mark.parametrize("password", ["", "wrong"])
def test_without_the_login_nothing_is_fetched(lab: Lab, registry: PrivateRegistry, password: str) -> None:
    image = registry.push(repository())

    async def body(engine: Engine) -> None:
        with pytest.raises(EngineRefused) as refused:
            await engine.pull(image, "", login_at(registry, password) if password else None)
        assert refused.value.problem.reason is Reason.REGISTRY_REFUSED, refused.value.what
        assert not await engine.has_image(image)

    lab.run(body)


def test_an_image_that_the_registry_does_not_have(lab: Lab, registry: PrivateRegistry) -> None:
    async def body(engine: Engine) -> None:
        with pytest.raises(EngineRefused) as refused:
            await engine.pull(f"{registry.address}/private/none:1", "", login_at(registry))
        assert refused.value.problem.reason is Reason.IMAGE_NOT_FOUND, refused.value.what

    lab.run(body)


def test_a_registry_whose_authority_the_engine_does_not_trust(
    lab: Lab, host: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    foreign = Authority(tmp_path_factory.mktemp("foreign"))

    async def body(engine: Engine, address: str, login: RegistryLogin) -> None:
        with pytest.raises(EngineRefused, match="certificate") as refused:
            await engine.pull(f"{address}/private/app:1", "", login)
        assert refused.value.problem.reason is Reason.REGISTRY_UNAVAILABLE, refused.value.what

    with private_registry(tmp_path, Place.below(foreign, host)) as registry:
        lab.run(lambda engine: body(engine, registry.address, login_at(registry)))


REASONS = {
    "unauthorized": Reason.REGISTRY_REFUSED,
    "denied": Reason.REGISTRY_REFUSED,
    "manifest_unknown": Reason.IMAGE_NOT_FOUND,
    "toomanyrequests": Reason.REGISTRY_BUSY,
    "unknown": Reason.REGISTRY_UNAVAILABLE,
    "unavailable": Reason.REGISTRY_UNAVAILABLE,
    "cut": Reason.REGISTRY_UNAVAILABLE,
    "other": Reason.REGISTRY_UNAVAILABLE,
    "silent": Reason.REGISTRY_UNAVAILABLE,
    "stalls": Reason.REGISTRY_UNAVAILABLE,
}


@pytest.mark.parametrize("script", REASONS)
def test_a_registry_that_fails_leaves_what_runs(
    lab: Lab, scripted: str, tmp_path: Path, script: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if script in {"silent", "stalls"}:
        monkeypatch.setattr(client, "_PULL_SILENCE", 1.0)

    async def body(engine: Engine) -> None:
        async with device(engine, lab, tmp_path) as (made, running):
            before = await made.running()
            problem = await made.order(f"{scripted}/{script}/app:1", instead_of=running)
            assert problem is not None
            assert problem.reason is REASONS[script], problem.message
            assert f"{scripted}/{script}/app:1" in problem.message
            assert await made.running() == before

    lab.run(body)


def test_a_pull_says_how_far_it_is(lab: Lab, scripted: str, tmp_path: Path) -> None:
    async def body(engine: Engine) -> None:
        async with device(engine, lab, tmp_path) as (made, running):
            assert await made.order(f"{scripted}/slow/app:1", instead_of=running) is None
            assert any(re.match(r"fetched 0\.[1-9] of 1\.0 MiB", one) for one in made.said), made.said

    lab.run(body)


def test_registries_that_say_nothing_delay_no_other_workload(lab: Lab, scripted: str, tmp_path: Path) -> None:
    async def body(engine: Engine) -> None:
        async with device(engine, lab, tmp_path) as (made, _):
            names = [f"slow-{number}" for number in range(AT_ONCE + 1)]
            pulls = [asyncio.create_task(made.order(f"{scripted}/silent/{one}:1", deployment=one)) for one in names]
            turn = "waits for its turn: other images are fetched"
            await eventually(lambda: made.said.count(turn) == len(names) - OF_ONE_REGISTRY, "the others wait")
            assert await made.order(IMAGE, deployment="other") is None
            assert len(await made.running()) == 2
            for pull in pulls:
                pull.cancel()
            await asyncio.gather(*pulls, return_exceptions=True)

    lab.run(body)


def test_the_agents_login_replaces_what_runs(lab: Lab, registry: PrivateRegistry, tmp_path: Path) -> None:
    """With none and with a wrong one, the reason says which login it was; what ran goes on until the right one."""
    image = registry.push(repository())

    async def body(engine: Engine) -> None:
        async with device(engine, lab, tmp_path) as (made, running):
            before = await made.running()
            ended = login_at(registry, "e30.eyJleHAiOjF9.c2ln")  # {"exp":1}
            for login, said in (
                (None, "asked without a login"),
                (login_at(registry, "wrong"), "the Secret registry"),
                (ended, "which has ended on 1970-01-01 00:00 UTC"),
            ):
                problem = await made.order(image, login, running)
                assert problem is not None
                assert problem.reason is Reason.REGISTRY_REFUSED, problem.message
                assert said in problem.message
                assert "wrong" not in problem.message
                assert await made.running() == before
            assert await made.order(image, login_at(registry), running) is None
            (after,) = await made.running()
            assert after != running

    lab.run(body)


def test_a_login_is_asked_for_only_when_something_must_be_pulled(
    lab: Lab, registry: PrivateRegistry, tmp_path: Path
) -> None:
    """With the image there, neither a registry that is away nor a login that went bad matters."""
    name = repository()
    image = registry.push(name)

    async def body(engine: Engine) -> None:
        async with device(engine, lab, tmp_path) as (made, running):
            assert await made.order(image, login_at(registry), running) is None
            (first,) = await made.running()
            asked = registry.asked_for(name)
            assert asked, "the log of the registry does not show the pull"
            assert await made.order(image, login_at(registry, "wrong"), first) is None
            assert registry.asked_for(name) == asked

    lab.run(body)


def test_docker_asks_its_mirror_for_what_is_on_docker_hub_with_the_login_of_the_deployment(
    lab: Lab, mirror: PrivateRegistry
) -> None:
    if not lab.is_docker:
        return
    name = f"library/{secrets.token_hex(4)}"
    mirror.push(name)

    async def body(engine: Engine) -> None:
        image = f"docker.io/{name}:1"
        await engine.pull(image, "", msgspec.structs.replace(login_at(mirror), server="docker.io"))
        assert await engine.has_image(image)

    lab.run(body)
    assert mirror.asked_for(name)


@pytest.mark.parametrize("registry", ["docker.io", ELSEWHERE])
def test_podman_asks_its_mirror_of_any_registry(lab: Lab, open_mirror: PrivateRegistry, registry: str) -> None:
    if not lab.is_podman:
        return
    name = f"library/{secrets.token_hex(4)}"
    open_mirror.push(name)

    async def body(engine: Engine) -> None:
        image = f"{registry}/{name}:1"
        await engine.pull(image, "", None)
        assert await engine.has_image(image)

    lab.run(body)
    assert open_mirror.asked_for(name)
