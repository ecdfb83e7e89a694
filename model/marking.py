"""TLP 2.0: who may see what; the originator binds."""

from __future__ import annotations

from enum import StrEnum


class Tlp(StrEnum):
    """Levels of TLP 2.0, from open to closed; compare with `rank`."""

    CLEAR = "clear"
    GREEN = "green"
    AMBER = "amber"
    AMBER_STRICT = "amber+strict"
    RED = "red"

    @property
    def rank(self) -> int:
        """0 (clear) to 4 (red)."""
        return list(Tlp).index(self)
