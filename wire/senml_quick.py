"""The short way to resolve SenML packs as whole fleets send them: base name and time first, then plain numbers.

Packs of a fleet differ in their numbers and in the base name only. What is left of a JSON pack without the letters of
numbers is its shape: brackets, quotes and commas stand in it as they were, so two packs of one shape without
backslashes have the same tokens. If all labels of the second are known ones too (`_EXACT`), they are the same labels,
since no two labels differ in the letters of numbers alone: no key twice, base fields in their place. What is not usual
is left to the long way in `wire.senml`, which also says what is wrong with it.
"""

from __future__ import annotations

import math
import re
from typing import Any

import msgspec

from wire.senml_fields import CBOR_LABELS, MAX_BYTES, Fields
from wire.senml_records import Pack, absolute_ns, microseconds

_START = b'[{"bn":"'
_NUMERIC = b"0123456789.+-eE"
_MAX_SHAPES = 1_024
_MAX_SUFFIX = 64
_BASE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9\-:./_]{0,191}\Z")
_SUFFIX = re.compile(r"[A-Za-z0-9\-:./_]*\Z")
_NEEDED = frozenset({"n", "v"})
_LATER = _NEEDED | {"u", "t"}
_FIRST = _LATER | {"bn", "bt"}
_N, _U, _V, _T, _BN, _BT = (CBOR_LABELS[label] for label in ("n", "u", "v", "t", "bn", "bt"))
_NEEDED_NUMBERS = {_N, _V}
_LATER_NUMBERS = {_N, _U, _V, _T}
_FIRST_NUMBERS = {_N, _U, _V, _T, _BN, _BT}


class _Exact(Fields, gc=False, forbid_unknown_fields=True):
    """A record that may hold known labels only."""


_EXACT = msgspec.json.Decoder(list[_Exact])
_shapes: dict[bytes, tuple[bool, bool]] = {}  # usual packs: whether each record has a unit, and whether one has a time
_suffixes: set[str] = set()  # names of their records that are well formed


def _shape(pack: bytes) -> bytes | None:
    """What tells the tokens of a pack that starts with its base name, without that name."""
    end = pack.find(b'"', len(_START)) if pack.startswith(_START) else -1
    return None if end < 0 or b"\\" in pack else pack[end:].translate(None, _NUMERIC)


def learn(pack: bytes, plain: list[dict[str, Any]]) -> None:
    """Remember the shape of a JSON pack that was right, if it is a usual one."""
    shape = _shape(pack)
    usual = "bt" in plain[0] and plain[0].keys() <= _FIRST and all(fields.keys() <= _LATER for fields in plain[1:])
    usual = usual and all(fields.keys() >= _NEEDED for fields in plain)
    if shape is None or not usual or not learn_suffixes([fields["n"] for fields in plain]):
        return
    if len(_shapes) >= _MAX_SHAPES:
        _shapes.clear()
    _shapes[shape] = all("u" in fields for fields in plain), any("t" in fields for fields in plain)


def learn_suffixes(suffixes: list[str]) -> bool:
    """Remember names that a base name may stand before, if all of them are such."""
    if not all(len(n) <= _MAX_SUFFIX and _SUFFIX.match(n) for n in suffixes):
        return False
    if len(_suffixes) >= _MAX_SHAPES:
        _suffixes.clear()
    _suffixes.update(suffixes)
    return True


def quick(pack: bytes, now_ns: int) -> Pack | None:
    """Columns of a pack of a known shape; None if it must go the long way, which also says what is wrong with it."""
    usual = _shapes.get(_shape(pack) or b"")
    if usual is None or len(pack) > MAX_BYTES:
        return None
    try:
        sent = _EXACT.decode(pack)
    except (msgspec.DecodeError, ValueError):  # the latter for what is not UTF-8
        return None
    have_units, have_times = usual
    units: Any = [fields.u for fields in sent] if have_units else [fields.u or "" for fields in sent]
    offsets = [fields.t for fields in sent] if have_times else []
    base: Any = sent[0].bn
    start: Any = sent[0].bt
    return _assemble(base, start, [fields.n for fields in sent], units, offsets, [fields.v for fields in sent], now_ns)


def quick_cbor(sent: list[dict[int | str, Any]], now_ns: int) -> Pack | None:
    """Columns of a usual pack, as it came out of CBOR; None if it must go the long way."""
    first = sent[0]
    if not (_BN in first and _BT in first and first.keys() <= _FIRST_NUMBERS):
        return None
    if not all(f.keys() <= _LATER_NUMBERS for f in sent[1:]) or not all(f.keys() >= _NEEDED_NUMBERS for f in sent):
        return None
    names, values = [fields[_N] for fields in sent], [fields[_V] for fields in sent]
    units = [fields.get(_U, "") for fields in sent]
    offsets = [fields.get(_T, 0.0) for fields in sent]
    texts, numbers = {*map(type, names), *map(type, units), type(first[_BN])}, {*map(type, values), *map(type, offsets)}
    if texts != {str} or not numbers | {type(first[_BT])} <= {int, float}:
        return None
    if not (math.isfinite(math.fsum(map(abs, values))) and all(map(math.isfinite, [*offsets, first[_BT]]))):
        return None
    return _assemble(
        first[_BN], first[_BT], names, units, offsets if any(offsets) else [], list(map(float, values)), now_ns
    )


def _assemble(
    base: str, start: float, suffixes: list[str], units: list[str], offsets: list[float], values: Any, now_ns: int
) -> Pack | None:
    """A pack of columns; `offsets` is empty where all records have the time of the start. None as above."""
    if not _suffixes.issuperset(suffixes) or not _BASE_NAME.match(base):
        return None
    start_us = microseconds(start)
    if not offsets:
        stamps = [absolute_ns(start_us, now_ns)] * len(suffixes)
    else:
        stamps = [absolute_ns(start_us + microseconds(offset), now_ns) for offset in offsets]
        if any(map(int.__gt__, stamps, stamps[1:])):
            return None  # the long way sorts
    return Pack([base + suffix for suffix in suffixes], units, stamps, values, {})
