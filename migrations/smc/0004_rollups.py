"""Rollups of the telemetry by minute, quarter hour and day, and what the roller has to remember.

Nothing is computed here: the frontier begins at the epoch, so that the first round finds all that is stored already.
"""

from __future__ import annotations

from alembic import op

from migrations.series import create_series, drop_series

revision = "smc_0004"
down_revision = "smc_0003"
branch_labels = None
depends_on = None

LEVELS = ("minutes", "quarters", "days")
REGISTERS = ("energy_import_wh", "energy_export_wh")  # count up for years: double precision, the rest real
METER_SIGNALS = (
    *("power_w", "reactive_power_var", "voltage_l1_v", "voltage_l2_v", "voltage_l3_v"),
    *("current_l1_a", "current_l2_a", "current_l3_a", "frequency_hz"),
)
PHASOR_SIGNALS = ("frequency_hz", "rocof_hz_per_s")
KEY = ("device_id", "time")


def statistics(signals: tuple[str, ...], extremes: str) -> list[str]:
    """Columns of some signals, those of 8 bytes first, so that rows need no filling."""
    kinds = {"sum": "double precision", "square": "double precision"}
    kinds |= dict.fromkeys(("min", "max", "last"), extremes) | {"n": "integer"}
    return [f"{signal}_{what} {kind} NOT NULL" for what, kind in kinds.items() for signal in signals]


HEAD = ["time timestamptz NOT NULL", "received timestamptz NOT NULL"]
PLACE = ["device_id integer NOT NULL", "rows integer NOT NULL"]
METER_COLUMNS = [
    *HEAD,
    *statistics(REGISTERS, "double precision"),
    *statistics(METER_SIGNALS, "real"),
    *PLACE,
]
# One array element per channel. Angles are not kept: they turn with every millihertz, so that neither extremes nor
# means of a minute say anything; what tells is the difference between two units, frame by frame.
CHANNELS = [
    "magnitude_n integer[]",
    "magnitude_sum double precision[]",
    "magnitude_square double precision[]",
    "magnitude_min real[]",
    "magnitude_max real[]",
    "magnitude_last real[]",
]
PHASOR_COLUMNS = [*HEAD, *statistics(PHASOR_SIGNALS, "real"), *PLACE, *CHANNELS]

TABLES = (
    # Every bucket that ends by the frontier is either computed or named in one of the two tables below.
    """
    CREATE TABLE rollup_frontiers (
        schema   smallint PRIMARY KEY,
        frontier timestamptz NOT NULL
    )
    """,
    "INSERT INTO rollup_frontiers VALUES (1, 'epoch'), (2, 'epoch')",
    # Times that the frontier has passed and nobody has computed yet: minutes and quarter hours, or one whole day.
    """
    CREATE TABLE rollup_ranges (
        range_id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        schema       smallint NOT NULL,
        whole_day    boolean NOT NULL,
        start        timestamptz NOT NULL,
        stop         timestamptz NOT NULL,
        after_device integer NOT NULL DEFAULT -1,
        CHECK (start < stop)
    )
    """,
    # What came in behind the frontier, appended: no writer ever waits for another one, nor for the roller.
    """
    CREATE TABLE rollup_marks (
        mark_id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        schema    smallint NOT NULL,
        device_id integer NOT NULL,
        day       timestamptz NOT NULL,
        first     timestamptz NOT NULL,
        last      timestamptz NOT NULL
    )
    """,
    "CREATE INDEX rollup_marks_key ON rollup_marks (schema, device_id, day)",
)

# The two statements of the function have snapshots of their own: the frontier is read after the lock was got.
ENTER = """
CREATE FUNCTION rollup_frontier(which smallint) RETURNS timestamptz LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(hashtext('rollup_frontiers'), which);
    RETURN (SELECT frontier FROM rollup_frontiers WHERE schema = which);
END $$
"""


def upgrade() -> None:
    for level in LEVELS:
        create_series(f"meter_{level}", ", ".join(METER_COLUMNS), KEY)
        create_series(f"phasor_{level}", ", ".join(PHASOR_COLUMNS), KEY)
    for statement in TABLES:
        op.execute(statement)
    op.execute(ENTER)


def downgrade() -> None:
    op.execute("DROP FUNCTION rollup_frontier(smallint)")
    for table in ("rollup_marks", "rollup_ranges", "rollup_frontiers"):
        op.execute(f"DROP TABLE {table}")
    for level in reversed(LEVELS):
        drop_series(f"phasor_{level}")
        drop_series(f"meter_{level}")
