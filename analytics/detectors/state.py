"""State of a detector: named arrays, kept as an npz without pickle, the same after any way of cutting the stream."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from model.block import I32, I64
from model.errors import DecodeError

Arrays = dict[str, npt.NDArray[Any]]
Bools = npt.NDArray[np.bool_]
Index = npt.NDArray[np.intp]


def save_arrays(arrays: Mapping[str, npt.NDArray[Any]], version: str) -> bytes:
    """Bytes of the arrays with the detector's version."""
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **{"version": np.array(version), **arrays})
    return buffer.getvalue()


def load_arrays(data: bytes, fresh: Mapping[str, npt.NDArray[Any]], version: str) -> Arrays:
    """Arrays of `save_arrays`, each put over the beginning of its fresh one (devices may have joined since).

    A fresh array with length 0 holds a buffer and takes any length. Raises DecodeError on other names, types, version.
    """
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            found = {name: file[name] for name in file.files}
    except (ValueError, OSError, EOFError, KeyError, BadZipFile) as error:
        raise DecodeError("state", "state of a detector", f"{len(data)} bytes", "an npz file") from error
    saved = str(found.pop("version", ""))
    if saved != version or found.keys() != fresh.keys():
        raise DecodeError("state", "version and arrays of a detector's state", f"{saved} {sorted(found)}", version)
    return {name: _laid_over(name, found[name], array) for name, array in fresh.items()}


def _laid_over(name: str, saved: npt.NDArray[Any], fresh: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if saved.dtype != fresh.dtype or saved.shape[1:] != fresh.shape[1:]:
        raise DecodeError("state", f"array {name}", f"{saved.dtype}{saved.shape}", f"{fresh.dtype}{fresh.shape}")
    if not len(fresh):
        return saved.copy()
    if len(saved) > len(fresh):
        raise DecodeError("state", f"length of array {name}", len(saved), f"<= {len(fresh)}")
    merged = fresh.copy()
    merged[: len(saved)] = saved
    return merged


class Runs:
    """Rows of a block by device, each device's rows in the order they came; helpers that look one row back.

    `order` sorts the block's rows, `device` (n,) are the sorted devices, `first` marks each device's first row.
    """

    def __init__(self, device: I32) -> None:
        self.order: Index = np.argsort(device, kind="stable")
        self.device: I32 = device[self.order]
        change = np.flatnonzero(np.diff(self.device)) + 1
        self.starts: Index = np.concatenate([np.zeros(min(len(device), 1), np.intp), change])
        self.first: Bools = np.zeros(len(device), bool)
        self.first[self.starts] = True
        self.last: Bools = np.roll(self.first, -1)
        self._group_start = self.starts[np.cumsum(self.first) - 1] if len(device) else self.starts

    def before(self, values: npt.NDArray[Any], carried: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The value one row earlier of the same device; before a first row, that of `carried` (by device index)."""
        previous = np.empty_like(values)
        previous[1:] = values[:-1]
        previous[self.first] = carried[self.device[self.first]]
        return previous

    def running_max(self, values: I64, carried: I64) -> I64:
        """Largest value up to and with each row of the same device, `carried` included."""
        result = values.copy()
        result[self.first] = np.maximum(result[self.first], carried[self.device[self.first]])
        longest, step = int(np.diff(np.append(self.starts, len(values))).max(initial=0)), 1
        rows = np.arange(len(values))
        while step < longest:  # a scan that doubles its reach: log2 of the longest group in steps
            reached = rows[step:] - step >= self._group_start[step:]
            result[step:] = np.where(reached, np.maximum(result[step:], result[:-step]), result[step:])
            step *= 2
        return result

    def lengths(self, flags: Bools, carried: I64) -> I64:
        """Length of the run of true flags that ends at each row, runs begun in earlier blocks included."""
        rows = np.arange(len(flags))
        last_false = np.maximum.accumulate(np.where(flags, -1, rows)) if len(flags) else rows
        begun_here = last_false >= self._group_start
        run = np.where(begun_here, rows - last_false, rows - self._group_start + 1 + carried[self.device])
        return np.asarray(np.where(flags, run, 0), np.int64)
