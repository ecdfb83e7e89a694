"""Which PostgreSQL this is. Nothing of Grid SMC needs more than the plain edition; the others save work."""

from __future__ import annotations

from enum import StrEnum

from sqlalchemy import Connection, text


class Edition(StrEnum):
    """Plain PostgreSQL, TimescaleDB under Apache-2.0, or TimescaleDB with the features of its own licence."""

    PLAIN = "plain"
    APACHE = "apache"
    TIMESCALE = "timescale"

    @property
    def has_hypertables(self) -> bool:
        """Whether series tables are hypertables, which make and drop their chunks themselves."""
        return self is not Edition.PLAIN


def detect(conn: Connection) -> Edition:
    """Edition of this database. A preloaded library without the extension is plain."""
    version, licence = conn.execute(
        text(
            "SELECT (SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'), "
            "current_setting('timescaledb.license', true)"
        )
    ).one()
    if version is None:
        return Edition.PLAIN
    return Edition.TIMESCALE if licence == "timescale" else Edition.APACHE
