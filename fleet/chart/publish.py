"""The chart in an OCI registry, put there by `helm`, whose logins and trust are the admin's own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from fleet.chart.files import CHART_VERSION, NAME, package
from fleet.contract.errors import FleetError, InvalidInput, NotFound

_SCHEME = "oci://"
_LIMIT = 300.0
"""Seconds: the chart is small, so a registry that takes longer does not answer."""


def parse_repository(text: str) -> str:
    """Where charts go, without the chart's own name: `oci://registry.example.org/charts`.

    Raises:
        InvalidInput: it is no such reference.
    """
    if re.fullmatch(r"oci://[^\s/]+(/[a-z0-9._/-]*[a-z0-9])?", text) is None:
        raise InvalidInput(
            f"{text!r} is no OCI repository", next_step="for example oci://registry.example.org/charts, without a tag"
        )
    return text


def publish(repository: str, *, plain_http: bool) -> tuple[str, str]:
    """Push the chart; returns its reference and its digest.

    Raises:
        NotFound: there is no helm.
        FleetError: the registry did not take it; the message holds what helm said.
    """
    helm = shutil.which("helm")
    if helm is None:
        raise NotFound("no helm on the PATH", next_step="install helm 3.8 or newer")
    with tempfile.TemporaryDirectory() as folder:
        chart = Path(folder) / f"{NAME}-{CHART_VERSION}.tgz"
        chart.write_bytes(package())
        os.utime(chart, (0, 0))  # helm writes it into the manifest, and equal charts have one digest
        output = _run([helm, "push", str(chart), repository, *(["--plain-http"] if plain_http else [])])
    digest = re.search(r"sha256:[0-9a-f]{64}", output)
    return f"{repository}/{NAME}:{CHART_VERSION}", digest.group() if digest else ""


def _run(argv: Sequence[str]) -> str:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=_LIMIT, check=False)
    except subprocess.TimeoutExpired as error:
        raise FleetError(f"helm has not pushed in {_LIMIT:.0f} s", next_step="does the registry answer?") from error
    if done.returncode != 0:
        raise FleetError(
            f"helm could not push the chart: {done.stderr.strip()}",
            next_step="check the address and `helm registry login`; a registry without TLS needs --plain-http",
        )
    return done.stdout + done.stderr
