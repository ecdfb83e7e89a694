"""Chance without state: every random number is a hash of (seed, stream, keys).

A value at a time depends on nothing but its keys, so a twin that restarts continues the same world, and any part of a
fleet or of a day can be computed alone. The mixer is the finaliser of SplitMix64 (Steele, Lea, Flood 2014): integer
arithmetic only, the same bits on every machine.
"""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import numpy.typing as npt

from model.block import F64

U64 = npt.NDArray[np.uint64]

_GOLDEN = np.uint64(0x9E37_79B9_7F4A_7C15)
_MIX_1 = np.uint64(0xBF58_476D_1CE4_E5B9)
_MIX_2 = np.uint64(0x94D0_49BB_1331_11EB)
_LOW_16 = np.uint64(0xFFFF)


def stream_key(seed: int, name: str) -> np.uint64:
    """Key of one named stream of one world; different names are independent."""
    return np.uint64(_mix(np.array([(seed & 0xFFFF_FFFF) << 32 | zlib.crc32(name.encode())], np.uint64))[0])


def bits(stream: np.uint64, *keys: npt.ArrayLike) -> U64:
    """64 random bits for every combination of keys, which broadcast against one another (integers, may be negative)."""
    state: Any = np.asarray(stream)
    for key in keys:
        part = np.asarray(key).astype(np.int64).view(np.uint64)
        state = _mix(state ^ part)
    return np.asarray(state, np.uint64)


def uniform(stream: np.uint64, *keys: npt.ArrayLike) -> F64:
    """Uniform numbers in [0, 1) with 53 bits."""
    return (bits(stream, *keys) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def between(low: float, high: float, stream: np.uint64, *keys: npt.ArrayLike) -> F64:
    """Uniform numbers in [low, high)."""
    return low + (high - low) * uniform(stream, *keys)


def bell(stream: np.uint64, *keys: npt.ArrayLike) -> F64:
    """Bell-shaped numbers of mean 0 and variance 1: the sum of four uniforms, so never beyond ±3.47."""
    word = bits(stream, *keys)
    total = np.zeros(word.shape, np.uint64)
    for shift in (0, 16, 32, 48):
        total = total + ((word >> np.uint64(shift)) & _LOW_16)
    return np.asarray((total.astype(np.float64) * 2.0**-16 - (2.0 - 2.0**-15)) * 3.0**0.5)


def _mix(state: Any) -> Any:
    with np.errstate(over="ignore"):  # wrap-around modulo 2^64 is what the mixer is made of
        state = state + _GOLDEN
        state = (state ^ (state >> np.uint64(30))) * _MIX_1
        state = (state ^ (state >> np.uint64(27))) * _MIX_2
    return state ^ (state >> np.uint64(31))
