"""Start a program that never outlives its parent and, started as root, owns nothing of root's.

    python -I host/child.py --parent 4711 --signal INT [--user 65534 | --mapped 65534] -- program arguments…

A short step between fork and exec, as its own process: the kernel sends the signal when the parent's starting thread
ends, even by SIGKILL (prctl PR_SET_PDEATHSIG); code between fork and exec of a threaded Python would not be safe.
`--user` takes another user id for good. `--mapped` keeps the rights of the own id but shows another one inside a user
namespace: PostgreSQL refuses user id 0, and folders below a closed parent (as /root) stay reachable that way.
Standard library only: it starts in about 15 ms.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_CLONE_NEWUSER = 0x10000000  # linux/sched.h


def main(arguments: list[str]) -> None:
    """Give up rights, tie the life to the parent's, become the program; else exit code 1 and one line on stderr."""
    options = _options(arguments)
    libc = ctypes.CDLL(None, use_errno=True)
    if options.mapped is not None:
        _map_user(libc, options.mapped)
    if options.user is not None:
        os.setgroups([])
        os.setgid(options.user)
        os.setuid(options.user)
    # After the change of user, which would clear it.
    _checked(libc.prctl(_PR_SET_PDEATHSIG, signal.Signals[f"SIG{options.signal}"]), "prctl")
    if os.getppid() != options.parent:
        sys.exit("the parent ended before its child was ready")
    # What the parent ignores or blocks (a shell's background job: SIGINT) would be handed on, and no stop would arrive.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    os.execvp(options.program[0], options.program)  # noqa: S606  our own argument list, no shell


def _options(arguments: list[str]) -> Namespace:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--parent", type=int, required=True, help="process id whose end ends the program")
    parser.add_argument("--signal", default="TERM", help="signal at the parent's end, without SIG")
    parser.add_argument("--user", type=int, help="user and group id to take for good")
    parser.add_argument("--mapped", type=int, help="user and group id to show inside a user namespace")
    parser.add_argument("program", nargs="+")
    return parser.parse_args(arguments)


def _map_user(libc: ctypes.CDLL, user: int) -> None:
    own_user, own_group = os.geteuid(), os.getegid()
    _checked(libc.unshare(_CLONE_NEWUSER), "unshare of the user namespace")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{user} {own_user} 1")
    Path("/proc/self/gid_map").write_text(f"{user} {own_group} 1")


def _checked(result: int, what: str) -> None:
    if result != 0:
        sys.exit(f"{what} was refused: {os.strerror(ctypes.get_errno())}")


def command(
    program: list[str], *, at_end: str = "TERM", user: int | None = None, mapped: int | None = None
) -> list[str]:
    """The command line that starts `program` tied to this process; `at_end` names the signal it gets then.

    The tie is to the calling thread: start long-lived children from a thread that lives as long (the main thread).
    """
    line = [sys.executable, "-I", "-S", __file__, "--parent", str(os.getpid()), "--signal", at_end]
    line += ["--user", str(user)] if user is not None else []
    line += ["--mapped", str(mapped)] if mapped is not None else []
    return [*line, "--", *program]


if __name__ == "__main__":
    main(sys.argv[1:])
