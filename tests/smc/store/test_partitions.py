"""Days of the series: made when met, strays counted and given their days, and the length of chunks."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from sqlalchemy import Connection, text

from smc.store import chunks, partitions, telemetry
from smc.store.chunks import Layout, layout
from smc.store.edition import detect
from smc.store.ingest import store_block
from smc.store.partitions import Span
from tests.smc.store.blocks import START_NS, meter_block, transaction

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
DAY_S = 86_400


def plain_only(conn: Connection) -> None:
    if detect(conn).has_hypertables:
        pytest.skip("hypertables have no default partition")


def test_a_span_knows_the_days_it_touches() -> None:
    day = date(2024, 2, 29)
    assert Span.of_day(day).days() == [day]
    six = datetime(2024, 2, 29, 18, tzinfo=UTC)
    assert Span(six, six + timedelta(hours=6)).days() == [day]
    assert Span(six, six + timedelta(hours=7)).days() == [day, date(2024, 3, 1)]
    assert len(Span(six, six + timedelta(days=7)).days()) == 8


def test_a_sender_with_a_wild_clock_cannot_fill_the_catalogue(database: str) -> None:
    block = meter_block(1, 200, step_s=DAY_S)
    with transaction(database) as conn:
        assert store_block(conn, block).rows_new == 200
        plain_only(conn)
        assert partitions.strays(conn, ["meter_readings", "phasors"]) == {"meter_readings": 200 - 64}
        assert store_block(conn, block).rows_duplicate == 200
        everything = telemetry.readings(conn, 1, NOW - timedelta(days=1), NOW + timedelta(days=300), 1_000)
        assert len(everything["time_ns"]) == 200


def test_strays_are_given_their_days_a_few_at_a_time(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with transaction(database) as conn:
        plain_only(conn)
        store_block(conn, meter_block(2, 70, step_s=DAY_S))
        assert partitions.settle_strays(conn, "meter_readings", 4) == 4
        assert partitions.strays(conn, ["meter_readings"]) == {"meter_readings": 4}
        assert partitions.settle_strays(conn, "meter_readings", 4) == 2
        assert partitions.strays(conn, ["meter_readings"]) == {}
        assert len(partitions.spans(conn, "meter_readings")) == 70
        store_block(conn, meter_block(1, 140, step_s=DAY_S))
        monkeypatch.setattr(partitions, "MAX_PARTITIONS", len(partitions.spans(conn, "meter_readings")))
        assert partitions.settle_strays(conn, "meter_readings", 4) == 0, "the catalogue is full enough"


def test_writers_share_their_days_and_nobody_can_claim_them(database: str) -> None:
    span = Span.of_day(datetime.fromtimestamp(START_NS / 1e9, UTC).date())
    with transaction(database) as conn:
        store_block(conn, meter_block(1, 1))
    with transaction(database) as writing, transaction(database) as another, transaction(database) as dropping:
        store_block(writing, meter_block(2, 2))
        partitions.ensure_days(another, ["meter_readings"], span.days())
        assert not partitions.claim(dropping, ["meter_readings"], span)
        assert partitions.claim(dropping, ["phasors"], span)
    with transaction(database) as dropping:
        assert partitions.claim(dropping, ["meter_readings"], span)


def test_days_that_a_block_has_too_many_of_cannot_be_claimed_either(database: str) -> None:
    first = Span.of_day(datetime.fromtimestamp(START_NS / 1e9, UTC).date())
    with transaction(database) as writing, transaction(database) as dropping:
        partitions.ensure_days(
            writing, ["meter_readings"], [first.days()[0] + timedelta(days=n) for n in range(70, 0, -1)]
        )
        assert not partitions.claim(dropping, ["meter_readings"], first)
    with transaction(database) as dropping:
        assert partitions.claim(dropping, ["meter_readings"], first)


@pytest.mark.parametrize(
    ("index_bytes_per_h", "memory_gib", "expected"),
    [
        (0, 1, Layout(168, True)),
        (1 << 20, 1, Layout(168, True)),
        (256 / 168 * (1 << 20), 1, Layout(168, True)),
        (256 / 167 * (1 << 20), 1, Layout(24, True)),
        (100 * 3_600 * 30, 3, Layout(24, True)),  # storage design: 100 rows/s are 250 MB a day
        (1_111 * 3_600 * 30, 3, Layout(6, True)),  # a million meters every 15 minutes
        (7_000 * 3_600 * 30, 3, Layout(6, False)),  # and a thousand PMUs: more memory is needed
    ],
)
def test_chunks_are_as_long_as_their_indexes_fit_into_memory(
    index_bytes_per_h: float, memory_gib: int, expected: Layout
) -> None:
    assert layout(index_bytes_per_h, memory_gib << 30) == expected


def test_the_length_of_chunks_follows_those_that_closed(database: str) -> None:
    tomorrow = datetime.fromtimestamp(START_NS / 1e9, UTC) + timedelta(days=1, hours=2)
    with transaction(database) as conn:
        store_block(conn, meter_block(3, 10))
        if not detect(conn).has_hypertables:
            assert chunks.adapt(conn, ["meter_readings"], tomorrow) is None
            return
        assert chunks.adapt(conn, ["meter_readings"], tomorrow - timedelta(days=1)) is None, "none has closed"
        interval = text(
            "SELECT time_interval FROM timescaledb_information.dimensions WHERE hypertable_name = 'meter_readings'"
        )
        assert conn.scalar(interval) == timedelta(days=1)
        assert chunks.adapt(conn, ["meter_readings"], tomorrow) == Layout(168, True)
        assert conn.scalar(interval) == timedelta(days=7)
        (closed,) = partitions.spans(conn, "meter_readings")
        assert closed.end - closed.start == timedelta(days=1), "what is there stays as it is"
        store_block(conn, meter_block(3, 10, step_s=3 * DAY_S))
        assert max(s.end - s.start for s in partitions.spans(conn, "meter_readings")) == timedelta(days=7)
