"""`fleet device enroll` and `fleet login` with a real API server and the Zitadel double."""

from __future__ import annotations

import base64
import functools
import os
import stat
import subprocess
import sys
import urllib.parse
import uuid
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from fleet.cli.store import config_folder
from fleet.contract.config import AgentConfig, load_config
from fleet.identity.device_token import wait_for_token
from fleet.secrets.file import FileSecretStore
from harness.probes.kube import KubeProbe
from harness.wait import wait_until
from tests.cli.conftest import Answer, Fleet, Place, install_on, install_words, server_id
from tests.cli.test_trust import tamper
from tests.doubles.zitadel.idp import Idp
from tests.support.kube import Kube

FLEET = str(Path(sys.executable).parent / "fleet")
PAT = ("--admin-token-file", "admin.pat")


def enroll(fleet: Fleet, device: str, *more: str) -> Answer:
    return fleet("device", "enroll", "--device-id", device, "--out", f"{device}.json", *PAT, *more)


def users(idp: Idp, device: str) -> list[dict[str, Any]]:
    """The machine users of a device, as Zitadel lists them."""
    query = {"userNameQuery": {"userName": f"fleet-{server_id()}-{device}.", "method": "TEXT_QUERY_METHOD_STARTS_WITH"}}
    return idp.made("/users/_search", {"queries": [query]}).get("result", [])


def keys(idp: Idp, user: str) -> list[dict[str, Any]]:
    return idp.made(f"/users/{user}/keys/_search", {}).get("result", [])


def test_what_an_enrollment_leaves(fleet: Fleet, installed: Place, idp: Idp, probe: KubeProbe) -> None:
    del installed
    answer = enroll(fleet, "pi-1", "--label", "site=lab", "--label", "room=a", "--heartbeat-interval", "2")
    assert answer.code == 0, answer.err
    config = load_config(Path("pi-1.json"), AgentConfig)
    assert stat.S_IMODE(Path("pi-1.json").stat().st_mode) == 0o600
    assert (config.device_id, config.heartbeat_interval) == ("pi-1", 2)
    assert config.nats_url == "tls://nats.example.org:4222"
    assert wait_for_token(config.auth, timeout=30), "the identity works, and carries the role"
    device = probe.device("pi-1")
    assert device is not None
    assert device.spec.subject == config.auth.machine_key.user_id
    assert device.metadata.labels == {"site": "lab", "room": "a"}
    assert not device.spec.revoked
    (user,) = users(idp, "pi-1")
    assert len(keys(idp, user["id"])) == 1


def test_a_device_with_podman_only_says_where_its_engine_listens(fleet: Fleet, installed: Place) -> None:
    del installed
    answer = enroll(fleet, "pi-1", "--engine-socket", "/run/podman/podman.sock")
    assert answer.code == 0, answer.err
    assert load_config(Path("pi-1.json"), AgentConfig).engine_socket == "/run/podman/podman.sock"


@pytest.mark.parametrize("socket", ["", "run/docker.sock", "unix:///run/docker.sock", f"/{'a' * 107}", "/run/a\nb"])
def test_a_path_that_no_socket_can_have_is_refused_before_anything_is_made(
    fleet: Fleet, installed: Place, idp: Idp, socket: str
) -> None:
    del installed
    answer = enroll(fleet, "pi-1", "--engine-socket", socket)
    assert (answer.code, "--engine-socket" in answer.err) == (2, True), answer.err
    assert not users(idp, "pi-1")


def test_the_answer_as_json_holds_no_secret(fleet: Fleet, installed: Place) -> None:
    del installed
    answer = enroll(fleet, "pi-1", "--output", "json")
    key = load_config(Path("pi-1.json"), AgentConfig).auth.machine_key
    assert answer.json == {"device": "pi-1", "subject": key.user_id, "config": "pi-1.json"}
    assert "PRIVATE KEY" not in answer.out + answer.err


def test_a_second_enrollment_is_refused_and_changes_nothing(fleet: Fleet, installed: Place, idp: Idp) -> None:
    del installed
    enroll(fleet, "pi-1")
    before, user = Path("pi-1.json").read_bytes(), users(idp, "pi-1")
    answer = enroll(fleet, "pi-1")
    assert answer.code == 5
    assert "--replace" in answer.err
    assert Path("pi-1.json").read_bytes() == before
    assert users(idp, "pi-1") == user


