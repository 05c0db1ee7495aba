"""A range of numbers as it is written on a command line."""

from __future__ import annotations

import argparse


def numbers(text: str) -> range:
    """Numbers from 1, such as `1-12` or `7`.

    Raises:
        ArgumentTypeError: it is none.
    """
    first, _, last = text.partition("-")
    try:
        found = range(int(first), int(last or first) + 1)
    except ValueError:
        found = range(0)
    if not found or found[0] < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no range of numbers such as 1-12")
    return found
