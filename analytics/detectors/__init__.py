"""Detectors: blocks in, findings out. Pure, with their state in arrays; registered in one tuple.

What every detector promises (one contract test runs over all of them): the same findings however blocks are cut; a
restored state goes on as if never interrupted; nothing is learnt from what is flagged; each finding is explained in
units, and its shares of evidence sum to one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from analytics.detectors.integrity import MeterIntegrity
from analytics.detectors.phasor import PhaseDrift
from analytics.detectors.quality import DataQuality
from analytics.fleet import Fleet
from model.block import Block
from model.finding import Finding

__all__ = ["DETECTORS", "DataQuality", "Detector", "MeterIntegrity", "PhaseDrift"]


class Detector(Protocol):
    """One family of judgements over a stream of blocks of one site."""

    name: str
    version: str

    def update(self, block: Block) -> list[Finding]:
        """Judge one block; rows of devices that are not enrolled or of no concern are passed over."""

    def save(self) -> bytes:
        """State without parameters."""

    def restore(self, data: bytes) -> None:
        """Take up a saved state; devices may have been added since. Raises DecodeError, and nothing has changed."""


DETECTORS: tuple[Callable[[Fleet], Detector], ...] = (DataQuality, MeterIntegrity, PhaseDrift)
