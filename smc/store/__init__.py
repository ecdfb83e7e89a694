"""The centre's memory: the only place with SQL; rows become nouns here."""
