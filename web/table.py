"""Tables: AG Grid community, themed by CSS variables, rows with stable ids; plain lists where a grid is too much."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dash_ag_grid as dag
from dash import html

ROW_PX, HEAD_PX = 32, 34
_PARAMETERS = {
    "backgroundColor": "var(--panel)",
    "foregroundColor": "var(--text)",
    "headerBackgroundColor": "var(--panel)",
    "headerTextColor": "var(--muted)",
    "headerFontWeight": 500,
    "oddRowBackgroundColor": "var(--panel)",
    "rowHoverColor": "var(--hover)",
    "selectedRowBackgroundColor": "var(--hover)",
    "borderColor": "var(--line)",
    "accentColor": "var(--accent)",
    "fontFamily": "var(--sans)",
    "fontSize": "13px",
    "cellHorizontalPadding": "12px",
    "wrapperBorder": False,
    "wrapperBorderRadius": "0px",
    "headerColumnResizeHandleColor": "transparent",
    "tooltipBackgroundColor": "var(--raised)",
    "tooltipTextColor": "var(--text)",
    "checkboxUncheckedBorderColor": "var(--control)",
    "browserColorScheme": "inherit",
}
GRID_THEME = f"themeQuartz.withParams({json.dumps(_PARAMETERS)})"


@dataclass(frozen=True, slots=True)
class Column:
    """One column. `kind`: text, number, time (ISO text in UTC), mono, severity, status, or link.

    A link's address is in the row under the field's name with `_href` behind it.
    """

    field: str
    title: str
    kind: str = "text"
    width: int = 0  # pixels; 0: takes its share of the rest
    unit: str = ""
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def definition(self) -> dict[str, Any]:
        """AG Grid's column definition."""
        made: dict[str, Any] = {
            "field": self.field,
            "headerName": f"{self.title} ({self.unit})" if self.unit else self.title,
            "cellClass": f"cell-{self.kind}",
            "tooltipField": self.field,
        }
        made |= {"width": self.width, "suppressSizeToFit": True} if self.width else {"flex": 1, "minWidth": 120}
        if self.kind == "number":
            made |= {"type": "rightAligned", "cellClass": "cell-number ag-right-aligned-cell"}
        if self.kind in {"severity", "status"}:
            made |= {"cellRenderer": "GridMark", "cellRendererParams": {"kind": self.kind}}
        if self.kind == "time":
            made |= {"cellRenderer": "GridTime"}
        if self.kind == "link":
            made |= {"cellRenderer": "GridLink"}
        return made | dict(self.options)


def table(
    id: Any,  # noqa: A002  Dash's own name
    columns: Sequence[Column],
    rows: Sequence[Mapping[str, Any]],
    *,
    key: str = "id",
    height: int = 0,
    selection: str = "",
    nothing: str = "Nothing here yet",
    options: Mapping[str, Any] | None = None,
) -> dag.AgGrid:
    """A grid; `key` names the field with the stable row id. `height` in px, 0: as high as its rows, up to 15.

    `selection`: "", "single" or "multiple"; read it from `selectedRows`. Replace rows by Output(id, "rowData"): with
    stable ids the grid keeps selection and scroll.
    """
    shown = min(max(len(rows), 2), 15)
    tall = height or HEAD_PX + shown * ROW_PX + 4
    grid_options: dict[str, Any] = {
        "rowHeight": ROW_PX,
        "headerHeight": HEAD_PX,
        "animateRows": False,
        "suppressCellFocus": False,
        "enableCellTextSelection": True,
        "tooltipShowDelay": 600,
        "theme": {"function": GRID_THEME},
        "localeText": {"noRowsToShow": nothing},
    } | dict(options or {})
    if selection:
        mode = "singleRow" if selection == "single" else "multiRow"
        grid_options["rowSelection"] = {
            "mode": mode,
            "enableClickSelection": True,
            "checkboxes": selection == "multiple",
        }
    return dag.AgGrid(
        id=id,
        className="grid",
        columnDefs=[column.definition() for column in columns],
        rowData=[dict(row) for row in rows],
        getRowId=f"params.data.{key}",
        defaultColDef={"sortable": True, "resizable": True, "filter": False, "suppressMovable": True},
        dashGridOptions=grid_options,
        style={"height": f"{tall}px"},
    )


def plain_table(head: Sequence[str], rows: Sequence[Sequence[Any]], *, caption: str = "") -> html.Div:
    """A short list as an HTML table; cells may be components. A narrow screen shows a row as a list of its cells."""
    return html.Div(
        html.Table(
            [
                html.Caption(caption) if caption else None,
                html.Thead(html.Tr([html.Th(title, scope="col") for title in head])),
                html.Tbody([html.Tr([_cell(*pair) for pair in zip(head, row, strict=True)]) for row in rows]),
            ],
            className="plain",
        ),
        className="plain-scroll",
        tabIndex=0,  # scrolls sideways when narrow: the keyboard must get there
    )


def _cell(title: str, content: Any) -> html.Td:
    whole = html.Div(content) if isinstance(content, list | tuple) else content  # beside its title as one piece
    return html.Td(whole, **{"data-label": title})
