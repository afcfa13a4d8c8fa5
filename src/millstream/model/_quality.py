"""Quality as OPC UA StatusCode (OPC 10000-4, 7.39): 32 bits, the top two give the severity."""

from __future__ import annotations


class Quality(int):
    """An OPC UA StatusCode. Compares and hashes as the integer that goes on the wire."""

    __slots__ = ()

    @property
    def is_good(self) -> bool:
        """Severity 00: the value may be used."""
        return self >> 30 == 0

    @property
    def is_uncertain(self) -> bool:
        """Severity 01: the value may be used with care."""
        return self >> 30 == 1

    @property
    def is_bad(self) -> bool:
        """Severity 10 (or the reserved 11): the value must not be used."""
        return self >> 30 >= 2

    @property
    def allows_null(self) -> bool:
        """A value may be absent: with a bad quality it means nothing anyway, with an uncertain one the source may have
        none yet (OPC 10000-4, 7.11). With a good one its absence contradicts the quality."""
        return self >> 30 != 0

    @property
    def label(self) -> str:
        """The standard's name where it is one of the known codes, else e.g. ``Bad(0x80AB0000)``."""
        known = _LABELS.get(self & 0xFFFF0000)
        if known is not None:
            return known
        severity = "Good" if self.is_good else "Uncertain" if self.is_uncertain else "Bad"
        return f"{severity}(0x{int(self):08X})"

    def __repr__(self) -> str:
        return f"Quality({self.label})"


GOOD = Quality(0x00000000)
UNCERTAIN = Quality(0x40000000)
UNCERTAIN_INITIAL_VALUE = Quality(0x40920000)
UNCERTAIN_LAST_USABLE_VALUE = Quality(0x40900000)
BAD = Quality(0x80000000)
BAD_COMMUNICATION_ERROR = Quality(0x80050000)
BAD_DECODING_ERROR = Quality(0x80070000)
BAD_NO_COMMUNICATION = Quality(0x80310000)
BAD_NODE_ID_UNKNOWN = Quality(0x80340000)
BAD_NOT_READABLE = Quality(0x803A0000)
BAD_OUT_OF_RANGE = Quality(0x803C0000)
BAD_TYPE_MISMATCH = Quality(0x80740000)
BAD_DATA_LOST = Quality(0x809D0000)
BAD_DATA_UNAVAILABLE = Quality(0x809E0000)
BAD_WAITING_FOR_INITIAL_DATA = Quality(0x80320000)
"""Nothing is wrong: the source has had no value so far."""

_LABELS = {
    0x00000000: "Good",
    0x40000000: "Uncertain",
    0x40900000: "UncertainLastUsableValue",
    0x40920000: "UncertainInitialValue",
    0x80000000: "Bad",
    0x80050000: "BadCommunicationError",
    0x80070000: "BadDecodingError",
    0x801F0000: "BadUserAccessDenied",
    0x80310000: "BadNoCommunication",
    0x80320000: "BadWaitingForInitialData",
    0x80330000: "BadNodeIdInvalid",
    0x80340000: "BadNodeIdUnknown",
    0x803A0000: "BadNotReadable",
    0x803B0000: "BadNotWritable",
    0x803C0000: "BadOutOfRange",
    0x806D0000: "BadTooManyMatches",
    0x806F0000: "BadNoMatch",
    0x80740000: "BadTypeMismatch",
    0x808B0000: "BadDeviceFailure",
    0x808D0000: "BadOutOfService",
    0x809D0000: "BadDataLost",
    0x809E0000: "BadDataUnavailable",
}
