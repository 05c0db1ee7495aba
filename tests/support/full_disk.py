"""A disk that is full, as the kernel plays it: no file of this process may grow beyond a limit."""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Generator


@contextlib.contextmanager
def full_after(size: int) -> Generator[None]:
    """Writes beyond `size` bytes of a file fail ("File too large"); what was written before them stays."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
