"""Reading the files of a folder of our own: what is no plain file there is an error, and nobody waits for it.

To open a named pipe waits for its writer without end, and a device file such as `/dev/zero` has no end.
"""

from __future__ import annotations

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path


class NoPlainFileError(OSError):
    """There is something else under the name of a file."""

    def __init__(self, path: Path) -> None:
        super().__init__(errno.EINVAL, "it is no plain file", str(path))


def open_file(path: Path) -> BufferedReader:
    """Open a plain file for reading; whoever opens it closes it.

    Raises:
        NoPlainFileError: it is a pipe, a device or a folder.
        OSError: it cannot be opened.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise NoPlainFileError(path)
    return os.fdopen(handle, "rb")


def read_file(path: Path) -> bytes:
    """What a plain file holds; raises what `open_file` does."""
    with open_file(path) as file:
        return file.read()


def open_lock(path: Path) -> BufferedReader:
    """Open a file whose lock is taken, and make it where there is none; whoever opens it closes it.

    Raises:
        OSError: it cannot be opened.
    """
    # A pipe that is opened for both ways waits for nobody, and can be locked.
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "rb")
