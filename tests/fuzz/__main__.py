"""`python -m tests.fuzz --inputs 10000000`: every decoder under inputs that a fuzzer makes from what they cover.

Each runs in a process of its own, for the same number of inputs. It needs atheris (`pip install atheris`), which
nothing else does. What it finds is kept in `--findings`, as the input that does it; put that into
`tests/fuzz/cases/NAME`, where a test plays it from then on.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.fuzz.corpus import LOOKS, seeds

_LONGEST = 4096
"""Bytes of an input."""
_COUNT = re.compile(rb"^Done (\d+) runs|^#(\d+)\s", re.MULTILINE)


def main(argv: list[str]) -> int:
    """Fuzz what is asked for; the exit code is 1 when something was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Fuzz what reads foreign bytes.")
    parser.add_argument("--inputs", type=int, default=100_000, help="for all together")
    parser.add_argument("--only", action="append", choices=sorted(LOOKS), help="one; may be repeated")
    parser.add_argument("--seed", type=int, default=1, help="the same seed makes the same inputs")
    parser.add_argument("--findings", type=Path, default=Path(tempfile.gettempdir()) / "fleet-findings")
    options = parser.parse_args(argv)
    options.findings.mkdir(parents=True, exist_ok=True)
    wanted: list[str] = options.only or sorted(LOOKS)
    total, found = 0, list[str]()
    for name in wanted:
        tried, good = _run(name, max(1, options.inputs // len(wanted)), options.seed, options.findings)
        total += tried
        found += [] if good else [name]
        sys.stdout.write(f"{name}: {tried:,} inputs{'' if good else ', and it found something'}\n")
        sys.stdout.flush()
    sys.stdout.write(f"{total:,} inputs; found something in {len(found)} of {len(wanted)}: {' '.join(found) or '-'}\n")
    return 1 if found else 0


def _run(name: str, inputs: int, seed: int, findings: Path) -> tuple[int, bool]:
    """How many inputs one decoder was given, and whether it stood all of them."""
    with tempfile.TemporaryDirectory() as folder:
        for number, data in enumerate(seeds(name)):
            (Path(folder) / f"seed-{number}").write_bytes(data)
        limits = [f"-runs={inputs}", f"-seed={seed}", f"-max_len={_LONGEST}", "-timeout=10", "-rss_limit_mb=2048"]
        argv = [sys.executable, "-m", "tests.fuzz.one", name, *limits, f"-artifact_prefix={findings}/{name}-", folder]
        ended = subprocess.run(argv, capture_output=True, check=False)
    counts = [int(done or seen) for done, seen in _COUNT.findall(ended.stderr)]
    if ended.returncode != 0:
        (findings / f"{name}.log").write_bytes(ended.stdout + ended.stderr)
    return max(counts, default=0), ended.returncode == 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
