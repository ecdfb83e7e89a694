"""TAXII collections: objects with their versions, in an order that no poller can miss.

`date_added` rises strictly per collection, by microseconds, in commit order: a writer locks the collection's row
first, so a smaller value can never appear behind somebody who has already read past it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from model.ids import stable_id

MICROSECOND = timedelta(microseconds=1)
_NEWEST = "SELECT collection, last_added FROM taxii_collections"


@dataclass(frozen=True, slots=True)
class Collection:
    """A shelf. `readable` and `writable` say what members may do; the centre itself may do both."""

    collection: UUID
    alias: str
    title: str
    description: str
    readable: bool
    writable: bool


def _shelf(alias: str, title: str, description: str, *, readable: bool, writable: bool) -> Collection:
    return Collection(stable_id("collection", "ESMC", alias), alias, title, description, readable, writable)


INCIDENTS = _shelf("incidents", "Incidents", "cases of the members, for the centre only", readable=False, writable=True)
ADVICE = _shelf("advice", "Advice", "early alerts of the centre, for all members", readable=True, writable=False)
ACKNOWLEDGEMENTS = _shelf(
    "acknowledgements", "Acknowledgements", "members' answers to early alerts", readable=False, writable=True
)
COLLECTIONS = (ACKNOWLEDGEMENTS, ADVICE, INCIDENTS)


@dataclass(frozen=True, slots=True)
class Item:
    """An object on its way in, checked already."""

    id: str
    version: datetime
    type: str
    hash: bytes  # SHA-256 of body
    body: bytes  # sorted JSON


@dataclass(frozen=True, slots=True)
class Stored:
    """An object on the shelf."""

    seq: int
    id: str
    version: datetime
    type: str
    date_added: datetime
    body: bytes
    member: str


@dataclass(frozen=True, slots=True)
class Query:
    """What a poller wants. `versions` holds "first", "last", "all" or aware datetimes; empty lists mean no limit."""

    collection: UUID
    added_after: datetime | None = None
    ids: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    spec_versions: tuple[str, ...] = ()
    versions: tuple[str | datetime, ...] = field(default=("last",))


def ensure_collections(conn: Connection) -> None:
    """Put up the three shelves of the federation."""
    query = text(
        "INSERT INTO taxii_collections (collection, alias, title, description, readable, writable) "
        "VALUES (:collection, :alias, :title, :description, :readable, :writable) ON CONFLICT DO NOTHING"
    )
    conn.execute(query, [{name: getattr(c, name) for name in Collection.__slots__} for c in COLLECTIONS])


def add(conn: Connection, collection: UUID, items: Sequence[Item], member: str, now: datetime) -> list[str]:
    """Put objects on a shelf; one outcome each: "new", "duplicate" (same bytes) or "conflict" (other bytes).

    Holds the collection's row until the caller commits.
    """
    lock = text("SELECT last_added FROM taxii_collections WHERE collection = :collection FOR UPDATE")
    last_added: datetime = conn.execute(lock, {"collection": collection}).scalar_one()
    known = _known(conn, collection, {item.id for item in items})
    outcomes, fresh = [], []
    for item in items:
        found = known[item.id].get(item.version)
        outcomes.append("new" if found is None else "duplicate" if found == item.hash else "conflict")
        if found is None:
            known[item.id][item.version] = item.hash
            fresh.append(item)
    if fresh:
        _insert(conn, collection, fresh, known, member, max(now, last_added + MICROSECOND))
    return outcomes


def page(conn: Connection, query: Query, limit: int, after: datetime | None = None) -> list[Stored]:
    """Objects in order of `date_added`, at most `limit`, past `after` where a former page ended."""
    where, values = _conditions(query)
    if after is not None:
        where.append("date_added > :after")
        values["after"] = after
    select = "SELECT seq, id, version, type, date_added, body, member FROM taxii_objects WHERE "
    sql = select + " AND ".join(where) + " ORDER BY date_added LIMIT :limit"
    return [_stored(row) for row in conn.execute(text(sql), values | {"limit": limit})]


def newest(conn: Connection) -> dict[UUID, datetime]:
    """The newest `date_added` of every shelf. Exact: it is committed with the objects, by whoever holds the shelf.

    Asked for every poll of every member, hence by the driver itself, at a third of the cost. Raises psycopg.Error.
    """
    driver: Any = conn.connection.driver_connection
    return dict(driver.execute(_NEWEST).fetchall())


def since(conn: Connection, collection: UUID, seq: int, limit: int) -> list[Stored]:
    """Everything the centre has not looked at yet, in order of arrival."""
    query = text(
        "SELECT seq, id, version, type, date_added, body, member FROM taxii_objects "
        "WHERE collection = :collection AND seq > :seq ORDER BY seq LIMIT :limit"
    )
    return [_stored(row) for row in conn.execute(query, {"collection": collection, "seq": seq, "limit": limit})]


def exists(conn: Connection, collection: UUID, object_id: str) -> bool:
    """Whether any version of an object is on the shelf."""
    query = text("SELECT EXISTS (SELECT FROM taxii_objects WHERE collection = :collection AND id = :id)")
    return bool(conn.scalar(query, {"collection": collection, "id": object_id}))


def count(conn: Connection, collection: UUID) -> int:
    """Versions on a shelf."""
    query = text("SELECT count(*) FROM taxii_objects WHERE collection = :collection")
    return int(conn.scalar(query, {"collection": collection}) or 0)


def _known(conn: Connection, collection: UUID, ids: set[str]) -> dict[str, dict[datetime, bytes]]:
    query = text("SELECT id, version, hash FROM taxii_objects WHERE collection = :collection AND id = ANY(:ids)")
    known: dict[str, dict[datetime, bytes]] = defaultdict(dict)
    for row in conn.execute(query, {"collection": collection, "ids": list(ids)}):
        known[row.id][row.version] = bytes(row.hash)
    return known


def _insert(
    conn: Connection,
    collection: UUID,
    fresh: Sequence[Item],
    known: dict[str, dict[datetime, bytes]],
    member: str,
    start: datetime,
) -> None:
    unmark = text(
        "UPDATE taxii_objects SET is_first = is_first AND version = w.least, is_last = is_last AND version = w.most "
        "FROM unnest(CAST(:ids AS text[]), CAST(:least AS timestamptz[]), CAST(:most AS timestamptz[])) "
        "AS w(id, least, most) WHERE collection = :collection AND taxii_objects.id = w.id AND (is_first OR is_last)"
    )
    ids = sorted({item.id for item in fresh if len(known[item.id]) > 1})
    if ids:
        ends = {"least": [min(known[i]) for i in ids], "most": [max(known[i]) for i in ids]}
        conn.execute(unmark, {"collection": collection, "ids": ids, **ends})
    insert = text(
        "INSERT INTO taxii_objects (collection, id, version, type, spec_version, date_added, hash, body, member, "
        "is_first, is_last) SELECT :collection, id, version, type, '2.1', date_added, hash, body, :member, least, most "
        "FROM unnest(CAST(:ids AS text[]), CAST(:versions AS timestamptz[]), CAST(:types AS text[]), "
        "CAST(:dates AS timestamptz[]), CAST(:hashes AS bytea[]), CAST(:bodies AS bytea[]), CAST(:firsts AS bool[]), "
        "CAST(:lasts AS bool[])) WITH ORDINALITY "
        "AS n(id, version, type, date_added, hash, body, least, most, position) ORDER BY position"
    )
    dates = [start + i * MICROSECOND for i in range(len(fresh))]
    columns: dict[str, Any] = {
        "ids": [item.id for item in fresh],
        "versions": [item.version for item in fresh],
        "types": [item.type for item in fresh],
        "dates": dates,
        "hashes": [item.hash for item in fresh],
        "bodies": [item.body for item in fresh],
        "firsts": [item.version == min(known[item.id]) for item in fresh],
        "lasts": [item.version == max(known[item.id]) for item in fresh],
    }
    conn.execute(insert, {"collection": collection, "member": member, **columns})
    moved = text("UPDATE taxii_collections SET last_added = :last WHERE collection = :collection")
    conn.execute(moved, {"collection": collection, "last": dates[-1]})


def _conditions(query: Query) -> tuple[list[str], dict[str, Any]]:
    where = ["collection = :collection"]
    values: dict[str, Any] = {"collection": query.collection}
    lists = {"id": query.ids, "type": query.types, "spec_version": query.spec_versions}
    for column, chosen in lists.items():
        if chosen:
            where.append(f"{column} = ANY(:{column})")
            values[column] = list(chosen)
    if query.added_after is not None:
        where.append("date_added > :added_after")
        values["added_after"] = query.added_after
    if "all" not in query.versions:
        stamps = [v for v in query.versions if isinstance(v, datetime)]
        words = [f"is_{v}" for v in query.versions if v in ("first", "last")]
        where.append("(" + " OR ".join([*words, *(["version = ANY(:versions)"] if stamps else [])]) + ")")
        values |= {"versions": stamps} if stamps else {}
    return where, values


def _stored(row: Any) -> Stored:
    return Stored(**{**row._mapping, "body": bytes(row.body)})
