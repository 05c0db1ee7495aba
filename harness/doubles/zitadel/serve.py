"""Serve the double, in this process: by the command line for ever, by tests on a thread with a CA of its own."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
from collections.abc import Generator, Sequence
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from harness.doubles.zitadel.app import Audit, Double, to_stderr
from harness.doubles.zitadel.store import ADMIN_LOGIN, Store, write_secret
from harness.processes.asgi import serving

DOMAINS = ("localhost", "127.0.0.1")


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
    with serving(double, files, "zitadel-double") as port:
        yield Running(issuer=f"https://{domains[0]}:{port}", port=port, ca=ca, double=double, state=state)


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
