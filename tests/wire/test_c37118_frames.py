"""Frames, configurations, data and the stream splitter: round trips, absence, time, and hostile bytes."""

from __future__ import annotations

import binascii
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.block import Origin, Quality
from model.device import Provenance
from model.errors import DecodeError
from tests.wire.material import START_NS, made, stream
from wire.c37118.configuration import Configuration, Format, Phasor, Pmu, decode_configuration, encode_cfg2
from wire.c37118.data import DataLayout
from wire.c37118.status import time_errors_ns
from wire.c37118.frames import Frame, FrameKind, crc, crc_of_many, join_time, parse_frame, split_time
from wire.c37118.messages import CommandCode, decode_command, decode_header, encode_command, encode_header
from wire.c37118.session import Batch, Configured, Session
from wire.c37118.stream import Reject, Stream

ORIGIN = Origin("c37.118", "test", Provenance.SIMULATED)
DEVICES = np.arange(9, dtype=np.int32)


def whole_stream(form: int = 15) -> bytes:
    material = made(form)
    return b"".join(
        [
            encode_command(60, CommandCode.ON, START_NS),
            encode_cfg2(material.layout.configuration, START_NS),
            encode_header(60, "a header", START_NS),
            *material.frames,
        ]
    )


def test_crc_is_the_one_of_the_standard() -> None:
    assert crc(b"123456789") == 0x29B1


@given(st.integers(1, 60), st.integers(1, 40), st.randoms(use_true_random=False))
def test_crc_of_many_is_the_crc_of_each(words: int, count: int, random: object) -> None:
    rows = np.random.default_rng(words * 100 + count).integers(0, 256, (count, 2 * words), np.uint8)
    assert crc_of_many(rows).tolist() == [binascii.crc_hqx(row.tobytes(), 0xFFFF) for row in rows]


@pytest.mark.parametrize("form", range(16))
def test_configuration_round_trip(form: int) -> None:
    configuration = stream(form)
    frame = parse_frame(encode_cfg2(configuration, START_NS))
    assert frame.kind is FrameKind.CFG2
    assert decode_configuration(frame) == configuration


@pytest.mark.parametrize("form", range(16))
def test_data_round_trip(form: int) -> None:
    material = made(form)
    (block,) = material.layout.decode(b"".join(material.frames), DEVICES, START_NS, ORIGIN)
    values = block.values.reshape(5, 3, -1)
    phasors = values[..., [2, 4]] * np.exp(1j * values[..., [3, 5]])
    whole = form & Format.FLOAT_PHASORS
    # A step of the integers is 10 mV and 3 mA, one of integer angles 0.1 mrad.
    np.testing.assert_allclose(phasors, material.phasors, atol=1e-5 if whole else 0.02)
    floats = form & Format.FLOAT_FREQUENCY
    np.testing.assert_allclose(values[..., 0], material.frequency_hz, atol=1e-5 if floats else 6e-4)
    np.testing.assert_allclose(values[..., 1], material.rocof, atol=1e-6 if floats else 6e-3)
    np.testing.assert_array_equal(values[..., 6], -6.0)
    np.testing.assert_array_equal(values[..., 7], 5.0)
    np.testing.assert_array_equal(block.time_ns.reshape(5, 3), np.tile(material.times_ns[:, None], 3))
    np.testing.assert_array_equal(block.device.reshape(5, 3)[0], [0, 1, 2])


@pytest.mark.parametrize("form", range(16))
def test_absent_values_are_nan_both_ways(form: int) -> None:
    layout = DataLayout(stream(form, pmus=1))
    nothing = np.full((1, 1), np.nan)
    frames = layout.encode(
        np.array([START_NS]), np.zeros((1, 1), np.uint16), np.full((1, 1, 2), np.nan + 0j), nothing, nothing
    )
    (block,) = layout.decode(frames[0], DEVICES, START_NS, ORIGIN)
    assert np.isnan(block.values[0, :7]).all()
    assert block.values[0, 7] == 0.0


def test_infinite_values_are_no_measurement() -> None:
    layout = DataLayout(stream(15, pmus=1))
    zero = np.zeros((1, 1))
    frames = layout.encode(
        np.array([START_NS]), np.zeros((1, 1), np.uint16), np.full((1, 1, 2), np.inf + 0j), zero, zero
    )
    (block,) = layout.decode(frames[0], DEVICES, START_NS, ORIGIN)
    assert np.isnan(block.column("magnitude_0")).all()


