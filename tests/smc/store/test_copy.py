"""The binary COPY encoder, proven by reading back what PostgreSQL understood."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from psycopg import errors
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError, OperationalError, ProgrammingError

from smc.store import arrays, copy
from smc.store.arrays import Array
from smc.store.copy import POSTGRES_EPOCH_US, Batch, Column, PgType, copy_batches, encode
from tests.smc.store.blocks import engine_of, transaction

NATIVE = {
    PgType.INT2: np.int16,
    PgType.INT4: np.int32,
    PgType.INT8: np.int64,
    PgType.FLOAT4: np.float32,
    PgType.FLOAT8: np.float64,
}
TABLE = (
    "CREATE TEMP TABLE t (n int4, int2 int2, int4 int4, int8 int8, float4 float4, float8 float8, "
    "int2s int2[], int4s int4[], int8s int8[], float4s float4[], float8s float8[])"
)


def drawn(kind: type[np.generic], shape: tuple[int, ...]) -> st.SearchStrategy[Any]:
    return hnp.arrays(kind, shape)


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    rows, length = draw(st.integers(1, 6)), draw(st.integers(1, 5))
    columns = [Column("n", PgType.INT4, np.arange(rows))]
    for kind, native in NATIVE.items():
        columns.append(Column(kind.name.lower(), kind, draw(drawn(native, (rows,)))))
        columns.append(Column(f"{kind.name.lower()}s", kind, draw(drawn(native, (rows, length)))))
    return Batch(rows, tuple(columns))


@pytest.mark.timeout(120)
@pytest.mark.parametrize("piece_bytes", [1, 700, copy.PIECE_BYTES])
def test_every_value_comes_back_as_it_went(database: str, piece_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copy, "PIECE_BYTES", piece_bytes)  # one row in a piece, a few, all of them
    with transaction(database) as conn:
        conn.execute(text(TABLE))

        @settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
        @given(st.lists(batches(), min_size=1, max_size=3))
        def check(made: list[Batch]) -> None:
            conn.execute(text("TRUNCATE t"))
            copy_batches(conn, "t", made)
            for column in made[0].columns:
                found = conn.execute(text(f"SELECT {column.name} FROM t ORDER BY ctid")).scalars().all()
                sent = [row for batch in made for row in next(c for c in batch.columns if c.name == column.name).data]
                for got, gave in zip(found, sent, strict=True):
                    np.testing.assert_array_equal(np.asarray(got, gave.dtype), gave)

        check()


def test_columns_of_one_value_and_of_many_are_told_apart() -> None:
    rows = np.array([[7, 7, 7], [1, 2, 7], [-1, -1, -1]])
    whole = Batch(3, tuple(Column(f"c{i}", PgType.INT8, column) for i, column in enumerate(rows)))
    single = [Batch(1, tuple(Column(f"c{i}", PgType.INT8, c[n : n + 1]) for i, c in enumerate(rows))) for n in range(3)]
    assert encode(whole) == b"".join(map(encode, single))


def test_signs_of_zero_survive() -> None:
    sent = encode(Batch(2, (Column("z", PgType.FLOAT8, np.array([0.0, -0.0])),)))
    assert [sent[6], sent[20]] == [0x00, 0x80]


def test_arrays_as_parameters_are_what_the_server_understands(database: str) -> None:
    made = {kind: np.arange(-2, 5).astype(native) for kind, native in NATIVE.items()}
    with transaction(database) as conn:
        for kind, data in made.items():
            statement = f"SELECT %(a)s::{kind.name.lower()}[], cardinality(%(a)s::{kind.name.lower()}[])"
            assert arrays.run(conn, statement, {"a": Array(kind, data)}) == [(data.tolist(), 7)]
        moments = Array(PgType.TIMESTAMPTZ, np.array([1_700_000_000_123_456_789, -1]))
        found = arrays.run(conn, "SELECT unnest(%(t)s::timestamptz[]) AT TIME ZONE 'UTC'", {"t": moments})
        assert [moment for (moment,) in found] == [
            datetime(2023, 11, 14, 22, 13, 20, 123_456),  # noqa: DTZ001 (asked for in UTC)
            datetime(1969, 12, 31, 23, 59, 59, 999_999),  # noqa: DTZ001
        ]
        with pytest.raises(ProgrammingError), conn.begin_nested():
            arrays.run(conn, "SELECT %(a)s::int4[] FROM nowhere", {"a": Array(PgType.INT4, np.arange(2))})
        assert arrays.run(conn, "CREATE TEMP TABLE none_of_it ()", {}) == []


@given(st.integers(-(2**62), 2**62))
@settings(max_examples=30, deadline=None)
def test_times_are_cut_to_the_microsecond(time_ns: int) -> None:
    sent = encode(Batch(1, (Column("t", PgType.TIMESTAMPTZ, np.array([time_ns])),)))
    assert int.from_bytes(sent[6:], "big", signed=True) == time_ns // 1000 - POSTGRES_EPOCH_US


def test_a_time_is_the_same_moment_in_the_database(database: str) -> None:
    with transaction(database) as conn:
        conn.execute(text("CREATE TEMP TABLE t (t timestamptz)"))
        copy_batches(conn, "t", [Batch(1, (Column("t", PgType.TIMESTAMPTZ, np.array([1_700_000_000_123_456_789])),))])
        expected = datetime(2023, 11, 14, 22, 13, 20, 123_456, UTC)
        assert conn.execute(text("SELECT t FROM t")).scalar_one() == expected


def test_null_columns_missing_values_and_too_large_values(database: str) -> None:
    with transaction(database) as conn:
        conn.execute(text("CREATE TEMP TABLE t (a real[], b real)"))
        values = np.array([np.nan, 1e300])
        copy_batches(conn, "t", [Batch(2, (Column("a", PgType.FLOAT4, None), Column("b", PgType.FLOAT4, values)))])
        found = conn.execute(text("SELECT a IS NULL, b::text FROM t ORDER BY ctid")).all()
        assert [tuple(row) for row in found] == [(True, "NaN"), (True, "Infinity")]


def test_an_empty_array_and_a_missing_transaction_are_refused(database: str) -> None:
    batch = Batch(1, (Column("a", PgType.FLOAT4, np.zeros((1, 0))),))
    with transaction(database) as conn:
        conn.execute(text("CREATE TEMP TABLE t (a real[])"))
        with pytest.raises(ValueError, match="at least 1 element"), conn.begin_nested():
            copy_batches(conn, "t", [batch])
        assert conn.execute(text("SELECT count(*) FROM t")).scalar_one() == 0
    engine = engine_of(database)
    with engine.connect() as conn, pytest.raises(ValueError, match="outside a transaction"):
        copy_batches(conn, "t", [batch])
    engine.dispose()


def test_errors_of_copy_are_those_of_any_statement(database: str) -> None:
    engine = engine_of(database)
    batch = Batch(2, (Column("a", PgType.INT4, np.array([7, 7])),))
    with engine.connect() as conn, conn.begin() as outer:
        conn.execute(text("CREATE TEMP TABLE t (a int4 UNIQUE)"))
        with pytest.raises(IntegrityError) as caught:
            copy_batches(conn, "t", [batch])
        assert isinstance(caught.value.orig, errors.UniqueViolation)
        outer.rollback()
    with engine.connect() as conn, engine.connect() as other:
        conn.execute(text("CREATE TEMP TABLE t (a int4)"))
        backend = conn.execute(text("SELECT pg_backend_pid()")).scalar_one()
        other.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": backend})
        with pytest.raises(OperationalError) as lost:
            copy_batches(conn, "t", [batch])
        assert lost.value.connection_invalidated
    with engine.connect() as conn:
        assert conn.execute(text("SELECT 1")).scalar_one() == 1, "the pool does not hand out the dead connection"
    engine.dispose()
