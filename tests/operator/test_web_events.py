"""What the operator tells Kubernetes is handed on to the page, which may not read it there."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path
from typing import cast

import pytest

from fleet.contract.config import OperatorConfig, SecretAge
from fleet.contract.wire import decode
from fleet.kube.kubeconfig import Access
from fleet.operator import web
from fleet.operator.callouts import Callouts
from fleet.operator.kube import KubeApi, Times
from fleet.operator.readiness import Readiness
from fleet.operator.reconcile.actions import Note
from fleet.operator.web import WebProcess
from fleet.web.messages import OperatorHeartbeat, PartState, Standing
from harness.processes.spawn import python_script
from tests.operator.test_revision_summaries import Json, revision
from tests.support.tls import make_tls
from tests.support.waiting import eventually
from tests.support.web import web_page

_LISTENS = """
import os, sys
with open(os.path.join({folder!r}, "heard"), "ab", buffering=0) as heard:
    heard.write(b'{{"type": "begin", "pid": %d}}\\n' % os.getpid())
    for line in sys.stdin.buffer:
        heard.write(line)
"""
_PAUSES = """
import os, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, {{signal.SIGUSR1}})
with open(os.path.join({folder!r}, "heard"), "ab", buffering=0) as heard:
    heard.write(b'{{"type": "begin", "pid": %d}}\\n' % os.getpid())
    signal.sigwait({{signal.SIGUSR1}})
    for line in sys.stdin.buffer:
        heard.write(line)
