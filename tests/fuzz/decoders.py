"""Everything of ours that reads bytes which somebody else wrote, each as one function of bytes that is called alone.

It returns, or refuses what it was given with an error of ours. Anything else that it raises is found.
"""

from __future__ import annotations

import atexit
import contextlib
import shutil
import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, cast

import httpx
import msgspec

from fleet.agent import answers
from fleet.agent.record import read_record
from fleet.agent.schema import form_of
from fleet.agent.state import Store as DeviceStore
from fleet.agent.upgrade.protocol import journal
from fleet.artifacts.trusted import newest
from fleet.artifacts.verify import open_manifest, read_manifest
from fleet.callout.claims import parse_request
from fleet.callout.keys import Keys
from fleet.callout.tokens import Tokens
from fleet.contract.buckets import APP_BUCKETS, DESIRED_INDEX, IDENTITIES
from fleet.contract.config import AgentConfig, CalloutConfig, OperatorConfig
from fleet.contract.errors import FleetError
from fleet.contract.names import AgentVersion, DeploymentName, DeviceId, Digest, TokenSubject
from fleet.contract.objects import Device, FleetDeployment
from fleet.contract.owner import parse_owners
from fleet.contract.printable import lines, one_line
from fleet.contract.release_keys import OfferedKeys
from fleet.contract.upgrade import TrustedKey, TrustedKeys
from fleet.contract.wire import decode, decode_report, encode
from fleet.identity.device_token import roles
from fleet.identity.issuer import discovered, refusal
from fleet.identity.tokens import granted
from fleet.kube.kubeconfig import read_files
from fleet.launcher import launcher
from fleet.nats.headers import Delivery, deletes, parse_headers, requester, text
from fleet.operator.objects import parse
from fleet.operator.traces import traced
from harness.errors import HarnessError
from harness.targets.cluster.description import describe

Decoder = Callable[[bytes], object]

_MEMORY = Path("/dev/shm")  # a disk that is busy makes a file for each input slow
_SCRATCH = Path(tempfile.mkdtemp(prefix="fleet-fuzz-", dir=_MEMORY if _MEMORY.is_dir() else None))
atexit.register(shutil.rmtree, _SCRATCH, ignore_errors=True)
_ISSUER = "https://id.example.org"
_TRUSTED = TrustedKeys((TrustedKey("k1", "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="),))


def _wire(kind: type[msgspec.Struct], read: Callable[[bytes, type[Any]], Any]) -> Decoder:
    def look(data: bytes) -> object:
        value = read(data, kind)
        assert decode(encode(value), kind) == value, "what was read is not read again when it is written"
        return value

    return look


def _headers(data: bytes) -> object:
    block, _, reply = data.partition(b"\x00")
    found = parse_headers(block, reply)
    return deletes(found), requester(block), text(reply)


def _traced(data: bytes) -> object:
    return [
        traced(Delivery(b"x", b"", data, 0, b"NATS/1.0\r\nContent-Encoding: %s\r\n\r\n" % how))
        for how in (b"", b"gzip", b"snappy")
    ]


def _names(data: bytes) -> object:
    for kind in (DeviceId, DeploymentName, TokenSubject, AgentVersion, Digest):
        with contextlib.suppress(FleetError):
            name = kind(text(data))
            assert str(name).isascii()
    return one_line(text(data)), lines(text(data))


def _printed(data: bytes) -> object:
    shown = one_line(
        data.decode("utf-16-le", "surrogatepass") if len(data) % 2 == 0 else data.decode("utf-8", "replace")
    )
    assert "\n" not in shown
    assert "\x1b" not in shown
    return shown


def _answer(data: bytes) -> httpx.Response:
    return httpx.Response(200, content=data)


def _engine(data: bytes) -> object:
    for kind in (
        answers.Details,
        answers.Version,
        answers.Info,
        answers.Created,
        answers.ImageDetails,
        list[msgspec.Raw],
    ):
        with contextlib.suppress(FleetError):
            answers.parse(_answer(data), cast("type[Any]", kind))
    return answers.refused("look", _answer(data))


def _issuer(data: bytes) -> object:
    refusal(_answer(data))
    roles(text(data), "1")
    with contextlib.suppress(FleetError):
        granted(data, 0.0, _ISSUER)
    return discovered(_ISSUER, _answer(data))


def done(work: Coroutine[Any, Any, object]) -> object:
    """What a coroutine returns that waits for nothing."""
    try:
        work.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("it waits")


class _NoKeys:
    changed: Callable[[], None] = lambda: None

    async def find(self, _kid: str) -> None:
        return None


_TOKENS = Tokens(cast("Keys", _NoKeys()), "1")


def _file(read: Callable[[Path], object], name: str = "file") -> Decoder:
    def look(data: bytes) -> object:
        path = _SCRATCH / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        path.chmod(0o600)
        return read(path)

    return look


class _Record(msgspec.Struct):
    attempts: int = 0
    at: float = 0
    names: tuple[str, ...] = ()


_LAUNCHED = _SCRATCH / "launched"

DECODERS: dict[str, Decoder] = {
    **{
        f"wire-{bucket.kind.__name__}": _wire(bucket.kind, decode_report if bucket.reported else decode)
        for bucket in (*APP_BUCKETS, DESIRED_INDEX, IDENTITIES)
    },
    **{f"config-{kind.__name__}": _wire(kind, decode) for kind in (AgentConfig, CalloutConfig, OperatorConfig)},
    "headers": _headers,
    "traced": _traced,
    "names": _names,
    "printed": _printed,
    "object-device": lambda data: parse(data, Device),
    "object-deployment": lambda data: parse(data, FleetDeployment),
    "engine": _engine,
    "issuer": _issuer,
    "login-question": parse_request,
    "login-token": lambda data: done(_TOKENS.verify(text(data))),
    "manifest": lambda data: open_manifest(data, _TRUSTED, 1.0),
    "manifest-unproven": read_manifest,
    "release-keys": lambda data: newest(_TRUSTED, decode(data, OfferedKeys).lists, 1.0),
    "journal": journal.parse,
    "journal-launcher": _file(
        lambda _: launcher.Device(_LAUNCHED).journal(), "launched/var/lib/fleet/agent/journal.json"
    ),
    "disk-state": _file(lambda path: DeviceStore(path).load()),
    "disk-form": form_of,
    "disk-owners": parse_owners,
    "disk-record": _file(lambda path: read_record(path, _Record)),
    "kubeconfig": _file(lambda path: read_files([path])),
    "lab": _file(lambda path: describe("staging", str(path), {})),
}
"""By name."""


def refuses(look: Decoder, data: bytes) -> None:
    """Look at bytes; what is refused in words is in order.

    Raises:
        Exception: whatever else comes of it.
    """
    with contextlib.suppress(FleetError, HarnessError):
        look(data)
