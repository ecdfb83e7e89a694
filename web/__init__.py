"""The frame of every page; knows no centre."""
