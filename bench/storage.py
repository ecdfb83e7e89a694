"""Storing: our path from a block to committed rows, against a limit and against what others write.

The limit is the server's own binary COPY of the same rows, sorted the same way, from files into the same tables with
the same indexes, one commit per file as we commit per block. The others are SQLAlchemy's insert() of dictionaries and
psycopg's write_row, in text COPY as it is by default and in binary COPY. On plain PostgreSQL and on TimescaleDB, with
fsync. Rates per CPU-second count this process and all of the server's, so that a busy machine changes little.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import Engine, MetaData, Table, insert, text

from bench.measure import Contender, Spent, in_turn
from bench.servers import DATABASE, EDITIONS, postgres, scratch
from bench.synthetic import FRAMES_PER_S, START_NS, meter_rows, phasor_frames
from bench.table import Row, row
from host.database import engine
from host.postgres import ADMINISTRATOR, Postgres
from model.block import METER_COLUMNS, Block
from model.time import NS_PER_S, to_datetime
from smc.store import frames, meters
from smc.store.copy import SIGNATURE, TRAILER, Batch, driver_cursor, encode
from smc.store.ingest import in_order, store_block

AREA = "storage"
BATCH_ROWS, BATCHES = 20_000, 10
READINGS_PER_METER = 20  # in a block: meters that send a few readings at a time
PMUS, SECONDS, PHASORS = 400, 5, 6
WRITTEN_ROWS, INSERTED_ROWS = 20_000, 4_000  # of the slower ways: enough to be measured
CLIENT_GOAL_US = 0.15
LIMIT = "server's COPY of the same sorted rows, same indexes"
_TYPES = {"time": "timestamptz", "received": "timestamptz", "device_id": "int4", "provenance": "int2"} | dict.fromkeys(
    ("time_error_ns", "sequence", "quality"), "int8"
)
Plan = list[tuple[str, list[Batch]]]


def run() -> list[Row]:
    """Meter rows and phasor values on both editions."""
    rows: list[Row] = []
    with scratch() as folder:
        for edition in EDITIONS:
            with postgres(folder, edition) as server:
                store = engine(server.url(DATABASE, ADMINISTRATOR), "bench", pool_size=1)  # may read a server's file
                rows += _meters(store, server, folder, edition) + _phasors(store, server, folder, edition)
                store.dispose()
    return rows


def stored(edition: str, what: str = "meter rows") -> str:
    """Name of the row that tells how fast whole blocks are stored."""
    return f"{what} stored, {edition}"


def _meters(store: Engine, server: Postgres, folder: Path, edition: str) -> list[Row]:
    blocks = _meter_blocks(BATCH_ROWS // READINGS_PER_METER)
    contenders = _ours(store, folder, blocks, ("meter_readings",), _meter_plan)
    tuples = _tuples(blocks[0], WRITTEN_ROWS)
    contenders["text"] = _contender(store, partial(_write_rows, store, tuples, binary=False))
    contenders["binary"] = _contender(store, partial(_write_rows, store, tuples, binary=True))
    contenders["insert"] = _contender(store, partial(_insert, store, tuples[:INSERTED_ROWS]))
    once = _meter_blocks(BATCH_ROWS)
    contenders["once"] = _contender(store, partial(_store, store, once))
    found = in_turn(contenders, [server.pid])
    count = BATCH_ROWS * BATCHES
    ours, limit = _per_cpu_s(found["ours"], count), _per_cpu_s(found["limit"], count)
    client_us = found["ours"].client_s / count * 1e6
    binary_us = found["binary"].client_s / WRITTEN_ROWS * 1e6
    written, inserted = _per_cpu_s(found["text"], WRITTEN_ROWS), _per_cpu_s(found["insert"], INSERTED_ROWS)
    unit = "rows/CPU-s"
    return [
        row(AREA, stored(edition), ours, unit, LIMIT, limit, ">= 0.6"),
        _wall(f"meter rows, wall clock, {edition}", found, count, "rows/s"),
        row(AREA, f"meter rows, client, {edition}", client_us, "CPU us/row", "goal", CLIENT_GOAL_US, "<= 1"),
        row(AREA, f"meter rows, client, {edition}", client_us, "CPU us/row", "write_row, binary", binary_us, "<= 0.33"),
        row(AREA, f"meter rows, {edition}", ours, unit, "psycopg write_row", written, ">= 3"),
        row(AREA, f"meter rows, {edition}", ours, unit, "SQLAlchemy insert()", inserted, ">= 20"),
        row(
            AREA,
            f"meter rows, all known, {edition}",
            _per_cpu_s(found["known"], count),
            unit,
            "stored new",
            ours,
            ">= 0.35",
        ),
        row(
            AREA,
            f"meter rows, one per meter and block, {edition}",
            _per_cpu_s(found["once"], count),
            unit,
            f"{READINGS_PER_METER} per meter and block",
            ours,
            ">= 0.35",
        ),
    ]


def _phasors(store: Engine, server: Postgres, folder: Path, edition: str) -> list[Row]:
    blocks = [
        phasor_frames(PMUS, FRAMES_PER_S, PHASORS, START_NS + second * NS_PER_S, second) for second in range(SECONDS)
    ]
    found = in_turn(_ours(store, folder, blocks, ("phasor_seconds", "phasors"), frames.batches_of), [server.pid])
    count = SECONDS * PMUS * FRAMES_PER_S
    ours, limit = _per_cpu_s(found["ours"], count), _per_cpu_s(found["limit"], count)
    name = f"frames of {PHASORS} phasors"
    return [
        row(AREA, stored(edition, name), ours, "frames/CPU-s", LIMIT, limit, ">= 0.6"),
        _wall(f"{name}, wall clock, {edition}", found, count, "frames/s"),
        row(
            AREA,
            f"{name}, all known, {edition}",
            _per_cpu_s(found["known"], count),
            "frames/CPU-s",
            "stored new",
            ours,
            ">= 0.35",
        ),
    ]


def _wall(name: str, found: dict[str, Spent], count: int, unit: str) -> Row:
    ours, limit = count / found["ours"].wall_s, count / found["limit"].wall_s
    return row(AREA, name, ours, unit, LIMIT, limit, ">= 0.6")


def _per_cpu_s(cost: Spent, count: int) -> float:
    return count / cost.cpu_s


def _ours(
    store: Engine, folder: Path, blocks: list[Block], series: tuple[str, ...], plan: Callable[[Block], Plan]
) -> dict[str, Contender]:
    """The limit, our path, and our path again over what it has just stored; `plan` says which rows go where."""
    files = _write_files(folder, [plan(in_order(block)) for block in blocks])
    tables = (*series, "latest")
    return {
        "limit": _contender(store, partial(_copy_files, store, files), tables),
        "ours": _contender(store, partial(_store, store, blocks), tables),
        "known": Contender(partial(_store, store, blocks)),
    }


def _contender(
    store: Engine, work: Callable[[], object], tables: tuple[str, ...] = ("meter_readings", "latest")
) -> Contender:
    def empty() -> None:
        with store.begin() as conn:
            conn.execute(text(f"TRUNCATE {', '.join(tables)}"))

    return Contender(work, empty)


def _meter_plan(block: Block) -> Plan:
    return [("meter_readings", [meters.batch_of(block)])]


def _copy_files(store: Engine, files: list[list[tuple[str, Path]]]) -> None:
    for parts in files:
        with store.begin() as conn:
            for table, file in parts:
                conn.exec_driver_sql(f"COPY {table} FROM '{file}' (FORMAT BINARY)")


def _store(store: Engine, blocks: list[Block]) -> None:
    for block in blocks:
        with store.begin() as conn:
            store_block(conn, block)


def _write_rows(store: Engine, rows: list[dict[str, Any]], *, binary: bool) -> None:
    statement = f"COPY meter_readings ({', '.join(rows[0])}) FROM STDIN" + " (FORMAT BINARY)" * binary
    with store.begin() as conn, driver_cursor(conn) as cursor, cursor.copy(statement) as copy:
        if binary:
            copy.set_types([_type(name) for name in rows[0]])
        for values in rows:
            copy.write_row(tuple(values.values()))


def _insert(store: Engine, rows: list[dict[str, Any]]) -> None:
    table = Table("meter_readings", MetaData(), autoload_with=store)
    with store.begin() as conn:
        conn.execute(insert(table), rows)


def _type(name: str) -> str:
    return _TYPES.get(name, "float8" if name in meters.ENERGY else "float4")


def _tuples(block: Block, count: int) -> list[dict[str, Any]]:
    """Rows as Python objects; making them is not measured."""
    ordered = in_order(block.take(slice(0, count)))
    names = ("device_id", "time", "received", "time_error_ns", "sequence", "quality", "provenance", *METER_COLUMNS)
    stamps = zip(
        map(to_datetime, ordered.time_ns.tolist()), map(to_datetime, ordered.received_ns.tolist()), strict=True
    )
    return [
        dict(zip(names, (device, time, received, -1, sequence, 0, 0, *values), strict=True))
        for device, (time, received), sequence, values in zip(
            ordered.device.tolist(), stamps, ordered.sequence.tolist(), ordered.values.tolist(), strict=True
        )
    ]


def _write_files(folder: Path, plans: list[Plan]) -> list[list[tuple[str, Path]]]:
    """One file per table and block, readable by the server's own account."""
    files = []
    for number, plan in enumerate(plans):
        parts = []
        for table, batches in plan:
            file = folder / f"{table}_{number}.bin"
            file.write_bytes(b"".join((SIGNATURE, *map(encode, batches), TRAILER)))
            file.chmod(0o644)
            parts.append((table, file))
        files.append(parts)
    return files


def _meter_blocks(count: int) -> list[Block]:
    """Blocks as they come in: time after time all of `count` meters, at each time in another order."""
    generator = np.random.default_rng(1)
    times = BATCH_ROWS * BATCHES // count
    device = np.concatenate([generator.permutation(count) for _ in range(times)]) + 1
    whole = meter_rows(device, START_NS + np.repeat(np.arange(times), count) * 10 * NS_PER_S)
    return [whole.take(slice(start, start + BATCH_ROWS)) for start in range(0, len(whole), BATCH_ROWS)]
