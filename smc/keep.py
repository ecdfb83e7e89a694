"""Stage keep: the house is kept. Partitions ahead, retention with legal holds, the length of chunks.

One process keeps house, whoever else runs this stage stands by: an advisory lock decides, held by the very connection
that does the work, so that who loses the connection loses both. A job that fails is tried again and stops no other.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from prometheus_client import Gauge
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from model.errors import SettingsError
from model.time import to_datetime
from smc.clockwatch import ClockWatch
from smc.context import StageContext
from smc.settings import SmcSettings
from smc.stage import AWAY_S, Heart
from smc.store import chunks, columnstore, kept, partitions, retention, rollups
from smc.store.partitions import ACCEPTED_LATENESS_DAYS
from smc.store.retention import DAYS_AHEAD, LOCK_TIMEOUT, Limits
from smc.store.series import SERIES, DataClass

STAGE = "keep"
TICK_S = 1.0
STANDBY_S = 5.0
RETRY_S = 60.0
ROLL_EVERY_S = 10.0
ROLL_S, ROLL_STEPS = 5.0, 4  # a round of rollups takes about so long, judged after so many portions
HOUR_S, DAY_S = 3_600.0, 86_400.0
STRAY_DAYS = 8  # made in one round
LEAST_DAYS = {series.data_class: ACCEPTED_LATENESS_DAYS + 2 for series in SERIES}
SERIES_NAMES = tuple(series.name for series in SERIES)

_STRAYS = Gauge("smc_stray_rows", "Rows in the default partition of a series; should be 0", ["series"])

Counted = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Job:
    """Something to do every so often. `by_wall_clock`: only while the host's clock is believed.

    `run` gets the connection that keeps the house, in no transaction, and leaves it so; it says what it counted.
    """

    name: str
    every_s: float
    run: Callable[[StageContext, Connection, datetime], Counted]
    by_wall_clock: bool = False


def limits_of(settings: SmcSettings) -> Limits:
    """How long each class of data is kept. SettingsError where rows that come late would find their days gone."""
    limits: dict[DataClass, timedelta] = {}
    for data_class in DataClass:
        name = f"keep_{data_class.replace('-', '_')}_days"
        days, least = getattr(settings, name), LEAST_DAYS.get(data_class, 1)
        if days < least:
            late = f", since rows may come {ACCEPTED_LATENESS_DAYS} days late" if least > 1 else ""
            raise SettingsError(f"SMC_{name.upper()}", days, f"at least {least} days{late}", "raise it and start again")
        limits[data_class] = timedelta(days=days)
    return limits


def keep_partitions(context: StageContext, conn: Connection, now: datetime) -> Counted:
    """Make the days ahead; give strays their days, and raise the alarm as long as there are any."""
    today = now.astimezone(UTC).date()
    with conn.begin():
        conn.execute(LOCK_TIMEOUT)
        ahead = [today + timedelta(days=n) for n in range(DAYS_AHEAD + 1)]
        made = partitions.ensure_days(conn, SERIES_NAMES, ahead)
        astray = partitions.strays(conn, SERIES_NAMES)
    for name in SERIES_NAMES:
        _STRAYS.labels(name).set(astray.get(name, 0))
    if not astray:
        return {"partitions_made": made}
    context.log.error("keep.rows_outside_any_day", **astray)
    for name in astray:
        with conn.begin():
            conn.execute(LOCK_TIMEOUT)
            made += partitions.settle_strays(conn, name, STRAY_DAYS)
    return {"partitions_made": made, "stray_alarms": 1}


def keep_rollups(context: StageContext, conn: Connection, now: datetime) -> Counted:
    """Compute what is due, a few seconds of it at most: the rest is done by the next round."""
    enough_s = context.clock.monotonic_s() + ROLL_S
    done = rollups.roll_up(conn, now, ROLL_STEPS)
    portions = done.portions
    while done.behind and context.clock.monotonic_s() < enough_s:
        done = rollups.roll_up(conn, now, ROLL_STEPS)
        portions += done.portions
    return {"rollup_portions": portions, "rollup_rounds_behind": int(done.behind)}


def keep_retention(context: StageContext, conn: Connection, now: datetime) -> Counted:
    """Drop and delete what is over."""
    done = retention.keep_round(conn, now, limits_of(context.settings))
    if done.held:
        held = {str(number): spans for number, spans in done.held.items()}
        context.log.info("keep.held", spans_by_hold=held)
    if done.dropped or done.rows_deleted:
        context.log.info("keep.dropped", spans=done.dropped, rows=done.rows_deleted)
    if done.unrolled:
        context.log.warning("keep.waits_for_rollups", spans=done.unrolled)
    waiting = done.busy + done.unrolled
    return {"spans_dropped": done.dropped, "rows_deleted": done.rows_deleted, "spans_waiting": waiting}


def keep_chunks(context: StageContext, conn: Connection, now: datetime) -> Counted:
    """Choose the length of future chunks."""
    with conn.begin():
        conn.execute(LOCK_TIMEOUT)
        found = chunks.adapt(conn, SERIES_NAMES, now)
    if found is not None and not found.fits:
        context.log.warning("keep.memory_low", chunk_hours=found.hours, remedy="raise shared_buffers")
    return {}


def keep_columnstore(context: StageContext, conn: Connection, _now: datetime) -> Counted:
    """Compress closed chunks where that is asked for and can be had."""
    if not context.settings.columnstore:
        return {}
    with conn.begin():
        conn.execute(LOCK_TIMEOUT)
        return {"columnstore_series": columnstore.enable(conn, SERIES_NAMES)}


JOBS = (
    Job("partitions", HOUR_S, keep_partitions),
    Job("rollups", ROLL_EVERY_S, keep_rollups),
    Job("retention", HOUR_S, keep_retention, by_wall_clock=True),
    Job("chunks", DAY_S, keep_chunks),
    Job("columnstore", DAY_S, keep_columnstore),
)


def run(context: StageContext, stop: threading.Event) -> None:
    """Keep house, or stand by for whoever does, until told to stop."""
    limits_of(context.settings)
    while not stop.is_set():
        try:
            with kept.house(context.engine) as conn:
                if conn is not None:
                    Keeper(context, conn).run(stop)
                else:
                    stop.wait(STANDBY_S)
        except DBAPIError as error:
            context.log.warning("keep.database_away", error=str(error.orig)[:200])
            stop.wait(AWAY_S)


class Keeper:
    """Does the jobs when they are due, by the monotonic clock."""

    def __init__(self, context: StageContext, conn: Connection, jobs: tuple[Job, ...] = JOBS) -> None:
        self._context, self._conn, self._jobs = context, conn, jobs
        with conn.begin():
            self._watch = ClockWatch(context.clock, kept.last_sign_of_time(conn))
        self._due_s = dict.fromkeys((job.name for job in jobs), context.clock.monotonic_s())
        self._heart = Heart(context, STAGE)
        context.log.info("keep.started", clock_believed=self._watch.believed)

    def run(self, stop: threading.Event) -> None:
        """Until told to stop. Raises DBAPIError when the connection is lost."""
        while not stop.is_set():
            self.tick()
            stop.wait(TICK_S)

    def tick(self) -> None:
        """Do what is due."""
        kept.stay(self._conn)
        jumped_s = self._watch.look()
        if jumped_s:
            self._context.log.error("keep.clock_jumped", seconds=round(jumped_s, 1))
            self._heart.count({"clock_jumps": 1})
        for job in self._jobs:
            if self._context.clock.monotonic_s() >= self._due_s[job.name]:
                self._do(job)
        self._heart.beat()

    def _do(self, job: Job) -> None:
        again_s = min(job.every_s, RETRY_S)
        if job.by_wall_clock and not self._watch.believed:
            self._heart.count({f"{job.name}_clock_doubted": 1})
        elif self._succeeds(job):
            again_s = job.every_s
        self._due_s[job.name] = self._context.clock.monotonic_s() + again_s

    def _succeeds(self, job: Job) -> bool:
        now = to_datetime(self._context.clock.now_ns())
        try:
            self._heart.count(job.run(self._context, self._conn, now))
            if self._watch.believed:  # what is said here is what a later clock is measured by
                with self._conn.begin():
                    kept.say_ended(self._conn, job.name, now)
        except DBAPIError as error:
            if error.connection_invalidated:
                raise
            self._context.log.warning("keep.job_failed", job=job.name, error=str(error.orig)[:200])
            self._heart.count({f"{job.name}_failed": 1})
            return False
        return True
