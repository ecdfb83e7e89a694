"""Pages of the local dashboard."""
