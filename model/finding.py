"""A finding: a fact about the grid or its devices that a detector judged worth telling, with its evidence in units."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from model.device import Provenance
from model.time import require_aware


class Severity(StrEnum):
    """Order of urgency; compare with `rank`."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """0 (low) to 3 (critical)."""
        return list(Severity).index(self)


class FindingKind(StrEnum):
    """What a finding claims; one playbook exists for each."""

    DATA_QUALITY = "data-quality"  # frozen, near zero, implausible, gap
    METER_TAMPER = "meter-tamper"  # meter against PMU behind the same terminals
    CLOCK_ATTACK = "clock-attack"  # phasors turn against all neighbours
    EUROPEAN_ADVICE = "european-advice"  # an early alert of the ESMC that concerns us
    EQUIVOCATION = "equivocation"  # a device said two things about one moment


@dataclass(frozen=True, slots=True)
class Evidence:
    """One signal's part in a finding: observed against expected with its band, in one unit."""

    signal: str  # column name, e.g. power_w
    observed: float
    expected: float
    lower: float  # band in which the signal was expected
    upper: float
    unit: str
    share: float  # part of this signal in the score, the shares of a finding sum to 1


@dataclass(frozen=True, slots=True)
class Finding:
    """One judgement of one detector. The id is stable: the same data give the same finding, however often computed."""

    finding_id: UUID
    site: str
    kind: FindingKind
    detector: str
    detector_version: str
    devices: tuple[int, ...]  # device indices
    start: datetime
    end: datetime
    severity: Severity
    score: float  # the detector's own statistic, in multiples of its threshold
    probability: float  # that this is no chance, 0..1
    title: str
    explanation: str  # for an operator, with units
    evidence: tuple[Evidence, ...]
    missing: tuple[str, ...]  # evidence that was looked for and not there
    causes: tuple[str, ...]  # possible causes, benign ones included
    technique: str  # ATT&CK for ICS id, "" where none fits
    provenance: Provenance

    def __post_init__(self) -> None:
        require_aware("start", self.start)
        require_aware("end", self.end)
        if self.evidence and abs(sum(e.share for e in self.evidence) - 1.0) > 1e-6:
            raise ValueError(f"evidence shares sum to {sum(e.share for e in self.evidence)}, expected 1")
