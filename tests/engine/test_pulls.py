"""What a registry answers, and what the engine makes of it, becomes one reason that a person can act on."""

from __future__ import annotations

import pytest

from fleet.agent.answers import pull_reason
from fleet.contract.wire import Reason


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (
            "unable to retrieve auth token: invalid username/password",
            Reason.REGISTRY_REFUSED,
        ),
        (
            "reading manifest 1 in r/app: unauthorized: authentication required",
            Reason.REGISTRY_REFUSED,
        ),
        ("reading manifest 1 in r/app: manifest unknown", Reason.IMAGE_NOT_FOUND),
        (
            "reading manifest 1 in docker.io/library/app: toomanyrequests: You have reached your pull rate limit",
            Reason.REGISTRY_BUSY,
        ),
        (
            "reading manifest 1 in r/app: received unexpected HTTP status: 500 Internal Server Error",
            Reason.REGISTRY_UNAVAILABLE,
        ),
        ("pull access denied for app, repository does not exist or may require 'docker login'", Reason.IMAGE_NOT_FOUND),
        ("no matching manifest for linux/arm64/v8 in the manifest list entries", Reason.WRONG_PLATFORM),
        (
            "no image found in manifest list for architecture arm64",
            Reason.WRONG_PLATFORM,
        ),
        ('writing blob: storing blob to file "/var/tmp/storage1": write: no space left on device', Reason.DISK_FULL),
        ("Get https://r/v2/: dial tcp: lookup r: no such host", Reason.IMAGE_NOT_FOUND),
        ("filesystem layer verification failed for digest sha256:ab", Reason.REGISTRY_UNAVAILABLE),
        ("unexpected EOF", Reason.REGISTRY_UNAVAILABLE),
        ('Get "https://r/v2/": x509: certificate signed by unknown authority', Reason.REGISTRY_UNAVAILABLE),
        ('Get "https://r/v2/": remote error: tls: handshake failure', Reason.REGISTRY_UNAVAILABLE),
        ("happened during read: Digest did not match, expected sha256:1, got sha256:2", Reason.REGISTRY_UNAVAILABLE),
        ("expected HTTP 206 from byte range request", Reason.REGISTRY_UNAVAILABLE),
        ("read tcp 127.0.0.1:5->127.0.0.1:6: read: connection reset by peer", Reason.REGISTRY_UNAVAILABLE),
        ("dial tcp 127.0.0.1:443: connect: connection refused", Reason.REGISTRY_UNAVAILABLE),
        ("dial tcp: lookup r on 127.0.0.1:53: read: connection refused", Reason.IMAGE_NOT_FOUND),
        ('Head "https://r/v2/auth/eof/manifests/1": dial tcp: lookup r: no such host', Reason.IMAGE_NOT_FOUND),
        (
            "initializing source docker://r/auth/eof:1: reading manifest 1 in r/auth/eof: not found",
            Reason.IMAGE_NOT_FOUND,
        ),
    ],
)
def test_engines_words(words: str, reason: Reason) -> None:
    """podman's of 4.3 and docker's of 20.10 and 28; the name of an image may hold any word."""
    assert pull_reason("r/auth/eof:1", words) is reason
