"""Recorded traffic (from SMC_TEST_DATA, else ../shared/data), made-up streams, and tshark's opinion."""

from __future__ import annotations

import os
import re
import struct
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from tests.servers.needs import program
from wire.c37118.configuration import (
    Analog,
    AnalogScale,
    Component,
    Configuration,
    Details,
    DigitalWord,
    Format,
    Modification,
    Phasor,
    PhasorScale,
    Pmu,
)
from wire.c37118.data import DataLayout

ROOT = Path(__file__).resolve().parents[2]
START_NS = 1_700_000_000_000_000_000


def capture(name: str) -> Path:
    """A file of data/captures; the test is skipped with the reason where the folder is absent."""
    folder = Path(os.environ.get("SMC_TEST_DATA", ROOT.parent / "shared" / "data"))
    folder = folder / "captures" if (folder / "captures").is_dir() else folder
    if not (folder / name).is_file():
        pytest.skip(f"recorded traffic is missing: no {name} in {folder}; set SMC_TEST_DATA")
    return folder / name


def stream(form: int, pmus: int = 3, idcode: int = 60) -> Configuration:
    """A stream of equal PMUs with one FORMAT: two phasors, an analog, a digital word."""
    bits = tuple(f"bit {k}" for k in range(16))
    return Configuration(
        idcode,
        1_000_000,
        tuple(
            Pmu(
                f"Station {i}",
                idcode + 1 + i,
                Format(form),
                (Phasor("VA", False, 1_000), Phasor("IA", True, 300)),
                (Analog("level", 1, -2),),
                (DigitalWord(bits, 0, 0xFFFF),),
                50 if i % 2 == 0 else 60,
                i,
            )
            for i in range(pmus)
        ),
        50,
    )


def scaled_stream(form: int, pmus: int = 3, idcode: int = 60) -> Configuration:
    """A stream as only CFG-3 tells it: three phasors turned and scaled, two analogs, a digital word, places."""
    bits = tuple(f"Schalter {k}" for k in range(16))
    modified = Modification.FIR_FILTERED | Modification.ROTATED
    return Configuration(
        idcode,
        0xFFFFFF,
        tuple(
            Pmu(
                f"Köln {i}",
                idcode + 1 + i,
                Format(form),
                (
                    Phasor("VA", False, scale=PhasorScale(0.25, 0.5, Component.PHASE_A, modified, 7)),
                    Phasor("V1", False, scale=PhasorScale(-0.5, -3.0)),
                    Phasor("IA", True, scale=PhasorScale(0.25, 0.0, Component.PHASE_A)),
                ),
                (Analog("level", scale=AnalogScale(0.5, -20.0)), Analog("", scale=AnalogScale(-0.25, 1.0))),
                (DigitalWord(bits, 0x0F0F, 0xFF00),),
                50 if i % 2 == 0 else 60,
                i,
                Details(bytes(range(i, 16 + i)), 50.9375, -6.75 * i, None if i else 53.5, "PM"[i % 2], 80_000, -1 - i),
            )
            for i in range(pmus)
        ),
        50,
    )


@dataclass
class Made:
    """Frames of a made-up stream and what they hold."""

    layout: DataLayout
    times_ns: np.ndarray
    phasors: np.ndarray
    frequency_hz: np.ndarray
    rocof: np.ndarray
    frames: list[bytes]


def made(form: int, count: int = 5, pmus: int = 3, seed: int = 1) -> Made:
    """Frames with random values within the range of integers."""
    layout = DataLayout(stream(form, pmus))
    rng = np.random.default_rng(seed)
    times_ns = START_NS + np.arange(count) * 20_000_000
    shape = (count, pmus)
    phasors = rng.uniform(20, 90, (*shape, 2)) * np.exp(1j * rng.uniform(-3, 3, (*shape, 2)))
    nominal = np.array([pmu.nominal_hz for pmu in layout.configuration.pmus])
    frequency_hz = nominal + rng.normal(0, 0.02, shape)
    rocof = rng.normal(0, 0.3, shape)
    frames = layout.encode(
        times_ns,
        np.zeros(shape, np.uint16),
        phasors,
        frequency_hz,
        rocof,
        analogs=np.full((*shape, 1), -6.0),
        digitals=np.full((*shape, 1), 5, np.uint16),
    )
    return Made(layout, times_ns, phasors, frequency_hz, rocof, frames)


