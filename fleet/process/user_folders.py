"""Where a person's files belong (XDG Base Directory Specification 0.8): a relative path in a variable is ignored."""

from __future__ import annotations

import os
from pathlib import Path


def user_config() -> Path:
    """`$XDG_CONFIG_HOME`, or `~/.config`."""
    return _named("XDG_CONFIG_HOME", ".config")


def user_cache() -> Path:
    """`$XDG_CACHE_HOME`, or `~/.cache`."""
    return _named("XDG_CACHE_HOME", ".cache")


def _named(variable: str, default: str) -> Path:
    named = Path(os.environ.get(variable, ""))
    return named if named.is_absolute() else Path.home() / default
