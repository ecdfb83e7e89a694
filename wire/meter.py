"""A meter's readings as SenML packs: one pack is one device, one or several times, the quantities of METER_COLUMNS.

The full name of a record is `<device name>:<quantity>`, e.g. urn:dev:norm:norm-0001:meter:energy_import in Wh. Units of
RFC 8428 and secondary units of RFC 8798 are brought to those of the columns.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from itertools import repeat
from typing import Any

import numpy as np

from model.block import F64, I32, I64, METER_COLUMNS, NO_SEQUENCE, UNKNOWN_TIME_ERROR_NS, Block, Origin, Schema
from model.errors import DecodeError
from model.time import NS_PER_S
from wire.senml import Form, encode, resolve_columns, seconds

SEQUENCE = "sequence"
MAX_SEQUENCE = 2**53  # beyond it JSON numbers are not whole any more
_SECONDS_PER_HOUR = 3_600.0
_ENERGY = {"Wh": 1.0, "kWh": 1e3, "J": 1.0 / _SECONDS_PER_HOUR}
_POWER = {"W": 1.0, "kW": 1e3}
_REACTIVE = {"var": 1.0, "kvar": 1e3}
_VOLTAGE = {"V": 1.0, "mV": 1e-3}
_CURRENT = {"A": 1.0, "mA": 1e-3}
_FREQUENCY = {"Hz": 1.0}
_FACTORS = (_ENERGY, _ENERGY, _POWER, _REACTIVE, *[_VOLTAGE] * 3, *[_CURRENT] * 3, _FREQUENCY)
QUANTITIES = tuple(column.rsplit("_", 1)[0] for column in METER_COLUMNS)
_COLUMN_OF = {name: (i, factors) for i, (name, factors) in enumerate(zip(QUANTITIES, _FACTORS, strict=True))}
_EMPTY = [math.nan] * len(METER_COLUMNS)
_MAX_REMEMBERED = 32  # records of one time
_UNIT_OF = tuple(next(iter(factors)) for factors in _FACTORS)


def column_of(quantity: str, unit: str) -> tuple[int, float]:
    """Column of METER_COLUMNS and the factor that brings a unit to it. Raises DecodeError (quantity, unit)."""
    found = _COLUMN_OF.get(quantity)
    if found is None:
        raise DecodeError("quantity", "quantity of a meter", repr(quantity[:20]), ", ".join(QUANTITIES))
    column, factors = found
    if unit not in factors:
        raise DecodeError("unit", f"unit of {quantity}", repr(unit[:20]), " or ".join(factors))
    return column, factors[unit]


@dataclass(frozen=True, slots=True, eq=False)
class MeterPack:
    """Readings of one device: time_ns and sequence shape (n,), values (n, len(METER_COLUMNS)) with NaN where missing;
    `ignored` counts records of quantities that have no column."""

    device: str
    time_ns: I64
    sequence: I64
    values: F64
    ignored: int

    def block(self, index: int, received_ns: int, origin: Origin) -> Block:
        """The block of these readings for an enrolled device."""
        devices = np.full(len(self.time_ns), index, np.int32)
        return meter_block(devices, self.time_ns, self.values, received_ns, origin, self.sequence)


def meter_block(
    device: I32, time_ns: I64, values: F64, received_ns: int, origin: Origin, sequence: I64 | None = None
) -> Block:
    """METER block of readings that came at one time: device, time_ns and sequence (n,), values in METER_COLUMNS."""
    rows = len(time_ns)
    return Block(
        schema=Schema.METER,
        columns=METER_COLUMNS,
        origin=origin,
        device=device,
        time_ns=time_ns,
        received_ns=np.full(rows, received_ns, np.int64),
        time_error_ns=np.full(rows, UNKNOWN_TIME_ERROR_NS, np.int64),
        sequence=np.full(rows, NO_SEQUENCE, np.int64) if sequence is None else sequence,
        quality=np.zeros(rows, np.uint32),
        values=values,
    )


def decode_meter_pack(data: bytes, now_ns: int, form: Form = Form.JSON) -> MeterPack:
    """Readings of a pack. Raises DecodeError: not SenML, more than one device, a wrong unit, the same reading twice."""
    pack = resolve_columns(data, now_ns, form)
    device = pack.names[0].rpartition(":")[0] if pack.names else ""
    prefix = f"{device}:"
    if not device or not all(map(str.startswith, pack.names, repeat(prefix))):
        raise _devices(pack.names)
    quantities = [name[len(prefix) :] for name in pack.names]
    times: list[int] = []
    rows: list[list[float]] = []
    sequences: list[int] = []
    ignored = 0
    for start, end in _groups(pack.time_ns):
        plan = _plan(quantities[start:end], pack.units[start:end])
        row, sequence = _row(plan, pack.values[start:end])
        ignored += plan.ignored
        if plan.columns:
            times.append(pack.time_ns[start])
            rows.append(row)
            sequences.append(sequence)
    if not times:
        raise DecodeError("quantity", "quantities of a meter pack", "none known", ", ".join(QUANTITIES))
    values = np.array(rows, np.float64)
    if np.isinf(values).any():
        raise DecodeError("value", "values of a meter pack in the units of the columns", "infinite", "finite numbers")
    return MeterPack(device, np.array(times, np.int64), np.array(sequences, np.int64), values, ignored)


def _groups(time_ns: list[int]) -> list[tuple[int, int]]:
    """Ranges of records of one time; the times are in order."""
    if time_ns[0] == time_ns[-1]:
        return [(0, len(time_ns))]
    starts = [0, *(i for i in range(1, len(time_ns)) if time_ns[i] != time_ns[i - 1])]
    return list(zip(starts, [*starts[1:], len(time_ns)], strict=True))


def _devices(names: list[str]) -> DecodeError:
    found = sorted({name.rpartition(":")[0] for name in names})
    return DecodeError("identity", "devices of a meter pack", found[:4], "exactly one, <device>:<quantity>")


@dataclass(frozen=True, slots=True)
class _Plan:
    """Where the records of one time go: (record, column, factor), the record of the sequence (-1: none)."""

    columns: tuple[tuple[int, int, float], ...]
    sequence: int
    ignored: int


def _plan(quantities: list[str], units: list[str]) -> _Plan:
    """Plan of records with these quantities and units; of usual packs it is remembered."""
    key = tuple(quantities), tuple(units)
    return _remembered(*key) if len(quantities) <= _MAX_REMEMBERED else _make_plan(*key)


def _make_plan(quantities: tuple[str, ...], units: tuple[str, ...]) -> _Plan:
    targets: dict[str, tuple[int, int, float]] = {}
    sequence, ignored = -1, 0
    for i, (quantity, unit) in enumerate(zip(quantities, units, strict=True)):
        if quantity in targets:
            raise DecodeError("duplicate", f"readings of {quantity} at one time", 2, "one")
        if quantity in _COLUMN_OF:
            targets[quantity] = (i, *column_of(quantity, unit))
        elif quantity == SEQUENCE:
            sequence = i
        elif ":" in quantity:
            raise DecodeError("identity", "devices of a meter pack", repr(quantity[:40]), "one, <device>:<quantity>")
        else:
            ignored += 1
    return _Plan(tuple(targets.values()), sequence, ignored)


_remembered = lru_cache(maxsize=1_024)(_make_plan)


def _row(plan: _Plan, values: list[float | None]) -> tuple[list[float], int]:
    """Values in the order of METER_COLUMNS, and the sequence."""
    row = _EMPTY.copy()
    for record, column, factor in plan.columns:
        value = values[record]
        if value is None:
            raise DecodeError("value", f"value of {QUANTITIES[column]}", "no number", "a number")
        row[column] = value * factor
    sequence = values[plan.sequence] if plan.sequence >= 0 else NO_SEQUENCE
    if plan.sequence >= 0 and (sequence is None or not 0 <= sequence <= MAX_SEQUENCE or sequence != int(sequence)):
        raise DecodeError("sequence", "sequence of a meter pack", sequence, f"a whole number, 0..{MAX_SEQUENCE}")
    return row, int(sequence or 0)


def encode_meter_pack(
    device: str, time_ns: I64, values: F64, sequence: I64 | None = None, form: Form = Form.JSON
) -> bytes:
    """Pack of one device's readings: time_ns (n,), values (n, len(METER_COLUMNS)), NaN is left out, sequence (n,)."""
    start_ns = int(time_ns[0])
    base: dict[str, Any] = {"bn": f"{device}:", "bt": seconds(start_ns)}
    records: list[dict[str, Any]] = []
    for i in range(len(time_ns)):
        offset_ns = int(time_ns[i]) - start_ns
        later: dict[str, Any] = {"t": round(offset_ns / NS_PER_S, 6)} if offset_ns else {}
        records += [
            {"n": QUANTITIES[k], "u": _UNIT_OF[k], **later, "v": value}
            for k, value in enumerate(values[i].tolist())
            if value == value
        ]
        if sequence is not None and sequence[i] != NO_SEQUENCE:
            records.append({"n": SEQUENCE, "u": "count", **later, "v": int(sequence[i])})
    return encode([{**base, **records[0]}, *records[1:]], form)
