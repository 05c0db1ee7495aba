"""Problems, each planted alone: each is found, and named with its next step."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, Literal, cast

import msgspec
import pytest
import trustme

from fleet.contract.errors import FleetError
from fleet.contract.objects import Condition, Device, DeviceStatus, Metadata, ServerInfo
from fleet.doctor import cluster
from fleet.doctor import nats as doctor_nats
from fleet.doctor.findings import State, found
from fleet.doctor.identity import check_discovery, check_keys
from fleet.doctor.nats import check_nats
from fleet.topology.capabilities import ServiceStatus
from harness.processes.ports import free_port
from tests.support.issuer import Issuer
from tests.support.tls import Tls

GREETING = b'INFO {"tls_required":true}\r\n'
AUTHORITY = trustme.CA()
CA = AUTHORITY.cert_pem.bytes().decode()


@contextmanager
def answering(certificate: trustme.LeafCert, greeting: bytes = GREETING, *, tls: bool = True) -> Generator[int]:
    """A server that greets and speaks TLS, or does not; its port."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate.configure_cert(context)
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        try:
            connection, _ = listener.accept()
            connection.settimeout(5)
            connection.sendall(greeting)
            if tls:
                with context.wrap_socket(connection, server_side=True) as secured:
                    secured.recv(1)
            connection.close()
        except OSError:
            """The client went away, as it should where it does not trust us."""

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.close()
        thread.join(10)


def days(number: float) -> datetime:
    return datetime.now(UTC) + timedelta(days=number)


def nats(certificate: trustme.LeafCert, greeting: bytes = GREETING, *, tls: bool = True) -> tuple[State, str, str]:
    with answering(certificate, greeting, tls=tls) as port:
        one = found("nats", lambda: check_nats(f"tls://localhost:{port}", CA, time.time()))
    return one.state, one.says, one.next


def test_a_nats_that_is_well() -> None:
    state, says, step = nats(AUTHORITY.issue_cert("localhost", not_after=days(90)))
    assert (state, step) == (State.OK, "")
    assert "its certificate is good until" in says


PLANTED: dict[str, tuple[Callable[[], tuple[State, str, str]], State, str]] = {
    "expired": (
        lambda: nats(AUTHORITY.issue_cert("localhost", not_before=days(-9), not_after=days(-1))),
        State.FAILED,
        "has ended",
    ),
    "not yet": (
        lambda: nats(AUTHORITY.issue_cert("localhost", not_before=days(1), not_after=days(9))),
        State.FAILED,
        "has not begun",
    ),
    "ends soon": (lambda: nats(AUTHORITY.issue_cert("localhost", not_after=days(9))), State.WARNING, "ends on"),
    "another name": (lambda: nats(AUTHORITY.issue_cert("nats.example.org")), State.FAILED, "for another name"),
    "another authority": (lambda: nats(trustme.CA().issue_cert("localhost")), State.FAILED, "signed by somebody else"),
    "another program": (
        lambda: nats(AUTHORITY.issue_cert("localhost"), b"HTTP/1.1 400 Bad Request\r\n"),
        State.FAILED,
        "is no NATS server",
    ),
    "no TLS": (lambda: nats(AUTHORITY.issue_cert("localhost"), tls=False), State.FAILED, "does not speak TLS"),
}


@pytest.mark.parametrize("name", PLANTED)
def test_what_is_wrong_with_nats_is_named(name: str) -> None:
    plant, wanted, words = PLANTED[name]
    state, says, step = plant()
    assert state is wanted, says
    assert words in says
    assert step


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("nobody.invalid", "nobody.invalid does not resolve"),
        ("127.0.0.1", "nothing answers at 127.0.0.1"),
    ],
)
def test_a_name_and_a_port_that_are_not_there(host: str, words: str) -> None:
    with pytest.raises(FleetError, match=words) as error:
        check_nats(f"tls://{host}:{free_port()}", CA, time.time())
    assert "Errno" not in error.value.what, "a number of the kernel's is no word"


def test_a_greeting_that_comes_letter_by_letter_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow:
        """What answers a letter at each look, and takes its time."""

        def recv(self, _size: int) -> bytes:
            clock[0] += 1
            return b"I"

    clock = [0.0]
    monkeypatch.setattr(doctor_nats.time, "monotonic", lambda: clock[0])
    with pytest.raises(FleetError, match="is no NATS server"):
        doctor_nats._await_greeting(cast("socket.socket", Slow()), "tls://slow")  # pyright: ignore[reportPrivateUsage]
    assert clock[0] < 10


