"""`app.py doctor`: look at all an installation needs, one line each with its remedy; exit code 1 if a line fails."""

from __future__ import annotations

import shutil
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import Engine, text

from commands.operate import database_url
from host.database import engine, heads
from model.errors import OperatorError, SettingsError
from trust.audit import AuditBroken
from trust.store import accounts, verify_audit

LOW_DISK_BYTES = 2 << 30
STALE_S = 15.0


@dataclass(frozen=True)
class Line:
    """One thing looked at. `remedy` is empty when it is well."""

    what: str
    found: str
    remedy: str = ""

    def __str__(self) -> str:
        if not self.remedy:
            return f"ok    {self.what}: {self.found}"
        return f"FAIL  {self.what}: {self.found} → {self.remedy}"


def doctor(centre: str, environment: Mapping[str, str]) -> int:
    """Print all lines; 1 if any failed."""
    lines = list(_look(centre, environment))
    for line in lines:
        print(line)
    failed = sum(bool(line.remedy) for line in lines)
    print(f"doctor: {len(lines) - failed} well, {failed} to mend")
    return 1 if failed else 0


def _look(centre: str, environment: Mapping[str, str]) -> Iterator[Line]:
    yield from _guarded("settings", lambda: _settings(centre, environment))
    yield _disk(Path(environment.get(f"{centre.upper()}_DATA", ".")))
    if "REDIS_URL" in environment:
        yield from _guarded("bus", lambda: _bus(environment["REDIS_URL"]))
    made = None
    try:
        made = engine(database_url(environment), "doctor", pool_size=1)
        with made.connect():
            pass
    except OperatorError as error:
        yield Line("database", str(error.value), error.remedy)
        return
    yield from _guarded("schema", lambda: _schema(made, centre))
    yield from _guarded("accounts", lambda: _accounts(made))
    yield from _guarded("audit", lambda: _audit(made))
    yield from _guarded("stages", lambda: _stages(made))
    if centre == "smc":
        yield from _guarded("federation", lambda: _outbox(made))
        yield from _guarded("retention", lambda: _retention(made, environment))
    made.dispose()


def _guarded(what: str, look: Callable[[], list[Line]]) -> list[Line]:
    """A look that fails is a line of its own: doctor goes on."""
    try:
        return look()
    except OperatorError as error:
        return [Line(what, f"{error.what} is {error.value}", error.remedy)]
    except Exception as error:  # noqa: BLE001 - reported as the finding it is
        return [Line(what, f"{type(error).__name__}: {str(error).partition(chr(10))[0][:160]}", "see the message")]


def _settings(centre: str, environment: Mapping[str, str]) -> list[Line]:
    from host.settings import load

    if centre == "smc":
        from smc.settings import SmcSettings

        loaded: object = load(SmcSettings, "SMC", environment)
    else:
        from esmc.settings import EsmcSettings

        loaded = load(EsmcSettings, "ESMC", environment)
    lines = [Line("settings", "complete, none misspelt")]
    for name, value in vars(loaded).items():
        if name.endswith("_file") and isinstance(value, Path) and value != Path():
            lines.append(_file(name, value))
    return lines


def _file(name: str, path: Path) -> Line:
    if not path.is_file():
        return Line(name, f"{path} is missing", "write it, or leave the setting empty")
    open_to_others = stat.S_IMODE(path.stat().st_mode) & 0o077
    public = any(word in name for word in ("ca_file", "peer_key"))
    if open_to_others and not public:
        return Line(name, f"{path} has mode {stat.S_IMODE(path.stat().st_mode):o}", f"chmod 600 {path}")
    return Line(name, "present")


def _disk(folder: Path) -> Line:
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    remedy = "" if free >= LOW_DISK_BYTES else "free some space or move the data folder"
    return Line("disk", f"{free / 1e9:.1f} GB free", remedy)