def test_pmus_of_different_shape_make_blocks_of_their_own() -> None:
    small, large = stream(15, pmus=2).pmus[0], Pmu("wide", 99, Format(7), tuple(Phasor(f"V{i}") for i in range(4)))
    layout = DataLayout(Configuration(60, 16_777_215, (small, large, large, small), 50))
    shape = (3, 4)
    phasors = np.arange(48).reshape(3, 4, 4) * (1 + 1j)
    frames = layout.encode(
        START_NS + np.arange(3) * 20_000_000, np.zeros(shape, np.uint16), phasors, np.full(shape, 50.0), np.zeros(shape)
    )
    blocks = layout.decode(b"".join(frames), DEVICES, START_NS, ORIGIN)
    assert [set(block.device.tolist()) for block in blocks] == [{0}, {1, 2}, {3}]
    np.testing.assert_allclose(blocks[1].column("magnitude_3").reshape(3, 2), np.abs(phasors[:, 1:3, 3]), rtol=1e-6)


@given(st.integers(0, 2**32 - 2), st.integers(0, 10**9 - 1), st.sampled_from([1, 50, 1_000_000, 0xFFFFFF]))
def test_time_is_exact_to_half_a_tick(soc: int, rest: int, time_base: int) -> None:
    time_ns = soc * 10**9 + rest
    back = join_time(*split_time(time_ns, time_base), time_base)
    assert abs(back - time_ns) * 2 <= 10**9 // time_base + 2


