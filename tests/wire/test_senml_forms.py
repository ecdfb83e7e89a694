"""SenML in CBOR, CBOR itself against another library, and the short way for packs of a known shape."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import cbor2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.errors import DecodeError
from tests.wire.material import START_NS, capture
from wire import cbor, senml, senml_quick
from wire.meter import MeterPack, decode_meter_pack, encode_meter_pack
from wire.senml import Form, Record, encode, resolve, resolve_columns

METER = "urn:dev:norm:norm-0001:meter"


@pytest.mark.parametrize("number", [3, 5])
def test_examples_in_cbor_resolve_as_in_json(number: int) -> None:
    data = capture(f"senml/ex{number}.gen.cbor").read_bytes()
    assert resolve(data, 0, Form.CBOR) == resolve(capture(f"senml/ex{number}.json").read_bytes(), 0)


@pytest.mark.parametrize("number", range(1, 14))
def test_examples_resolve_the_same_in_both_forms(number: int) -> None:
    text = capture(f"senml/ex{number}.json").read_bytes()
    records = json.loads(text)
    for record in records:
        record.pop("l", None)  # a label of no number
        if "vd" in record:
            record["vd"] = b"hi \n"
    assert resolve(encode(records, Form.CBOR), START_NS, Form.CBOR) == resolve(text, START_NS)


@pytest.mark.parametrize(
    ("pack", "reason"),
    [
        ({}, "cbor"),
        ([], "records"),
        ([1], "cbor"),
        ([{0: "a", 2: "1"}], "cbor"),
        ([{0: "a", 2: True}], "cbor"),
        ([{0: "a", 2: math.nan}], "cbor"),
        ([{0: "a", 2: math.inf}], "cbor"),
        ([{0: 7, 2: 1}], "cbor"),
        ([{0: "a", 4: 1}], "cbor"),
        ([{0: "a", 8: "aGk"}], "cbor"),
        ([{0: "a", 2: None}], "cbor"),
        ([{0: "a", 2: 1, "must_": 1}], "label"),
        ([{"n": "a", "v": 1}], "label"),
        ([{0: "a", 2: 1, -1: 11}], "version"),
        ([{0: "a", 2: 1, -1: 5.0}], "cbor"),
        ([{0: "a"}], "value"),
        ([{}], "value"),
        ([{99: 1}], "value"),
        ([{2: 1}], "name"),
        ([{0: "a", 2: 1, 6: 1e15}], "time"),
        ([{0: "a", -5: 1e308, 2: 1e308}], "value"),
    ],
)
def test_wrong_packs_are_refused(pack: Any, reason: str) -> None:
    with pytest.raises(DecodeError) as caught:
        resolve(cbor2.dumps(pack), START_NS, Form.CBOR)
    assert caught.value.reason == reason


@pytest.mark.parametrize("form", Form)
def test_times_that_no_block_can_hold_are_refused(form: Form) -> None:
    for start, offset in ((9.3e9, 0), (8.9e9, 8.9e9), (0, -9.1e9)):
        with pytest.raises(DecodeError, match="time of a SenML record"):
            resolve(encode([{"n": "a", "bt": start, "t": offset, "v": 1}], form), START_NS, form)


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**64), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=30)
    | st.binary(max_size=30),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.integers(-9, 9) | st.text(max_size=3), inner),
    max_leaves=12,
)


def deep(value: Any, depth: int = 0) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return max([depth, *(deep(part, depth + 1) for part in inner)])


@settings(deadline=None)
@given(PLAIN.filter(lambda value: deep(value) <= cbor.MAX_DEPTH))
def test_another_library_reads_what_we_write_and_writes_what_we_read(value: Any) -> None:
    assert cbor2.loads(cbor.encode(value)) == value
    for data in (
        cbor2.dumps(value),
        cbor2.dumps(value, canonical=True),
        cbor2.dumps(value, indefinite_containers=True),
    ):
        assert cbor.decode(data) == value


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ("", "truncated"),
        ("18", "truncated"),
        ("1c", "cbor"),
        ("3f", "cbor"),
        ("61", "truncated"),
        ("7b7fffffffffffffff", "truncated"),
        ("61ff", "cbor"),
        ("7f6161ff", "cbor"),  # text in pieces
        ("5f4161ff", "cbor"),
        ("9bffffffffffffffff", "truncated"),
        ("bb7fffffffffffffff", "truncated"),
        ("9f01", "truncated"),
        ("bf01ff", "cbor"),
        ("a10102ff", "cbor"),
        ("a201020103", "duplicate"),
        ("a1f90000f6", "cbor"),
        ("a18001", "cbor"),
        ("f7", "cbor"),
        ("f820", "cbor"),
        ("ff", "cbor"),
        ("81" * 9 + "01", "depth"),
        ("9f" * 100_000, "depth"),
        ("c4" * 100_000, "cbor"),
        ("c074323031332d30332d32315432303a30343a30305a", "cbor"),  # tag 0, a date
        ("d82361612a", "cbor"),  # tag 35, a pattern
        ("c249010000000000000000", "cbor"),  # a number of more than 64 bits
        ("c482381e01", "cbor"),
        ("c4820261", "truncated"),
        ("c48102", "cbor"),
    ],
)
def test_wrong_or_dangerous_cbor_is_refused(data: str, reason: str) -> None:
    with pytest.raises(DecodeError) as caught:
        cbor.decode(bytes.fromhex(data))
    assert caught.value.reason == reason


def test_decimal_fractions_are_the_nearest_doubles() -> None:
    assert cbor.decode(bytes.fromhex("c48221196ab3")) == 273.15
    assert cbor.decode(bytes.fromhex("c482021903e8")) == 100_000.0


@pytest.mark.parametrize("form", Form)
def test_meter_packs_round_trip_in_both_forms(form: Form) -> None:
    times_ns = START_NS + np.array([0, 900, 1_800]) * 10**9
    values = np.arange(33.0).reshape(3, 11) + 0.125
    values[1, 3] = np.nan
    data = encode_meter_pack(METER, times_ns, values, np.array([7, -1, 9]), form)
    pack = decode_meter_pack(data, 0, form)
    assert (pack.device, pack.sequence.tolist(), pack.time_ns.tolist()) == (METER, [7, -1, 9], times_ns.tolist())
    np.testing.assert_array_equal(pack.values, values)


# --- the short way ----------------------------------------------------------------------------------------------------

USUAL = encode_meter_pack(METER, np.array([START_NS]), np.arange(11.0)[None] + 0.25, np.array([5]))
TWO = encode_meter_pack(METER, START_NS + np.array([0, 10**9]), np.arange(22.0).reshape(2, 11), np.array([5, 6]))


def long_way(pack: bytes) -> list[Record]:
    before = dict(senml_quick._shapes)
    senml_quick._shapes.clear()
    try:
        return resolve(pack, START_NS)
    finally:
        senml_quick._shapes.clear()
        senml_quick._shapes.update(before)


def outcome(way: Callable[[bytes], Any], pack: bytes) -> tuple[str, Any]:
    try:
        return "read", way(pack)
    except DecodeError as error:
        return "refused", str(error)


def short_way(pack: bytes) -> list[Record]:
    return resolve(pack, START_NS)


@pytest.mark.parametrize("pack", [USUAL, TWO])
def test_a_known_shape_takes_the_short_way(pack: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    first = resolve(pack, START_NS)
    other = pack.replace(b"norm-0001", b"norm-7777").replace(b":0.25", b":-3.5e2")

    def never(*_: object) -> None:
        raise AssertionError("the long way")

    monkeypatch.setattr(senml, "parse_json", never)
    assert resolve(pack, START_NS) == first
    assert resolve(other, START_NS)[0].name == first[0].name.replace("0001", "7777")


MEAN = [
    (b'"n":"power"', b'"n":"power","n":"power"'),
    (b'"v":', b'"ve":'),
    (b'"v":', b'"v0":'),
    (b'"v":', b'"e":'),
    (b'"u":"W"', b'"u":"W","v":1'),
    (b'"n":"power"', b'"n":"po wer"'),
    (b'"n":"power"', b'"n":"\\u0070ower"'),
    (b'"n":"power"', b'"n":"power" '),
    (b'"bn":"urn', b'"bn":"\\u0075rn'),
    (b'"bn":"urn', b'"bn":" urn'),
    (b'"bn":"urn', b'"bn":"' + b"a" * 250),
    (b'"bn":"urn', b'"bn":"","n":"urn'),
    (b'"bt":1700000000', b'"bt":1'),
    (b'"bt":1700000000', b'"bt":1e40'),
    (b'"bt":1700000000', b'"bt":-17'),
    (b'"bt":1700000000', b'"bt":'),
    (b'"v":0.25', b'"v":true'),
    (b'"v":0.25', b'"v":"0.25"'),
    (b'"v":0.25', b'"v":1e999'),
    (b'"v":0.25', b'"v":0..25'),
    (b'"t":1', b'"t":-1'),
    (b'"u":"W"', b'"u":"-W1"'),
    (b"]", b"],"),
    (b"}]", b'},{"n":"x","u":"W","v":1}]'),
]


CBOR_BYTES = (0x00, 0x02, 0x20, 0x21, 0x60, 0x61, 0x82, 0xA2, 0xF5, 0xF6, 0xF9, 0xFB, 0xFF)


@pytest.mark.parametrize(("old", "new"), MEAN)
@pytest.mark.parametrize("pack", [USUAL, TWO])
def test_the_short_way_is_never_another_way(pack: bytes, old: bytes, new: bytes) -> None:
    resolve(pack, START_NS)
    changed = pack.replace(old, new, 1)
    assert outcome(short_way, changed) == outcome(long_way, changed)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([USUAL, TWO]), st.data())
def test_any_change_goes_the_same_either_way(pack: bytes, data: st.DataObject) -> None:
    resolve(pack, START_NS)
    changed = bytearray(pack)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(changed) - 1))
        piece = data.draw(
            st.sampled_from([b"", b"1", b"-", b"e", b"E", b".", b'"', b"\\", b"v", b"n", b":", b",", b" "])
        )
        changed[at : at + data.draw(st.integers(0, 2))] = piece
    assert outcome(short_way, bytes(changed)) == outcome(long_way, bytes(changed))


@pytest.mark.parametrize("pack", [USUAL, TWO])
def test_any_changed_byte_of_cbor_goes_the_same_either_way(pack: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    binary = encode(json.loads(pack), Form.CBOR)
    assert resolve(binary, START_NS, Form.CBOR) == resolve(pack, START_NS)

    def read(data: bytes) -> list[Record]:
        return resolve(data, START_NS, Form.CBOR)

    changed = [binary[:at] + bytes([byte]) + binary[at + 1 :] for at in range(len(binary)) for byte in CBOR_BYTES]
    short = [outcome(read, data) for data in changed]
    monkeypatch.setattr(senml, "quick_cbor", lambda *_: None)
    assert short == [outcome(read, data) for data in changed]


def test_what_is_remembered_is_bounded() -> None:
    for i in range(3 * senml_quick._MAX_SHAPES):
        letters = "".join(chr(ord("A") + int(digit)) for digit in f"{i:05d}").replace("E", "Z")
        resolve(f'[{{"bn":"urn:","bt":1700000000,"n":"{letters}","u":"W","v":1}}]'.encode(), START_NS)
    assert len(senml_quick._shapes) <= senml_quick._MAX_SHAPES
    assert len(senml_quick._suffixes) <= 2 * senml_quick._MAX_SHAPES


def test_columns_hold_what_the_records_hold() -> None:
    pack = b'[{"bn":"a:","bt":1700000000,"n":"x","u":"V","v":1},{"n":"y","vs":"text"},{"n":"z","v":2,"s":3,"ut":9}]'
    columns = resolve_columns(pack, 0)
    assert columns.records() == resolve(pack, 0)
    assert (columns.values, sorted(columns.others)) == ([1.0, None, 2.0], [1, 2])


@pytest.mark.parametrize("pack", [USUAL, TWO])
def test_readings_are_the_same_either_way(pack: bytes) -> None:
    def read() -> MeterPack:
        return decode_meter_pack(pack, START_NS)

    senml_quick._shapes.clear()
    long, short = read(), read()
    assert (long.device, long.ignored, long.time_ns.tolist()) == (short.device, short.ignored, short.time_ns.tolist())
    np.testing.assert_array_equal(long.values, short.values)


def test_a_factor_that_makes_a_value_infinite_is_refused() -> None:
    pack = b'[{"bn":"m:","bt":1700000000,"n":"energy_import","u":"kWh","v":1e308}]'
    with pytest.raises(DecodeError, match="finite"):
        decode_meter_pack(pack, 0)
