"""Bundles of certificates (PEM), taken apart, and the ids by which all parts name a certificate."""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterable
from typing import Annotated

import msgspec

from fleet.contract.errors import InvalidInput
from fleet.contract.limits import MAX_BUNDLE
from fleet.contract.versions import digest_of

_BLOCK = re.compile(r"-----BEGIN CERTIFICATE-----\s[A-Za-z0-9+/=\s]*-----END CERTIFICATE-----")


class TrustBundle(msgspec.Struct, frozen=True, rename="camel", tag="trust"):
    """`trust-bundle` `server`: the certificates (PEM) that every device is to trust, written by the operator alone."""

    certificates: Annotated[str, msgspec.Meta(max_length=MAX_BUNDLE)]


def certificates(bundle: str) -> tuple[str, ...]:
    """The certificates of a bundle, in its order; what stands between them is a comment (RFC 7468)."""
    return tuple(f"{block}\n" for block in _BLOCK.findall(bundle))


def certificate_id(certificate: str) -> str:
    """The digest of a certificate; it tells nothing that is secret.

    Raises:
        InvalidInput: it is none.
    """
    try:
        return digest_of(ssl.PEM_cert_to_DER_cert(certificate.strip()))
    except ValueError as error:
        raise InvalidInput(f"not a PEM certificate: {error}", next_step="give the file as it was made") from error


def certificate_ids(bundle: str) -> tuple[str, ...]:
    """The ids of the certificates of a bundle, in its order.

    Raises:
        InvalidInput: one is damaged.
    """
    return tuple(certificate_id(certificate) for certificate in certificates(bundle))


def ends_of(bundle: str) -> dict[str, float]:
    """When the authorities of a bundle end, in Unix seconds, by their ids.

    Raises:
        ssl.SSLError: it holds no certificate.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=bundle)
    pairs = zip(context.get_ca_certs(binary_form=True), context.get_ca_certs(), strict=True)
    return {digest_of(data): ssl.cert_time_to_seconds(str(fields["notAfter"])) for data, fields in pairs}


def joined(several: Iterable[str]) -> str:
    """A bundle of certificates, in an order that does not tell which one is in use."""
    return "".join(sorted(set(several)))
