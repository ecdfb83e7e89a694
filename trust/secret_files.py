"""Files that hold a secret: written once, read by their owner only."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from model.errors import SetupError

MAX_SECRET = 64 << 10


def write_secret(path: Path, data: bytes) -> None:
    """Write a file of mode 0600, never over an old one, safe on disk when this returns."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def read_secret(path: Path, what: str) -> bytes:
    """The bytes of a secret file. SetupError if it is missing, or open to anybody but its owner.

    The mode is asked of the opened file, so nothing can be exchanged in between.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe must not make us wait
    except OSError as error:
        raise SetupError(what, str(path), "a readable file", f"create or correct it ({error.strerror})") from error
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        os.close(descriptor)
        raise SetupError(what, str(path), "a plain file", "create or correct it")
    with os.fdopen(descriptor, "rb") as file:
        if found.st_mode & 0o077:
            mode = f"{path} with mode {stat.S_IMODE(found.st_mode):04o}"
            raise SetupError(what, mode, "mode 0600", f"chmod 600 {path}")
        data = file.read(MAX_SECRET + 1)
    if len(data) > MAX_SECRET:
        raise SetupError(what, f"more than {MAX_SECRET} bytes", f"at most {MAX_SECRET}", "name the right file")
    return data
