"""Return codes and error words of a PLC as qualities and as errors with a code of their own."""

from __future__ import annotations

from millstream.kernel import AuthError, PlantError, Unreachable
from millstream.model import (
    BAD,
    BAD_NODE_ID_UNKNOWN,
    BAD_NOT_READABLE,
    BAD_OUT_OF_RANGE,
    BAD_TYPE_MISMATCH,
    Quality,
)

BAD_OUT_OF_SERVICE = Quality(0x808D0000)
BAD_USER_ACCESS_DENIED = Quality(0x801F0000)
BAD_DEVICE_FAILURE = Quality(0x808B0000)
BAD_NOT_WRITABLE = Quality(0x803B0000)
HARDWARE, ACCESS_REFUSED, OUT_OF_RANGE, TYPE_UNKNOWN, TYPE_WRONG, NO_OBJECT = 1, 3, 5, 6, 7, 10
RETRY_REFUSED_S = 30.0  # somebody has to change the PLC's settings first

_ITEMS: dict[int, tuple[Quality, str, str]] = {
    HARDWARE: (BAD_DEVICE_FAILURE, "hardware fault", "MS-1206"),
    ACCESS_REFUSED: (BAD_USER_ACCESS_DENIED, "access refused", "MS-1205"),
    OUT_OF_RANGE: (BAD_OUT_OF_RANGE, "beyond the end", "MS-1203"),
    TYPE_UNKNOWN: (BAD_TYPE_MISMATCH, "data type not supported", "MS-1206"),
    TYPE_WRONG: (BAD_TYPE_MISMATCH, "data type or size inconsistent", "MS-1206"),
    NO_OBJECT: (BAD_NODE_ID_UNKNOWN, "does not exist", "MS-1202"),
}
_FUNCTION_REFUSED = (0x8104, 0x8702, 0xD0A1)
_PASSWORD_WRONG = (0xD602, 0x0119)
_PASSWORD_NEEDED = (0xD241,)


def item_quality(code: int) -> tuple[Quality, str]:
    """Quality and words for the return code of one item."""
    quality, words, _ = _ITEMS.get(code, (BAD, "refused", "MS-1206"))
    return quality, f"return code 0x{code:02x}: {words}"


def block_error(name: str, code: int, first_code: int | None, where: str) -> tuple[Quality, PlantError]:
    """Why a block is refused, by the code of the read and that of a read of its first byte (None: not made).

    A block whose very first byte is out of range is there, but keeps its layout to itself: optimised access.
    """
    quality, words, error_code = _ITEMS.get(code, (BAD, "refused", "MS-1206"))
    step: str | None = None
    if code == OUT_OF_RANGE and first_code == OUT_OF_RANGE:
        quality, words, error_code = BAD_NOT_READABLE, "no byte can be read by its address", "MS-1204"
        step = "switch off 'Optimized block access' in the block's properties, compile and download"
    elif code == NO_OBJECT:
        step = "correct the number, or download the block; optimised blocks look like this on some CPUs"
    elif code == ACCESS_REFUSED:
        step = "permit access with PUT/GET, and reading at the CPU's protection level"
    got = f"return code 0x{code:02x}"
    return quality, PlantError(f"{name}: {words}", where=where, got=got, next_step=step, code=error_code)


def header_error(error: int, where: str) -> PlantError:
    """Why a PLC refuses a whole request, by the error word of its answer."""
    got = f"error 0x{error:04x}"
    if error in _PASSWORD_WRONG:
        return AuthError("the PLC refuses the password", where=where, got=got)
    if error in _PASSWORD_NEEDED:
        return AuthError("the PLC wants a password", where=where, got=got, next_step="set `password`")
    if error in _FUNCTION_REFUSED:
        return Unreachable(
            "the PLC refuses access with PUT/GET",
            where=where,
            got=got,
            next_step="tick 'Permit access with PUT/GET communication' under Protection in the CPU's properties",
            code="MS-1207",
            retry_after_s=RETRY_REFUSED_S,
        )
    return Unreachable("the PLC refuses the request", where=where, got=got, code="MS-1208")
