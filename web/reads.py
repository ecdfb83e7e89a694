"""What the pages of either centre read from: its database and its clock."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from sqlalchemy import Connection, Engine

from model.time import Clock, to_datetime


class Reads:
    """Base of what a centre hands to its pages; the centre says where `engine` and `clock` come from."""

    engine: Engine
    clock: Clock

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection to read on; nothing of it is kept. Every statement stands alone, so none waits for a BEGIN."""
        with self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as conn:
            yield conn

    def now(self) -> datetime:
        """The moment by the centre's clock, aware, UTC."""
        return to_datetime(self.clock.now_ns())
