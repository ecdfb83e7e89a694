"""TLP 2.0 against an oracle written the other way round: for each marking the list of who may see."""

from __future__ import annotations

from itertools import product

import pytest

from model.marking import Tlp
from trust.markings import Marked, Reader, may_see, strictest

OWNER, RECEIVER, MEMBER, NAMED, OTHER, STRANGER = "owner", "receiver", "member", "named", "other", "stranger"
READERS = {
    OWNER: Reader(OWNER),
    RECEIVER: Reader(RECEIVER),
    MEMBER: Reader(MEMBER, frozenset({RECEIVER})),
    NAMED: Reader(NAMED),
    OTHER: Reader(OTHER),
    STRANGER: Reader(STRANGER, federated=False),
}
SEES = {
    Tlp.CLEAR: {OWNER, RECEIVER, MEMBER, NAMED, OTHER, STRANGER},
    Tlp.GREEN: {OWNER, RECEIVER, MEMBER, NAMED, OTHER},
    Tlp.AMBER: {OWNER, RECEIVER, MEMBER},
    Tlp.AMBER_STRICT: {OWNER, RECEIVER},
    Tlp.RED: {OWNER, NAMED},
}


@pytest.mark.parametrize(("marking", "who"), list(product(Tlp, READERS)))
def test_who_sees_what(marking: Tlp, who: str) -> None:
    thing = Marked(marking, OWNER, received_by={RECEIVER}, recipients={NAMED})
    assert may_see(READERS[who], thing) is (who in SEES[marking])


def test_the_strictest_marking_counts() -> None:
    assert strictest([Tlp.GREEN, Tlp.RED, Tlp.CLEAR]) is Tlp.RED
    assert strictest([Tlp.CLEAR]) is Tlp.CLEAR
    with pytest.raises(ValueError, match="at least one"):
        strictest([])
