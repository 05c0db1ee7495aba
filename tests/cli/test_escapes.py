"""What comes from outside is escaped where it is printed: it moves no cursor, forges no line and hides nothing."""

from __future__ import annotations

import json
import logging
import os
import shlex
import subprocess
import sys
from io import BytesIO, TextIOWrapper
from pathlib import Path

import pytest

from fleet.cli.output import table
from fleet.contract.errors import FleetError, NotFound
from fleet.contract.printable import each, lines, one_line
from fleet.process import console
from fleet.process.logs import escape
from tests.cli.conftest import Fleet, Place
from tests.cli.test_main import FLEET, fails_with
from tests.support.kube import Kube

CONTROLS = [chr(code) for code in (*range(0x20), 0x7F, *range(0x80, 0xA0))]
BIDI = ["\u061c", "\u200e", "\u200f", *map(chr, range(0x202A, 0x202F)), *map(chr, range(0x2066, 0x206A))]
UNSEEN = ["\u200b", "\u200c", "\u200d", "\u2060", "\ufeff", "\u00ad", "\u034f", "\u3164", "\ufe0f", "\U000e0041"]
ODD = [*CONTROLS, *BIDI, *UNSEEN, "\u2028", "\u2029", "\xa0", "\ue000", "\ud800"]
EVIL = "\x1b]0;title\x07\nOnline:  True (FAKE)\r\u202egpj\u200b\x9b2J"
SHOWN = r"\x1b]0;title\x07\nOnline:  True (FAKE)\r\u202egpj\u200b\x9b2J"


@pytest.mark.parametrize("odd", ODD, ids=ascii)
def test_every_odd_character_is_escaped(odd: str) -> None:
    shown = one_line(f"a{odd}b")
    assert shown.isascii()
    assert shown.isprintable()
    assert shown != f"a{odd}b"
    assert len(shown.splitlines()) == 1


@pytest.mark.parametrize("text", ["", "pi-1", "Größe: 3 µm", "日本語", "שלום", "😀", 'C:\\temp "x"'])
def test_plain_text_stays(text: str) -> None:
    assert one_line(text) == text


def test_a_text_of_lines_keeps_them_and_nothing_else() -> None:
    assert lines("a\n\tb\x1b\r\n") == "a\n\tb\\x1b\\r\n"


def test_every_text_of_a_value_is_escaped() -> None:
    value = {"a\n": ["b\x1b", {"c": ("\u202e", 1, None, True)}]}
    assert each(value) == {"a\\n": ["b\\x1b", {"c": ["\\u202e", 1, None, True]}]}


def test_a_cell_stays_in_its_line() -> None:
    assert len(table(["A"], [[EVIL]])) == 2
    assert SHOWN in table(["A"], [[EVIL]])[1]


def test_a_device_forges_no_line(fleet: Fleet, installed: Place, kube: Kube, namespace: str) -> None:
    del installed
    meta = {"name": "pi-1", "namespace": namespace}
    item = {"apiVersion": "fleet.nationtech.io/v1alpha1", "kind": "Device", "metadata": meta, "spec": {"subject": "1"}}
    kube.kubectl("create", "-f", "-", stdin=json.dumps(item))
    said = {"agentVersion": "v0.1.0", "arch": EVIL, "os": EVIL, "kernel": EVIL, "memory": 1, "disk": 1, "bootId": EVIL}
    condition = {"type": "Online", "status": "False", "reason": "HeartbeatMissed", "message": EVIL}
    condition |= {"lastTransitionTime": "2026-01-01T00:00:00Z", "observedGeneration": 1}
    patch = json.dumps({"status": {"info": {"type": "info", **said}, "conditions": [condition]}})
    kube.kubectl("-n", namespace, "patch", "device", "pi-1", "--subresource=status", "--type=merge", "-p", patch)
    answer = fleet("device", "show", "pi-1")
    assert [line for line in answer.out.splitlines() if line.startswith("Online")] == [
        f"Online:  False (HeartbeatMissed) {SHOWN}"
    ]
    assert answer.out.replace("\n", "").isprintable()
    read = fleet("device", "show", "pi-1", "-o", "json")
    assert read.json["status"]["info"]["os"] == EVIL
    assert read.out.replace("\n", "").isprintable()