"""
"""Reads nothing until SIGUSR1."""


AGES = (SecretAge("nats_app_pass", 1000), SecretAge("nats_tls_key", 1000, 2000))


class Api:
    """Gives out tokens."""

    async def token(self, account: str, lasts: int) -> str:
        del account, lasts
        return "token"


class Keyless:
    """Callouts that cannot decide."""

    async def state(self) -> PartState:
        return PartState(Standing.UNREADY, "the issuer's keys are not loaded")


def page_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str) -> WebProcess:
    """The operator's side, with another program in the page's place."""
    source, script = tmp_path / "page.py", tmp_path / "page"
    source.write_text(program.format(folder=str(tmp_path)))
    script.write_text(python_script(str(source)))
    script.chmod(0o755)
    monkeypatch.setattr(web.sys, "executable", str(script))
    tls = make_tls(tmp_path)
    config = OperatorConfig(
        nats_url="tls://127.0.0.1:4222",
        nats_app_pass="canary-app",
        nats_control_pass="canary-control",
        nats_system_pass="canary-system",
        ca=tls.ca,
        namespace="fleet-system",
        secret_ages=AGES,
    )
    access = Access("https://127.0.0.1")
    api, parts = cast("KubeApi", Api()), cast("Callouts", Keyless())
    return WebProcess(config, web_page(tls), lambda: access, api, Readiness("reconcile"), parts)


def tell(process: WebProcess, reason: str, message: str = "") -> None:
    process.tell("Device", "pi-1", Note("Warning", reason, message), Times(1000.0, 1060.0, 3))


def lines(tmp_path: Path) -> list[dict[str, object]]:
    """The whole lines that the page was told, and where each of its lives began."""
    file = tmp_path / "heard"
    found = file.read_bytes().splitlines(keepends=True) if file.exists() else []
    return [json.loads(line) for line in found if line.endswith(b"\n")]


def heard(tmp_path: Path, kind: str) -> list[dict[str, object]]:
    """The whole lines of a kind that the page was told."""
    return [one for one in lines(tmp_path) if one["type"] == kind]


def test_a_page_is_told_the_ages_of_secrets_and_none_of_the_operators_passwords(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = page_process(tmp_path, monkeypatch, _LISTENS)

    async def run() -> None:
        work = asyncio.create_task(process.run())
        await eventually(lambda: heard(tmp_path, "token"), "it is told a token")
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)

    asyncio.run(run())
    (start,) = heard(tmp_path, "start")
    assert start["secretAges"] == [
        {"name": "nats_app_pass", "made": 1000, "ends": 0},
        {"name": "nats_tls_key", "made": 1000, "ends": 2000},
    ]
    assert b"canary" not in (tmp_path / "heard").read_bytes()


def test_a_page_hears_what_was_told_and_a_new_one_all_of_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = page_process(tmp_path, monkeypatch, _LISTENS)

    def reasons() -> list[object]:
        return [one["reason"] for one in heard(tmp_path, "event")]

    async def run() -> None:
        tell(process, "HeartbeatMissed", "not heard since 11:58")
        work = asyncio.create_task(process.run())
        await eventually(lambda: reasons() == ["HeartbeatMissed"], "what was told before it began")
        tell(process, "HeartbeatReceived")
        await eventually(lambda: reasons() == ["HeartbeatMissed", "HeartbeatReceived"], "what is told now")
        os.kill(cast("int", heard(tmp_path, "begin")[0]["pid"]), signal.SIGKILL)
        await eventually(lambda: reasons() == 2 * ["HeartbeatMissed", "HeartbeatReceived"], "all of it again")
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)

    asyncio.run(run())
    first = heard(tmp_path, "event")[0]
    assert (first["kind"], first["name"], first["last"], first["count"]) == ("Device", "pi-1", 1060.0, 3)
    assert first["message"] == "not heard since 11:58"


def test_a_page_hears_of_revisions_and_a_new_one_of_those_that_are_kept_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = page_process(tmp_path, monkeypatch, _LISTENS)

    def kept(life: int = 1) -> dict[object, list[object]]:
        """What the page was told last of each deployment in one of its lives."""
        starts = [place for place, one in enumerate(lines(tmp_path)) if one["type"] == "begin"]
        told = lines(tmp_path)[starts[life - 1] :] if len(starts) >= life else []
        return {
            one["deployment"]: [r["number"] for r in cast("list[Json]", one["revisions"])]
            for one in told
            if one["type"] == "revisions"
        }

    async def run() -> None:
        process.tell_revisions("web", [revision(1, {"image": "web:1"})])
        work = asyncio.create_task(process.run())
        await eventually(lambda: kept() == {"web": [1]}, "what was kept before it began")
        process.tell_revisions("job", [revision(1, {"image": "job:1"})])
        process.tell_revisions("web", [revision(1, {"image": "web:1"}), revision(2, {"image": "web:2"})])
        process.tell_revisions("job", [])
        await eventually(lambda: kept() == {"web": [2, 1], "job": []}, "what is kept now")
        os.kill(cast("int", heard(tmp_path, "begin")[0]["pid"]), signal.SIGKILL)
        await eventually(lambda: kept(2) == {"web": [2, 1]}, "nothing of what is gone")
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)

    asyncio.run(run())


def test_a_page_that_does_not_read_costs_little_and_knows_what_counts_when_it_reads_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The operator does not wait for it; the newest revisions reach it, and the newest Events of ten megabytes."""
    process = page_process(tmp_path, monkeypatch, _PAUSES)
    told, most = 10_000, 4_000

    async def run() -> None:
        work = asyncio.create_task(process.run())
        await eventually(lambda: heard(tmp_path, "begin"), "it is started")
        for number in range(told):
            tell(process, "HeartbeatMissed", f"{number} {'x' * 1000}")
            process.tell_revisions("web", [revision(number + 1, {"image": "web:1"})])
            if number % 1000 == 0:
                await asyncio.sleep(0)
        os.kill(cast("int", heard(tmp_path, "begin")[0]["pid"]), signal.SIGUSR1)
        await eventually(lambda: revised()[-1:] == [told], "the newest revision")
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)

    def revised() -> list[object]:
        return [cast("list[Json]", one["revisions"])[0]["number"] for one in heard(tmp_path, "revisions")]

    asyncio.run(run())
    events = [int(str(one["message"]).split()[0]) for one in heard(tmp_path, "event")]
    assert events[-1] == told - 1
    assert events == sorted(set(events))
    assert len(events) <= most, "what was on its way when it paused, and the thousand that waited"


def test_a_page_is_told_again_and_again_that_the_operator_lives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "HEARTBEAT_INTERVAL", 0.01)
    process = page_process(tmp_path, monkeypatch, _LISTENS)

    async def run() -> None:
        work = asyncio.create_task(process.run())
        await eventually(lambda: len(heard(tmp_path, "heartbeat")) > 2, "signs of life, without anything that happens")
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)

    asyncio.run(run())
    told = decode(json.dumps(heard(tmp_path, "heartbeat")[0]).encode(), OperatorHeartbeat)
    assert told.unready == "reconcile: not yet done", "what its own health endpoint says"
    assert told.callout == PartState(Standing.UNREADY, "the issuer's keys are not loaded")
