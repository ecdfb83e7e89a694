"""Many sites, one story: what several weak sightings are worth together. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from statistics import NormalDist

LEAST, MOST = 0.01, 0.99  # nobody's certainty counts for more than this


def stouffer(probabilities: Sequence[float]) -> tuple[float, float]:
    """Stouffer's Z of independent probabilities that a sighting is no chance, and the probability it stands for.

    Each site counts once, with equal weight, clipped to 0.01..0.99.
    Source: Stouffer et al., The American Soldier, 1949.

    >>> z, probability = stouffer([0.9, 0.9])
    >>> round(z, 3), round(probability, 3)
    (1.812, 0.965)
    """
    if not probabilities:
        return 0.0, 0.5
    normal = NormalDist()
    z = sum(normal.inv_cdf(min(MOST, max(LEAST, p))) for p in probabilities) / sqrt(len(probabilities))
    return z, normal.cdf(z)
