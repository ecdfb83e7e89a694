"""As whom an embedded server runs, and the folders that belong to it.

PostgreSQL refuses user id 0. Started by root, a server therefore runs as `nobody` and owns only its data and its socket
folder; where a parent folder is closed to others (a checkout below /root), it keeps the own id and shows another one
inside a user namespace. Started by anybody else, it runs as that person.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

from host.child import command
from model.errors import SetupError

_NOBODY = 65534
_SOCKET_PATH_BYTES = 107  # sun_path of unix(7) is 108 bytes with its closing NUL


@dataclass(frozen=True)
class Account:
    """`owner`: user id of the files. `peer`: name of the connecting user as the server sees it."""

    owner: int
    peer: str
    user: int | None = None
    mapped: int | None = None

    def command(self, program: list[str], at_end: str) -> list[str]:
        """Command line that runs `program` under this account, tied to the life of the calling thread."""
        return command(program, at_end=at_end, user=self.user, mapped=self.mapped)


def account_for(*paths: Path) -> Account:
    """The account of a server that must reach `paths` (programs and folders)."""
    own = os.geteuid()
    if own != 0:
        return Account(own, pwd.getpwuid(own).pw_name)
    if all(_open_to_others(path.resolve()) for path in paths):
        return Account(_NOBODY, "root", user=_NOBODY)
    return Account(0, pwd.getpwuid(_NOBODY).pw_name, mapped=_NOBODY)


def _open_to_others(path: Path) -> bool:
    parents = all(parent.stat().st_mode & stat.S_IXOTH for parent in path.parents)
    wanted = stat.S_IROTH | stat.S_IXOTH
    return parents and (not path.is_file() or path.stat().st_mode & wanted == wanted)


def private_folder(path: Path, account: Account) -> Path:
    """Folder of mode 0700 that belongs, with all that is in it, to the account; made if absent."""
    path.mkdir(mode=0o700, exist_ok=True)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode):
        raise SetupError("folder of a server", str(path), "a folder, no file and no link", "move it away")
    if os.geteuid() == 0 and found.st_uid != account.owner:
        for parent, folders, files in os.walk(path):
            for name in (parent, *folders, *files):
                os.lchown(Path(parent) / name, account.owner, account.owner)
    elif found.st_uid not in (account.owner, os.geteuid()):
        raise SetupError("owner of the folder", f"{path}: {found.st_uid}", account.owner, "choose another data folder")
    path.chmod(0o700)
    return path


def socket_path(folder: Path, name: str) -> Path:
    """Where the socket `name` of the server in `folder` lies: in `folder`/run, or for a too long path below the
    temporary folder, under a name that follows from `folder`. Nothing is created.
    """
    socket = folder / "run" / name
    if len(os.fsencode(socket)) <= _SOCKET_PATH_BYTES:
        return socket
    digest = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
    short = Path(tempfile.gettempdir()) / f"grid-smc-{os.geteuid()}-{digest}" / name
    if len(os.fsencode(short)) > _SOCKET_PATH_BYTES:
        expected = f"at most {_SOCKET_PATH_BYTES} bytes"
        raise SetupError("path of the server's socket", str(short), expected, "set TMPDIR to a shorter folder")
    return short
