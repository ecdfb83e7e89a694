"""The TAXII 2.1 server of the federation: mutual TLS, signed envelopes, strict reading."""
