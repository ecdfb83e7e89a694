"""One file per detector family."""
