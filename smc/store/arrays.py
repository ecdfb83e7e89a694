"""numpy arrays as parameters of a query, in the binary form of PostgreSQL's arrays: no Python object per element."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import psycopg
from psycopg.adapt import Dumper
from psycopg.pq import Format
from sqlalchemy import Connection

from smc.store.copy import Column, PgType, array_type, as_sqlalchemy, driver_cursor, values_of


@dataclass(frozen=True, slots=True)
class Array:
    """A one-dimensional array of a type, named in the statement as e.g. `%(devices)s::int4[]`."""

    type: PgType
    data: npt.NDArray[Any]


class _ArrayDumper(Dumper):
    """The cast in the statement tells the server the type, so none is sent with the bytes."""

    format = Format.BINARY

    def dump(self, obj: Array) -> bytes:
        sent = np.zeros((), array_type(obj.type, len(obj.data)))
        sent["dimensions"], sent["oid"], sent["length"], sent["first"] = 1, obj.type.oid, len(obj.data), 1
        sent["elements"]["n"] = obj.type.wire.itemsize
        sent["elements"]["v"] = values_of(Column("", obj.type, obj.data), slice(None))
        return sent.tobytes()


def run(conn: Connection, statement: str, parameters: Mapping[str, object]) -> list[tuple[Any, ...]]:
    """Rows of a statement (none if it returns none) in the connection's transaction; Arrays of at least 1 element.

    Raises SQLAlchemy's errors as any statement does.
    """
    try:
        with driver_cursor(conn) as cursor:
            cursor.adapters.register_dumper(Array, _ArrayDumper)
            cursor.execute(statement, parameters)
            return cursor.fetchall() if cursor.description else []
    except psycopg.Error as error:
        raise as_sqlalchemy(conn, statement, error) from error
