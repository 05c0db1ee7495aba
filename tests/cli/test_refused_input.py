"""Bad input is refused at the door: exit code 2, a sentence and a next step, before anything is contacted."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import NoReturn

import pytest

from fleet.contract.errors import NotPermitted
from fleet.topology.host import LocalHost
from tests.cli.conftest import Fleet

BAD_NAMES = {
    "empty": "",
    "64 characters": "a" * 64,
    "a megabyte": "a" * 100_000,
    "upper case": "Pi-1",
    "dot": "pi.1",
    "slash": "pi/1",
    "parent folder": "../pi",
    "star": "*",
    "greater": ">",
    "space": "pi 1",
    "newline": "pi-1\n",
    "unicode": "pï-1",
    "unicode digit": "pi-\u0661",
    "leading dash": "-pi",
    "trailing dash": "pi-",
    "underscore": "pi_1",
    "control character": "pi\x1b[2J",
    "not utf-8": "pi\udcff",
}


@pytest.fixture(autouse=True)
def nothing_is_contacted(monkeypatch: pytest.MonkeyPatch) -> None:
    def contacted(*_: object, **__: object) -> NoReturn:
        raise AssertionError("something was contacted")

    monkeypatch.setattr(socket, "create_connection", contacted)
    monkeypatch.setattr(socket, "getaddrinfo", contacted)
    monkeypatch.setattr("fleet.kube.client.KubeClient.__init__", contacted)


@pytest.fixture(params=BAD_NAMES)
def bad(request: pytest.FixtureRequest) -> str:
    return BAD_NAMES[request.param]


def refused(fleet: Fleet, *words: str) -> str:
    """The sentence of a refusal; nothing may have been written anywhere."""
    before = sorted(Path().rglob("*"))
    answer = fleet(*words)
    assert answer.code == 2, answer
    assert answer.out == ""
    assert "\n  next: " in answer.err
    assert sorted(Path().rglob("*")) == before
    return answer.err


def test_device_ids(fleet: Fleet, bad: str) -> None:
    assert "is not a valid device id" in refused(fleet, "device", "enroll", f"--device-id={bad}", "--out", "x.json")


@pytest.mark.parametrize("verb", ["show", "revoke", "delete"])
def test_device_arguments(fleet: Fleet, bad: str, verb: str) -> None:
    assert "is not a valid device id" in refused(fleet, "device", verb, "--", bad)


@pytest.mark.parametrize("verb", ["show", "delete"])
def test_deployment_arguments(fleet: Fleet, bad: str, verb: str) -> None:
    assert "is not a valid deployment name" in refused(fleet, "deployment", verb, "--", bad)


def test_deployment_names(fleet: Fleet, bad: str) -> None:
    said = refused(fleet, "deployment", "apply", f"--name={bad}", "--image", "x")
    assert "is not a valid deployment name" in said or "--name is missing" in said


def test_control_characters_do_not_reach_the_terminal(fleet: Fleet) -> None:
    assert "\x1b" not in refused(fleet, "device", "show", "pi\x1b[2J")


def test_a_long_value_is_cut(fleet: Fleet) -> None:
    assert len(refused(fleet, "device", "show", "a" * 100_000)) < 500


ENROLL = ("device", "enroll", "--device-id", "pi-1", "--out", "x.json")
APPLY = ("deployment", "apply", "--name", "web", "--image", "nginx", "--all")
INSTALL = ("server", "install", "--admin-token-file", "x")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([*APPLY, "--command", "echo \udcff"], "spec.workload.command[1] is no text"),
        ([*APPLY, "--env", "A=\udcff"], "spec.workload.env.A is no text"),
        ([*APPLY, "--container-label", "a=\udcff"], "spec.workload.labels.a is no text"),
        ([*APPLY, "--health-command", "\udcff"], "spec.workload.health.command[0] is no text"),
        ([*APPLY, "--volume", "/a\udcff:/b"], " is no text"),
        ([*ENROLL, "--label", "site"], "--label 'site' is not KEY=VALUE"),
        ([*ENROLL, "--label", "=lab"], "--label '=lab' is not KEY=VALUE"),
        ([*ENROLL, "--label", f"site={'x' * 64}"], "--label"),
        ([*ENROLL, "--heartbeat-interval", "0"], "--heartbeat-interval"),
        ([*ENROLL, "--heartbeat-interval", "nan"], "--heartbeat-interval"),
        ([*ENROLL, "--heartbeat-interval", "often"], "--heartbeat-interval"),
        (["device", "revoke", "pi-1", "--timeout", "nan"], "--timeout"),
        (["deployment", "delete", "web", "--timeout", "inf"], "--timeout"),
        ([*ENROLL[:-1], "none/x.json"], "there is no folder none"),
        (["device", "enroll", "--device-id", "pi-1"], "Missing option '--out'"),
        (["device", "enroll"], "Missing option"),
        (["device", "revoke", "pi-1", "--timeout", "0"], "--timeout"),
        (["device", "list", "--output", "xml"], "--output"),
        (["device", "list", "extra"], "extra"),
        (["device", "list", "--selector", ""], "--selector '' is no selector"),
        (["device", "revoke", "", "--selector", "a=b"], "name one device, or choose"),
        (["device", "revoke", "--enrolled-before", "2026-01-01T00:00:00Z", "--selector", ""], "is no selector"),
        (["device", "revoke", "--enrolled-before", "", "--selector", "a=b"], "is no time with a zone"),
        (["device", "list", "-n", "a/../b"], "'a/../b' is no RFC 1123 label"),
        (["device", "upgrade", "pi-1", "--to", "v0.1.2", "--timeout", "5"], "--timeout counts only with --wait"),
        (["device", "rollback", "pi-1", "--timeout", "5"], "--timeout counts only with --wait"),
        ([*ENROLL, "--label", "site=a", "--label", "site=b"], "--label gives site twice"),
        (["device", "destroy", "pi-1"], "No such command 'destroy'"),
        (["--nonsense"], "No such option: --nonsense"),
        ([*APPLY, "--port", "80"], "--port '80' is not HOST:CONTAINER"),
        ([*APPLY, "--port", "0:80"], "--port '0:80'"),
        ([*APPLY, "--port", "80:65536"], "--port"),
        ([*APPLY, "--port", "80:80/sctp"], "--port"),
        ([*APPLY, "--port", "x:y"], "--port"),
        ([*APPLY, "--env", "NAME"], "--env 'NAME' is not KEY=VALUE"),
        ([*APPLY[:-1], "--selector", "site"], "--selector 'site' is not KEY=VALUE"),
        ([*APPLY, "--command", "sh -c 'x"], "--command"),
        ([*APPLY, "--restart", "perhaps"], "--restart"),
        ([*APPLY, "--health-command", "true", "--health-interval", "0"], "--health-interval"),
        ([*APPLY, "--rolling", "-1"], "--rolling"),
        ([*APPLY[:4], "--image", "x" * 513], "image"),
        (["deployment", "apply", "--file", "none.json"], "cannot read none.json"),
        ([*INSTALL, "--issuer", "id.example.org"], "id.example.org"),
        ([*INSTALL, "--issuer", "https://id.example.org/"], "https://id.example.org/"),
        ([*INSTALL, "--issuer", "http://id.example.org"], "http://id.example.org"),
        ([*INSTALL, "--issuer", "https://a b"], "https://a b"),
        ([*INSTALL, "--issuer", "https://user@id.example.org"], "user@id"),
        ([*INSTALL, "--issuer", "https://id.example.org", "--issuer-ca", "none.pem"], "none.pem"),
        (["server", "install", "--issuer", "https://id.example.org"], "--admin-token-file"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_bad_values(fleet: Fleet, words: list[str], said: str) -> None:
    assert said in refused(fleet, *words)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "manifest.json"),
        (b"{", "manifest.json"),
        (b"\xff\xfe", "manifest.json"),
        (b"[]", "manifest.json"),
        (b"{}", "manifest.json"),
        (b'{"metadata": {"name": "web"}, "spec": {"workload": {"type": "vm", "image": "x"}}}', "vm"),
        (
            b'{"metadata":{"name":"Web"},"spec":{"selector":{"matchLabels":{"a":"b"}},"workload":{"image":"x"}}}',
            "'Web'",
        ),
        (
            b'{"kind": "Device", "metadata": {"name": "w"}, "spec": {"workload": {"type": "container", "image": "x"}}}',
            "Device",
        ),
    ],
)
def test_manifests(fleet: Fleet, content: bytes, said: str) -> None:
    Path("manifest.json").write_bytes(content)
    assert said in refused(fleet, "deployment", "apply", "--file", "manifest.json")


@pytest.mark.parametrize("content", [b"", b"-----BEGIN CERTIFICATE-----\n", b"\xff"])
def test_authorities(fleet: Fleet, content: bytes) -> None:
    Path("ca.pem").write_bytes(content)
    said = refused(fleet, *INSTALL, "--issuer", "https://id.example.org", "--issuer-ca", "ca.pem")
    assert "ca.pem" in said


def test_a_configuration_is_not_written_over_another_file(fleet: Fleet) -> None:
    Path("x.json").write_text("my notes")
    answer = fleet(*ENROLL)
    assert answer.code == 5
    assert "is not pi-1's configuration" in answer.err
    assert Path("x.json").read_text() == "my notes"


@pytest.mark.parametrize("address", ["nobody", "pi@", "@host", "pi@host:0", "pi@host:x"])
def test_ssh_addresses(fleet: Fleet, address: str, agent_config: Path) -> None:
    assert "is no SSH address" in refused(fleet, "device", "setup", "--config", str(agent_config), "--ssh", address)


def test_a_file_that_is_too_large_for_a_container(fleet: Fleet) -> None:
    Path("big").write_text("x" * 65_537)
    assert "big has more than 65536 characters" in refused(fleet, *APPLY, "--config-file", "big:/etc/x")


@pytest.mark.parametrize("name", ["web.json", "web.yaml"])
def test_half_a_character_in_a_file(fleet: Fleet, name: str) -> None:
    """JSON can say it, and YAML takes JSON."""
    workload = '{"type": "container", "image": "a:1", "command": ["\\ud800"]}'
    text = f'{{"metadata": {{"name": "web"}}, "spec": {{"selector": {{}}, "workload": {workload}}}}}'
    Path(name).write_text(text)
    assert "is no text" in refused(fleet, "deployment", "apply", "--all", "--file", name)


@pytest.mark.parametrize("option", ["--ssh", "--root"])
@pytest.mark.parametrize("text", ["", " "])
@pytest.mark.parametrize("command", ["setup", "uninstall"])
def test_an_empty_text_is_not_this_machine(
    fleet: Fleet, command: str, option: str, text: str, agent_config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--ssh "$HOST"` of a script whose variable was not set made a device of the admin's own machine."""

    def touched(root: Path) -> None:
        raise AssertionError(f"{root} of this machine was about to be changed")

    monkeypatch.setattr("fleet.topology.host.LocalHost", touched)
    more = ["--config", str(agent_config)] if command == "setup" else []
    said = refused(fleet, "device", command, *more, option, text)
    assert "it is empty, and names no host" in said


