"""The levels of the rollups, and the one way to read them: stored buckets where there are some, else finer ones.

A bucket is stored where it has at least LEAST_ROWS rows and lies before the frontier (see rollups.py); fewer rows are
as quick to read as the bucket that would stand for them. So a reader asks for a level, takes what is stored, and fills
the gaps from the next finer level and at last from the rows: there is no gap at the live edge, and nobody has to know
which device reports how often.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection, text

from model.block import I64, Schema
from model.time import NS_PER_S
from smc.store.aggregates import STATISTICS, Aggregates, coarser, concatenate
from smc.store.copy import Batch, Column, PgType, copy_batches
from smc.store.partitions import days_of, ensure_days
from smc.store.runs import RUNS, Runs, inside
from smc.store.unpack import array

LEAST_ROWS = 15  # a bucket replaces at least so many rows


class Level(IntEnum):
    """How wide a stored bucket is."""

    MINUTE = 0
    QUARTER = 1  # of an hour
    DAY = 2

    @property
    def width_ns(self) -> int:
        """Nanoseconds of a bucket; buckets begin at whole multiples of it since 1970."""
        return (60, 900, 86_400)[self] * NS_PER_S

    @property
    def plural(self) -> str:
        """As the tables are named."""
        return ("minutes", "quarters", "days")[self]


class Source(Protocol):
    """One kind of series with its rollups, maybe narrowed to some of its columns."""

    schema: ClassVar[Schema]
    series: ClassVar[tuple[str, ...]]  # the tables of its rows, the first one has one line per reading or part

    def table(self, level: Level) -> str:
        """The rollup table."""

    def stored(self, conn: Connection, level: Level, runs: Runs) -> Aggregates:
        """Stored buckets that begin in the runs."""

    def rows(self, conn: Connection, runs: Runs) -> Aggregates:
        """Rows in the runs, each as a bucket of its own."""

    def weigh(self, conn: Connection, runs: Runs) -> I64:
        """About how many rows each run has, shape (runs,); below LEAST_ROWS only where there are fewer."""

    def batches(self, made: Aggregates) -> list[Batch]:
        """Buckets as rows of a rollup table."""


def read(conn: Connection, source: Source, level: Level, runs: Runs) -> Aggregates:
    """The runs in buckets of the level, stored or made just now: the same bits either way. Of a bucket that reaches out
    of its run only the part inside is told."""
    found = source.stored(conn, level, runs.whole(level.width_ns))
    rest = runs.without(found.device, found.time_ns, level.width_ns)
    return concatenate([found, make(conn, source, level, rest)]) if len(rest) else found


def make(conn: Connection, source: Source, level: Level, runs: Runs) -> Aggregates:
    """The runs in buckets of the level, made of what is finer."""
    finer = source.rows(conn, runs) if level is Level.MINUTE else read(conn, source, Level(level - 1), runs)
    return coarser(finer, level.width_ns)


def pieces(conn: Connection, source: Source, level: Level, runs: Runs) -> list[Aggregates]:
    """As `read`, but what is not stored at the level comes as it is: finer buckets, and rows with their own times."""
    found = source.stored(conn, level, runs.whole(level.width_ns))
    rest = runs.without(found.device, found.time_ns, level.width_ns)
    if not len(rest):
        return [found]
    if level is Level.MINUTE:
        return [found, source.rows(conn, rest)]
    return [found, *pieces(conn, source, Level(level - 1), rest)]


def recompute(conn: Connection, source: Source, wanted: Sequence[Level], runs: Runs) -> None:
    """Compute these levels in the runs anew, the first from what is finer, each further one from the one before it.

    Runs are whole buckets of every level.
    """
    made = make(conn, source, wanted[0], runs)
    for level in wanted:
        made = coarser(made, level.width_ns)
        _replace(conn, source, level, runs, made.take(made.rows >= LEAST_ROWS))


def _replace(conn: Connection, source: Source, level: Level, runs: Runs, made: Aggregates) -> None:
    table = source.table(level)
    conn.execute(text(f"DELETE FROM {table} m USING {RUNS} WHERE {inside('m')}"), runs.bound())  # noqa: S608 (own names)
    if len(made):
        ensure_days(conn, [table], days_of(made.time_ns))
        copy_batches(conn, table, source.batches(made))


def fetch(conn: Connection, columns: Sequence[str], source: str, runs: Runs) -> list[npt.NDArray[Any]]:
    """Columns of an own FROM clause with RUNS in it, as arrays."""
    sent = ", ".join(f"array_send(array_agg({column}))" for column in columns)
    return [array(s) for s in conn.execute(text(f"SELECT {sent} FROM {source}"), runs.bound()).one()]  # noqa: S608


def scalars(signals: Sequence[str]) -> list[str]:
    """Names of the statistics of signals that have columns of their own, statistic by statistic."""
    return [f"{signal}_{what}" for what in STATISTICS for signal in signals]


def scalar_columns(signals: Sequence[str], wide: frozenset[str], made: Aggregates) -> list[Column]:
    """The first columns of the aggregates as columns of a table; `wide` ones have extremes in double precision."""
    columns = []
    for what in STATISTICS:
        for row, signal in enumerate(signals):
            columns.append(Column(f"{signal}_{what}", type_of(what, signal in wide), getattr(made, what)[row]))
    return columns


def type_of(what: str, wide: bool = False) -> PgType:
    """How a statistic is stored: extremes and last value as precisely as the rows themselves."""
    if what == "n":
        return PgType.INT4
    return PgType.FLOAT8 if wide or what in ("sum", "square") else PgType.FLOAT4


def place_columns(made: Aggregates) -> list[Column]:
    """What every rollup table begins with."""
    return [
        Column("device_id", PgType.INT4, made.device),
        Column("time", PgType.TIMESTAMPTZ, made.time_ns),
        Column("received", PgType.TIMESTAMPTZ, made.received_ns),
        Column("rows", PgType.INT4, made.rows),
    ]


def whole_numbers(values: npt.NDArray[Any]) -> I64:
    """As int64, also the empty array that a query without rows gives."""
    return values.astype(np.int64)
