"""What a stolen device says to whoever reads its log, or another's: lies in every field, and answers without end."""

from __future__ import annotations

import asyncio
import json
import re
import time

from fleet.contract.buckets import DEVICE_HEARTBEAT
from fleet.contract.logs import MAX_LINE, heard_subject, log_subject
from fleet.contract.names import DeviceId
from harness.devices.hostile import lies
from harness.devices.hostile.attack import listing
from harness.devices.hostile.thief import Thief, subject

READERS, attack = listing()

FORGED = "forged by a thief"
"""What no log of another device says."""
_SECONDS = 6.0
_PAUSE = 0.1
_SESSION = re.compile(rb'"session":"([A-Za-z0-9_-]{8,64})"')
_SID = 77


@attack
async def log_answers(thief: Thief) -> None:
    """Hang, flood or mislead whoever reads the log of this device, and answer for another."""
    device = thief.config.device_id
    line, until, number = await thief.line(), time.monotonic() + _SECONDS, 0
    await line.say(f"SUB {heard_subject(device)} {_SID}\r\n".encode())
    await thief.put(log_subject(DeviceId(thief.victim().decode())).encode(), _piece("a-session", 1, [FORGED]))
    while time.monotonic() < until:
        number += 1
        if number % 10 == 1:  # nobody asks a device that is offline
            await thief.put(subject(DEVICE_HEARTBEAT, thief.me), lies.heartbeat(thief.chance, honest=True))
        for session in {match.decode() for match in _SESSION.findall(line.heard)}:
            await thief.put(log_subject(device).encode(), _lie(thief, session, number))
        await asyncio.sleep(_PAUSE)
    await (await thief.line()).say(f"UNSUB {_SID}\r\n".encode())


def _lie(thief: Thief, session: str, number: int) -> bytes:
    return thief.chance.choice(
        (
            _piece(session, number),
            _piece(session, number, [FORGED, "\x1b[2J\x1b]0;x\x07", "two\nlines", "\u202e"]),
            _piece(session, number, ["x" * MAX_LINE] * 12),
            _piece(session, 2**53 - 1),
            _piece(session, 1, [FORGED]),
            _piece(session, number, dropped=2**53 - 1, skipped=True),
            _piece(session, number, ended=True, failed=True, message="\x1b[31m" + FORGED),
            _piece(session, -1, [7], dropped="many"),
            _piece("another-session", number, [FORGED]),
            b'{"type":"log","session":"' + session.encode() + b'","number":' + b"9" * 4300 + b"}",
            b"\xff\xfe",
        )
    )


def _piece(session: str, number: int, lines: object = (), **more: object) -> bytes:
    return json.dumps({"type": "log", "session": session, "number": number, "lines": lines} | more).encode()
