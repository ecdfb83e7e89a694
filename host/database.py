"""The door to the database: one way to make an engine, one way to bring a schema up to date."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import psycopg
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from psycopg.errors import DeadlockDetected
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import URL, ExceptionContext, make_url
from sqlalchemy.exc import ArgumentError, OperationalError

from model.errors import SetupError

_MIGRATIONS = Path(__file__).resolve().parent.parent / "migrations"
_ATTEMPTS = 5
AWAY_CLASSES = frozenset({"08", "40", "53", "55", "57", "58"})  # of SQLSTATE
_MIGRATION_LOCK = 0x47524944  # "GRID": two programs that migrate at once wait for each other


def engine(url: str, application_name: str, pool_size: int = 5, statement_timeout_s: float = 0.0) -> Engine:
    """Engine on psycopg for `url` (postgresql://…). Connects at first use; no server there is a SetupError of one line.

    Once it was connected, the address is right: a server that goes away later is an OperationalError, to be waited for.
    `application_name` is what pg_stat_activity shows; `statement_timeout_s` ends longer statements, 0: no limit.
    """
    address = _address(url)
    options = f"-c timezone=UTC -c statement_timeout={round(statement_timeout_s * 1000)}"
    made = create_engine(
        address,
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_pre_ping=True,  # a restarted server costs a reconnect, never an error
        connect_args={"application_name": application_name, "connect_timeout": 10, "options": options},
    )
    event.listen(made, "handle_error", _explain)
    event.listen(made, "first_connect", lambda *_: _leave_unexplained(made))
    return made


def migrate(url: str, branch: str) -> None:
    """Bring the schema of `branch` (smc or esmc) to its newest revision, in one transaction per revision."""
    _run(url, lambda config: command.upgrade(config, f"{branch}@head"))


def downgrade(url: str, branch: str, revision: str = "base") -> None:
    """Take the schema of `branch` back to `revision`. Loses what the dropped tables hold.

    SetupError for a revision that the branch does not have, or is not behind.
    """
    try:
        _run(url, lambda config: command.downgrade(config, f"{branch}@{revision}"))
    except CommandError as error:
        raise SetupError("revision", revision, f"an earlier one of the schema {branch}", str(error)) from error


def recreate(url: str, name: str) -> str:
    """Drop the database `name` on the server of `url`, make it anew, return its URL. Needs the right CREATEDB."""
    address = _address(url)
    made = engine(url, "recreate", pool_size=1)
    try:
        with made.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            quoted = connection.dialect.identifier_preparer.quote_identifier(name)
            connection.execute(text(f"DROP DATABASE IF EXISTS {quoted} WITH (FORCE)"))
            connection.execute(text(f"CREATE DATABASE {quoted} TEMPLATE template0"))
    finally:
        made.dispose()
    return address.set(drivername="postgresql", database=name).render_as_string(hide_password=False)


def alembic_config(connection: Connection | None = None) -> Config:
    """Alembic's configuration, in code: there is no alembic.ini that could disagree with it."""
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.set_main_option("path_separator", "newline")
    config.set_main_option("version_locations", "\n".join(str(_MIGRATIONS / branch) for branch in ("smc", "esmc")))
    config.attributes["connection"] = connection
    return config


def _run(url: str, action: Callable[[Config], None]) -> None:
    made = engine(url, "migrate", pool_size=1)
    try:
        with made.connect() as connection:
            connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _MIGRATION_LOCK})
            connection.commit()
            _repeat_deadlocked(connection, action)
    finally:
        made.dispose()  # closing the session gives the lock back


def _repeat_deadlocked(connection: Connection, action: Callable[[Config], None]) -> None:
    """Migrations run beside writers, who lock tables in another order: whoever is chosen as the victim tries again."""
    for last in (*[False] * (_ATTEMPTS - 1), True):
        try:
            action(alembic_config(connection))
            connection.commit()
        except OperationalError as error:
            if last or not isinstance(error.orig, DeadlockDetected):
                raise
            connection.rollback()
        else:
            return


def _address(url: str) -> URL:
    try:
        address = make_url(url)
    except ArgumentError as error:
        raise SetupError("DATABASE_URL", url, "postgresql://user@host/database", "correct DATABASE_URL") from error
    if address.get_backend_name() != "postgresql":
        expected = "a PostgreSQL or TimescaleDB, postgresql://user@host/database"
        raise SetupError("DATABASE_URL", address.render_as_string(), expected, "correct DATABASE_URL")
    return address.set(drivername="postgresql+psycopg")


def _explain(context: ExceptionContext) -> None:
    """No connection: one line without the password. A connection that was there and broke stays what it is."""
    if context.connection is None and isinstance(context.original_exception, psycopg.OperationalError):
        url = context.engine.url if context.engine is not None else None
        shown = url.set(drivername="postgresql").render_as_string() if url is not None else "?"
        reason = " ".join(str(context.original_exception).split())
        raise SetupError("database", shown, f"reachable ({reason})", "start it or correct DATABASE_URL")


def _leave_unexplained(made: Engine) -> None:
    if event.contains(made, "handle_error", _explain):  # a pool made anew has a first connection again
        event.remove(made, "handle_error", _explain)


def heads(branch: str) -> set[str]:
    """Newest revision of a branch: what `migrate` leads to."""
    script = ScriptDirectory.from_config(alembic_config())
    head = script.get_revision(f"{branch}@head")
    return {head.revision} if head is not None else set()


def is_away(error: OperationalError) -> bool:
    """Whether to wait and try again: no connection, a server that starts or stops, full, or a lost deadlock.

    Other operational errors (e.g. 54, a limit that the content exceeds) come again with the same content. Classes are
    those of https://www.postgresql.org/docs/current/errcodes-appendix.html.
    """
    state = getattr(error.orig, "sqlstate", None)
    return error.connection_invalidated or state is None or state[:2] in AWAY_CLASSES
