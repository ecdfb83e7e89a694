"""Topics shared out by locks of the committing connection: fair, without a clock, lost with the connection."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import date
from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, text

from host.database import engine
from smc.store.ownership import Ownership, OwnershipLost, fair_share
from smc.store.partitions import ensure_days

_SOMEBODY_WAITS = text("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)")
TOPICS = [f"readings.0.8.{number}" for number in range(8)] + ["refused"]


@given(st.integers(0, 300), st.sets(st.integers(1, 64), min_size=1))
def test_shares_are_fair_and_leave_nothing_over(topics: int, slots: set[int]) -> None:
    shares = [fair_share(topics, list(slots), slot) for slot in slots]
    assert sum(shares) == topics
    assert max(shares) - min(shares) <= 1
    assert max(shares) <= -(-topics // len(slots))


@pytest.fixture
def store(database: str) -> Iterator[Engine]:
    made = engine(database, "worker", pool_size=2)
    yield made
    made.dispose()


def shared(owners: list[Ownership]) -> list[int]:
    """Let everybody balance until nothing changes; how many each holds. No topic is ever held twice."""
    while True:
        before = [list(owner.topics) for owner in owners]
        for owner in owners:
            owner.balance(TOPICS)
        held = list(chain.from_iterable(owner.topics for owner in owners))
        assert len(held) == len(set(held)), f"owned twice: {before}"
        if [owner.topics for owner in owners] == before:
            return [len(owner.topics) for owner in owners]


def test_workers_share_fairly_while_they_come_and_go(store: Engine) -> None:
    with ExitStack() as stack:
        owners = [stack.enter_context(Ownership(store)) for _ in range(2)]
        assert [owner.slot for owner in owners] == [1, 2]
        assert shared(owners) == [5, 4]
        owners += [stack.enter_context(Ownership(store)) for _ in range(2)]
        assert shared(owners) == [3, 2, 2, 2]
        for owner in owners[:3]:
            owner.__exit__(None, None, None)
        assert shared(owners[3:]) == [9]
        owners[0] = stack.enter_context(Ownership(store))
        assert owners[0].slot == 1, "a free slot is used again"
        assert shared([owners[0], owners[3]]) == [5, 4]


def test_what_is_not_wanted_any_more_is_given_back(store: Engine) -> None:
    with Ownership(store) as owner, Ownership(store) as other:
        owner.balance(TOPICS)
        other.balance(TOPICS)
        assert owner.balance(["readings.1.4.0"]) == ["readings.1.4.0"]
        assert owner.topics == ["readings.1.4.0"]
        shared([other, owner])


def test_a_topic_is_free_once_its_owner_is_gone(store: Engine) -> None:
    with Ownership(store) as second:
        with Ownership(store) as first:
            first.balance(TOPICS[:2])
            assert len(first.topics) == 1
            assert second.balance(TOPICS[:2]) == [topic for topic in TOPICS[:2] if topic not in first.topics]
        assert len(second.balance(TOPICS[:2])) == 1
        assert sorted(second.topics) == TOPICS[:2]


def cut_off_while_writing(owner: Ownership, others: Connection) -> None:
    with owner.transaction() as conn:
        conn.execute(text("INSERT INTO sites VALUES ('DSO-9999', '', 'DE', 'DE-BY', true)"))
        pid = conn.scalar(text("SELECT pg_backend_pid()"))
        assert others.scalar(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid})
        conn.execute(text("SELECT 1"))


def test_a_broken_connection_loses_locks_and_transaction_together(store: Engine) -> None:
    with Ownership(store) as owner, store.connect() as others:
        owner.balance(TOPICS)
        with pytest.raises(OwnershipLost):
            cut_off_while_writing(owner, others)
        assert others.scalar(text("SELECT count(*) FROM sites")) == 0
        with pytest.raises(OwnershipLost), owner.transaction():
            pass  # never on another connection, which holds no lock
        with Ownership(store) as heir:
            assert sorted(heir.balance(TOPICS)) == sorted(TOPICS)


def test_two_workers_that_meet_a_new_day_at_once_make_it_once(store: Engine) -> None:
    """The second looks for the day while the first makes it, waits, and then must see it."""
    day = [date(2026, 11, 1)]

    def second() -> int:
        with Ownership(store) as owner, owner.transaction() as conn:
            return ensure_days(conn, ["meter_readings"], day)

    with ThreadPoolExecutor(1) as pool, Ownership(store) as owner:
        with owner.transaction() as conn:
            made = ensure_days(conn, ["meter_readings"], day)  # 0 where hypertables make their chunks themselves
            work = pool.submit(second)
            while made and not work.done() and not conn.scalar(_SOMEBODY_WAITS):
                time.sleep(0.01)
        assert work.result(20) == 0
