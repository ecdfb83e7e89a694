"""The stream splitter, and whatever else may come instead of a frame: noise, lies, broken and mutated frames."""

from __future__ import annotations

import tracemalloc
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.block import Origin
from model.device import Provenance
from model.errors import DecodeError
from tests.wire.material import START_NS, made, scaled_stream, stream
from wire.c37118.configuration import (
    encode_cfg2,
)
from wire.c37118.configuration3 import encode_cfg3
from wire.c37118.frames import (
    Frame,
    FrameKind,
    build_frame,
    crc,
)
from wire.c37118.messages import (
    CommandCode,
    decode_command,
    decode_header,
    encode_command,
    encode_header,
)
from wire.c37118.session import MAX_DATA_BYTES, MAX_STREAMS, Batch, Configured, Session
from wire.c37118.stream import Reject, Stream

ORIGIN = Origin("c37.118", "test", Provenance.SIMULATED)


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


def test_noise_is_told_with_the_frame_that_ends_it() -> None:
    splitter = Stream()
    assert splitter.feed(b"noise") == []
    assert splitter.rejects == []  # more of it may follow
    assert len(splitter.feed(made(15).frames[0])) == 1
    assert [reject.data for reject in splitter.rejects] == [b"noise"]


def test_a_frame_above_the_limit_is_none_even_alone() -> None:
    splitter = Stream(max_size=20)
    assert splitter.feed(made(15).frames[0]) == []
    assert splitter.feed(encode_command(60, CommandCode.ON)) != []
    assert {reject.error.reason for reject in splitter.rejects} == {"sync"}


def test_streams_of_one_sender_are_bounded() -> None:
    session = Session()
    for idcode in range(MAX_STREAMS):
        assert isinstance(session.feed(encode_cfg2(stream(15, 1, 1_000 + idcode)))[0], Configured)
    (refused,) = session.feed(encode_cfg2(stream(15, 1, 60)))
    assert isinstance(refused, Reject)
    assert refused.error.reason == "streams"
    (known,) = session.feed(encode_cfg2(stream(0, 1, 1_000)))
    assert isinstance(known, Configured)


def test_large_streams_of_one_sender_are_bounded() -> None:
    session, answers = Session(), []
    body = bytearray(hostile_frames()["CFG-2 of as many PMUs as fit"])
    for idcode in range(45):
        body[4:6] = idcode.to_bytes(2)
        body[-2:] = crc(bytes(body[:-2])).to_bytes(2)
        answers += session.feed(bytes(body))
    sizes = [layout.size for layout in session.layouts.values()]
    assert MAX_DATA_BYTES - sizes[0] < sum(sizes) <= MAX_DATA_BYTES
    assert {answer.error.reason for answer in answers if isinstance(answer, Reject)} == {"streams"}


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
    seeds += [part for size in (900, 65_535) for part in encode_cfg3(scaled_stream(0, 2), START_NS, size)]
    good = encode_cfg2(stream(15))
    for _ in range(count):
        frame = mutate(rng, seeds[rng.integers(len(seeds))], bool(rng.random() < 0.7))
        read_all(good + frame + seeds[1])


def test_two_thousand_mutated_frames() -> None:
    fuzz(2_000, 1)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_hundred_thousand_mutated_frames() -> None:
    fuzz(100_000, 2)


def hostile_frames() -> dict[str, bytes]:
    """The largest frames that claim the most: counts that are not there, and channels as small as they come."""
    head = (1_000_000).to_bytes(4)
    crowd = b"".join(bytes(16) + i.to_bytes(2) + bytes(8) + bytes(4) for i in range(2_183))
    bits = bytes(1) + bytes(2) + bytes(16) + bytes(6) + (1_022).to_bytes(2) + bytes(16 * 1_022) + bytes(4 * 1_022)
    unit = bits + bytes(12) + b"M" + bytes(12)
    return {
        "CFG-2 of as many PMUs as fit": build_frame(FrameKind.CFG2, 60, head + (2_183).to_bytes(2) + crowd + bytes(2)),
        "CFG-2 that claims 65,535 PMUs": build_frame(FrameKind.CFG2, 60, head + b"\xff\xff" + bytes(65_000)),
        "CFG-2 that claims 65,535 channels": build_frame(
            FrameKind.CFG2, 60, head + b"\x00\x01" + bytes(20) + b"\xff" * 6 + bytes(65_000)
        ),
        "CFG-3 of digital words": build_frame(FrameKind.CFG3, 60, bytes(2) + head + b"\x00\x03" + 3 * unit + bytes(2)),
        "CFG-3 that claims everything": build_frame(FrameKind.CFG3, 60, bytes(2) + head + b"\xff" * 60_000),
    }


@pytest.mark.parametrize("name", hostile_frames())
def test_memory_is_bounded_by_what_was_sent(name: str) -> None:
    frame = hostile_frames()[name]
    tracemalloc.start()
    try:
        read_all(frame)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 300 * len(frame)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes(data: bytes) -> None:
    read_all(data)
