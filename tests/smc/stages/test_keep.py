"""Who keeps house, when each job is due, and that no job, lost connection or wrong clock does harm."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from model.errors import SettingsError
from model.time import NS_PER_S, FixedClock, to_ns
from smc import keep
from smc.bus import MemoryBus
from smc.clockwatch import PROBATION_S
from smc.context import StageContext
from smc.keep import DAY_S, HOUR_S, RETRY_S, Job, Keeper, limits_of
from smc.store import health, kept, partitions
from smc.store.edition import detect
from smc.store.ingest import store_block
from smc.store.series import SERIES, DataClass
from tests.smc.stages.line import centre, running, until
from tests.smc.store.blocks import meter_block

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)


@pytest.fixture
def context(database: str, tmp_path: Path) -> Iterator[StageContext]:
    """A centre on both editions whose clock stands still until it is moved."""
    made = replace(centre(database, MemoryBus(), tmp_path), clock=FixedClock(to_ns(NOW)))
    yield made
    made.engine.dispose()


def clock_of(context: StageContext) -> FixedClock:
    assert isinstance(context.clock, FixedClock)
    return context.clock


def counters(context: StageContext) -> dict[str, float]:
    with context.engine.begin() as conn:
        (stage,) = (s for s in health.all_stages(conn) if s.stage == "keep")
    return stage.counters


class Diary:
    """Jobs that write down when they were done; one fails as long as it is told to."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.failing = False

    def quick(self, _context: StageContext, _conn: Connection, _now: datetime) -> Mapping[str, int]:
        self.done.append("quick")
        return {"quick": 1}

    def frail(self, _context: StageContext, conn: Connection, _now: datetime) -> Mapping[str, int]:
        self.done.append("frail")
        with conn.begin():
            conn.execute(text("CREATE TEMP TABLE IF NOT EXISTS half_done (n integer)"))
            conn.execute(text("SELECT 1 / :divisor"), {"divisor": int(not self.failing)})
        return {}

    def jobs(self) -> tuple[Job, ...]:
        return (Job("frail", HOUR_S, self.frail), Job("quick", 10.0, self.quick), Job("dated", DAY_S, self.quick, True))


def test_each_job_is_done_when_due_and_a_failing_one_is_tried_again(context: StageContext) -> None:
    clock, diary = clock_of(context), Diary()

    def ticked(seconds: float) -> list[str]:
        diary.done.clear()
        clock.advance(seconds)
        keeper.tick()
        return list(diary.done)

    with context.engine.connect() as conn:
        keeper = Keeper(context, conn, diary.jobs())
        diary.failing = True
        assert ticked(0) == ["frail", "quick", "quick"], "the others go on"
        assert counters(context) == {"frail_failed": 1, "quick": 2}
        assert ticked(9) == []
        assert ticked(1) == ["quick"]
        diary.failing = False
        assert ticked(RETRY_S - 10) == ["frail", "quick"], "not only in an hour"
        assert ticked(HOUR_S - 1) == ["quick"]
        assert ticked(1) == ["frail"]
        with context.engine.begin() as other:
            assert kept.last_ended(other)["frail"] == NOW + timedelta(seconds=RETRY_S + HOUR_S)


def test_a_clock_that_jumps_makes_nothing_go(context: StageContext) -> None:
    clock, diary = clock_of(context), Diary()
    with context.engine.connect() as conn:
        keeper = Keeper(context, conn, diary.jobs()[1:])
        keeper.tick()
        assert diary.done == ["quick", "quick"]
        clock.time_ns += to_ns(NOW + timedelta(days=3_650)) - to_ns(NOW)
        for _ in range(int(PROBATION_S / HOUR_S)):
            keeper.tick()
            clock.advance(HOUR_S)
            assert "dated_clock_doubted" not in counters(context)
        clock.time_ns -= to_ns(NOW + timedelta(days=3_650)) - to_ns(NOW)
        diary.done.clear()
        clock.advance(DAY_S - PROBATION_S)
        keeper.tick()
        assert diary.done == ["quick"], "it is due, but its clock is not believed"
        assert counters(context)["clock_jumps"] == 2
        assert counters(context)["dated_clock_doubted"] == 1
        clock.advance(PROBATION_S)
        keeper.tick()
        assert diary.done == ["quick", "quick", "quick"]


