"""A message on its way to a broker."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Publish:
    """To be published, or set as will."""

    topic: str
    payload: bytes
    qos: int = 0
    is_retained: bool = False
