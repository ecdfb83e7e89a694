"""One incident as a page of its own; the same parts as beside the queue, under the same key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from smc.views import detail
from smc.views.centre import Centre
from trust.roles import Action
from web import Page, Registry, parts

PAGE = Page("/incident", "Incident", "alert-triangle", Action.SEE_INCIDENTS, in_rail=False)


def layout(params: Mapping[str, str], centre: Centre) -> Any:
    """The incident of `id`."""
    incident_id = detail.incident_of(f"?id={params.get('id', '')}")
    case = detail.read_case(centre, incident_id) if incident_id else None
    back = parts.link("Back to the queue", "/incidents")
    if case is None:
        return parts.page("Incident", parts.empty("There is no incident of this id", back))
    return parts.page(case.incident.case, detail.skeleton(case, centre), actions=back)


def register(_app: Registry, _centre: Centre) -> None:
    """The callbacks of an incident are registered once, by the queue (smc.views.incidents)."""
