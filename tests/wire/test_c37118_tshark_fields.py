"""tshark prints every field of our CFG-2, CFG-3 and DATA as we meant it, for every FORMAT."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from smc.gateway.decode import decode_file
from tests.wire.material import START_NS, scaled_stream, tshark_data, tshark_text, udp_pcap
from tests.wire.test_c37118_tshark import assert_same
from tests.wire.tshark_words import configuration_words, status_words, time_quality_words
from wire.c37118.configuration import (
    Analog,
    AnalogScale,
    Configuration,
    Modification,
    Phasor,
    encode_cfg2,
)
from wire.c37118.configuration3 import encode_cfg3
from wire.c37118.data import DataLayout
from wire.c37118.status import Status, TimeQuality, read_status, read_time_quality

FORMATS = range(16)
HALF_DIGIT = 0.000_51


def long_stream(form: int) -> Configuration:
    """A CFG-3 that tshark reads as we do: ASCII names, positive scales, none for floats (it does not scale them)."""
    configuration = scaled_stream(form, 2)
    pmus = []
    for pmu in configuration.pmus:
        flags = Modification(0x87FE if form % 2 else 0x0210)
        phasors = tuple(
            Phasor(p.name, p.current, scale=replace(p.scale, factor=1.0, turn_rad=0.0, modified=flags))
            if form & 2
            else replace(p, scale=replace(p.scale, factor=abs(p.scale.factor)))
            for p in pmu.phasors
            if p.scale
        )
        analogs = tuple(replace(a, scale=AnalogScale()) if form & 4 else a for a in pmu.analogs)
        pmus.append(replace(pmu, station=pmu.station.replace("ö", "oe"), phasors=phasors, analogs=analogs))
    return replace(configuration, pmus=tuple(pmus), data_rate=50 if form % 2 else -3)


def short_stream(form: int) -> Configuration:
    """A CFG-2 with three phasors, analogs of the three kinds, and a digital word."""
    configuration = long_stream(form)
    pmus = tuple(
        replace(
            pmu,
            phasors=tuple(Phasor(p.name, p.current, 25_000 + i) for i, p in enumerate(pmu.phasors)),
            analogs=tuple(Analog(f"analog {kind}", kind, factor) for kind, factor in ((0, -3), (1, 1), (2, 8_388_607))),
            details=None,
        )
        for pmu in configuration.pmus
    )
    return replace(configuration, pmus=pmus, time_base=1_000_000)


def frames_of(configuration: Configuration, seed: int) -> list[bytes]:
    rng = np.random.default_rng(seed)
    shape = (3, len(configuration.pmus))
    analogs = len(configuration.pmus[0].analogs)
    nominal = np.array([pmu.nominal_hz for pmu in configuration.pmus])
    return DataLayout(configuration).encode(
        START_NS + np.arange(3) * 20_000_000,
        rng.integers(0, 0x1_0000, shape, np.uint16),
        rng.uniform(20, 4_000, (*shape, 3)) * np.exp(1j * rng.uniform(-3.1, 3.1, (*shape, 3))),
        nominal + rng.normal(0, 0.05, shape),
        rng.normal(0, 0.4, shape),
        analogs=rng.uniform(-30, 30, (*shape, analogs)),
        digitals=rng.integers(0, 0x1_0000, (*shape, 1), np.uint16),
        time_quality=rng.integers(0, 0x80, 3, np.uint8),
    )


def recorded(path: Path, long: bool) -> list[str]:
    """A recording of all FORMATs, each from a host of its own, and tshark's words for it, frame by frame."""
    payloads, senders = [], []
    for form in FORMATS:
        configuration = long_stream(form) if long else short_stream(form)
        told = encode_cfg3(configuration, START_NS) if long else [encode_cfg2(configuration, START_NS)]
        frames = [*told, *frames_of(configuration, form)]
        payloads += frames
        senders += [form + 1] * len(frames)
    path.write_bytes(udp_pcap(payloads, senders=senders))
    return tshark_text(path).split("Synchrophasor Protocol, ")[1:]


