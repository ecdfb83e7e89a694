"""The fault plan with real processes, servers and signals. `make torture` runs it and writes docs/reliability.md."""