class Provider(Issuer):
    """An issuer with the endpoint that devices ask."""

    def answer(self, path: str) -> dict[str, Any]:
        found = super().answer(path)
        return found if "keys" in found else {**found, "token_endpoint": f"{self.url}/oauth/v2/token"}


@pytest.fixture
def issuer(tls: Tls) -> Iterator[Provider]:
    made = Provider(tls)
    yield made
    made.stop()


def test_a_provider_that_is_well(issuer: Provider, tls: Tls) -> None:
    assert "its clock is ours" in check_discovery(issuer.url, tls.ca)
    assert check_keys(issuer.url, tls.ca) == f"1 keys at {issuer.url}/oauth/v2/keys"


def test_a_provider_that_calls_itself_otherwise(issuer: Provider, tls: Tls) -> None:
    issuer.name = "https://other.example.org"
    with pytest.raises(FleetError, match="calls itself https://other"):
        check_discovery(issuer.url, tls.ca)


def test_a_provider_without_keys(issuer: Provider, tls: Tls) -> None:
    issuer.keys = []
    with pytest.raises(FleetError, match="holds no key"):
        check_keys(issuer.url, tls.ca)


def test_a_provider_that_is_ill(issuer: Provider, tls: Tls) -> None:
    issuer.status = 503
    with pytest.raises(FleetError, match="503"):
        check_discovery(issuer.url, tls.ca)


def test_a_provider_of_another_authority(issuer: Provider) -> None:
    with pytest.raises(FleetError, match="not signed by the CA"):
        check_discovery(issuer.url, CA)


def test_a_clock_that_is_wrong(issuer: Provider, tls: Tls, monkeypatch: pytest.MonkeyPatch) -> None:
    real = time.time
    monkeypatch.setattr("fleet.doctor.identity.time", SimpleNamespace(time=lambda: real() + 7200))
    with pytest.raises(FleetError, match="this machine's clock"):
        check_discovery(issuer.url, tls.ca)


def test_a_server_of_another_release() -> None:
    server = ServerInfo("https://id", "1", "2", "tls://n:1", "", "v0.0.1")
    one = found("release", lambda: cluster.check_release(server))
    assert (one.state, "v0.0.1" in one.says) == (State.WARNING, True)


def test_a_check_that_fails_itself_is_a_finding_and_ends_no_other() -> None:
    def broken() -> str:
        raise ImportError("Using SOCKS proxy, but the 'socksio' package is not installed")

    one = found("registries", broken)
    assert (one.state, one.next) == (State.FAILED, "report it")
    assert one.says.startswith("the check itself failed: Using SOCKS proxy")


def test_a_part_that_is_not_ready() -> None:
    parts = [ServiceStatus("nats", ready=True), ServiceStatus("callout", ready=False, why="no keys of the issuer")]
    with pytest.raises(FleetError, match="callout: no keys of the issuer"):
        cluster.check_parts(parts)
    with pytest.raises(FleetError, match="no part of the server"):
        cluster.check_parts([])


@pytest.mark.parametrize(
    ("kind", "status", "reason"),
    [
        ("Online", "False", "HeartbeatMissed"),
        ("Online", "Unknown", "NatsSilent"),
        ("Enrolled", "False", "SubjectTaken"),
        ("Quarantined", "True", "Flooding"),
        ("DuplicateIdentity", "True", "TwoDevicesBeat"),
        ("ClockDiffers", "True", "ClockWrong"),
    ],
)
def test_a_device_in_trouble(kind: str, status: Literal["True", "False", "Unknown"], reason: str) -> None:
    well = Device(
        Metadata("pi-1", "fleet"), status=DeviceStatus(conditions=(Condition("Online", "True", "x", "", ""),))
    )
    ill = DeviceStatus(conditions=(Condition(kind, status, reason, "", ""),))
    with pytest.raises(FleetError, match=f"1 of 2 devices: pi-2 {reason}"):
        cluster.check_devices([well, msgspec.structs.replace(well, metadata=Metadata("pi-2", "fleet"), status=ill)])
    assert cluster.check_devices([well]) == "1 devices, all online"
