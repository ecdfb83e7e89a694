"""Fixtures: both database editions, and fresh migrated databases on them.

One server per edition and session, one migrated template per branch; each test gets its own copy of it (0.1 s).
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import psycopg
import pytest
from sqlalchemy.engine import make_url

from host.database import migrate
from host.postgres import ADMINISTRATOR, Postgres
from model.errors import OperatorError
from model.ids import new_id
from scripts import timescale
from tests.servers.needs import missing

EDITIONS = [
    pytest.param("embedded", marks=pytest.mark.embedded),
    pytest.param("timescale", marks=pytest.mark.timescale),
]
# For long tests of faults: on the second edition in the long run only.
timescale_in_the_long_run = pytest.mark.parametrize(
    "edition",
    [EDITIONS[0], pytest.param("timescale", marks=[pytest.mark.timescale, pytest.mark.slow])],
    indirect=True,
)
# The tests' data may be lost with the machine; a killed server still recovers, only the disk is not waited for.
_FAST = {"fsync": "off", "full_page_writes": "off", "max_connections": "100"}


@pytest.fixture(scope="session")
def postgres_embedded() -> Iterator[Postgres]:
    """The PostgreSQL of the wheel, on a folder of its own."""
    with private_folder() as folder, Postgres(Path(folder), options=_FAST, durable=False) as server:
        yield server


@pytest.fixture(scope="session")
def postgres_timescale() -> Iterator[Postgres]:
    """A real TimescaleDB, fetched by scripts/timescale if need be."""
    try:
        binaries = timescale.get()
    except OperatorError as error:
        missing("TimescaleDB", str(error))
    options = _FAST | timescale.OPTIONS
    with (
        private_folder() as folder,
        Postgres(Path(folder), binaries=binaries, options=options, durable=False) as server,
    ):
        yield server


@pytest.fixture(params=EDITIONS)
def edition(request: pytest.FixtureRequest) -> str:
    """Name of the database edition under test: embedded or timescale."""
    return str(request.param)


@pytest.fixture
def database_server(edition: str, request: pytest.FixtureRequest) -> Postgres:
    """The server of the edition under test; shared by the session, so never stop it."""
    server: Postgres = request.getfixturevalue(f"postgres_{edition}")
    return server


@pytest.fixture
def empty_database(database_server: Postgres) -> Iterator[str]:
    """URL of a fresh database without any schema, on each edition."""
    yield from _database(database_server, "template0")


@pytest.fixture
def database(database_server: Postgres) -> Iterator[str]:
    """URL of a fresh database with the smc schema, on each edition."""
    yield from _database(database_server, _template(database_server, "smc"))


@pytest.fixture
def esmc_database(database_server: Postgres) -> Iterator[str]:
    """URL of a fresh database with the esmc schema, on each edition."""
    yield from _database(database_server, _template(database_server, "esmc"))


@pytest.fixture
def smc_embedded(postgres_embedded: Postgres) -> Iterator[str]:
    """URL of a fresh database with the smc schema on the embedded edition: for tests whose subject is not the store."""
    yield from _database(postgres_embedded, _template(postgres_embedded, "smc"))


@pytest.fixture
def esmc_embedded(postgres_embedded: Postgres) -> Iterator[str]:
    """URL of a fresh database with the esmc schema on the embedded edition."""
    yield from _database(postgres_embedded, _template(postgres_embedded, "esmc"))


def _database(server: Postgres, template: str) -> Iterator[str]:
    name = f"test_{new_id().hex}"
    yield server.create_database(name, template)
    server.drop_database(name)


@cache
def _template(server: Postgres, branch: str) -> str:
    """A migrated database that nobody connects to any more."""
    name = f"template_{branch}"
    migrate(server.create_database(name), branch)
    return name


def private_folder() -> tempfile.TemporaryDirectory[str]:
    """An empty folder for a server; gone at the end of the block."""
    folder = tempfile.TemporaryDirectory(prefix="grid-smc-test-", ignore_cleanup_errors=True)
    Path(folder.name).chmod(0o711)  # a server started by root runs as nobody and must get through
    return folder


@contextmanager
def without_database(server: Postgres, url: str) -> Iterator[None]:
    """Nobody gets in, and who was in is thrown out, as when it is stopped."""
    name = make_url(url).database
    with psycopg.connect(server.url("postgres", ADMINISTRATOR), autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
        try:
            yield
        finally:
            connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
