"""Promises of every detector: any cut, interrupted or not, silent on clean data, shares that sum to one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pytest

from analytics.detectors import DETECTORS
from analytics.fleet import build_fleet
from model.block import Block
from model.errors import DecodeError
from model.finding import Finding
from model.time import NS_PER_S
from norm.fleet import Fleet as Twins
from norm.scenario import parse_scenarios
from tests.analytics import streams

UNITS = 12
ATTACKS = "s01:5@25*0.7,s08:9@30*30"
every_detector = pytest.mark.parametrize("make", DETECTORS, ids=lambda make: make.__name__)


@pytest.fixture(scope="module")
def twins() -> Twins:
    return Twins(7, "DSO-0001", UNITS, parse_scenarios(ATTACKS, streams.START_NS, UNITS))


@pytest.fixture(scope="module")
def attacked(twins: Twins) -> list[Block]:
    """A minute with two attacks, a frozen meter, an idle PMU and a hole."""
    return [spoil(block) for block in streams.blocks(twins, 60) if not in_hole(block)]


def in_hole(block: Block) -> bool:
    second = (int(block.time_ns[0]) - streams.START_NS) // NS_PER_S
    return 40 <= second < 52


def spoil(block: Block) -> Block:
    values = block.values.copy()
    if "power_w" in block.columns:
        values[block.device == 1] = values[0] * 0 + 3.0
    else:
        idle = block.device == 4
        values[idle] = 0.0
        values[idle, 0] = 65.536
    return Block(
        block.schema, block.columns, block.origin, block.device, block.time_ns, block.received_ns,
        block.time_error_ns, block.sequence, block.quality, values,
    )  # fmt: skip


def found_by(detector: object, blocks: Iterable[Block]) -> list[Finding]:
    found = [finding for block in blocks for finding in detector.update(block)]  # type: ignore[attr-defined]
    return sorted(found, key=lambda f: str(f.finding_id))


def cut(blocks: Iterable[Block], seed: int) -> Iterator[Block]:
    """The same rows in the same order, cut elsewhere, down to single rows."""
    rng = np.random.default_rng(seed)
    for block in blocks:
        edges = np.sort(rng.integers(0, len(block) + 1, rng.integers(0, 6)))
        for begin, end in zip([0, *edges], [*edges, len(block)], strict=True):
            yield block.take(slice(int(begin), int(end)))


@every_detector
@pytest.mark.parametrize("seed", [1, 2])
def test_findings_do_not_depend_on_the_cut(make, twins, attacked, seed) -> None:
    fleet = streams.known_fleet(twins)
    whole = found_by(make(fleet), attacked)
    assert whole
    assert found_by(make(fleet), cut(attacked, seed)) == whole


@every_detector
@pytest.mark.parametrize("at", [1, 37, 60])
def test_a_restored_detector_goes_on_as_if_never_interrupted(make, twins, attacked, at) -> None:
    fleet = streams.known_fleet(twins)
    first, second = make(fleet), make(fleet)
    early = found_by(first, attacked[:at])
    second.restore(first.save())
    late = found_by(second, attacked[at:])
    whole = found_by(make(fleet), attacked)
    assert sorted(early + late, key=lambda f: str(f.finding_id)) == whole


@every_detector
def test_a_state_lives_on_when_devices_join(make, twins, attacked) -> None:
    found = streams.devices_of(twins)
    small, large = build_fleet(found[:-2]), build_fleet(found)
    first, second = make(small), make(large)
    early = found_by(first, attacked[:20])
    second.restore(first.save())
    ids = {f.finding_id for f in early + found_by(second, attacked[20:])}
    assert ids
    assert ids <= {f.finding_id for f in found_by(make(large), attacked)} | {f.finding_id for f in early}


@every_detector
@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"x" * 1000])
def test_a_broken_state_is_refused_and_changes_nothing(make, twins, attacked, data) -> None:
    fleet = streams.known_fleet(twins)
    detector = make(fleet)
    early = found_by(detector, attacked[:30])
    with pytest.raises(DecodeError):
        detector.restore(data)
    whole = found_by(make(fleet), attacked)
    assert sorted(early + found_by(detector, attacked[30:]), key=lambda f: str(f.finding_id)) == whole


@every_detector
def test_the_state_of_another_detector_is_refused(make, twins) -> None:
    fleet = streams.known_fleet(twins)
    for other in DETECTORS:
        if other is not make:
            with pytest.raises(DecodeError):
                make(fleet).restore(other(fleet).save())


@pytest.mark.parametrize("seed", [11, *(pytest.param(n, marks=pytest.mark.slow) for n in (12, 13))])
def test_clean_data_give_no_finding(seed) -> None:
    """Ten minutes of a fleet that is left alone, by all detectors."""
    twins = Twins(seed, "DSO-0001", UNITS)
    detectors = [make(streams.known_fleet(twins)) for make in DETECTORS]
    for block in streams.blocks(twins, 600):
        for detector in detectors:
            assert detector.update(block) == []


@every_detector
def test_every_finding_is_explained(make, twins, attacked) -> None:
    for finding in found_by(make(streams.known_fleet(twins)), attacked):
        assert sum(e.share for e in finding.evidence) == pytest.approx(1.0)
        assert all(e.lower <= e.expected <= e.upper for e in finding.evidence)
        assert any(not e.lower <= e.observed <= e.upper for e in finding.evidence)
        assert finding.score >= 1.0
        assert 0.5 <= finding.probability < 1.0
        assert finding.start <= finding.end
        assert finding.causes
        assert len(finding.explanation) > 40
        assert "nan" not in finding.explanation


@every_detector
def test_nothing_is_no_reason_to_fail(make, twins, attacked) -> None:
    assert make(build_fleet([])).update(attacked[0]) == []
    assert make(streams.known_fleet(twins)).update(attacked[0].take(slice(0, 0))) == []
    assert make(streams.known_fleet(twins)).update(attacked[1].take(slice(0, 0))) == []
