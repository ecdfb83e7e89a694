"""Ranking of countermeasures."""
