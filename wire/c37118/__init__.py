"""IEEE C37.118.2-2011 (and 2005): frames, configurations, data, commands. Bytes in, nouns and blocks out; no I/O.

`stream` splits a byte stream into frames, `session` knows one sender, `configuration` and `configuration3` read and
write what a stream carries, `data` turns many DATA frames of one stream into blocks at once and back, `gather` does so
for many connections, `status` names every bit of STAT and time quality, `messages` are commands and headers.
"""
