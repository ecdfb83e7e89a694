"""Two-sided CUSUM on clipped scores, in arrays: E. S. Page, Continuous inspection schemes, 1954.

U = max(0, U + z - k), D = max(0, D - z - k); an alarm when either crosses h, once, until both have fallen below h/2.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analytics.detectors.state import Arrays, Bools, Index
from model.block import F64, I64


@dataclass(frozen=True)
class Cusum:
    """Parameters in multiples of the scores' standard deviation."""

    allowance: float = 0.5
    threshold: float = 18.0
    clip: float = 4.0
    cap: float = 1.5  # of the threshold: how far it may run on, so that it comes back when the cause is gone

    def fresh(self, prefix: str, shape: tuple[int, ...]) -> Arrays:
        """State arrays of the given shape, first axis devices."""
        return {
            f"{prefix}up": np.zeros(shape),
            f"{prefix}down": np.zeros(shape),
            f"{prefix}since_ns": np.zeros(shape, np.int64),
        }

    def step(self, state: Arrays, prefix: str, rows: Index, z: F64, usable: Bools, time_ns: I64) -> F64:
        """One score for each of `rows` (distinct); returns the statistic max(U, D) after it, shape of `z`.

        `since_ns` becomes the time at which the statistic last left zero.
        """
        up, down = state[f"{prefix}up"], state[f"{prefix}down"]
        score = np.clip(np.where(usable, z, 0.0), -self.clip, self.clip)
        top = self.cap * self.threshold
        new_up = np.clip(up[rows] + score - self.allowance, 0.0, top)
        new_down = np.clip(down[rows] - score - self.allowance, 0.0, top)
        was_zero = np.maximum(up[rows], down[rows]) == 0
        moment = time_ns.reshape((-1,) + (1,) * (z.ndim - 1))
        since = state[f"{prefix}since_ns"]
        since[rows] = np.where(usable & was_zero, moment, since[rows])
        up[rows] = np.where(usable, new_up, up[rows])
        down[rows] = np.where(usable, new_down, down[rows])
        return np.asarray(np.maximum(up[rows], down[rows]))

    def calm(self, statistic: F64) -> Bools:
        """Low enough to learn from and to arm again."""
        return np.asarray(statistic < self.threshold / 2.0)
