"""Breakout Gateway: links to devices."""
