"""In what docker and podman differ, request by request: each double differs from the other as the real ones do."""

from __future__ import annotations

import contextlib

import pytest

from harness.engine.client import EngineClient
from harness.images import IMAGE
from harness.probes.engine import DEVICE_LABEL, EngineProbe, image_name
from tests.engine.lab import Lab

BODY = {"Image": IMAGE, "Cmd": ["sleep", "1000000"], "Labels": {DEVICE_LABEL: "to be set"}}


@pytest.fixture
def raw(lab: Lab) -> EngineClient:
    """Function: the engine without the agent's client."""
    return lab.raw


def make(lab: Lab, suffix: str = "one", **changes: object) -> str:
    body = {**BODY, "Labels": {DEVICE_LABEL: lab.mark, "io.fleet.test": lab.mark}, **changes}
    answer = lab.raw.call("POST", "/containers/create", params={"name": lab.name(suffix)}, json=body)
    assert answer.status_code == 201, answer.text
    return answer.json()["Id"]


def refused(lab: Lab, method: str, path: str, **options: object) -> tuple[int, str]:
    """The status of a refusal, and what podman calls its cause."""
    answer = lab.raw.call(method, path, **options)
    body = answer.json()
    assert body["message"]
    assert set(body) == ({"cause", "message", "response"} if lab.is_podman else {"message"})
    return answer.status_code, body.get("cause", "")


def test_what_is_refused(lab: Lab) -> None:
    container = make(lab)
    lab.raw.call("POST", f"/containers/{container}/start")
    again = refused(lab, "POST", "/containers/create", params={"name": lab.name()}, json=BODY)
    removed = refused(lab, "DELETE", f"/containers/{container}")
    image = refused(lab, "DELETE", f"/images/{IMAGE}") if not lab.is_docker else None  # others may use it there
    lab.raw.call("POST", f"/containers/{container}/stop", params={"t": "0"})
    killed = refused(lab, "POST", f"/containers/{container}/kill")
    if lab.is_podman:
        assert again == (500, "that name is already in use")
        assert (removed, killed) == ((500, "container state improper"), (500, "container state improper"))
        assert image == (409, "image is in use by a container")
    else:
        assert (again, removed, killed) == ((409, ""), (409, ""), (409, ""))


def test_what_is_not_there(lab: Lab) -> None:
    absent = {**BODY, "Image": "fleet-test/absent:1"}
    assert refused(lab, "POST", "/containers/create", json=absent)[0] == 404
    assert refused(lab, "POST", "/containers/absent/start")[0] == 404
    assert refused(lab, "GET", "/images/fleet-test/absent:1/json")[0] == 404
    wrong = refused(lab, "POST", "/containers/create", json={**BODY, "Image": "a//b"})
    assert wrong[0] == (500 if lab.is_podman else 400)


def test_the_names_of_images_and_states(lab: Lab) -> None:
    container = make(lab)
    (listed,) = [
        one for one in lab.raw.call("GET", "/containers/json", params={"all": "1"}).json() if one["Id"] == container
    ]
    shown = lab.raw.call("GET", f"/containers/{container}/json").json()
    tags = lab.raw.call("GET", f"/images/{IMAGE}/json").json()["RepoTags"]
    wanted = f"localhost/{IMAGE}" if lab.is_podman else IMAGE
    assert (listed["Image"], shown["Config"]["Image"]) == (wanted, wanted)
    assert wanted in tags
    assert lab.raw.call("GET", f"/images/{wanted}/json").status_code == 200
    assert (shown["State"].get("Health") is None) is not lab.is_podman
    assert lab.raw.call("GET", "/info").json()["LoggingDriver"] == ("" if lab.is_podman else "json-file")


def test_the_probe_sees_the_same_on_each_and_removes_what_it_sees(lab: Lab) -> None:
    make(lab, "one")
    container = make(lab, "two")
    lab.raw.call("POST", f"/containers/{container}/start")
    with contextlib.closing(EngineProbe(str(lab.socket))) as probe:
        seen = probe.containers(lab.mark)
        assert sorted((image_name(one["Image"]), one["State"]) for one in seen) == [
            (IMAGE, "created"),
            (IMAGE, "running"),
        ]
        probe.remove(lab.mark)
        assert probe.containers(lab.mark) == []
        probe.remove(lab.mark)
