"""Values, durations and sizes as people read them, in commands and messages."""

from __future__ import annotations


def printable(value: object) -> str:
    """A cell as text: nothing for None, no control characters of a foreign device on the terminal."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6g}" if abs(value) < 1e15 else repr(value)
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in str(value))


def duration_text(seconds: float) -> str:
    """A rough duration for people: "350ms", "12.5s", "3min", "2.5h", "4d"."""
    if seconds < 0:
        return f"-{duration_text(-seconds)}"
    for size, unit in ((86400.0, "d"), (3600.0, "h"), (60.0, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.3g}{unit}"
    return f"{seconds:.3g}s" if seconds >= 1 else f"{seconds * 1e3:.0f}ms"


def size_text(count: float) -> str:
    """Bytes for people: "12 KiB"."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(count) < 1024:
            return f"{count:.3g} {unit}" if unit != "B" else f"{count:.0f} B"
        count /= 1024
    return f"{count:.3g} TiB"
