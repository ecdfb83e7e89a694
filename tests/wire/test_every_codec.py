"""One contract for every codec: what was recorded is read and written again; whatever else comes is read or refused
with a DecodeError, all of it accounted for, in bounded memory."""

from __future__ import annotations

import random
import tracemalloc
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.errors import DecodeError
from tests.wire.codecs import CODECS, Codec

EVERY = pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.name)
USUAL_MUTANTS = 2_000
MANY_MUTANTS = 100_000
ROOM_BYTES = 300_000  # for what a codec keeps: templates, patterns, names
MAX_FLIPS = 600
NASTY = (0x00, 0x01, 0x7E, 0x7F, 0x68, 0x80, 0x82, 0xFE, 0xFF)
PIECES = (
    b'"',
    b"\\",
    b"\n",
    b",",
    b"[" * 50,
    b"{" * 9,
    b"\xff" * 8,
    b"\x00" * 16,
    b"1e999",
    b"9" * 60,
    b"null",
    b"_",
    b"\x13\x00",
)


def outcome(codec: Codec, data: bytes) -> Any:
    """What a codec reads, or None where it refuses with a reason; anything else is a failure of the test."""
    try:
        return codec.read(data)
    except DecodeError as error:
        refused = error
    assert refused.reason
    assert len(str(refused)) < 2_000
    return None


@EVERY
def test_samples_are_read_and_written_again(codec: Codec) -> None:
    for sample in codec.samples():
        found = codec.read(sample)
        assert found
        if codec.write is not None:
            assert codec.write(found) == sample


@EVERY
def test_truncation_at_every_length(codec: Codec) -> None:
    for sample in codec.samples()[:2]:
        for size in range(min(len(sample), 1_000)):
            found = outcome(codec, sample[:size])
            assert found is None or not codec.whole, size


@EVERY
def test_every_bit_flipped(codec: Codec) -> None:
    for sample in codec.samples()[:2]:
        step = max(1, 8 * len(sample) // MAX_FLIPS)
        for bit in range(0, 8 * len(sample), step):
            changed = bytearray(sample)
            changed[bit >> 3] ^= 1 << (bit & 7)
            outcome(codec, bytes(changed))
            outcome(codec, codec.mend(bytes(changed)))


@EVERY
@settings(max_examples=30, deadline=None)
@given(data=st.binary(max_size=400))
def test_any_bytes(codec: Codec, data: bytes) -> None:
    outcome(codec, data)


@EVERY
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_any_bytes_inside_of_a_sample(codec: Codec, data: st.DataObject) -> None:
    sample = data.draw(st.sampled_from(codec.samples()))
    at = data.draw(st.integers(0, len(sample)))
    outcome(codec, sample[:at] + data.draw(st.binary(max_size=30)) + sample[at + data.draw(st.integers(0, 30)) :])


def mutant(samples: list[bytes], chance: random.Random) -> bytes:
    """A sample changed one to four times: bits, bytes, pieces dropped, doubled, put in, or taken from another."""
    data = bytearray(chance.choice(samples))
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(data) + 1)
        end = min(len(data), at + chance.choice((1, 2, 4, 16, 64)))
        kind = chance.randrange(7)
        if kind == 0 and at < len(data):
            data[at] ^= 1 << chance.randrange(8)
        elif kind == 1 and at < len(data):
            data[at] = chance.choice(NASTY)
        elif kind == 2:
            del data[at:end]
        elif kind == 3:
            data[at:at] = data[at:end] * chance.choice((1, 3, 30))
        elif kind == 4:
            data[at:at] = chance.choice(PIECES)
        elif kind == 5:
            other = chance.choice(samples)
            start = chance.randrange(len(other))
            data[at:end] = other[start : start + end - at]
        else:
            data[at:end] = chance.randbytes(end - at)
    return bytes(data)


def mutate(codec: Codec, count: int, seed: int) -> None:
    samples, chance = codec.samples(), random.Random(f"{codec.name} {seed}")
    read = 0
    for i in range(count):
        changed = mutant(samples, chance)
        read += outcome(codec, codec.mend(changed) if i % 2 else changed) is not None
    assert read < count or not codec.whole
    assert read or codec.mend is bytes


@EVERY
def test_mutants(codec: Codec) -> None:
    mutate(codec, USUAL_MUTANTS, 1)


@pytest.mark.slow
@pytest.mark.timeout(1_200)
@EVERY
def test_many_mutants(codec: Codec) -> None:
    mutate(codec, MANY_MUTANTS, 2)


def peaks(codec: Codec, inputs: list[bytes]) -> list[int]:
    """Memory that reading each input took at most, in bytes."""
    found = []
    tracemalloc.start()
    try:
        for data in inputs:
            before = tracemalloc.get_traced_memory()[0]
            tracemalloc.reset_peak()
            outcome(codec, data)
            found.append(tracemalloc.get_traced_memory()[1] - before)
    finally:
        tracemalloc.stop()
    return found


@EVERY
def test_memory_is_bounded_by_what_came(codec: Codec) -> None:
    samples, chance = codec.samples(), random.Random(codec.name)
    codec.read(samples[0])  # what is made once
    hostile = [mutant(samples, chance) for _ in range(20)]
    hostile += [samples[0][:16] + piece * 1_000 for piece in (*PIECES, b"\x01", b"x\n", b"\x02\x01")]
    for data, peak in zip(hostile, peaks(codec, hostile), strict=True):
        assert peak <= ROOM_BYTES + codec.growth * len(data), data[:60]
