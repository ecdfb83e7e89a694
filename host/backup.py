"""A backup is one tar file: `database.dump` (pg_dump, custom form) and `manifest.json` with its hash and row counts.

The manifest is what a restore is judged by: the dump's SHA-256 before anything is loaded, the row counts after.
TimescaleDB wants its own calls around a restore (its documentation, "pg_restore"); plain PostgreSQL does not.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import tarfile
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from sqlalchemy import Engine, make_url, text

from host.database import engine as connect
from model.errors import SetupError

FORMAT = 1
DUMP, MANIFEST = "database.dump", "manifest.json"
_CHUNK = 1 << 20
_IS_TIMESCALE = "SELECT count(*) > 0 FROM pg_extension WHERE extname = 'timescaledb'"
_TABLES = """SELECT quote_ident(table_name) FROM information_schema.tables
             WHERE table_schema = 'public' AND table_type = 'BASE TABLE' ORDER BY 1"""

# What a superuser has restored belongs to whom the database belongs to; chunks follow their hypertable.
_GIVE_TO_OWNER = """
DO $$
DECLARE
    owner     regrole := (SELECT datdba FROM pg_database WHERE datname = current_database());
    statement text;
BEGIN
    FOR statement IN
        SELECT format('ALTER TABLE %s OWNER TO %s', oid::regclass, owner) FROM pg_class
        WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')
        UNION ALL
        SELECT format('ALTER FUNCTION %s OWNER TO %s', oid::regprocedure, owner) FROM pg_proc p
        WHERE pronamespace = 'public'::regnamespace
          AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e')
    LOOP
        EXECUTE statement;
    END LOOP;
