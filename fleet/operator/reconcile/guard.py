"""A boundary around each object: an unexpected error is reported, and the other objects are handled."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager

from fleet.operator.reconcile.actions import Kind

Trouble = Callable[[Kind, str, Exception], None]
"""Takes the kind and the name of an object, and the error that its handling ended with."""


def raised(_kind: Kind, _name: str, error: Exception) -> None:
    """A `Trouble` that raises the error again: it ends what is under way."""
    raise error


class Guard:
    """Boundaries that tell the same `trouble`, which may be replaced."""

    def __init__(self, trouble: Trouble) -> None:
        """Tell errors to `trouble`."""
        self.trouble = trouble

    @contextmanager
    def of(self, kind: Kind, name: str) -> Generator[None]:
        """Whatever is raised inside is this object's trouble."""
        try:
            yield
        except Exception as error:
            self.trouble(kind, name, error)
