"""Parts of pages: badges, figures, tables, states. Pure functions of data; colour never alone: icon, word, colour.

Looks live in assets/frame.css by class name; sizes and colours come from the tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import dash_mantine_components as dmc
from dash import dcc, html

from model.device import Provenance
from model.finding import Severity
from model.marking import Tlp
from model.time import utc_words
from web.spark import spark_uri

Children = Any
SEVERITY_ICONS = {
    Severity.CRITICAL: "diamond-filled",
    Severity.HIGH: "triangle-filled",
    Severity.MEDIUM: "circle-filled",
    Severity.LOW: "square-filled",
}
PROVENANCE_ICONS = {
    Provenance.MEASURED: "activity",
    Provenance.SIMULATED: "flask",
    Provenance.REPLAYED: "player-play",
    Provenance.EXERCISE: "target",
}
STATUS_TONES = {
    "new": "accent",
    "acknowledged": "muted",
    "investigating": "medium",
    "contained": "low",
    "proposed": "accent",
    "approved": "ok",
    "refused": "muted",
    "done": "ok",
    "failed": "critical",
    "healthy": "ok",
    "late": "high",
    "silent": "critical",
    "waiting": "medium",
    "sent": "low",
    "complete": "ok",
}


def icon(name: str, label: str = "") -> html.Span:
    """An icon of assets/icons in the colour of the text around it; without label it is decoration."""
    style = {"--icon": f"url(/assets/icons/{name}.svg)"}
    if label:
        return html.Span(className="icon", style=style, role="img", **{"aria-label": label})
    return html.Span(className="icon", style=style, **{"aria-hidden": "true"})


def severity(level: Severity | str) -> html.Span:
    """Badge of a severity: shape, word, colour."""
    value = Severity(level)
    return html.Span([icon(SEVERITY_ICONS[value]), value.value], className=f"badge tone-{value.value}")


def status(value: str, tone: str = "") -> html.Span:
    """Chip of a status word; the tone comes from the word unless given (ok, accent, muted, low … critical)."""
    word = str(value)
    chosen = tone or STATUS_TONES.get(word, "muted")
    return html.Span([html.Span(className="dot"), word.replace("-", " ")], className=f"chip tone-{chosen}")


def provenance(value: Provenance | str) -> html.Span:
    """Mark of where data come from; anything but measured is set off."""
    kind = Provenance(value)
    tone = "muted" if kind is Provenance.MEASURED else "medium"
    return html.Span([icon(PROVENANCE_ICONS[kind]), kind.value], className=f"badge outlined tone-{tone}")


def tlp(level: Tlp | str) -> html.Span:
    """Marking by the Traffic Light Protocol, in its own colours on black."""
    value = Tlp(level)
    return html.Span(f"TLP:{value.value.upper()}", className=f"tlp tlp-{value.value.replace('+', '-')}")


def time_text(moment: datetime | None, missing: str = "–") -> Children:
    """A time with its zone: UTC, or local where the person chose it in the header."""
    if moment is None:
        return html.Span(missing, className="muted")
    shown = html.Span(utc_words(moment), className="utc")
    return html.Time(shown, dateTime=moment.astimezone(UTC).isoformat(timespec="milliseconds"), className="time")


def link(text: Children, href: str, class_name: str = "") -> dcc.Link:
    """A link inside the product, without loading the page anew."""
    return dcc.Link(text, href=href, className=f"link {class_name}".strip())


def mono(text: str) -> html.Span:
    """Ids and bytes."""
    return html.Span(text, className="mono")


def page(title: Children, children: Children, *, summary: Children = None, actions: Children = None) -> html.Div:
    """The whole content of a page: heading, one sentence, actions at the right, then its panels."""
    head = html.Div(
        [
            html.Div([html.H1(title), html.P(summary, className="summary") if summary else None], className="titles"),
            html.Div(actions, className="actions") if actions else None,
        ],
        className="page-head",
    )
    return html.Div([head, *_listed(children)], className="page")


def panel(
    title: Children, children: Children, *, summary: Children = None, actions: Children = None, class_name: str = ""
) -> html.Section:
    """A panel with its heading; `summary` says in one sentence what is to be seen."""
    head = html.Div(
        [html.H2(title), html.Div(actions, className="actions") if actions else None], className="panel-head"
    )
    said = html.P(summary, className="summary") if summary else None
    return html.Section(
        [head, said, html.Div(children, className="panel-body")], className=f"panel {class_name}".strip()
    )


def columns(*children: Children, widths: str = "") -> html.Div:
    """Panels side by side; below 900 px one under the other. `widths`: CSS track list, e.g. "3fr 2fr"."""
    style = {"--tracks": widths or " ".join(["minmax(0, 1fr)"] * len(children))}
    return html.Div(list(children), className="columns", style=style)


def figures(*cards: Children) -> html.Div:
    """A row of figure cards."""
    return html.Div(list(cards), className="figures")


def figure(
    label: str,
    value: str,
    *,
    unit: str = "",
    href: str = "",
    change: str = "",
    trend: Sequence[float] = (),
    tone: str = "",
    id: Any = None,  # noqa: A002  Dash's own name
) -> Children:
    """One number with what it is, its unit, its change, and how it came here. A number with `href` is a link."""
    body = [
        html.Div(label, className="figure-label"),
        html.Div([html.Span(value, className="number"), html.Span(unit, className="unit")], className="figure-value"),
        html.Div(
            [html.Span(change, className="change"), sparkline(trend) if len(trend) > 1 else None],
            className="figure-foot",
        ),
    ]
    class_name = f"figure {f'tone-{tone}' if tone else ''}".strip()
    extra = {} if id is None else {"id": id}
    return (
        dcc.Link(body, href=href, className=class_name, **extra)
        if href
        else html.Div(body, className=class_name, **extra)
    )


def sparkline(values: Sequence[float], label: str = "") -> html.Span:
    """A small line without axes in the colour of the text around it; NaN leaves a gap."""
    attributes = {"role": "img", "aria-label": label} if label else {"aria-hidden": "true"}
    return html.Span(className="spark", style={"--spark": f"url({spark_uri(values)})"}, **attributes)


def facts(pairs: Sequence[tuple[str, Children]]) -> html.Dl:
    """Terms and what they are."""
    return html.Dl([html.Div([html.Dt(term), html.Dd(value)]) for term, value in pairs], className="facts")


def empty(title: str, next_step: Children = "", icon_name: str = "info-circle") -> html.Div:
    """Nothing there, and what to do next."""
    return _state("empty", icon_name, title, next_step)


def error(error_id: str, title: str = "This could not be shown") -> html.Div:
    """An error of ours, with the id under which the log has it."""
    told = [
        "The log has it as ",
        mono(error_id),
        ". Load the page again; if it stays, tell your administrator this id.",
    ]
    return _state("error", "alert-circle", title, told, role="alert")


def forbidden() -> html.Div:
    """The role may not see this."""
    return _state("forbidden", "lock", "Your role may not see this", "Ask an administrator if you need it.")


def not_observed(text: str = "not observed") -> html.Div:
    """No data is not good data: hatched, never green."""
    return html.Div(html.Span(text), className="not-observed")


def _state(kind: str, icon_name: str, title: str, text: Children, **attributes: str) -> html.Div:
    told = [html.Strong(title), html.P(text) if text else None]
    return html.Div([icon(icon_name), html.Div(told)], className=f"state state-{kind}", **attributes)


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a playbook or a path: state is "done", "now", "next", "planned" (written out only) or "refused"."""

    title: str
    text: Children = ""
    state: str = "next"


