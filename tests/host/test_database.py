"""The door to the database: clear errors, one migration at a time, and back again without remains."""

import threading

import pytest
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError, OperationalError

from host.database import downgrade, engine, migrate
from host.postgres import ADMINISTRATOR, Postgres
from model.errors import SetupError

TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'alembic_version' ORDER BY 1"


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("postgresql://grid:hush@/smc?host=/nowhere", "reachable"),
        ("postgresql://grid:hush@127.0.0.1:1/smc", "reachable"),
        ("sqlite://", "a PostgreSQL or TimescaleDB"),
        ("hush", "postgresql://user@host/database"),
    ],
)
def test_a_wrong_address_is_one_line_without_the_password(url: str, told: str) -> None:
    with pytest.raises(SetupError, match=told) as caught, engine(url, "test").connect():
        pass
    assert "\n" not in str(caught.value)
    assert "grid:hush" not in str(caught.value)


def test_a_missing_database_is_named(postgres_embedded: Postgres) -> None:
    with pytest.raises(SetupError, match='database "nothing" does not exist'):
        migrate(postgres_embedded.url("nothing"), "smc")


def test_a_server_that_went_away_is_waited_for_not_explained(postgres_embedded: Postgres) -> None:
    """The stages retry an OperationalError; taken for a wrong address it would end them."""
    url = postgres_embedded.create_database("goes_away")
    made = engine(url, "test")
    with made.connect() as connection:
        number = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
    with postgres_administrator(postgres_embedded) as other:
        other.execute(text("SELECT pg_terminate_backend(:number)"), {"number": number})
    made.connect().close()  # a lost connection costs a reconnect, no error
    postgres_embedded.drop_database("goes_away")
    for _ in range(2):
        with pytest.raises(OperationalError):
            made.connect()
    postgres_embedded.create_database("goes_away")
    for _ in range(2):
        made.connect().close()
    made.dispose()
    postgres_embedded.drop_database("goes_away")


def postgres_administrator(server: Postgres) -> Connection:
    return engine(server.url("postgres", ADMINISTRATOR), "test", pool_size=1).connect()


@pytest.fixture
def made(smc_embedded: str) -> Engine:
    return engine(smc_embedded, "smc.test", statement_timeout_s=0.2)


def test_a_connection_says_who_it_is(made: Engine) -> None:
    with made.connect() as connection:
        assert connection.execute(text("SHOW application_name")).scalar_one() == "smc.test"
        assert connection.execute(text("SHOW timezone")).scalar_one() == "UTC"
    made.dispose()


def test_long_statements_end(made: Engine) -> None:
    with made.connect() as connection, pytest.raises(OperationalError, match="statement timeout"):
        connection.execute(text("SELECT pg_sleep(5)"))
    made.dispose()


def test_an_error_of_the_server_stays_an_error_of_the_server(made: Engine) -> None:
    """Only a missing connection is the operator's to mend; what happens on one is not dressed up."""
    with made.connect() as connection, pytest.raises(DBAPIError, match="terminating connection"):
        connection.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
    with made.connect() as connection:  # the pool notices and connects anew
        assert connection.execute(text("SELECT 1")).scalar_one() == 1
    made.dispose()


@pytest.mark.parametrize("branch", ["smc", "esmc"])
def test_up_and_down_leaves_nothing_behind(empty_database: str, branch: str) -> None:
    made = engine(empty_database, "test")
    with made.connect() as connection:
        before = connection.execute(text(TABLES)).scalars().all()
    migrate(empty_database, branch)
    migrate(empty_database, branch)
    with made.connect() as connection:
        assert "audit" in connection.execute(text(TABLES)).scalars().all()
    downgrade(empty_database, branch)
    with made.connect() as connection:
        assert connection.execute(text(TABLES)).scalars().all() == before == []
        assert connection.execute(text("SELECT count(*) FROM alembic_version")).scalar_one() == 0
    made.dispose()


@pytest.mark.embedded
def test_two_programs_that_migrate_at_once_wait_for_each_other(postgres_embedded: Postgres) -> None:
    url = postgres_embedded.create_database("at_once")
    failures: list[BaseException] = []

    def run() -> None:
        try:
            migrate(url, "smc")
        except BaseException as error:  # noqa: BLE001 - shown by the assertion below
            failures.append(error)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    postgres_embedded.drop_database("at_once")
    assert failures == []
