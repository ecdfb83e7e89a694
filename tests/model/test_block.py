"""Blocks survive the bus byte for byte, and no damaged byte gets through."""

from __future__ import annotations

import struct
import zlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.block import (
    METER_COLUMNS,
    VERSION,
    Block,
    Origin,
    Schema,
    concatenate,
    decode_block,
    encode_block,
    phasor_columns,
)
from model.device import Provenance
from model.errors import DecodeError

ROW_ARRAYS = ("time_ns", "received_ns", "time_error_ns", "sequence", "device", "quality")
WIDTHS = dict.fromkeys(ROW_ARRAYS, 8) | {"device": 4, "quality": 4}
# Blocks of an older intake must stay readable: this is what a block of two readings looks like.
PINNED = (
    "47534d4302010128020000000200000068000000b328f4327b22636f6c756d6e73223a205b226672657175656e63795f687a222c2022726f"
    "636f665f687a5f7065725f73225d2c20226c696e6b223a20226d717474222c202270656572223a2022736d632f44534f2d303030312f6e6f"
    "726d2d303030312f6d65746572227d200000000000004940000000000000f03f00000000000000c0000000000000e03f0100000000000000"
    "02000000000000000100000000000000020000000000000001000000000000000200000000000000ffffffffffffffff0700000008000000"
    "00000000"
)


def block(rows: int, columns: tuple[str, ...] = METER_COLUMNS, seed: int = 0) -> Block:
    rng = np.random.default_rng(seed)
    longs = [rng.integers(-(2**62), 2**62, rows) for _ in range(4)]
    return Block(
        Schema.METER,
        columns,
        Origin("mqtt", "smc/DSO-0001/norm-0001/meter", Provenance.SIMULATED),
        rng.integers(0, 2**31 - 1, rows).astype(np.int32),
        *longs,
        rng.integers(0, 2**32, rows).astype(np.uint32),
        rng.normal(size=(rows, len(columns))),
    )


def same(a: Block, b: Block) -> bool:
    return (a.schema, a.columns, a.origin) == (b.schema, b.columns, b.origin) and all(
        np.array_equal(getattr(a, name), getattr(b, name), equal_nan=name == "values")
        for name in (*ROW_ARRAYS, "values")
    )


def resealed(data: bytes) -> bytes:
    """The bytes with a right checksum, as a sender of another version would make them."""
    return data[:20] + struct.pack("<I", zlib.crc32(data[24:], zlib.crc32(data[:20]))) + data[24:]


@given(st.integers(0, 40), st.integers(0, 30), st.integers(0, 2**32 - 1))
def test_block_round_trip(rows: int, phasors: int, seed: int) -> None:
    sent = block(rows, phasor_columns(phasors, 1, 1), seed)
    assert same(decode_block(encode_block(sent)), sent)


@given(st.integers(2, 40), st.sets(st.sampled_from(ROW_ARRAYS)))
def test_arrays_of_one_value_travel_once_and_come_back_whole(rows: int, folded: set[str]) -> None:
    sent = block(rows, seed=rows)
    sent = replace(sent, **{name: np.full(rows, getattr(sent, name)[0]) for name in folded})
    data = encode_block(sent)
    found = decode_block(data)
    assert same(found, sent)
    assert len(encode_block(block(rows, seed=rows))) - len(data) == sum((rows - 1) * WIDTHS[name] for name in folded)
    assert {name for name in ROW_ARRAYS if getattr(found, name).strides == (0,)} == folded
    assert encode_block(found) == data


def test_decoding_copies_nothing_and_nobody_can_write_into_a_message() -> None:
    sent = block(5)
    data = encode_block(replace(sent, quality=np.zeros(5, np.uint32)))
    message = np.frombuffer(data, np.uint8)
    found = decode_block(data)
    for name in (*ROW_ARRAYS, "values"):
        array = getattr(found, name)
        assert np.shares_memory(array, message), name
        assert not array.flags.writeable, name


def test_the_byte_form_is_pinned() -> None:
    sent = replace(block(2, phasor_columns(0)), quality=np.zeros(2, np.uint32), values=np.array([[50, 1], [-2, 0.5]]))
    stamps = {name: np.array([1, 2]) for name in ("time_ns", "received_ns", "time_error_ns")}
    sent = replace(sent, **stamps, sequence=np.array([-1, -1]), device=np.array([7, 8], np.int32))
    assert encode_block(sent).hex() == PINNED
    assert same(decode_block(bytes.fromhex(PINNED)), sent)


@pytest.mark.parametrize("version", [0, VERSION - 1, VERSION + 1, 255])
def test_another_version_is_refused_and_not_guessed(version: int) -> None:
    data = bytearray(encode_block(block(2)))
    data[4] = version
    with pytest.raises(DecodeError, match="version"):
        decode_block(resealed(bytes(data)))


@pytest.mark.parametrize(("rows", "folded"), [(3, 1 << 6), (3, 0xFF), (1, 1), (0, 1)])
def test_folds_that_cannot_be_are_refused(rows: int, folded: int) -> None:
    data = bytearray(encode_block(block(rows)))
    data[7] = folded
    with pytest.raises(DecodeError, match="folded"):
        decode_block(resealed(bytes(data)))


def test_missing_values_stay_missing() -> None:
    sent = block(3)
    sent.values[1, 2] = np.nan
    assert np.isnan(decode_block(encode_block(sent)).values[1, 2])


@settings(max_examples=300)
@given(st.data())
def test_every_damaged_block_is_refused(data: st.DataObject) -> None:
    good = encode_block(block(3))
    position = data.draw(st.integers(0, len(good) - 1))
    damaged = bytearray(good)
    damaged[position] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(DecodeError):
        decode_block(bytes(damaged))


@given(st.binary(max_size=400))
def test_foreign_bytes_raise_decode_error_only(data: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_block(b"GSMC" + data)


@pytest.mark.parametrize("cut", [0, 1, 23, 24, 27, 28, 100])
def test_truncated_block_names_its_length(cut: int) -> None:
    with pytest.raises(DecodeError, match="expected"):
        decode_block(encode_block(block(2))[:cut])


def test_take_and_concatenate_are_inverse() -> None:
    whole = block(10)
    assert same(concatenate([whole.take(slice(0, 4)), whole.take(slice(4, 10))]), whole)


def test_blocks_of_different_columns_do_not_concatenate() -> None:
    with pytest.raises(ValueError, match="do not concatenate"):
        concatenate([block(1), block(1, phasor_columns(1))])


def test_arrays_of_unequal_length_are_refused() -> None:
    good = block(3)
    with pytest.raises(ValueError, match="disagree"):
        Block(good.schema, good.columns, good.origin, good.device[:2], *(good.time_ns,) * 4, good.quality, good.values)
