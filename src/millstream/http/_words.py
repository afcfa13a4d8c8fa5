"""How the faults of one kind of peer are told."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Words:
    """`peer` is what messages call it; the codes are those of `errors.toml`, None for the error's own. `needed_by` and
    `extra` are named when a library is missing."""

    peer: str
    needed_by: str
    extra: str
    unreachable: str | None = None
    protocol: str | None = None
    address: str | None = None