STEP_ICONS = {"done": "check", "now": "arrow-right", "next": "circle", "planned": "circle", "refused": "x"}


def stepper(steps: Sequence[Step]) -> html.Ol:
    """Steps one under the other with their state as icon, word and colour."""
    items = []
    for number, step in enumerate(steps, 1):
        head = html.Div(
            [html.Strong(f"{number}. {step.title}"), html.Span(step.state, className="step-state")],
            className="step-head",
        )
        body = html.Div([head, html.Div(step.text, className="step-text") if step.text else None])
        items.append(
            html.Li(
                [html.Span(icon(STEP_ICONS[step.state]), className="step-mark"), body],
                className=f"step step-{step.state}",
            )
        )
    return html.Ol(items, className="stepper")


def timeline(entries: Sequence[tuple[datetime, Children, Children]]) -> Children:
    """What happened when: (time, title, text), in the order given."""
    return html.Ol(
        [
            html.Li([time_text(at), html.Div([html.Strong(title), html.Div(text) if text else None])])
            for at, title, text in entries
        ],
        className="timeline",
    )


def button(
    text: str,
    id: Any,  # noqa: A002  Dash's own name
    *,
    kind: str = "default",
    icon_name: str = "",
    disabled: bool = False,
) -> dmc.Button:
    """A button; kind is "primary", "default" or "danger"."""
    looks = {
        "primary": {"variant": "filled"},
        "default": {"variant": "default"},
        "danger": {"variant": "outline", "color": "var(--critical)"},
    }[kind]
    section = {"leftSection": icon(icon_name)} if icon_name else {}
    return dmc.Button(text, id=id, size="sm", disabled=disabled, className=f"button-{kind}", **looks, **section)


def _listed(children: Children) -> list[Children]:
    return list(children) if isinstance(children, list | tuple) else [children]
