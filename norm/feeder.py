"""Low-voltage feeders as data: the residential and the commercial feeder of the CIGRE European LV benchmark.

Source: CIGRE Task Force C6.04.02, Technical Brochure 575, "Benchmark Systems for Network Integration of Renewable and
Distributed Energy Resources", 2014: topology, lengths, conductor impedances and transformers.

Our own additions, so that every unit has terminals of its own: a service cable of 16 mm² copper (IEC 60228 class 2:
1.15 ohm/km at 20 °C, reactance taken as 0.08 ohm/km) from its bus to its meter. The neutral is taken as of the phases'
section, hence the zero-sequence impedance of a line is four times its positive-sequence impedance.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

BASE_VOLTAGE_V = 400.0 / 3.0**0.5  # phase to neutral

# Positive-sequence impedance in ohm per km of the benchmark's conductors.
CONDUCTORS = {
    "UG1": complex(0.162, 0.0832),
    "UG2": complex(0.2647, 0.0823),
    "UG3": complex(0.822, 0.0847),
    "OH1": complex(0.4917, 0.2847),
    "OH2": complex(1.3207, 0.321),
    "OH3": complex(2.0167, 0.3343),
    "SERVICE": complex(1.15, 0.08),
}


@dataclass(frozen=True, slots=True)
class Line:
    """One section of a radial feeder; `parent` is nearer to the transformer."""

    parent: str
    bus: str
    conductor: str
    length_m: float

    @property
    def impedance_ohm(self) -> complex:
        """Positive-sequence impedance of the section."""
        return CONDUCTORS[self.conductor] * self.length_m / 1000.0


@dataclass(frozen=True, slots=True)
class Feeder:
    """A radial feeder behind one transformer. `lines` name every bus after its parent; `load_buses` carry customers."""

    name: str
    head: str
    transformer_ohm: complex  # seen from the low-voltage side
    lines: tuple[Line, ...]
    load_buses: tuple[str, ...]


def _chain(prefix: str, numbers: list[int], conductor: str, length_m: float) -> tuple[Line, ...]:
    return tuple(Line(f"{prefix}{a}", f"{prefix}{b}", conductor, length_m) for a, b in pairwise(numbers))


def _transformer_ohm(rated_va: float, real_percent: float, total_percent: float) -> complex:
    reactive_percent = (total_percent**2 - real_percent**2) ** 0.5
    return complex(real_percent, reactive_percent) / 100.0 * 400.0**2 / rated_va


RESIDENTIAL = Feeder(
    name="LV-R",
    head="R1",
    transformer_ohm=_transformer_ohm(500_000.0, 1.0, 4.123106),
    lines=(
        *_chain("R", [1, 2, 3, 4, 5, 6, 7, 8, 9, 10], "UG1", 35.0),
        Line("R3", "R11", "UG3", 30.0),
        *_chain("R", [4, 12, 13, 14], "UG3", 35.0),
        Line("R14", "R15", "UG3", 30.0),
        Line("R6", "R16", "UG3", 30.0),
        Line("R9", "R17", "UG3", 30.0),
        Line("R10", "R18", "UG3", 30.0),
    ),
    load_buses=("R11", "R15", "R16", "R17", "R18"),
)

COMMERCIAL = Feeder(
    name="LV-C",
    head="C1",
    transformer_ohm=_transformer_ohm(300_000.0, 0.99375, 4.115529),
    lines=(
        *_chain("C", [1, 2, 3, 4, 5, 6, 7, 8, 9], "OH1", 30.0),
        *_chain("C", [3, 10, 11], "OH2", 30.0),
        Line("C11", "C12", "OH3", 30.0),
        Line("C11", "C13", "OH3", 30.0),
        Line("C10", "C14", "OH3", 30.0),
        *_chain("C", [5, 15, 16], "OH2", 30.0),
        Line("C15", "C17", "OH3", 30.0),
        Line("C16", "C18", "OH3", 30.0),
        Line("C8", "C19", "OH3", 30.0),
        Line("C9", "C20", "OH3", 30.0),
    ),
    load_buses=("C12", "C13", "C14", "C17", "C18", "C19", "C20"),
)

FEEDERS = (RESIDENTIAL, COMMERCIAL)
