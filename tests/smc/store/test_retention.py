"""What goes when, on both editions: by receipt, not by stamp; never what a legal hold keeps, nor what just came in."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import OperationalError

from model.block import Block
from model.errors import DecodeError
from model.time import NS_PER_S, to_ns
from smc.gateway import batcher
from smc.store import holds, kept, partitions, quarantine, retention
from smc.store.edition import detect
from smc.store.ingest import store_block
from smc.store.partitions import Span
from smc.store.retention import Round
from smc.store.rollups import roll_up
from smc.store.series import SERIES, DataClass
from tests.smc.store.blocks import START_NS, engine_of, meter_block, phasor_block, transaction

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
ROLLUPS = {DataClass.ROLLUPS_MINUTE, DataClass.ROLLUPS_QUARTER, DataClass.ROLLUPS_DAY}
LIMITS = {each: timedelta(days=730 if each in ROLLUPS else 90) for each in DataClass}
NAMES = ("meter_readings", "phasor_seconds", "phasors")


def at(block: Block, moment: datetime, received: datetime | None = None) -> Block:
    """The block with its first stamp at `moment`, received then or when said."""
    shift = to_ns(moment) - START_NS
    come = block.received_ns + shift if received is None else block.received_ns * 0 + to_ns(received)
    return replace(block, time_ns=block.time_ns + shift, received_ns=come)


def store(url: str, moment: datetime, received: datetime | None = None) -> None:
    """Ten readings of two meters and five frames of a PMU."""
    with transaction(url) as conn:
        store_block(conn, at(meter_block(2, 5), moment, received))
        store_block(conn, at(phasor_block(1, 5), moment, received))


@contextmanager
def house(url: str) -> Iterator[Connection]:
    engine = engine_of(url)
    with engine.connect() as conn:
        yield conn
    engine.dispose()


def keep(url: str, now: datetime = NOW) -> Round:
    """What is stored is rolled up first, as a centre does all the time."""
    with house(url) as conn:
        assert not roll_up(conn, now).behind
        return retention.keep_round(conn, now, LIMITS)


def rows(url: str, series: str = "meter_readings") -> int:
    with transaction(url) as conn:
        return int(conn.execute(text(f"SELECT count(*) FROM {series}")).scalar_one())


def days_ago(days: float) -> datetime:
    return NOW - timedelta(days=days)


def test_what_was_received_long_ago_goes_and_is_remembered(database: str) -> None:
    for days in (100, 89, 0):
        store(database, days_ago(days))
    done = keep(database)
    # On both editions a span of meters and one of phasors with their seconds.
    assert (done.dropped, done.busy, done.held) == (2, 0, {})
    assert {name: rows(database, name) for name in NAMES} == {
        "meter_readings": 20,
        "phasor_seconds": 2,
        "phasors": 6,
    }
    with transaction(database) as conn:
        gone = conn.execute(text("SELECT series, day, dropped_at FROM dropped_days ORDER BY series")).all()
        assert [(r.series, r.day, r.dropped_at) for r in gone] == [(n, days_ago(100).date(), NOW) for n in NAMES]
        assert kept.dropped_days(conn) == dict.fromkeys(NAMES, 1)
    assert keep(database) == Round(0, 0, 0, 0, {})


def test_an_old_recording_is_kept_for_its_full_time_after_it_came(database: str) -> None:
    recorded = datetime(2008, 5, 1, 10, tzinfo=UTC)
    store(database, recorded, received=NOW)
    assert keep(database, NOW + timedelta(days=89)).dropped == 0
    assert rows(database) == 10
    assert keep(database, NOW + timedelta(days=91)).dropped == 2
    assert {rows(database, name) for name in NAMES} == {0}


def test_one_late_row_keeps_its_whole_day(database: str) -> None:
    store(database, days_ago(100))
    with transaction(database) as conn:
        late = at(meter_block(1, 1), days_ago(100) + timedelta(hours=1), received=days_ago(41))
        store_block(conn, late)
    assert keep(database).dropped == 1, "the phasors of that day"
    assert rows(database) == 11
    assert keep(database, NOW + timedelta(days=50)).dropped == 1


def test_rows_stay_until_their_rollups_are_made_and_these_have_their_own_days(database: str) -> None:
    with transaction(database) as conn:
        store_block(conn, at(meter_block(1, 120, step_s=1), days_ago(100)))
    with house(database) as conn:
        done = retention.keep_round(conn, NOW, LIMITS)
    assert (done.dropped, done.unrolled, rows(database)) == (0, 1, 120)
    assert keep(database).dropped == 1
    assert (rows(database), rows(database, "meter_minutes")) == (0, 2)
    assert keep(database, NOW + timedelta(days=729 - 100)).dropped == 0
    assert keep(database, NOW + timedelta(days=731 - 100)).dropped > 0
    assert rows(database, "meter_minutes") == 0


def test_what_is_known_to_be_young_is_not_looked_at_again(database: str) -> None:
    store(database, days_ago(100), received=days_ago(1))
    keep(database)
    with house(database) as conn, conn.begin():
        found = retention.known_receipts(conn, "meter_readings")
        assert [(span.start.date(), newest) for span, newest in found.items()] == [(days_ago(100).date(), days_ago(1))]
        assert list(retention.candidates(conn, NOW, LIMITS, SERIES)) == []
        again = list(retention.candidates(conn, NOW + timedelta(days=90), LIMITS, SERIES))
        assert [c.judge.name for c in again] == ["phasor_seconds", "meter_readings"]


def test_stamps_of_the_far_future_go_when_their_receipt_is_over(database: str) -> None:
    store(database, NOW + timedelta(days=4_000), received=days_ago(91))
    store(database, NOW + timedelta(days=3_000), received=days_ago(1))
    assert keep(database).dropped == 2
    assert rows(database) == 10


def test_an_empty_day_goes_without_a_note(database: str) -> None:
    with transaction(database) as conn:
        if detect(conn).has_hypertables:
            pytest.skip("a chunk is made by its first row")
        partitions.ensure_days(conn, NAMES, [days_ago(200).date()])
    assert keep(database).dropped == 2
    with transaction(database) as conn:
        assert kept.dropped_days(conn) == {}, "nothing was there that a rollup could forget"


@pytest.mark.parametrize(
    ("classes", "devices", "hours", "stays"),
    [
        ((), (), (0, 1), {"meter_readings", "phasors"}),
        ((DataClass.READINGS,), (), (0, 1), {"meter_readings"}),
        ((DataClass.PHASORS,), (), (-2_000, 2_000), {"phasors"}),
        ((DataClass.QUARANTINE,), (), (0, 1), set()),
        ((), (2,), (0, 1), {"meter_readings"}),
        ((), (99,), (0, 1), set()),
        ((), (2,), (5, 6), set()),  # the device has rows that day, but none in those hours
        ((), (), (-48, -47), set()),
    ],
)
def test_a_hold_keeps_what_it_covers_whole(
    database: str, classes: tuple[DataClass, ...], devices: tuple[int, ...], hours: tuple[int, int], stays: set[str]
) -> None:
    store(database, days_ago(100))
    first, last = (days_ago(100) + timedelta(hours=h) for h in hours)
    with transaction(database) as conn:
        number = holds.open_hold(conn, "counsel", NOW, "case 7", Span(first, last), classes, devices)
    done = keep(database)
    assert {name for name in ("meter_readings", "phasors") if rows(database, name)} == stays
    assert done.held == ({number: len(stays)} if stays else {})
    assert done.dropped == 2 - len(stays)
    with transaction(database) as conn:
        holds.release(conn, number, "counsel", NOW, "settled")
    assert keep(database).dropped == len(stays)
    assert {rows(database, name) for name in NAMES} == {0}


def test_a_hold_waits_for_a_drop_in_progress_and_the_drop_sees_every_hold_before(database: str) -> None:
    store(database, days_ago(100))
    everything = Span(days_ago(400), NOW)
    engine = engine_of(database)
    with engine.connect() as opening, opening.begin():
        holds.open_hold(opening, "counsel", NOW, "not yet committed", everything)
        with pytest.raises(OperationalError, match="lock timeout"):
            keep(database)
    engine.dispose()
    assert rows(database) == 10
    assert keep(database).held == {1: 2}


def test_a_span_that_somebody_writes_to_is_left_for_the_next_round(database: str) -> None:
    store(database, days_ago(100))
    engine = engine_of(database)
    with engine.connect() as writing, writing.begin():
        store_block(writing, at(meter_block(1, 1), days_ago(100) + timedelta(hours=2), received=NOW))
        done = keep(database)
        assert (done.dropped, done.busy) == (1, 1), "the phasors went"
    engine.dispose()
    assert rows(database) == 11
    assert keep(database) == Round(0, 0, 0, 0, {}), "what was written meanwhile is young"


def test_who_writes_to_a_span_that_goes_waits_and_loses_nothing(database: str) -> None:
    store(database, days_ago(100))
    engine = engine_of(database)
    with engine.connect() as dropping, dropping.begin():
        assert partitions.claim(dropping, ["meter_readings"], Span.of_day(days_ago(100).date()))
        late = threading.Thread(target=store, args=(database, days_ago(100) + timedelta(hours=1), NOW))
        late.start()
        late.join(0.5)
        assert late.is_alive(), "it waits for its day"
        (span,) = partitions.spans(dropping, "meter_readings")
        partitions.drop_span(dropping, "meter_readings", span)
    late.join(30)
    engine.dispose()
    assert not late.is_alive()
    assert rows(database) == 10, "the late ones"


def test_a_reader_of_the_series_makes_the_round_try_again(database: str) -> None:
    store(database, days_ago(100))
    engine = engine_of(database)
    with engine.connect() as reading, reading.begin():
        reading.execute(text("SELECT count(*) FROM meter_readings, phasors")).scalar_one()
        with pytest.raises(OperationalError, match="lock timeout"):
            keep(database)
    engine.dispose()
    assert rows(database) == 10
    assert keep(database).dropped == 2


def test_rows_go_by_their_receipt_too_and_holds_keep_them(database: str) -> None:
    error = DecodeError("r", "w", 1, 2)
    with transaction(database) as conn:
        for days in (100, 95, 1):
            quarantine.put(conn, "link", "peer", error, b"%d" % days, days_ago(days))
        for days, device in ((100, 1), (100, 2), (1, 1)):
            values = {"device": device, "time": days_ago(days)}
            conn.execute(
                text("INSERT INTO device_events VALUES (gen_random_uuid(), :device, :time, :time, 'k', 'low', '{}')"),
                values,
            )
        nearby = Span(days_ago(101), days_ago(99))
        first = holds.open_hold(conn, "counsel", NOW, "bytes", nearby, [DataClass.QUARANTINE])
        second = holds.open_hold(conn, "counsel", NOW, "device 2", nearby, [DataClass.EVENTS], [2])
    assert keep(database).rows_deleted == 2
    with transaction(database) as conn:
        assert sorted(q.data for q in quarantine.recent(conn, 10)) == [b"1", b"100"]
        query = text("SELECT device_id FROM device_events ORDER BY received")
        assert list(conn.scalars(query)) == [2, 1]
        for number in (first, second):
            holds.release(conn, number, "counsel", NOW, "settled")
    assert keep(database).rows_deleted == 2


def test_more_rows_than_one_transaction_takes_are_deleted(smc_embedded: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "DELETE_ROWS", 3)
    with transaction(smc_embedded) as conn:
        for number in range(7):
            quarantine.put(conn, "l", "p", DecodeError("r", "w", 1, 2), b"%d" % number, days_ago(100))
    assert keep(smc_embedded).rows_deleted == 7


def test_the_oldest_of_everything_is_known_with_the_day_it_goes(database: str) -> None:
    store(database, days_ago(100), received=days_ago(10))
    with transaction(database) as conn:
        quarantine.put(conn, "l", "p", DecodeError("r", "w", 1, 2), b"x", days_ago(5))
        partitions.ensure_days(conn, NAMES, [days_ago(200).date()])
        first = {line.table: line.oldest.date() for line in kept.oldest(conn, LIMITS)}
        assert first == {**dict.fromkeys(NAMES, days_ago(100).date()), "quarantine": days_ago(5).date()}
    keep(database)
    with transaction(database) as conn:
        found = {line.table: line for line in kept.oldest(conn, LIMITS)}
    assert set(found) == {*NAMES, "quarantine"}
    assert found["phasors"].oldest.date() == days_ago(100).date()
    assert found["phasors"].goes == days_ago(10) + timedelta(days=90)
    assert found["quarantine"].goes == days_ago(5) + timedelta(days=90)


def test_what_may_come_late_is_what_the_gateway_lets_in() -> None:
    assert batcher.PAST_NS == partitions.ACCEPTED_LATENESS_DAYS * 86_400 * NS_PER_S
