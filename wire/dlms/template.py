"""The pushes of a meter model are equal but for their values: read one, and the next ones by its template.

A-XDR tells everything by tags and lengths. Two pushes of one length whose bytes are equal outside of the values are
thus read the same way, and the values stand in the same places: one comparison and one `struct` read them all. What
a template does not fit is read in full, with the same result or the same refusal.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from model.block import METER_COLUMNS
from wire.dlms.apdu import Notification, decode_notification, encode_notification, strip_llc
from wire.dlms.axdr import Node, Tag, encode, encode_length, is_number
from wire.dlms.push import (
    CLOCK,
    IDENTITIES,
    Profile,
    Register,
    factor_of,
    name_of,
    one_row,
    readings,
    registers,
    target_of,
)
from wire.meter import MeterPack

MAX_TEMPLATES = 64  # of one reader
_CODES: dict[int, str] = {Tag.INT8: "b", Tag.UINT8: "B", Tag.ENUM: "B", Tag.INT16: "h", Tag.UINT16: "H", Tag.INT32: "i"}
_CODES |= {Tag.UINT32: "I", Tag.INT64: "q", Tag.UINT64: "Q", Tag.FLOAT32: "f", Tag.FLOAT64: "d"}
_TEXTS = (Tag.OCTETS, Tag.STRING)
_INVOKE = (1, 4)  # offset and bytes
_DATE_TIME_AT = 6
_NOWHERE = (-1, 0)
Place = tuple[int, int]


@dataclass(frozen=True, slots=True)
class _Scaled:
    """A number for a column: value x multiplier / divisor, one of which is 1 (as `push.scaled` reckons)."""

    field: int
    column: int
    multiplier: float
    divisor: float


@dataclass(frozen=True, slots=True)
class Template:
    """How the pushes of one shape are read: fixed bytes, and what stands in the others."""

    size: int
    mask: int  # bits that are fixed
    fixed: int
    layout: struct.Struct  # all that varies and counts, in the order of the bytes
    clock: int  # its field, -1: none
    name: int
    texts: bool  # the name is a text, not octets
    numbers: tuple[_Scaled, ...]
    ignored: int

    def decode(self, apdu: bytes, profile: Profile, now_ns: int) -> MeterPack | None:
        """Readings of a push; None if it is of another shape, or wrong in a way that the full way names."""
        if int.from_bytes(apdu) & self.mask != self.fixed:
            return None
        fields = self.layout.unpack(apdu)
        row = [math.nan] * len(METER_COLUMNS)
        for number in self.numbers:
            value = fields[number.field] * number.multiplier / number.divisor
            if not math.isfinite(value):
                return None
            there = row[number.column]
            row[number.column] = value if there != there else there + value
        name = b"" if self.name < 0 else fields[self.name]
        device = name_of((Tag.STRING, name.decode("latin-1")) if self.texts else (Tag.OCTETS, name))
        return one_row(device, fields[self.clock] if self.clock >= 0 else b"", row, self.ignored, profile, now_ns)


def learn(apdu: bytes, notification: Notification, profile: Profile) -> Template | None:
    """Template of a push that was read in full; None where its bytes are not the shortest form of what they say."""
    if encode_notification(notification) != apdu:
        return None
    places = dict(_places(notification.body, _DATE_TIME_AT + len(notification.date_time)))
    found = _Found(places, clock=(_DATE_TIME_AT, len(notification.date_time)))
    for register in registers(notification.body, profile):
        if not found.add(register, profile):
            return None
    return found.template(apdu)


def _places(node: Node, at: int) -> Iterator[tuple[int, Place]]:
    """Offset and bytes of the value of every node with a value of its own, by the identity of the node."""
    tag, value = node
    if tag in (Tag.ARRAY, Tag.STRUCTURE):
        at += 1 + len(encode_length(len(value)))
        for part in value:
            yield from _places(part, at)
            at += len(encode(part))
    elif tag in _TEXTS:
        yield id(node), (at + 1 + len(encode_length(len(value))), len(value))
    elif tag != Tag.COMPACT:
        yield id(node), (at + 1, len(encode(node)) - 1)


class _Found:
    """Gathers what varies in a push."""

    def __init__(self, places: dict[int, Place], clock: Place) -> None:
        self._places = places
        self._clock = clock
        self._names: dict[bytes, tuple[Place, bool]] = {}
        self._numbers: list[tuple[Place, str, int, int, int]] = []
        self._free = [_INVOKE, clock]
        self._ignored = 0

    def add(self, register: Register, profile: Profile) -> bool:
        """Take a register, as `push.readings` does. False if this push can have no template."""
        tag, target = register.value[0], target_of(register.code)
        place = self._places.get(id(register.value))
        if place is not None and (is_number(register.value) or tag in _TEXTS or register.code == CLOCK):
            self._free.append(place)
        if target is not None:
            power = factor_of(register, target, profile)
            self._numbers.append((place or _NOWHERE, _CODES[tag], target.column, target.sign, power))
        elif register.code == CLOCK and tag in (Tag.OCTETS, Tag.DATE_TIME):
            self._clock = place or _NOWHERE
        elif register.code in IDENTITIES:
            self._names[register.code] = place or _NOWHERE, tag == Tag.STRING
            return place is not None and tag in _TEXTS
        else:
            self._ignored += 1
            return True
        return place is not None

    def template(self, apdu: bytes) -> Template:
        """The template of all that was taken."""
        name, texts = next((self._names[code] for code in IDENTITIES if code in self._names), (_NOWHERE, False))
        places = [(place, f"{place[1]}s") for place in (self._clock, name) if place[1]]
        places = sorted(places + [(place, code) for place, code, *_ in self._numbers])
        order = [place for place, _ in places]
        return Template(
            size=len(apdu),
            mask=(mask := int.from_bytes(_mask(len(apdu), self._free))),
            fixed=int.from_bytes(apdu) & mask,
            layout=_layout(len(apdu), places),
            clock=order.index(self._clock) if self._clock in order else -1,
            name=order.index(name) if name in order else -1,
            texts=texts,
            numbers=tuple(
                _Scaled(order.index(place), column, sign * 10.0 ** max(power, 0), 10.0 ** max(-power, 0))
                for place, _, column, sign, power in self._numbers
            ),
            ignored=self._ignored,
        )


def _mask(size: int, free: list[Place]) -> bytes:
    mask = bytearray(b"\xff" * size)
    for at, count in free:
        mask[at : at + count] = bytes(count)
    return bytes(mask)


def _layout(size: int, places: list[tuple[Place, str]]) -> struct.Struct:
    """Struct over a whole APDU that takes the bytes of some places."""
    codes, at = [">"], 0
    for (start, count), code in places:
        codes += [f"{start - at}x", code]
        at = start + count
    return struct.Struct("".join([*codes, f"{size - at}x"]))


class PushReader:
    """Reads plain pushes with one profile; remembers the templates of what it has read (bounded)."""

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self._templates: dict[int, list[Template]] = {}
        self._count = 0

    def decode(self, data: bytes, now_ns: int) -> MeterPack:
        """Readings of a push, exactly as `push.decode_push`. Raises DecodeError."""
        apdu = strip_llc(data)
        for template in self._templates.get(len(apdu), ()):
            found = template.decode(apdu, self.profile, now_ns)
            if found is not None:
                return found
        notification = decode_notification(apdu)
        found = readings(notification, self.profile, now_ns)
        self._remember(learn(apdu, notification, self.profile))
        return found

    def _remember(self, template: Template | None) -> None:
        if template is None:
            return
        if self._count >= MAX_TEMPLATES:
            self._templates.clear()
            self._count = 0
        self._templates.setdefault(template.size, []).append(template)
        self._count += 1
