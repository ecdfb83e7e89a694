"""SenML, RFC 8428, in JSON and CBOR: packs to resolved records, base fields applied.

Times are absolute in the result, in order, with whole microseconds: a double tells no more. The clock is given, never
read. Packs of a shape seen before take a short way with the same result (`_quick`).
"""

from __future__ import annotations

import math
import re
from enum import Enum
from typing import Any

import msgspec
from msgspec import UNSET

from model.errors import DecodeError
from model.time import NS_PER_S, NS_PER_US
from wire import cbor
from wire.senml_fields import BASES, CBOR_LABELS, MAX_BYTES, MAX_RECORDS, Fields, base64, parse_cbor, parse_json

MAX_NAME = 256
VERSION = 10
RELATIVE_BELOW_US = 2**28 * 1_000_000  # a smaller time is relative to now
_MAX_TIME_S = 9_000_000_000  # 2255: within int64 nanoseconds
_US_PER_S = 1_000_000
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9\-:./_]*\Z")


class Form(Enum):
    """How a pack is written; the value is its media type."""

    JSON = "application/senml+json"
    CBOR = "application/senml+cbor"


class Record(msgspec.Struct, frozen=True, gc=False):
    """One resolved measurement: full name, unit ("" if none), absolute time; of the values one, or only the sum."""

    name: str
    unit: str
    time_ns: int
    value: float | None = None
    text: str | None = None
    flag: bool | None = None
    data: bytes | None = None
    sum: float | None = None
    update_s: float | None = None


class Pack(msgspec.Struct, frozen=True, gc=False):
    """Resolved records as columns, in order of time. `values` has None where a record holds something else than a
    number; those records are in `others`, by row."""

    names: list[str]
    units: list[str]
    time_ns: list[int]
    values: list[float | None]
    others: dict[int, Record]

    def records(self) -> list[Record]:
        """The same, record by record."""
        found = list(map(Record, self.names, self.units, self.time_ns, self.values))
        for row, record in self.others.items():
            found[row] = record
        return found


def resolve(pack: bytes, now_ns: int, form: Form = Form.JSON) -> list[Record]:
    """Records of a pack in order of time, base fields applied, relative times made absolute. Raises DecodeError."""
    return resolve_columns(pack, now_ns, form).records()


def resolve_columns(pack: bytes, now_ns: int, form: Form = Form.JSON) -> Pack:
    """Records of a pack as columns; otherwise as `resolve`, and faster. Raises DecodeError."""
    if form is Form.CBOR:
        sent, data = parse_cbor(pack)
        return _columns(_resolve(sent, data, now_ns))
    quick = _quick(pack, now_ns)
    if quick is not None:
        return quick
    sent, plain = parse_json(pack)
    records = _resolve(sent, [None if f.vd is UNSET else base64(f.vd) for f in sent], now_ns)
    _learn(pack, plain)
    return _columns(records)


def _columns(records: list[Record]) -> Pack:
    return Pack(
        [record.name for record in records],
        [record.unit for record in records],
        [record.time_ns for record in records],
        [record.value for record in records],
        {i: r for i, r in enumerate(records) if r.value is None or r.sum is not None or r.update_s is not None},
    )


def _resolve(sent: list[Fields], data: list[bytes | None], now_ns: int) -> list[Record]:
    _check_versions(sent)
    name, unit, value, total, time_us = "", "", 0.0, 0.0, 0
    records: list[Record] = []
    for fields, raw in zip(sent, data, strict=True):
        name = name if fields.bn is UNSET else fields.bn
        unit = unit if fields.bu is UNSET else fields.bu
        value = value if fields.bv is UNSET else fields.bv
        total = total if fields.bs is UNSET else fields.bs
        time_us = time_us if fields.bt is UNSET else _microseconds(fields.bt)
        if _measures(fields, raw):
            when_us = time_us + _microseconds(fields.t) if fields.t else time_us
            records.append(_record(fields, raw, name + fields.n, unit, (value, total), _absolute_ns(when_us, now_ns)))
    records.sort(key=_time_of)
    return records


def _time_of(record: Record) -> int:
    return record.time_ns


def _check_versions(records: list[Fields]) -> None:
    versions = {fields.bver for fields in records if fields.bver is not UNSET}
    if len(versions) > 1 or any(not 0 < version <= VERSION for version in versions):
        raise DecodeError("version", "bver of a SenML pack", sorted(versions)[:4], f"one, 1..{VERSION}")


def _microseconds(seconds: float) -> int:
    """Whole microseconds: a double tells no more of an absolute time."""
    if abs(seconds) > _MAX_TIME_S:
        raise DecodeError("time", "time of a SenML record", seconds, "a time before the year 2255")
    return round(seconds * _US_PER_S)


