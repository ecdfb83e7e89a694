"""What keeping house has to remember: legal holds, days that were dropped, what is known of days that were kept.

Also the indexes of the desk's questions about tables that grow.
"""

from __future__ import annotations

from alembic import op

from migrations.series import renew_partition_maker
from migrations.shared import append_only

revision = "smc_0003"
down_revision = "smc_0002"
branch_labels = None
depends_on = None

TABLES = (
    # A hold is never changed: it ends by a row in the second table. Empty arrays mean all classes, all devices.
    """
    CREATE TABLE legal_holds (
        hold_id      integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        opened       timestamptz NOT NULL,
        opened_by    text NOT NULL,
        reason       text NOT NULL,
        data_classes text[] NOT NULL,
        devices      integer[] NOT NULL,
        data_start   timestamptz NOT NULL,
        data_end     timestamptz NOT NULL,
        CHECK (data_start < data_end)
    )
    """,
    """
    CREATE TABLE legal_hold_releases (
        hold_id     integer PRIMARY KEY REFERENCES legal_holds,
        released    timestamptz NOT NULL,
        released_by text NOT NULL,
        reason      text NOT NULL
    )
    """,
    # A late row of such a day must not make a rollup forget what the dropped rows had said.
    """
    CREATE TABLE dropped_days (
        series     text NOT NULL,
        day        date NOT NULL,
        dropped_at timestamptz NOT NULL,
        PRIMARY KEY (series, day)
    )
    """,
    # The newest receipt found in a span of a series. Later rows can only raise it, so that nobody has to look again
    # before this one is past its days.
    """
    CREATE TABLE known_receipts (
        series     text NOT NULL,
        data_start timestamptz NOT NULL,
        data_end   timestamptz NOT NULL,
        newest     timestamptz NOT NULL,
        PRIMARY KEY (series, data_start, data_end)
    )
    """,
    # When a job last ended well, by the host's clock: a clock that has jumped meanwhile is doubted.
    """
    CREATE TABLE keep_rounds (
        job   text PRIMARY KEY,
        ended timestamptz NOT NULL
    )
    """,
    "CREATE INDEX device_events_received ON device_events (received)",
)

# name: table and columns
DESK_INDEXES = {
    "incidents_last_seen": "incidents (last_seen)",
    "incidents_opened": "incidents (opened)",
    "incidents_status": "incidents (status, severity, assignee)",
    "decisions_status": "decisions (status, proposed)",
    "decisions_touched": "decisions (greatest(proposed, decided, outcome_at))",
    "duties_state": "duties (state, legal_limit)",
    "outbox_completed": "outbox (completed)",
    "outbox_moving": "outbox (outbox_id) WHERE state IN ('waiting', 'sent')",
}

REFUSE_WITH_OPEN_HOLDS = """
DO $$ BEGIN
    IF EXISTS (SELECT FROM legal_holds WHERE hold_id NOT IN (SELECT hold_id FROM legal_hold_releases)) THEN
        RAISE EXCEPTION 'legal holds are open: this step back would forget them';
    END IF;
END $$
"""


def upgrade() -> None:
    renew_partition_maker()
    for statement in TABLES:
        op.execute(statement)
    for name, columns in DESK_INDEXES.items():
        op.execute(f"CREATE INDEX {name} ON {columns}")
    append_only("legal_holds")
    append_only("legal_hold_releases")


def downgrade() -> None:
    op.execute(REFUSE_WITH_OPEN_HOLDS)
    for name in (*DESK_INDEXES, "device_events_received"):
        op.execute(f"DROP INDEX {name}")
    for table in ("keep_rounds", "known_receipts", "dropped_days", "legal_hold_releases", "legal_holds"):
        op.execute(f"DROP TABLE {table}")
