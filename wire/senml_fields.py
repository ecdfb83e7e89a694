"""Records of SenML as sent, JSON and CBOR, types and labels checked; base fields are resolved in `wire.senml`.

Strict where a lenient reader would guess: no duplicate keys, no NaN, no null, no label that must be understood
("..._"), bounds on bytes and records.
"""

from __future__ import annotations

import json
import math
import re
from base64 import urlsafe_b64decode
from binascii import Error as Base64Error
from itertools import chain
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from model.errors import DecodeError
from wire import cbor

MAX_BYTES = 262_144
MAX_RECORDS = 5_000
_BASE64URL = re.compile(r"[A-Za-z0-9\-_]*\Z")
_KEY = re.compile(rb'"[ \t\r\n]*:')


class Fields(msgspec.Struct, gc=False):
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


BASES = frozenset({"bn", "bt", "bu", "bv", "bs", "bver"})
LABELS = frozenset(Fields.__struct_fields__)
_NUMBERED = ("n", "u", "v", "vs", "vb", "s", "t", "ut", "vd")
_NUMBERED_BASES = ("bver", "bn", "bt", "bu", "bv", "bs")
CBOR_LABELS = dict(zip(_NUMBERED, range(9), strict=True)) | dict(zip(_NUMBERED_BASES, range(-1, -7, -1), strict=True))
_TEXTS = frozenset({"bn", "bu", "n", "u", "vs"})
_BY_NUMBER = {number: label for label, number in CBOR_LABELS.items()}
_TYPED = msgspec.json.Decoder(list[Fields])
_PLAIN = msgspec.json.Decoder(list[dict[str, Any]])


def parse_json(pack: bytes) -> tuple[list[Fields], list[dict[str, Any]]]:
    """Records of a JSON pack, and their labels as keys of plain objects. Raises DecodeError."""
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
    _check_count(len(records))
    _check_labels(plain)
    return records, plain


def _check_count(records: int) -> None:
    if not 0 < records <= MAX_RECORDS:
        raise DecodeError("records", "records of a SenML pack", records, f"1..{MAX_RECORDS}")


def _refuse_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise DecodeError("duplicate", "keys of a SenML record", [key[:20] for key, _ in pairs][:16], "each key once")
    return fields


def _check_labels(records: list[dict[str, Any]]) -> None:
    unknown = set(chain.from_iterable(records)) - LABELS
    must = [label[:40] for label in unknown if label.endswith("_")]
    if must:
        raise DecodeError("label", "labels of a SenML pack that must be understood", must[:4], "none")
    if unknown and any(fields.keys() <= unknown for fields in records):
        raise DecodeError("value", "fields of a SenML record", "none known", "a value, a sum or base fields")


def cbor_maps(pack: bytes) -> list[dict[int | str, Any]]:
    """Records of a CBOR pack as they are. Raises DecodeError."""
    if len(pack) > MAX_BYTES:
        raise DecodeError("size", "length of a SenML pack", len(pack), f"<= {MAX_BYTES} bytes")
    sent = cbor.decode(pack)
    if not isinstance(sent, list) or not all(isinstance(fields, dict) for fields in sent):
        raise DecodeError("cbor", "SenML pack", type(sent).__name__, "an array of maps")
    _check_count(len(sent))
    return sent


def parse_cbor(sent: list[dict[int | str, Any]]) -> tuple[list[Fields], list[bytes | None]]:
    """Records of the maps, and the bytes of each "vd", which CBOR sends as they are. Raises DecodeError."""
    records: list[Fields] = []
    data: list[bytes | None] = []
    for fields in sent:
        known = _known(fields)
        data.append(known.pop("vd", None))
        records.append(Fields(**known))
    return records, data


def _known(fields: dict[int | str, Any]) -> dict[str, Any]:
    """Fields by label, of the right types; unknown ones that need not be understood are left out."""
    known: dict[str, Any] = {}
    for key, value in fields.items():
        label = _BY_NUMBER.get(key) if isinstance(key, int) else None
        if label is not None:
            known[label] = _checked(label, value)
        elif isinstance(key, str) and (key in LABELS or key.endswith("_")):
            raise DecodeError("label", "label of a SenML record", repr(key[:40]), "a number, or none to be understood")
    if not known:
        raise DecodeError("value", "fields of a SenML record", "none known", "a value, a sum or base fields")
    return known


def _checked(label: str, value: object) -> object:
    if label in _TEXTS:
        fits = isinstance(value, str)
    elif label == "vb":
        fits = isinstance(value, bool)
    elif label == "vd":
        fits = isinstance(value, bytes)
    elif label == "bver":
        fits = type(value) is int
    else:
        fits = type(value) is int or (isinstance(value, float) and math.isfinite(value))
        value = float(value) if fits else value  # type: ignore[arg-type]
    if not fits:
        raise DecodeError("cbor", f'"{label}" of a SenML record', repr(value)[:40], "a value of its type, finite")
    return value


def base64(text: str) -> bytes:
    """Bytes of base64url without padding; other alphabets, padding and white space are refused."""
    try:
        if not _BASE64URL.match(text):
            raise Base64Error("alphabet")
        return urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except Base64Error as error:
        raise DecodeError("data", '"vd" of a SenML record', text[:40], "base64url without padding") from error
