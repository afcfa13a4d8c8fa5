"""Names for the namespace from the names that devices use: snake_case, of bounded length, each once."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

NAME_CHARACTERS_MAX = 64  # of one level
CONNECTOR_CHARACTERS_MAX = 32  # of a connector, whose name is part of file names and subjects
_SPELLED = str.maketrans(
    {"ä": "ae", "ö": "oe", "ü": "ue", "Ä": "Ae", "Ö": "Oe", "Ü": "Ue", "ß": "ss", "ø": "o", "å": "a", "æ": "ae"}
    | {"°": " deg ", "µ": "u", "μ": "u", "%": " percent ", "Ω": " ohm ", "³": "3", "²": "2"}
)
_UNIT_TOKEN = re.compile(
    r"(?:(?<=[a-z0-9])|(?<![A-Za-z]))([kKMG]?Wh|[kKM]W|[kMh]Pa|[mk]A|[mk]V|[kM]Hz|k?Nm|kN|mBar)(?![A-Za-z])"
)
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def snake_case(text: str, characters_max: int = NAME_CHARACTERS_MAX) -> str:
    """``SpindleTemp1`` as ``spindle_temp1``, ``HTTPState`` as ``http_state``; "unnamed" when nothing is left.

    Letters of scripts without case stay as they are. Applied twice it changes nothing more.
    """
    return "_".join(_cut(words(text), characters_max)) or "unnamed"


def words(text: str) -> list[str]:
    """The lower-case words of a device's name."""
    whole = _UNIT_TOKEN.sub(lambda found: f" {found[1].lower()} ", _plain(text))
    lower = _HUMP.sub(" ", whole).lower()
    return "".join(c if c.isalnum() else " " for c in _plain(lower).lower()).split()


def _plain(text: str) -> str:
    """Latin letters without their marks; other scripts as they are."""
    known = unicodedata.normalize("NFKC", text).translate(_SPELLED)
    parts = (unicodedata.normalize("NFKD", c) if "LATIN" in unicodedata.name(c, "") else c for c in known)
    return "".join(c for part in parts for c in part if not (len(part) > 1 and unicodedata.combining(c)))


def _cut(parts: list[str], characters_max: int) -> Iterator[str]:
    """As many whole words as fit; a first one that does not is cut."""
    left = characters_max
    for number, part in enumerate(parts):
        if len(part) > left:
            if number == 0:
                yield part[:left]
            return
        yield part
        left -= len(part) + 1


def connector_name(text: str, taken: set[str]) -> str:
    """A name that a connector may have: ASCII, 1 to 32 characters, not in `taken`, which it joins."""
    plain = "".join(c for c in snake_case(text, CONNECTOR_CHARACTERS_MAX) if c.isascii()).strip("_")
    return unique(plain or "device", taken, CONNECTOR_CHARACTERS_MAX)


def unique(name: str, taken: set[str], characters_max: int = NAME_CHARACTERS_MAX) -> str:
    """`name`, or with a number behind it when that is in `taken`, which it joins."""
    number, found = 1, name[:characters_max]
    while found in taken:
        number += 1
        end = f"_{number}"
        found = name[: characters_max - len(end)] + end
    taken.add(found)
    return found
