"""Blocks from simulated fleets, as the gateway would make them."""

from __future__ import annotations

from analytics.fleet import Fleet, build_fleet
from bench.fleets import START_NS, fleet_blocks, fleet_of
from norm.fleet import Fleet as Twins

__all__ = ["START_NS", "blocks", "devices_of", "known_fleet"]

blocks, devices_of = fleet_blocks, fleet_of


def known_fleet(twins: Twins) -> Fleet:
    """What detectors know of it."""
    return build_fleet(devices_of(twins))
