"""`python -m tests.fuzz.one NAME LIBFUZZER-OPTION…`: one decoder, until libFuzzer ends the process."""

from __future__ import annotations

import sys

import atheris  # pyright: ignore[reportMissingImports]

with atheris.instrument_imports(include=["fleet", "harness.targets"]):  # pyright: ignore
    from tests.fuzz.corpus import LOOKS

if __name__ == "__main__":
    name, *arguments = sys.argv[1:]
    atheris.Setup([sys.argv[0], *arguments], LOOKS[name])  # pyright: ignore
    atheris.Fuzz()  # pyright: ignore