@pytest.fixture(scope="module", params=[False, True], ids=["CFG-2", "CFG-3"])
def seen(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[bool, Path, list[str]]:
    path = tmp_path_factory.mktemp("tshark") / "all.pcap"
    return request.param, path, recorded(path, request.param)


def under(text: str, title: str, end: str) -> list[str]:
    lines = [line.strip() for line in text.splitlines()]
    start = next(i for i, line in enumerate(lines) if line.startswith(title))
    stop = next(i for i, line in enumerate(lines) if line.startswith(end))
    return lines[start + 1 : stop]


def test_every_field_of_the_configuration(seen: tuple[bool, Path, list[str]]) -> None:
    long, _, frames = seen
    told = [frame for frame in frames if frame.startswith("Configuration")]
    assert len(told) == len(FORMATS)
    for form, frame in zip(FORMATS, told, strict=True):
        configuration = long_stream(form) if long else short_stream(form)
        assert f"Configuration Frame {3 if long else 2}" in frame
        assert under(frame, "Configuration data", "Checksum") == configuration_words(configuration, long)
        assert "[Checksum Status: Good]" in frame


def test_every_field_of_the_data(seen: tuple[bool, Path, list[str]]) -> None:
    long, path, frames = seen
    out = io.StringIO()
    assert decode_file(path, out) == 0
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    ours = [line for line in lines if line.get("kind") == "data"]
    theirs = tshark_data("".join(f"Synchrophasor Protocol, {frame}" for frame in frames))
    assert len(ours) == len(theirs) == 3 * len(FORMATS)
    for frame, printed in zip(ours, theirs, strict=True):
        for pmu, pmu_printed in zip(frame["pmus"], printed, strict=True):
            assert_same(pmu, pmu_printed)
            if long:
                told = [float(text) for text in pmu_printed.analogs]
                assert [a["value"] for a in pmu["analogs"]] == pytest.approx(told, abs=HALF_DIGIT)


def test_every_bit_of_stat_and_time_quality(seen: tuple[bool, Path, list[str]]) -> None:
    long, _, frames = seen
    data = [frame for frame in frames if frame.startswith("Data Frame")]
    for form in FORMATS:
        configuration = long_stream(form) if long else short_stream(form)
        layout = DataLayout(configuration)
        sent = frames_of(configuration, form)
        stats = layout.stats(b"".join(sent))
        for i, frame in enumerate(sent):
            printed = [line.strip() for line in data[3 * form + i].splitlines()]
            assert set(time_quality_words(read_time_quality(frame[10]))) < set(printed)
            stat_lines = [line for line in printed if " = " in line and not line.startswith("[")]
            for k, stat in enumerate(stats[i].tolist()):
                first = next(j for j, line in enumerate(stat_lines) if "Data error" in line)
                assert stat_lines[first : first + 9] == status_words(read_status(stat)), k
                del stat_lines[: first + 9]


@pytest.mark.parametrize("word", [0, 0xFFFF, 0x21F0, 0x8000, 0x0C05, *(1 << i for i in range(16))])
def test_stat_by_its_parts_and_back(word: int) -> None:
    assert read_status(word).word == word


def test_all_words_and_bytes_have_a_meaning() -> None:
    assert [read_status(word).word for word in range(0x1_0000)] == list(range(0x1_0000))
    assert [read_time_quality(byte).byte for byte in range(0x80)] == list(range(0x80))
    assert read_status(0).names == ()
    assert read_status(0x8000).names == ("absent",)
    assert read_status(0x0803).names == ("trigger_angle_difference",)
    assert read_status(0x080F).names == ("trigger_user_15",)
    assert Status(in_sync=False).word == 0x2000
    assert TimeQuality(leap_pending=True).byte == 0x10
    assert (TimeQuality(0).error_ns, TimeQuality(11).error_ns, TimeQuality(15).error_ns) == (0, 10**10, -1)
