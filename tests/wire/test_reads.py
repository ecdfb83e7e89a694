"""Exports of meter reads as CSV: wide and long forms, clocks of zones, every bad row refused with its line."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.block import METER_COLUMNS, Origin
from model.device import Provenance
from model.errors import DecodeError
from model.time import to_ns
from tests.wire.material import START_NS
from wire import reads
from wire.meter import QUANTITIES
from wire.reads import Layout, Reads, decode_reads, encode_reads
from wire.reads_layout import decode_layout, encode_layout
from wire.stamps import StampFormat, wall_to_utc_ns
from wire.texts import NumberFormat, good_texts

OSLO = ZoneInfo("Europe/Oslo")
WIDE = Layout("meter", "time", {"A+": ("energy_import", "kWh"), "U1": ("voltage_l1", "V")}, prefix="urn:x:")
LONG = Layout(
    "Zähler",
    "Zeit",
    {"1-0:1.8.0": ("energy_import", "kWh"), "1-0:32.7.0": ("voltage_l1", "V")},
    register="OBIS",
    value="Wert",
    delimiter=";",
    decimal=",",
    time_format="%d.%m.%Y %H:%M",
    zone=OSLO,
)


def ns(text: str) -> int:
    return to_ns(datetime.fromisoformat(text))


def column(found: Reads, name: str) -> list[float]:
    return found.values[:, METER_COLUMNS.index(name)].tolist()


def test_wide_files() -> None:
    found = decode_reads(
        b"\xef\xbb\xbfU1,meter,extra,A+,time\r\n230.5,m-1,x,1.5,2026-01-01T00:15:00Z\r\n\r\n"
        b',"m-2",y,2,2026-01-01T01:15:00+01:00\r\n',
        WIDE,
    )
    assert found.names == ("urn:x:m-1", "urn:x:m-2")
    assert (found.device.tolist(), found.time_ns.tolist()) == ([0, 1], [ns("2026-01-01T00:15:00+00:00")] * 2)
    assert column(found, "energy_import_wh") == [1_500.0, 2_000.0]
    assert found.values[0, METER_COLUMNS.index("voltage_l1_v")] == 230.5
    assert np.isnan(found.values[1, METER_COLUMNS.index("voltage_l1_v")])
    assert (found.rows, found.used, found.refused) == (2, 2, ())
    block = found.block(np.array([70, 30], np.int32), START_NS, Origin("file", "x.csv", Provenance.MEASURED))
    assert (block.device.tolist(), set(block.received_ns.tolist())) == ([70, 30], {START_NS})


def test_long_files_become_one_row_for_each_reading() -> None:
    rows = [
        "Zähler;Zeit;OBIS;Wert",
        "m-2;01.07.2026 12:15;1-0:1.8.0;7,25",
        "m-1;01.07.2026 12:15;1-0:1.8.0;1,5",
        "m-1;01.07.2026 12:15;1-0:32.7.0;231",
        "m-1;01.07.2026 12:30;1-0:32.7.0;232",
        "m-1;01.07.2026 12:15;1-0:1.8.0;9,9",  # again
        "m-1;01.07.2026 12:45;1-0:99.99;1",
        "m-1;01.07.2026 12:45;1-0:32.7.0;",
        "m-1;01.07.2026 12:45;1-0:32.7.0;1.5",
    ]
    found = decode_reads("\n".join(rows).encode(), LONG)
    assert found.names == ("m-2", "m-1")
    assert found.device.tolist() == [0, 1, 1]
    first, second = ns("2026-07-01T12:15:00+02:00"), ns("2026-07-01T12:30:00+02:00")
    assert found.time_ns.tolist() == [first, first, second]
    np.testing.assert_array_equal(column(found, "energy_import_wh"), [7_250.0, 1_500.0, math.nan])
    np.testing.assert_array_equal(column(found, "voltage_l1_v"), [math.nan, 231.0, 232.0])
    assert sorted((r.line, r.error.reason) for r in found.refused) == [
        (6, "duplicate"),
        (7, "quantity"),
        (8, "value"),
        (9, "value"),
    ]
    assert (found.rows, found.used) == (8, 4)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("m-1,2026-01-01T00:00:00Z,1", "columns"),
        ("m-1,2026-01-01T00:00:00Z,1,2,3", "columns"),
        ("m 1,2026-01-01T00:00:00Z,1,2", "identity"),
        (",2026-01-01T00:00:00Z,1,2", "identity"),
        ('"m-1\nm-2",2026-01-01T00:00:00Z,1,2', "identity"),
        ("m-1,2026-01-01 00:00:00Z,1,2", "time"),
        ("m-1,2026-02-30T00:00:00Z,1,2", "time"),
        ("m-1,2026-01-01T24:00:00Z,1,2", "time"),
        ("m-1,1969-12-31T23:59:59Z,1,2", "time"),
        ("m-1,9999-01-01T00:00:00Z,1,2", "time"),
        ("m-1,2026-01-01T00:00:00,1,2", "time"),
        ("m-1,२०२६-01-01T00:00:00Z,1,2", "time"),
        ("m-1,,1,2", "time"),
        ("m-1,2026-01-01T00:00:00Z,,", "value"),
        ("m-1,2026-01-01T00:00:00Z,nan,2", "value"),
        ("m-1,2026-01-01T00:00:00Z,inf,2", "value"),
        ("m-1,2026-01-01T00:00:00Z,1_0,2", "value"),
        ("m-1,2026-01-01T00:00:00Z,0x10,2", "value"),
        ('m-1,2026-01-01T00:00:00Z,"1,5",2', "value"),
        ("m-1,2026-01-01T00:00:00Z, 1,2", "value"),
        ('m-1,2026-01-01T00:00:00Z,"1"5,2', "csv"),
    ],
)
def test_bad_rows_are_refused_and_the_others_count(row: str, reason: str) -> None:
    good = "m-1,2026-01-01T00:00:00Z,1,2"
    found = decode_reads("\n".join(["meter,time,A+,U1", good, row, good]).encode(), WIDE)
    assert [refused.error.reason for refused in found.refused] == [reason]
    assert found.refused[0].line == 3 + row.count("\n")
    assert (found.rows, found.used) == (3, 2)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "columns"),
        (b"\n\n", "columns"),
        (b"meter,time,A+\n", "columns"),
        (b"meter,time,A+,U1,U1\n", "columns"),
        (b"\xff\xfe", "text"),
        (b" " * (reads.MAX_BYTES + 1), "size"),
        (b"\n" * (2 * reads.MAX_ROWS + 1), "rows"),
        (b"meter,time,A+,U1\n" + b"x\n" * (reads.MAX_ROWS + 10_000), "rows"),
    ],
)
def test_wrong_files_are_refused(data: bytes, reason: str) -> None:
    with pytest.raises(DecodeError) as caught:
        decode_reads(data, WIDE)
    assert caught.value.reason == reason


@pytest.mark.parametrize("what", [("humidity", "%"), ("power", "V")])
def test_wrong_layouts_are_refused(what: tuple[str, str]) -> None:
    with pytest.raises(DecodeError):
        decode_reads(b"meter,time,x\n", Layout("meter", "time", {"x": what}))


@pytest.mark.parametrize("fold", [None, 0, 1])
def test_hours_that_come_twice_or_never(fold: int | None) -> None:
    layout = Layout("m", "t", {"v": ("power", "W")}, time_format="%Y-%m-%d %H:%M", zone=OSLO, fold=fold)
    rows = ["m,t,v", "a,2026-10-25 01:45,1", "a,2026-10-25 02:30,2", "a,2026-10-25 03:00,3", "a,2026-03-29 02:30,4"]
    found = decode_reads("\n".join(rows).encode(), layout)
    twice = {None: [], 0: [ns("2026-10-25T00:30:00+00:00")], 1: [ns("2026-10-25T01:30:00+00:00")]}[fold]
    outside = [ns("2026-10-24T23:45:00+00:00"), *twice, ns("2026-10-25T02:00:00+00:00")]
    assert found.time_ns.tolist() == outside
    assert [refused.line for refused in found.refused] == ([3, 5] if fold is None else [5])
    assert {refused.error.reason for refused in found.refused} == {"ambiguous"}


@given(st.lists(st.integers(0, 9 * 10**9), min_size=1, max_size=30), st.sampled_from([OSLO, UTC]))
def test_wall_clocks_are_turned_back_to_utc(seconds: list[int], zone: tzinfo) -> None:
    utc = np.array(seconds, np.int64) * 10**9
    local = [datetime.fromtimestamp(s, zone) for s in seconds]
    wall = np.array([to_ns(moment.replace(tzinfo=UTC)) for moment in local])
    found, good = wall_to_utc_ns(wall, zone)
    other = [moment.replace(fold=1 - moment.fold).utcoffset() for moment in local]
    assert good.tolist() == [moment.utcoffset() == offset for moment, offset in zip(local, other, strict=True)]
    np.testing.assert_array_equal(found[good], utc[good])


FORMATS = ["%Y-%m-%dT%H:%M:%S%z", "%d.%m.%Y %H:%M:%S%z", "%Y%m%d%H%M%S%z", "%z %m/%d/%Y %H.%M.%S.%f"]


@given(st.lists(st.integers(0, 9 * 10**9), max_size=20), st.sampled_from(FORMATS), st.sampled_from([OSLO, UTC]))
def test_written_times_round_trip(seconds: list[int], form: str, zone: tzinfo) -> None:
    times_ns = np.array(seconds, np.int64) * 10**9
    found, good = StampFormat(form).read_ns(StampFormat(form).write(times_ns, zone))
    assert good.all()
    np.testing.assert_array_equal(found, times_ns)


@pytest.mark.parametrize("form", ["%Y-%m-%d", "%Y-%m-%d %H:%M %Y", "%Y-%m-%d %I:%M %p %H", "%y-%m-%d %H:%M", ""])
def test_formats_that_say_too_little_are_refused(form: str) -> None:
    with pytest.raises(ValueError, match="time format"):
        StampFormat(form)


@given(st.lists(st.text("01.5-e\n", max_size=6), max_size=12))
def test_columns_of_texts_are_judged_as_each_text_is(texts: list[str]) -> None:
    numbers = NumberFormat(".")
    good = numbers.good(texts)
    assert good.tolist() == [bool(good_texts([text], numbers._pattern)[0]) for text in texts]
    for value, text, fine in zip(numbers.read(texts, good).tolist(), texts, good.tolist(), strict=True):
        assert (value == float(text)) if fine and text else math.isnan(value)


def test_layouts_are_data() -> None:
    for layout in (WIDE, LONG):
        assert decode_layout(encode_layout(layout)).columns == layout.columns
    found = decode_layout(encode_layout(LONG))
    row = "Zähler;Zeit;OBIS;Wert\nm-2;01.07.2026 12:15;1-0:1.8.0;7,25\n".encode()
    np.testing.assert_array_equal(decode_reads(row, found).values, decode_reads(row, LONG).values)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"device": None}, "layout"),
        ({"colour": "red"}, "layout"),
        ({"quantities": {}}, "layout"),
        ({"quantities": {"A": ["energy_import"]}}, "layout"),
        ({"quantities": {"A": ["humidity", "%"]}}, "quantity"),
        ({"quantities": {"A": ["power", "V"]}}, "unit"),
        ({"delimiter": '"'}, "layout"),
        ({"decimal": "x"}, "layout"),
        ({"fold": 2}, "layout"),
        ({"register": "r"}, "layout"),
        ({"time_format": "%Y"}, "time"),
        ({"zone": "Mars/Olympus"}, "zone"),
        ({"zone": "../../etc/passwd"}, "zone"),
        ({"zone": "\0"}, "zone"),
        ({"prefix": "x" * 70_000}, "size"),
    ],
)
def test_wrong_layouts_as_data_are_refused(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(DecodeError) as caught:
        decode_layout(json.dumps(json.loads(encode_layout(WIDE)) | change).encode())
    assert caught.value.reason == reason


@pytest.mark.parametrize("data", [b"", b"[]", b"\xff", b"{"])
def test_what_is_no_layout_is_refused(data: bytes) -> None:
    with pytest.raises(DecodeError, match="layout of reads"):
        decode_layout(data)


EVERY = Layout(
    "m",
    "t",
    {
        name: (name, unit)
        for name, unit in zip(QUANTITIES, ["Wh", "Wh", "W", "var", *["V"] * 3, *["A"] * 3, "Hz"], strict=True)
    },
    decimal=",",
    delimiter=";",
)


@settings(deadline=None)
@given(
    st.lists(
        st.lists(st.none() | st.floats(-1e12, 1e12).map(lambda value: round(value, 9)), min_size=11, max_size=11),
        min_size=1,
        max_size=6,
    )
)
def test_what_we_write_is_what_we_read(rows: list[list[float | None]]) -> None:
    values = np.array([[math.nan if v is None else v for v in row] for row in rows])
    times_ns = START_NS // 10**9 * 10**9 + np.arange(len(rows)) * 900 * 10**9
    sent = Reads(("meter-1",), np.zeros(len(rows), np.int32), times_ns, values, (), len(rows), len(rows))
    found = decode_reads(encode_reads(sent, EVERY), EVERY)
    kept = ~np.isnan(values).all(axis=1)
    np.testing.assert_array_equal(found.values, values[kept])
    np.testing.assert_array_equal(found.time_ns, times_ns[kept])
    assert len(found.refused) == int((~kept).sum())


def test_rows_of_many_chunks_are_all_there() -> None:
    count = 20_000
    rows = [
        f"m-{i % 700},2026-01-{1 + i % 28:02d}T00:00:00Z,{i},{'x' if i % 1_000 == 999 else i}" for i in range(count)
    ]
    found = decode_reads("\n".join(["meter,time,A+,U1", *rows]).encode(), WIDE)
    assert [refused.line for refused in found.refused] == [i + 2 for i in range(999, count, 1_000)]
    assert (found.rows, found.used, len(found.time_ns)) == (count, count - 20, count - 20)
    assert len(found.names) == 700


def facts(found: Reads) -> dict[str, Any]:
    return {"rows": found.rows, "used": found.used, "refused": len(found.refused)}


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text('m-1,;"\n\r2026T:Z.x', max_size=40), max_size=12))
def test_every_row_is_accounted_for(rows: list[str]) -> None:
    found = decode_reads("\n".join(["meter,time,A+,U1", *rows]).encode(), WIDE)
    assert facts(found)["used"] + facts(found)["refused"] == facts(found)["rows"]
