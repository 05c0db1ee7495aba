"""The command line: what a person sees when it cannot work."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from fleet.contract.config import OperatorConfig, render_config
from fleet.operator.main import main
from fleet.process import logs
from harness.processes.ports import free_port
from harness.wait import wait_until
from tests.support.kube import Kube
from tests.support.nats import Nats
from tests.support.operator import Operator
from tests.support.tls import make_tls


def config(folder: Path, **changes: object) -> OperatorConfig:
    """A configuration of servers that are not there."""
    ca = make_tls(folder).ca
    cluster = {"server": f"https://127.0.0.1:{free_port()}", "certificate-authority-data": _base64(ca)}
    kubeconfig = {
        "current-context": "x",
        "clusters": [{"name": "x", "cluster": cluster}],
        "users": [{"name": "x", "user": {"token": "secret-token"}}],
        "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
    }
    path = folder / "kubeconfig"
    path.write_bytes(msgspec.json.encode(kubeconfig))
    nats_url = f"tls://127.0.0.1:{free_port()}"
    whole = OperatorConfig(nats_url, "app-secret", "control-secret", "system-secret", ca, "home", str(path))
    return msgspec.structs.replace(whole, **changes)


def _base64(text: str) -> str:
    return msgspec.json.encode(text.encode()).decode().strip('"')


@pytest.fixture
def refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., None]:
    """Runs the command with a configuration, and demands an exit code and words on standard error."""

    def run(settings: OperatorConfig | bytes, code: int, *words: str, mode: int = 0o600) -> None:
        path = tmp_path / "operator.json"
        path.write_bytes(settings if isinstance(settings, bytes) else render_config(settings))
        path.chmod(mode)
        monkeypatch.setattr(sys, "argv", ["fleet-operator", "--config", str(path)])
        monkeypatch.setattr(logs, "configure", str)
        with pytest.raises(SystemExit) as end:
            main()
        said = capsys.readouterr().err
        assert end.value.code == code, said
        assert "next: " in said
        for word in words:
            assert word in said
        assert "secret-token" not in said
        assert "app-secret" not in said

    return run


def test_configurations_of_no_use_are_refused_with_a_sentence(refused: Callable[..., None], tmp_path: Path) -> None:
    good = config(tmp_path)
    refused(b"{", 2, "operator.json")
    refused(good, 2, "0644", mode=0o644)
    refused(msgspec.structs.replace(good, kubeconfig=str(tmp_path / "none")), 4, "none")
    (tmp_path / "broken").write_text("clusters: [")
    refused(msgspec.structs.replace(good, kubeconfig=str(tmp_path / "broken")), 2, "kubeconfig")
    refused(msgspec.structs.replace(good, kubeconfig=""), 4, "KUBERNETES_SERVICE_HOST")
    refused(msgspec.structs.replace(good, ca="no certificate"), 2, "PEM")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port: int = taken.getsockname()[1]
        refused(msgspec.structs.replace(good, health_port=port), 5, str(port))


def test_help_has_an_example(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["fleet-operator", "--help"])
    with pytest.raises(SystemExit):
        main()
    assert "example: fleet-operator --config" in capsys.readouterr().out


@pytest.mark.parametrize("wrong", ["nats", "password", "kube", "token"])
def test_servers_that_are_away_or_refuse_are_named_and_waited_for(
    kinds: Kube, own_nats: Nats, tmp_path: Path, wrong: str
) -> None:
    operator = Operator(kinds, own_nats, tmp_path / "operator", kinds.namespace())
    whole = msgspec.json.decode(operator.config.read_bytes(), type=dict[str, object])
    broken = {
        "nats": {"natsUrl": f"tls://127.0.0.1:{free_port()}"},
        "password": {"natsSystemPass": "wrong-secret"},
        "kube": {"kubeconfig": config(tmp_path).kubeconfig},
        "token": {"kubeconfig": str(kinds.with_token("wrong-secret"))},
    }[wrong]
    operator.config.write_bytes(msgspec.json.encode({**whole, **broken}))
    words = {
        "nats": "NATS as fleet-app",
        "password": "NATS as fleet-system",
        "kube": "API server does not answer",
        "token": "Unauthorized",
    }[wrong]
    operator.start()
    try:
        wait_until(operator.readiness, f"it names {words}", timeout=20, until=lambda why: words in why)
        assert operator.page("/healthz")[0] == 200
        assert operator.process
        assert operator.process.poll() is None
        assert operator.stop() == 0, "and it ends when it is told to"
        said = operator.log_file.read_text()
        assert "Traceback" not in said
        assert "wrong-secret" not in said
    finally:
        operator.close()
