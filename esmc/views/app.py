"""The desk of Europe: its pages in the frame, as a WSGI application."""

from __future__ import annotations

from flask import Flask

from esmc.context import EsmcContext
from esmc.views import advice, atlas, campaigns, members
from esmc.views.centre import TOPICS, Europe
from web.frame import Frame, create

PAGES = (atlas, campaigns, members, advice)


def desk_frame(context: EsmcContext) -> Frame:
    """The frame with every page of Europe; tests look inside."""
    settings = context.settings
    europe = Europe(settings, context.engine, context.clock)
    title = "Grid SMC · Europe"
    return create(title, "ESMC", PAGES, context.engine, settings, europe, topics=TOPICS, versions=europe.versions)


def desk_app(context: EsmcContext) -> Flask:
    """The desk to serve, e.g. with web.serve.serve(desk_app(context), host, port)."""
    return desk_frame(context).server
