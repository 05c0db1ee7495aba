"""How the engine says no: an HTTP status and a message in the Docker Engine API's form."""

from __future__ import annotations


class Refused(Exception):  # noqa: N818 - an answer, as the API gives it
    """Becomes `{"message": ...}` with a status."""

    def __init__(self, status: int, message: str) -> None:
        """Keep both."""
        super().__init__(message)
        self.status = status
        self.message = message


def no_such_container(name: str) -> Refused:
    """A container that is not there."""
    return Refused(404, f"No such container: {name}")


def no_such_image(name: str) -> Refused:
    """An image that is not there."""
    return Refused(404, f"No such image: {name}")
