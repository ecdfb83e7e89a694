"""The shared servers are what they say they are."""

import redis
from sqlalchemy import create_engine, text


def test_a_database_is_migrated_and_of_its_edition(database: str, edition: str) -> None:
    with create_engine(database).connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM incidents")).scalar_one() == 0
        found = connection.execute(text("SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'")).scalar()
    assert (found is not None) == (edition == "timescale")


def test_the_european_database_is_migrated(esmc_database: str) -> None:
    with create_engine(esmc_database).connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM campaigns")).scalar_one() == 0


def test_the_bus_is_what_its_name_says(bus_url: str, request) -> None:
    with redis.Redis.from_url(bus_url) as client:
        info = client.info("server")
        assert client.dbsize() == 0
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
    assert ("valkey_version" in info) == ("valkey" in request.node.callspec.id)
