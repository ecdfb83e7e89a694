"""SenML, RFC 8428, in JSON and CBOR: packs to resolved records, base fields applied.

Times are absolute in the result, in order, with whole microseconds: a double tells no more. The clock is given, never
read. Usual packs take a short way with the same result (`wire.senml_quick`).
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
from wire.senml_fields import (
    BASES,
    CBOR_LABELS,
    MAX_BYTES,
    MAX_RECORDS,
    Fields,
    base64,
    cbor_maps,
    parse_cbor,
    parse_json,
)
from wire.senml_quick import learn, learn_suffixes, quick, quick_cbor
from wire.senml_records import Pack, Record, absolute_ns, microseconds

MAX_NAME = 256
VERSION = 10
_US_PER_S = 1_000_000
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9\-:./_]*\Z")


class Form(Enum):
    """How a pack is written; the value is its media type."""

    JSON = "application/senml+json"
    CBOR = "application/senml+cbor"


CONTENT_FORMATS = {110: Form.JSON, 111: Form.JSON, 112: Form.CBOR, 113: Form.CBOR}  # of CoAP; odd ones are streams


def resolve(pack: bytes, now_ns: int, form: Form = Form.JSON) -> list[Record]:
    """Records of a pack in order of time, base fields applied, relative times made absolute. Raises DecodeError."""
    return resolve_columns(pack, now_ns, form).records()


def resolve_columns(pack: bytes, now_ns: int, form: Form = Form.JSON) -> Pack:
    """Records of a pack as columns; otherwise as `resolve`, and faster. Raises DecodeError."""
    if form is Form.CBOR:
        return _resolve_cbor(pack, now_ns)
    found = quick(pack, now_ns)
    if found is not None:
        return found
    sent, plain = parse_json(pack)
    records = _resolve(sent, [None if f.vd is UNSET else base64(f.vd) for f in sent], now_ns)
    learn(pack, plain)
    return _columns(records)


def _resolve_cbor(pack: bytes, now_ns: int) -> Pack:
    maps = cbor_maps(pack)
    found = quick_cbor(maps, now_ns)
    if found is not None:
        return found
    sent, data = parse_cbor(maps)
    records = _resolve(sent, data, now_ns)
    learn_suffixes([fields.n for fields in sent])
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
        time_us = time_us if fields.bt is UNSET else microseconds(fields.bt)
        if _measures(fields, raw):
            when_us = time_us + microseconds(fields.t) if fields.t else time_us
            records.append(_record(fields, raw, name + fields.n, unit, (value, total), absolute_ns(when_us, now_ns)))
    records.sort(key=_time_of)
    return records


def _time_of(record: Record) -> int:
    return record.time_ns


def _check_versions(records: list[Fields]) -> None:
    versions = {fields.bver for fields in records if fields.bver is not UNSET}
    if len(versions) > 1 or any(not 0 < version <= VERSION for version in versions):
        raise DecodeError(
            "version", "bver of a SenML pack", [str(v)[:20] for v in sorted(versions)[:4]], f"one, 1..{VERSION}"
        )


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


def encode(records: list[dict[str, Any]], form: Form = Form.JSON) -> bytes:
    """A pack of records as they are to be sent, by the labels of RFC 8428 (bytes for "vd" in CBOR)."""
    if form is Form.JSON:
        return msgspec.json.encode(records)
    return cbor.encode([{CBOR_LABELS[label]: value for label, value in fields.items()} for fields in records])


def seconds(time_ns: int) -> int | float:
    """Seconds of SenML for a time, an integer where it is one; cut to the microsecond."""
    whole, rest = divmod(time_ns, NS_PER_S)
    return whole if rest < NS_PER_US else (time_ns // NS_PER_US) / _US_PER_S


__all__ = [
    "CONTENT_FORMATS",
    "MAX_BYTES",
    "MAX_RECORDS",
    "Form",
    "Pack",
    "Record",
    "encode",
    "resolve",
    "resolve_columns",
    "seconds",
]