def test_two_ways_to_log_in(fleet: Fleet, agent_config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is typed wins over a variable for the other one; two of a kind contradict each other."""
    words = ["device", "delete", "pi-1"]
    client, file = ["--admin-oidc-client-id", "1"], ["--admin-token-file", "x"]
    assert "give only one of them" in refused(fleet, *words, *client, *file)
    monkeypatch.setenv("FLEET_ADMIN_TOKEN_FILE", "x")
    assert "only one of them" not in fleet(*words, *client).err
    monkeypatch.setenv("FLEET_ADMIN_OIDC_CLIENT_ID", "1")
    assert "give only one of them" in refused(fleet, *words)
    assert "only one of them" not in fleet(*words, *file).err


def test_a_root_on_another_machine(fleet: Fleet, agent_config: Path) -> None:
    said = refused(fleet, "device", "setup", "--config", str(agent_config), "--root", "/", "--ssh", "pi@10.0.0.7")
    assert "--root is a folder of this machine" in said


@pytest.mark.parametrize("content", [b"nats:\n  hots: x\n", b"image: a\nimage: b\n", b"nats: {port: 1, prot: 2}"])
def test_values_of_the_chart_that_would_be_ignored(fleet: Fleet, content: bytes) -> None:
    Path("values.yaml").write_bytes(content)
    for verb in (["prepare"], ["application", "oci://registry.example.org/charts"]):
        said = refused(fleet, "server", "chart", *verb, "--values", "values.yaml")
        assert "--values values.yaml: line " in said
        assert "did you mean" in said or "twice" in said


def test_a_root_that_is_no_folder(fleet: Fleet, agent_config: Path) -> None:
    assert "is no folder" in refused(fleet, "device", "setup", "--config", str(agent_config), "--root", "none")


def test_who_is_not_root_is_told_what_was_tried_and_where_to_do_it(
    fleet: Fleet, agent_config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(_: LocalHost, path: str, *__: object) -> NoReturn:
        raise NotPermitted(f"may not touch {path}", next_step="run this as root")

    for act in ("read", "put", "execute"):  # the tests may run as root, and this machine must stay as it is
        monkeypatch.setattr(LocalHost, act, denied)
    for words, tried in (
        (["setup", "--config", str(agent_config)], "set up as device pi-1"),
        (["uninstall"], "rid of"),
    ):
        answer = fleet("device", *words)
        assert answer.code == NotPermitted.exit_code, answer.err
        assert f"this machine cannot be {tried}" in answer.err
        assert "may not touch /etc/fleet/agent.json" in answer.err
        assert "next: run this as root on the device itself, or from another machine with --ssh USER@HOST" in answer.err


def test_a_configuration_that_others_can_read(fleet: Fleet, agent_config: Path) -> None:
    agent_config.chmod(0o644)
    assert "chmod 600" in refused(fleet, "device", "setup", "--config", str(agent_config), "--root", ".")


@pytest.mark.parametrize("option", ["--compose", "--file"])
def test_a_file_without_an_end(fleet: Fleet, option: str) -> None:
    """No more is read than can be taken: a device file filled the memory."""
    assert "it has more than" in refused(fleet, "deployment", "apply", option, "/dev/zero")
