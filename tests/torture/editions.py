"""The servers that a test of its own may start: both databases, both buses."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from model.errors import OperatorError
from scripts import timescale
from tests.servers.needs import missing, program

NAMES = {"embedded": "PostgreSQL", "timescale": "TimescaleDB", "valkey": "Valkey", "redis": "Redis"}


def database_options(edition: str) -> Mapping[str, object]:
    """Of host.postgres.Postgres."""
    if edition == "embedded":
        return {}
    try:
        return {"binaries": timescale.get(), "options": timescale.OPTIONS}
    except OperatorError as error:
        missing("TimescaleDB", str(error))


def bus_options(kind: str) -> Mapping[str, object]:
    """Of host.valkey.Valkey."""
    return {} if kind == "valkey" else {"binary": Path(program("redis-server", "redis-server"))}
