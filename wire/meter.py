"""A meter's readings as SenML packs: one pack is one device, one or several times, the quantities of METER_COLUMNS.

The full name of a record is `<device name>:<quantity>`, e.g. urn:dev:norm:norm-0001:meter:energy_import in Wh. Units of
RFC 8428 and secondary units of RFC 8798 are brought to those of the columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from model.block import F64, I64, METER_COLUMNS, NO_SEQUENCE, UNKNOWN_TIME_ERROR_NS, Block, Origin, Schema
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
        rows = len(self.time_ns)
        return Block(
            schema=Schema.METER,
            columns=METER_COLUMNS,
            origin=origin,
            device=np.full(rows, index, np.int32),
            time_ns=self.time_ns,
            received_ns=np.full(rows, received_ns, np.int64),
            time_error_ns=np.full(rows, UNKNOWN_TIME_ERROR_NS, np.int64),
            sequence=self.sequence,
            quality=np.zeros(rows, np.uint32),
            values=self.values,
        )


def decode_meter_pack(data: bytes, now_ns: int, form: Form = Form.JSON) -> MeterPack:
    """Readings of a pack. Raises DecodeError: not SenML, more than one device, a wrong unit, the same reading twice."""
    pack = resolve_columns(data, now_ns, form)
    device = pack.names[0].rpartition(":")[0] if pack.names else ""
    start, prefix = len(device) + 1, f"{device}:"
    rows: dict[int, list[float]] = {}
    sequences: dict[int, int] = {}
    ignored = 0
    for name, unit, time_ns, value in zip(pack.names, pack.units, pack.time_ns, pack.values, strict=True):
        quantity = name[start:]
        if not device or name[:start] != prefix or ":" in quantity:
            raise _devices(pack.names)
        row = rows.get(time_ns)
        if row is None:
            row = rows[time_ns] = [np.nan] * len(METER_COLUMNS)
        if quantity in _COLUMN_OF:
            _put(row, quantity, unit, value)
        elif quantity == SEQUENCE:
            _put_sequence(sequences, time_ns, value)
        else:
            ignored += 1
    return _pack(device, rows, sequences, ignored)


def _pack(device: str, rows: dict[int, list[float]], sequences: dict[int, int], ignored: int) -> MeterPack:
    times = [time_ns for time_ns, row in rows.items() if any(value == value for value in row)]
    if not times:
        raise DecodeError("quantity", "quantities of a meter pack", "none known", ", ".join(QUANTITIES))
    return MeterPack(
        device,
        np.array(times, np.int64),
        np.array([sequences.get(time_ns, NO_SEQUENCE) for time_ns in times], np.int64),
        np.array([rows[time_ns] for time_ns in times], np.float64),
        ignored,
    )


def _devices(names: list[str]) -> DecodeError:
    found = sorted({name.rpartition(":")[0] for name in names})
    return DecodeError("identity", "devices of a meter pack", found[:4], "exactly one, <device>:<quantity>")


def _put(row: list[float], quantity: str, unit: str, value: float | None) -> None:
    column, factors = _COLUMN_OF[quantity]
    if value is None:
        raise DecodeError("value", f"value of {quantity}", "no number", "a number")
    factor = factors.get(unit)
    if factor is None:
        raise DecodeError("unit", f"unit of {quantity}", repr(unit[:20]), " or ".join(factors))
    if row[column] == row[column]:
        raise DecodeError("duplicate", f"readings of {quantity} at one time", 2, "one")
    row[column] = value * factor


def _put_sequence(sequences: dict[int, int], time_ns: int, value: float | None) -> None:
    if value is None or not 0 <= value <= MAX_SEQUENCE or value != int(value):
        raise DecodeError("sequence", "sequence of a meter pack", value, f"a whole number, 0..{MAX_SEQUENCE}")
    sequences[time_ns] = int(value)


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
