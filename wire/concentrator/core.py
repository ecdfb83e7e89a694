"""Rows in, sets out.

Rows that belong to one instant of the reporting grid form a set. A set leaves when it is complete or its wait time is
over, never before the one ahead of it; what is missing then is filled with NaN and STAT 15-14 = 10. Every row comes out
exactly once: within a set, or aside with its fate. Time is an argument, nothing here reads a clock; it decides how long
we wait and which stamps are absurd, never which set a row belongs to.

*Absolute* waiting counts from the stamp by our clock. A wrong clock of a PMU shows as its latency, negative or large.
*Relative* waiting counts from the first row of an instant: it needs no right clock here, but one PMU that is ahead
hurries all others.

In the second of a leap second stamps come twice: the rows that come later are late, and never mixed with the earlier.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from model.block import I32, Block, Origin
from model.errors import DecodeError
from wire.c37118.status import STAT_ERROR_SHIFT
from wire.concentrator.buffer import SetBuffer
from wire.concentrator.members import Arrays, Bools, Fate, Index, Members, Tally, taken_up
from wire.concentrator.rows import Aside, Outcome, Parcel, first_of_each, merged
from wire.concentrator.window import Rules, Window

_STAT_ERROR = np.uint32(3 << STAT_ERROR_SHIFT)


class Concentrator:
    """Aligns the rows of its members. `origin` marks the sets; rows of another provenance never enter one."""

    def __init__(self, rules: Rules, origin: Origin) -> None:
        self.rules = rules
        self.origin = origin
        self.instants_empty = 0  # passed without a single row: counted, not made up
        self.sets_forced = 0  # left early because later rows needed their place; only with relative waiting
        self._members = Members()
        self._buffers: list[SetBuffer] = []
        self._window = Window(rules)

    def join(self, devices: I32, columns: tuple[str, ...], stream: int) -> list[Aside]:
        """Take devices in, of one shape and from one stream; waiting rows of those that had another shape come out."""
        _, first = np.unique(devices, return_index=True)
        devices = devices[np.sort(first)]
        shape = self._shape_of(columns)
        if shape < 0:
            shape = len(self._buffers)
            self._buffers.append(SetBuffer(self._window.ring, columns, np.zeros(0, np.int32)))
        member = self._members.find(devices)
        known = member >= 0
        moved = known.copy()
        moved[known] = self._members.shape[member[known]] != shape
        aside = self.leave(devices[moved])
        new = devices[moved | ~known].astype(np.int32)
        buffer = self._buffers[shape]
        self._buffers[shape] = buffer.with_devices(np.concatenate([buffer.device, new]))
        self._members.add(new, shape)
        self._members.place(self._buffers[shape].device, shape)
        self._members.set_stream(devices, stream)
        return aside

    def leave(self, devices: I32) -> list[Aside]:
        """Let devices go, with their counters; their waiting rows come out."""
        aside: list[Aside] = []
        in_window = np.zeros(self._window.ring, bool)
        in_window[self._window.places] = True
        for shape, buffer in enumerate(self._buffers):
            gone = np.isin(buffer.device, devices)
            waiting = buffer.present & gone & in_window[:, None]
            if waiting.any():
                self._window.arrived -= waiting.sum(axis=1)
                aside.append(Aside(Fate.UNKNOWN, buffer.rows(np.flatnonzero(waiting), self.origin)))
            self._buffers[shape] = buffer.with_devices(buffer.device[~gone]) if gone.any() else buffer
        self._members.remove(devices)
        for shape, buffer in enumerate(self._buffers):
            self._members.place(buffer.device, shape)
        return aside

    def step(self, blocks: Sequence[Block], now_ns: int) -> Outcome:
        """Take rows in, let out what is complete or has waited long enough. Call it without blocks as time goes by."""
        out = Outcome()
        together = merged(blocks)
        parcels = [parcel for block in together if (parcel := self._judge(block, now_ns, out)) is not None]
        if parcels and not self._window.begun:
            lowest = min(int(parcel.slots.min()) for parcel in parcels)
            self._window.begin(lowest, max(int(parcel.slots.max()) for parcel in parcels), now_ns)
        while parcels:
            end = self._window.end
            for parcel in parcels:
                self._place(parcel.take(parcel.slots < end), out)
            parcels = [parcel.take(parcel.slots >= end) for parcel in parcels if (parcel.slots >= end).any()]
            self._let_out(self._window.ready(now_ns, len(self._members)), now_ns, out)
            if parcels:
                self._make_room(min(int(parcel.slots.min()) for parcel in parcels), now_ns, out)
        self._let_out(self._window.ready(now_ns, len(self._members)), now_ns, out)
        return out

    def drain(self, now_ns: int) -> Outcome:
        """Let out everything that waits, complete or not: at the end, or before the rules change."""
        out = Outcome()
        self._let_out(self._window.last_filled(), now_ns, out)
        return out

    def tally(self, *, forget_latency: bool = False) -> Tally:
        """Counters of the members; on demand latency is then measured anew, so that an hour can be told apart."""
        found = self._members.tally()
        if forget_latency:
            self._members.forget_latency()
        return found

    def state(self) -> Arrays:
        """Everything but the rules, as named arrays."""
        parts = {"members": self._members.state(), "window": self._window.state()}
        parts |= {f"buffer_{i}": buffer.state() for i, buffer in enumerate(self._buffers)}
        arrays = {f"{part}.{name}": array for part, state in parts.items() for name, array in state.items()}
        arrays |= {f"columns.{i}": np.array(buffer.columns, str) for i, buffer in enumerate(self._buffers)}
        counts = (len(self._buffers), self.instants_empty, self.sets_forced, *self._marks())
        return arrays | {"counts": np.array(counts, np.int64)}

    def restore(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Go on from a saved state as if never interrupted. Raises DecodeError (state) if it is not one of a
        concentrator with the same rules; nothing has changed then."""
        counts = taken_up(_part(arrays, ""), {"counts": np.zeros(3 + len(self._marks()), np.int64)})["counts"].tolist()
        if tuple(counts[3:]) != self._marks():
            raise DecodeError("state", "rules of a saved concentrator", counts[3:], self._marks())
        members, window = Members(), Window(self.rules)
        members.restore(_part(arrays, "members"))
        window.restore(_part(arrays, "window"))
        columns = _part(arrays, "columns")
        buffers = [self._restored(_part(arrays, f"buffer_{i}"), columns.get(str(i))) for i in range(len(columns))]
        devices = np.concatenate([np.zeros(0, np.int32), *(buffer.device for buffer in buffers)])
        if len(buffers) != counts[0] or not np.array_equal(np.sort(devices), members.device):
            raise DecodeError("state", "buffers of a saved concentrator", devices[:8], members.device[:8])
        for shape, buffer in enumerate(buffers):
            members.place(buffer.device, shape)
        self._members, self._window, self._buffers = members, window, buffers
        self.instants_empty, self.sets_forced = counts[1:3]

    def _restored(self, state: Arrays, columns: npt.NDArray[Any] | None) -> SetBuffer:
        names = () if columns is None else tuple(str(name) for name in columns.ravel())
        buffer = SetBuffer(self._window.ring, names, np.ravel(state.get("device", np.zeros(0, np.int32))))
        buffer.restore(state)
        return buffer

    def _marks(self) -> tuple[int, ...]:
        """What a state depends on: the grid and the ring."""
        return self.rules.grid.data_rate, self._window.front

    # --- rows ---------------------------------------------------------------------------------------------------------

    def _judge(self, block: Block, now_ns: int, out: Outcome) -> Parcel | None:
        """Rows that may be aligned; the others go aside."""
        rules, members = self.rules, self._members
        member = members.find(block.device)
        ahead = block.time_ns > now_ns + rules.ahead_ns
        behind = block.time_ns < now_ns - rules.behind_ns
        plausible_ns = np.where(ahead | behind, now_ns, block.time_ns)
        slots = rules.grid.slots(plausible_ns)
        off_grid = np.abs(plausible_ns - rules.grid.times_ns(slots)) > rules.tolerance_ns
        other_shape = (members.shape[member] if len(members) else member) != self._shape_of(block.columns)
        foreign = block.origin.provenance is not self.origin.provenance
        odd = (member < 0) | other_shape | ahead | behind | off_grid | foreign
        parcel = Parcel(block, slots, member)
        if odd.any():
            fate = np.select(
                [np.full(len(odd), foreign), member < 0, other_shape, ahead, behind, off_grid],
                [Fate.PROVENANCE, Fate.UNKNOWN, Fate.SHAPE, Fate.AHEAD, Fate.BEHIND, Fate.OFF_GRID],
            )
            for kind in np.unique(fate[odd]):
                self._put_aside(Fate(kind), parcel, odd & (fate == kind), out)
            parcel = parcel.take(~odd)
        members.measure(parcel.member, parcel.block.received_ns - parcel.block.time_ns)
        return parcel if len(parcel.block) else None

    def _shape_of(self, columns: tuple[str, ...]) -> int:
        """Number of the buffer for a shape, -1 if nobody has it."""
        return next((i for i, buffer in enumerate(self._buffers) if buffer.columns == columns), -1)

    def _put_aside(self, fate: Fate, parcel: Parcel, rows: Bools, out: Outcome) -> None:
        if rows.any():
            chosen = parcel.take(rows)
            self._members.count(fate, chosen.member)
            out.aside.append(Aside(fate, chosen.block))

    def _place(self, parcel: Parcel, out: Outcome) -> None:
        """Rows of the window into their cells; copies, and rows of sets that have left, go aside."""
        if not len(parcel.block):
            return
        buffer = self._buffers[self._members.shape[parcel.member[0]]]
        cells = buffer.cells(parcel.slots, self._members.position[parcel.member])
        unusable = parcel.block.quality & _STAT_ERROR != 0
        waiting = parcel.slots >= self._window.base
        taken = self._window.remembers(parcel.slots) & buffer.holds(cells)
        sounder = waiting & taken & ~unusable  # of two ways from one PMU the sound one counts
        sounder[sounder] = buffer.unusable(cells[sounder])
        chosen = first_of_each(cells, unusable, waiting & (~taken | sounder))
        self._replaced(buffer, cells[chosen & taken], out)
        fresh = chosen & ~taken
        buffer.put(cells[chosen], parcel.block.take(chosen))
        self._window.arrive(parcel.slots[fresh], parcel.block.received_ns[fresh])
        copies = ~chosen & (waiting | taken)
        differing = copies.copy()
        differing[copies] = buffer.differ(cells[copies], parcel.block.values[copies])
        self._put_aside(Fate.CONFLICT, parcel, differing, out)
        self._put_aside(Fate.DUPLICATE, parcel, copies & ~differing, out)
        self._put_aside(Fate.LATE, parcel, ~waiting & ~taken, out)

    def _replaced(self, buffer: SetBuffer, cells: Index, out: Outcome) -> None:
        """Rows that a sound copy takes the place of go aside."""
        if len(cells):
            old = buffer.rows(cells, self.origin)
            self._members.count(Fate.DUPLICATE, self._members.find(old.device))
            out.aside.append(Aside(Fate.DUPLICATE, old))

    # --- sets ---------------------------------------------------------------------------------------------------------

    def _make_room(self, lowest: int, now_ns: int, out: Outcome) -> None:
        """Let out whatever stands in the way of the next rows."""
        base = lowest - self._window.front + 1
        if base > self._window.base:
            places = self._window.places[: base - self._window.base]
            self.sets_forced += int(np.count_nonzero(self._window.arrived[places]))
            self._let_out(base, now_ns, out)

    def _let_out(self, end: int, now_ns: int, out: Outcome) -> None:
        """All sets before a slot leave, in order."""
        window, ring = self._window, self._window.ring
        if not window.begun or end <= window.base:
            return
        slots = np.arange(window.base, min(end, window.end))
        slots = slots[window.arrived[slots % ring] > 0]
        self.instants_empty += end - window.base - len(slots)
        self._members.pass_by(end - window.base)
        times_ns = self.rules.grid.times_ns(slots)
        for buffer in self._buffers:
            if len(slots) and len(buffer.device):
                self._members.align(buffer.device, buffer.present[slots % ring].sum(axis=0))
                out.sets.append(buffer.sets(slots, times_ns, now_ns, self.origin))
        opened = window.move(end)
        for buffer in self._buffers:
            buffer.clear(opened)


def _part(arrays: Mapping[str, npt.NDArray[Any]], part: str) -> Arrays:
    """Arrays of one part of a state, under their own names."""
    split = {name: name.rpartition(".") for name in arrays}
    return {split[name][2]: array for name, array in arrays.items() if split[name][0] == part}