def test_replace_gives_a_new_identity_and_lifts_a_revocation(
    fleet: Fleet, installed: Place, idp: Idp, probe: KubeProbe
) -> None:
    del installed
    enroll(fleet, "pi-1", "--label", "site=lab")
    old = load_config(Path("pi-1.json"), AgentConfig).auth.machine_key
    probe.patch(probe.path("devices", "pi-1"), {"spec": {"revoked": True}})
    assert enroll(fleet, "pi-1", "--replace").code == 0
    new = load_config(Path("pi-1.json"), AgentConfig).auth.machine_key
    assert new.user_id != old.user_id
    assert new.key != old.key
    device = probe.device("pi-1")
    assert device is not None
    assert (device.spec.subject, device.spec.revoked) == (new.user_id, False)
    assert device.metadata.labels == {"site": "lab"}, "labels that were not given stay"
    (user,) = users(idp, "pi-1")
    assert user["id"] == new.user_id


def test_replace_of_a_device_that_is_unknown_enrolls_it(fleet: Fleet, installed: Place, probe: KubeProbe) -> None:
    del installed
    assert enroll(fleet, "pi-1", "--replace").code == 0
    assert probe.device("pi-1") is not None


def test_a_device_that_was_deleted_can_be_enrolled_again(fleet: Fleet, installed: Place, idp: Idp) -> None:
    del installed
    enroll(fleet, "pi-1")
    assert fleet("device", "delete", "pi-1").code == 0, "nobody is logged in at the provider: the user stays"
    assert len(users(idp, "pi-1")) == 1
    assert enroll(fleet, "pi-1").code == 0
    (user,) = users(idp, "pi-1")
    assert user["id"] == load_config(Path("pi-1.json"), AgentConfig).auth.machine_key.user_id


def other_server(place: Place, monkeypatch: pytest.MonkeyPatch, kube: Kube, tmp_path: Path) -> str:
    """Another server on the same provider, in another namespace; returns the namespace."""
    name = kube.fresh("other")
    monkeypatch.setenv("FLEET_NAMESPACE", name)
    install_on(Place(place.kube, FileSecretStore(tmp_path / "other-secrets")), monkeypatch)
    return name


@pytest.mark.parametrize("ended", ["replace", "delete", "revoke"])
def test_two_servers_on_one_provider_leave_each_others_devices_alone(
    fleet: Fleet,
    installed: Place,
    idp: Idp,
    kube: Kube,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    ended: str,
) -> None:
    namespace = os.environ["FLEET_NAMESPACE"]
    assert enroll(fleet, "pi-2").code == 0
    first = load_config(Path("pi-2.json"), AgentConfig)
    Path("pi-2.json").rename("first.json")
    other_server(installed, monkeypatch, kube, tmp_path)
    assert fleet(*install_words(idp)).code == 0
    assert enroll(fleet, "pi-2").code == 0
    second = load_config(Path("pi-2.json"), AgentConfig)
    assert wait_for_token(first.auth, timeout=30), "the first server's device works on"
    monkeypatch.setenv("FLEET_NAMESPACE", namespace)
    Path("pi-2.json").unlink()
    words = ("device", ended, "pi-2", *PAT)
    done = enroll(fleet, "pi-2", "--replace") if ended == "replace" else fleet(*words, "--timeout", "0.1")
    assert done.code in {0, 8}, "nobody plays the operator here, so a revocation is not seen to be done"
    assert wait_for_token(second.auth, timeout=30), "and so does the second one's"


def former_user(idp: Idp, device: str) -> str:
    """A machine user as the former release made it: its name and metadata tell of no server."""
    name = f"fleet-{device}.{uuid.uuid4().hex[:8]}"
    asked = {"userName": name, "name": device, "accessTokenType": "ACCESS_TOKEN_TYPE_JWT"}
    return idp.made("/users/machine", asked)["userId"]


def exists(idp: Idp, user: str) -> bool:
    return idp.manage("GET", f"/users/{user}").status_code == 200


def test_a_former_identity_goes_only_if_the_device_names_it(
    fleet: Fleet, installed: Place, idp: Idp, probe: KubeProbe
) -> None:
    del installed
    enroll(fleet, "pi-3")
    ours, another = former_user(idp, "pi-3"), former_user(idp, "pi-3")
    probe.patch(probe.path("devices", "pi-3"), {"spec": {"subject": ours, "enrollment": 1}})
    assert enroll(fleet, "pi-3", "--replace").code == 0
    assert not exists(idp, ours)
    assert exists(idp, another), "it may be another server's"


