"""Processes: one server with its log, who works in a folder, how much memory a family of processes holds."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

_LOG_LIMIT_BYTES = 16 << 20
_POLL_S = 0.02


class Server:
    """A started program that appends its output to `log`; own session, so that a terminal's Ctrl-C passes it by."""

    def __init__(
        self, line: list[str], log: Path, environment: Mapping[str, str] | None = None, folder: Path = Path("/")
    ) -> None:
        if log.exists() and log.stat().st_size > _LOG_LIMIT_BYTES:
            log.replace(log.with_name(f"{log.name}.1"))
        log.touch(mode=0o600)
        with log.open("ab") as file:
            self._from = file.tell()
            self._process = subprocess.Popen(
                line,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env=environment,
                start_new_session=True,
            )
        self._log = log

    @property
    def pid(self) -> int:
        """Process id, also that of its session and group."""
        return self._process.pid

    def running(self) -> bool:
        """Whether it has not ended. Does not reap it: until `finish` nobody else can get its process id."""
        if self._process.returncode is not None:
            return False
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None

    def ready(self, answers: Callable[[], bool], deadline: float) -> bool:
        """Wait until the server answers: True; until it ended or time.monotonic() passed `deadline`: False."""
        while self.running() and time.monotonic() < deadline:
            if answers():
                return True
            time.sleep(_POLL_S)
        return False

    def output(self) -> str:
        """What the program wrote since this start."""
        with self._log.open("rb") as file:
            file.seek(self._from)
            return file.read().decode(errors="replace")

    def send(self, number: signal.Signals) -> None:
        """Send the signal if it still runs."""
        if self.running():
            os.kill(self.pid, number)

    def stop(self, *steps: tuple[signal.Signals, float]) -> int:
        """Send each signal and wait its seconds, then `finish`."""
        for number, wait_s in steps:
            self.send(number)
            if self.wait(time.monotonic() + wait_s):
                break
        return self.finish()

    def wait(self, deadline: float) -> bool:
        """Wait for its end: True; until time.monotonic() passed `deadline`: False."""
        while self.running():
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL_S)
        return True

    def finish(self) -> int:
        """Kill what is left of its session and return the exit code, or the negative number of the signal."""
        if self._process.returncode is None:
            os.killpg(self.pid, signal.SIGKILL)
        return self._process.wait()


def running_in(folder: Path) -> list[int]:
    """Ids of the processes whose working folder is `folder`, as far as this user may see them."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if (entry / "cwd").readlink() == folder and not _is_zombie(entry):
                found.append(int(entry.name))
        except (FileNotFoundError, PermissionError, ProcessLookupError):
            continue  # it ended meanwhile, or belongs to somebody else and cannot hold our folder (0700)
    return sorted(found)


def _is_zombie(entry: Path) -> bool:
    return (entry / "stat").read_text().rpartition(")")[2].split()[0] == "Z"


def descendants(pid: int) -> list[int]:
    """`pid` and all its children, grandchildren and so on, as of now."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (FileNotFoundError, ProcessLookupError):
                continue  # it ended meanwhile
            parents.setdefault(parent, []).append(int(entry.name))
    family = [pid]
    for member in family:
        family.extend(parents.get(member, []))
    return family


def memory_bytes(pids: Iterable[int]) -> int:
    """Proportional set size of all these processes: shared pages count once in total (proc(5), smaps_rollup)."""
    total = 0
    for pid in pids:
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended meanwhile
        total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    return total
