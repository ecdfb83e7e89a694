"""A meter's push to one row of METER_COLUMNS: registers found by OBIS code, scaled, their units checked.

Meters send their registers as structures {code, value, {scaler, unit}}, or flat, codes and values in turn and without
units, or as bare values: then a `Profile` of the meter model gives scalers, units and codes. Power is import minus
export.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple

import numpy as np

from model.block import METER_COLUMNS, NO_SEQUENCE
from model.errors import DecodeError
from wire.dlms.apdu import Notification, decode_notification, strip_llc
from wire.dlms.axdr import Node, Tag, is_number
from wire.dlms.times import ClockRule, decode_time_ns
from wire.meter import MeterPack

OBIS_BYTES = 6
MAX_SCALER = 12
MAX_NAME = 64
CLOCK = bytes([0, 0, 1, 0, 0, 255])
IDENTITIES = (  # the first that is there names the meter
    bytes([0, 0, 42, 0, 0, 255]),  # logical device name
    bytes([0, 0, 96, 1, 0, 255]),  # serial number
    bytes([1, 1, 0, 0, 5, 255]),
)
_ELECTRICITY = 1
_LATEST = 255
_SCALED = (int(Tag.INT8), int(Tag.ENUM))
_STRUCTURE, _OCTETS, _COMPACT = int(Tag.STRUCTURE), int(Tag.OCTETS), int(Tag.COMPACT)
_CONTAINERS = (int(Tag.ARRAY), _STRUCTURE)
_TIMES = (_OCTETS, int(Tag.DATE_TIME))


class Unit(IntEnum):
    """Units of COSEM that our columns know."""

    W = 27
    VA = 28
    VAR = 29
    WH = 30
    VAH = 31
    VARH = 32
    A = 33
    V = 35
    HZ = 44


@dataclass(frozen=True, slots=True)
class Target:
    """Where a register belongs: its column, the sign it adds with, and the unit it must have."""

    column: int
    sign: int
    unit: Unit


def _targets() -> dict[bytes, Target]:
    named = {name: i for i, name in enumerate(METER_COLUMNS)}
    found = {
        bytes([1, 8, 0]): Target(named["energy_import_wh"], 1, Unit.WH),
        bytes([2, 8, 0]): Target(named["energy_export_wh"], 1, Unit.WH),
        bytes([1, 7, 0]): Target(named["power_w"], 1, Unit.W),
        bytes([2, 7, 0]): Target(named["power_w"], -1, Unit.W),
        bytes([3, 7, 0]): Target(named["reactive_power_var"], 1, Unit.VAR),
        bytes([4, 7, 0]): Target(named["reactive_power_var"], -1, Unit.VAR),
        bytes([14, 7, 0]): Target(named["frequency_hz"], 1, Unit.HZ),
    }
    for phase in (1, 2, 3):
        found[bytes([12 + 20 * phase, 7, 0])] = Target(named[f"voltage_l{phase}_v"], 1, Unit.V)
        found[bytes([11 + 20 * phase, 7, 0])] = Target(named[f"current_l{phase}_a"], 1, Unit.A)
    return found


TARGETS: Mapping[bytes, Target] = _targets()  # by the value groups C, D, E
CODES = {(target.column, target.sign): bytes([1, 0, *group, 255]) for group, target in TARGETS.items()}


@dataclass(frozen=True, slots=True)
class Profile:
    """What the pushes of one meter model do not tell: its clock, (scaler, unit) of registers sent without, and for
    meters that send bare values the codes of their lists, by the number of values."""

    clock: ClockRule = field(default_factory=ClockRule)
    scales: Mapping[bytes, tuple[int, int]] = field(default_factory=dict)
    lists: Mapping[int, tuple[bytes, ...]] = field(default_factory=dict)


class Register(NamedTuple):
    """One value with its OBIS code; scaler and unit if they were sent."""

    code: bytes
    value: Node
    scale: tuple[int, int] | None = None


def registers(body: Node, profile: Profile) -> Iterator[Register]:
    """Registers of a push in its order, whatever the nesting; what has no code before it is passed over."""
    codes = profile.lists.get(len(body[1])) if body[0] in _CONTAINERS else None
    if codes is not None and not any(map(_is_code, body[1])):
        yield from map(Register, codes, body[1])
        return
    stack = [body]
    while stack:
        tag, value = stack.pop()
        nodes = value if tag in _CONTAINERS else value[1] if tag == _COMPACT else []
        at, inner = 0, []
        while at < len(nodes):
            if _is_code(nodes[at]) and at + 1 < len(nodes):
                scale = _scale(nodes[at + 2]) if at + 2 < len(nodes) else None
                yield Register(nodes[at][1], nodes[at + 1], scale)
                at += 2 if scale is None else 3
            else:
                inner.append(nodes[at])
                at += 1
        stack += reversed(inner)


def _is_code(node: Node) -> bool:
    return node[0] == _OCTETS and len(node[1]) == OBIS_BYTES


def _scale(node: Node) -> tuple[int, int] | None:
    """(scaler, unit) of a node that is such a structure."""
    if node[0] != _STRUCTURE or len(node[1]) != 2:
        return None
    (first, scaler), (second, unit) = node[1]
    return (scaler, unit) if (first, second) == _SCALED else None


def target_of(code: bytes) -> Target | None:
    """Where a register belongs; None for what has no column (tariffs, other media, history)."""
    if code[0] != _ELECTRICITY or code[5] != _LATEST:
        return None
    return TARGETS.get(code[2:5])


def factor_of(register: Register, target: Target, profile: Profile) -> int:
    """Power of ten of a register. Raises DecodeError (unit, scaler): no unit known, a wrong one, an odd scaler."""
    scale = register.scale if register.scale is not None else profile.scales.get(register.code)
    if scale is None or scale[1] != target.unit:
        found = "none" if scale is None else scale[1]
        raise DecodeError("unit", f"unit of {METER_COLUMNS[target.column]}", found, f"{target.unit:d}")
    if abs(scale[0]) > MAX_SCALER:
        raise DecodeError("scaler", f"scaler of {METER_COLUMNS[target.column]}", scale[0], f"+-{MAX_SCALER}")
    return scale[0]


def scaled(value: float, power: int) -> float:
    """value x 10^power; dividing by a whole power of ten keeps 2274 at 10^-1 the double nearest to 227.4."""
    return value * 10.0**power if power >= 0 else value / 10.0**-power


def decode_push(data: bytes, profile: Profile, now_ns: int) -> MeterPack:
    """Readings of a plain push, with or without LLC. Raises DecodeError.

    The device is the meter's own name, "" if the push has none; the time is its clock, else the notification's, else
    `now_ns`. `ignored` counts registers that have no column.
    """
    return readings(decode_notification(strip_llc(data)), profile, now_ns)


def readings(notification: Notification, profile: Profile, now_ns: int) -> MeterPack:
    """Readings of a push; `decode_push` has the rules."""
    row = [math.nan] * len(METER_COLUMNS)
    seen: set[tuple[int, int]] = set()
    names: dict[bytes, str] = {}
    clock, ignored = notification.date_time, 0
    for register in registers(notification.body, profile):
        target = target_of(register.code)
        if target is not None:
            _add(row, seen, register, target, profile)
        elif register.code == CLOCK and register.value[0] in _TIMES:
            clock = register.value[1]
        elif register.code in IDENTITIES:
            names[register.code] = name_of(register.value)
        else:
            ignored += 1
    if not seen:
        raise DecodeError("quantity", "registers of a push", "none known", "at least one of 1.8.0, 1.7.0, 32.7.0, ...")
    return one_row(
        next((names[code] for code in IDENTITIES if code in names), ""), clock, row, ignored, profile, now_ns
    )


def one_row(device: str, clock: bytes, row: list[float], ignored: int, profile: Profile, now_ns: int) -> MeterPack:
    """Pack of one reading; an empty clock means now. Raises DecodeError (time, value)."""
    if any(map(math.isinf, row)):
        raise DecodeError("value", "values of a push", "infinite", "finite numbers")
    time_ns = decode_time_ns(clock, profile.clock) if clock else now_ns
    return MeterPack(
        device,
        np.array([time_ns], np.int64),
        np.array([NO_SEQUENCE], np.int64),
        np.array([row], np.float64),
        ignored,
    )


def _add(row: list[float], seen: set[tuple[int, int]], register: Register, target: Target, profile: Profile) -> None:
    key = target.column, target.sign
    if key in seen:
        raise DecodeError("duplicate", f"registers for {METER_COLUMNS[target.column]}", 2, "one")
    if not is_number(register.value) or not math.isfinite(register.value[1]):
        raise DecodeError("value", f"value of {METER_COLUMNS[target.column]}", register.value[0], "a number")
    seen.add(key)
    value = target.sign * scaled(register.value[1], factor_of(register, target, profile))
    row[target.column] = value if math.isnan(row[target.column]) else row[target.column] + value


def name_of(node: Node) -> str:
    """A meter's name: its printable text, else hexadecimal; "" for what is neither. Raises DecodeError (identity)."""
    value = node[1]
    if isinstance(value, bytes | str) and len(value) > MAX_NAME:
        raise DecodeError("identity", "length of a meter's name", len(value), f"<= {MAX_NAME}")
    if isinstance(value, bytes):
        text = value.decode("latin-1")
        return text if text.isascii() and text.isprintable() else value.hex()
    return "".join(letter for letter in value if letter.isprintable()) if isinstance(value, str) else ""


