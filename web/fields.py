"""Fields above a list: what is searched, what is chosen, which page of it. They look and behave alike everywhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dash_mantine_components as dmc
from dash import html

SEARCH_AFTER_MS = 300  # of quiet: a word is searched, not its letters


def filters(*fields: Any) -> html.Div:
    """A row of fields; narrow screens break it."""
    return html.Div(list(fields), className="filters")


def search(id: str, value: str, placeholder: str) -> dmc.TextInput:  # noqa: A002  Dash's own name
    """The field of words; `placeholder` says in what they are looked for."""
    return dmc.TextInput(
        id=id, label="Search", placeholder=placeholder, value=value, debounce=SEARCH_AFTER_MS, className="grow"
    )


def choice(
    id: str,  # noqa: A002  Dash's own name
    label: str,
    value: str,
    words: Mapping[str, str],
    width_px: int,
    other: str = "",
) -> dmc.Select:
    """One of several: `words` by value. A value that no word knows, out of an address, reads as `other`."""
    known = words if value in words else {**words, value: other or value}
    data = [{"value": one, "label": word} for one, word in known.items()]
    return dmc.Select(id=id, label=label, value=value, data=data, allowDeselect=False, w=width_px)


def pager(id: str, total: int, rows: int, page: int) -> dmc.Pagination:  # noqa: A002  Dash's own name
    """Numbers of the pages of `rows` each; nothing where one page holds all."""
    return dmc.Pagination(
        id=id, total=pages_of(total, rows), value=page, size="sm", withControls=False, hideWithOnePage=True
    )


def pages_of(total: int, rows: int) -> int:
    """How many pages, one at least."""
    return max(1, -(-total // rows))
