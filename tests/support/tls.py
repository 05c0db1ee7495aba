"""A certificate authority and a server certificate for 127.0.0.1 and localhost."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import trustme


@dataclass(frozen=True)
class Tls:
    ca: str
    cert_file: Path
    key_file: Path


def make_tls(folder: Path) -> Tls:
    authority = trustme.CA()
    server = authority.issue_cert("localhost", "127.0.0.1", common_name="test server")
    cert_file, key_file = folder / "tls.crt", folder / "tls.key"
    server.cert_chain_pems[0].write_to_path(cert_file)
    server.private_key_pem.write_to_path(key_file)
    return Tls(authority.cert_pem.bytes().decode(), cert_file, key_file)
