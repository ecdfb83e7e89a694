"""Whose fault is it? Every error of Grid SMC hangs on this tree.

    GridSmcError
    ├── PeerError            a device, file or partner sent something wrong: count, quarantine with its bytes, go on
    │   ├── DecodeError      bytes that are no valid frame, pack or envelope
    │   ├── UnknownDevice    a valid message of somebody who is not enrolled
    │   └── NotTrusted       a wrong signature, certificate, replay or sequence
    ├── OperatorError        the person at the keyboard can mend it: one clear line, exit code 2
    │   ├── SettingsError    a setting is missing, misspelt or out of range
    │   └── SetupError       a database, port, file or program is not as needed
    ├── NotPermitted         the role may not do this (also: not signed in)
    └── Conflict             somebody else changed it first, or the step is not allowed from here

Everything else that is raised is our own fault: it ends the stage, and the supervisor starts it again.
A fact about the grid is never an error: it is a `model.finding.Finding`.
"""

from __future__ import annotations


class GridSmcError(Exception):
    """Root of the tree; never raised itself."""


class PeerError(GridSmcError):
    """A peer's fault. `reason` is a short stable key (it labels a counter), the rest is for people.

    >>> str(PeerError("crc", "CHK of a C37.118 frame", "0x1234", "0x29b1"))
    'CHK of a C37.118 frame is 0x1234, expected 0x29b1'
    """

    def __init__(self, reason: str, what: str, value: object, expected: object) -> None:
        self.reason = reason
        self.what = what
        self.value = value
        self.expected = expected
        super().__init__(f"{what} is {value}, expected {expected}")


class DecodeError(PeerError):
    """Bytes that are no valid frame, pack or envelope."""


class UnknownDevice(PeerError):
    """A valid message of somebody who is not enrolled."""


class NotTrusted(PeerError):
    """A wrong signature, certificate, replay or sequence."""


class OperatorError(GridSmcError):
    """The operator can mend it. Printed as one line: what, which value, what was expected, what to do."""

    def __init__(self, what: str, value: object, expected: object, remedy: str) -> None:
        self.what = what
        self.value = value
        self.expected = expected
        self.remedy = remedy
        super().__init__(f"{what} is {value!r}, expected {expected}: {remedy}")


class SettingsError(OperatorError):
    """A setting is missing, misspelt or out of range."""


class SetupError(OperatorError):
    """A database, port, file or program is not as needed."""


class NotPermitted(GridSmcError):
    """The role may not do this. The text never tells more than the rule that was missing."""


class Conflict(GridSmcError):
    """Somebody else changed it first, or the step is not allowed from the present state."""
