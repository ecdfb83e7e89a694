"""What comes in at one operator's centre: devices, their telemetry and events, and what was refused."""

from __future__ import annotations

from alembic import op

from migrations.series import create_series, drop_series, prepare_edition, remove_edition
from migrations.shared import create_shared, drop_shared

revision = "smc_0001"
down_revision = None
branch_labels = ("smc",)
depends_on = None

# name: (columns, key). `time` is the device's own, cut to the microsecond; phasor rows hold the frames of one UTC
# second or a part of it, keyed by their first frame, one array element per frame.
SERIES = {
    "meter_readings": (
        """
        device_id           integer NOT NULL,
        time                timestamptz NOT NULL,
        received            timestamptz NOT NULL,
        time_error_ns       bigint NOT NULL,
        sequence            bigint NOT NULL,
        quality             bigint NOT NULL,
        provenance          smallint NOT NULL,
        energy_import_wh    double precision NOT NULL,
        energy_export_wh    double precision NOT NULL,
        power_w             real NOT NULL,
        reactive_power_var  real NOT NULL,
        voltage_l1_v        real NOT NULL,
        voltage_l2_v        real NOT NULL,
        voltage_l3_v        real NOT NULL,
        current_l1_a        real NOT NULL,
        current_l2_a        real NOT NULL,
        current_l3_a        real NOT NULL,
        frequency_hz        real NOT NULL
        """,
        ("device_id", "time"),
    ),
    "phasor_seconds": (
        """
        device_id       integer NOT NULL,
        time            timestamptz NOT NULL,
        received        timestamptz NOT NULL,
        provenance      smallint NOT NULL,
        frames          smallint NOT NULL,
        offset_ns       integer[] NOT NULL,
        time_error_ns   bigint[] NOT NULL,
        quality         bigint[] NOT NULL,
        frequency_hz    real[] NOT NULL,
        rocof_hz_per_s  real[] NOT NULL
        """,
        ("device_id", "time"),
    ),
    "phasors": (
        """
        device_id  integer NOT NULL,
        channel    smallint NOT NULL,
        time       timestamptz NOT NULL,
        magnitude  real[] NOT NULL,
        angle_rad  real[]
        """,
        ("device_id", "channel", "time"),
    ),
}

TABLES = (
    """
    CREATE TABLE sites (
        code      text PRIMARY KEY,
        name      text NOT NULL,
        country   text NOT NULL,
        area      text NOT NULL,
        simulated boolean NOT NULL
    )
    """,
    """
    CREATE TABLE devices (
        index             integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        name              text NOT NULL UNIQUE,
        kind              text NOT NULL,
        protocol          text NOT NULL,
        site              text NOT NULL,
        provenance        text NOT NULL,
        enrolment         text NOT NULL,
        unit              text NOT NULL,
        zone              text NOT NULL,
        feeder            text NOT NULL,
        gateway           text NOT NULL,
        vendor            text NOT NULL,
        firmware          text NOT NULL,
        nominal_hz        real NOT NULL,
        nominal_voltage_v real NOT NULL,
        channels          jsonb NOT NULL,
        created           timestamptz NOT NULL DEFAULT now(),
        changed           timestamptz NOT NULL DEFAULT now()
    )
    """,
    """
    CREATE TABLE latest (
        device_id  integer PRIMARY KEY,
        time       timestamptz NOT NULL,
        received   timestamptz NOT NULL,
        provenance smallint NOT NULL,
        quality    bigint NOT NULL,
        "values"   double precision[] NOT NULL
    ) WITH (fillfactor = 50)
    """,
    # Two contents for one device and time: the first stays in the series, the later ones are kept here.
    """
    CREATE TABLE reading_conflicts (
        conflict_id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        device_id        integer NOT NULL,
        time             timestamptz NOT NULL,
        received         timestamptz NOT NULL,
        columns          text[] NOT NULL,
        stored           double precision[] NOT NULL,
        offered          double precision[] NOT NULL,
        stored_quality   bigint NOT NULL,
        offered_quality  bigint NOT NULL,
        stored_sequence  bigint NOT NULL,
        offered_sequence bigint NOT NULL,
        digest           bytea NOT NULL,
        UNIQUE (device_id, time, digest)
    )
    """,
    "CREATE INDEX reading_conflicts_received ON reading_conflicts (received)",
    """
    CREATE TABLE device_events (
        event_id  uuid PRIMARY KEY,
        device_id integer NOT NULL,
        time      timestamptz NOT NULL,
        received  timestamptz NOT NULL,
        kind      text NOT NULL,
        severity  text NOT NULL,
        payload   jsonb NOT NULL
    )
    """,
    "CREATE INDEX device_events_device ON device_events (device_id, time)",
    "CREATE INDEX device_events_time ON device_events (time)",
    """
    CREATE TABLE quarantine (
        quarantine_id uuid PRIMARY KEY,
        received      timestamptz NOT NULL,
        last_received timestamptz NOT NULL,
        link          text NOT NULL,
        peer          text NOT NULL,
        reason        text NOT NULL,
        what          text NOT NULL,
        value         text NOT NULL,
        expected      text NOT NULL,
        bytes         bytea NOT NULL,
        size          integer NOT NULL,
        count         integer NOT NULL
    )
    """,
    "CREATE INDEX quarantine_last_received ON quarantine (last_received)",
    "CREATE INDEX quarantine_origin ON quarantine (link, peer, reason)",
)


def upgrade() -> None:
    prepare_edition()
    create_shared()
    for name, (columns, key) in SERIES.items():
        create_series(name, columns, key)
    for statement in TABLES:
        op.execute(statement)


def downgrade() -> None:
    for table in ("quarantine", "device_events", "reading_conflicts", "latest", "devices", "sites"):
        op.execute(f"DROP TABLE {table}")
    for name in reversed(SERIES):
        drop_series(name)
    drop_shared()
    remove_edition()
