"""Who may see what, by TLP 2.0: the originator binds, the strictest marking of a set counts.

red: the named recipients only · amber+strict: the receiving organisation · amber: it and its own members ·
green: the federation · clear: everybody.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from model.marking import Tlp


@dataclass(frozen=True, slots=True)
class Reader:
    """Who wants to see: an organisation code; `above`: the organisations whose member it is; or an outsider."""

    organisation: str
    above: frozenset[str] = frozenset()
    federated: bool = True


@dataclass(frozen=True, slots=True)
class Marked:
    """What is to be seen: its marking, whose it is, who received it, and for red who is named in it."""

    marking: Tlp
    originator: str
    received_by: Collection[str] = ()
    recipients: Collection[str] = ()


def may_see(reader: Reader, thing: Marked) -> bool:
    """Whether TLP lets this reader see the thing. The originator always may."""
    if reader.organisation == thing.originator:
        return True
    received = reader.organisation in thing.received_by
    match thing.marking:
        case Tlp.CLEAR:
            return True
        case Tlp.GREEN:
            return reader.federated
        case Tlp.AMBER:
            return received or any(organisation in thing.received_by for organisation in reader.above)
        case Tlp.AMBER_STRICT:
            return received
        case Tlp.RED:
            return reader.organisation in thing.recipients


def strictest(markings: Iterable[Tlp]) -> Tlp:
    """The marking of a container: the highest of what is in it. ValueError for an empty one: nothing is unmarked."""
    levels = list(markings)
    if not levels:
        raise ValueError("nothing is marked: a container needs at least one marking")
    return max(levels, key=lambda level: level.rank)