def test_a_centre_that_starts_with_a_wrong_clock_keeps_its_data(context: StageContext) -> None:
    ran = Diary()
    with context.engine.connect() as conn:
        Keeper(context, conn, ran.jobs()[2:]).tick()
        clock_of(context).time_ns += to_ns(NOW + timedelta(days=200)) - to_ns(NOW)
        Keeper(context, conn, ran.jobs()[2:]).tick()
        assert ran.done == ["quick"], "once, before"
        with conn.begin():
            assert kept.last_ended(conn)["dated"] == NOW, "what is doubted proves nothing later"


def test_the_stage_makes_days_ahead_tells_strays_and_drops_what_is_over(context: StageContext) -> None:
    with context.engine.begin() as conn:
        plain = not detect(conn).has_hypertables
        days = meter_block(1, 70, step_s=86_400)  # from today on: six too many for one block
        store_block(conn, replace(days, received_ns=days.received_ns * 0 + to_ns(NOW)))
        age_ns = 200 * 86_400 * NS_PER_S
        early = replace(days, time_ns=days.time_ns - age_ns, received_ns=days.received_ns - age_ns)
        store_block(conn, early.take(slice(0, 3)))
    with context.engine.connect() as conn:
        keeper = Keeper(context, conn)
        keeper.tick()
        with conn.begin():
            assert partitions.strays(conn, [s.name for s in SERIES]) == {}
            spans = partitions.spans(conn, "phasors")
        told = counters(context)
        assert told["spans_dropped"] == 3
        assert (told["partitions_made"] > 0, told.get("stray_alarms", 0)) == ((True, 1) if plain else (False, 0))
        assert len(spans) == (4 if plain else 0)
        clock_of(context).advance(HOUR_S)
        keeper.tick()
        again = counters(context)
        assert {**again, "rollup_portions": 0} == {**told, "rollup_portions": 0}, "nothing left to do"


@contextmanager
def keeping(context: StageContext) -> Iterator[Callable[[], None]]:
    """The stage in a thread; what is handed out ends it, and so does the end of the block."""
    stop = threading.Event()
    thread = threading.Thread(target=keep.run, args=(context, stop))

    def end() -> None:
        stop.set()
        thread.join(30)
        assert not thread.is_alive()

    thread.start()
    try:
        yield end
    finally:
        end()


def test_one_keeps_house_and_another_takes_over(context: StageContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keep, "STANDBY_S", 0.05)
    monkeypatch.setattr(keep, "TICK_S", 0.05)
    with keeping(context) as end_first:
        before = until(lambda: keeper_pid(context), "somebody keeps house")
        with keeping(replace(context, clock=FixedClock(to_ns(NOW)))):
            threading.Event().wait(0.5)
            assert keeper_pid(context) == before, "the second stands by"
            end_first()
            cut = until(lambda: other_than(keeper_pid(context), before), "the second has taken over")
            with context.engine.begin() as conn:
                conn.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": cut})
            until(lambda: other_than(keeper_pid(context), cut), "it came back after its connection was cut")
    until(lambda: keeper_pid(context) is None, "the lock went with the connection")


def other_than(pid: int | None, former: int) -> int | None:
    return pid if pid != former else None


def keeper_pid(context: StageContext) -> int | None:
    query = text(
        "SELECT pid FROM pg_locks JOIN pg_database d ON d.oid = database AND datname = current_database() "
        "WHERE locktype = 'advisory' AND objid = :key AND granted"
    )
    with context.engine.begin() as conn:
        found: int | None = conn.scalar(query, {"key": kept.HOUSE_LOCK})
    return found


def test_the_stage_tells_that_it_lives_and_ends_when_told(context: StageContext) -> None:
    with running(context, keep):
        until(lambda: "partitions_made" in counters_or_nothing(context), "it has counted")


def counters_or_nothing(context: StageContext) -> dict[str, float]:
    with context.engine.begin() as conn:
        return next((s.counters for s in health.all_stages(conn) if s.stage == "keep"), {})


def test_days_that_late_rows_still_need_are_not_given_up(tmp_path: Path) -> None:
    settings = centre("postgresql:///nowhere", MemoryBus(), tmp_path).settings
    assert limits_of(settings)[DataClass.READINGS] == timedelta(days=90)
    assert limits_of(replace(settings, keep_readings_days=62))[DataClass.READINGS] == timedelta(days=62)
    with pytest.raises(SettingsError, match="SMC_KEEP_READINGS_DAYS is 61, expected at least 62 days"):
        limits_of(replace(settings, keep_readings_days=61))
    with pytest.raises(SettingsError, match="SMC_KEEP_ROLLUPS_DAY_DAYS is 0"):
        limits_of(replace(settings, keep_rollups_day_days=0))
