"""The error registry: code -> title, cause, remedy, read from ``errors.toml`` (`millstream explain CODE`)."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files


@dataclass(frozen=True, slots=True)
class ErrorEntry:
    """What a person needs to know about one code."""

    code: str
    title: str
    cause: str
    remedy: str


@cache
def error_registry() -> Mapping[str, ErrorEntry]:
    """All codes of this version, keyed by code."""
    raw = tomllib.loads(files("millstream").joinpath("errors.toml").read_text(encoding="utf-8"))
    return {code: ErrorEntry(code, e["title"], e["cause"], e["remedy"]) for code, e in raw.items()}
