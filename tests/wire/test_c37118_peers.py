"""Frames of others: the examples of the standard byte for byte, and pyc37's both ways where it is right.

pyc37 reads integer FREQ only, and STAT only where bits 8-4 are clear; those frames it gets.
"""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest

from model.block import Block, Origin
from model.device import Provenance
from tests.wire.material import START_NS
from wire.c37118.configuration import (
    Analog,
    Configuration,
    DigitalWord,
    Format,
    Phasor,
    Pmu,
    decode_configuration,
    encode_cfg2,
)
from wire.c37118.data import DataLayout
from wire.c37118.frames import parse_frame
from wire.c37118.messages import CommandCode, decode_command, decode_header, encode_command, encode_header
from wire.c37118.status import TimeQuality, read_time_quality

ORIGIN = Origin("c37.118", "test", Provenance.SIMULATED)
ONE = np.zeros(1, np.int32)

# Annex D of IEEE C37.118.2-2011: two PMUs would repeat the block; this is the example of one.
ANNEX_DATA = bytes.fromhex(
    "aa0100341e3644853600000041b10000392b0000e36ace7ce36a31830444000009c4000042c80000447a0000461c40003c12d43f"
)
ANNEX_HEADER = bytes.fromhex("aa1100271e36448560300f0bbfd048656c6c6f2049276d20486561646572204672616d652e17cc")
ANNEX_COMMAND = bytes.fromhex("aa4100121e36448560300f0bbfd00002ce00")
ANNEX_CFG2_HEAD = bytes.fromhex(
    "aa3101c61e36448527f056071098000f4240000153746174696f6e2041202020202020201e360004000400030001"
)
ANNEX_CFG2_TAIL = bytes.fromhex("000df847000df847000df8470100b2d00000000101000001020000010000ffff00000016001ed5d1")
ANNEX_NS = 1_149_577_200_463_000_000
ANNEX_QUALITY = TimeQuality(code=6, leap_pending=True, leap_deletes=True)
BREAKERS = tuple(f"BREAKER {letter} STATUS" for letter in "123456789ABCDEFG")
ANNEX = Configuration(
    7734,
    1_000_000,
    (
        Pmu(
            "Station A",
            7734,
            Format.FLOAT_ANALOGS,
            (*(Phasor(name, False, 915_527) for name in ("VA", "VB", "VC")), Phasor("I1", True, 45_776)),
            (Analog("ANALOG1", 0, 1), Analog("ANALOG2", 1, 1), Analog("ANALOG3", 2, 1)),
            (DigitalWord(BREAKERS, 0x0000, 0xFFFF),),
            60,
            22,
        ),
    ),
    30,
    version=1,
)


def test_configuration_of_the_standard_byte_for_byte() -> None:
    data = encode_cfg2(ANNEX, ANNEX_NS, time_quality=ANNEX_QUALITY.byte)
    assert data[: len(ANNEX_CFG2_HEAD)] == ANNEX_CFG2_HEAD
    assert data[-len(ANNEX_CFG2_TAIL) :] == ANNEX_CFG2_TAIL  # its CHK holds for all names between
    frame = parse_frame(data)
    assert decode_configuration(frame) == ANNEX
    assert read_time_quality(frame.time_quality) == ANNEX_QUALITY


def test_data_of_the_standard_both_ways() -> None:
    layout = DataLayout(ANNEX)
    (block,) = layout.decode(ANNEX_DATA, ONE, 0, ORIGIN)
    kilovolts, degrees = block.values[0, 2:10:2] / 1_000, np.degrees(block.values[0, 3:11:2])
    assert kilovolts.tolist() == pytest.approx([133.99, 134.0, 134.0, 0.49987], abs=0.01)
    assert degrees.tolist() == pytest.approx([0, -120, 120, 0], abs=0.01)
    assert block.values[0, [0, 1, 10, 11, 12, 13]].tolist() == [62.5, 0.0, 100.0, 1_000.0, 10_000.0, 0x3C12]
    assert block.time_ns[0] == 1_149_580_800_016_817_000
    phasors = block.values[:, None, 2:10:2] * np.exp(1j * block.values[:, None, 3:11:2])
    again = layout.encode(
        block.time_ns,
        np.zeros((1, 1), np.uint16),
        phasors,
        block.values[:, :1],
        block.values[:, 1:2],
        analogs=block.values[:, None, 10:13],
        digitals=block.values[:, None, 13:].astype(np.uint16),
    )
    assert again == [ANNEX_DATA]


