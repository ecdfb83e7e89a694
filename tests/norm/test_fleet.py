"""The twin: one waveform behind meter and PMU, the same bits for a seed, attacks only where they were put."""

from __future__ import annotations

import json

import numpy as np
import pytest

from model.block import METER_COLUMNS
from model.device import DeviceKind, Provenance
from model.errors import SetupError
from model.time import NS_PER_S
from norm.fleet import Fleet, MeterSamples
from norm.inventory import inventory
from norm.pmu import PmuFrames
from norm.scenario import ground_truth, parse_scenarios

START_NS = 1_795_430_700 * NS_PER_S  # 2026-11-23 10:45:00 UTC
UNITS = 12
POWER = METER_COLUMNS.index("power_w")


def fleet(scenario: str = "", seed: int = 1, site: str = "DSO-0001") -> Fleet:
    return Fleet(seed, site, UNITS, parse_scenarios(scenario, START_NS, UNITS))


def frame_times(first_s: float, seconds: int, rate: int = 10) -> np.ndarray:
    return START_NS + int(first_s * NS_PER_S) + np.arange(seconds * rate) * (NS_PER_S // rate)


def pmu_power_w(frames: PmuFrames) -> np.ndarray:
    return (frames.phasors[..., :3] * np.conj(frames.phasors[..., 3:])).sum(axis=2).real


def net_wh(samples: MeterSamples) -> np.ndarray:
    return samples.values[:, 0] - samples.values[:, 1]


def test_one_seed_gives_bit_identical_streams_even_after_a_restart() -> None:
    once, again = fleet("s01,s08"), fleet("s01,s08")
    for second in (0, 2, 900, 3_600):  # the first one walks, the second one is started late
        once.meter_samples(START_NS + second * NS_PER_S)
    late = START_NS + 3_600 * NS_PER_S
    assert once.meter_samples(late).values.tobytes() == again.meter_samples(late).values.tobytes()
    assert once.meter_samples(late).time_ns.tobytes() == again.meter_samples(late).time_ns.tobytes()
    one, two = once.pmu_frames(frame_times(3_600, 2)), again.pmu_frames(frame_times(3_600, 2))
    for name in ("phasors", "frequency_hz", "rocof_hz_per_s", "stat"):
        assert getattr(one, name).tobytes() == getattr(two, name).tobytes()
    assert fleet(seed=2).meter_samples(late).values.tobytes() != again.meter_samples(late).values.tobytes()


def test_register_is_the_integral_of_power_within_a_hundredth_of_a_percent() -> None:
    subject = fleet()
    seconds = np.arange(6 * 3_600)
    first = START_NS // NS_PER_S
    power_ws = sum(subject.power_va(int(first + s)).real.sum(axis=1) for s in seconds)
    begin, end = (np.subtract(*subject.true_energies_wh(START_NS + t * NS_PER_S)) for t in (0, len(seconds)))
    consumed = subject.true_energies_wh(START_NS + len(seconds) * NS_PER_S)[0] - subject.true_energies_wh(START_NS)[0]
    assert np.all(np.abs((end - begin) - power_ws / 3_600.0) <= 1e-4 * consumed)


def test_reported_registers_rise_in_steps_and_follow_the_reported_power() -> None:
    subject = fleet()
    readings = [subject.meter_samples(START_NS + s * NS_PER_S) for s in range(0, 1_800, 2)]
    registers = np.array([r.values[:, :2] for r in readings])
    assert np.all(np.diff(registers, axis=0) >= 0.0)
    np.testing.assert_allclose(registers * 10, np.round(registers * 10), atol=1e-6 * registers.max())
    mean_w = np.mean([r.values[:, POWER] for r in readings], axis=0)
    gained = net_wh(subject.meter_samples(START_NS + 1_800 * NS_PER_S)) - net_wh(readings[0])
    np.testing.assert_allclose(gained, mean_w / 2.0, atol=0.2 + 0.02 * np.abs(mean_w).max() / 2.0)


def test_meter_and_pmu_agree_within_their_error_budget_when_nobody_attacks() -> None:
    subject = fleet()
    for second in range(0, 120, 8):
        meter = subject.meter_samples(START_NS + second * NS_PER_S).values
        frames = subject.pmu_frames(frame_times(second, 1))
        voltage, current = np.abs(frames.phasors[..., :3]).mean(axis=0), np.abs(frames.phasors[..., 3:]).mean(axis=0)
        np.testing.assert_allclose(meter[:, 4:7], voltage, rtol=0.006)
        np.testing.assert_allclose(meter[:, 7:10], current, rtol=0.008, atol=0.001)
        # Gains of both (0.5 %, 2 x 0.2 %), noise, and 0.2 degrees between U and I acting on the reactive part.
        apparent = (voltage * current).sum(axis=1)
        assert np.all(np.abs(meter[:, POWER] - pmu_power_w(frames).mean(axis=0)) <= 0.014 * apparent + 0.1)
        np.testing.assert_allclose(meter[:, 10], frames.frequency_hz.mean(axis=0), atol=0.004)


def test_frequency_rocof_and_phase_belong_to_one_another_and_to_all_sites() -> None:
    north, south = fleet(), fleet(site="DSO-0002")
    times = frame_times(0, 600, 50)
    frequency = north.area.frequency_hz(times)
    np.testing.assert_array_equal(frequency, south.area.frequency_hz(times))
    turned = np.gradient(north.area.phase_rad(times), 0.02) / (2 * np.pi)
    np.testing.assert_allclose(turned[1:-1], (frequency - 50.0)[1:-1], atol=1e-6)
    slope = np.gradient(frequency, 0.02)
    np.testing.assert_allclose(slope[1:-1], north.area.rocof_hz_per_s(times)[1:-1], atol=1e-6)
    assert 0.0005 < frequency.std() < 0.05
    assert np.abs(frequency - 50.0).max() < 0.1


def test_s01_changes_exactly_the_targeted_units_ratio() -> None:
    clean, attacked = fleet(), fleet("s01:5@30*0.6")
    for second in (0, 28, 30, 60, 600):
        truth = clean.meter_samples(START_NS + second * NS_PER_S).values
        told = attacked.meter_samples(START_NS + second * NS_PER_S).values
        factor = 0.6 if second >= 30 else 1.0
        assert told[4, POWER] == pytest.approx(factor * truth[4, POWER], abs=0.11)
        np.testing.assert_array_equal(np.delete(told, 4, axis=0), np.delete(truth, 4, axis=0))
        np.testing.assert_array_equal(told[4, 3:], truth[4, 3:])  # all but energies and power
    at_start = clean.meter_samples(START_NS + 30 * NS_PER_S).values[4, :2]
    np.testing.assert_allclose(told[4, :2] - at_start, 0.6 * (truth[4, :2] - at_start), atol=0.2)
    assert truth[4, 0] - told[4, 0] > 1.0
    frames = (clean.pmu_frames(frame_times(60, 1)), attacked.pmu_frames(frame_times(60, 1)))
    np.testing.assert_array_equal(frames[0].phasors, frames[1].phasors)


def test_consistent_s01_forges_currents_and_reactive_power_alike() -> None:
    clean, attacked = fleet(), fleet("s01-consistent:5@0*0.8")
    truth, told = (f.meter_samples(START_NS + 60 * NS_PER_S).values[4] for f in (clean, attacked))
    np.testing.assert_allclose(told[[2, 3, 7, 8, 9]], 0.8 * truth[[2, 3, 7, 8, 9]], atol=0.11)
    np.testing.assert_array_equal(told[[4, 5, 6, 10]], truth[[4, 5, 6, 10]])


def test_s08_turns_only_the_targeted_pmu_by_two_pi_f_t() -> None:
    clean, attacked = fleet(), fleet("s08:9@10*30")
    times = frame_times(0, 60)
    truth, told = clean.pmu_frames(times), attacked.pmu_frames(times)
    others = np.delete(np.arange(UNITS), 8)
    np.testing.assert_array_equal(told.phasors[:, others], truth.phasors[:, others])
    np.testing.assert_allclose(np.abs(told.phasors), np.abs(truth.phasors), rtol=1e-12)
    np.testing.assert_allclose(pmu_power_w(told), pmu_power_w(truth), rtol=1e-9, atol=1e-6)
    turn = np.angle(told.phasors[:, 8] / truth.phasors[:, 8])
    elapsed = np.maximum((times - START_NS) / NS_PER_S - 10.0, 0.0)
    expected = -2 * np.pi * clean.area.frequency_hz(times) * 30e-6 * elapsed
    np.testing.assert_allclose(turn, np.repeat(expected[:, None], 6, axis=1), atol=1e-9)
    slope = np.polyfit(elapsed[100:], turn[100:, 0], 1)[0]
    assert slope == pytest.approx(-2 * np.pi * 50 * 30e-6, rel=1e-3)
    lower = truth.frequency_hz[:, 8] - told.frequency_hz[:, 8]
    np.testing.assert_allclose(lower[101:], 50.0 * 30e-6, rtol=1e-6)
    assert np.all(told.stat == truth.stat)  # the spoofed clock believes itself
    np.testing.assert_array_equal(
        clean.meter_samples(START_NS + 50 * NS_PER_S).values, attacked.meter_samples(START_NS + 50 * NS_PER_S).values
    )


def test_s08_step_is_one_jump() -> None:
    clean, attacked = fleet(), fleet("s08-step:2@5*500")
    times = frame_times(0, 10)
    turn = np.angle(attacked.pmu_frames(times).phasors[:, 1, 0] / clean.pmu_frames(times).phasors[:, 1, 0])
    np.testing.assert_allclose(turn[:50], 0.0, atol=1e-12)
    np.testing.assert_allclose(turn[50:], -2 * np.pi * 50 * 500e-6, rtol=1e-2)


def test_benign_twins_change_the_grid_and_both_instruments_alike() -> None:
    clean = fleet()
    dropped = fleet("twin-load-drop:7@0*0.5")
    second = START_NS + 60 * NS_PER_S
    truth, told = clean.meter_samples(second).values[6, POWER], dropped.meter_samples(second).values[6, POWER]
    generation = clean.population.pv_w[6]
    assert generation == 0.0
    assert told == pytest.approx(truth * 0.5, rel=0.001)
    assert pmu_power_w(dropped.pmu_frames(frame_times(60, 1)))[:, 6].mean() == pytest.approx(told, rel=0.014)
    gained = [
        np.subtract(*f.true_energies_wh(second)) - np.subtract(*f.true_energies_wh(START_NS)) for f in (clean, dropped)
    ]
    assert gained[1][6] == pytest.approx(gained[0][6] * 0.5, rel=1e-6)

    turned = fleet("twin-angle@30*-0.5")
    times = frame_times(20, 20)
    turn = np.angle(turned.pmu_frames(times).phasors / clean.pmu_frames(times).phasors)
    np.testing.assert_allclose(turn[:100], 0.0, atol=1e-12)
    np.testing.assert_allclose(turn[100:], np.deg2rad(-0.5), atol=1e-9)  # every PMU, every channel


def test_ground_truth_names_unit_point_start_and_controls() -> None:
    subject = fleet("s01:5@25*0.6,twin-angle@40")
    truth = json.loads(ground_truth(subject.site, subject.seed, subject.names, subject.injections))
    first, second = truth["injections"]
    assert truth["simulated"] is True
    assert first["units"] == ["norm-0005"]
    assert (first["scenario"], first["injection_point"], first["start"]) == (
        "S01", "smart part", "2026-11-23T10:45:25.000Z",
    )  # fmt: skip
    assert second["benign_twin"] is True
    assert second["expected_verdict"] == "none"
    assert truth["untouched_controls"] == []
    alone = fleet("s01:5")
    controls = json.loads(ground_truth("DSO-0001", 1, alone.names, alone.injections))["untouched_controls"]
    assert len(controls) == UNITS - 1
    assert "norm-0005" not in controls


@pytest.mark.parametrize("text", ["s99", "s01:13", "s01:0", "s01@x", "s01*1.5", "s01@1.2.3", "s01:5:6"])
def test_a_wrong_scenario_says_what_is_wrong(text: str) -> None:
    with pytest.raises(SetupError, match=text.split("*")[0].split(":")[0]):
        parse_scenarios(text, START_NS, UNITS)


def test_inventory_pairs_meter_and_pmu_and_says_simulated() -> None:
    devices = inventory(fleet())
    assert len({device.name for device in devices}) == 2 * UNITS
    for meter, pmu in zip(devices[::2], devices[1::2], strict=True):
        assert (meter.kind, pmu.kind) == (DeviceKind.METER, DeviceKind.PMU)
        assert meter.unit == pmu.unit
        assert {meter.provenance, pmu.provenance} == {Provenance.SIMULATED}
        assert meter.name == f"urn:dev:norm:{meter.unit}:meter"
        assert pmu.name.startswith("pmu:1")
        assert pmu.name.endswith(pmu.unit)
        assert [c.unit for c in pmu.channels] == ["V"] * 3 + ["A"] * 3
    assert {device.feeder for device in devices} == {"LV-R", "LV-C"}
    assert len({device.gateway for device in devices}) == 2