def test_metadata_decides_where_a_name_is_forged(fleet: Fleet, installed: Place, idp: Idp) -> None:
    del installed
    enroll(fleet, "pi-4")
    name = f"fleet-{server_id()}-pi-4.0badf00d"
    user = idp.made("/users/machine", {"userName": name, "name": "pi-4", "accessTokenType": "ACCESS_TOKEN_TYPE_JWT"})
    value = base64.b64encode(b"another server").decode()
    idp.made(f"/users/{user['userId']}/metadata/fleet-server", {"value": value})
    assert enroll(fleet, "pi-4", "--replace").code == 0
    assert exists(idp, user["userId"])


def test_a_server_without_an_id_is_brought_up_to_date_first(
    fleet: Fleet, installed: Place, idp: Idp, kube: Kube, namespace: str
) -> None:
    del installed
    tamper(kube, namespace, serverId="")
    (config_folder() / "trusted.json").unlink()
    answer = enroll(fleet, "pi-5")
    assert answer.code == 3
    assert "fleet server install" in answer.err
    assert users(idp, "pi-5") == []
    tamper(kube, namespace, serverId=server_id())
    assert enroll(fleet, "pi-5").code == 0


def test_projections_that_lag_are_waited_for(fleet: Fleet, installed: Place, idp: Idp) -> None:
    del installed
    idp.set(lag=1.5)
    answer = enroll(fleet, "pi-1")
    assert answer.code == 0, answer.err


STEPS = {
    "the machine user": "/management/v1/users/machine",
    "the project's grant": "/management/v1/users/",
    "the token": "/oauth/v2/token",
}


