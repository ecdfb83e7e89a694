"""What `app.py` can do: each file wires rooms together for one group of commands; no logic of its own."""
