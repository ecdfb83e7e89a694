"""Rollups of the PMUs: one row per device and bucket with frequency and ROCOF in columns, and an array of each
statistic with an element per channel.

Angles have none: an angle turns with every millihertz of deviation, so that neither extremes nor a mean of a minute
would say anything about the grid. What tells is the difference of two units' angles, frame by frame.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection, text

from model.block import F64, I64, Schema
from model.time import NS_PER_S, NS_PER_US
from smc.store.aggregates import STATISTICS, Aggregates, of_rows
from smc.store.copy import Batch, Column
from smc.store.levels import LEAST_ROWS, Level, fetch, place_columns, scalar_columns, scalars, type_of, whole_numbers
from smc.store.runs import RUN_BY_RUN, RUNS, Runs, inside
from smc.store.unpack import array, elements

SIGNALS = ("frequency_hz", "rocof_hz_per_s")
FRAMES_PER_S = 50  # as usual; a guess is enough to cut work into portions
PART_NS = NS_PER_S  # a part holds frames of one UTC second

_ANY = text(
    f"SELECT array_send(array_agg(n)) FROM {RUNS} "  # noqa: S608 (own names)
    f"CROSS JOIN LATERAL (SELECT 1 FROM phasor_seconds s WHERE {inside('s')} LIMIT 1) AS found"
)
_PARTS = text(
    "SELECT array_send(array_agg(n)), array_send(array_agg(time)), array_send(array_agg(received)), "  # noqa: S608
    "array_send(array_agg(frames)), string_agg(array_send(offset_ns), ''), string_agg(array_send(frequency_hz), ''), "
    f"string_agg(array_send(rocof_hz_per_s), '') FROM {RUNS} "
    f"CROSS JOIN LATERAL (SELECT s.* FROM phasor_seconds s WHERE {inside('s')} {RUN_BY_RUN}) AS parts"
)
# Which channels a device has is found by leaping through the index, whose order is device, channel, time: a channel's
# first row of the outer bounds is one step away. Each channel's rows of the run then lie beside each other.
_NEXT = (
    "SELECT c.channel FROM phasors c WHERE c.device_id = k.device {after} "
    "AND c.time >= :lowest AND c.time < :highest ORDER BY c.channel LIMIT 1"
)
ALL_CHANNELS = f"""
    WITH RECURSIVE leap (channel) AS (
        ({_NEXT.format(after="")})
        UNION ALL
        SELECT ({_NEXT.format(after="AND c.channel > leap.channel")}) FROM leap WHERE leap.channel IS NOT NULL
    ) SELECT channel FROM leap WHERE channel IS NOT NULL