END $$
"""


@dataclass(frozen=True)
class Manifest:
    """What a backup claims about itself."""

    format: int
    centre: str
    created: str  # RFC 3339, UTC
    revision: str  # of the schema
    timescaledb: bool
    sha256: str  # of the dump
    size: int
    rows: dict[str, int]  # per table, counted in the snapshot that was dumped


def backup(url: str, centre: str, created: str, file: Path, binaries: Path) -> Manifest:
    """Write a backup of the database at `url` to `file`. Nothing half-written stays behind."""
    if file.exists():
        raise SetupError("backup file", str(file), "a file that does not exist", "choose another name")
    if not file.parent.is_dir():
        raise SetupError("folder of the backup", str(file.parent), "an existing folder", f"mkdir -p {file.parent}")
    engine = connect(url, "backup", pool_size=1)
    with tempfile.TemporaryDirectory(dir=file.parent) as folder, engine.connect() as conn:
        conn.execution_options(isolation_level="REPEATABLE READ")
        snapshot = conn.execute(text("SELECT pg_export_snapshot()")).scalar_one()
        dump = Path(folder) / DUMP
        _run(
            url,
            binaries / "pg_dump",
            ["-Fc", "--no-owner", "--no-privileges", f"--snapshot={snapshot}", "-f", str(dump)],
        )
        tables = conn.execute(text(_TABLES)).scalars().all()
        rows = {name: conn.execute(text(f"SELECT count(*) FROM {name}")).scalar_one() for name in tables}  # noqa: S608 - names from the catalogue, quoted
        revision = conn.execute(text("SELECT version_num FROM alembic_version")).scalar_one()
        timescale = bool(conn.execute(text(_IS_TIMESCALE)).scalar_one())
        manifest = Manifest(FORMAT, centre, created, revision, timescale, _sha256(dump), dump.stat().st_size, rows)
        _pack(file, dump, manifest)
    engine.dispose()
    return manifest


def restore(file: Path, url: str, binaries: Path) -> Manifest:
    """Load a backup into the empty database at `url` and compare the row counts with the manifest."""
    engine = connect(url, "backup", pool_size=1)
    with engine.connect() as conn:
        if conn.execute(text(_TABLES)).first():
            raise SetupError("database", make_url(url).database, "an empty database", "create one and restore into it")
    with tempfile.TemporaryDirectory() as folder:
        manifest, dump = _unpack(file, Path(folder))
        if manifest.timescaledb:
            _require_superuser(engine)
            _execute(engine, "CREATE EXTENSION IF NOT EXISTS timescaledb", "SELECT timescaledb_pre_restore()")
        _run(url, binaries / "pg_restore", ["--no-owner", "--no-privileges", "--exit-on-error", str(dump)], into=True)
        if manifest.timescaledb:
            _execute(engine, "SELECT timescaledb_post_restore()", _GIVE_TO_OWNER)
    _compare(engine, manifest)
    engine.dispose()
    return manifest


def _compare(engine: Engine, manifest: Manifest) -> None:
    with engine.connect() as conn:
        for name, expected in manifest.rows.items():
            found = conn.execute(text(f"SELECT count(*) FROM {name}")).scalar_one()  # noqa: S608 - names from the verified manifest
            if found != expected:
                raise SetupError(f"rows of {name} after the restore", found, expected, "use another backup")


def _require_superuser(engine: Engine) -> None:
    with engine.connect() as conn:
        name, able = conn.execute(text("SELECT rolname, rolsuper FROM pg_roles WHERE rolname = current_user")).one()
    if not able:
        expected = "a superuser, because TimescaleDB's own restore functions ask for one"
        raise SetupError("role of --into", name, expected, "name a superuser; the tables go to the database's owner")


def _execute(engine: Engine, *statements: str) -> None:
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as conn:
        for statement in statements:
            conn.execute(text(statement))


def _run(url: str, program: Path, arguments: list[str], *, into: bool = False) -> None:
    """Run a PostgreSQL client program. The password goes by environment, never on the command line."""
    parts = make_url(url)
    host = str(parts.query.get("host", parts.host or ""))
    environment = {
        "PGHOST": host,
        "PGUSER": parts.username or "",
        "PGPASSWORD": str(parts.password or ""),
        "PGCONNECT_TIMEOUT": "10",
    }
    if parts.port or parts.query.get("port"):
        environment["PGPORT"] = str(parts.port or parts.query["port"])
    database = [f"--dbname={parts.database}"] if into else [str(parts.database)]
    done = subprocess.run(
        [str(program), *arguments[:-1], *database, arguments[-1]] if into else [str(program), *arguments, *database],
        env={**os.environ, **{k: v for k, v in environment.items() if v}},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SetupError(program.name, done.stderr.strip()[-400:], "exit code 0", "mend what it says and try again")


def _pack(file: Path, dump: Path, manifest: Manifest) -> None:
    partial = file.with_name(f".{file.name}.partial")
    content = json.dumps(asdict(manifest), indent=1, sort_keys=True).encode()
    with tarfile.open(partial, "w") as archive:
        info = tarfile.TarInfo(MANIFEST)
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
        archive.add(dump, DUMP)
    partial.chmod(0o600)
    with partial.open("rb") as handle:
        os.fsync(handle.fileno())
    partial.rename(file)
    folder = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)  # or a power cut may forget the name of a file that is safe on disk
    finally:
        os.close(folder)


def _unpack(file: Path, folder: Path) -> tuple[Manifest, Path]:
    try:
        with tarfile.open(file) as archive:
            names = archive.getnames()
            if sorted(names) != sorted((DUMP, MANIFEST)):
                raise SetupError("backup file", names, [MANIFEST, DUMP], "use a file written by `app.py backup`")
            archive.extractall(folder, filter="data")
    except (OSError, tarfile.TarError) as error:
        raise SetupError("backup file", str(file), "a tar file written by `app.py backup`", str(error)) from error
    manifest = Manifest(**json.loads((folder / MANIFEST).read_text()))
    found = _sha256(folder / DUMP)
    if manifest.format != FORMAT or found != manifest.sha256:
        raise SetupError("SHA-256 of the dump", found, manifest.sha256, "the backup is damaged: use another one")
    return manifest, folder / DUMP


def _sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as handle:
        while chunk := handle.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
