"""What the intake page says of a stage: workers are told like one kind, a stage of no known kind is no error."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from smc.store.health import StageHealth
from smc.views.intake import counters

NOW = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("stage", "said"), [("store-2", "4,000 rows stored"), ("store-17", "4,000 rows stored"), ("nobody-knows", "mean")]
)
def test_workers_are_told_like_their_kind(stage: str, said: str) -> None:
    health = StageHealth(stage, NOW - timedelta(seconds=10), NOW, 0.5, {"rows_new": 4_000.0, "messages": 7.0})
    assert said in str(counters(health, NOW))
