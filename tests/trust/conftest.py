"""An engine on a fresh database of the embedded edition, and an account of every role."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from host.database import engine as connect
from trust import accounts
from trust.roles import Role

PASSWORD = "correct horse battery"


@pytest.fixture
def engine(smc_embedded: str) -> Iterator[Engine]:
    made = connect(smc_embedded, "test-trust", pool_size=8)
    yield made
    made.dispose()


@pytest.fixture
def people(engine: Engine) -> Engine:
    with engine.begin() as conn:
        for role in Role:
            accounts.create(conn, role.value, PASSWORD, role, "test", must_change=False)
    return engine
