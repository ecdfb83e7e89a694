"""Storing: our path against the limit, the server's own COPY of the same rows from a file into a table without index.

Both on plain PostgreSQL and on TimescaleDB. Every rate is the best of a few rounds in one run, so that a busy machine
slows both sides; the goals are ratios.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np
from sqlalchemy import Connection, Engine, text

from bench.table import Row, row
from host.database import engine, migrate
from host.postgres import ADMINISTRATOR, Postgres
from model.block import METER_COLUMNS, Block, Origin, Schema, phasor_columns
from model.device import Provenance
from model.time import NS_PER_S
from scripts import timescale  # type: ignore[import-not-found]
from smc.store import frames, meters
from smc.store.copy import SIGNATURE, TRAILER, Batch, copy_batches, encode
from smc.store.ingest import store_block

AREA = "storage"
ROUNDS = 5  # in turn, so that a busy moment of the machine does not hit one side alone
BATCH_ROWS = 20_000
BATCHES = 10
METERS = 1_000
PMUS, FRAMES_PER_S, SECONDS, PHASORS = 400, 50, 5, 6
START_NS = 1_793_520_000 * NS_PER_S
_LIMIT = "server-side COPY of a file, no index"


@dataclass(frozen=True)
class _Times:
    """Seconds for the same rows: server-side COPY, our encoder and COPY without index, our whole path, known rows."""

    limit_s: float
    bare_s: float
    client_s: float  # CPU of this process in the bare path
    whole_s: float
    known_s: float


def run() -> list[Row]:
    """Rates of meter rows and of phasor values on both editions."""
    options = {"shared_buffers": "512MB", "max_wal_size": "4GB"}
    rows = []
    with tempfile.TemporaryDirectory(prefix="grid-smc-bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o711)  # a server started by root runs as nobody and must get through
        with Postgres(folder / "plain", options=options, durable=False) as server:
            rows += _edition(server, folder, "plain")
        options |= timescale.OPTIONS
        with Postgres(folder / "apache", binaries=timescale.get(), options=options, durable=False) as server:
            rows += _edition(server, folder, "TimescaleDB")
    return rows


def _edition(server: Postgres, folder: Path, name: str) -> list[Row]:
    migrate(server.create_database("bench"), "smc")
    store = engine(server.url("bench", ADMINISTRATOR), "bench", pool_size=1)  # reading a server's file needs the role
    try:
        return _meters(store, folder, name) + _phasors(store, folder, name)
    finally:
        store.dispose()


def _meters(store: Engine, folder: Path, edition: str) -> list[Row]:
    blocks = _meter_blocks()
    times = _measure(store, folder, blocks, ("meter_readings",), lambda b: [("meter_readings", [meters.batch_of(b)])])
    count = BATCH_ROWS * BATCHES
    limit = count / times.limit_s
    per_row = 1e6 / count
    return [
        row(
            AREA,
            f"meter rows, encoder and COPY, no index, {edition}",
            count / times.bare_s,
            "rows/s",
            _LIMIT,
            limit,
            ">= 0.6",
        ),
        row(
            AREA,
            f"meter rows, client CPU, {edition}",
            times.client_s * per_row,
            "us/row",
            _LIMIT,
            times.limit_s * per_row,
            "<= 0.3",
        ),
        row(AREA, f"meter rows, stored whole, {edition}", count / times.whole_s, "rows/s", _LIMIT, limit, ">= 0.2"),
        row(
            AREA,
            f"meter rows, all known, {edition}",
            count / times.known_s,
            "rows/s",
            "stored new",
            count / times.whole_s,
            ">= 0.35",
        ),
    ]


def _phasors(store: Engine, folder: Path, edition: str) -> list[Row]:
    blocks = [_phasor_block(second) for second in range(SECONDS)]
    times = _measure(store, folder, blocks, ("phasor_seconds", "phasors"), frames.batches_of)
    values = SECONDS * PMUS * FRAMES_PER_S * (2 + 2 * PHASORS)
    limit = values / times.limit_s
    return [
        row(
            AREA,
            f"phasor values, encoder and COPY, no index, {edition}",
            values / times.bare_s,
            "values/s",
            _LIMIT,
            limit,
            ">= 0.6",
        ),
        row(
            AREA, f"phasor values, stored whole, {edition}", values / times.whole_s, "values/s", _LIMIT, limit, ">= 0.2"
        ),
    ]


def _measure(
    store: Engine,
    folder: Path,
    blocks: list[Block],
    series: tuple[str, ...],
    batches_of: Callable[[Block], list[tuple[str, list[Batch]]]],
) -> _Times:
    """`batches_of` says which batches of a sorted block go to which series."""
    plans = [batches_of(block.take(np.lexsort((block.time_ns, block.device)))) for block in blocks]
    bare_tables = tuple(f"bare_{table}" for table in series)
    with store.begin() as conn:
        for table in series:
            conn.exec_driver_sql(f"CREATE TABLE bare_{table} (LIKE {table})")
    limit = partial(_copy_files, files=_write_files(folder, plans))
    bare = partial(_copy_bare, plans=plans)
    whole = partial(_store_whole, blocks=blocks)
    rounds: list[tuple[float, float, float, float, float]] = []
    for _ in range(ROUNDS):
        limit_s, _ = _timed(store, limit, bare_tables)
        bare_s, client_s = _timed(store, bare, bare_tables)
        whole_s, _ = _timed(store, whole, (*series, "latest"))
        known_s, _ = _timed(store, whole, ())
        rounds.append((limit_s, bare_s, client_s, whole_s, known_s))
    return _Times(*map(min, zip(*rounds, strict=True)))


def _copy_files(conn: Connection, files: list[tuple[str, Path]]) -> None:
    for table, file in files:
        conn.exec_driver_sql(f"COPY bare_{table} FROM '{file}' (FORMAT BINARY)")


def _copy_bare(conn: Connection, plans: list[list[tuple[str, list[Batch]]]]) -> None:
    for table, batches in chain.from_iterable(plans):
        copy_batches(conn, f"bare_{table}", batches)


def _store_whole(conn: Connection, blocks: list[Block]) -> None:
    for block in blocks:
        store_block(conn, block)


def _timed(store: Engine, work: Callable[[Connection], None], emptied: tuple[str, ...]) -> tuple[float, float]:
    """Wall-clock and CPU seconds of this process for `work` and its commit, some tables emptied before."""
    with store.begin() as conn:
        for table in emptied:
            conn.execute(text(f"TRUNCATE {table}"))
    wall, client = time.perf_counter(), time.process_time()
    with store.begin() as conn:
        work(conn)
    return time.perf_counter() - wall, time.process_time() - client


def _write_files(folder: Path, blocks: list[list[tuple[str, list[Batch]]]]) -> list[tuple[str, Path]]:
    """One file per table and block, readable by the server's own account."""
    files = []
    for number, parts in enumerate(blocks):
        for table, batches in parts:
            file = folder / f"{table}_{number}.bin"
            file.write_bytes(b"".join((SIGNATURE, *map(encode, batches), TRAILER)))
            file.chmod(0o644)
            files.append((table, file))
    return files