def udp_pcap(payloads: list[bytes], port: int = 4713, senders: list[int] | None = None) -> bytes:
    """A recording (raw IPv4, microseconds, little-endian) of UDP datagrams, from one host or each from its own."""
    parts = [struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262_144, 101)]
    for i, payload in enumerate(payloads):
        udp = struct.pack(">HHHH", port, port, 8 + len(payload), 0) + payload
        address = bytes([192, 0, 2, 1 if senders is None else senders[i]]), bytes([192, 0, 2, 200])
        ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), i & 0xFFFF, 0, 64, 17, 0, *address) + udp
        parts.append(struct.pack("<IIII", START_NS // 10**9, i, len(ip), len(ip)) + ip)
    return b"".join(parts)


@dataclass
class Seen:
    """One PMU in one DATA frame as tshark prints it."""

    station: str
    polar: list[tuple[str, float, float]] = field(default_factory=list)  # name, magnitude, degrees
    frequency_hz: float = float("nan")
    rocof_hz_per_s: float = float("nan")
    analogs: list[str] = field(default_factory=list)
    digitals: list[int] = field(default_factory=list)


_STATION = re.compile(r'Station: "(.*)"')
_POLAR = re.compile(r'Phasor #\d+: "(.*?)",\s*(-?[\d.]+)[VA] ∠\s*(-?[\d.]+)°')
_RECTANGULAR = re.compile(r'Phasor #\d+: "(.*?)".* alt\s+(-?[\d.]+)[VA] ∠\s*(-?[\d.]+)°')
_DEVIATION = re.compile(r"actual frequency: (-?[\d.]+)Hz")
_ACTUAL = re.compile(r"Actual frequency value: (-?[\d.]+)")
_ROCOF = re.compile(r"Rate of change of frequency: (-?[\d.]+(?:e-\d+)?)")
_ANALOG = re.compile(r'Analog value #\d+: "(.*?)", (.*)')
_DIGITAL = re.compile(r"Digital status word #\d+: (0x[0-9a-f]+)")


def tshark_text(recording: Path) -> str:
    """tshark's full printing of the C37.118 layers."""
    run = subprocess.run(
        [program("tshark", "tshark"), "-V", "-O", "synphasor", "-r", str(recording)],
        capture_output=True,
        check=True,
        timeout=60,
        env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "TZ": "UTC"},
    )
    return run.stdout.decode()


def tshark_data(text: str) -> list[list[Seen]]:
    """Every DATA frame of tshark's printing, PMU by PMU."""
    frames: list[list[Seen]] = []
    for line in text.splitlines():
        if "Synchrophasor Protocol, " in line:
            data = "Data Frame" in line
            if data:
                frames.append([])
        elif match := _STATION.search(line):
            frames[-1].append(Seen(match[1].rstrip(" \0")))
        elif frames and frames[-1]:
            _see(frames[-1][-1], line)
    return frames


def _see(seen: Seen, line: str) -> None:
    if match := _RECTANGULAR.search(line) or _POLAR.search(line):
        seen.polar.append((match[1].strip(), float(match[2]), float(match[3])))
    elif match := _DEVIATION.search(line) or _ACTUAL.search(line):
        seen.frequency_hz = float(match[1])
    elif match := _ROCOF.search(line):
        seen.rocof_hz_per_s = float(match[1])
    elif match := _ANALOG.search(line):
        seen.analogs.append(match[2])
    elif match := _DIGITAL.search(line):
        seen.digitals.append(int(match[1], 16))
