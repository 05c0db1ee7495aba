"""The certificates of an install: one authority, and the NATS server's certificate signed by it."""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_AUTHORITY_VALID, _SERVER_VALID = timedelta(days=3650), timedelta(days=825)
"""A server's certificate is due after a year, like every secret; this leaves more than one further year to renew it."""
RENEWED_BEFORE = timedelta(days=90)
"""Longer than `fleet server status` and the page warn ahead, and than most servers stay without an upgrade."""
_BACKDATED = timedelta(days=1)
"""A device whose clock is a little late still accepts a certificate made now."""


def new_key() -> bytes:
    """A new private key (P-256) as PEM; a secret."""
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def new_authority(key: bytes, name: str) -> bytes:
    """A certificate authority's own certificate, as PEM."""
    private = _load(key)
    subject = _name(name)
    usage = x509.KeyUsage(
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
    built = (
        _builder(subject, subject, private.public_key(), _AUTHORITY_VALID)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .sign(private, hashes.SHA256())
    )
    return built.public_bytes(serialization.Encoding.PEM)


def new_server_certificate(
    key: bytes, authority_key: bytes, authority: bytes, hosts: Sequence[str], *, client: bool = False
) -> bytes:
    """A server's certificate for names and addresses, as PEM; with `client`, also to be shown by who connects."""
    usages = [ExtendedKeyUsageOID.SERVER_AUTH, *([ExtendedKeyUsageOID.CLIENT_AUTH] if client else [])]
    issuer = x509.load_pem_x509_certificate(authority)
    signer = _load(authority_key)
    built = (
        _builder(_name(hosts[0]), issuer.subject, _load(key).public_key(), _SERVER_VALID)
        .add_extension(x509.SubjectAlternativeName([_host(host) for host in hosts]), critical=False)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        # Strict verifiers (Python 3.13) want the authority's key to be named.
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        .sign(signer, hashes.SHA256())
    )
    return built.public_bytes(serialization.Encoding.PEM)


def covers(certificate: bytes, hosts: Sequence[str]) -> bool:
    """Whether a certificate names every one of the hosts."""
    names = x509.load_pem_x509_certificate(certificate).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return {_host(host) for host in hosts} <= set(names.value)


def ends(certificate: bytes) -> datetime:
    """When a certificate is no longer valid."""
    return x509.load_pem_x509_certificate(certificate).not_valid_after_utc


def lasts(certificate: bytes) -> bool:
    """Whether a certificate is valid long enough not to need renewal."""
    return ends(certificate) - datetime.now(UTC) > RENEWED_BEFORE


def certificates_of(bundle: str) -> list[bytes]:
    """Each certificate (PEM) of a bundle.

    Raises:
        ValueError: there is none in it.
    """
    found = x509.load_pem_x509_certificates(bundle.encode())
    return [certificate.public_bytes(serialization.Encoding.PEM) for certificate in found]


def is_for(certificate: bytes, key: bytes) -> bool:
    """Whether a certificate is for this key."""
    return digest_of_certified(certificate) == public_digest(key)


def digest_of_certified(certificate: bytes) -> str:
    """The digest of the public key that a certificate is for: `public_digest` of its key."""
    return _digest(x509.load_pem_x509_certificate(certificate).public_key())


def is_signed_by(certificate: bytes, authority: bytes) -> bool:
    """Whether an authority's certificate (PEM) is the one that signed another."""
    try:
        x509.load_pem_x509_certificate(certificate).verify_directly_issued_by(x509.load_pem_x509_certificate(authority))
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True


def public_digest(key: bytes) -> str:
    """The digest of a key's public half."""
    return _digest(_load(key).public_key())


def _digest(public: PublicKeyTypes) -> str:
    form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    return hashlib.sha256(public.public_bytes(*form)).hexdigest()


def _builder(
    subject: x509.Name, issuer: x509.Name, public: ec.EllipticCurvePublicKey, valid: timedelta
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + valid)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common[:64])])


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _load(key: bytes) -> ec.EllipticCurvePrivateKey:
    loaded = serialization.load_pem_private_key(key, password=None)
    if not isinstance(loaded, ec.EllipticCurvePrivateKey):
        raise TypeError("our keys are P-256")
    return loaded
