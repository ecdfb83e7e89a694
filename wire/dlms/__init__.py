"""DLMS/COSEM push (IEC 62056): HDLC and wrapper, A-XDR, DataNotification, general-glo-ciphering, to meter readings.

`hdlc` and `wrapper` cut streams into APDUs, `apdu` and `cipher` open them, `axdr` reads the data inside, `push` brings
its registers to METER_COLUMNS, `template` does the same for the pushes of one meter model at once, `session` does all
of it for one connection.
"""
