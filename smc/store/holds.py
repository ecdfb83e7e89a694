"""Legal holds: data that must not go although their days are over. Opened and released, never changed or deleted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, text

from model.errors import Conflict
from smc.store.partitions import Span
from smc.store.series import DataClass, RowTable


@dataclass(frozen=True, slots=True)
class Hold:
    """Data with a stamp in `span`, of the classes and devices named; none named means all. In force until released."""

    hold_id: int
    opened: datetime
    opened_by: str
    reason: str
    data_classes: tuple[DataClass, ...]
    devices: tuple[int, ...]
    span: Span
    released: datetime | None = None
    released_by: str = ""
    release_reason: str = ""

    def concerns(self, data_class: DataClass, span: Span) -> bool:
        """Whether it may hold data of this class and span; which devices they are of is not asked."""
        overlaps = self.span.start < span.end and span.start < self.span.end
        return overlaps and (not self.data_classes or data_class in self.data_classes)


# A condition on a row t of a RowTable; the names are its columns.
_HELD_ROW = """
EXISTS (
    SELECT FROM legal_holds h
    WHERE NOT EXISTS (SELECT FROM legal_hold_releases r WHERE r.hold_id = h.hold_id)
      AND (h.data_classes = '{{}}' OR :data_class = ANY (h.data_classes))
      AND t.{first} < h.data_end AND t.{last} >= h.data_start AND {device}
)
"""


def open_hold(
    conn: Connection,
    by: str,
    at: datetime,
    reason: str,
    span: Span,
    data_classes: Iterable[DataClass] = (),
    devices: Sequence[int] = (),
) -> int:
    """Hold data from now on; returns the hold's number. Waits for a span that is just being dropped."""
    row = {
        "opened": at,
        "by": by,
        "reason": reason,
        "classes": sorted(set(data_classes)),
        "devices": sorted(set(devices)),
        "start": span.start,
        "end": span.end,
    }
    query = text(
        "INSERT INTO legal_holds (opened, opened_by, reason, data_classes, devices, data_start, data_end) "
        "VALUES (:opened, :by, :reason, :classes, :devices, :start, :end) RETURNING hold_id"
    )
    return int(conn.execute(query, row).scalar_one())


def release(conn: Connection, hold_id: int, by: str, at: datetime, reason: str) -> None:
    """End a hold. Conflict where there is none with this number in force."""
    query = text(
        "INSERT INTO legal_hold_releases (hold_id, released, released_by, reason) "
        "SELECT hold_id, :at, :by, :reason FROM legal_holds WHERE hold_id = :hold_id ON CONFLICT DO NOTHING"
    )
    if not conn.execute(query, {"hold_id": hold_id, "by": by, "at": at, "reason": reason}).rowcount:
        raise Conflict(f"no legal hold {hold_id} is in force")


def all_holds(conn: Connection) -> list[Hold]:
    """Every hold there ever was, by number."""
    rows = conn.execute(
        text(
            "SELECT h.hold_id, opened, opened_by, h.reason, data_classes, devices, data_start, data_end, released, "
            "coalesce(released_by, '') AS released_by, coalesce(r.reason, '') AS release_reason "
            "FROM legal_holds h LEFT JOIN legal_hold_releases r USING (hold_id) ORDER BY h.hold_id"
        )
    )
    return [
        Hold(
            row.hold_id,
            row.opened,
            row.opened_by,
            row.reason,
            tuple(map(DataClass, row.data_classes)),
            tuple(row.devices),
            Span(row.data_start, row.data_end),
            row.released,
            row.released_by,
            row.release_reason,
        )
        for row in rows
    ]


def in_force(conn: Connection) -> list[Hold]:
    """The holds that are not released."""
    return [hold for hold in all_holds(conn) if hold.released is None]


def let_none_open(conn: Connection) -> None:
    """Keep new holds waiting until the transaction ends, so that nothing is dropped which a hold just came to cover."""
    conn.execute(text("LOCK TABLE legal_holds IN SHARE MODE"))


def holding(conn: Connection, data_class: DataClass, series: Sequence[str], span: Span) -> list[Hold]:
    """The holds that keep this span of these series. One that names devices counts where it has rows of one of them."""
    concerned = [hold for hold in in_force(conn) if hold.concerns(data_class, span)]
    return [hold for hold in concerned if not hold.devices or any(_has_rows(conn, hold, s, span) for s in series)]


def _has_rows(conn: Connection, hold: Hold, series: str, span: Span) -> bool:
    query = text(
        f"SELECT EXISTS (SELECT FROM {series} WHERE device_id = ANY (:devices) "  # noqa: S608 (own names)
        "AND time >= :start AND time < :end)"
    )
    bounds = {"start": max(span.start, hold.span.start), "end": min(span.end, hold.span.end)}
    return bool(conn.execute(query, {"devices": list(hold.devices), **bounds}).scalar_one())


def held_row(table: RowTable) -> str:
    """SQL condition that a hold keeps the row t of `table`; its parameter is :data_class."""
    device = f"(h.devices = '{{}}' OR t.{table.device} = ANY (h.devices))" if table.device else "true"
    return _HELD_ROW.format(first=table.first, last=table.last, device=device)
