"""A description is refused before anything is contacted, with all that is wrong at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.devices.lab import Lab
from harness.errors import TargetUnavailable
from harness.targets.cluster.description import describe


def write(folder: Path, **changes: object) -> str:
    for name in ("config", "ca.crt", "token", "key", "known_hosts"):
        (folder / name).write_text("")
    board = {"host": "10.0.0.7", "user": "pi", "key": "key", "known_hosts": "known_hosts"}
    fields: dict[str, Any] = {
        "kubeconfig": "config",
        "namespace": "fleet-system",
        "issuer": "https://id.example.test",
        "issuer_ca": "ca.crt",
        "admin_token_file": "token",
        "lab": {"boards": {"shelf-1": board}},
    }
    file = folder / "staging.json"
    file.write_text(json.dumps({name: it for name, it in (fields | changes).items() if it is not None}))
    return str(file)


def test_a_whole_description_is_read_with_its_paths_beside_it(tmp_path: Path) -> None:
    found = describe("staging", write(tmp_path), {})
    assert found.kubeconfig == tmp_path / "config"
    assert found.lab.boards["shelf-1"].key == tmp_path / "key"
    assert found.lab.kinds == {"pi"}


def test_yaml_is_read_too(tmp_path: Path) -> None:
    Path(write(tmp_path)).rename(tmp_path / "staging.yaml")
    assert describe("staging", str(tmp_path / "staging.yaml"), {}).namespace == "fleet-system"


def test_variables_win_over_the_file_and_serve_without_one(tmp_path: Path) -> None:
    environ = {"FLEET_STAGING_NAMESPACE": "other", "FLEET_STAGING_LEASE_SECONDS": "30", "FLEET_PRODUCTION_ISSUER": "x"}
    found = describe("staging", write(tmp_path), environ)
    assert (found.namespace, found.lease_seconds) == ("other", 30)
    alone = {
        "FLEET_PRODUCTION_KUBECONFIG": str(tmp_path / "config"),
        "FLEET_PRODUCTION_NAMESPACE": "live",
        "FLEET_PRODUCTION_ISSUER": "https://id.example.test",
        "FLEET_PRODUCTION_ISSUER_CA": str(tmp_path / "ca.crt"),
    }
    assert describe("production", "", alone).lab == Lab()


def test_everything_that_is_missing_is_listed(tmp_path: Path) -> None:
    """Whoever sets a lab up learns it in one go, with the names of the variables."""
    with pytest.raises(TargetUnavailable) as caught:
        describe("staging", "", {"FLEET_STAGING_KUBECONFIG": str(tmp_path / "gone")})
    for words in (
        "staging was asked for, and its description is not complete:",
        "namespace: not given (FLEET_STAGING_NAMESPACE)",
        "issuer: not given (FLEET_STAGING_ISSUER)",
        "issuer_ca: not given (FLEET_STAGING_ISSUER_CA)",
        "neither is given (FLEET_STAGING_ADMIN_TOKEN_FILE, FLEET_STAGING_ADMIN_CLIENT_ID)",
        "lab: no machine is described",
        f"kubeconfig: {tmp_path}/gone cannot be read",
    ):
        assert words in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"kubeconfig": "/nonexistent/config"}, "kubeconfig: /nonexistent/config cannot be read"),
        ({"namespace": ["x"]}, r"namespace: Expected a text, got a list"),
        ({"namspace": "x"}, "namspace is unknown; did you mean namespace?"),
        ({"exposure": "nats.example.test"}, "exposure: Expected tls://HOST:PORT"),
        ({"lease_seconds": 0}, "lease_seconds: Expected a whole number of at least 2"),
        ({"lab": {"boards": {"pi": {"host": "pi.local"}}}}, r"lab.boards.*the field `user` is missing"),
        (
            {"lab": {"boards": {"pi": {"host": "h", "user": "u", "key": "gone", "known_hosts": "known_hosts"}}}},
            "lab.boards.pi.key: .*/gone cannot be read",
        ),
    ],
)
def test_a_wrong_field_is_named(tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    with pytest.raises(TargetUnavailable, match=says):
        describe("staging", write(tmp_path, **changes), {})


def test_names_that_would_be_ignored_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text("namespace: a\nlab:\n  bords: {}\nnamespace: b\n")
    with pytest.raises(TargetUnavailable) as caught:
        describe("staging", str(file), {})
    assert "line 4: namespace stands there twice" in str(caught.value)
    assert "line 3: lab.bords is unknown; did you mean boards?" in str(caught.value)
    with pytest.raises(TargetUnavailable, match=r"FLEET_STAGING_ISUER: no such variable; did you mean .*_ISSUER"):
        describe("staging", write(tmp_path), {"FLEET_STAGING_ISUER": "x"})


@pytest.mark.parametrize(
    ("board", "says"),
    [
        (
            "{host: h, user: u, key: key, known_hosts: known_hosts, port: many}",
            r"line 8: lab\.boards.*Expected a whole number",
        ),
        ("{host: h, user: u, key: 5, known_hosts: known_hosts}", r"line 8: lab\.boards"),
        ("{host: h, user: [u], key: key, known_hosts: known_hosts}", r"line 8: lab\.boards.*Expected a text"),
        ("shelf", r"line 8: lab\.boards.*Expected an object"),
    ],
)
def test_a_value_of_another_type_is_named_by_its_line(tmp_path: Path, board: str, says: str) -> None:
    described = yaml_of(tmp_path, f"lab:\n  boards:\n    pi: {board}\n")
    with pytest.raises(TargetUnavailable, match=says):
        describe("staging", described, {})


def test_a_variable_has_no_line(tmp_path: Path) -> None:
    described = yaml_of(tmp_path, "lab: {processes: true}\nlease_seconds: 5\n")
    with pytest.raises(TargetUnavailable, match="- lease_seconds: Expected"):
        describe("staging", described, {"FLEET_STAGING_LEASE_SECONDS": "0"})


def yaml_of(folder: Path, more: str) -> str:
    """A description that lacks only what is given; `more` begins in line 6."""
    needed = "kubeconfig: key\nnamespace: fleet\nissuer: https://i\nissuer_ca: key\nadmin_token_file: key\n"
    for name in ("key", "known_hosts"):
        (folder / name).touch()
    (folder / "lab.yaml").write_text(needed + more)
    return str(folder / "lab.yaml")


@pytest.mark.parametrize("content", [b"[1, 2]", b"{", b"\xff"])
def test_a_file_that_is_no_description_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(TargetUnavailable, match=r"x\.json"):
        describe("staging", str(tmp_path / "x.json"), {})
