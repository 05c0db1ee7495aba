"""The chart as files, and as the one file that registries keep."""

from __future__ import annotations

import gzip
import io
import re
import tarfile
from pathlib import Path

from fleet.version import VERSION

NAME = "fleet"
CHART_VERSION = VERSION.removeprefix("v")
"""Charts have semantic versions without our "v"."""
FOLDER = Path(__file__).parent / NAME


def chart_files() -> dict[str, str]:
    """Every file of the chart by its path in the chart's folder; `Chart.yaml` names the version of this release."""
    names = sorted(str(path.relative_to(FOLDER)) for path in FOLDER.rglob("*") if path.is_file())
    found = {name: (FOLDER / name).read_text(encoding="utf-8") for name in names}
    about = re.sub(r"(?m)^version: .*$", f"version: {CHART_VERSION}", found["Chart.yaml"])
    return {**found, "Chart.yaml": re.sub(r"(?m)^appVersion: .*$", f"appVersion: {VERSION}", about)}


def package() -> bytes:
    """The chart as registries keep it: the same bytes every time."""
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for path, text in chart_files().items():
            entry = tarfile.TarInfo(f"{NAME}/{path}")
            content = text.encode()
            entry.size, entry.mode = len(content), 0o644
            archive.addfile(entry, io.BytesIO(content))
    return gzip.compress(tar.getvalue(), mtime=0)
