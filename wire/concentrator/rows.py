"""Rows on their way: as they come in, as they wait to be placed, and as they come out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from model.block import I64, Block
from wire.concentrator.members import Bools, Fate, Index


@dataclass(frozen=True, slots=True)
class Aside:
    """Rows that are in no set: archive late ones, count copies, quarantine the rest with the device's name."""

    fate: Fate
    block: Block


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a step gives: sets (one block per shape, instant after instant, all its members each), and other rows."""

    sets: list[Block] = field(default_factory=list)
    aside: list[Aside] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Parcel:
    """Rows of one block that may be aligned: their places on the grid and their members."""

    block: Block
    slots: I64
    member: Index

    def take(self, rows: Bools) -> Parcel:
        return self if rows.all() else Parcel(self.block.take(rows), self.slots[rows], self.member[rows])


def merged(blocks: Sequence[Block]) -> list[Block]:
    """Blocks of one shape and provenance in one, row after row: a hundred small ones cost as much as a large one.

    Where rows came from different peers the merged block names none of them; their devices tell who they are.
    """
    groups: dict[object, list[Block]] = {}
    for block in blocks:
        if len(block):
            groups.setdefault((block.schema, block.columns, block.origin.provenance), []).append(block)
    return [group[0] if len(group) == 1 else _joined(group) for group in groups.values()]


def _joined(blocks: Sequence[Block]) -> Block:
    first = blocks[0]
    same = all(block.origin == first.origin for block in blocks)
    return Block(
        schema=first.schema,
        columns=first.columns,
        origin=first.origin if same else replace(first.origin, peer=""),
        device=np.concatenate([block.device for block in blocks]),
        time_ns=np.concatenate([block.time_ns for block in blocks]),
        received_ns=np.concatenate([block.received_ns for block in blocks]),
        time_error_ns=np.concatenate([block.time_error_ns for block in blocks]),
        sequence=np.concatenate([block.sequence for block in blocks]),
        quality=np.concatenate([block.quality for block in blocks]),
        values=np.concatenate([block.values for block in blocks]),
    )


def first_of_each(cells: Index, unusable: Bools, wanted: Bools) -> Bools:
    """One of the wanted rows for each cell: a sound one before others, then the one that came first."""
    order = np.flatnonzero(wanted)
    order = order[np.lexsort((unusable[order], cells[order]))]
    sorted_cells = cells[order]
    chosen = np.zeros(len(cells), bool)
    chosen[order[np.append(True, sorted_cells[1:] != sorted_cells[:-1])[: len(order)]]] = True
    return chosen
