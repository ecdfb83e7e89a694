"""Codecs: bytes to blocks and events and back; pure, no I/O."""
