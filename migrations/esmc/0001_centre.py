"""The pan-European centre: members, TAXII collections, what arrived, campaigns, early alerts, acknowledgements.

Plain tables only: the centre keeps cases, never series, so the same statements run on every edition.
"""

from __future__ import annotations

from alembic import op

from migrations.shared import create_shared, drop_shared

revision = "esmc_0001"
down_revision = None
branch_labels = ("esmc",)
depends_on = None

# `sequence` is the highest JWS `seq` of a member, `outbox` its last contiguous outbox number.
MEMBERS = (
    """
    CREATE TABLE members (
        code        text PRIMARY KEY,
        name        text NOT NULL,
        country     text NOT NULL,
        area        text NOT NULL,
        simulated   boolean NOT NULL,
        certificate text NOT NULL UNIQUE,
        public_key  text NOT NULL,
        joined      timestamptz NOT NULL,
        last_seen   timestamptz,
        last_error  text NOT NULL DEFAULT '',
        errors      bigint NOT NULL DEFAULT 0,
        sequence    bigint NOT NULL DEFAULT 0,
        outbox      bigint NOT NULL DEFAULT 0,
        revoked     timestamptz
    )
    """,
    """
    CREATE TABLE seen_tokens (
        jti     text NOT NULL,
        member  text NOT NULL REFERENCES members ON DELETE CASCADE,
        expires timestamptz NOT NULL,
        PRIMARY KEY (member, jti)
    )
    """,
    "CREATE INDEX seen_tokens_expires ON seen_tokens (expires)",
)

# The row of a collection is its writer's lock: whoever adds objects updates `last_added` first and holds the row until
# the commit, so that `date_added` rises in commit order. `is_first` and `is_last` mark versions, kept on write.
TAXII = (
    """
    CREATE TABLE taxii_collections (
        collection  uuid PRIMARY KEY,
        alias       text NOT NULL UNIQUE,
        title       text NOT NULL UNIQUE,
        description text NOT NULL,
        readable    boolean NOT NULL,
        writable    boolean NOT NULL,
        last_added  timestamptz NOT NULL DEFAULT '1970-01-01 00:00:00+00'
    )
    """,
    """
    CREATE TABLE taxii_objects (
        seq          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        collection   uuid NOT NULL REFERENCES taxii_collections,
        id           text NOT NULL,
        version      timestamptz NOT NULL,
        type         text NOT NULL,
        spec_version text NOT NULL,
        date_added   timestamptz NOT NULL,
        hash         bytea NOT NULL,
        body         bytea NOT NULL,
        member       text NOT NULL,
        is_first     boolean NOT NULL,
        is_last      boolean NOT NULL,
        UNIQUE (collection, id, version)
    )
    """,
    "CREATE UNIQUE INDEX taxii_objects_added ON taxii_objects (collection, date_added)",
    "CREATE INDEX taxii_objects_last ON taxii_objects (collection, date_added) WHERE is_last",
    "CREATE INDEX taxii_objects_type ON taxii_objects (collection, type, date_added) WHERE is_last",
    """
    CREATE TABLE taxii_status (
        status    uuid PRIMARY KEY,
        member    text NOT NULL,
        requested timestamptz NOT NULL,
        body      jsonb NOT NULL
    )
    """,
    "CREATE INDEX taxii_status_requested ON taxii_status (requested)",
    """
    CREATE TABLE intake_raw (
        raw_id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        member   text NOT NULL,
        received timestamptz NOT NULL,
        outbox   bigint NOT NULL,
        body     bytea NOT NULL,
        token    text NOT NULL
    )
    """,
    "CREATE INDEX intake_raw_received ON intake_raw USING brin (received)",
    """
    CREATE TABLE quarantine (
        quarantine_id uuid PRIMARY KEY,
        received      timestamptz NOT NULL,
        peer          text NOT NULL,
        reason        text NOT NULL,
        detail        text NOT NULL,
        bytes         bytea NOT NULL,
        size          integer NOT NULL
    )
    """,
    "CREATE INDEX quarantine_received ON quarantine (received)",
)

