"""`fleet support-bundle`: it holds what helps, and no canary."""

from __future__ import annotations

import json
import secrets
import stat
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from fleet.cli import support
from fleet.cli.redact import HIDDEN, redacted, values_of, without_values
from fleet.contract.errors import InvalidInput
from fleet.contract.revision import revision_of
from harness.probes.kube import KubeProbe
from tests.cli.conftest import Fleet
from tests.support.full_disk import full_after
from tests.support.kube import Kube

CANARY = "canary-7d1f"
WORKLOAD = {
    "image": "web:1",
    "env": {"MODE": f"{CANARY}-env"},
    "files": [{"path": "/etc/app.conf", "content": f"first line\npassphrase is {CANARY}-file\n"}],
    "command": ["app", f"--key={CANARY}-command"],
    "args": [f"{CANARY}-args"],
    "health": {"command": ["check", f"{CANARY}-health"]},
}


def read(path: Path) -> dict[str, str]:
    with tarfile.open(path) as archive:
        assert {one.mode for one in archive.getmembers()} == {0o600}
        files = {one.name: archive.extractfile(one) for one in archive.getmembers()}
        return {name.partition("/")[2]: file.read().decode() for name, file in files.items() if file}


def test_a_folder_that_is_not_there_is_said_before_anything_is_asked(fleet: Fleet) -> None:
    answer = fleet("support-bundle", "--out", "/nowhere/fleet.tar.gz")
    assert (answer.code, "no file can be written in /nowhere" in answer.err) == (2, True)
    assert "kubeconfig" not in answer.err, "no cluster is looked for"


def test_a_bundle_holds_what_helps_and_no_canary(
    fleet: Fleet, device: Callable[[str], None], kube: Kube, probe: KubeProbe, namespace: str, tmp_path: Path
) -> None:
    device("pi-1")
    written = {
        "apiVersion": "fleet.nationtech.io/v1alpha1",
        "kind": "FleetDeployment",
        "metadata": {"name": "web", "namespace": namespace, "annotations": {"another-tool": f"{CANARY}-annotation"}},
        "spec": {"workload": {"type": "container", **WORKLOAD}, "selector": {"matchLabels": {"site": "lab"}}},
    }
    # With kubectl's own annotation, which holds all of it once more.
    kube.kubectl("apply", "-f", "-", stdin=json.dumps(written))
    found = probe.deployment("web")
    assert found
    kube.kubectl("create", "-f", "-", stdin=json.dumps(revision_of(found)))
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": "web.1", "namespace": namespace},
        "involvedObject": {"kind": "FleetDeployment", "name": "web", "namespace": namespace},
        "reason": "Failed",
        "message": f"the health check says: no such key {CANARY}-env, Bearer {CANARY}.token-of-somebody",
    }
    kube.kubectl("apply", "-f", "-", stdin=json.dumps(event))
    answer = fleet("support-bundle", "--out", "fleet.tar.gz", "--device", "pi-1", "-o", "json")
    assert answer.code == 0, answer.err
    path = tmp_path / "fleet.tar.gz"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    parts = read(path)
    assert set(parts) >= {"devices.json", "deployments.json", "revisions.json", "events.json", "doctor.json"}
    for name, text in parts.items():
        assert CANARY not in text, f"{name} holds a canary"
    (shown,) = json.loads(parts["deployments.json"])
    assert shown["spec"]["workload"]["image"] == "web:1"
    assert shown["spec"]["workload"]["env"] == {"MODE": HIDDEN}
    assert shown["spec"]["workload"]["files"][0]["path"] == "/etc/app.conf"
    assert "pi-1" in parts["devices.json"]
    assert "PRIVATE KEY" not in "".join(parts.values())
    told = json.loads(parts["bundle.json"])
    assert "logs/pi-1.log" in told["missing"], "nobody answers there, and that is said"
    again = fleet("support-bundle", "--out", "fleet.tar.gz")
    assert again.code == 2
    assert "is there already" in again.err


def test_a_disk_that_fills_up_leaves_no_half_a_bundle(tmp_path: Path) -> None:
    out = tmp_path / "fleet.tar.gz"
    with full_after(4096), pytest.raises(InvalidInput, match="nothing was left there") as error:
        support._write(out, {"a.log": secrets.token_hex(16384)})  # pyright: ignore[reportPrivateUsage]
    assert str(out) in error.value.what
    assert "free space there" in error.value.next_step
    assert list(tmp_path.iterdir()) == []


def test_what_came_to_its_place_meanwhile_stays(tmp_path: Path) -> None:
    out = tmp_path / "fleet.tar.gz"
    out.write_text("somebody's")
    with pytest.raises(InvalidInput, match="is there already"):
        support._write(out, {"a.log": "line"})  # pyright: ignore[reportPrivateUsage]
    assert {one.name: one.read_text() for one in tmp_path.iterdir()} == {out.name: "somebody's"}


SEED = "SU" + "A" * 56


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIabc\n-----END RSA PRIVATE KEY-----", "MIIabc"),
        ("-----BEGIN PRIVATE KEY-----\nMIIcut", "MIIcut"),
        ("token eyJhbGciOi.eyJzdWIiOi.c2lnbmF0dXJl ended", "eyJhbGciOi"),
        ("nats://app:hunter2@nats:4222", "hunter2"),
        (f"seed {SEED}", SEED),
        ("Authorization: Bearer abc.def-ghi", "abc.def-ghi"),
        ('{"password": "hunter2"}', "hunter2"),
        ("api_key=hunter2 and more", "hunter2"),
        ("client_secret: hunter2", "hunter2"),
    ],
    ids=["key", "cut-key", "jwt", "url", "seed", "bearer", "json", "api-key", "secret"],
)
def test_what_looks_like_a_secret_goes(text: str, secret: str) -> None:
    told = redacted(text, [])
    assert secret not in told
    assert HIDDEN in told


def test_ordinary_words_stay() -> None:
    text = "web generation 3: Running; pi-1 at tls://nats.example.org:4222, 7 MiB are free"
    assert redacted(text, values_of([{"spec": {"workload": {"env": {"A": "7"}}}}])) == text


def test_values_go_wherever_they_stand_and_also_as_json_writes_them() -> None:
    item = {"spec": {"workload": {"env": {"A": 'quoted "word" here'}, "image": "web:1"}}}
    values = values_of([item])
    assert redacted(json.dumps({"message": 'it said: quoted "word" here'}), values) == json.dumps(
        {"message": f"it said: {HIDDEN}"}
    )
    assert without_values(item)["spec"]["workload"] == {"env": {"A": HIDDEN}, "image": "web:1"}
