"""The pan-European centre."""
