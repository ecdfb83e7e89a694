"""Tables that both centres have: accounts, sessions, sign-in attempts, the audit chain, and the stages' heartbeats."""

from __future__ import annotations

from alembic import op

REFUSE_CHANGE = """
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only, % refused', TG_TABLE_NAME, TG_OP USING ERRCODE = 'insufficient_privilege';
END $$
"""

TABLES = (
    """
    CREATE TABLE accounts (
        account_id    uuid PRIMARY KEY,
        name          text NOT NULL UNIQUE,
        password_hash text NOT NULL,
        role          text NOT NULL,
        created       timestamptz NOT NULL,
        disabled      boolean NOT NULL DEFAULT false,
        must_change   boolean NOT NULL DEFAULT false,
        last_sign_in  timestamptz
    )
    """,
    """
    CREATE TABLE sessions (
        token_hash    bytea PRIMARY KEY,
        account_id    uuid NOT NULL REFERENCES accounts ON DELETE CASCADE,
        created       timestamptz NOT NULL,
        last_seen     timestamptz NOT NULL,
        expires       timestamptz NOT NULL,
        authenticated timestamptz NOT NULL,
        address       text NOT NULL,
        csrf          text NOT NULL
    )
    """,
    "CREATE INDEX sessions_account ON sessions (account_id)",
    """
    CREATE TABLE sign_in_attempts (
        name    text NOT NULL,
        address text NOT NULL,
        at      timestamptz NOT NULL
    )
    """,
    "CREATE INDEX sign_in_attempts_who ON sign_in_attempts (name, address, at)",
    "CREATE INDEX sign_in_attempts_address ON sign_in_attempts (address, at)",
    """
    CREATE TABLE audit (
        number   bigint PRIMARY KEY,
        at       timestamptz NOT NULL,
        actor    text NOT NULL,
        action   text NOT NULL,
        object   text NOT NULL,
        detail   jsonb NOT NULL,
        previous bytea NOT NULL,
        hash     bytea NOT NULL
    )
    """,
    "CREATE INDEX audit_at ON audit (at)",
    """
    CREATE TABLE stage_health (
        stage     text PRIMARY KEY,
        started   timestamptz NOT NULL,
        heartbeat timestamptz NOT NULL,
        counters  jsonb NOT NULL
    ) WITH (fillfactor = 50)
    """,
)


def create_shared() -> None:
    """Create the shared tables and the trigger function `refuse_change`."""
    op.execute(REFUSE_CHANGE)
    for statement in TABLES:
        op.execute(statement)
    append_only("audit")


def append_only(table: str) -> None:
    """Let the database refuse UPDATE, DELETE and TRUNCATE on a table, whoever asks."""
    op.execute(
        f"CREATE TRIGGER {table}_rows BEFORE UPDATE OR DELETE ON {table} FOR EACH ROW EXECUTE FUNCTION refuse_change()"
    )
    op.execute(
        f"CREATE TRIGGER {table}_truncate BEFORE TRUNCATE ON {table} "
        "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
    )


def drop_shared() -> None:
    """Take back `create_shared`. Tables that use `refuse_change` must be gone before."""
    for table in ("stage_health", "audit", "sign_in_attempts", "sessions", "accounts"):
        op.execute(f"DROP TABLE {table}")
    op.execute("DROP FUNCTION refuse_change()")
