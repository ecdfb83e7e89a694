"""DLMS/COSEM push: recorded pushes of real meters, framing, data, clocks, ciphering, templates."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from dlms_cosem import a_xdr
from dlms_cosem.hdlc.frames import UnnumberedInformationFrame
from dlms_cosem.protocol.xdlms import DataNotification
from hypothesis import given, settings
from hypothesis import strategies as st

from model.block import METER_COLUMNS
from model.errors import DecodeError, NotTrusted
from model.time import to_ns
from tests.wire.material import START_NS, capture
from wire.dlms import axdr, hdlc
from wire.dlms.apdu import (
    LLC_FROM_METER,
    ApduTag,
    Notification,
    decode_notification,
    encode_notification,
    kind_of,
    strip_llc,
)
from wire.dlms.axdr import Node, Tag
from wire.dlms.cipher import AUTHENTICATED, ENCRYPTED, Keys, check_counter, decipher, decode_sealed, encipher
from wire.dlms.push import CLOCK, Profile, decode_push, encode_body, scaled
from wire.dlms.session import Pushed, PushSession, Refused
from wire.dlms.template import MAX_TEMPLATES, PushReader
from wire.dlms.times import ClockRule, Deviation, decode_time_ns, encode_time
from wire.dlms.wrapper import Wrapped, WrapperStream, decode_wrapper, encode_wrapper
from wire.meter import MeterPack

OSLO = ZoneInfo("Europe/Oslo")
KEYS = Keys(bytes(range(16)), bytes(range(16, 32)))
TITLE = b"SMC\x00\x00\x00\x00\x01"
EXPECTED: dict[str, dict[str, float]] = {  # what the publishers of the recordings say that they hold
    "aidon_no_list_1": {"power_w": 280},
    "aidon_no_list_2": {
        "power_w": 280,
        "reactive_power_var": -128,
        "current_l1_a": 1.3,
        "current_l3_a": 0.9,
        "voltage_l1_v": 227.4,
        "voltage_l2_v": 230.1,
        "voltage_l3_v": 230.8,
    },
    "aidon_no_list_3": {
        "power_w": 280,
        "reactive_power_var": -128,
        "current_l1_a": 1.3,
        "current_l3_a": 0.9,
        "voltage_l1_v": 227.6,
        "voltage_l2_v": 230.3,
        "voltage_l3_v": 230.9,
        "energy_import_wh": 22_721_380,
        "energy_export_wh": 0,
    },
    "aidon_se_list": {
        "power_w": 1_122,
        "reactive_power_var": 1_507,
        "current_l1_a": 0,
        "current_l2_a": 7.5,
        "current_l3_a": 0,
        "voltage_l1_v": 230.7,
        "voltage_l2_v": 249.9,
        "voltage_l3_v": 230.8,
        "energy_import_wh": 10_049_926,
        "energy_export_wh": 8,
    },
}


def recorded(name: str) -> bytes:
    return bytes.fromhex(capture(f"dlms/{name}.hex").read_text())


def told(pack: MeterPack) -> dict[str, float]:
    return {name: v for name, v in zip(METER_COLUMNS, pack.values[0].tolist(), strict=True) if not math.isnan(v)}


def same(one: MeterPack, other: MeterPack) -> bool:
    facts = (one.device, one.ignored, one.time_ns.tolist(), one.sequence.tolist())
    return facts == (other.device, other.ignored, other.time_ns.tolist(), other.sequence.tolist()) and (
        np.array_equal(one.values, other.values, equal_nan=True)
    )


@pytest.mark.parametrize("name", EXPECTED)
def test_recorded_pushes_hold_the_published_values(name: str) -> None:
    found = decode_push(recorded(name), Profile(), START_NS)
    assert told(found) == EXPECTED[name]
    assert found.device == ("7359992892587665" if name in ("aidon_no_list_2", "aidon_no_list_3") else "")
    clocks = {
        "aidon_no_list_3": datetime(2020, 1, 21, 16, 0, 0, tzinfo=UTC),
        "aidon_se_list": datetime(2019, 12, 16, 7, 59, 40, tzinfo=UTC),
    }
    assert found.time_ns[0] == (to_ns(clocks[name]) if name in clocks else START_NS)


def test_recorded_frames_hold_the_same_push() -> None:
    (frame,) = hdlc.HdlcStream().feed(recorded("aidon_se_hdlc"))
    assert strip_llc(frame.information) == strip_llc(recorded("aidon_se_list"))
    (frame,) = hdlc.HdlcStream().feed(recorded("aidon_hdlc_7d_in_info"))
    assert told(decode_push(frame.information, Profile(), 0)) == {"power_w": 1_661}


@pytest.mark.parametrize("name", [*EXPECTED, "aidon_se_hdlc", "aidon_hdlc_7d_in_info"])
def test_recordings_are_written_again_byte_for_byte(name: str) -> None:
    data = recorded(name)
    if data[0] == hdlc.FLAG:
        frame = hdlc.decode_frame(data)
        assert hdlc.encode_frame(frame) == data
        data = frame.information
    apdu = strip_llc(data)
    assert encode_notification(decode_notification(apdu)) == apdu


def plain(value: Any) -> Any:
    if isinstance(value, list):
        return [plain(part) for part in value]
    return bytes(value) if isinstance(value, bytearray) else value


def bare(node: Node) -> Any:
    return [bare(part) for part in node[1]] if node[0] in (Tag.ARRAY, Tag.STRUCTURE) else node[1]


@pytest.mark.parametrize("name", ["aidon_no_list_1", "aidon_se_list"])  # the other decoder cannot read the strings
def test_another_decoder_reads_the_same(name: str) -> None:
    apdu = strip_llc(recorded(name))
    decoder = a_xdr.AXdrDecoder(encoding_conf=a_xdr.EncodingConf([a_xdr.Sequence(attribute_name="body")]))
    theirs = decoder.decode(bytearray(DataNotification.from_bytes(apdu).body))["body"]
    assert plain(theirs) == bare(decode_notification(apdu).body)


def test_another_decoder_finds_the_same_in_a_frame() -> None:
    frame = UnnumberedInformationFrame.from_bytes(recorded("aidon_se_hdlc"))
    assert frame.payload == hdlc.decode_frame(recorded("aidon_se_hdlc")).information


def test_x25_has_the_published_check_value() -> None:
    assert hdlc.x25(b"123456789") == 0x906E


@given(
    st.binary(min_size=1, max_size=300),
    st.sampled_from([b"\x03", b"\x40\x03", b"\x02\x04\x06\x09"]),
    st.integers(1, 60),
)
def test_segments_are_joined_however_the_bytes_are_cut(information: bytes, address: bytes, most: int) -> None:
    data = b"\x7e" + hdlc.encode_frames(information, address, b"\x21", most) + b"\x7e"
    for at in range(0, len(data), 7):
        stream, joiner = hdlc.HdlcStream(), hdlc.Joiner()
        frames = stream.feed(data[:at]) + stream.feed(data[at:])
        whole = [found for frame in frames if (found := joiner.take(frame)) is not None]
        assert whole == [information]
        assert (stream.skipped, joiner.waiting) == (0, 0)
        assert stream.taken + stream.idle + stream.waiting == len(data)


def test_one_flag_may_end_a_frame_and_start_the_next() -> None:
    one = hdlc.encode_frame(hdlc.HdlcFrame(b"\x03", b"\x21", hdlc.UNNUMBERED, b"one"))
    two = hdlc.encode_frame(hdlc.HdlcFrame(b"\x03", b"\x21", hdlc.UNNUMBERED, b""))
    data = one + two[1:] + b"\x7e\x7e" + one
    for at in range(len(data)):
        stream = hdlc.HdlcStream()
        assert [f.information for f in stream.feed(data[:at]) + stream.feed(data[at:])] == [b"one", b"", b"one"]
        assert not stream.rejects


def test_frames_come_again_after_nonsense() -> None:
    frame = recorded("aidon_se_hdlc")
    broken = frame[:100] + b"\x00" + frame[101:]
    stream = hdlc.HdlcStream()
    assert len(stream.feed(b"noise" + frame + broken + frame)) == 2
    assert [reject.error.reason for reject in stream.rejects] == ["flag", "fcs"]
    assert stream.taken + stream.skipped + stream.idle == 5 + 3 * len(frame)


def test_segments_without_end_are_bounded() -> None:
    joiner = hdlc.Joiner()
    part = hdlc.HdlcFrame(b"\x03", b"\x21", hdlc.UNNUMBERED, bytes(2_000), segmented=True)
    for _ in range(hdlc.MAX_INFORMATION // 2_000):
        assert joiner.take(part) is None
    with pytest.raises(DecodeError, match="joined HDLC segments"):
        joiner.take(part)
    begun = [
        hdlc.HdlcFrame(bytes([address << 1 | 1]), b"\x21", hdlc.UNNUMBERED, b"", segmented=True)
        for address in range(hdlc.MAX_OPEN + 1)
    ]
    for frame in begun[:-1]:
        assert joiner.take(frame) is None
    with pytest.raises(DecodeError, match="messages begun"):
        joiner.take(begun[-1])


@given(st.lists(st.binary(max_size=60), min_size=1, max_size=4), st.integers(0, 200))
def test_wrapped_apdus_come_out_however_cut(apdus: list[bytes], at: int) -> None:
    wrapped = [Wrapped(1, 16 + i, apdu) for i, apdu in enumerate(apdus)]
    data = b"".join(map(encode_wrapper, wrapped))
    stream = WrapperStream()
    assert stream.feed(data[:at]) + stream.feed(data[at:]) == wrapped
    assert decode_wrapper(encode_wrapper(wrapped[0])) == wrapped[0]


LEAVES = st.one_of(
    st.just((0, None)),
    st.tuples(st.just(3), st.booleans()),
    st.tuples(st.sampled_from([5]), st.integers(-(2**31), 2**31 - 1)),
    st.tuples(st.just(6), st.integers(0, 2**32 - 1)),
    st.tuples(st.just(9), st.binary(max_size=200)),
    st.tuples(st.just(10), st.text(st.characters(max_codepoint=255), max_size=9)),
    st.tuples(st.just(12), st.text(max_size=9)),
    st.tuples(st.sampled_from([13, 15]), st.integers(-128, 127)),
    st.tuples(st.sampled_from([17, 22]), st.integers(0, 255)),
    st.tuples(st.just(20), st.integers(-(2**63), 2**63 - 1)),
    st.tuples(st.just(21), st.integers(0, 2**64 - 1)),
    st.tuples(st.just(23), st.floats(width=32, allow_nan=False)),
    st.tuples(st.just(24), st.floats(allow_nan=False)),
    st.tuples(st.just(25), st.binary(min_size=12, max_size=12)),
    st.binary(max_size=20).map(lambda raw: (4, (8 * len(raw), raw))),
)
NODES = st.recursive(
    LEAVES, lambda inner: st.tuples(st.sampled_from([1, 2]), st.lists(inner, max_size=5)), max_leaves=9
)


@given(NODES)
def test_data_round_trip(node: Node) -> None:
    assert axdr.decode(axdr.encode(node)) == (node, len(axdr.encode(node)))


def test_compact_arrays_hold_rows_without_tags() -> None:
    rows = [(Tag.STRUCTURE, [(6, 7 + i), (1, [(18, i), (18, i + 1)]), (9, b"ab")]) for i in range(3)]
    node: Node = (19, (bytes([2, 3, 6, 1, 0, 2, 18, 9]), rows))
    data = axdr.encode(node)
    assert data.hex() == "13020306010002120921" + "".join(f"{7 + i:08x}{i:04x}{i + 1:04x}026162" for i in range(3))
    assert axdr.decode(data) == (node, len(data))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ("", "truncated"),
        ("06 0000", "truncated"),
        ("09 05 0000", "truncated"),
        ("01 05 00", "count"),
        ("01 82 ffff" + "00" * 0xFFFF, "count"),
        ("09 83 000001 00", "length"),
        ("63", "tag"),
        ("02 01" * 14 + "00", "depth"),
        ("0c 02 c328", "text"),
        ("13 00 00", "count"),  # elements that take no bytes never end
        ("13 02 01 00 05 0000000000", "count"),
        ("13 01 ffff 00 01 00", "count"),
        ("13 06 03 000000", "truncated"),
        ("13 06 05 0000000000", "truncated"),
        ("13 11 01", "count"),
        ("13" + "01 ffff" * 6 + "11 04 00000000", "truncated"),
    ],
)
def test_wrong_data_are_refused(data: str, reason: str) -> None:
    with pytest.raises(DecodeError) as caught:
        axdr.decode(bytes.fromhex(data))
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("deviation", "raw", "utc"),
    [
        (Deviation.STANDARD, "07e4011502100000 00 ffc4 00", "2020-01-21T15:00:00+00:00"),
        (Deviation.REVERSED, "07e4011502100000 00 003c 00", "2020-01-21T15:00:00+00:00"),
        (Deviation.STANDARD, "07e4011502100000 00 0000 00", "2020-01-21T16:00:00+00:00"),
        (Deviation.IGNORED, "07e4011502100000 00 0000 00", "2020-01-21T15:00:00+00:00"),
        (Deviation.STANDARD, "07e4071502100000 ff 8000 ff", "2020-07-21T14:00:00+00:00"),
        (Deviation.STANDARD, "07e40a1900021e00 32 8000 80", "2020-10-25T00:30:00.500000+00:00"),  # the first 2:30
        (Deviation.STANDARD, "07e40a1900021e00 32 8000 00", "2020-10-25T01:30:00.500000+00:00"),  # and the second
    ],
)
def test_clocks_are_read_as_their_rule_says(deviation: Deviation, raw: str, utc: str) -> None:
    assert decode_time_ns(bytes.fromhex(raw), ClockRule(deviation, OSLO)) == to_ns(datetime.fromisoformat(utc))


@pytest.mark.parametrize("deviation", Deviation)
@given(hundredths=st.integers(0, 2 * 10**11), zone=st.sampled_from([UTC, OSLO, ZoneInfo("Asia/Kolkata")]))
def test_clocks_round_trip(deviation: Deviation, hundredths: int, zone: Any) -> None:
    rule = ClockRule(deviation, zone)
    assert decode_time_ns(encode_time(hundredths * 10**7, rule), rule) == hundredths * 10**7


@pytest.mark.parametrize(
    "raw", ["", "07e40115021800000080000000", "ffff0115021000000000 00", "07e4021e0210000000000000"]
)
def test_clocks_without_a_date_are_refused(raw: str) -> None:
    with pytest.raises(DecodeError) as caught:
        decode_time_ns(bytes.fromhex(raw).ljust(12, b"\0") if raw else b"", ClockRule())
    assert caught.value.reason == "time"


@pytest.mark.parametrize("security", [ENCRYPTED | AUTHENTICATED, AUTHENTICATED, ENCRYPTED])
def test_ciphered_pushes_open_with_their_keys_only(security: int) -> None:
    keys = Keys(KEYS.encryption, KEYS.authentication, need_tag=bool(security & AUTHENTICATED))
    apdu = strip_llc(recorded("aidon_se_list"))
    data = encipher(apdu, TITLE, 7, keys, security)
    sealed = decode_sealed(data)
    assert (sealed.title, sealed.counter, kind_of(data)) == (TITLE, 7, ApduTag.GENERAL_GLO_CIPHERING)
    assert decipher(sealed, keys) == apdu
    if not security & AUTHENTICATED:
        with pytest.raises(DecodeError, match="authenticated"):
            decipher(sealed, KEYS)
        return
    for at in range(2, len(data), 5):
        changed = data[:at] + bytes([data[at] ^ 0x01]) + data[at + 1 :]
        with pytest.raises(DecodeError):
            decipher(decode_sealed(changed), keys)
    with pytest.raises(DecodeError, match="tag"):
        decipher(sealed, Keys(bytes(16), keys.authentication))
    if security & AUTHENTICATED:
        with pytest.raises(DecodeError, match="tag"):
            decipher(sealed, Keys(keys.encryption, bytes(16)))


def test_suite_2_takes_longer_keys() -> None:
    keys = Keys(bytes(32), bytes(range(32)))
    sealed = decode_sealed(encipher(b"\x0f", TITLE, 1, keys, 0x32, ApduTag.GENERAL_DED_CIPHERING))
    assert decipher(sealed, keys) == b"\x0f"
    with pytest.raises(DecodeError, match="bytes of the keys"):
        decipher(sealed, KEYS)


def test_a_known_answer_of_the_standard() -> None:
    """The example that the Green Book works through: glo-get-request with authenticated encryption."""
    keys = Keys(bytes.fromhex("000102030405060708090A0B0C0D0E0F"), bytes.fromhex("D0D1D2D3D4D5D6D7D8D9DADBDCDDDEDF"))
    plaintext = bytes.fromhex("C0010000080000010000FF0200")
    data = encipher(plaintext, bytes.fromhex("4D4D4D0000BC614E"), 0x01234567, keys)
    assert data[16:].hex().upper() == "411312FF935A47566827C467BC7D825C3BE4A77C3FCC056B6B"


def test_counters_must_rise() -> None:
    seen: dict[bytes, int] = {}
    for counter in (0, 5, 6):
        seen[TITLE] = check_counter(seen, decode_sealed(encipher(b"x", TITLE, counter, KEYS)))
    for counter in (6, 5, 0):
        with pytest.raises(NotTrusted) as caught:
            check_counter(seen, decode_sealed(encipher(b"x", TITLE, counter, KEYS)))
        assert caught.value.reason == "replay"
    assert check_counter(seen, decode_sealed(encipher(b"x", b"another!", 0, KEYS))) == 0


def push(body: Node, date_time: bytes = b"") -> bytes:
    return LLC_FROM_METER + encode_notification(Notification(0x4000_0000, date_time, body))


def body(*items: tuple[Node, ...]) -> Node:
    return (Tag.ARRAY, [(Tag.STRUCTURE, list(item)) for item in items])


def code(text: str) -> Node:
    return (9, bytes(map(int, text.split("."))))


def scale(power: int, unit: int) -> Node:
    return (2, [(15, power), (22, unit)])


def test_flat_pushes_take_their_units_from_the_profile() -> None:
    flat: Node = (2, [(10, "Kam_V0001"), code("1.1.1.7.0.255"), (6, 500), code("1.1.1.8.0.255"), (6, 1_234)])
    profile = Profile(scales={bytes([1, 1, 1, 7, 0, 255]): (0, 27), bytes([1, 1, 1, 8, 0, 255]): (1, 30)})
    clock = encode_time(START_NS, ClockRule())
    for _ in range(2):
        found = decode_push(push(flat, clock), profile, 0)
        assert told(found) == {"power_w": 500, "energy_import_wh": 12_340}
        assert found.time_ns[0] == START_NS // 10**7 * 10**7
    with pytest.raises(DecodeError, match="unit of power_w"):
        decode_push(push(flat), Profile(), 0)


def test_bare_values_take_their_codes_from_the_profile() -> None:
    codes = tuple(bytes(map(int, text.split("."))) for text in ("0.0.96.1.0.255", "1.0.2.7.0.255", "1.0.32.7.0.255"))
    profile = Profile(scales={codes[1]: (0, 27), codes[2]: (-1, 35)}, lists={3: codes})
    reader = PushReader(profile)
    for watts in (400, 500):
        data = push((2, [(9, b"6970631"), (6, watts), (6, 2_304)]))
        for decode in (full_way(profile), reader.decode):
            found = decode(data, 0)
            assert (found.device, told(found)) == ("6970631", {"power_w": -watts, "voltage_l1_v": 230.4})
    with pytest.raises(DecodeError, match="registers of a push"):
        decode_push(push((2, [(9, b"6970631"), (6, 400)])), profile, 0)


@pytest.mark.parametrize(
    ("items", "reason"),
    [
        ([], "quantity"),
        ([(code("1.0.1.7.0.255"), (6, 1), scale(0, 30))], "unit"),
        ([(code("1.0.1.7.0.255"), (6, 1))], "unit"),
        ([(code("1.0.1.7.0.255"), (6, 1), scale(99, 27))], "scaler"),
        ([(code("1.0.1.7.0.255"), (9, b"1"), scale(0, 27))], "value"),
        ([(code("1.0.1.7.0.255"), (23, math.inf), scale(0, 27))], "value"),
        ([(code("1.0.1.7.0.255"), (24, 1e308), scale(9, 27))], "value"),
        ([(code("1.0.1.7.0.255"), (6, 1), scale(0, 27)), (code("1.1.1.7.0.255"), (6, 1), scale(0, 27))], "duplicate"),
        ([(code("1.0.1.7.0.255"), (6, 1), scale(0, 27)), ((9, CLOCK), (9, bytes(12)))], "time"),
        ([(code("1.0.1.7.0.255"), (6, 1), scale(0, 27)), (code("0.0.96.1.0.255"), (10, "x" * 65))], "identity"),
    ],
)
def test_wrong_pushes_are_refused(items: list[Any], reason: str) -> None:
    data = push(body(*items))
    for decode in (full_way(Profile()), PushReader(Profile()).decode):
        with pytest.raises(DecodeError) as caught:
            decode(data, 0)
        assert caught.value.reason == reason


VALUES = st.lists(st.none() | st.integers(-(10**6), 10**6), min_size=11, max_size=11).filter(
    lambda row: any(value is not None for value in row)
)


@given(VALUES, st.text("0123456789ABC", max_size=16), st.integers(0, 10**11))
@settings(deadline=None)
def test_what_we_send_is_what_we_read(row: list[int | None], name: str, hundredths: int) -> None:
    signed = [
        None if v is None else v if column in ("power_w", "reactive_power_var") else abs(v)
        for v, column in zip(row, METER_COLUMNS, strict=True)
    ]
    scalers = {4: -1, 5: -1, 6: -1, 7: -2, 8: -2, 9: -2, 10: -3, 0: 1}
    values = [math.nan if v is None else scaled(v, scalers.get(i, 0)) for i, v in enumerate(signed)]
    clock = encode_time(hundredths * 10**7, ClockRule())
    data = push(encode_body(values, scalers, clock, name))
    reader = PushReader(Profile())
    for decode in (lambda: decode_push(data, Profile(), 0), lambda: reader.decode(data, 0)):
        for _ in range(2):
            found = decode()
            assert (found.device, found.time_ns.tolist()) == (name, [hundredths * 10**7])
            np.testing.assert_array_equal(found.values[0], values)


@pytest.mark.parametrize("name", EXPECTED)
def test_a_template_reads_as_the_full_way_does(name: str) -> None:
    """Every byte of a push changed, one after the other: the same readings, or the same refusal."""
    data = recorded(name)
    reader = PushReader(Profile(ClockRule(zone=OSLO)))
    reader.decode(data, START_NS)
    read = 0
    for at in range(len(data)):
        for bit in (0x01, 0x80):
            changed = data[:at] + bytes([data[at] ^ bit]) + data[at + 1 :]
            ours, full = outcome(reader.decode, changed), outcome(full_way(reader.profile), changed)
            assert type(ours) is type(full)
            if isinstance(ours, MeterPack) and isinstance(full, MeterPack):
                assert same(ours, full)
                read += 1
            else:
                assert str(ours) == str(full)
    assert read > len(data) // 4


def full_way(profile: Profile) -> Callable[[bytes, int], MeterPack]:
    return lambda data, now_ns: decode_push(data, profile, now_ns)


def outcome(decode: Callable[[bytes, int], MeterPack], data: bytes) -> MeterPack | DecodeError:
    try:
        return decode(data, START_NS)
    except DecodeError as error:
        return error


def test_a_template_is_used_and_templates_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    data = recorded("aidon_se_list")
    reader = PushReader(Profile())
    first = reader.decode(data, 0)
    for extra in range(2 * MAX_TEMPLATES):
        reader.decode(push(body((code("1.0.1.7.0.255"), (6, 1), scale(0, 27)), ((9, b"x" * extra), (6, 1)))), 0)
    assert sum(map(len, reader._templates.values())) <= MAX_TEMPLATES
    reader.decode(data, 0)

    def never(*_: object) -> None:
        raise AssertionError("read in full")

    monkeypatch.setattr("wire.dlms.template.decode_notification", never)
    assert same(reader.decode(data, 0), first)


def session(plain: bool = False, wrapped: bool = False) -> tuple[PushSession, dict[bytes, int]]:
    counters: dict[bytes, int] = {}
    stream = WrapperStream() if wrapped else hdlc.HdlcStream()
    return PushSession(stream, PushReader(Profile()), {TITLE: KEYS}, counters, plain), counters


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_session_opens_pushes_and_names_what_it_refuses(wrapped: bool) -> None:
    found, counters = session(wrapped=wrapped)
    apdu = strip_llc(recorded("aidon_se_list"))
    good, again = encipher(apdu, TITLE, 5, KEYS), encipher(apdu, TITLE, 6, KEYS)
    stranger, forged = encipher(apdu, b"stranger", 7, KEYS), again[:-1] + bytes([again[-1] ^ 1])
    sent = [good, good, forged, stranger, apdu, b"\x63\x00", b"\xff", again]
    data = b"".join(
        encode_wrapper(Wrapped(1, 16, part)) if wrapped else hdlc.encode_frames(part, b"\x03", b"\x21", 100)
        for part in sent
    )
    events = [event for at in range(0, len(data), 97) for event in found.feed(data[at : at + 97], START_NS)]
    told_reasons = [e.error.reason if isinstance(e, Refused) else type(e).__name__ for e in events]
    assert told_reasons == ["Pushed", "replay", "tag", "title", "plain", "ApduTag", "apdu", "Pushed"]
    assert events[5] is ApduTag.RELEASE_RESPONSE
    pushes = [event for event in events if isinstance(event, Pushed)]
    assert [(push.title, push.pack.sequence.tolist()) for push in pushes] == [(TITLE, [5]), (TITLE, [6])]
    assert counters == {TITLE: 6}
    assert told(pushes[0].pack) == EXPECTED["aidon_se_list"]


def test_a_session_takes_plain_pushes_only_where_it_may() -> None:
    frame = recorded("aidon_se_hdlc")
    (refused,) = session()[0].feed(frame, START_NS)
    (pushed,) = session(plain=True)[0].feed(frame, START_NS)
    assert isinstance(refused, Refused)
    assert isinstance(refused.error, NotTrusted)
    assert isinstance(pushed, Pushed)
    assert told(pushed.pack) == EXPECTED["aidon_se_list"]
