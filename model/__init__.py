"""The nouns of Grid SMC: frozen dataclasses on the standard library and numpy; imports nothing of ours."""
