"""The examination of a version that was laid down: it must say its own name, and find what it needs on this device."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Awaitable, Callable

from fleet.agent.upgrade.device.version_store import AGENT, VersionStore
from fleet.agent.upgrade.protocol.journal import Release
from fleet.artifacts.refusal import Refusal
from fleet.contract.errors import FleetError
from fleet.contract.upgrade import EXIT_STATE_TOO_NEW, UpgradeReason

_MAX_OUTPUT = 64 * 1024
"""Bytes that it may say; more is a fault, and is not kept."""
_SHOWN = 600
_LAST_WORDS = 2.0
"""Seconds to read what a process that was killed had said."""

SelfTest = Callable[[], Awaitable[bool]]


def environment(store: VersionStore, release: Release) -> dict[str, str]:
    """What a version is started with: its own modules as they were verified, and nothing of the one that starts it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SHIV_", "PYTHON"))}
    return {
        **kept,
        "FLEET_ROOT": str(store.root),
        "SHIV_ROOT": str(store.home(release.version)),
        "PYTHONSAFEPATH": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


async def self_test(store: VersionStore, release: Release, within: float, own: SelfTest) -> None:
    """Examine a version, for at most `within` seconds.

    Args:
        store: Where it lies.
        release: Which one.
        within: Seconds for all of it.
        own: The same examination of the agent that runs: where that fails too, the new one is not to blame.

    Raises:
        Refusal: it cannot be run, says another version, does not end, says too much, finds something missing, or
            state that is too new for it.
        FleetError: neither this version nor the one that runs would pass.
    """
    try:
        async with asyncio.timeout(within):
            code, output = await _run(store, release, "--version")
            if code != 0:
                raise _failed(release, f"`--version` ended with code {code}", output)
            if output != f"{AGENT} {release.version}\n":
                raise Refusal(
                    UpgradeReason.SELF_TEST_WRONG_VERSION,
                    f"what is published as {release.version} says that it is {output.strip()[:80]!r}",
                    next_step="build it again, under a new version",
                )
            code, output = await _run(store, release, "--self-test")
    except TimeoutError as error:
        raise Refusal(
            UpgradeReason.SELF_TEST_TIMED_OUT,
            f"the self-test of {release.version} did not end within {within:g} s",
            next_step="see what it waits for: run its --self-test on the device",
        ) from error
    if code == EXIT_STATE_TOO_NEW:
        raise Refusal(
            UpgradeReason.STATE_TOO_NEW,
            f"{release.version} does not understand what a newer agent wrote on this device: {_end_of(output)}",
            next_step="order a version that is as new",
        )
    if code != 0 and await own():
        raise _failed(release, f"it ended with code {code}", output)
    if code != 0:
        raise FleetError(
            f"the self-test fails for {release.version}, and for the agent that runs as well: {_end_of(output)}",
            next_step="mend what it names on the device, then order the version again",
        )


async def _run(store: VersionStore, release: Release, argument: str) -> tuple[int, str]:
    """Run the version's file to its end; whatever it started ends with it."""
    try:
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            str(store.artifact(release.version)),
            argument,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=environment(store, release),
            cwd=store.home(release.version),
            start_new_session=True,
            limit=_MAX_OUTPUT,
        )
    except OSError as error:
        raise Refusal(
            UpgradeReason.NOT_EXECUTABLE,
            f"{release.version} cannot be run: {error.strerror}",
            next_step="see the version's file on the device",
        ) from error
    try:
        output = await _listen(child, release)
        return await child.wait(), output.decode(errors="replace")
    finally:
        await _end(child)


async def _listen(child: asyncio.subprocess.Process, release: Release) -> bytes:
    assert child.stdout is not None
    output = b""
    while piece := await child.stdout.read(_MAX_OUTPUT):
        output += piece
        if len(output) > _MAX_OUTPUT:
            raise _failed(release, f"it said more than {_MAX_OUTPUT} bytes", output.decode(errors="replace"))
    return output


async def _end(child: asyncio.subprocess.Process) -> None:
    assert child.stdout is not None
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    # What is left in the pipe keeps it open; who has left the group may hold it for ever.
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_LAST_WORDS):
            while await child.stdout.read(_MAX_OUTPUT):
                pass
    await child.wait()


def _end_of(output: str) -> str:
    return output[-_SHOWN:].strip()


def _failed(release: Release, what: str, output: str) -> Refusal:
    shown = _end_of(output) or "(it said nothing)"
    return Refusal(
        UpgradeReason.SELF_TEST_FAILED,
        f"{release.version} failed its self-test: {what}: {shown}",
        next_step="mend it, and publish it under a new version",
    )
