"""SenML, RFC 8428, as JSON: packs to resolved records.

Strict where a lenient reader would guess: no duplicate keys, no NaN, no null, no label that must be understood
("..._"), no newer version, bounds on bytes, records, names and times. The clock is given, never read.
"""

from __future__ import annotations

import json
import re
from base64 import urlsafe_b64decode
from binascii import Error as Base64Error
from itertools import chain
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from model.errors import DecodeError
from model.time import NS_PER_S, NS_PER_US

MAX_BYTES = 262_144
MAX_RECORDS = 5_000
MAX_NAME = 256
VERSION = 10
RELATIVE_BELOW_US = 2**28 * 1_000_000  # a smaller time is relative to now
_MAX_TIME_S = 253_402_300_799  # end of the year 9999
_US_PER_S = 1_000_000
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9\-:./_]*\Z")
_BASE64URL = re.compile(r"[A-Za-z0-9\-_]*\Z")
_KEY = re.compile(rb'"[ \t\r\n]*:')


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


class _Fields(msgspec.Struct, gc=False):
    """One record as sent, types checked; labels that are not listed are let through."""

    bn: str | UnsetType = UNSET
    bt: float | UnsetType = UNSET
    bu: str | UnsetType = UNSET
    bv: float | UnsetType = UNSET
    bs: float | UnsetType = UNSET
    bver: int | UnsetType = UNSET
    n: str = ""
    u: str | UnsetType = UNSET
    v: float | UnsetType = UNSET
    vs: str | UnsetType = UNSET
    vb: bool | UnsetType = UNSET
    vd: str | UnsetType = UNSET
    s: float | UnsetType = UNSET
    t: float = 0.0
    ut: float | UnsetType = UNSET


_LABELS = frozenset(_Fields.__struct_fields__)
_BASES = frozenset({"bn", "bt", "bu", "bv", "bs", "bver"})
_TYPED = msgspec.json.Decoder(list[_Fields])
_PLAIN = msgspec.json.Decoder(list[dict[str, Any]])


def resolve(pack: bytes, now_ns: int) -> list[Record]:
    """Records of a pack in order of time, base fields applied, relative times made absolute. Raises DecodeError."""
    name, unit, value, total, time_us = "", "", 0.0, 0.0, 0
    records: list[Record] = []
    sent = _parse(pack)
    _check_versions(sent)
    for fields in sent:
        name = name if fields.bn is UNSET else fields.bn
        unit = unit if fields.bu is UNSET else fields.bu
        value = value if fields.bv is UNSET else fields.bv
        total = total if fields.bs is UNSET else fields.bs
        time_us = time_us if fields.bt is UNSET else _microseconds(fields.bt)
        if _measures(fields):
            when_us = time_us + _microseconds(fields.t) if fields.t else time_us
            records.append(_record(fields, name + fields.n, unit, value, total, when_us, now_ns))
    records.sort(key=_time_of)
    return records


def _time_of(record: Record) -> int:
    return record.time_ns


def _parse(pack: bytes) -> list[_Fields]:
    if len(pack) > MAX_BYTES:
        raise DecodeError("size", "length of a SenML pack", len(pack), f"<= {MAX_BYTES} bytes")
    try:
        plain = _PLAIN.decode(pack)
        # A colon follows each key: more colons than fields mean a text with one in it, or a key sent twice.
        if len(_KEY.findall(pack)) != sum(map(len, plain)):
            json.loads(pack, object_pairs_hook=_refuse_duplicates)
        records = _TYPED.decode(pack)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise DecodeError("json", "SenML pack", str(error)[:120], "a JSON array of RFC 8428 records") from error
    if not 0 < len(records) <= MAX_RECORDS:
        raise DecodeError("records", "records of a SenML pack", len(records), f"1..{MAX_RECORDS}")
    _check_labels(plain)
    return records


def _refuse_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise DecodeError("duplicate", "keys of a SenML record", [key[:20] for key, _ in pairs][:16], "each key once")
    return fields


def _check_labels(records: list[dict[str, Any]]) -> None:
    unknown = set(chain.from_iterable(records)) - _LABELS
    must = [label[:40] for label in unknown if label.endswith("_")]
    if must:
        raise DecodeError("label", "labels of a SenML pack that must be understood", must[:4], "none")
    if unknown and any(fields.keys() <= unknown for fields in records):
        raise DecodeError("value", "fields of a SenML record", "none known", "a value, a sum or base fields")


def _check_versions(records: list[_Fields]) -> None:
    versions = {fields.bver for fields in records if fields.bver is not UNSET}
    if len(versions) > 1 or any(not 0 < version <= VERSION for version in versions):
        raise DecodeError("version", "bver of a SenML pack", sorted(versions)[:4], f"one, 1..{VERSION}")


def _microseconds(seconds: float) -> int:
    """Whole microseconds: a double tells no more of an absolute time."""
    if abs(seconds) > _MAX_TIME_S:
        raise DecodeError("time", "time of a SenML record", seconds, "a time before the year 10000")
    return round(seconds * _US_PER_S)


def _measures(fields: _Fields) -> bool:
    """Whether a record holds a measurement; one with base fields only holds none. Raises DecodeError otherwise."""
    values = (fields.v is not UNSET) + (fields.vs is not UNSET) + (fields.vb is not UNSET) + (fields.vd is not UNSET)
    if values > 1:
        raise DecodeError("value", "values of a SenML record", values, "exactly one")
    if values or fields.s is not UNSET:
        return True
    own = fields.n or fields.t or fields.u is not UNSET or fields.ut is not UNSET
    if own or all(getattr(fields, label) is UNSET for label in _BASES):
        raise DecodeError("value", "values of a SenML record", 0, "exactly one, a sum, or base fields only")
    return False


def _record(fields: _Fields, name: str, unit: str, value: float, total: float, time_us: int, now_ns: int) -> Record:
    if len(name) > MAX_NAME or not _NAME.match(name):
        raise DecodeError("name", "name of a SenML record", repr(name[:MAX_NAME]), f"1..{MAX_NAME} of A-Za-z0-9-:./_")
    return Record(
        name,
        unit if fields.u is UNSET else fields.u,
        time_us * NS_PER_US + (now_ns if time_us < RELATIVE_BELOW_US else 0),
        None if fields.v is UNSET else value + fields.v,
        None if fields.vs is UNSET else fields.vs,
        None if fields.vb is UNSET else fields.vb,
        None if fields.vd is UNSET else _base64(fields.vd),
        None if fields.s is UNSET else total + fields.s,
        None if fields.ut is UNSET else fields.ut,
    )


def _base64(text: str) -> bytes:
    """Bytes of base64url without padding; other alphabets, padding and white space are refused."""
    try:
        if not _BASE64URL.match(text):
            raise Base64Error("alphabet")
        return urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except Base64Error as error:
        raise DecodeError("data", '"vd" of a SenML record', text[:40], "base64url without padding") from error


def seconds(time_ns: int) -> int | float:
    """Seconds of SenML for a time, an integer where it is one; cut to the microsecond."""
    whole, rest = divmod(time_ns, NS_PER_S)
    return whole if rest < NS_PER_US else (time_ns // NS_PER_US) / _US_PER_S
