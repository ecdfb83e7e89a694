"""IEC 60870-5-104: APCI frames, ASDUs of the monitor direction and commands, CP56Time2a. Bytes in, nouns out; no I/O.

`apci` splits the bytes of one direction into frames, `asdu` reads and writes what an I frame carries, `elements` are
its information elements, `session` does all of it for one direction of one connection.
"""
