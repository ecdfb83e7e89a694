"""Rollups of the meters: one row per device and bucket, six columns per signal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection, text

from model.block import I64, METER_COLUMNS, Schema
from smc.store.aggregates import STATISTICS, Aggregates, of_rows
from smc.store.copy import Batch
from smc.store.levels import Level, fetch, place_columns, scalar_columns, scalars, whole_numbers
from smc.store.meters import ENERGY
from smc.store.runs import RUN_BY_RUN, RUNS, Runs, inside
from smc.store.unpack import array

_PLACE = ("device_id", "time", "received")
_FROM = f"{RUNS} CROSS JOIN LATERAL (SELECT {{columns}} FROM {{table}} m WHERE {inside('m')} {RUN_BY_RUN}) AS found"  # noqa: S608
_WEIGH = text(
    f"SELECT array_send(array_agg(n)), array_send(array_agg(rows)) FROM {RUNS} "  # noqa: S608 (own names)
    f"CROSS JOIN LATERAL (SELECT count(*) AS rows FROM meter_readings m WHERE {inside('m')}) AS counted"
)


@dataclass(frozen=True, slots=True)
class Meters:
    """The meters' readings, or some columns of them."""

    columns: tuple[str, ...] = METER_COLUMNS
    schema: ClassVar[Schema] = Schema.METER
    series: ClassVar[tuple[str, ...]] = ("meter_readings",)

    def table(self, level: Level) -> str:
        return f"meter_{level.plural}"

    def stored(self, conn: Connection, level: Level, runs: Runs) -> Aggregates:
        names = scalars(self.columns)
        if not len(runs):
            return self._aggregates([np.zeros(0)] * (len(_PLACE) + 1 + len(names)))
        wanted = ", ".join(f"m.{name}" for name in (*_PLACE, "rows", *names))
        source = _FROM.format(columns=wanted, table=self.table(level))
        return self._aggregates(fetch(conn, [*_PLACE, "rows", *names], source, runs))

    def _aggregates(self, found: list[npt.NDArray[np.generic]]) -> Aggregates:
        device, time_ns, received_ns, rows, *values = found
        width = len(self.columns)
        matrices = [np.stack(values[i * width : (i + 1) * width]) for i in range(len(STATISTICS))]
        made = Aggregates(
            device.astype(np.int32),
            whole_numbers(time_ns),
            whole_numbers(received_ns),
            whole_numbers(rows),
            np.full(len(device), width),
            whole_numbers(matrices[0]),
            *(m.astype(np.float64) for m in matrices[1:]),
        )
        return made.take(np.lexsort((made.time_ns, made.device)))

    def rows(self, conn: Connection, runs: Runs) -> Aggregates:
        if not len(runs):
            found: list[npt.NDArray[np.generic]] = [np.zeros(0)] * (len(_PLACE) + len(self.columns))
        else:
            wanted = ", ".join(f"m.{name}" for name in (*_PLACE, *self.columns))
            source = _FROM.format(columns=wanted, table="meter_readings")
            found = fetch(conn, [*_PLACE, *self.columns], source, runs)
        device, time_ns, received_ns, *values = found
        return of_rows(
            device.astype(np.int32),
            whole_numbers(time_ns),
            whole_numbers(received_ns),
            np.full(len(device), len(self.columns)),
            np.stack(values).astype(np.float64),
        )

    def weigh(self, conn: Connection, runs: Runs) -> I64:
        n, rows = map(array, conn.execute(_WEIGH, runs.bound()).one())
        weights = np.zeros(len(runs), np.int64)
        weights[whole_numbers(n) - 1] = rows
        return weights

    def batches(self, made: Aggregates) -> list[Batch]:
        columns = (*place_columns(made), *scalar_columns(self.columns, ENERGY, made))
        return [Batch(len(made), columns)]
