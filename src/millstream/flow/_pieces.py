"""Pieces of a key's state, for what is kept of a key and not needed for each event: each is decoded when a step asks
for it, and written when the step has put it. What a step does not touch costs neither time nor a place in the record.

    def step(head: Head, event: Event) -> tuple[Head, Sequence[Effect]]:
        hour = event.pieces.get("h17") or Hour()
        hour.parts += 1
        event.pieces.put("h17", hour)

A flow has them when its `piece_type` is given. They are stored with the state, in the same unit; a step that raises has
changed none. A step that forgets its key drops its pieces first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from millstream.flow._store import PIECE_MARK, KeyStore

NAMES_MAX = 1000  # pieces of one key that one step may touch


class Pieces:
    """Of the key whose step runs."""

    def __init__(self, store: KeyStore, piece_type: Any) -> None:
        """`piece_type` None: the flow has none."""
        self._store = store
        self._decode = msgspec.msgpack.Decoder(piece_type).decode if piece_type is not None else None
        self._head = ""
        self._open: dict[str, Any] = {}
        self._put: dict[str, Any] = {}

    def of(self, key: str) -> Pieces | None:
        """The same, for the step of another event: what was opened or put before is forgotten."""
        if self._decode is None:
            return None
        self._head = f"{key}{PIECE_MARK}"
        self._open, self._put = {}, {}
        return self

    def get(self, name: str) -> Any:
        """One piece, None when there is none. A step that changes it puts it."""
        if name in self._open:
            return self._open[name]
        assert self._decode is not None
        raw = self._store.get(self._head + name)
        found = self._open[name] = None if raw is None else self._decode(raw)
        return found

    def put(self, name: str, piece: Any) -> None:
        """Keep it with the state; None: drop it. Raises ValueError for too many at once."""
        if len(self._put) >= NAMES_MAX:
            raise ValueError(f"a step touches {NAMES_MAX} pieces of its key at most")
        self._open[name] = self._put[name] = piece

    def changes(self) -> Sequence[tuple[str, Any]]:
        """What the step has put, each with the name under which it is stored."""
        return [(self._head + name, piece) for name, piece in self._put.items()] if self._put else ()
