"""The concentrator: alignment by integers, waiting, and that no row is ever lost or doubled."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.block import Block, Origin, Schema, concatenate, phasor_columns
from model.device import Provenance
from model.errors import DecodeError
from model.time import NS_PER_S
from tests.wire.material import START_NS, capture, stream
from wire.c37118.data import DataLayout
from wire.c37118.session import Batch, Session
from wire.concentrator import Concentrator, Fate, Outcome, ReportingGrid, Rules
from wire.pcap import pieces, read_packets, segments

ORIGIN = Origin("test", "peer", Provenance.SIMULATED)
COLUMNS = phasor_columns(1)
WIDE = phasor_columns(2)
GRID = ReportingGrid(50)
STEP_NS = 20_000_000
FIRST = int(GRID.slots(np.array([START_NS]))[0])
MS = 1_000_000
BAD = 0x8000


def rows(
    devices: list[int],
    slots: list[int],
    *,
    shift_ns: int = 0,
    latency_ns: int = 5 * MS,
    sequence: int = 0,
    quality: int = 0,
    value: float = 1.0,
    columns: tuple[str, ...] = COLUMNS,
    provenance: Provenance = Provenance.SIMULATED,
) -> Block:
    """Rows of devices at instants (in slots after START_NS), numbered upwards from `sequence`."""
    n = len(devices)
    time_ns = START_NS + np.array(slots, np.int64) * STEP_NS + shift_ns
    return Block(
        Schema.PHASOR,
        columns,
        replace(ORIGIN, provenance=provenance),
        np.array(devices, np.int32),
        time_ns,
        time_ns + latency_ns,
        np.zeros(n, np.int64),
        np.arange(sequence, sequence + n),
        np.full(n, quality, np.uint32),
        np.full((n, len(columns)), value),
    )


def at(slot: float, extra_ns: int = 0) -> int:
    return START_NS + round(slot * STEP_NS) + extra_ns


def fresh(devices: list[int] | None = None, **rules: int) -> Concentrator:
    concentrator = Concentrator(Rules(GRID, **{"wait_ns": 100 * MS} | rules), ORIGIN)
    concentrator.join(np.array(devices or [1, 2, 3], np.int32), COLUMNS, stream=7)
    return concentrator


def fates(out: Outcome) -> dict[Fate, int]:
    counted: Counter[Fate] = Counter()
    for aside in out.aside:
        counted[aside.fate] += len(aside.block)
    return dict(counted)


def instants(out: Outcome) -> list[int]:
    """Slots of the sets that left, after START_NS."""
    return [int(slot) - FIRST for block in out.sets for slot in np.unique(GRID.slots(block.time_ns))]


# --- the grid ---------------------------------------------------------------------------------------------------------


@given(
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**24 - 1),
    st.sampled_from([1_000, 1_000_000, 0xFFFFFF]),
    st.sampled_from([1, 10, 25, 30, 50, 60, 100, 120]),
)
def test_slots_are_those_of_exact_arithmetic(soc: int, tick: int, time_base: int, rate: int) -> None:
    count = tick % time_base
    exact = Fraction(count * rate, time_base)
    if abs(exact - exact.__floor__() - Fraction(1, 2)) < Fraction(rate, 10**8):
        return  # half between two instants: no grid of this rate
    time_ns = soc * NS_PER_S + (count * NS_PER_S + time_base // 2) // time_base
    found = ReportingGrid(rate).slots(np.array([time_ns]))[0]
    assert found == soc * rate + round(exact)


@pytest.mark.parametrize("rate", [1, 7, 30, 50, 60, 120, -1, -5, -60])
def test_slots_and_instants_are_inverse(rate: int) -> None:
    grid = ReportingGrid(rate)
    slots = grid.slots(np.array([START_NS]))[0] + np.arange(-500, 500)
    assert np.array_equal(grid.slots(grid.times_ns(slots)), slots)
    assert [grid.slot_at(int(t)) for t in grid.times_ns(slots[:5])] == slots[:5].tolist()
    assert [grid.slot_at(int(t) - 1) for t in grid.times_ns(slots[:5])] == (slots[:5] - 1).tolist()


@pytest.mark.parametrize("rate", [0, 1_001, -1_001])
def test_rates_without_a_grid_are_refused(rate: int) -> None:
    with pytest.raises(ValueError, match="data rate"):
        ReportingGrid(rate)


# --- waiting ----------------------------------------------------------------------------------------------------------


def test_a_complete_set_leaves_at_once_and_in_the_order_of_members() -> None:
    concentrator = fresh()
    assert concentrator.step([rows([3, 1], [0, 0])], at(0)).sets == []
    (block,) = concentrator.step([rows([2], [0], value=5.0)], at(0.1)).sets
    assert block.device.tolist() == [1, 2, 3]
    assert block.time_ns.tolist() == [START_NS] * 3
    assert block.values[:, 0].tolist() == [1.0, 5.0, 1.0]
    assert block.origin == ORIGIN


def test_absolute_waiting_ends_at_its_nanosecond_and_fills_what_is_missing() -> None:
    concentrator = fresh()
    concentrator.step([rows([1, 3], [0, 0], quality=0x21F0)], at(0, 60 * MS))
    assert concentrator.step([], at(0, 100 * MS - 1)).sets == []
    (block,) = concentrator.step([], at(0, 100 * MS)).sets
    assert np.isnan(block.values[1]).all()
    assert block.quality.tolist() == [0x21F0, 0x8000, 0x21F0]
    assert block.time_error_ns.tolist() == [0, -1, 0]
    assert block.sequence.tolist() == [0, -1, 1]
    assert block.received_ns[1] == at(0, 100 * MS)


def test_relative_waiting_counts_from_the_first_arrival() -> None:
    concentrator = fresh(relative=1)
    arrival_ns = at(0, 700 * MS)
    concentrator.step([rows([1], [0], latency_ns=700 * MS)], arrival_ns)
    assert concentrator.step([], arrival_ns + 100 * MS - 1).sets == []
    assert instants(concentrator.step([], arrival_ns + 100 * MS)) == [0]


def test_a_set_never_overtakes_the_one_ahead_of_it() -> None:
    concentrator = fresh()
    assert concentrator.step([rows([1, 1, 2, 3], [0, 1, 1, 1])], at(1)).sets == []
    assert instants(concentrator.step([rows([2, 3], [0, 0])], at(2))) == [0, 1]


def test_instants_without_rows_are_counted_and_not_made_up() -> None:
    concentrator = fresh()
    concentrator.step([rows([1, 2, 3], [0, 0, 0])], at(0))
    out = concentrator.step([rows([1, 2, 3], [90_000] * 3)], at(90_000))
    concentrator.step([], at(90_010))
    assert len(out.sets) <= 1
    assert concentrator.instants_empty == 89_999
    assert concentrator.tally().expected.tolist() == [90_001] * 3
    assert concentrator.tally().rows[Fate.ALIGNED].tolist() == [2] * 3


def test_a_pause_of_the_process_loses_no_set() -> None:
    concentrator = fresh()
    concentrator.step([rows([1, 2, 3], [0, 0, 0])], at(0))
    backlog = [rows([device] * 1_000, list(range(1, 1_001))) for device in (1, 2, 3)]
    out = concentrator.step(backlog, at(1_010))
    assert instants(out) == list(range(1, 1_001))
    assert out.aside == []
    assert concentrator.sets_forced == 0
    assert not np.isnan(np.concatenate([block.values for block in out.sets])).any()


def test_a_clock_that_jumps_ahead_and_back_makes_nobody_late() -> None:
    concentrator = fresh()
    concentrator.step([rows([1, 2, 3], [0, 0, 0])], at(0))
    glitch_ns = at(0) + 3_600 * NS_PER_S
    assert instants(concentrator.step([rows([1, 2, 3], [1, 1, 1])], glitch_ns)) == [1]
    concentrator.step([], glitch_ns)
    assert instants(concentrator.step([rows([1, 2, 3], [2, 2, 2])], at(2))) == [2]
    assert concentrator.tally().rows[Fate.LATE].sum() == 0


def test_drain_lets_everything_out() -> None:
    concentrator = fresh()
    concentrator.step([rows([1, 1], [0, 2])], at(2))
    assert instants(concentrator.drain(at(2))) == [0, 2]
    assert concentrator.drain(at(2)).sets == []


# --- rows that are in no set ------------------------------------------------------------------------------------------


def test_late_rows_are_handed_on() -> None:
    concentrator = fresh()
    concentrator.step([rows([1, 2], [0, 0])], at(0))
    concentrator.step([], at(10))
    out = concentrator.step([rows([3], [0], sequence=9)], at(10))
    assert fates(out) == {Fate.LATE: 1}
    assert out.aside[0].block.sequence.tolist() == [9]


@pytest.mark.parametrize("left", [False, True])
@pytest.mark.parametrize(("value", "fate"), [(1.0, Fate.DUPLICATE), (1.5, Fate.CONFLICT)])
def test_second_copies_are_known_before_and_after_their_set_left(left: bool, value: float, fate: Fate) -> None:
    concentrator = fresh()
    concentrator.step([rows([1, 2, 3] if left else [1], [0] * (3 if left else 1))], at(0))
    out = concentrator.step([rows([1], [0], value=value)], at(0.5))
    assert fates(out) == {fate: 1}


def test_copies_within_one_block() -> None:
    out = fresh([1]).step([rows([1, 1, 1], [0, 0, 0])], at(0))
    assert fates(out) == {Fate.DUPLICATE: 2}
    assert out.sets[0].sequence.tolist() == [0]


def test_of_two_ways_from_one_pmu_the_sound_one_counts() -> None:
    concentrator = fresh()
    concentrator.step([rows([1], [0], quality=BAD, value=9.0)], at(0))
    out = concentrator.step([rows([1, 2, 3], [0, 0, 0], sequence=5)], at(0))
    assert out.sets[0].sequence.tolist() == [5, 6, 7]
    assert [(a.fate, a.block.values[0, 0]) for a in out.aside] == [(Fate.DUPLICATE, 9.0)]
    both = concatenate([rows([1], [1], quality=BAD), rows([1], [1], sequence=8)])
    assert concentrator.step([both, rows([2, 3], [1, 1])], at(1)).sets[0].sequence[0] == 8
    again = fresh()
    again.step([rows([1], [0])], at(0))
    assert fates(again.step([rows([1], [0], quality=BAD)], at(0))) == {Fate.DUPLICATE: 1}


@pytest.mark.parametrize(
    ("time_ns", "fate"),
    [
        (0, Fate.BEHIND),
        (NS_PER_S, Fate.BEHIND),
        (2_085_978_496 * NS_PER_S, Fate.AHEAD),  # 2036, when NTP counts from 0 again
        ((2**32 - 1) * NS_PER_S, Fate.AHEAD),
        (at(0) + NS_PER_S + 1, Fate.AHEAD),
        (np.iinfo(np.int64).max, Fate.AHEAD),
        (np.iinfo(np.int64).min, Fate.BEHIND),
        (at(0) + 5 * MS, Fate.OFF_GRID),
    ],
)
def test_absurd_stamps_are_refused_with_the_device_named(time_ns: int, fate: Fate) -> None:
    concentrator = fresh()
    block = replace(rows([2], [0]), time_ns=np.array([time_ns]))
    out = concentrator.step([block], at(0))
    assert [(aside.fate, aside.block.device.tolist()) for aside in out.aside] == [(fate, [2])]
    assert concentrator.tally().rows[fate].tolist() == [0, 1, 0]
    assert instants(concentrator.step([rows([1, 2, 3], [1, 1, 1])], at(1))) == [1]


def test_strangers_other_shapes_and_other_provenance_stay_outside() -> None:
    concentrator = fresh()
    out = concentrator.step(
        [rows([8], [0]), rows([1], [0], columns=WIDE), rows([1], [0], provenance=Provenance.REPLAYED)], at(0)
    )
    assert fates(out) == {Fate.UNKNOWN: 1, Fate.SHAPE: 1, Fate.PROVENANCE: 1}
    assert concentrator.drain(at(0)).sets == []


# --- members ----------------------------------------------------------------------------------------------------------


def test_shapes_leave_together_each_in_its_block() -> None:
    concentrator = fresh([1, 2])
    concentrator.join(np.array([9, 4], np.int32), WIDE, stream=8)
    concentrator.step([rows([9], [0], columns=WIDE), rows([1, 2], [0, 0])], at(0))
    narrow, wide = concentrator.step([], at(6)).sets
    assert (narrow.columns, narrow.device.tolist()) == (COLUMNS, [1, 2])
    assert (wide.columns, wide.device.tolist()) == (WIDE, [9, 4])
    assert np.isnan(wide.values[:, 0]).tolist() == [False, True]
    assert concentrator.tally().by_stream() == {7: 1.0, 8: 0.5}


def test_who_joins_another_shape_leaves_the_old_one_with_its_rows() -> None:
    concentrator = fresh()
    concentrator.step([rows([1, 2], [0, 0], sequence=3)], at(0))
    (aside,) = concentrator.join(np.array([2], np.int32), WIDE, stream=7)
    assert (aside.fate, aside.block.sequence.tolist()) == (Fate.UNKNOWN, [4])
    out = concentrator.step([rows([2], [0], columns=WIDE), rows([3], [0])], at(0))
    assert [block.device.tolist() for block in out.sets] == [[1, 3], [2]]


def test_joining_disturbs_nobody() -> None:
    concentrator = fresh()
    concentrator.step([rows([1, 2], [0, 0])], at(0))
    assert concentrator.join(np.array([0, 3, 5], np.int32), COLUMNS, stream=9) == []
    out = concentrator.step([rows([0, 3, 5], [0, 0, 0])], at(0))
    assert out.sets[0].device.tolist() == [1, 2, 3, 0, 5]
    assert not np.isnan(out.sets[0].values).any()
    assert concentrator.tally().stream.tolist() == [9, 7, 7, 9, 9]


def test_who_leaves_is_not_waited_for() -> None:
    concentrator = fresh()
    concentrator.step([rows([1, 3], [0, 0])], at(0))
    (aside,) = concentrator.leave(np.array([3], np.int32))
    assert aside.block.device.tolist() == [3]
    assert concentrator.step([], at(0)).sets == []
    assert instants(concentrator.step([rows([2], [0])], at(0))) == [0]


def test_latency_shows_a_wrong_clock() -> None:
    concentrator = fresh()
    for slot in range(10):
        concentrator.step(
            [rows([1], [slot], latency_ns=30 * MS), rows([2], [slot], latency_ns=-400 * MS)], at(slot, 40 * MS)
        )
    tally = concentrator.tally(forget_latency=True)
    assert tally.latency_mean_ns[:2].tolist() == [30 * MS, -400 * MS]
    assert tally.latency_min_ns[1] == tally.latency_max_ns[1] == -400 * MS
    assert np.isnan(tally.latency_mean_ns[2])
    assert np.isnan(concentrator.tally().latency_min_ns).all()


def test_a_wait_that_holds_too_much_is_refused() -> None:
    with pytest.raises(ValueError, match="slots"):
        Rules(GRID, wait_ns=3_600 * NS_PER_S)
    with pytest.raises(ValueError, match="below 0"):
        Rules(GRID, wait_ns=-1)


# --- two ways to count the fraction of a second -----------------------------------------------------------------------


def recording(name: str, first_device: int) -> list[Block]:
    """DATA of a recording, a block per shape of PMUs, received as its packets came; the clock of the recorder was five
    days off, so the quickest frame is said to have taken 10 ms."""
    blocks, sessions = [], {}
    for piece in pieces(segments(read_packets(capture(f"c37.118/{name}").read_bytes()))):
        session = sessions.setdefault(piece.flow, Session())
        for event in session.feed(piece.payload):
            if isinstance(event, Batch):
                count = len(event.layout.configuration.pmus)
                devices = np.arange(first_device, first_device + count, dtype=np.int32)
                blocks += event.layout.decode(event.frames, devices, piece.time_ns, ORIGIN)
    shapes = sorted({block.columns for block in blocks}, key=len)
    merged = [concatenate([block for block in blocks if block.columns == shape]) for shape in shapes]
    skew_ns = min(int((block.received_ns - block.time_ns).min()) for block in merged)
    return [replace(block, received_ns=block.received_ns - skew_ns + 10 * MS) for block in merged]


def made_of(time_base: int, device: int, ticks: int) -> list[Block]:
    """Blocks of a stream that stamps the grid in ticks of its own, through the bytes of its frames."""
    layout = DataLayout(replace(stream(15, pmus=1), time_base=time_base))
    shape = (ticks, 1)
    nothing = np.zeros(shape)
    frames = layout.encode(
        GRID.times_ns(FIRST + np.arange(ticks)),
        nothing.astype(np.uint16),
        np.ones((*shape, 2), complex),
        nothing + 50.0,
        nothing,
    )
    received_ns = layout.times_ns(b"".join(frames)) + 27 * MS
    return layout.decode(b"".join(frames), np.array([device], np.int32), received_ns, ORIGIN)


def align(blocks: list[Block]) -> tuple[Concentrator, list[Outcome]]:
    """Step by step in the order of arrival."""
    concentrator = Concentrator(Rules(GRID, wait_ns=250 * MS), ORIGIN)
    for stream_number, block in enumerate(blocks):
        concentrator.join(np.unique(block.device).astype(np.int32), block.columns, stream_number)
    parts = [block.take(slice(i, i + 1)) for block in blocks for i in range(len(block))]
    parts.sort(key=lambda part: int(part.received_ns[0]))
    outs = [concentrator.step([part], int(part.received_ns[0])) for part in parts]
    return concentrator, [*outs, concentrator.drain(int(parts[-1].received_ns[0]) + NS_PER_S)]


def test_streams_of_two_time_bases_align_without_loss() -> None:
    """0xFFFFFF and 1,000,000 ticks a second stamp one instant differently: 151 of 1,501 stamps are equal."""
    first, second = made_of(0xFFFFFF, 1, 1_501), made_of(1_000_000, 2, 1_501)
    assert len(set(first[0].time_ns.tolist()) & set(second[0].time_ns.tolist())) == 151
    concentrator, outs = align([*first, *second])
    assert sum(len(instants(out)) for out in outs) == 1_501
    assert concentrator.tally().completeness.tolist() == [1.0, 1.0]
    assert [aside for out in outs for aside in out.aside] == []


def test_real_recordings_of_two_time_bases_align() -> None:
    """The two recordings were made five minutes apart: the shorter one is moved by whole seconds into the longer."""
    (single,), four = recording("C37.118_1PMU_TCP.pcap", 1), recording("C37.118_4in1PMU_TCP.pcap", 10)
    seconds = int(four[0].time_ns[0]) // NS_PER_S - int(single.time_ns[0]) // NS_PER_S + 10
    moved_ns = single.time_ns + seconds * NS_PER_S
    single = replace(single, time_ns=moved_ns, received_ns=single.received_ns + seconds * NS_PER_S)
    assert len(set(moved_ns.tolist()) & set(four[0].time_ns.tolist())) == 25  # of 252
    concentrator, outs = align([single, *four])
    assert sum(len(instants(Outcome(out.sets[:1]))) for out in outs) == 1342  # the 252 fall onto the others'
    assert concentrator.tally().rows[Fate.ALIGNED].tolist() == [252, 1342, 1342, 1342, 1342]
    assert [aside for out in outs for aside in out.aside] == []


# --- nothing is lost, nothing is doubled ------------------------------------------------------------------------------


@st.composite
def traffic(draw: st.DrawFn) -> list[tuple[int, list[Block]]]:
    """Steps: when (in ms, mostly forwards), and blocks of rows numbered through."""
    number, now_ms, steps = 0, 0, []
    for _ in range(draw(st.integers(1, 12))):
        now_ms += draw(st.integers(-30, 150))
        blocks = []
        for _ in range(draw(st.integers(0, 3))):
            picks = draw(st.lists(st.tuples(st.integers(0, 6), st.integers(-12, 70)), min_size=1, max_size=8))
            wide = draw(st.booleans())
            blocks.append(
                rows(
                    [device for device, _ in picks],
                    [slot for _, slot in picks],
                    shift_ns=draw(st.sampled_from([0, 29, -29, 5 * MS])),
                    latency_ns=draw(st.integers(-50, 400)) * MS,
                    sequence=number,
                    quality=draw(st.sampled_from([0, BAD])),
                    value=draw(st.sampled_from([1.0, 2.0, np.nan])),
                    columns=WIDE if wide else COLUMNS,
                )
            )
            number += len(picks)
        steps.append((at(0, now_ms * MS), blocks))
    return steps


def pool(relative: bool) -> Concentrator:
    concentrator = Concentrator(Rules(GRID, wait_ns=60 * MS, ahead_ns=300 * MS, relative=relative), ORIGIN)
    concentrator.join(np.array([3, 1, 2], np.int32), COLUMNS, 1)
    concentrator.join(np.array([5, 4], np.int32), WIDE, 2)
    return concentrator


def told(outs: list[Outcome]) -> list[tuple[int, str]]:
    """Every row by its number, with its fate."""
    found = [(int(n), aside.fate.name) for out in outs for aside in out.aside for n in aside.block.sequence]
    return found + [(int(n), "ALIGNED") for out in outs for block in out.sets for n in block.sequence if n >= 0]


@settings(max_examples=150, deadline=None)
@given(traffic(), st.booleans(), st.integers(0, 12), st.integers(0, 12))
def test_every_row_comes_out_exactly_once(
    steps: list[tuple[int, list[Block]]], relative: bool, cut: int, changed: int
) -> None:
    plain, interrupted = pool(relative), pool(relative)
    outs, again = [], []
    for i, (now_ns, blocks) in enumerate(steps):
        if i == cut:  # as if the process had been replaced here
            saved, interrupted = interrupted.state(), pool(relative)
            interrupted.restore(saved)
        if i == changed:
            devices = np.array([2, 7], np.int32)
            outs.append(Outcome(aside=plain.join(devices, WIDE, 3)))
            again.append(Outcome(aside=interrupted.join(devices, WIDE, 3)))
        outs.append(plain.step(blocks, now_ns))
        again.append(interrupted.step(blocks, now_ns))
    outs.append(plain.drain(steps[-1][0]))
    again.append(interrupted.drain(steps[-1][0]))
    sent = sum(len(block) for _, blocks in steps for block in blocks)
    assert sorted(number for number, _ in told(outs)) == list(range(sent))
    assert told(outs) == told(again)
    slots = [instants(out) for out in outs if out.sets]
    flat = [slot for part in slots for slot in sorted(set(part))]
    assert flat == sorted(set(flat))  # each instant leaves once, in order
    tally, same = plain.tally(), interrupted.tally()
    assert np.array_equal(tally.rows, same.rows)
    assert np.all(tally.rows[Fate.ALIGNED] <= tally.expected)
    assert (plain.instants_empty, plain.sets_forced) == (interrupted.instants_empty, interrupted.sets_forced)


def test_absolute_waiting_never_forces_a_set_out() -> None:
    rng = np.random.default_rng(5)
    concentrator = pool(relative=False)
    for step in range(400):
        now_ns = at(step)
        slots = rng.integers(step - 3, step + 15, 6).tolist()
        concentrator.step([rows(rng.integers(1, 4, 6).tolist(), slots)], now_ns)
    assert concentrator.sets_forced == 0


# --- state ------------------------------------------------------------------------------------------------------------


def test_a_state_of_other_rules_or_a_broken_one_is_refused() -> None:
    concentrator = pool(relative=False)
    concentrator.step([rows([1, 2], [0, 0])], at(0))
    state = concentrator.state()
    with pytest.raises(DecodeError, match="rules"):
        fresh().restore(state)
    for name, array in state.items():
        for broken in (np.zeros((3, 3, 3)), array[..., :-1] if array.ndim and array.size else np.zeros(7)):
            with pytest.raises(DecodeError):
                pool(relative=False).restore(state | {name: broken})
        with pytest.raises(DecodeError):
            pool(relative=False).restore({key: value for key, value in state.items() if key != name})
    with pytest.raises(DecodeError):
        pool(relative=False).restore({})
