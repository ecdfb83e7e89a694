"""Many sites, one story (used by the pan-European centre)."""
