"""Fixtures: Valkey from the wheel and a real Redis, each emptied before a test gets it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from host.valkey import Valkey
from tests.servers.needs import program

BUSES = [
    pytest.param("valkey", marks=pytest.mark.valkey),
    pytest.param("redis", marks=pytest.mark.redis),
]


@pytest.fixture(scope="session")
def valkey_server() -> Iterator[Valkey]:
    """The Valkey of the wheel."""
    yield from _server(None)


@pytest.fixture(scope="session")
def redis_server() -> Iterator[Valkey]:
    """Debian's Redis, on a private socket."""
    yield from _server(Path(program("redis-server", "redis-server")))


@pytest.fixture(params=BUSES)
def bus_url(request: pytest.FixtureRequest) -> str:
    """URL of an empty bus, on Valkey and on Redis."""
    return _emptied(request.getfixturevalue(f"{request.param}_server"))


@pytest.fixture
def valkey_url(valkey_server: Valkey) -> str:
    """URL of an empty bus on Valkey: for tests whose subject is not the bus."""
    return _emptied(valkey_server)


def _server(binary: Path | None) -> Iterator[Valkey]:
    with tempfile.TemporaryDirectory(prefix="grid-smc-test-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o711)  # a server started by root runs as nobody and must get through
        with Valkey(Path(folder), binary=binary) as server:
            yield server


def _emptied(server: Valkey) -> str:
    with redis.Redis.from_url(server.url) as client:
        client.flushall()
    return server.url
