"""Whatever happens ends as sentences and an exit code; help is quick and complete."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import typer.core
import typer.main

from fleet.cli import device
from fleet.cli.main import VARIABLES, app, main
from fleet.contract import errors
from fleet.version import VERSION
from harness.targets.control_plane import render_kubeconfig
from tests.cli.conftest import Fleet
from tests.support.tls import make_tls

FLEET = Path(sys.executable).parent / "fleet"
COMMANDS: list[tuple[str, ...]] = [
    ("doctor",),
    ("support-bundle",),
    ("login",),
    *(("server", verb) for verb in ("install", "trust", "status", "uninstall", "admission-policy")),
    *(("server", "chart", verb) for verb in ("render", "publish", "application", "prepare", "withdraw")),
    *(("device", verb) for verb in ("enroll", "setup", "uninstall", "list", "show", "revoke", "release", "delete")),
    ("device", "remove-volume"),
    *(("device", verb) for verb in ("upgrade", "rollback", "label", "logs", "cordon", "uncordon", "events", "doctor")),
    *(("agent", verb) for verb in ("new-key", "build", "sign", "publish", "list", "show", "prune")),
    *(("deployment", verb) for verb in ("apply", "list", "show", "delete", "pause", "resume", "events")),
    *(("deployment", verb) for verb in ("history", "rollback", "restart")),
]
SLOW = {"yaml", "httpx", "paramiko", "cryptography", "rich", "pydantic", "nats", "asyncio", "joserfc", "stamina"}


def fails_with(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def fail() -> object:
        raise error

    monkeypatch.setattr(device, "cluster", fail)


def test_every_verb_is_there_and_no_other(fleet: Fleet) -> None:
    for group in (("server",), ("server", "chart"), ("device",), ("agent",), ("deployment",)):
        listed = fleet(*group, "--help").out.partition("Commands:\n")[2]
        assert {line.split()[0] for line in listed.splitlines() if line.startswith("  ") and line[2] != " "} == {
            words[len(group)] for words in COMMANDS if words[: len(group)] == group
        }


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_help_has_an_example(fleet: Fleet, words: Sequence[str]) -> None:
    answer = fleet(*words, "--help")
    assert answer.code == 0
    assert f"\n    fleet {' '.join(words)}" in answer.out
    printed = words[-1] in {"application", "admission-policy"}
    assert "--output" in answer.out or printed, "what is for kubectl is printed as YAML and no other way"


def test_a_variable_that_is_nearly_ours_is_refused(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEET_SERVER_URL", "of another program")
    assert fleet("device", "list", "--help").code == 0
    monkeypatch.setenv("FLEET_NAMESPCE", "production")
    answer = fleet("deployment", "list")
    assert answer.code == 2
    assert "the variable FLEET_NAMESPCE is unknown; did you mean FLEET_NAMESPACE?" in answer.err


def test_every_variable_of_an_option_is_known() -> None:
    group = typer.main.get_command(app)
    assert isinstance(group, typer.core.TyperGroup)
    read = {name for one in _options(group) for name in ([one] if isinstance(one, str) else one or [])}
    assert read < set(VARIABLES)
    assert set(VARIABLES) - read == {"FLEET_DEBUG", "FLEET_OPENBAO", "FLEET_PROCESS_ROOT", "FLEET_TOPOLOGY"}


def _options(command: typer.core.TyperGroup) -> Iterator[str | Sequence[str] | None]:
    for one in command.commands.values():
        yield from (option.envvar for option in one.params)
        if isinstance(one, typer.core.TyperGroup):
            yield from _options(one)


def test_help_documents_every_exit_code(fleet: Fleet) -> None:
    documented = fleet("--help").out.partition("Exit codes:")[2]
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.FleetError)]
    assert len(kinds) == 8
    for kind in kinds:
        assert f" {kind.exit_code} " in documented


def test_a_group_alone_shows_its_help(fleet: Fleet) -> None:
    answer = fleet("device")
    assert answer.code == 2
    assert answer.err.startswith("Usage: fleet device")
    assert "enroll" in answer.err


def test_the_version(fleet: Fleet) -> None:
    answer = fleet("--version")
    assert (answer.code, answer.out) == (0, f"fleet {VERSION}\n")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell: str) -> None:
    # Else typer asks which shell it was started from, and a test may have been started from none.
    env = {**os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    command = [FLEET, "--show-completion", shell]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=20, check=True)
    assert "_FLEET_COMPLETE" in done.stdout


def test_completion_completes() -> None:
    env = {**os.environ, "_FLEET_COMPLETE": "complete_bash", "COMP_WORDS": "fleet dev", "COMP_CWORD": "1"}
    done = subprocess.run([FLEET], env=env, capture_output=True, text=True, timeout=20, check=False)
    assert done.stdout.split() == ["device"]


def imported_by(*words: str) -> set[str]:
    """The modules that a command imports before it has read its own options."""
    script = f"""
