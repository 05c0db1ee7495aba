"""Serve the double, in this process: by the command line for ever, by tests on a thread with a CA of its own."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import socket
import ssl
import threading
from collections.abc import Generator, Sequence
from pathlib import Path

import msgspec
import uvicorn
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from harness.doubles.zitadel.app import Audit, Double, to_stderr
from harness.doubles.zitadel.store import ADMIN_LOGIN, Store, write_secret
from harness.errors import HarnessError, Misused, PortTaken
from harness.wait import wait_until

DOMAINS = ("localhost", "127.0.0.1")


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one.

    Raises:
        PortTaken: somebody else listens there.
        Misused: the address is not one of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named, asyncio turns Nagle's algorithm off, which costs 40 ms per answer.
    taken = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        taken.bind((host, port))
        # Listening at once: whoever connects before the server accepts is queued, not refused.
        taken.listen(2048)
    except OSError as error:
        taken.close()
        if error.errno == 98:
            raise PortTaken(f"{host}:{port} is taken", next_step="end the other process, or give --port 0") from error
        raise Misused(f"cannot listen on {host}:{port}: {error.strerror}", next_step="give another --host") from error
    return taken


def server(double: Double, certificate: tuple[Path, Path] | None) -> uvicorn.Server:
    """An HTTP server for the double; with certificate and key files, an HTTPS one.

    Raises:
        HarnessError: certificate and key are unreadable, or do not belong together.
    """
    config = uvicorn.Config(
        double,
        http="h11",
        ws="none",
        lifespan="off",
        log_level="warning",
        access_log=False,
        # The double's clock may be off, and its answers tell so themselves.
        date_header=False,
        server_header=False,
        timeout_graceful_shutdown=1,
        ssl_certfile=certificate[0] if certificate else None,
        ssl_keyfile=certificate[1] if certificate else None,
    )
    try:
        config.load()
    except (OSError, ssl.SSLError) as error:
        raise HarnessError(f"cannot use the TLS files: {error}", next_step="check --tls-cert and --tls-key") from error
    return uvicorn.Server(config)


class Running(msgspec.Struct, frozen=True):
    """A double that serves in this process. `ca` is PEM; `double.modes` may be assigned."""

    issuer: str
    port: int
    ca: str
    double: Double
    state: Path

    def issuer_at(self, domain: str) -> str:
        """The issuer of another of its domains."""
        return f"https://{domain}:{self.port}"

    def admin_token_file(self, domain: str = DOMAINS[0]) -> Path:
        """The machine administrator's token."""
        return self.double.store.files[domain].token

    def admin_password(self, domain: str = DOMAINS[0]) -> tuple[str, str]:
        """The human administrator's login name and password."""
        return ADMIN_LOGIN.format(domain=domain), self.double.store.files[domain].password.read_text().strip()


@contextlib.contextmanager
def running(
    state: Path,
    *,
    domains: Sequence[str] = DOMAINS,
    audit: Audit = to_stderr,
    made: datetime.datetime | None = None,
) -> Generator[Running]:
    """The double on a thread of this process, with HTTPS by a CA made for it; ended after the `with`.

    `made` is when its certificates claim to have been made: now, unless told otherwise.
    """
    ca, certificate, key = make_certificate(domains, made)
    files = (state / "tls.crt", state / "tls.key")
    for path, text in zip(files, (certificate, key), strict=True):
        write_secret(path, text.encode())
    double = Double(Store(state, domains), audit)
    serving, taken = server(double, files), listen("127.0.0.1", 0)
    thread = threading.Thread(target=serving.run, args=([taken],), name="zitadel-double", daemon=True)
    thread.start()
    try:
        wait_until(lambda: serving.started, "the Zitadel double serves", timeout=10, interval=0.005)
        port = taken.getsockname()[1]
        yield Running(issuer=f"https://{domains[0]}:{port}", port=port, ca=ca, double=double, state=state)
    finally:
        serving.should_exit = True
        thread.join(10)
        taken.close()


def make_certificate(domains: Sequence[str], made: datetime.datetime | None = None) -> tuple[str, str, str]:
    """A throw-away CA, and a certificate and key that it signed for the domains, as PEM; good for 30 days."""
    made = made or datetime.datetime.now(datetime.UTC)
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Zitadel double CA")])
    ca = (
        _builder(ca_name, ca_name, ca_key, made)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_ca_usage(), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, domains[0])])
    leaf = (
        _builder(name, ca_name, key, made)
        .add_extension(x509.SubjectAlternativeName([_san(domain) for domain in domains]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    pem = serialization.Encoding.PEM
    return ca.public_bytes(pem).decode(), leaf.public_bytes(pem).decode(), private.decode()


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, made: datetime.datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(made - datetime.timedelta(days=1))
        .not_valid_after(made + datetime.timedelta(days=30))
    )


def _ca_usage() -> x509.KeyUsage:
    names = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
    others = ("encipher_only", "decipher_only")
    return x509.KeyUsage(**dict.fromkeys((*names, *others), False), key_cert_sign=True, crl_sign=True)


def _san(domain: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(domain))
    except ValueError:
        return x509.DNSName(domain)
