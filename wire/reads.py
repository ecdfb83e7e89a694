"""Meter reads as CSV, the export of an AMR or AMI system, to columns; what means what in a file is data (`Layout`).

Two forms: wide, with a column for each quantity, and long, with one value a row and a column that names its register.
A bad row is refused with its line number, the others count. Parquet is not read: the one library that reads it fully
is larger than everything else of this centre, and takes memory for hostile files that nothing here can bound; every
system that writes Parquet writes CSV as well.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, tzinfo

import numpy as np

from model.block import F64, I32, I64, METER_COLUMNS, Block, Origin
from model.errors import DecodeError
from wire.meter import column_of, meter_block
from wire.stamps import StampFormat, wall_to_utc_ns
from wire.texts import Bools, NumberFormat, good_texts

MAX_BYTES = 16 * 1024 * 1024
MAX_ROWS = 200_000
MAX_COLUMNS = 256
MAX_DEVICE = 200
_CHUNK = 8_192  # rows held as texts at once
_SHOWN = 120  # characters kept of a refused row
_DEVICE = r"[A-Za-z0-9][A-Za-z0-9\-:./_]{0,199}"

_QUOTES = DecodeError("csv", "quotes of a row of reads", "wrong", "fields after RFC 4180")
_WIDTH = DecodeError("columns", "fields of a row of reads", "another number", "as many as the header has")
_NAME = DecodeError("identity", "device of a row of reads", "no name", f"1..{MAX_DEVICE} of A-Za-z0-9-:./_")
_STAMP = DecodeError("time", "time of a row of reads", "none", "a time in the format of the layout")
_TWICE = DecodeError("ambiguous", "local time of a row of reads", "twice or never", "a time that is there once")
_NUMBER = DecodeError("value", "value of a row of reads", "no number", "a number, or nothing")
_EMPTY = DecodeError("value", "values of a row of reads", "none", "at least one")
_REGISTER = DecodeError("quantity", "register of a row of reads", "unknown", "one of the layout")
_AGAIN = DecodeError("duplicate", "values of one device, time and quantity", 2, "one")


@dataclass(frozen=True, slots=True)
class Layout:
    """What the columns of a file mean. `quantities`: (quantity, unit) by column name, or by register in the long form.

    The long form is told by `register` and `value`, the names of their columns. Times without an offset are local to
    `zone`; an hour that comes twice is refused, unless `fold` (0 first, 1 second) says which it is.
    """

    device: str
    time: str
    quantities: Mapping[str, tuple[str, str]]
    register: str = ""
    value: str = ""
    delimiter: str = ","
    decimal: str = "."
    time_format: str = "%Y-%m-%dT%H:%M:%S%z"
    zone: tzinfo = UTC
    fold: int | None = None
    prefix: str = ""  # set before each device name

    @property
    def columns(self) -> tuple[str, ...]:
        """Names that the header must have."""
        rest = (self.register, self.value) if self.register else tuple(self.quantities)
        return (self.device, self.time, *rest)


@dataclass(frozen=True, slots=True)
class Refused:
    """A row that was refused: its line from 1, its text cut short, and why."""

    line: int
    text: str
    error: DecodeError


@dataclass(frozen=True, slots=True, eq=False)
class Reads:
    """Reads of many devices: `device` (n,) counts in `names`, time_ns (n,), values (n, len(METER_COLUMNS)), NaN where
    missing. `rows` of the file were read: rows = used + refused, where a row of the long form is one value."""

    names: tuple[str, ...]
    device: I32
    time_ns: I64
    values: F64
    refused: tuple[Refused, ...]
    rows: int
    used: int

    def block(self, indices: I32, received_ns: int, origin: Origin) -> Block:
        """The block of these reads; `indices` (len(names),) are those of the enrolled devices by `names`."""
        return meter_block(indices[self.device], self.time_ns, self.values, received_ns, origin)


@dataclass(slots=True)
class _Chunk:
    """Rows of the file as texts, with their lines; `bad` collects what is refused."""

    rows: list[list[str]]
    lines: list[int]
    bad: list[Refused] = field(default_factory=list)

    def keep(self, good: Bools, error: DecodeError) -> None:
        """Refuse the rows that are not good."""
        if good.all():
            return
        for i in np.nonzero(~good)[0].tolist():
            self.bad.append(Refused(self.lines[i], ",".join(self.rows[i])[:_SHOWN], error))
        chosen = np.nonzero(good)[0].tolist()
        self.rows = [self.rows[i] for i in chosen]
        self.lines = [self.lines[i] for i in chosen]

    def column(self, at: int) -> list[str]:
        return [row[at] for row in self.rows]


def decode_reads(data: bytes, layout: Layout) -> Reads:
    """Reads of a file. Raises DecodeError (size, rows, text, columns, quantity, unit) where the whole is wrong."""
    if len(data) > MAX_BYTES:
        raise DecodeError("size", "length of a file of reads", len(data), f"<= {MAX_BYTES} bytes")
    if data.count(b"\n") + data.count(b"\r") > 2 * MAX_ROWS:
        raise DecodeError("rows", "rows of a file of reads", "more", f"<= {MAX_ROWS}")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DecodeError(
            "text", "text of a file of reads", data[error.start : error.start + 8].hex(), "UTF-8"
        ) from error
    reader = _Reader(layout)
    for chunk in _chunks(text, layout, reader.header):
        reader.take(chunk)
    return reader.result()


def _chunks(text: str, layout: Layout, header: list[str]) -> Iterator[_Chunk]:
    """Rows in portions; the header is put into `header`. Blank lines are no rows."""
    source = csv.reader(io.StringIO(text, newline=""), delimiter=layout.delimiter, strict=True)
    chunk, rows = _Chunk([], []), 0
    while True:
        try:
            row = next(source, None)
        except csv.Error:
            chunk.bad.append(Refused(source.line_num, "", _QUOTES))
            continue
        if row is None:
            break
        if not header:
            header += [name.strip() for name in row]
        elif row:
            chunk.rows.append(row)
            chunk.lines.append(source.line_num)
        if len(chunk.rows) >= _CHUNK:
            rows += len(chunk.rows)  # before the reader refuses some of them
            yield chunk
            chunk = _Chunk([], [])
        if rows > MAX_ROWS:
            raise DecodeError("rows", "rows of a file of reads", f"> {MAX_ROWS}", f"<= {MAX_ROWS}")
    yield chunk


class _Reader:
    """Turns chunks into arrays."""

    def __init__(self, layout: Layout) -> None:
        self.header: list[str] = []
        self._layout = layout
        self._stamps = StampFormat(layout.time_format)
        self._numbers = NumberFormat(layout.decimal)
        self._names: dict[str, int] = {}
        self._parts: list[tuple[I32, I64, I32, I32, F64]] = []  # device, time, line, column (-1: all), values
        self._refused: list[Refused] = []
        self._rows = 0
        self._at: dict[str, int] = {}
        self._targets = {name: column_of(*what) for name, what in layout.quantities.items()}

    def take(self, chunk: _Chunk) -> None:
        """Rows of a chunk: the good ones into arrays, the others refused."""
        self._check_header()
        self._rows += len(chunk.rows) + len(chunk.bad)
        chunk.keep(np.array([len(row) == len(self.header) for row in chunk.rows], bool), _WIDTH)
        chunk.keep(good_texts(chunk.column(self._at[self._layout.device]), _DEVICE), _NAME)
        time_ns, good = self._stamps.read_ns(chunk.column(self._at[self._layout.time]))
        chunk.keep(good, _STAMP)
        time_ns = time_ns[good]
        if not self._stamps.zoned:
            time_ns, good = wall_to_utc_ns(time_ns, self._layout.zone, self._layout.fold)
            chunk.keep(good, _TWICE)
            time_ns = time_ns[good]
        take = self._take_long if self._layout.register else self._take_wide
        take(chunk, time_ns)
        self._refused += chunk.bad

    def _check_header(self) -> None:
        missing = [name for name in self._layout.columns if self.header.count(name) != 1]
        if missing or len(self.header) > MAX_COLUMNS:
            shown = [name[:20] for name in self.header[:16]]
            raise DecodeError("columns", "header of a file of reads", shown, f"once each {missing[:16]}")
        self._at = {name: i for i, name in enumerate(self.header)}

    def _devices(self, chunk: _Chunk) -> I32:
        names = self._names
        found = [names.setdefault(name, len(names)) for name in chunk.column(self._at[self._layout.device])]
        return np.array(found, np.int32)

    def _take_wide(self, chunk: _Chunk, time_ns: I64) -> None:
        good = np.ones(len(chunk.rows), bool)
        values = np.full((len(chunk.rows), len(METER_COLUMNS)), np.nan)
        for name, (column, factor) in self._targets.items():
            texts = chunk.column(self._at[name])
            fine = self._numbers.good(texts)
            good &= fine
            values[:, column] = self._numbers.read(texts, fine) * factor
        chunk.keep(good, _NUMBER)
        values, time_ns = values[good], time_ns[good]
        there = ~np.isnan(values).all(axis=1)
        chunk.keep(there, _EMPTY)
        columns = np.full(len(chunk.rows), -1, np.int32)
        self._parts.append(
            (self._devices(chunk), time_ns[there], np.array(chunk.lines, np.int32), columns, values[there])
        )

    def _take_long(self, chunk: _Chunk, time_ns: I64) -> None:
        registers = [self._targets.get(text, (-1, 1.0)) for text in chunk.column(self._at[self._layout.register])]
        columns = np.array([column for column, _ in registers], np.int32)
        factors = np.array([factor for _, factor in registers], np.float64)
        known = columns >= 0
        chunk.keep(known, _REGISTER)
        texts = chunk.column(self._at[self._layout.value])
        good = self._numbers.good(texts)
        values = self._numbers.read(texts, good) * factors[known]
        good &= ~np.isnan(values)
        chunk.keep(good, _NUMBER)
        single = np.full((int(good.sum()), len(METER_COLUMNS)), np.nan)
        columns = columns[known][good]
        single[np.arange(len(columns)), columns] = values[good]
        lines = np.array(chunk.lines, np.int32)
        self._parts.append((self._devices(chunk), time_ns[known][good], lines, columns, single))

    def result(self) -> Reads:
        """All chunks together; rows of the long form that are one reading become one row."""
        device, time_ns, lines, columns, values = (np.concatenate(part) for part in zip(*self._parts, strict=True))
        refused, used = self._refused, len(device)
        if self._layout.register and used:
            device, time_ns, values, again = _gather(device, time_ns, columns, values)
            refused = [*refused, *(Refused(line, "", _AGAIN) for line in lines[again].tolist())]
            used -= len(again)
        names = tuple(self._layout.prefix + name for name in self._names)
        return Reads(names, device, time_ns, values, tuple(refused), self._rows, used)


def _gather(device: I32, time_ns: I64, columns: I32, values: F64) -> tuple[I32, I64, F64, I64]:
    """One row for each device and time; which values came again (the first counts)."""
    order = np.lexsort((time_ns, device))
    device, time_ns, columns, values = device[order], time_ns[order], columns[order], values[order]
    starts = np.ones(len(device), bool)
    starts[1:] = (np.diff(device) != 0) | (np.diff(time_ns) != 0)
    cell = (np.cumsum(starts) - 1) * len(METER_COLUMNS) + columns
    _, first = np.unique(cell, return_index=True)
    gathered = np.full(len(METER_COLUMNS) * int(starts.sum()), np.nan)
    gathered[cell[first]] = values[first, columns[first]]
    again = np.sort(np.delete(order, first))
    return device[starts], time_ns[starts], gathered.reshape(-1, len(METER_COLUMNS)), again


def encode_reads(reads: Reads, layout: Layout) -> bytes:
    """A file in the wide form of a layout whose quantities are in their own units."""
    out = io.StringIO()
    writer = csv.writer(out, delimiter=layout.delimiter, lineterminator="\n")
    writer.writerow(layout.columns)
    stamps = StampFormat(layout.time_format).write(reads.time_ns, layout.zone)
    targets = [column_of(*what) for what in layout.quantities.values()]
    rows: Sequence[list[float]] = reads.values.tolist()
    for i, row in enumerate(rows):
        numbers = ["" if row[c] != row[c] else repr(row[c] / f).replace(".", layout.decimal) for c, f in targets]
        writer.writerow([reads.names[reads.device[i]].removeprefix(layout.prefix), stamps[i], *numbers])
    return out.getvalue().encode()
