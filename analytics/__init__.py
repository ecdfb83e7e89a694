"""Pure analysis: arrays in, findings out; no database, network, clock or log."""
