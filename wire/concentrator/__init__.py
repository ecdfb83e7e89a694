"""Phasor data concentrator after IEEE C37.244: rows of many PMUs in, sets of one instant out. Pure, state in arrays.

`grid` counts instants, `window` knows which of them wait, `buffer` holds their `rows`, `members` knows who is expected
and how well they do, `core` puts the rows in and lets the sets out.
"""

from wire.concentrator.core import Concentrator
from wire.concentrator.grid import ReportingGrid
from wire.concentrator.members import Fate, Tally
from wire.concentrator.rows import Aside, Outcome
from wire.concentrator.window import Rules

__all__ = ["Aside", "Concentrator", "Fate", "Outcome", "ReportingGrid", "Rules", "Tally"]
