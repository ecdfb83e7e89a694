"""The tests mirror the rooms; what they share lies in `tests.servers`."""
