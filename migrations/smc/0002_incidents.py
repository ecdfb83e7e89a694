"""What one operator's centre makes of it: findings, incidents, decisions, duties, letters to and from Europe."""

from __future__ import annotations

from alembic import op

from migrations.shared import append_only

revision = "smc_0002"
down_revision = "smc_0001"
branch_labels = None
depends_on = None

INCIDENTS = (
    """
    CREATE TABLE incidents (
        incident_id uuid PRIMARY KEY,
        number      integer NOT NULL,
        site        text NOT NULL,
        kind        text NOT NULL,
        title       text NOT NULL,
        severity    text NOT NULL,
        status      text NOT NULL,
        opened      timestamptz NOT NULL,
        changed     timestamptz NOT NULL,
        first_seen  timestamptz NOT NULL,
        last_seen   timestamptz NOT NULL,
        devices     integer[] NOT NULL,
        findings    integer NOT NULL,
        technique   text NOT NULL,
        provenance  text NOT NULL,
        assignee    text NOT NULL DEFAULT '',
        version     integer NOT NULL DEFAULT 1,
        group_key   text NOT NULL,
        UNIQUE (site, number)
    )
    """,
    "CREATE INDEX incidents_group ON incidents (group_key, last_seen)",
    "CREATE INDEX incidents_changed ON incidents (changed)",
    """
    CREATE TABLE incident_history (
        entry       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        incident_id uuid NOT NULL REFERENCES incidents,
        at          timestamptz NOT NULL,
        actor       text NOT NULL,
        action      text NOT NULL,
        before      text NOT NULL,
        after       text NOT NULL,
        reason      text NOT NULL
    )
    """,
    "CREATE INDEX incident_history_incident ON incident_history (incident_id, entry)",
    """
    CREATE TABLE findings (
        finding_id       uuid PRIMARY KEY,
        site             text NOT NULL,
        kind             text NOT NULL,
        detector         text NOT NULL,
        detector_version text NOT NULL,
        devices          integer[] NOT NULL,
        start_time       timestamptz NOT NULL,
        end_time         timestamptz NOT NULL,
        severity         text NOT NULL,
        score            double precision NOT NULL,
        probability      double precision NOT NULL,
        title            text NOT NULL,
        explanation      text NOT NULL,
        evidence         jsonb NOT NULL,
        missing          text[] NOT NULL,
        causes           text[] NOT NULL,
        technique        text NOT NULL,
        provenance       text NOT NULL,
        incident_id      uuid REFERENCES incidents,
        created          timestamptz NOT NULL DEFAULT now()
    )
    """,
    "CREATE INDEX findings_incident ON findings (incident_id)",
    "CREATE INDEX findings_created ON findings (created)",
    "CREATE INDEX findings_devices ON findings USING gin (devices)",
    """
    CREATE TABLE decisions (
        decision_id     uuid PRIMARY KEY,
        incident_id     uuid NOT NULL REFERENCES incidents,
        playbook_id     text NOT NULL,
        title           text NOT NULL,
        reason          text NOT NULL,
        status          text NOT NULL,
        proposed        timestamptz NOT NULL,
        decided_by      text NOT NULL DEFAULT '',
        decided         timestamptz,
        decision_reason text NOT NULL DEFAULT '',
        dry_run         boolean NOT NULL DEFAULT true,
        outcome         text NOT NULL DEFAULT '',
        outcome_at      timestamptz
    )
    """,
    "CREATE INDEX decisions_incident ON decisions (incident_id)",
    """
    CREATE TABLE duties (
        duty_id           uuid PRIMARY KEY,
        incident_id       uuid NOT NULL REFERENCES incidents,
        clock             text NOT NULL,
        kind              text NOT NULL,
        occurred          timestamptz,
        detected          timestamptz,
        aware_significant timestamptz,
        aware_reportable  timestamptz,
        target            timestamptz,
        legal_limit       timestamptz,
        state             text NOT NULL,
        note              text NOT NULL DEFAULT ''
    )
    """,
    "CREATE INDEX duties_incident ON duties (incident_id)",
)

FEDERATION = (
    """
    CREATE TABLE outbox (
        outbox_id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        peer         text NOT NULL,
        number       bigint NOT NULL,
        kind         text NOT NULL,
        incident_id  uuid,
        body         bytea NOT NULL,
        created      timestamptz NOT NULL,
        state        text NOT NULL CHECK (state IN ('waiting', 'sent', 'complete', 'failed')),
        attempts     integer NOT NULL DEFAULT 0,
        last_error   text NOT NULL DEFAULT '',
        next_attempt timestamptz,
        completed    timestamptz,
        UNIQUE (peer, number)
    )
    """,
    "CREATE INDEX outbox_state ON outbox (peer, state, number)",
    "CREATE INDEX outbox_incident ON outbox (incident_id)",
    """
    CREATE TABLE inbox (
        advice_id    uuid PRIMARY KEY,
        title        text NOT NULL,
        text         text NOT NULL,
        kind         text NOT NULL,
        severity     text NOT NULL,
        technique    text NOT NULL,
        members      integer NOT NULL,
        first_seen   timestamptz NOT NULL,
        published    timestamptz NOT NULL,
        marking      text NOT NULL,
        received     timestamptz NOT NULL,
        acknowledged timestamptz,
        body         bytea NOT NULL,
        token        text NOT NULL DEFAULT ''
    )
    """,
    """
    CREATE TABLE poll_state (
        peer        text PRIMARY KEY,
        added_after text NOT NULL DEFAULT '',
        last_poll   timestamptz,
        last_error  text NOT NULL DEFAULT ''
    )
    """,
)


TABLES = ("poll_state", "inbox", "outbox", "duties", "decisions", "findings", "incident_history", "incidents")


def upgrade() -> None:
    for statement in (*INCIDENTS, *FEDERATION):
        op.execute(statement)
    append_only("incident_history")


def downgrade() -> None:
    for table in TABLES:
        op.execute(f"DROP TABLE {table}")