def test_vectorised_times_are_those_of_the_scalar_code() -> None:
    layout = DataLayout(Configuration(7, 0xFFFFFF, stream(15, 1).pmus, 50))
    times_ns = START_NS + np.array([0, 120_000_012, 999_999_999, 19_999_980])
    shape = (4, 1)
    frames = layout.encode(
        times_ns, np.zeros(shape, np.uint16), np.zeros((4, 1, 2), complex), np.zeros(shape), np.zeros(shape)
    )
    expected = [join_time(*split_time(int(t), 0xFFFFFF), 0xFFFFFF) for t in times_ns]
    assert layout.times_ns(b"".join(frames)).tolist() == expected
    assert [parse_frame(f).soc for f in frames] == [START_NS // 10**9] * 2 + [START_NS // 10**9 + 1, START_NS // 10**9]


@pytest.mark.parametrize(
    ("stat", "time_quality", "expected_ns"),
    [
        (0x0000, 0x00, 0),
        (0x0000, 0x01, 1),
        (0x0000, 0x0B, 10**10),
        (0x0000, 0x0F, -1),
        (0x0000, 0x46, 10**5),  # the flags of the byte are no part of the code
        (0x0040, 0x0B, 100),  # the PMU knows better than the message
        (0x0180, 0x00, 10**7),
        (0x01C0, 0x00, -1),
        (0x2000, 0x00, -1),  # not in sync, and no bound
        (0x21F0, 0x00, -1),
    ],
)
def test_time_error_of_quality_codes(stat: int, time_quality: int, expected_ns: int) -> None:
    found = time_errors_ns(np.array([stat], np.uint16), np.array([time_quality], np.uint8))
    assert found.tolist() == [expected_ns]


def test_quality_keeps_stat_and_time_quality() -> None:
    layout = DataLayout(stream(15, pmus=1))
    one = np.ones((1, 1))
    frames = layout.encode(
        np.array([START_NS]),
        np.full((1, 1), 0x21F0, np.uint16),
        np.zeros((1, 1, 2), complex),
        one,
        one,
        time_quality=0x4F,
    )
    (block,) = layout.decode(frames[0], DEVICES, START_NS, ORIGIN)
    assert block.quality[0] & Quality.STAT_MASK == 0x21F0
    assert block.quality[0] >> Quality.TIME_QUALITY_SHIFT == 0x4F


def test_commands_and_headers() -> None:
    command = decode_command(parse_frame(encode_command(60, CommandCode.CFG2, START_NS)))
    assert (command.idcode, command.name) == (60, "CFG2")
    assert decode_header(parse_frame(encode_header(60, "", START_NS))) == ""
    assert decode_header(parse_frame(encode_header(60, "a\x00b\x1b", START_NS))) == "a\ufffdb\ufffd"


@pytest.mark.parametrize("cut", range(1, 40))
def test_configuration_with_a_wrong_count_is_refused(cut: int) -> None:
    frame = parse_frame(encode_cfg2(stream(15), START_NS))
    shorter = Frame(
        **{name: getattr(frame, name) for name in ("kind", "version", "idcode", "soc", "count", "time_quality")},
        data=frame.data[:-cut],
    )
    with pytest.raises(DecodeError):
        decode_configuration(shorter)


def test_every_split_gives_the_same_frames() -> None:
    data = whole_stream()
    expected = [frame.data for frame in Stream().feed(data)]
    assert len(expected) == 8
    for at in range(len(data)):
        splitter = Stream()
        found = splitter.feed(data[:at]) + splitter.feed(data[at:])
        assert [frame.data for frame in found] == expected
        assert not splitter.rejects
    bytewise = Stream()
    assert [frame.data for i in range(len(data)) for frame in bytewise.feed(data[i : i + 1])] == expected


def test_noise_between_frames_is_passed_and_kept() -> None:
    good = made(15).frames
    splitter = Stream()
    found = splitter.feed(good[0] + b"\xaa\x0fnoise\xaa" + good[1] + b"\xff" * 10 + good[2])
    assert [frame.data for frame in found] == good[:3]
    assert [reject.data for reject in splitter.rejects] == [b"\xaa\x0fnoise\xaa", b"\xff" * 10]
    assert splitter.skipped == 18


def test_a_broken_frame_is_rejected_whole_and_the_next_one_found() -> None:
    good = made(15).frames
    broken = bytearray(good[1])
    broken[20] ^= 1
    splitter = Stream()
    found = splitter.feed(good[0] + bytes(broken) + good[2])
    assert [frame.data for frame in found] == [good[0], good[2]]
    assert [(reject.error.reason, reject.data) for reject in splitter.rejects] == [("crc", bytes(broken))]


def test_a_lie_about_the_size_costs_one_frame() -> None:
    good = made(15).frames
    liar = bytearray(good[1])
    liar[2:4] = (60_000).to_bytes(2)
    splitter = Stream()
    assert len(splitter.feed(good[0] + bytes(liar) + b"".join(good[2:]))) == 1
    assert splitter.waiting
    assert [frame.data for frame in splitter.resync()] == good[2:]
    assert Stream(max_size=10_000).feed(bytes(liar) + good[2])[0].data == good[2]


def test_the_end_of_a_stream_rejects_the_rest() -> None:
    good = made(15).frames
    splitter = Stream()
    splitter.feed(good[0] + good[1][:-3])
    assert splitter.close() == []
    assert [(r.error.reason, r.data) for r in splitter.rejects] == [("truncated", good[1][:-3])]


def test_data_without_or_unlike_its_configuration_is_rejected() -> None:
    material, other = made(15), made(0)
    session = Session()
    assert [type(e) for e in session.feed(material.frames[0])] == [Reject]
    events = session.feed(encode_cfg2(material.layout.configuration) + material.frames[0] + other.frames[0])
    assert [type(e) for e in events] == [Configured, Batch, Reject]
    assert isinstance(events[2], Reject)
    assert events[2].error.reason == "size"
    again = session.feed(encode_cfg2(material.layout.configuration))
    assert isinstance(again[0], Configured)
    assert not again[0].changed


def read_all(data: bytes) -> None:
    """Everything a connection does with bytes; whatever they are, nothing but DecodeError may come out."""
    session = Session()
    for event in session.feed(data) + session.close():
        if isinstance(event, Batch):
            for block in event.layout.decode(event.frames, np.zeros(999, np.int32), START_NS, ORIGIN):
                assert not np.isinf(block.values).any()
        elif isinstance(event, Frame):
            with suppress(DecodeError):
                decode_command(event) if event.kind is FrameKind.COMMAND else decode_header(event)


def mutate(rng: np.random.Generator, data: bytes, right_crc: bool) -> bytes:
    """Some bytes changed, cut or doubled; with a right CHK the decoders behind the CRC get their share."""
    body = bytearray(data)
    for _ in range(rng.integers(1, 6)):
        body[rng.integers(len(body))] = int(rng.choice([0, 1, 0x7F, 0x80, 0xFF, rng.integers(256)]))
    if rng.random() < 0.2:
        body = body[: rng.integers(1, len(body) + 1)]
    if right_crc and len(body) >= 16:
        body[0] = 0xAA
        body[1] = body[1] & 0x50 | int(rng.integers(1, 3))
        body[2:4] = len(body).to_bytes(2)
        body[-2:] = crc(bytes(body[:-2])).to_bytes(2)
    return bytes(body)


def fuzz(count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    seeds = [f.data for form in (0, 7, 15) for f in Stream().feed(whole_stream(form))]
    good = encode_cfg2(stream(15))
    for _ in range(count):
        frame = mutate(rng, seeds[rng.integers(len(seeds))], bool(rng.random() < 0.7))
        read_all(good + frame + seeds[1])


def test_ten_thousand_mutated_frames() -> None:
    fuzz(10_000, 1)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_hundred_thousand_mutated_frames() -> None:
    fuzz(100_000, 2)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes(data: bytes) -> None:
    read_all(data)