def test_header_and_command_of_the_standard_byte_for_byte() -> None:
    time_ns = 1_149_591_600_770_000_000
    assert encode_header(7734, "Hello I'm Header Frame.", time_ns, 1, 0x0F) == ANNEX_HEADER
    assert encode_command(7734, CommandCode.ON, time_ns, version=1, time_quality=0x0F) == ANNEX_COMMAND
    assert decode_header(parse_frame(ANNEX_HEADER)) == "Hello I'm Header Frame."
    assert decode_command(parse_frame(ANNEX_COMMAND)).name == "ON"


@pytest.fixture(scope="module")
def pyc37() -> ModuleType:
    return pytest.importorskip("pyc37.frame", reason="pyc37 is not installed: the peer that reads and writes frames")


def layout_of(form: int) -> DataLayout:
    phasors = (Phasor("VA", False, 1_000), Phasor("IA", True, 2_000))
    pmu = Pmu("peer", 7, Format(form), phasors, (Analog("level", 1, 1),), (DigitalWord(("",) * 16),))
    return DataLayout(Configuration(7, 1_000_000, (pmu,), 50, version=1))


def values_of(theirs: dict[str, object]) -> list[float]:
    (measured,) = theirs["measurements"]
    phasors = [float(number) for pair in measured["phasors"] for number in pair]
    return [float(measured["frequency"]), *phasors, *map(float, measured["analog"]), *map(float, measured["digital"])]


def ours_of(block: Block) -> list[float]:
    row = block.values[0]
    return [row[0], *row[2:6], row[6], row[7]]


@pytest.mark.parametrize("form", [0, 2, 3, 4, 6, 7])  # an integer polar angle it multiplies by PHUNIT
def test_pyc37_reads_what_we_write(pyc37: ModuleType, form: int) -> None:
    layout = layout_of(form)
    shape = (1, 1)
    (frame,) = layout.encode(
        np.array([START_NS + 20_000_000]),
        np.zeros(shape, np.uint16),
        np.array([[[230.0 * np.exp(0.5j), 12.0 * np.exp(-2j)]]]),
        np.full(shape, 50.02),
        np.zeros(shape),
        analogs=np.full((*shape, 1), 17.0),
        digitals=np.full((*shape, 1), 0x55AA, np.uint16),
    )
    configuration = pyc37.ConfigFrame2.convert2frame(encode_cfg2(layout.configuration, START_NS))
    theirs = pyc37.DataFrame.convert2frame(frame, configuration).get_measurements()
    (block,) = layout.decode(frame, ONE, 0, ORIGIN)
    assert values_of(theirs) == pytest.approx(ours_of(block), rel=1e-5)
    assert theirs["time"] == pytest.approx(START_NS / 1e9 + 0.02)


def test_we_read_what_pyc37_writes(pyc37: ModuleType) -> None:
    configuration = pyc37.ConfigFrame2(
        7, 1_000_000, 1, "peer", 7, (False, True, False, False), 2, 1, 1,
        ["VA", "IA", "level", *[f"bit {k}" for k in range(16)]],
        [(1_000, "v"), (2_000, "i")], [(3, "rms")], [(0x0000, 0xFFFF)], 50, 22, 50,
    )  # fmt: skip
    ours = decode_configuration(parse_frame(configuration.convert2bytes()))
    assert ours.pmus[0].phasors == (Phasor("VA", False, 1_000), Phasor("IA", True, 2_000))
    assert ours.pmus[0].analogs == (Analog("level", 1, 3),)
    status = ("ok", True, "timestamp", False, False, False, 0, "<10", 0)
    frame = pyc37.DataFrame(
        7, status, [(3.0, 4.0), (0.0, -2.0)], 20, 0, [5], [0x55AA], configuration, START_NS // 10**9, 20_000
    )
    (block,) = DataLayout(ours).decode(parse_frame(frame.convert2bytes()).data, ONE, 0, ORIGIN)
    assert block.values[0].tolist() == pytest.approx([50.02, 0.0, 5.0, 0.927295, 2.0, -np.pi / 2, 15.0, 0x55AA])
    assert block.time_ns[0] == START_NS + 20_000_000
