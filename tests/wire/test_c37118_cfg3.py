"""CFG-3: round trips, scales, frames that go on in the next one, and what nobody may send."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.block import Origin
from model.device import Provenance
from model.errors import DecodeError
from tests.wire.material import START_NS, scaled_stream, stream
from wire.c37118.configuration import AnalogScale, Component, Details, Modification, PhasorScale, encode_cfg2
from wire.c37118.configuration3 import MAX_BYTES, Fragments, decode_cfg3, encode_cfg3
from wire.c37118.data import DataLayout
from wire.c37118.frames import Frame, FrameKind, crc, parse_frame
from wire.c37118.session import Batch, Configured, Session
from wire.c37118.stream import Reject

ORIGIN = Origin("c37.118", "test", Provenance.SIMULATED)


def frames_of(data: list[bytes]) -> list[Frame]:
    return [parse_frame(part) for part in data]


@pytest.mark.parametrize("form", range(16))
def test_round_trip_in_one_frame(form: int) -> None:
    configuration = scaled_stream(form)
    (frame,) = frames_of(encode_cfg3(configuration, START_NS))
    assert frame.kind is FrameKind.CFG3
    assert decode_cfg3([frame]) == configuration


@pytest.mark.parametrize("max_size", [19, 20, 64, 511, 1_500])
def test_round_trip_in_many_frames(max_size: int) -> None:
    configuration = scaled_stream(15)
    data = encode_cfg3(configuration, START_NS, max_size)
    assert max(map(len, data)) <= max_size
    assert min(map(len, data)) >= 19
    fragments = Fragments()
    results = [fragments.add(frame) for frame in frames_of(data)]
    assert results[:-1] == [None] * (len(data) - 1)
    assert results[-1] is not None
    assert decode_cfg3(results[-1]) == configuration


def test_a_configuration_larger_than_a_frame_arrives() -> None:
    small = scaled_stream(15)
    pmus = tuple(replace(small.pmus[0], idcode=i, station=f"Umspannwerk Köln-{i:03d} " * 9) for i in range(200))
    configuration = replace(small, pmus=pmus)
    data = encode_cfg3(configuration)
    assert len(data) > 1
    session = Session()
    events = session.feed(b"".join(data))
    assert [type(event) for event in events] == [Frame] * (len(data) - 1) + [Configured]
    assert session.layouts[60].configuration.pmus[199].station == pmus[199].station.strip()


def test_what_is_not_known_is_told_as_unknown() -> None:
    plain = stream(0)
    (frame,) = frames_of(encode_cfg3(plain))
    told = decode_cfg3([frame]).pmus[0]
    assert told.details == Details()
    assert told.phasors[0].scale == PhasorScale(pytest.approx(0.01))
    assert told.analogs[0].scale == AnalogScale(-2.0, 0.0)
    floats = decode_cfg3(frames_of(encode_cfg3(stream(15)))).pmus[0]
    assert floats.phasors[0].scale == PhasorScale(1.0)
    assert floats.analogs[0].scale == AnalogScale(1.0)


def test_cfg2_refuses_what_only_cfg3_can_tell() -> None:
    with pytest.raises(ValueError, match="CFG-3 only"):
        encode_cfg2(scaled_stream(15))


@pytest.mark.parametrize("form", range(16))
def test_scales_hold_both_ways(form: int) -> None:
    layout = DataLayout(scaled_stream(form, pmus=2))
    rng = np.random.default_rng(form)
    phasors = rng.uniform(100, 5_000, (4, 2, 3)) * np.exp(1j * rng.uniform(-3.1, 3.1, (4, 2, 3)))
    analogs = rng.uniform(-50, 90, (4, 2, 2))
    flat = np.full((4, 2), 50.0)
    sent = layout.encode(
        START_NS + np.arange(4) * 20_000_000,
        np.zeros((4, 2), np.uint16),
        phasors,
        flat,
        flat,
        analogs=analogs,
    )
    (block,) = layout.decode(b"".join(sent), np.arange(2, dtype=np.int32), START_NS, ORIGIN)
    values = block.values.reshape(4, 2, -1)
    found = values[..., [2, 4, 6]] * np.exp(1j * values[..., [3, 5, 7]])
    assert np.abs(values[..., [3, 5, 7]]).max() <= np.pi
    np.testing.assert_allclose(found, phasors, rtol=1e-6 if form & 2 else 2e-3)
    np.testing.assert_allclose(values[..., 8:10], analogs, rtol=1e-5 if form & 4 else 0, atol=0.26)


def test_scale_of_the_standard_by_hand() -> None:
    """A phasor X as sent means Y * X * exp(-j theta): 2,000 at +0.5 rad, scale 0.25 and 0.1 rad."""
    configuration = scaled_stream(1, pmus=1)
    scale = PhasorScale(0.25, 0.1)
    pmu = replace(configuration.pmus[0], phasors=(replace(configuration.pmus[0].phasors[0], scale=scale),))
    layout = DataLayout(replace(configuration, pmus=(replace(pmu, analogs=(), digitals=()),)))
    nothing = np.zeros((1, 1))
    frame = bytearray(
        layout.encode(np.array([0]), nothing.astype(np.uint16), np.zeros((1, 1, 1), complex), nothing, nothing)[0]
    )
    frame[16:20] = (2_000).to_bytes(2) + (5_000).to_bytes(2)
    (block,) = layout.decode(bytes(frame), np.zeros(1, np.int32), 0, ORIGIN)
    assert block.values[0, 2:4] == pytest.approx([500.0, 0.4])


@pytest.mark.parametrize(
    ("factor", "turn_rad", "expected"),
    [(0.0, 0.0, (1.0, 0.0)), (np.nan, 0.0, (1.0, 0.0)), (2.0, np.inf, (1.0, 0.0)), (2.0, 0.5, (2.0, 0.5))],
)
def test_floats_without_a_usable_scale_are_taken_as_scaled(
    factor: float, turn_rad: float, expected: tuple[float, float]
) -> None:
    plain = scaled_stream(15, pmus=1)
    phasor = replace(plain.pmus[0].phasors[0], scale=PhasorScale(factor, turn_rad))
    odd = replace(plain, pmus=(replace(plain.pmus[0], phasors=(phasor,)),))
    scale = decode_cfg3(frames_of(encode_cfg3(odd))).pmus[0].phasors[0].scale
    assert scale is not None
    assert (scale.factor, scale.turn_rad) == expected


def test_integers_without_a_scale_are_refused_by_name() -> None:
    plain = scaled_stream(0, pmus=1)
    phasor = replace(plain.pmus[0].phasors[0], scale=PhasorScale(float("nan")))
    odd = replace(plain, pmus=(replace(plain.pmus[0], phasors=(phasor,)),))
    with pytest.raises(DecodeError, match="'VA'") as caught:
        decode_cfg3(frames_of(encode_cfg3(odd)))
    assert caught.value.reason == "scale"


def test_every_flag_of_a_phasor_comes_through() -> None:
    plain = scaled_stream(0, pmus=1)
    everything = PhasorScale(3.0, -1.5, Component.PHASE_C, ~Modification(0) & Modification(0x87FE), 0xA5)
    phasor = replace(plain.pmus[0].phasors[0], scale=everything)
    odd = replace(plain, pmus=(replace(plain.pmus[0], phasors=(phasor,)),))
    assert decode_cfg3(frames_of(encode_cfg3(odd))).pmus[0].phasors[0].scale == everything


# --- frames that go on ------------------------------------------------------------------------------------------------


def begun(max_size: int = 200) -> list[Frame]:
    return frames_of(encode_cfg3(scaled_stream(15), START_NS, max_size))


@pytest.mark.parametrize("lost", [0, 1, -1])
def test_a_lost_frame_costs_the_configuration_and_is_said(lost: int) -> None:
    frames = begun()
    del frames[lost]
    fragments = Fragments()
    reasons = []
    for frame in frames:
        try:
            assert fragments.add(frame) is None
        except DecodeError as error:
            reasons.append(error.reason)
    assert set(reasons) == (set() if lost == -1 else {"continuation"})
    whole = [fragments.add(frame) for frame in begun()]
    assert whole[-1] is not None


def test_streams_of_one_connection_do_not_mix() -> None:
    ours, theirs = begun(), frames_of(encode_cfg3(replace(scaled_stream(0), idcode=61), START_NS, 200))
    fragments = Fragments()
    whole = [fragments.add(frame) for pair in zip(ours, theirs, strict=False) for frame in pair]
    complete = [decode_cfg3(frames).idcode for frames in whole if frames]
    assert complete[0] == 60


def endless(body: bytearray, fragments: Fragments) -> None:
    for index in range(2, 2 + MAX_BYTES // len(body) + 2):
        body[14:16] = index.to_bytes(2)
        body[-2:] = crc(bytes(body[:-2])).to_bytes(2)
        fragments.add(parse_frame(bytes(body)))


def test_frames_without_an_end_are_bounded() -> None:
    first, second, *_ = begun(400)
    fragments = Fragments()
    fragments.add(first)
    with pytest.raises(DecodeError, match="without an end"):
        endless(bytearray(second.data), fragments)
    assert fragments._begun == {}


@pytest.mark.parametrize("cut", [1, 2, 7, 30, 100, 300])
def test_a_shorter_body_is_refused(cut: int) -> None:
    (frame,) = frames_of(encode_cfg3(scaled_stream(15)))
    fields = {name: getattr(frame, name) for name in ("kind", "version", "idcode", "soc", "count", "time_quality")}
    with pytest.raises(DecodeError):
        decode_cfg3([Frame(**fields, data=frame.data[:-cut])])


def test_a_session_reads_data_by_cfg3() -> None:
    configuration = scaled_stream(0)
    layout = DataLayout(configuration)
    shape = (2, 3)
    data = layout.encode(
        START_NS + np.arange(2) * 20_000_000,
        np.zeros(shape, np.uint16),
        np.full((*shape, 3), 100.0 + 0j),
        np.full(shape, 50.0),
        np.zeros(shape),
    )
    session = Session()
    events = session.feed(b"".join([*encode_cfg3(configuration, 0, 300), *data]))
    assert isinstance(events[-1], Batch)
    assert len(events[-1]) == 2
    again = session.feed(b"".join(encode_cfg3(configuration, 0, 300)))
    assert isinstance(again[-1], Configured)
    assert not again[-1].changed
    lonely = session.feed(encode_cfg3(configuration, 0, 300)[2])
    assert isinstance(lonely[0], Reject)
    assert lonely[0].error.reason == "continuation"


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400), st.integers(0, 65_535))
def test_any_body_gives_a_configuration_or_a_decode_error(body: bytes, index: int) -> None:
    frame = Frame(FrameKind.CFG3, 2, 60, 0, 0, 0, bytes(14) + index.to_bytes(2) + body + bytes(2))
    try:
        decode_cfg3([frame])
    except DecodeError:
        return
    raise AssertionError("no random body of 400 bytes is a configuration")
