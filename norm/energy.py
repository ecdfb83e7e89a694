"""True energies of a population: the integral of its power since commissioning, at any moment."""

from __future__ import annotations

import numpy as np

from model.block import F64
from model.time import NS_PER_S
from norm.load import DAY_S, SLOT_S, SLOTS, WH_PER_WS, Population, slot_ticks

COMMISSIONED_DAY = 20_454  # 2026-01-01 UTC, days since 1970: all registers stood at zero


class Energies:
    """Energies of consumption and generation. Days before the present one are summed once and remembered."""

    def __init__(self, population: Population, commissioned_day: int = COMMISSIONED_DAY) -> None:
        self.population = population
        zero = np.zeros(len(population.numbers))
        self._commissioned_day = commissioned_day
        self._day, self._before = commissioned_day, (zero, zero)
        self._slots: tuple[int, F64, F64] | None = None
        self._ticks: tuple[int, F64, F64] | None = None

    def at(self, time_ns: int) -> tuple[F64, F64]:
        """Energy consumed and generated until `time_ns`, each (u,) Wh. Raises ValueError before commissioning."""
        second, rest_ns = divmod(time_ns, NS_PER_S)
        slot, tick = divmod(second, SLOT_S)
        day, of_day = divmod(slot, SLOTS)
        before, whole, part = self._until_day(day), self._within_day(day), self._within_slot(slot)
        share = rest_ns / NS_PER_S
        consumed, generated = (
            b + w[:, of_day] + p[:, tick] * (1.0 - share) + p[:, tick + 1] * share
            for b, w, p in zip(before, whole, part, strict=True)
        )
        return consumed, generated

    def registers_of_day(self, day: int) -> tuple[F64, F64]:
        """Energies at the 97 edges of a day's slots, each (u, 97) Wh: what a year of 15-minute readings is made of."""
        before, whole = self._until_day(day), self._within_day(day)
        return before[0][:, None] + whole[0], before[1][:, None] + whole[1]

    def _until_day(self, day: int) -> tuple[F64, F64]:
        if day < self._commissioned_day:
            commissioned = np.datetime64(self._commissioned_day, "D")
            raise ValueError(f"time is on {np.datetime64(day, 'D')}, expected not before commissioning, {commissioned}")
        if day < self._day:
            zero = np.zeros(len(self.population.numbers))
            self._day, self._before = self._commissioned_day, (zero, zero)
        while self._day < day:
            consumed, generated = self.population.day_energy_wh(self._day)
            self._before = self._before[0] + consumed, self._before[1] + generated
            self._day += 1
        return self._before

    def _within_day(self, day: int) -> tuple[F64, F64]:
        if self._slots is None or self._slots[0] != day:
            consumed, generated = self.population.slot_energy_wh(day)
            self._slots = day, _running(consumed), _running(generated)
        return self._slots[1], self._slots[2]

    def _within_slot(self, slot: int) -> tuple[F64, F64]:
        if self._ticks is None or self._ticks[0] != slot:
            ticks = slot_ticks(self.population, slot)
            load, generation = ticks.load_w.sum(axis=2), ticks.generation_w.sum(axis=2)
            self._ticks = slot, _running(load * WH_PER_WS), _running(generation * WH_PER_WS)
        return self._ticks[1], self._ticks[2]


def _running(parts: F64) -> F64:
    """Running sums along the last axis, with a zero in front."""
    return np.concatenate([np.zeros((len(parts), 1)), np.cumsum(parts, axis=1)], axis=1)


def day_of(time_ns: int) -> int:
    """Days since 1970 of a time."""
    return time_ns // (DAY_S * NS_PER_S)