def _meter_blocks() -> list[Block]:
    """Batches as they come in: all meters, time by time, unsorted."""
    generator = np.random.default_rng(1)
    rows = np.arange(BATCH_ROWS * BATCHES)
    device = (rows % METERS + 1).astype(np.int32)
    time_ns = START_NS + rows // METERS * 10 * NS_PER_S
    values = generator.normal(230, 5, (len(rows), len(METER_COLUMNS)))
    whole = _block(Schema.METER, METER_COLUMNS, device, time_ns, values)
    return [
        whole.take(generator.permutation(np.arange(start, start + BATCH_ROWS)))
        for start in range(0, len(rows), BATCH_ROWS)
    ]


def _phasor_block(second: int) -> Block:
    columns = phasor_columns(PHASORS)
    rows = np.arange(PMUS * FRAMES_PER_S)
    time_ns = START_NS + second * NS_PER_S + rows // PMUS * (NS_PER_S // FRAMES_PER_S)
    values = np.random.default_rng(second).normal(50, 1, (len(rows), len(columns)))
    return _block(Schema.PHASOR, columns, (rows % PMUS + 1).astype(np.int32), time_ns, values)


def _block(
    schema: Schema, columns: tuple[str, ...], device: np.ndarray, time_ns: np.ndarray, values: np.ndarray
) -> Block:
    nothing = np.full(len(device), -1, np.int64)
    quality = np.zeros(len(device), np.uint32)
    origin = Origin("bench", "bench", Provenance.SIMULATED)
    return Block(schema, columns, origin, device, time_ns, time_ns, nothing, nothing, quality, values)
