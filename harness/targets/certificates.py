"""Certificates of a local world: one authority, and a server certificate for each of its servers."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path

import trustme
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from harness.processes.spec import write_atomic

_LIFETIME = datetime.timedelta(days=7)
"""Longer than any kept world."""


class Authority:
    """A certificate authority in a folder: `ca.crt`, and what `issue` adds."""

    def __init__(self, folder: Path) -> None:
        """Make a new key and certificate."""
        self._folder = folder
        self._ca = trustme.CA(organization_name="fleet test world")
        self.certificate = folder / "ca.crt"
        write_atomic(self.certificate, self._ca.cert_pem.bytes())

    def issue(
        self, name: str, *, hosts: Sequence[str] = ("localhost", "127.0.0.1"), client_of: str = ""
    ) -> tuple[Path, Path]:
        """A certificate and its key: paths of PEM files.

        Args:
            name: Of the files, and the certificate's common name.
            hosts: What a server is called: host names and addresses.
            client_of: The organization of a client.
        """
        until = datetime.datetime.now(datetime.UTC) + _LIFETIME
        issued = self._ca.issue_cert(*hosts, common_name=name, organization_name=client_of or None, not_after=until)
        certificate, key = self._folder / f"{name}.crt", self._folder / f"{name}.key"
        write_atomic(certificate, issued.cert_chain_pems[0].bytes())
        write_atomic(key, issued.private_key_pem.bytes())
        return certificate, key


def token_keys(folder: Path) -> tuple[Path, Path]:
    """A key pair for ServiceAccount tokens: private (SEC 1, as the API server wants it) and public PEM files."""
    key = ec.generate_private_key(ec.SECP256R1())
    private, public = folder / "service-accounts.key", folder / "service-accounts.pub"
    sec1 = serialization.PrivateFormat.TraditionalOpenSSL
    spki = serialization.PublicFormat.SubjectPublicKeyInfo
    write_atomic(private, key.private_bytes(serialization.Encoding.PEM, sec1, serialization.NoEncryption()))
    write_atomic(public, key.public_key().public_bytes(serialization.Encoding.PEM, spki))
    return private, public
