"""Who stores which topic: session-level advisory locks, held on the very connection that commits.

So a process that has lost its connection has lost its locks and its open transaction together, and no clock is asked:
whoever gets the lock next knows that the former owner can commit nothing any more. How many workers there are, is
counted in `pg_locks` as well: each holds a slot of its own, and takes its fair share of the topics, not more.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from types import TracebackType

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import OperationalError

WORKER_SPACE, TOPIC_SPACE = 0x534D4357, 0x534D4354  # first keys of the locks: "SMCW", "SMCT"
MAX_WORKERS = 64

# So that the server soon sees the end of a client that cannot say good-bye, also while it computes for it.
_OPTIONS = (
    "SET client_connection_check_interval = '1s'",
    "SET tcp_keepalives_idle = 10",
    "SET tcp_keepalives_interval = 5",
    "SET tcp_keepalives_count = 3",
)
_TAKE_SLOT = text("SELECT pg_try_advisory_lock(:space, :slot)")
_TAKE = text("SELECT pg_try_advisory_lock(:space, hashtext(:topic))")
_GIVE = text("SELECT pg_advisory_unlock(:space, hashtext(:topic))")
_GIVE_ALL = text("SELECT pg_advisory_unlock_all()")
_WORKERS = text(
    "SELECT objid::bigint FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 2 "
    "AND classid = CAST(CAST(:space AS bigint) AS oid) "
    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) ORDER BY objid"
)


class OwnershipLost(Exception):
    """The connection broke: with it went all locks and what was not committed."""


def fair_share(topics: int, workers: Sequence[int], me: int) -> int:
    """How many of the topics the worker of slot `me` may hold: the shares of all workers sum to `topics`, and differ
    by one at most; the lower slots hold the one more."""
    rank = sorted(workers).index(me)
    return topics // len(workers) + (rank < topics % len(workers))


class Ownership:
    """One worker's connection, slot and topics. A context manager: at its end the session ends, and so do its locks.

    Entering raises OperationalError while the database is away. After OwnershipLost this object is done for.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._conn: Connection | None = None
        self.slot = 0
        self.topics: list[str] = []

    def __enter__(self) -> Ownership:
        self._conn = self._engine.connect()
        try:
            for option in _OPTIONS:
                self._conn.exec_driver_sql(option)
            self.slot = self._take_slot(self._conn)
            self._conn.commit()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        # The end of the session gives all back too, but a moment after we have gone on. A connection that breaks just
        # now has given them back already.
        with suppress(OwnershipLost, OperationalError), self.transaction() as conn:
            conn.execute(_GIVE_ALL)
        self._end()

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A transaction that can commit only while this worker owns what it owns.

        Raises OwnershipLost if the connection broke; an OperationalError that it outlived (a deadlock, a full disk) as
        it is: the locks are still held.
        """
        if self._conn is None:
            raise OwnershipLost("not connected")
        try:
            with self._conn.begin():
                yield self._conn
        except OperationalError as error:
            if not (error.connection_invalidated or self._conn.invalidated):
                raise
            self._end()  # SQLAlchemy would connect anew by itself, without our locks
            raise OwnershipLost(str(error.orig)[:200]) from error

    def balance(self, wanted: Sequence[str]) -> list[str]:
        """Give back what is not wanted or over the fair share, take what is free up to it; returns what is new.

        Call it with nothing in hand: what is given back may be read by another worker at once.
        """
        with self.transaction() as conn:
            workers = [int(slot) for slot in conn.scalars(_WORKERS, {"space": WORKER_SPACE})]
            share = fair_share(len(wanted), workers, self.slot)
            kept = [topic for topic in self.topics if topic in wanted][:share]
            for topic in self.topics:
                if topic not in kept:
                    conn.execute(_GIVE, {"space": TOPIC_SPACE, "topic": topic})
            gained = self._take(conn, [topic for topic in wanted if topic not in kept], share - len(kept))
            self.topics = kept + gained
        return gained

    def _end(self) -> None:
        """Close the session itself: in a connection given back to the pool the locks would live on."""
        if self._conn is not None:
            self._conn.invalidate()
            self._conn.close()
            self._conn = None

    def _take(self, conn: Connection, wanted: Sequence[str], room: int) -> list[str]:
        gained: list[str] = []
        for topic in wanted:
            if len(gained) == room:
                break
            if conn.scalar(_TAKE, {"space": TOPIC_SPACE, "topic": topic}):
                gained.append(topic)
        return gained

    def _take_slot(self, conn: Connection) -> int:
        for slot in range(1, MAX_WORKERS + 1):
            if conn.scalar(_TAKE_SLOT, {"space": WORKER_SPACE, "slot": slot}):
                return slot
        raise ValueError(f"all {MAX_WORKERS} slots of store workers are taken")
