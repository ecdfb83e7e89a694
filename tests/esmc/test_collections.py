"""The shelves: order that no poller can miss, versions, conflicts; on both database editions."""

from __future__ import annotations

import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from esmc.store import taxii
from esmc.store.taxii import Item, Query
from host.database import engine
from model.ids import new_id

AT = datetime(2026, 11, 1, 10, tzinfo=UTC)
SHELF = taxii.ADVICE.collection


@pytest.fixture
def store(esmc_database: str):
    made = engine(esmc_database, "test", pool_size=12)
    with made.begin() as conn:
        taxii.ensure_collections(conn)
    yield made
    made.dispose()


def item(ref: str, minutes: int = 0, body: bytes = b"{}") -> Item:
    return Item(ref, AT + timedelta(minutes=minutes), "note", hashlib.sha256(body).digest(), body)


def test_versions_arrive_in_any_order_and_the_latest_is_current(store) -> None:
    with store.begin() as conn:
        assert taxii.add(conn, SHELF, [item("note--1", 5)], "m", AT) == ["new"]
        assert (
            taxii.add(conn, SHELF, [item("note--1", 0), item("note--1", 9), item("note--1", 7)], "m", AT) == ["new"] * 3
        )
        (last,) = taxii.page(conn, Query(SHELF), 10)
        (first,) = taxii.page(conn, Query(SHELF, versions=("first",)), 10)
        every = taxii.page(conn, Query(SHELF, versions=("all",)), 10)
    assert (last.version, first.version) == (AT + timedelta(minutes=9), AT)
    assert len(every) == 4
    assert [s.date_added for s in every] == sorted({s.date_added for s in every}), "strictly rising"


def test_same_bytes_are_a_duplicate_and_other_bytes_a_conflict(store) -> None:
    with store.begin() as conn:
        both = [item("note--1"), item("note--1"), item("note--1", body=b"[]")]
        assert taxii.add(conn, SHELF, both, "m", AT) == ["new", "duplicate", "conflict"]
        assert taxii.count(conn, SHELF) == 1


def test_date_added_rises_though_the_clock_steps_back(store) -> None:
    with store.begin() as conn:
        taxii.add(conn, SHELF, [item("note--1")], "m", AT)
        taxii.add(conn, SHELF, [item("note--2")], "m", AT - timedelta(hours=1))
        first, second = taxii.page(conn, Query(SHELF), 10)
    assert second.date_added > first.date_added


def follow(store, stop: threading.Event) -> list[str]:
    """What a poller sees that remembers the last `date_added`."""
    seen: list[str] = []
    after = None
    while True:
        ending = stop.is_set()
        with store.begin() as conn:
            rows = taxii.page(conn, Query(SHELF, added_after=after), 50)
        seen += [r.id for r in rows]
        after = rows[-1].date_added if rows else after
        if ending and not rows:
            return seen


def write_carefully(store, writer: int) -> None:
    for n in range(40):
        with store.begin() as conn:
            taxii.add(conn, SHELF, [item(f"note--{writer}-{n}")], "m", datetime.now(UTC))
            conn.execute(text("SELECT pg_sleep(0.001)"))


def write_naively(store, writer: int) -> None:
    """Takes the time first and commits when it can: what everybody writes at first."""
    insert = text(
        "INSERT INTO taxii_objects (collection, id, version, type, spec_version, date_added, hash, body, member, "
        "is_first, is_last) VALUES (:c, :id, now(), 'note', '2.1', clock_timestamp(), '', '', 'm', true, true) "
        "ON CONFLICT DO NOTHING"  # two writers may meet on one microsecond
    )
    for n in range(40):
        with store.begin() as conn:
            conn.execute(insert, {"c": SHELF, "id": f"note--{writer}-{n}-{new_id()}"})
            conn.execute(text("SELECT pg_sleep(:s)"), {"s": 0.03 if writer == 0 else 0.001})


@pytest.mark.parametrize(("write", "loses"), [(write_carefully, False), (write_naively, True)])
def test_parallel_writers_and_a_poller_lose_nothing_and_the_naive_way_does(store, write, loses: bool) -> None:
    stop = threading.Event()
    with ThreadPoolExecutor(5) as pool:
        poller = pool.submit(follow, store, stop)
        for done in [pool.submit(write, store, writer) for writer in range(4)]:
            done.result()
        stop.set()
        seen = poller.result()
    assert len(seen) == len(set(seen))
    assert (len(seen) < 160) is loses
