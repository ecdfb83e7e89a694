"""Frames, configurations, data and commands: round trips, absence, time."""

from __future__ import annotations

import binascii
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.block import Origin, Quality
from model.device import Provenance
from model.errors import DecodeError
from tests.wire.material import START_NS, made, stream
from wire.c37118.configuration import (
    Analog,
    Configuration,
    Format,
    Phasor,
    Pmu,
    decode_configuration,
    encode_cfg2,
)
from wire.c37118.data import DataLayout
from wire.c37118.frames import (
    Frame,
    FrameKind,
    crc,
    crc_of_many,
    join_time,
    parse_frame,
    split_time,
)
from wire.c37118.gather import Gathering
from wire.c37118.messages import (
    MAX_EXTENDED,
    CommandCode,
    decode_command,
    decode_header,
    encode_command,
    encode_header,
)
from wire.c37118.session import Batch
from wire.c37118.status import time_errors_ns

ORIGIN = Origin("c37.118", "test", Provenance.SIMULATED)
DEVICES = np.arange(9, dtype=np.int32)


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


@pytest.mark.parametrize("frame", [0, 3])
@pytest.mark.parametrize("pmu", [0, 1, 3])
def test_an_announced_change_is_seen_wherever_it_stands(frame: int, pmu: int) -> None:
    narrow, wide = stream(0, pmus=2).pmus[0], Pmu("wide", 99, Format(7), (Phasor("VA"),) * 5)
    layout = DataLayout(Configuration(60, 1_000_000, (narrow, wide, wide, narrow), 50))
    stat = np.full((4, 4), 0xFBFF, np.uint16)
    nothing = np.zeros((4, 4))

    def announced() -> bool:
        data = layout.encode(START_NS + np.arange(4), stat, np.zeros((4, 4, 5), complex), nothing, nothing)
        assert np.array_equal(layout.stats(b"".join(data)), stat)
        return layout.announces_change(b"".join(data))

    assert not announced()
    stat[frame, pmu] = 0x0400
    assert announced()


def test_time_quality_of_each_frame() -> None:
    layout = DataLayout(stream(15, pmus=1))
    nothing = np.zeros((3, 1))
    frames = layout.encode(
        START_NS + np.arange(3),
        nothing.astype(np.uint16),
        np.zeros((3, 1, 2), complex),
        nothing,
        nothing,
        time_quality=np.array([0x0F, 0x8B, 0x30], np.uint8),
    )
    (block,) = layout.decode(b"".join(frames), DEVICES, START_NS, ORIGIN)
    assert (block.quality >> Quality.TIME_QUALITY_SHIFT).tolist() == [0x0F, 0x8B, 0x30]
    assert block.time_error_ns.tolist() == [-1, 10**10, 0]


@pytest.mark.parametrize("form", range(16))
def test_frames_of_equal_streams_decode_together(form: int) -> None:
    """A thousand connections of one kind of PMU: one call, though IDCODEs and names differ."""
    ours, theirs = DataLayout(stream(form, 2, 60)), DataLayout(stream(form, 2, 90))
    assert ours.decodes_like(theirs)
    shape = (1, 2)
    sent = [
        layout.encode(
            np.array([START_NS]),
            np.zeros(shape, np.uint16),
            np.full((*shape, 2), volts + 0j),
            np.full(shape, 50.0),
            np.zeros(shape),
        )[0]
        for layout, volts in ((ours, 20.0), (theirs, 30.0))
    ]
    devices = np.array([[5, 6], [8, 9]], np.int32)
    (block,) = ours.decode(b"".join(sent), devices, np.array([1, 2]), ORIGIN)
    assert block.device.tolist() == [5, 6, 8, 9]
    assert block.received_ns.tolist() == [1, 1, 2, 2]
    np.testing.assert_allclose(block.column("magnitude_0"), [20, 20, 30, 30], atol=0.01)
    with pytest.raises(DecodeError):
        ours.decode(b"".join(sent), devices[0], 0, ORIGIN)


