"""Pages of the European dashboard."""
