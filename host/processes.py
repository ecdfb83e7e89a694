"""Processes: one server with its log, who works in a folder, how much memory a family of processes holds."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable
from pathlib import Path

_LOG_LIMIT_BYTES = 16 << 20


class Server:
    """A started program that appends its output to `log`; own session, so that a terminal's Ctrl-C passes it by."""

    def __init__(self, line: list[str], log: Path) -> None:
        if log.exists() and log.stat().st_size > _LOG_LIMIT_BYTES:
            log.replace(log.with_name(f"{log.name}.1"))
        log.touch(mode=0o600)
        with log.open("ab") as file:
            self._from = file.tell()
            self.process = subprocess.Popen(
                line, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, cwd="/", start_new_session=True
            )
        self._log = log

    def ready(self, answers: Callable[[], bool], deadline: float) -> bool:
        """Wait until the server answers: True; until it ended or time.monotonic() passed `deadline`: False."""
        while self.process.poll() is None and time.monotonic() < deadline:
            if answers():
                return True
            time.sleep(0.02)
        return False

    def output(self) -> str:
        """What the program wrote since this start."""
        with self._log.open("rb") as file:
            file.seek(self._from)
            return file.read().decode(errors="replace")

    def stop(self, *steps: tuple[signal.Signals, float]) -> None:
        """Send each signal and wait its seconds; what then still runs is killed with its whole session."""
        for number, wait_s in steps:
            if self.process.poll() is not None:
                return
            self.process.send_signal(number)
            try:
                self.process.wait(wait_s)
            except subprocess.TimeoutExpired:
                continue
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


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
