"""From scores to alarms within a budget: CUSUM run lengths, conformal p-values, Benjamini-Hochberg.

Run length: D. Siegmund, Sequential Analysis (1985). Conformal p-values: the share of calibration scores at least as
large. Benjamini and Hochberg 1995; valid for conformal p-values by Bates et al. 2023.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from model.block import F64

SECONDS_PER_DAY = 86_400.0
_OVERSHOOT = 1.166
MOST = 0.95  # never surer than this: the formulas assume independent scores, and real ones are not


def run_length(threshold: float, allowance: float = 0.5) -> float:
    """Mean number of independent standard normal scores until a one-sided CUSUM crosses `threshold` by chance."""
    b = 2.0 * allowance * (threshold + _OVERSHOOT)
    return (math.exp(min(b, 700.0)) - b - 1.0) / (2.0 * allowance**2)


def cusum_threshold(alarms_per_day: float, scores_per_day: float, allowance: float = 0.5) -> float:
    """Smallest threshold at which a two-sided CUSUM gives at most `alarms_per_day` by chance."""
    wanted, low, high = 2.0 * scores_per_day / alarms_per_day, 0.0, 300.0 / allowance
    for _ in range(60):
        middle = (low + high) / 2.0
        low, high = (middle, high) if run_length(middle, allowance) < wanted else (low, middle)
    return high


def no_chance(statistic: float, scores_per_day: float, allowance: float = 0.5) -> float:
    """Probability that a day of this device would not reach `statistic` by chance, two-sided, at most 0.95."""
    expected = 2.0 * scores_per_day / run_length(statistic, allowance)
    return min(MOST, math.exp(-expected))


def conformal_p(calibration: F64, scores: F64) -> F64:
    """(1 + number of calibration scores >= s) / (n + 1) for each score s; shape of `scores`."""
    ordered = np.sort(calibration)
    at_least = len(ordered) - np.searchsorted(ordered, scores, side="left")
    return np.asarray((1.0 + at_least) / (len(ordered) + 1.0))


def benjamini_hochberg(p: F64, alpha: float) -> npt.NDArray[np.bool_]:
    """Mask of the discoveries whose expected share of false ones is at most `alpha`; shape (m,)."""
    order = np.argsort(p, kind="stable")
    fine = np.flatnonzero(p[order] <= alpha * np.arange(1, len(p) + 1) / max(len(p), 1))
    chosen = np.zeros(len(p), bool)
    if len(fine):
        chosen[order[: fine[-1] + 1]] = True
    return chosen
