"""`app.py backup` and `restore`: a centre's database as one verified file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from sqlalchemy import make_url

from host.backup import backup as write_backup
from host.backup import restore as load_backup
from host.database import engine
from host.postgres import client_binaries
from model.errors import SettingsError
from model.time import SystemClock, iso_utc, to_datetime
from trust.store import verify_audit


def backup(centre: str, file: str, environment: Mapping[str, str]) -> int:
    """Dump DATABASE_URL into `file`."""
    clock = SystemClock()
    began_s, created = clock.monotonic_s(), iso_utc(to_datetime(clock.now_ns()))
    manifest = write_backup(database_url(environment), centre, created, Path(file), client_binaries(environment))
    took_s = clock.monotonic_s() - began_s
    rows = sum(manifest.rows.values())
    print(f"backup: {file} bytes={manifest.size} rows={rows} seconds={took_s:.1f} sha256={manifest.sha256}")
    return 0


def restore(file: str, into: str, environment: Mapping[str, str]) -> int:
    """Load `file` into the empty database `into`, compare counts, verify the audit chain."""
    clock = SystemClock()
    began_s = clock.monotonic_s()
    manifest = load_backup(Path(file), into, client_binaries(environment))
    loaded = engine(into, "restore", pool_size=1)
    with loaded.connect() as conn:
        head = verify_audit(conn)  # AuditBroken says where it lies
    loaded.dispose()
    rows, took_s = sum(manifest.rows.values()), clock.monotonic_s() - began_s
    name = make_url(into).database
    print(f"restore: {name} rows={rows} audit={head.number} records intact, seconds={took_s:.1f}")
    return 0


def database_url(environment: Mapping[str, str]) -> str:
    """DATABASE_URL, or one clear line."""
    url = environment.get("DATABASE_URL", "")
    if not url:
        raise SettingsError("setting", "DATABASE_URL", "the URL of a centre's database", "set it and start again")
    return url