def test_an_error_is_two_lines_whatever_is_in_it(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    fails_with(monkeypatch, NotFound(f"no {EVIL}", next_step=f"see {EVIL}"))
    answer = fleet("device", "list")
    assert answer.err == f"error: no {SHOWN}\n  next: see {SHOWN}\n"


def test_an_unexpected_error_is_escaped_too(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    fails_with(monkeypatch, ValueError(EVIL))
    assert fleet("device", "list").err.splitlines()[0] == f"error: unexpected ValueError: {SHOWN}"


def test_an_error_shows_its_lines_as_text() -> None:
    error = FleetError("it\nfailed", next_step="a\rb", more=["one\x1b", "two"])
    assert str(error) == "it\\nfailed\n  one\\x1b\n  two\n  next: a\\rb"


def test_a_log_line_is_escaped() -> None:
    event = escape(None, "", {"event": EVIL, "names": [EVIL], "exception": "a\n  b\x7f", "count": 3})
    assert event == {"event": SHOWN, "names": [SHOWN], "exception": "a\n  b\\x7f", "count": 3}


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8", "utf-16"])
def test_every_encoding_takes_every_text(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    under = BytesIO()
    monkeypatch.setattr(sys, "stdout", TextIOWrapper(under, encoding=encoding))
    console.answer("Größe 日本 😀", EVIL)
    assert len(under.getvalue().decode(encoding).splitlines()) == 2


def shell(line: str) -> subprocess.CompletedProcess[str]:
    argv = ["bash", "-c", line.replace("fleet", shlex.quote(str(FLEET)), 1)]
    return subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False)


@pytest.mark.parametrize("words", ["--version", "--help", "device --help"])
@pytest.mark.parametrize("where", [">/dev/full", ">&-", ">&- 2>&-", "2>/dev/full", "2>&-", "| true"])
def test_an_odd_standard_output_is_no_trace(words: str, where: str) -> None:
    done = shell(f"fleet {words} {where}")
    assert "Traceback" not in done.stderr
    assert "unexpected" not in done.stderr
    assert "Exception ignored" not in done.stderr
    if where == ">/dev/full":
        assert done.returncode == 1
        assert done.stderr.startswith("error: the answer cannot be written to standard output: No space left")
    else:
        assert done.returncode == 0


def test_an_error_that_nobody_can_read_keeps_its_code() -> None:
    for where in ("2>/dev/full", "2>&-", ">&- 2>&-"):
        assert shell(f"fleet device show UPPER {where}").returncode == 2


def test_help_shows_no_mark_of_its_layout() -> None:
    for words in ([], ["server"], ["device", "enroll"], ["agent", "build"], ["deployment", "apply"]):
        done = subprocess.run([FLEET, *words, "--help"], capture_output=True, text=True, timeout=20, check=True)
        assert "\b" not in done.stdout


def test_libraries_say_nothing_past_the_door(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    del capfd

    def fail() -> None:
        logging.getLogger("asyncio").warning("returning true from eof_received() has no effect when using ssl")
        raise NotFound("nothing", next_step="look")

    monkeypatch.setattr("fleet.cli.device.cluster", fail)
    assert fleet("device", "list").err == "error: nothing\n  next: look\n"


def test_the_agent_is_quiet_about_its_streams() -> None:
    env = {**os.environ, "PYTHONIOENCODING": "ascii"}
    program = Path(sys.executable).parent / "fleet-agent"
    argv = ["bash", "-c", f"{shlex.quote(str(program))} --root /Größe run"]
    done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("fleet-agent: ")


def test_no_program_leaves_others_the_right_to_write() -> None:
    """Each program of ours tightens the umask that it was started with."""
    for program in ("fleet.cli.main", "fleet.entry", "fleet.operator.main", "fleet.callout.main"):
        code = f"import os, sys; os.umask(0); sys.argv[1:] = ['--none']\ntry:\n import {program} as p; p.main()\n"
        code += "except SystemExit: pass\nprint(oct(os.umask(0)))"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20, check=True)
        assert done.stdout.splitlines()[-1] == "0o22", program