"""  # noqa: S608 (own names)
_MAGNITUDES = (
    "SELECT array_send(array_agg(n)), array_send(array_agg(channel)), array_send(array_agg(time)), "
    "array_send(array_agg(cardinality(magnitude))), string_agg(array_send(magnitude), '') FROM {runs} "
    "CROSS JOIN LATERAL ({channels}) AS has (channel) "
    "CROSS JOIN LATERAL (SELECT p.time, p.magnitude FROM phasors p "
    "WHERE p.channel = has.channel AND {inside} {run_by_run}) AS parts"
)


@dataclass(frozen=True, slots=True)
class Phasors:
    """The PMUs' frames: frequency and ROCOF, then the magnitudes of `channels` as further columns (None: of all)."""

    channels: tuple[int, ...] | None = None
    schema: ClassVar[Schema] = Schema.PHASOR
    series: ClassVar[tuple[str, ...]] = ("phasor_seconds", "phasors")

    def table(self, level: Level) -> str:
        return f"phasor_{level.plural}"

    def stored(self, conn: Connection, level: Level, runs: Runs) -> Aggregates:
        place, names = ("device_id", "time", "received", "rows"), scalars(SIGNALS)
        if not len(runs):
            return _empty()
        lateral = (
            f"CROSS JOIN LATERAL (SELECT m.* FROM {self.table(level)} m WHERE {inside('m')} {RUN_BY_RUN}) AS found"  # noqa: S608
        )
        columns = [*place, "coalesce(cardinality(magnitude_n), 0)", *names]
        device, time_ns, received_ns, rows, channels, *values = fetch(conn, columns, f"{RUNS} {lateral}", runs)
        order = np.lexsort((time_ns, device))
        matrices = [np.stack(values[2 * i : 2 * i + 2]) for i in range(len(STATISTICS))]
        scalar = Aggregates(
            device.astype(np.int32),
            whole_numbers(time_ns),
            whole_numbers(received_ns),
            whole_numbers(rows),
            2 + whole_numbers(channels),
            whole_numbers(matrices[0]),
            *(m.astype(np.float64) for m in matrices[1:]),
        ).take(order)
        if self.channels == ():
            return replace(scalar, columns=np.full(len(scalar), 2))
        elements_of = [f"f.{what}" for what in STATISTICS]
        arrays = ", ".join(f"magnitude_{what}" for what in STATISTICS)
        parts = ", ".join((*STATISTICS, "channel"))
        unnested = f"{RUNS} {lateral} CROSS JOIN LATERAL unnest({arrays}) WITH ORDINALITY AS f ({parts})"
        if self.channels is not None:
            unnested += f" WHERE f.channel - 1 = ANY (ARRAY[{self._chosen()}]::bigint[])"
        sent = fetch(conn, ["device_id", "time", "f.channel", *elements_of], unnested, runs)
        return self._with_channels(scalar, sent)

    def _with_channels(self, scalar: Aggregates, sent: list[npt.NDArray[Any]]) -> Aggregates:
        """Rows per bucket and channel (numbered from 1) as further columns."""
        device, time_ns, channel, *values = sent
        column = self._columns(whole_numbers(channel) - 1)
        width = int(scalar.columns.max(initial=2)) - 2 if self.channels is None else len(self.channels)
        bucket = _position(scalar.device, scalar.time_ns, device, time_ns)
        made = {}
        for what, found in zip(STATISTICS, values, strict=True):
            known = getattr(scalar, what)
            more = np.full((width, len(scalar)), 0 if what in ("n", "sum", "square") else np.nan, known.dtype)
            more[column, bucket] = found
            made[what] = np.vstack([known, more])
        columns = scalar.columns if self.channels is None else np.full(len(scalar), 2 + width)
        return Aggregates(scalar.device, scalar.time_ns, scalar.received_ns, scalar.rows, columns, **made)

    def rows(self, conn: Connection, runs: Runs) -> Aggregates:
        if not len(runs):
            return _empty()
        # A part is keyed by its first frame and stays within a second: it begins in the second of its frames.
        seconds = runs.widened(PART_NS)
        run, time_ns, received_ns, frames = map(array, (found := conn.execute(_PARTS, seconds.bound()).one())[:4])
        run, frames = whole_numbers(run) - 1, whole_numbers(frames)
        starts = np.cumsum(frames) - frames
        values = np.full((2, int(frames.sum())), np.nan)
        values[0], values[1] = elements(found[5], frames), elements(found[6], frames)
        at_ns = np.repeat(whole_numbers(time_ns), frames) + elements(found[4], frames)
        magnitudes, channels = self._magnitudes(conn, seconds, (run, time_ns, starts), values.shape[1])
        made = of_rows(
            np.repeat(seconds.device[run], frames),
            at_ns,
            np.repeat(whole_numbers(received_ns), frames),
            np.repeat(2 + channels, frames),
            np.vstack([values, magnitudes]),
        )
        whole = not ((runs.start_ns % PART_NS).any() or (runs.stop_ns % PART_NS).any())
        return made if whole or not len(made) else made.take(_inside(runs, made))

    def _magnitudes(
        self, conn: Connection, runs: Runs, parts: tuple[I64, npt.NDArray[Any], I64], total: int
    ) -> tuple[F64, I64]:
        """Magnitudes of shape (channels, frames) and how many channels each part has. `parts`: their run, time and
        first frame."""
        run_of_part, time_of_part, starts = parts
        if self.channels == ():
            return np.zeros((0, total)), np.zeros(len(starts), np.int64)
        has = ALL_CHANNELS if self.channels is None else f"SELECT unnest(ARRAY[{self._chosen()}]::integer[])"
        query = text(_MAGNITUDES.format(runs=RUNS, channels=has, inside=inside("p"), run_by_run=RUN_BY_RUN))
        bounds = runs.bound()
        bounds["lowest"] = bounds["lowest"].replace(hour=0, minute=0, second=0, microsecond=0)
        *found, sent = conn.execute(query, bounds).one()
        run, channel, time_ns, lengths = (whole_numbers(array(f)) for f in found)
        part = _position(run_of_part, whole_numbers(time_of_part), run - 1, time_ns)
        column = self._columns(channel)
        width = int(column.max(initial=-1)) + 1 if self.channels is None else len(self.channels)
        channels = np.zeros(len(starts), np.int64)
        np.maximum.at(channels, part, column + 1)
        within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        magnitudes = np.full((width, total), np.nan)
        magnitudes[np.repeat(column, lengths), np.repeat(starts[part], lengths) + within] = elements(sent, lengths)
        return magnitudes, channels if self.channels is None else np.full_like(channels, width)

    def _chosen(self) -> str:
        return ", ".join(f"{channel:d}" for channel in self.channels or ())

    def _columns(self, channel: I64) -> I64:
        """In which column after frequency and ROCOF a channel stands."""
        if self.channels is None:
            return channel
        place = np.argsort(self.channels)
        return place[np.searchsorted(np.sort(self.channels), channel)]

    def weigh(self, conn: Connection, runs: Runs) -> I64:
        n = whole_numbers(array(conn.execute(_ANY, runs.bound()).scalar_one()))
        weights = np.zeros(len(runs), np.int64)
        weights[n - 1] = np.maximum((runs.stop_ns - runs.start_ns)[n - 1] // NS_PER_S * FRAMES_PER_S, LEAST_ROWS)
        return weights

    def batches(self, made: Aggregates) -> list[Batch]:
        """A batch of each number of channels, because arrays of a batch are equally long."""
        found = []
        for width in np.unique(made.columns):
            some = made.take(made.columns == width)
            columns = [*place_columns(some), *scalar_columns(SIGNALS, frozenset(), some)]
            for what in STATISTICS:
                data = np.ascontiguousarray(getattr(some, what)[2:width].T) if width > 2 else None
                columns.append(Column(f"magnitude_{what}", type_of(what), data))
            found.append(Batch(len(some), tuple(columns)))
        return found


def _empty() -> Aggregates:
    no, none = np.zeros(0, np.int64), np.zeros((2, 0))
    return Aggregates(no.astype(np.int32), no, no, no, no, none.astype(np.int64), none, none, none, none, none)


def _position(groups: npt.NDArray[Any], times: I64, group: npt.NDArray[Any], time: npt.NDArray[Any]) -> I64:
    """Where (group, time) stands in (groups, times), which are unique; every pair is there."""
    if not len(group):
        return np.zeros(0, np.int64)
    base = int(times.min())
    span = (int(times.max()) - base) // NS_PER_US + 1
    known = groups.astype(np.int64) * span + (times - base) // NS_PER_US
    order = np.argsort(known, kind="stable")
    wanted = group.astype(np.int64) * span + (time.astype(np.int64) - base) // NS_PER_US
    return order[np.searchsorted(known, wanted, sorter=order)]


def _inside(runs: Runs, made: Aggregates) -> npt.NDArray[np.bool_]:
    """Which rows lie in a run: their seconds may begin before it or end after it."""
    order = np.lexsort(
        (
            np.concatenate([np.zeros(len(runs), np.int8), np.ones(len(made), np.int8)]),
            np.concatenate([runs.start_ns, made.time_ns]),
            np.concatenate([runs.device, made.device]),
        )
    )
    begun = np.empty(len(order), np.int64)
    begun[order] = np.cumsum(order < len(runs)) - 1
    run = begun[len(runs) :]
    found: npt.NDArray[np.bool_] = (run >= 0) & (runs.device[run] == made.device) & (made.time_ns < runs.stop_ns[run])
    return found