def test_gathered_frames_are_those_of_each_stream() -> None:
    gathering = Gathering()
    expected: dict[int, list[float]] = {}
    for number, form in enumerate((0, 15, 0, 15, 15)):
        material = made(form, count=1 + number, seed=number)
        layout = DataLayout(replace(material.layout.configuration, idcode=100 + number))
        frames = [
            frame[:4] + (100 + number).to_bytes(2) + frame[6:] for frame in material.frames
        ]  # CHK is not looked at any more
        devices = np.arange(3, dtype=np.int32) + 10 * number
        gathering.add(Batch(layout, b"".join(frames), changing=False), devices, number)
        (alone,) = layout.decode(b"".join(frames), devices, number, ORIGIN)
        for device in devices.tolist():
            expected[device] = alone.values[alone.device == device].ravel().tolist()
    assert len(gathering) == 1 + 2 + 3 + 4 + 5
    blocks = gathering.take(ORIGIN)
    assert [len(block) for block in blocks] == [3 * (1 + 3), 3 * (2 + 4 + 5)]
    for block in blocks:
        for device in np.unique(block.device).tolist():
            rows = block.take(block.device == device)
            assert rows.values.ravel().tolist() == expected.pop(device)
            assert set(rows.received_ns.tolist()) == {device // 10}
    assert not expected
    assert (len(gathering), gathering.take(ORIGIN)) == (0, [])


@pytest.mark.parametrize("change", ["time_base", "form", "nominal_hz", "phasors", "analogs"])
def test_streams_of_another_meaning_do_not(change: str) -> None:
    plain = stream(0, 1)
    pmu = plain.pmus[0]
    changed = {
        "time_base": replace(plain, time_base=50),
        "form": replace(plain, pmus=(replace(pmu, form=Format(1)),)),
        "nominal_hz": replace(plain, pmus=(replace(pmu, nominal_hz=60),)),
        "phasors": replace(plain, pmus=(replace(pmu, phasors=(pmu.phasors[0], Phasor("IA", True, 301))),)),
        "analogs": replace(plain, pmus=(replace(pmu, analogs=(Analog("level", 1, 3),)),)),
    }
    assert DataLayout(plain).decodes_like(DataLayout(replace(plain, idcode=7)))
    assert not DataLayout(plain).decodes_like(DataLayout(changed[change]))


def test_commands_and_headers() -> None:
    command = decode_command(parse_frame(encode_command(60, CommandCode.CFG2, START_NS)))
    assert (command.idcode, command.name, command.of_the_user) == (60, "CFG2", False)
    assert decode_header(parse_frame(encode_header(60, "", START_NS))) == ""
    assert decode_header(parse_frame(encode_header(60, "a\x00b\x1b", START_NS))) == "a\ufffdb\ufffd"


@pytest.mark.parametrize("code", [*CommandCode, 0, 7, 0x00FF, 0x0100, 0x0FFF, 0x1000, 0xFFFF])
@pytest.mark.parametrize("version", [1, 2])
def test_every_command_both_ways(code: int, version: int) -> None:
    payload = b"settings" if code == CommandCode.EXTENDED else b""
    frame = parse_frame(encode_command(60, code, START_NS, payload, version))
    command = decode_command(frame)
    assert (command.code, command.extended, frame.version) == (code, payload, version)
    assert command.of_the_user == (0x0100 <= code <= 0x0FFF)


def test_extended_commands_fill_a_frame_and_no_more() -> None:
    whole = bytes(range(256)) * 256
    frame = parse_frame(encode_command(60, CommandCode.EXTENDED, START_NS, whole[:MAX_EXTENDED]))
    assert len(frame.data) == 65_535
    assert decode_command(frame).extended == whole[:MAX_EXTENDED]
    with pytest.raises(ValueError, match="65536 bytes"):
        encode_command(60, CommandCode.EXTENDED, START_NS, whole[: MAX_EXTENDED + 1])


@pytest.mark.parametrize("cut", range(1, 40))
def test_configuration_with_a_wrong_count_is_refused(cut: int) -> None:
    frame = parse_frame(encode_cfg2(stream(15), START_NS))
    shorter = Frame(
        **{name: getattr(frame, name) for name in ("kind", "version", "idcode", "soc", "count", "time_quality")},
        data=frame.data[:-cut],
    )
    with pytest.raises(DecodeError):
        decode_configuration(shorter)
