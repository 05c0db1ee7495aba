"""The fleet to try things on: what it prints can be pasted, and Ctrl-C leaves nothing."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import expect

from harness import play
from harness.probes.browser import go, press, tab
from harness.processes.spawn import terminate
from harness.wait import wait_until
from harness.world import folders

LAST_LINE = "Ctrl-C here ends the fleet and removes it."
FORWARDS = "fleet web"
SHELL = {"PATH": os.defpath, "HOME": "/nonexistent", "LANG": "C.UTF-8"}
"""What a second terminal has: nothing of ours."""


def printed_commands(text: str) -> list[str]:
    """The lines to paste, in order, without the one that holds its terminal."""
    pasted = [line.strip() for line in text.splitlines() if line.startswith("  ")]
    assert FORWARDS in pasted
    return [line for line in pasted if line != FORWARDS]


def test_what_it_prints_can_be_pasted_and_ctrl_c_leaves_nothing(tmp_path: Path) -> None:
    said, progress = tmp_path / "said", tmp_path / "progress"
    argv = [sys.executable, "-m", "harness.play", "--broken"]
    with said.open("wb") as out, progress.open("wb") as err:
        # As a shell starts what it has in the background: with SIGINT ignored.
        process = subprocess.Popen(
            ["sh", "-c", 'trap "" INT; exec "$@"', "sh", *argv],
            cwd=tmp_path,
            stdout=out,
            stderr=err,
            start_new_session=True,
        )
    try:
        wait_until(
            said.read_text,
            "the fleet is ready",
            timeout=300,
            until=lambda text: LAST_LINE in text,
            error=lambda _: f"it ended: {progress.read_text()}" if process.poll() is not None else None,
        )
        found = re.search(r"Logs: (\S+)", said.read_text())
        assert found
        root = Path(found[1]).parent
        typed = "\n".join(["set -e", *printed_commands(said.read_text()), "fleet device show pi-4"])
        done = subprocess.run(
            ["bash", "-c", typed], cwd=tmp_path, env=SHELL, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        for shown in ("pi-1 ", "pi-2 ", "pi-3 ", "the agent of pi-4 runs", "Enrolled: True"):
            assert shown in done.stdout, f"{shown!r} is not in {done.stdout}"
        find_what_is_broken(tmp_path, said.read_text())
    finally:
        process.send_signal(signal.SIGINT)
        code = process.wait(60)
    assert code == 0, progress.read_text()
    assert not root.exists()
    assert folders.members(root) == []
    assert {one.name for one in tmp_path.iterdir()} == {"said", "progress", "opened"}, (
        "only what this test wrote is left"
    )


def find_what_is_broken(folder: Path, said: str) -> None:
    """A person with a browser, who knows nothing but what was printed, finds the broken device, and what helps."""
    login = re.search(r"Sign in there as (\S+) with the password that this prints:\s+(cat .+)", said)
    assert login
    helps = "fleet device logs pi-3 --deployment thermometer"
    enter, opened = f". {play.ENTER}; ", folder / "opened"
    with opened.open("wb") as out:
        argv = ["bash", "-c", f"{enter}exec fleet web --no-browser --output json"]
        forwarding = subprocess.Popen(argv, cwd=folder, env=SHELL, stdout=out, start_new_session=True)
    try:
        printed = wait_until(opened.read_text, "the address is printed", timeout=60, until=lambda text: "}" in text)
        with tab() as page:
            go(page, json.loads(printed)["url"])
            press(page, "#by-code")
            provider = page.context.new_page()
            go(provider, page.locator("#where").get_attribute("href") or "")
            provider.get_by_label("Login name").fill(login[1])
            provider.get_by_label("Password").fill(shell(folder, login[2]).strip())
            provider.get_by_role("button", name="Allow").click()
            trouble = page.locator(".group", has_text="CrashLoop").locator(".members a", has_text="pi-3")
            trouble.click(timeout=120_000)
            expect(page.locator("main")).to_contain_text("workload thermometer")
            expect(page.locator(".command code").first).to_have_text(helps)
    finally:
        terminate(forwarding)
    assert "/dev/thermometer" in shell(folder, helps), "the log says why"


def shell(folder: Path, command: str) -> str:
    """What a command prints in a terminal that has entered the fleet."""
    argv = ["bash", "-c", f". {play.ENTER}; {command}"]
    done = subprocess.run(argv, cwd=folder, env=SHELL, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_shell_outside_is_told_to_enter(tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "harness.play", "on", "pi-4", "true"]
    done = subprocess.run(argv, cwd=tmp_path, env=SHELL, capture_output=True, text=True, check=False)
    assert (done.returncode, "make play" in done.stderr) == (1, True), done.stderr
