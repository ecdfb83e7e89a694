"""The supervisor: starts named programs, restarts those that crash, and leaves nobody behind.

Each program is a session of its own with a log file of its own. When the supervisor ends in any way, even by SIGKILL,
the kernel kills its programs: they must survive that at any moment anyway, and nothing that hangs can stay.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from host.child import command
from host.log import logger
from host.processes import Server, descendants, memory_bytes

_FIRST_DELAY_S, _LONGEST_DELAY_S = 0.5, 30.0
_SETTLED_S = 60.0  # a program that ran this long starts again without the delay of earlier crashes


@dataclass(frozen=True)
class Program:
    """What to start: argument list (never a shell line), whole environment, working folder, seconds to end in."""

    name: str
    line: tuple[str, ...]
    environment: Mapping[str, str]
    folder: Path = Path("/")
    stop_s: float = 10.0  # between SIGTERM and SIGKILL


@dataclass
class _Child:
    program: Program
    server: Server | None
    started: float
    restarts: int = 0
    crashes: int = 0  # in a row, since it last ran for long
    due: float = field(default=0.0)


class Supervisor:
    """Use as a context manager; call `tick` a few times a second, from the thread that called `start`."""

    def __init__(self, logs: Path) -> None:
        self.logs = logs
        self._children: dict[str, _Child] = {}
        self._log = logger()

    def __enter__(self) -> Supervisor:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def start(self, program: Program) -> int:
        """Start a program and keep it running; returns its process id. Its name must be new."""
        if program.name in self._children:
            raise ValueError(f"a program named {program.name} is already supervised")
        self.logs.mkdir(parents=True, exist_ok=True)
        server = self._launch(program)
        self._children[program.name] = _Child(program, server, time.monotonic())
        return server.pid

    def tick(self) -> None:
        """Notice who ended; start again who crashed, when its delay is over. An end with exit code 0 is final."""
        for child in self._children.values():
            if child.server is not None and not child.server.running():
                self._ended(child)
            elif child.server is None and child.due and time.monotonic() >= child.due:
                child.server = self._launch(child.program)
                child.started, child.due, child.restarts = time.monotonic(), 0.0, child.restarts + 1

    def run(self, seconds: float) -> None:
        """Supervise for that long."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self.tick()
            time.sleep(min(left, 0.1))

    def pid(self, name: str) -> int | None:
        """Process id of a running program; None while it waits for its restart or has ended."""
        server = self._children[name].server
        return server.pid if server is not None and server.running() else None

    def restarts(self) -> dict[str, int]:
        """How often each program was started again."""
        return {name: child.restarts for name, child in self._children.items()}

    def output(self, name: str) -> str:
        """Everything the program wrote, over all its starts."""
        return self._log_file(name).read_text(errors="replace")

    def stop(self) -> None:
        """Ask all to end at once, wait, kill what remains with its whole session."""
        servers = [(c.program, c.server) for c in self._children.values() if c.server is not None]
        for _, server in servers:
            server.send(signal.SIGTERM)
        asked = time.monotonic()
        for program, server in reversed(servers):
            if not server.wait(asked + program.stop_s):
                self._log.warning("supervisor.child_killed", name=program.name, waited_s=program.stop_s)
            server.finish()
        self._children.clear()

    def memory_bytes(self) -> int:
        """Memory of this process and all below it (embedded servers included); shared pages count once."""
        return memory_bytes(descendants(os.getpid()))

    def _launch(self, program: Program) -> Server:
        line = command(list(program.line), at_end="KILL")
        return Server(line, self._log_file(program.name), program.environment, program.folder)

    def _log_file(self, name: str) -> Path:
        return self.logs / f"{name}.log"

    def _ended(self, child: _Child) -> None:
        server, child.server = child.server, None
        code = server.finish() if server is not None else 0
        if code == 0:
            return
        child.crashes = 1 if time.monotonic() - child.started > _SETTLED_S else child.crashes + 1
        delay_s = min(_FIRST_DELAY_S * 2 ** (child.crashes - 1), _LONGEST_DELAY_S)
        child.due = time.monotonic() + delay_s
        self._log.error("supervisor.child_ended", name=child.program.name, code=code, restart_in_s=delay_s)