@pytest.mark.parametrize("path", STEPS.values(), ids=STEPS.keys())
def test_a_provider_that_fails_half_way(
    fleet: Fleet, installed: Place, idp: Idp, probe: KubeProbe, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """It ends with a sentence; a repeat succeeds, and leaves one user with one key."""
    del installed
    monkeypatch.setattr("fleet.install.enroll.wait_for_token", functools.partial(wait_for_token, timeout=0.5))
    idp.set(faults=[{"path": path, "times": 50, "status": 503}])
    answer = enroll(fleet, "pi-1")
    assert answer.code in {6, 8}, answer
    assert idp.issuer in answer.err
    assert probe.device("pi-1") is None
    idp.set(faults=[])
    again = enroll(fleet, "pi-1")
    assert again.code == 0, again.err
    (user,) = users(idp, "pi-1")
    assert len(keys(idp, user["id"])) == 1


def test_a_cluster_that_fails_at_the_end(
    fleet: Fleet, installed: Place, idp: Idp, monkeypatch: pytest.MonkeyPatch
) -> None:
    del installed

    def refuse(*_: object) -> object:
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr("fleet.kube.client.KubeClient.create", refuse)
        assert enroll(fleet, "pi-1").code == 130
    assert enroll(fleet, "pi-1").code == 0
    (user,) = users(idp, "pi-1")
    assert len(keys(idp, user["id"])) == 1


def test_a_configuration_that_cannot_be_written(
    fleet: Fleet, installed: Place, probe: KubeProbe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk, say: the device is not enrolled, for nobody has its key."""
    del installed

    def full(*_: object, **__: object) -> object:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr("fleet.process.durable.replace_file", full)
        answer = enroll(fleet, "pi-1")
    assert answer.code == 7
    assert "No space left on device" in answer.err
    assert probe.device("pi-1") is None
    assert enroll(fleet, "pi-1").code == 0


def test_an_admin_who_may_not(fleet: Fleet, installed: Place, idp: Idp, probe: KubeProbe) -> None:
    del installed, idp
    Path("admin.pat").write_text("no-token-of-anybody")
    answer = enroll(fleet, "pi-1")
    assert answer.code == 7
    assert "no-token-of-anybody" not in answer.err
    assert probe.device("pi-1") is None


@pytest.mark.parametrize("known", [False, True], ids=["new", "known"])
def test_two_enrollments_at_once_leave_the_winner_whole(
    fleet: Fleet, installed: Place, idp: Idp, probe: KubeProbe, known: bool
) -> None:
    """Both have made an identity before either writes the `Device`: one wins, and the other leaves nothing."""
    del installed
    if known:
        assert enroll(fleet, "pi-1").code == 0
    words = ("device", "enroll", "--device-id", "pi-1", *PAT, *(("--replace",) if known else ()))
    both = len(users(idp, "pi-1")) + 2  # other tests may have left some
    idp.set(faults=[{"path": "/oauth/v2/token", "times": 10_000, "status": 503}])
    with typed(*words, "--out", "a.json") as first, typed(*words, "--out", "b.json") as second:
        wait_until(lambda: len(users(idp, "pi-1")), "both have made a user", timeout=20, until=both.__eq__)
        idp.set(faults=[])
        said = {name: process.communicate(timeout=60)[1] for name, process in (("a", first), ("b", second))}
        codes = {"a": first.returncode, "b": second.returncode}
    assert sorted(codes.values()) == [0, 5], said
    winner, loser = sorted(codes, key=codes.__getitem__)
    assert "pi-1 is enrolled already" in said[loser]
    assert not Path(f"{loser}.json").exists()
    assert not list(Path.cwd().glob(".*.json.*")), "a configuration was left behind"
    config = load_config(Path(f"{winner}.json"), AgentConfig)
    assert wait_for_token(config.auth, timeout=30)
    device = probe.device("pi-1")
    assert device is not None
    assert device.spec.subject == config.auth.machine_key.user_id
    (user,) = users(idp, "pi-1")
    assert user["id"] == config.auth.machine_key.user_id


@contextmanager
def typed(*words: str) -> Generator[subprocess.Popen[str]]:
    """A command in a process of its own, whose output is read while it runs."""
    with subprocess.Popen(
        [FLEET, *words], env=dict(os.environ), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def decide(idp: Idp, process: subprocess.Popen[str], action: str) -> str:
    """Do as the terminal says, in a browser; returns what it said."""
    assert process.stderr is not None
    said = "".join(process.stderr.readline() for _ in range(3))
    (code,) = urllib.parse.parse_qs(urllib.parse.urlsplit(said.splitlines()[1].strip()).query)["user_code"]
    assert idp.double is not None
    login, password = idp.double.admin_password()
    form = {"user_code": code, "login_name": login, "password": password, "action": action}
    answer = idp.http.post("/device", data=form)
    assert answer.status_code == 200, answer.text
    return said


@pytest.fixture
def quick(idp: Idp) -> None:
    """Codes that are asked for every second; the default is five."""
    idp.set(deviceInterval=1)


def ended(process: subprocess.Popen[str]) -> Answer:
    out, err = process.communicate(timeout=30)
    return Answer(process.returncode, out, err)


@pytest.mark.usefixtures("quick")
def test_a_device_code_is_shown_at_once_and_leads_to_an_enrollment(
    installed: Place, idp: Idp, probe: KubeProbe
) -> None:
    del installed
    server = probe.server()
    assert server is not None
    words = ("--admin-oidc-client-id", server.cli_client_id, "--output", "json")
    with typed("device", "enroll", "--device-id", "pi-1", "--out", "pi-1.json", *words) as process:
        said = decide(idp, process, "allow")
        answer = ended(process)
    assert answer.code == 0, answer.err
    assert f"{idp.issuer}/device" in said
    assert answer.json["device"] == "pi-1"
    assert probe.device("pi-1") is not None


@pytest.mark.usefixtures("quick")
def test_a_login_that_is_denied(installed: Place, idp: Idp, probe: KubeProbe) -> None:
    del installed
    with typed("device", "enroll", "--device-id", "pi-1", "--out", "pi-1.json") as process:
        decide(idp, process, "deny")
        answer = ended(process)
    assert answer.code == 7
    assert "denied" in answer.err
    assert "Traceback" not in answer.err
    assert probe.device("pi-1") is None


@pytest.mark.usefixtures("quick")
def test_a_stored_login_serves_the_commands_after_it(installed: Place, idp: Idp, fleet: Fleet, tmp_path: Path) -> None:
    del installed
    with typed("login", "--output", "json") as process:
        decide(idp, process, "allow")
        answer = ended(process)
    assert answer.code == 0, answer.err
    stored = Path(answer.json["tokenFile"])
    assert stored.is_relative_to(tmp_path / "home/.config/fleet")
    assert {stat.S_IMODE(path.stat().st_mode) for path in stored.parent.iterdir()} == {0o600}
    assert stat.S_IMODE(stored.parent.stat().st_mode) == 0o700
    assert stored.read_text() not in answer.out + answer.err
    enrolled = fleet("device", "enroll", "--device-id", "pi-1", "--out", "pi-1.json")
    assert enrolled.code == 0, enrolled.err
    assert "log in" not in enrolled.err


def test_an_interrupted_login_leaves_nothing(installed: Place, probe: KubeProbe, tmp_path: Path) -> None:
    del installed
    with typed("login") as process:
        assert process.stderr is not None
        process.stderr.readline()
        process.send_signal(2)
        answer = ended(process)
    assert answer.code == 130
    assert "Traceback" not in answer.err
    assert not (tmp_path / "home/.config/fleet/token").exists()
    # A definition that is new is not served at once: the API server asks to be asked again (429).
    assert wait_until(probe.devices, "devices are served", timeout=30, until=lambda _: True) == []
