"""Settings: frozen dataclasses whose fields carry a description; read once from the environment, by `app.py`.

A misspelt variable of our prefix is an error, a secret has no default, and everything dangerous is off by default.
Secrets are read from files (`SMC_..._FILE`), never from the variable itself.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from model.errors import SettingsError

T = TypeVar("T")
_MISSING = dataclasses.MISSING
_TRUE, _FALSE = {"1", "true", "yes", "on"}, {"0", "false", "no", "off"}


def setting(description: str, default: Any = _MISSING, *, variable: str = "") -> Any:
    """A dataclass field with its description; without default it is required; `variable` names it freely."""
    metadata = {"description": description, "variable": variable}
    if default is _MISSING:
        return dataclasses.field(metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def variable_of(field: dataclasses.Field[Any], prefix: str) -> str:
    """Environment variable of a field: its own name, or PREFIX_FIELD."""
    return field.metadata.get("variable") or f"{prefix}_{field.name.upper()}"


def load(kind: type[T], prefix: str, environment: Mapping[str, str]) -> T:
    """Settings of `kind` from variables `PREFIX_*`. SettingsError names variable, value, expectation."""
    fields = {variable_of(f, prefix): f for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for name in environment:
        if name.startswith(f"{prefix}_") and name not in fields:
            near = difflib.get_close_matches(name, fields, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(sorted(fields))}"
            raise SettingsError("setting", name, f"a known {prefix}_ variable", hint)
    hints = get_type_hints(kind)
    values: dict[str, Any] = {}
    for name, field in fields.items():
        if name in environment:
            values[field.name] = _parse(name, environment[name], hints[field.name])
        elif field.default is _MISSING and field.default_factory is _MISSING:
            raise SettingsError("setting", name, field.metadata["description"], f"set {name} and start again")
    return kind(**values)


def _parse(name: str, text: str, kind: Any) -> Any:
    parsers: dict[Any, Callable[[str], Any]] = {
        str: str,
        int: int,
        float: float,
        bool: _boolean,
        Path: Path,
        tuple[str, ...]: lambda t: tuple(part.strip() for part in t.split(",") if part.strip()),
    }
    try:
        return parsers[kind](text)
    except ValueError as error:
        expected = getattr(kind, "__name__", str(kind))
        raise SettingsError(name, text, f"a value of kind {expected}", f"correct {name}") from error


def _boolean(text: str) -> bool:
    lower = text.lower()
    if lower not in _TRUE | _FALSE:
        raise ValueError(text)
    return lower in _TRUE


def describe(kind: type[Any], prefix: str) -> list[tuple[str, str, str]]:
    """(variable, default or "required", description) of every setting, for `--help` and the docs."""
    rows = []
    for field in dataclasses.fields(kind):
        default = "required" if field.default is _MISSING else str(field.default)
        rows.append((variable_of(field, prefix), default, field.metadata.get("description", "")))
    return rows
