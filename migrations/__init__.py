"""Alembic migrations: the branches `smc` and `esmc`; the same files run on PostgreSQL and on TimescaleDB."""
