"""Layouts of exports of meter reads as JSON, so that a new export needs a few lines of data and no code.

{"device": "meter", "time": "time", "time_format": "%d.%m.%Y %H:%M", "zone": "Europe/Oslo", "delimiter": ";",
 "decimal": ",", "quantities": {"A+": ["energy_import", "kWh"], "U1": ["voltage_l1", "V"]}}
"""

from __future__ import annotations

from typing import Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from msgspec import Meta

from model.errors import DecodeError
from wire.meter import column_of
from wire.reads import MAX_COLUMNS, Layout
from wire.stamps import StampFormat

MAX_BYTES = 65_536
_Name = Annotated[str, Meta(min_length=1, max_length=200)]
_Text = Annotated[str, Meta(max_length=200)]


class _Sent(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    device: _Name
    time: _Name
    quantities: Annotated[dict[_Name, tuple[_Name, _Name]], Meta(min_length=1, max_length=MAX_COLUMNS)]
    register: _Text = ""
    value: _Text = ""
    delimiter: Literal[",", ";", "\t", "|", " "] = ","
    decimal: Literal[".", ","] = "."
    time_format: _Name = "%Y-%m-%dT%H:%M:%S%z"
    zone: _Name = "UTC"
    fold: Literal[0, 1] | None = None
    prefix: _Text = ""


_DECODER = msgspec.json.Decoder(_Sent)


def decode_layout(data: bytes) -> Layout:
    """Layout of JSON. Raises DecodeError (size, layout, zone, time, quantity, unit)."""
    if len(data) > MAX_BYTES:
        raise DecodeError("size", "length of a layout", len(data), f"<= {MAX_BYTES} bytes")
    try:
        sent = _DECODER.decode(data)
    except (msgspec.DecodeError, ValueError) as error:
        raise DecodeError("layout", "layout of reads", str(error)[:200], "a JSON object with its properties") from error
    if bool(sent.register) != bool(sent.value):
        raise DecodeError("layout", "register and value of a layout", "one of them", "both or none")
    try:
        zone = ZoneInfo(sent.zone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise DecodeError("zone", "zone of a layout", repr(sent.zone)[:60], "a name like Europe/Oslo") from error
    try:
        StampFormat(sent.time_format)
    except ValueError as error:
        raise DecodeError("time", "time format of a layout", repr(sent.time_format)[:60], str(error)[-90:]) from error
    for quantity, unit in sent.quantities.values():
        column_of(quantity, unit)
    return Layout(**{name: getattr(sent, name) for name in _Sent.__struct_fields__ if name != "zone"}, zone=zone)


def encode_layout(layout: Layout) -> bytes:
    """JSON of a layout whose zone has a name."""
    sent = {name: getattr(layout, name) for name in _Sent.__struct_fields__}
    return msgspec.json.encode(sent | {"zone": str(layout.zone)})