def encode_body(
    values: list[float], scalers: Mapping[int, int], clock: bytes = b"", name: str = "", kind: Tag = Tag.INT32
) -> Node:
    """Body of a push: an array of {code, value, {scaler, unit}}. values as in METER_COLUMNS, NaN is left out.

    scalers: power of ten by column, 0 if not given; kind: the integer type of the values. Raises ValueError for a
    value that is negative in a column which has no register for that.
    """
    items: list[Node] = []
    if name:
        items.append(_item(IDENTITIES[1], (Tag.STRING, name)))
    if clock:
        items.append(_item(CLOCK, (Tag.OCTETS, clock)))
    for column, value in enumerate(values):
        if math.isnan(value):
            continue
        sign = -1 if value < 0 else 1
        code = CODES.get((column, sign))
        if code is None:
            raise ValueError(f"{METER_COLUMNS[column]} is {value}, expected >= 0")
        power = scalers.get(column, 0)
        unit: Node = (Tag.STRUCTURE, [(Tag.INT8, power), (Tag.ENUM, int(TARGETS[code[2:5]].unit))])
        items.append(_item(code, (kind, round(scaled(abs(value), -power))), unit))
    return Tag.ARRAY, items


def _item(code: bytes, *rest: Node) -> Node:
    return Tag.STRUCTURE, [(Tag.OCTETS, code), *rest]
