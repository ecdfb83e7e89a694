"""PostgreSQL's binary COPY format, written by numpy for whole batches: no Python object per row or value.

A row is a field count and, per field, its length and big-endian value. As all values here have fixed width, a batch
is one packed structured array whose bytes are the format itself (https://www.postgresql.org/docs/current/sql-copy.html,
"Binary Format"). Array fields need one length per batch: encode rows of equal length together.

A batch is written piece by piece into one buffer that stays in the processor's cache and already holds all that is
equal in every row. The server works on a piece while the next one is made.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
import psycopg
from psycopg import Cursor
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from model.block import is_folded
from model.time import NS_PER_US

SIGNATURE = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER = b"\xff\xff"
POSTGRES_EPOCH_US = 946_684_800_000_000  # 2000-01-01 in microseconds since 1970
PIECE_BYTES = 1 << 18


class PgType(Enum):
    """Column types we store: (numpy form on the wire, type oid)."""

    INT2 = (">i2", 21)
    INT4 = (">i4", 23)
    INT8 = (">i8", 20)
    FLOAT4 = (">f4", 700)
    FLOAT8 = (">f8", 701)
    TIMESTAMPTZ = (">i8", 1184)  # given as int64 nanoseconds since 1970, stored cut to the microsecond

    @property
    def wire(self) -> np.dtype[Any]:
        """Big-endian numpy type."""
        return np.dtype(self.value[0])

    @property
    def oid(self) -> int:
        """Object id of the type in every PostgreSQL."""
        return int(self.value[1])


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a batch: shape (n,) for scalars, (n, k) for arrays of k elements, None for NULL in every row."""

    name: str
    type: PgType
    data: npt.NDArray[Any] | None


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows of equal shape. Batches of one COPY have the same column names in the same order."""

    rows: int
    columns: tuple[Column, ...]


def encode(batch: Batch) -> bytes:
    """The rows of a batch without signature and trailer. Values are converted to the column's type: NaN stays NaN,
    never NULL, and what is too large for a REAL becomes infinite."""
    return b"".join(map(bytes, pieces(batch)))


def pieces(batch: Batch) -> Iterator[memoryview]:
    """What `encode` makes, in pieces of about PIECE_BYTES; each is valid until the next one is asked for."""
    row_type = _row_type(batch.columns)
    step = min(max(1, PIECE_BYTES // row_type.itemsize), max(1, batch.rows))
    pattern, differing = _pattern(batch.columns, row_type)
    packed = np.frombuffer(bytearray(pattern.tobytes()) * step, row_type)
    varying = [(_field(packed, i, column), column) for i, column in differing]
    for start in range(0, batch.rows, step):
        rows = min(step, batch.rows - start)
        with np.errstate(over="ignore"):
            for field, column in varying:
                field[:rows] = values_of(column, slice(start, start + rows))
        yield packed[:rows].view(np.uint8).data


def values_of(column: Column, rows: slice | int) -> npt.NDArray[Any]:
    """Some rows of a column as the server counts them: times in microseconds since 2000."""
    assert column.data is not None, "a column of NULLs has no values"
    data: npt.NDArray[Any] = column.data[rows]
    return data if column.type is not PgType.TIMESTAMPTZ else data // NS_PER_US - POSTGRES_EPOCH_US


def copy_batches(conn: Connection, table: str, batches: Sequence[Batch]) -> None:
    """One COPY of all batches into `table`, in the connection's transaction.

    Raises SQLAlchemy's errors as any statement does (IntegrityError, OperationalError, ...), although COPY goes round
    SQLAlchemy; the transaction is then broken up to the last savepoint.
    """
    names = ", ".join(f'"{column.name}"' for column in batches[0].columns)
    statement = f"COPY {table} ({names}) FROM STDIN (FORMAT BINARY)"
    try:
        with driver_cursor(conn) as cursor, cursor.copy(statement) as copy:
            copy.write(SIGNATURE)
            for piece in chain.from_iterable(map(pieces, batches)):
                copy.write(piece)
            copy.write(TRAILER)
    except psycopg.Error as error:
        raise as_sqlalchemy(conn, statement, error) from error


def as_sqlalchemy(conn: Connection, statement: str, error: psycopg.Error) -> BaseException:
    """The error as SQLAlchemy would raise it; a lost connection is given up, so that the pool does not keep it."""
    lost = conn.dialect.is_disconnect(error, conn.connection.driver_connection, None)  # type: ignore[arg-type]
    if lost:
        conn.invalidate(error)
    return DBAPIError.instance(statement, None, error, psycopg.Error, connection_invalidated=lost, dialect=conn.dialect)


def driver_cursor(conn: Connection) -> Cursor[Any]:
    """A psycopg cursor on the same connection and in the same transaction as `conn`."""
    if not conn.in_transaction():
        raise ValueError("COPY outside a transaction: begin one first")
    driver = conn.connection.driver_connection
    assert driver is not None, "a checked-out connection has a driver connection"
    cursor: Cursor[Any] = driver.cursor()
    return cursor


def _row_type(columns: Sequence[Column]) -> np.dtype[Any]:
    fields: list[tuple[str, Any]] = [("fields", ">i2")]
    for i, column in enumerate(columns):
        fields.append((f"n{i}", ">i4"))
        if column.data is None:
            continue
        if column.data.ndim == 1:
            fields.append((f"v{i}", column.type.wire))
        else:
            fields.append((f"v{i}", array_type(column.type, column.data.shape[1])))
    return np.dtype(fields)


def array_type(kind: PgType, length: int) -> np.dtype[Any]:
    """Binary form of an array of so many elements."""
    if length == 0:
        raise ValueError("an array column of no elements has another header, expected at least 1 element per row")
    header = [("dimensions", ">i4"), ("nulls", ">i4"), ("oid", ">i4"), ("length", ">i4"), ("first", ">i4")]
    element = np.dtype([("n", ">i4"), ("v", kind.wire)])
    return np.dtype([*header, ("elements", element, (length,))])


def _pattern(columns: Sequence[Column], row_type: np.dtype[Any]) -> tuple[npt.NDArray[Any], list[tuple[int, Column]]]:
    """One row, shape (), with all that is equal in every row: counts, lengths, array headers, columns of one value.
    And the other columns with their positions."""
    row = np.zeros((), row_type)
    row["fields"] = len(columns)
    differing = []
    for i, column in enumerate(columns):
        row[f"n{i}"] = -1 if column.data is None else row_type[f"v{i}"].itemsize
        if column.data is None:
            continue
        if column.data.ndim == 2:
            header = row[f"v{i}"]
            header["dimensions"], header["first"] = 1, 1
            header["oid"], header["length"] = column.type.oid, column.data.shape[1]
            header["elements"]["n"] = column.type.wire.itemsize
        if column.data.dtype.kind in "iu" and is_folded(column.data):  # 0.0 and -0.0 are equal, but not the same
            _field(row, i, column)[...] = values_of(column, 0)
        else:
            differing.append((i, column))
    return row, differing


def _field(rows: npt.NDArray[Any], i: int, column: Column) -> npt.NDArray[Any]:
    """Where the values of a column go, shape (...) or (..., k)."""
    field: npt.NDArray[Any] = rows[f"v{i}"]
    return field["elements"]["v"] if column.data is not None and column.data.ndim == 2 else field
