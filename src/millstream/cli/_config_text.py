"""The first line of a document that `config get` has printed: which site and which revision it is."""

from __future__ import annotations

import re

_HEADER = re.compile(r"\A# (?P<edge>[A-Za-z0-9][A-Za-z0-9_-]{0,31}), revision (?P<revision>\d{1,9})\n")


def with_header(edge: str, revision: int, text: str) -> str:
    """A document that knows where it is from."""
    return f"# {edge}, revision {revision}\n{text}"


def bare(text: str) -> str:
    """The document without that line."""
    return _HEADER.sub("", text, count=1)


def based_on_of(text: str) -> int | None:
    """The revision that it says; None when it says none."""
    match = _HEADER.match(text)
    return int(match["revision"]) if match is not None else None