import sys
from fleet.cli.main import app
app([*{words!r}, "--help"], standalone_mode=False)
print("imported", *(name for name, module in sys.modules.items() if module))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=20, check=True)
    return set(done.stdout.rpartition("imported ")[2].split())


def test_help_imports_nothing_slow() -> None:
    imported = imported_by()
    assert "fleet.cli.deployment" in imported
    assert not SLOW & {name.partition(".")[0] for name in imported}


def test_a_command_imports_no_other_one() -> None:
    imported = imported_by("device", "list")
    assert "fleet.cli.device" in imported
    assert not imported & {f"fleet.cli.{name}" for name in ("deployment", "server", "secrets", "agent", "web")}


@pytest.mark.parametrize(
    "kind", [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.FleetError)]
)
def test_an_error_is_two_sentences_and_its_code(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, kind: type[errors.FleetError]
) -> None:
    fails_with(monkeypatch, kind("it went wrong", next_step="do this"))
    answer = fleet("device", "list", "--output", "json")
    assert answer.code == kind.exit_code
    assert answer.err == "error: it went wrong\n  next: do this\n"
    assert answer.out == ""


def test_an_unexpected_error_is_one_sentence(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    fails_with(monkeypatch, ZeroDivisionError("division by zero"))
    answer = fleet("device", "list")
    assert answer.code == 1
    assert answer.err.splitlines()[0] == "error: unexpected ZeroDivisionError: division by zero"
    assert "FLEET_DEBUG=1" in answer.err


def test_an_unexpected_error_can_be_traced(monkeypatch: pytest.MonkeyPatch) -> None:
    fails_with(monkeypatch, ZeroDivisionError("division by zero"))
    monkeypatch.setenv("FLEET_DEBUG", "1")
    monkeypatch.setattr(sys, "argv", ["fleet", "device", "list"])
    with pytest.raises(ZeroDivisionError):
        main()


def test_an_interrupt_is_clean(tmp_path: Path) -> None:
    """Ctrl-C while Kubernetes lets us wait: one line, code 130."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        config = tmp_path / "config"
        server = f"https://127.0.0.1:{silent.getsockname()[1]}"
        config.write_bytes(render_kubeconfig(server, tmp_path / "ca.pem", "token"))
        (tmp_path / "ca.pem").write_text(make_tls(tmp_path).ca)
        process = subprocess.Popen(
            [FLEET, "device", "list"],
            env={**os.environ, "KUBECONFIG": str(config)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        silent.settimeout(20)
        connection, _ = silent.accept()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
        connection.close()
    assert process.returncode == 130
    assert out == ""
    assert err == "interrupted; what was done stays, and a repeat goes on from there\n"


@pytest.mark.parametrize("words", ["--version", "--help"])
def test_an_answer_that_nobody_reads(words: str) -> None:
    """`fleet --version | true` complains of nothing."""
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as closed:
        done = subprocess.run([FLEET, words], stdout=closed, stderr=subprocess.PIPE, text=True, timeout=20, check=False)
    assert done.stderr == ""


@pytest.mark.parametrize("namespace", ["A B", "a/b", "-a", "a" * 64])
def test_what_cannot_be_a_namespace_is_refused_before_anybody_is_asked(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, namespace: str
) -> None:
    monkeypatch.setenv("FLEET_NAMESPACE", namespace)
    answer = fleet("device", "list")
    assert (answer.code, "no RFC 1123 label" in answer.err) == (2, True), answer.err
    assert "waiting" not in answer.err
