"""The pan-European centre's memory."""
