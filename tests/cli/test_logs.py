"""`fleet device logs`: who may read, and what is refused before anybody is contacted."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fleet.cli import device_logs
from fleet.cli.device_logs import duration
from fleet.cli.output import Output
from fleet.contract.errors import NotPermitted
from fleet.contract.logs import LOG_READER_SECRET, LogPiece
from fleet.kube.client import KubeClient
from fleet.secrets.kubernetes import NAME as STORE
from tests.cli.conftest import Fleet, Place
from tests.support.kube import Kube

Says = Callable[..., None]


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("Pi_1",), "RFC 1123"),
        (("pi-1", "--deployment", "We.b"), "RFC 1123"),
        (("pi-1", "--container", "c"), "--container is one of a deployment"),
        (("pi-1", "--since", "yesterday"), "30s, 10m, 2h or 1d"),
        (("pi-1", "--since", "0s"), "31 days"),
        (("pi-1", "--since", "32d"), "31 days"),
        (("pi-1", "--since", "-1m"), "31 days"),
        (("pi-1", "--since", "\u0661m"), "31 days"),
        (("pi-1", "--tail", "-1"), "--tail"),
        (("pi-1", "--tail", "10001"), "--tail"),
    ],
)
def test_what_is_no_question_is_refused(fleet: Fleet, words: tuple[str, ...], named: str) -> None:
    answer = fleet("device", "logs", *words)
    assert answer.code == 2
    assert named in answer.err


def test_durations() -> None:
    assert [duration(word) for word in ("30s", "10m", "2h", "1d", "", "10", "m")] == [30, 600, 7200, 86_400, 0, 0, 0]


def test_who_may_read_is_a_right_to_one_secret(
    fleet: Fleet, device: Callable[[str], None], kube: Kube, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That right opens the logs, and no other secret of the server."""
    device("pi-1")
    config = kube.service_account(namespace, "support")
    may_look = ("--verb=get", "--resource=devices.fleet.nationtech.io,configmaps")
    kube.kubectl("-n", namespace, "create", "role", "look", *may_look)
    kube.kubectl(
        "-n", namespace, "create", "rolebinding", "look", "--role=look", f"--serviceaccount={namespace}:support"
    )
    monkeypatch.setenv("KUBECONFIG", str(config))
    refused = fleet("device", "logs", "pi-1")
    assert refused.code == 7
    assert LOG_READER_SECRET in refused.err
    may_read = ("--verb=get", "--resource=secrets", f"--resource-name={LOG_READER_SECRET}")
    kube.kubectl("-n", namespace, "create", "role", "logs", *may_read)
    kube.kubectl(
        "-n", namespace, "create", "rolebinding", "logs", "--role=logs", f"--serviceaccount={namespace}:support"
    )
    passed = fleet("device", "logs", "pi-1")
    assert passed.code == 6, passed.err
    assert "no NATS server at tls://nats.example.org:4222" in passed.err
    with pytest.raises(NotPermitted):
        KubeClient().find("Secret", STORE, namespace)


def test_a_device_that_is_offline_is_not_waited_for(fleet: Fleet, device: Callable[[str], None], says: Says) -> None:
    device("pi-1")
    says("pi-1", "Online", "False", "HeartbeatMissed")
    answer = fleet("device", "logs", "pi-1")
    assert answer.code == 6
    assert "pi-1 is offline (HeartbeatMissed)" in answer.err
    assert fleet("device", "logs", "pi-2").code == 4


def test_a_server_from_before_logs_were_read(
    fleet: Fleet, device: Callable[[str], None], kube: Kube, namespace: str
) -> None:
    device("pi-1")
    kube.kubectl("-n", namespace, "delete", "secret", LOG_READER_SECRET)
    answer = fleet("device", "logs", "pi-1")
    assert answer.code == 3
    assert "fleet server install" in answer.err


def test_an_uninstall_takes_the_password_away(fleet: Fleet, installed: Place, namespace: str) -> None:
    assert installed.find("Secret", LOG_READER_SECRET, namespace)
    assert fleet("server", "uninstall").code == 0
    assert installed.find("Secret", LOG_READER_SECRET, namespace) is None


def test_what_is_missing_is_told_and_what_a_device_says_is_escaped(capfd: pytest.CaptureFixture[str]) -> None:
    piece = LogPiece("a-session", 1, ("\x1b[2Jhidden", "two\nlines"), 7, skipped=True, ended=True, message="over\n")
    device_logs.show(piece, Output.TABLE)
    out, err = capfd.readouterr()
    assert out == "\\x1b[2Jhidden\ntwo\\nlines\n"
    assert err == "dropped 7 lines\ndropped lines that nobody counted\nover\\n\n"
    device_logs.show(piece, Output.JSON)
    out, err = capfd.readouterr()
    assert out.splitlines() == [
        '{"dropped": 7, "uncounted": true}',
        '{"line": "\\u001b[2Jhidden"}',
        '{"line": "two\\nlines"}',
    ]
