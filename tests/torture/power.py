"""A disk that can lose its power: what was not synced is gone.

An ext4 file system in an image, mounted through a loop device. `cut` is the kernel's own way to try this, made for
xfstests (EXT4_IOC_SHUTDOWN without a flush of the journal): from that moment nothing reaches the image, every write and
sync fails, and all dirty pages are dropped at the unmount. Mounted again, the journal is played back as after a real
cut. What the device was handed before counts as kept, in order: no torn sector, no cache of a drive that lies.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import struct
import subprocess
import time
from pathlib import Path

from tests.servers.needs import missing

_EXT4_IOC_SHUTDOWN = 0x8004587D  # _IOR('X', 125, __u32), fs/ext4/ext4.h
_NO_LOG_FLUSH = 2
_SIZE_BYTES = 1 << 30  # a sparse file
_LET_GO_S = 20.0
# Sizes reach the disk before the contents, as on other file systems: so a file's lost end comes back as NUL bytes.
EARLY_SIZES = ("data=writeback", "nodelalloc", "dioread_lock")


class Disk:
    """Mounted at `folder`. Use as a context manager; nobody may have a file open there when it is cut off or ends."""

    def __init__(self, place: Path, options: tuple[str, ...] = ()) -> None:
        if os.geteuid() != 0 or shutil.which("mkfs.ext4") is None:
            missing("a disk without power", "needs root and mkfs.ext4, for a loop mount")
        self._image = place / "disk.ext4"
        self._options = ",".join(("loop", *options))
        self.folder = place / "disk"
        self.folder.mkdir()
        with self._image.open("wb") as file:
            file.truncate(_SIZE_BYTES)
        _run("mkfs.ext4", "-q", "-F", str(self._image))

    def __enter__(self) -> Disk:
        self.on()
        self.folder.chmod(0o711)
        return self

    def __exit__(self, *_: object) -> None:
        self.off()

    def on(self) -> None:
        """Mount; the journal is played back."""
        _run("mount", "-o", self._options, str(self._image), str(self.folder))

    def off(self) -> None:
        """Unmount, waiting for files to be let go."""
        deadline = time.monotonic() + _LET_GO_S
        while True:
            try:
                _run("umount", str(self.folder))
            except subprocess.CalledProcessError as error:
                if b"busy" not in error.stderr or time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
            else:
                return

    def sync(self) -> None:
        """Everything so far is on the disk."""
        _run("sync", "-f", str(self.folder))

    def cut(self) -> None:
        """The power is gone. Kill who works here, `off`, then `on`."""
        handle = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.ioctl(handle, _EXT4_IOC_SHUTDOWN, struct.pack("=I", _NO_LOG_FLUSH))
        finally:
            os.close(handle)


def _run(*line: str) -> None:
    subprocess.run(line, check=True, capture_output=True, timeout=60)