def _bus(url: str) -> list[Line]:
    from redis import Redis

    client = Redis.from_url(url, socket_timeout=5)
    info = client.info()
    policy = str(client.config_get("maxmemory-policy").get("maxmemory-policy"))
    client.close()
    name = "Valkey" if "valkey_version" in info else "Redis"
    lines = [Line("bus", f"{name} {info.get('valkey_version', info['redis_version'])}")]
    lines.append(Line("bus eviction", policy, "" if policy == "noeviction" else "set maxmemory-policy noeviction"))
    synced = bool(info.get("aof_enabled"))
    lines.append(
        Line("bus durability", f"append-only file {'on' if synced else 'off'}", "" if synced else "set appendonly yes")
    )
    return lines


def _schema(made: Engine, centre: str) -> list[Line]:
    with made.connect() as conn:
        version = conn.execute(text("SHOW server_version")).scalar_one()
        timescale = conn.execute(text("SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'")).scalar()
        revisions = set(conn.execute(text("SELECT version_num FROM alembic_version")).scalars())
    found = Line("database", f"PostgreSQL {version}" + (f", TimescaleDB {timescale}" if timescale else ""))
    expected = heads(centre)
    remedy = "" if expected <= revisions else f"run `app.py migrate {centre}`: this program wants {', '.join(expected)}"
    return [found, Line("schema", ", ".join(sorted(revisions)), remedy)]


def _accounts(made: Engine) -> list[Line]:
    with made.connect() as conn:
        enabled = [account for account in accounts(conn) if not account.disabled]
    remedy = "" if enabled else "run `app.py user add NAME --role admin`"
    return [Line("accounts", f"{len(enabled)} enabled", remedy)]


def _audit(made: Engine) -> list[Line]:
    with made.connect() as conn:
        try:
            head = verify_audit(conn)
        except AuditBroken as error:
            return [Line("audit", str(error), "keep the database as it is and compare with a backup")]
    return [Line("audit", f"{head.number} records, chain intact")]


def _stages(made: Engine) -> list[Line]:
    with made.connect() as conn:
        rows = conn.execute(
            text("SELECT stage, extract(epoch FROM now() - heartbeat)::float8 FROM stage_health ORDER BY stage")
        ).all()
    lines = [
        Line(f"stage {stage}", f"last heartbeat {age_s:.0f} s ago", "" if age_s < STALE_S else "start it, see its log")
        for stage, age_s in rows
    ]
    return lines or [Line("stages", "none ever ran", "start them, see docs/operating.md")]


def _outbox(made: Engine) -> list[Line]:
    from smc.store.outbox import lag

    with made.connect() as conn:
        lags = lag(conn)
    return [
        Line(f"federation with {item.peer}", f"{item.waiting} waiting, {item.failed} failed, {item.complete} arrived",
             f"last error: {item.last_error}" if item.failed or (item.waiting and item.last_error) else "")
        for item in lags
    ]  # fmt: skip


def _retention(made: Engine, environment: Mapping[str, str]) -> list[Line]:
    """What is oldest and goes next, who holds it, whether the last round was long ago."""
    from host.settings import load
    from smc.keep import SERIES_NAMES, limits_of
    from smc.settings import SmcSettings
    from smc.store import holds, kept, partitions

    with made.connect() as conn:
        ended = kept.last_ended(conn).get("retention")
        astray = partitions.strays(conn, SERIES_NAMES)
        numbers = [str(hold.hold_id) for hold in holds.in_force(conn)]
        try:
            oldest = list(kept.oldest(conn, limits_of(load(SmcSettings, "SMC", environment))))
        except SettingsError:
            oldest = []  # the line about the settings says what is missing
    late = ended is None or datetime.now(UTC) - ended > timedelta(days=1)
    stray = ", ".join(f"{rows} in {name}" for name, rows in astray.items())
    return [
        Line("retention", f"last round {ended:%Y-%m-%d %H:%M} UTC" if ended else "no round yet",
             "run `app.py smc stages` or `smc keep`, see its log" if late else ""),
        *(Line(f"oldest {line.table}", f"{line.oldest:%Y-%m-%d}, kept until {line.goes:%Y-%m-%d}") for line in oldest),
        Line("legal holds", f"{len(numbers)} in force" + (f": {', '.join(numbers)}" if numbers else "")),
        Line("rows outside any day", stray or "none",
             "a clock runs wild: find the device on the page Intake" if astray else ""),
    ]  # fmt: skip
