"""Data quality: one table of causes, one finding until it clears, and the idle PMUs of a real recording."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from analytics.detectors.quality import DataQuality
from analytics.fleet import build_fleet
from model.block import METER_COLUMNS, Block, Origin, Quality, Schema, phasor_columns
from model.device import Channel, ChannelKind, Device, DeviceKind, Protocol, Provenance
from model.finding import Finding
from model.time import NS_PER_S

METER = Device(1, "meter-1", DeviceKind.METER, Protocol.SENML_MQTT, "DSO-0001", Provenance.MEASURED)
PMU = Device(
    2, "pmu-2", DeviceKind.PMU, Protocol.C37_118, "DSO-0001", Provenance.MEASURED,
    channels=(Channel("VA", ChannelKind.VOLTAGE), Channel("IA", ChannelKind.CURRENT)),
)  # fmt: skip
START_NS = 1_700_000_000 * NS_PER_S
ORIGIN = Origin("test", "test", Provenance.MEASURED)


def block_of(device: Device, values: np.ndarray, period_s: float, quality: int = 0) -> Block:
    n = len(values)
    time_ns = START_NS + (np.arange(n) * period_s * NS_PER_S).astype(np.int64)
    schema = Schema.METER if device.kind is DeviceKind.METER else Schema.PHASOR
    columns = METER_COLUMNS if schema is Schema.METER else phasor_columns(2)
    zeros = np.zeros(n, np.int64)
    ids = np.full(n, device.index, np.int32)
    return Block(
        schema, columns, ORIGIN, ids, time_ns, time_ns, zeros, zeros, np.full(n, quality, np.uint32), values
    )  # fmt: skip


def meter(n: int = 60) -> Block:
    rng, t = np.random.default_rng(1), np.arange(n)
    base = np.column_stack([1000.0 + t, 0 * t, *[np.full(n, x) for x in (1800, 60, 230, 231, 229, 3, 3, 2, 50.0)]])
    base[:, 2:] *= 1 + 1e-3 * rng.standard_normal((n, 9))
    return block_of(METER, base, 2.0)


def pmu(n: int = 200) -> Block:
    rng = np.random.default_rng(2)
    base = np.tile(np.array([50.0, 0.0, 230.0, 0.3, 5.0, 0.2]), (n, 1))
    return block_of(PMU, base * (1 + 1e-3 * rng.standard_normal((n, 6))), 0.02)


def found_in(*blocks: Block) -> list[Finding]:
    detector = DataQuality(build_fleet([METER, PMU]))
    return [f for block in blocks for f in detector.update(block)]


def changed(block: Block, column: str, rows: slice, value: float) -> Block:
    values = block.values.copy()
    values[rows, block.columns.index(column)] = value
    return replace(block, values=values)


def frozen(block: Block, first: int, last: int) -> Block:
    values = block.values.copy()
    values[first:last, 2:] = values[first, 2:]
    return replace(block, values=values)


def moved(block: Block, first: int, seconds: float) -> Block:
    times = block.time_ns.copy()
    times[first:] += round(seconds * NS_PER_S)
    return replace(block, time_ns=times, received_ns=times)


def marked(block: Block, bits: int) -> Block:
    return replace(block, quality=np.full(len(block), bits, np.uint32))


CASES = {
    "clean meter": (meter(), None),
    "clean pmu": (pmu(), None),
    "frozen meter": (frozen(meter(), 10, 30), "repeats itself"),
    "shortly equal": (frozen(meter(), 10, 18), None),
    "frozen pmu": (frozen(pmu(), 20, 120), "repeats itself"),
    "no voltage at one phase": (changed(meter(), "voltage_l2_v", slice(20, 30), 2.0), "almost no voltage"),
    "voltage not measured": (changed(meter(), "voltage_l2_v", slice(0, 60), np.nan), None),
    "frequency": (changed(meter(), "frequency_hz", slice(20, 30), 12.0), "implausible frequency"),
    "register backwards": (changed(meter(), "energy_import_wh", slice(40, 60), 3.0), "went backwards"),
    "register steady": (changed(meter(), "energy_import_wh", slice(0, 60), 3.0), None),
    "gap": (moved(meter(), 40, 60), "silent"),
    "short gap": (moved(meter(), 40, 5), None),
    "pmu error": (marked(pmu(), 0x4000), "not usable"),
    "pmu not in sync": (marked(pmu(), 0x2000), "not synchronised"),
    "pmu trigger bit": (marked(pmu(), 0x0800), None),
    "meter is no pmu": (marked(meter(), 0x6000), None),
    "stamps": (marked(meter(), Quality.OUT_OF_WINDOW), "impossible times"),
    "idle pmu": (
        changed(changed(pmu(), "magnitude_0", slice(0, 200), 0.0), "frequency_hz", slice(0, 200), 65.536),
        "is idle",
    ),
}


@pytest.mark.parametrize(("block", "title"), CASES.values(), ids=CASES.keys())
def test_cause(block: Block, title: str | None) -> None:
    found = found_in(block)
    assert [title in f.title for f in found] == ([True] if title else []), [f.title for f in found]


def test_an_idle_pmu_is_explained_by_its_wrapped_frequency() -> None:
    (found,) = found_in(CASES["idle pmu"][0])
    assert "65.536 Hz" in found.explanation
    assert "wrapped -50 Hz" in found.explanation
    assert "idle input" in found.explanation
    assert "0x0000" in found.explanation
    assert {e.signal for e in found.evidence} == {"frequency_hz", "voltage_v"}


def test_sent_again_is_a_repeated_time_and_nothing_else() -> None:
    block = meter()
    (found,) = found_in(block, block.take(slice(59, 60)), block.take(slice(59, 60)), block.take(slice(59, 60)))
    assert "repeats time stamps" in found.title


def test_late_rows_are_neither_gap_nor_backwards() -> None:
    block = meter()
    order = np.r_[0:30, 34:60, 30:34]
    assert found_in(block.take(order)) == []


def test_one_finding_until_it_clears_then_another() -> None:
    block = frozen(frozen(meter(120), 10, 40), 80, 110)
    first, second = found_in(block)
    assert first.finding_id != second.finding_id
    assert first.end < second.start


def test_a_replay_keeps_its_recorded_times_on_purpose() -> None:
    block = marked(meter(), Quality.OUT_OF_WINDOW)
    assert found_in(replace(block, origin=replace(ORIGIN, provenance=Provenance.REPLAYED))) == []


def test_strangers_are_passed_over() -> None:
    block = meter()
    assert found_in(replace(frozen(block, 0, 60), device=np.full(60, 99, np.int32))) == []
    assert found_in(replace(frozen(block, 0, 60), device=np.full(60, 0, np.int32))) == []