def _absolute_ns(time_us: int, now_ns: int) -> int:
    found_ns = time_us * NS_PER_US + (now_ns if time_us < RELATIVE_BELOW_US else 0)
    if abs(found_ns) > _MAX_TIME_S * NS_PER_S:
        raise DecodeError("time", "time of a SenML record", found_ns // NS_PER_S, "a time before the year 2255")
    return found_ns


def _measures(fields: Fields, raw: bytes | None) -> bool:
    """Whether a record holds a measurement; one with base fields only holds none. Raises DecodeError otherwise."""
    values = (fields.v is not UNSET) + (fields.vs is not UNSET) + (fields.vb is not UNSET) + (raw is not None)
    if values > 1:
        raise DecodeError("value", "values of a SenML record", values, "exactly one")
    if values or fields.s is not UNSET:
        return True
    own = fields.n or fields.t or fields.u is not UNSET or fields.ut is not UNSET
    if own or all(getattr(fields, label) is UNSET for label in BASES):
        raise DecodeError("value", "values of a SenML record", 0, "exactly one, a sum, or base fields only")
    return False


def _record(
    fields: Fields, raw: bytes | None, name: str, unit: str, bases: tuple[float, float], time_ns: int
) -> Record:
    if len(name) > MAX_NAME or not _NAME.match(name):
        raise DecodeError("name", "name of a SenML record", repr(name[:MAX_NAME]), f"1..{MAX_NAME} of A-Za-z0-9-:./_")
    value, total = bases
    return Record(
        name,
        unit if fields.u is UNSET else fields.u,
        time_ns,
        None if fields.v is UNSET else _finite(value + fields.v),
        None if fields.vs is UNSET else fields.vs,
        None if fields.vb is UNSET else fields.vb,
        raw,
        None if fields.s is UNSET else _finite(total + fields.s),
        None if fields.ut is UNSET else fields.ut,
    )


def _finite(value: float) -> float:
    """A base and a value that are finite may add up to what is not."""
    if not math.isfinite(value):
        raise DecodeError("value", "value of a SenML record with its base", value, "a finite number")
    return value


# The short way. A fleet sends packs that differ in their numbers and in the base name only. What is left of a pack
# without the letters of numbers is its shape: brackets, quotes and commas stand in it as they were, so two packs of one
# shape without backslashes have the same tokens. If all labels of the second are known ones too (`_EXACT`), they are
# the same labels, since no two labels differ in the letters of numbers alone: no key twice, base fields in their place.
_START = b'[{"bn":"'
_NUMERIC = b"0123456789.+-eE"
_MAX_SHAPES = 1_024
_MAX_SUFFIX = 64
_BASE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9\-:./_]{0,191}\Z")
_SUFFIX = re.compile(r"[A-Za-z0-9\-:./_]*\Z")
_NEEDED = frozenset({"n", "v"})
_LATER = _NEEDED | {"u", "t"}
_FIRST = _LATER | {"bn", "bt"}


class _Exact(Fields, gc=False, forbid_unknown_fields=True):
    """A record that may hold known labels only."""


_EXACT = msgspec.json.Decoder(list[_Exact])
_shapes: dict[bytes, bool] = {}  # base name and time first, name and number in each record; whether each has a unit
_suffixes: set[str] = set()  # names of their records that are well formed


def _shape(pack: bytes) -> bytes | None:
    """What tells the tokens of a pack that starts with its base name, without that name."""
    end = pack.find(b'"', len(_START)) if pack.startswith(_START) else -1
    return None if end < 0 or b"\\" in pack else pack[end:].translate(None, _NUMERIC)


def _learn(pack: bytes, plain: list[dict[str, Any]]) -> None:
    """Remember the shape of a pack that was right, if it is a usual one."""
    shape = _shape(pack)
    usual = "bt" in plain[0] and plain[0].keys() <= _FIRST and all(fields.keys() <= _LATER for fields in plain[1:])
    usual = usual and all(fields.keys() >= _NEEDED for fields in plain)
    suffixes = [fields["n"] for fields in plain] if usual else []
    if shape is None or not usual or not all(len(n) <= _MAX_SUFFIX and _SUFFIX.match(n) for n in suffixes):
        return
    if len(_shapes) >= _MAX_SHAPES or len(_suffixes) >= _MAX_SHAPES:
        _shapes.clear()
        _suffixes.clear()
    _shapes[shape] = all("u" in fields for fields in plain)
    _suffixes.update(suffixes)


def _quick(pack: bytes, now_ns: int) -> Pack | None:
    """Columns of a pack of a known shape; None if it must go the long way, which also says what is wrong with it."""
    have_units = _shapes.get(_shape(pack) or b"")
    if have_units is None or len(pack) > MAX_BYTES:
        return None
    try:
        sent = _EXACT.decode(pack)
    except (msgspec.DecodeError, ValueError):  # the latter for what is not UTF-8
        return None
    base: Any = sent[0].bn
    start: Any = sent[0].bt
    suffixes = [fields.n for fields in sent]
    if not _suffixes.issuperset(suffixes) or not _BASE_NAME.match(base):
        return None
    times = {fields.t for fields in sent}
    base_us = _microseconds(start)
    if len(times) == 1:
        stamps = [_absolute_ns(base_us + _microseconds(times.pop()), now_ns)] * len(sent)
    else:
        stamps = [_absolute_ns(base_us + _microseconds(fields.t), now_ns) for fields in sent]
        if any(map(int.__gt__, stamps, stamps[1:])):
            return None  # the long way sorts
    values: Any = [fields.v for fields in sent]
    units: Any = [fields.u for fields in sent] if have_units else [fields.u or "" for fields in sent]
    return Pack([base + suffix for suffix in suffixes], units, stamps, values, {})


def encode(records: list[dict[str, Any]], form: Form = Form.JSON) -> bytes:
    """A pack of records as they are to be sent, by the labels of RFC 8428 (bytes for "vd" in CBOR)."""
    if form is Form.JSON:
        return msgspec.json.encode(records)
    return cbor.encode([{CBOR_LABELS[label]: value for label, value in fields.items()} for fields in records])


def seconds(time_ns: int) -> int | float:
    """Seconds of SenML for a time, an integer where it is one; cut to the microsecond."""
    whole, rest = divmod(time_ns, NS_PER_S)
    return whole if rest < NS_PER_US else (time_ns // NS_PER_US) / _US_PER_S


__all__ = ["MAX_BYTES", "MAX_RECORDS", "Form", "Pack", "Record", "encode", "resolve", "resolve_columns", "seconds"]