CORRELATION = (
    "CREATE TABLE cursors (name text PRIMARY KEY, seq bigint NOT NULL)",
    "CREATE TABLE incident_techniques (incident_ref text PRIMARY KEY, technique text NOT NULL)",
    """
    CREATE TABLE incidents (
        incident_ref text PRIMARY KEY,
        member       text NOT NULL REFERENCES members,
        case_name    text NOT NULL,
        title        text NOT NULL,
        kind         text NOT NULL,
        technique    text NOT NULL,
        severity     text NOT NULL,
        status       text NOT NULL,
        confidence   smallint NOT NULL,
        sensors      integer,
        provenance   text NOT NULL,
        first_seen   timestamptz NOT NULL,
        last_seen    timestamptz NOT NULL,
        version      timestamptz NOT NULL,
        received     timestamptz NOT NULL
    )
    """,
    "CREATE INDEX incidents_story ON incidents (kind, technique, last_seen)",
    "CREATE INDEX incidents_member ON incidents (member)",
    """
    CREATE TABLE campaigns (
        campaign_id uuid PRIMARY KEY,
        number      integer GENERATED ALWAYS AS IDENTITY UNIQUE,
        kind        text NOT NULL,
        technique   text NOT NULL,
        severity    text NOT NULL,
        simulated   boolean NOT NULL,
        members     integer NOT NULL,
        incidents   integer NOT NULL,
        first_seen  timestamptz NOT NULL,
        last_seen   timestamptz NOT NULL,
        opened      timestamptz NOT NULL,
        changed     timestamptz NOT NULL,
        statistic   double precision NOT NULL,
        probability double precision NOT NULL,
        reason      text NOT NULL
    )
    """,
    """
    CREATE TABLE campaign_incidents (
        campaign_id  uuid NOT NULL REFERENCES campaigns,
        incident_ref text NOT NULL REFERENCES incidents,
        added        timestamptz NOT NULL,
        PRIMARY KEY (campaign_id, incident_ref)
    )
    """,
    "CREATE INDEX campaign_incidents_incident ON campaign_incidents (incident_ref)",
    """
    CREATE TABLE alerts (
        alert_id    uuid PRIMARY KEY,
        campaign_id uuid NOT NULL UNIQUE REFERENCES campaigns,
        report_ref  text NOT NULL UNIQUE,
        title       text NOT NULL,
        text        text NOT NULL,
        kind        text NOT NULL,
        severity    text NOT NULL,
        technique   text NOT NULL,
        members     integer NOT NULL,
        simulated   boolean NOT NULL,
        marking     text NOT NULL,
        first_seen  timestamptz NOT NULL,
        last_seen   timestamptz NOT NULL,
        created     timestamptz NOT NULL,
        published   timestamptz NOT NULL
    )
    """,
    """
    CREATE TABLE acknowledgements (
        alert_id uuid NOT NULL REFERENCES alerts,
        member   text NOT NULL REFERENCES members,
        state    text NOT NULL,
        version  timestamptz NOT NULL,
        stated   timestamptz NOT NULL,
        received timestamptz NOT NULL,
        PRIMARY KEY (alert_id, member, state, version)
    )
    """,
)

TABLES = (
    *(
        "acknowledgements",
        "alerts",
        "campaign_incidents",
        "campaigns",
        "incidents",
        "incident_techniques",
        "cursors",
        "quarantine",
    ),
    *("intake_raw", "taxii_status", "taxii_objects", "taxii_collections", "seen_tokens", "members"),
)


def upgrade() -> None:
    create_shared()
    for statement in (*MEMBERS, *TAXII, *CORRELATION):
        op.execute(statement)


def downgrade() -> None:
    for table in TABLES:
        op.execute(f"DROP TABLE {table}")
    drop_shared()
