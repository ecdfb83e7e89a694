"""Columns of texts to arrays, all rows at once: which are well formed, and the numbers in them."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from model.block import F64

Bools = npt.NDArray[np.bool_]


@lru_cache(maxsize=64)
def _patterns(pattern: str) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """For one text, and for many of them with a line end each (possessive: a bad one is found without going back)."""
    return re.compile(pattern), re.compile(rf"(?:(?:{pattern})\n)*+")


def good_texts(texts: Sequence[str], pattern: str) -> Bools:
    """Which texts a pattern matches from end to end, shape (n,)."""
    one, many = _patterns(pattern)
    whole = "\n".join(texts) + "\n"
    if not texts or (whole.count("\n") == len(texts) and many.fullmatch(whole)):
        return np.ones(len(texts), bool)
    return np.array([one.fullmatch(text) is not None for text in texts], bool)


class NumberFormat:
    """Decimal numbers with one sign for the decimals and none for thousands; an empty text is a missing number."""

    def __init__(self, decimal: str) -> None:
        self._decimal = decimal
        self._pattern = rf"-?[0-9]{{1,20}}(?:{re.escape(decimal)}[0-9]{{0,20}})?(?:[eE][+\-]?[0-9]{{1,2}})?|"

    def good(self, texts: Sequence[str]) -> Bools:
        """Which texts are numbers or empty."""
        return good_texts(texts, self._pattern)

    def read(self, texts: Sequence[str], good: Bools) -> F64:
        """Numbers of the good texts; NaN for empty ones and for the others."""
        chosen: list[str] = [text if fine else "" for text, fine in zip(texts, good.tolist(), strict=True)]
        if self._decimal != ".":
            chosen = "\n".join(chosen).replace(self._decimal, ".").split("\n") if chosen else []
        return np.array([float(text) if text else math.nan for text in chosen], np.float64)
