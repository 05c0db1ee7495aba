"""Certificates of a local world: one authority, and a server certificate for each of its servers."""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from harness.parts import write_atomic

_LIFETIME = datetime.timedelta(days=7)
"""Longer than any kept world."""


class Authority:
    """A certificate authority in a folder: `ca.crt`, and what `issue` adds."""

    def __init__(self, folder: Path) -> None:
        """Make a new key and certificate."""
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name("fleet test world")
        self.certificate = folder / "ca.crt"
        built = (
            _builder(self._name, self._name, self._key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_USE_SIGN, critical=True)
            .sign(self._key, hashes.SHA256())
        )
        write_atomic(self.certificate, built.public_bytes(serialization.Encoding.PEM))

    def issue(
        self, name: str, *, hosts: Sequence[str] = ("localhost", "127.0.0.1"), client_of: str = ""
    ) -> tuple[Path, Path]:
        """A certificate and its key: paths of PEM files.

        Args:
            name: Of the files, and the certificate's common name.
            hosts: What a server is called: host names and addresses.
            client_of: The organization of a client; its certificate is none of a server.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        usage = ExtendedKeyUsageOID.CLIENT_AUTH if client_of else ExtendedKeyUsageOID.SERVER_AUTH
        built = (
            _builder(_name(name, client_of), self._name, key)
            .add_extension(x509.SubjectAlternativeName([_host(host) for host in hosts]), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        certificate = self._folder / f"{name}.crt"
        write_atomic(certificate, built.public_bytes(serialization.Encoding.PEM))
        return certificate, write_key(self._folder / f"{name}.key", key)


def write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> Path:
    """A private key as PEM, in the form of its algorithm (SEC 1), which the API server wants for token signing."""
    data = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    write_atomic(path, data)
    return path


def token_keys(folder: Path) -> tuple[Path, Path]:
    """A key pair for ServiceAccount tokens: private and public PEM files."""
    key = ec.generate_private_key(ec.SECP256R1())
    public = folder / "service-accounts.pub"
    write_atomic(
        public,
        key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo),
    )
    return write_key(folder / "service-accounts.key", key), public


_USE_SIGN = x509.KeyUsage(
    digital_signature=True,
    key_cert_sign=True,
    crl_sign=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    encipher_only=False,
    decipher_only=False,
)


def _name(common: str, organization: str = "") -> x509.Name:
    of = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization)] if organization else []
    return x509.Name([*of, x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _host(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + _LIFETIME)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
