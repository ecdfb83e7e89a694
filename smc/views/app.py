"""The desk of one centre: its pages in the frame, as a WSGI application."""

from __future__ import annotations

from flask import Flask

from smc.context import StageContext
from smc.views import advice, audit, device, devices, incident, incidents, intake, overview, sharing
from smc.views.centre import TOPICS, Centre
from web.frame import Frame, create

PAGES = (overview, incidents, incident, devices, device, intake, advice, sharing, audit)


def desk_frame(context: StageContext) -> Frame:
    """The frame with every page of this centre; tests look inside."""
    settings = context.settings
    centre = Centre(settings, context.engine, context.bus, context.clock)
    title = f"Grid SMC · {settings.site_name or settings.site}"
    return create(
        title, settings.site, PAGES, context.engine, settings, centre, topics=TOPICS, versions=centre.versions
    )


def desk_app(context: StageContext) -> Flask:
    """The desk to serve, e.g. with web.serve.serve(desk_app(context), host, port)."""
    return desk_frame(context).server
