"""Blocks survive the bus byte for byte, and no damaged byte gets through."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.block import METER_COLUMNS, Block, Origin, Schema, concatenate, decode_block, encode_block, phasor_columns
from model.device import Provenance
from model.errors import DecodeError


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
    arrays = ("device", "time_ns", "received_ns", "time_error_ns", "sequence", "quality", "values")
    return (a.schema, a.columns, a.origin) == (b.schema, b.columns, b.origin) and all(
        np.array_equal(getattr(a, name), getattr(b, name), equal_nan=name == "values") for name in arrays
    )


@given(st.integers(0, 40), st.integers(0, 30), st.integers(0, 2**32 - 1))
def test_block_round_trip(rows: int, phasors: int, seed: int) -> None:
    sent = block(rows, phasor_columns(phasors, 1, 1), seed)
    assert same(decode_block(encode_block(sent)), sent)


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
