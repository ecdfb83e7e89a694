"""Rows of PMUs of one shape, waiting for each other: a ring of instants times devices, in arrays."""

from __future__ import annotations

import numpy as np

from model.block import (
    F64,
    I32,
    I64,
    NO_SEQUENCE,
    U32,
    UNKNOWN_TIME_ERROR_NS,
    Block,
    Origin,
    Schema,
)
from wire.c37118.status import STAT_ERROR_SHIFT, DataError
from wire.concentrator.members import Arrays, Bools, Index, taken_up

_ROW_ARRAYS = ("time_ns", "received_ns", "time_error_ns", "sequence", "quality")
_STAT_ERROR = np.uint32(3 << STAT_ERROR_SHIFT)
_FILLED = np.uint32(DataError.ABSENT << STAT_ERROR_SHIFT)


class SetBuffer:
    """Ring of `slots` instants for the devices of one shape; a cell is an instant's place times devices + device.

    `device` (d,) are the devices by position, `present` (slots, d) says which cells hold a row.
    """

    def __init__(self, slots: int, columns: tuple[str, ...], device: I32) -> None:
        shape = (slots, len(device))
        self.slots = slots
        self.columns = columns
        self.device = device
        self.present: Bools = np.zeros(shape, bool)
        self.time_ns: I64 = np.zeros(shape, np.int64)
        self.received_ns: I64 = np.zeros(shape, np.int64)
        self.time_error_ns: I64 = np.zeros(shape, np.int64)
        self.sequence: I64 = np.zeros(shape, np.int64)
        self.quality: U32 = np.zeros(shape, np.uint32)
        self.values: F64 = np.zeros((*shape, len(columns)))

    def cells(self, slots: I64, position: Index) -> Index:
        """Where rows belong."""
        return np.asarray(slots % self.slots * len(self.device) + position, np.intp)

    def holds(self, cells: Index) -> Bools:
        """Which of the cells hold a row."""
        return np.asarray(self.present.reshape(-1).take(cells), bool)

    def unusable(self, cells: Index) -> Bools:
        """Which rows say themselves that their values must not be used."""
        return np.asarray(self.quality.reshape(-1).take(cells) & _STAT_ERROR != 0, bool)

    def differ(self, cells: Index, values: F64) -> Bools:
        """Which rows have other values than those given, shape (n, columns); absent equals absent."""
        kept = self.values.reshape(-1, len(self.columns)).take(cells, axis=0)
        return np.asarray(((kept != values) & ~(np.isnan(kept) & np.isnan(values))).any(axis=1), bool)

    def put(self, cells: Index, block: Block) -> None:
        """Rows into cells, over what was there."""
        self.present.reshape(-1)[cells] = True
        self.values.reshape(-1, len(self.columns))[cells] = block.values
        for name in _ROW_ARRAYS:
            getattr(self, name).reshape(-1)[cells] = getattr(block, name)

    def rows(self, cells: Index, origin: Origin) -> Block:
        """The rows of cells as they came."""
        return Block(
            schema=Schema.PHASOR,
            columns=self.columns,
            origin=origin,
            device=self.device.take(cells % max(1, len(self.device))),
            values=self.values.reshape(-1, len(self.columns)).take(cells, axis=0),
            **{name: getattr(self, name).reshape(-1).take(cells) for name in _ROW_ARRAYS},
        )

    def sets(self, slots: I64, times_ns: I64, now_ns: int, origin: Origin) -> Block:
        """Whole sets, instant after instant, all devices in their order: stamped with the instant, gaps filled."""
        places = slots % self.slots
        missing = ~self.present[places]
        columns = len(self.columns)
        arrays = {name: getattr(self, name)[places] for name in _ROW_ARRAYS}
        arrays["time_ns"] = np.repeat(times_ns, len(self.device)).reshape(missing.shape)
        values = self.values[places]
        if missing.any():
            values[missing] = np.nan
            arrays["received_ns"][missing] = now_ns
            arrays["time_error_ns"][missing] = UNKNOWN_TIME_ERROR_NS
            arrays["sequence"][missing] = NO_SEQUENCE
            arrays["quality"][missing] = _FILLED
        return Block(
            schema=Schema.PHASOR,
            columns=self.columns,
            origin=origin,
            device=np.tile(self.device, len(slots)),
            values=values.reshape(-1, columns),
            **{name: array.reshape(-1) for name, array in arrays.items()},
        )

    def clear(self, slots: I64) -> None:
        """Empty the places of instants."""
        self.present[slots % self.slots] = False

    def with_devices(self, device: I32) -> SetBuffer:
        """A buffer for other devices that holds the rows of those it shares with this one."""
        new = SetBuffer(self.slots, self.columns, device)
        _, ours, theirs = np.intersect1d(self.device, device, assume_unique=True, return_indices=True)
        for name in ("present", "values", *_ROW_ARRAYS):
            getattr(new, name)[:, theirs] = getattr(self, name)[:, ours]
        return new

    def state(self) -> Arrays:
        """All arrays, by name."""
        return {name: getattr(self, name).copy() for name in ("device", "present", "values", *_ROW_ARRAYS)}

    def restore(self, state: Arrays) -> None:
        """Take up the arrays of `state()`. Raises DecodeError, and nothing has changed."""
        for name, array in taken_up(state, self.state()).items():
            setattr(self, name, array)
