"""How long what is kept, as contracts say it; pure but for `RetentionKeeper`, which tells of each change before it
holds."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from millstream.historian._keep import KeepBook, SaidKeep
from millstream.historian._store import HistoryStoreError, Position
from millstream.kernel import PlantError
from millstream.protocols.contract import Contract, kept_s, newest_versions
from millstream.protocols.uns_pattern import Pattern

CHANGED = "retention.changed"
"""The event of a contract from whose version on samples are kept for another time."""


class ContractSource(Protocol):
    """The registry of a node, as far as it is read."""

    async def contracts(self) -> Sequence[Contract] | None:
        """All versions of all contracts; None when there are no others than at the last call. Raises Unreachable."""
        ...


Tell = Callable[[str, str, Mapping[str, Any], int], Awaitable[None]]
"""Stores one event: its id, what happened, data, when in UTC ns; the same id and time again is the same event."""


@dataclass(frozen=True, slots=True)
class Around:
    """What keeps contracts from outside: where they are read, and who is told of a change (None: nobody from here)."""

    source: ContractSource
    tell: Tell | None = None


def said_keep(contract: Contract) -> SaidKeep | None:
    """What holds for its paths; None when it says nothing of it."""
    said = {name: kept_s(text) for name, text in contract.kept().items()}
    if not said:
        return None
    return SaidKeep(contract.kind, tuple(Pattern.parse(path) for path in contract.paths), said)


def told(before: Contract | None, after: Contract) -> dict[str, Any] | None:
    """The data of the event of a change; None when nothing is kept for another time."""
    was, now = (_of(contract) for contract in (before, after))
    if was == now:
        return None
    return {
        "contract": after.name, "version": after.version, "kind": after.kind, "paths": list(after.paths),
        "before": None if before is None else {"version": before.version, **before.kept()}, "after": after.kept(),
    }  # fmt: skip


def _of(contract: Contract | None) -> object:
    if contract is None or not contract.kept():
        return None
    return contract.kept(), contract.kind, contract.paths


class RetentionKeeper:
    """Puts what contracts say into the book: a change is told, that it was told is stored, then it holds. What cannot
    be told just now does not hold yet, what held before goes on."""

    def __init__(self, around: Around, book: KeepBook) -> None:
        self._around = around
        self._book = book
        self._versions: Sequence[Contract] = ()
        self._holding: dict[str, Contract] = {}
        self._is_done = False

    async def look(
        self, position: Callable[[str], Awaitable[Position]], store: Callable[[Position], Awaitable[None]]
    ) -> None:  # fmt: skip
        """Read what is new. Raises what the source, the event or the store raises; then it is to be called again."""
        found = await self._around.source.contracts()
        if found is None and self._is_done:
            return
        self._versions, self._is_done = self._versions if found is None else found, False
        trouble: PlantError | None = None
        for name, newest in newest_versions(self._versions).items():
            try:
                await self._hold(name, newest, position, store)
            except HistoryStoreError:
                raise
            except PlantError as error:
                trouble = error
        self._book.set_contracts(_kept(self._holding.values()))
        if trouble is not None:
            raise trouble
        self._is_done = True

    async def _hold(
        self, name: str, newest: Contract, position: Callable[[str], Awaitable[Position]],
        store: Callable[[Position], Awaitable[None]],
    ) -> None:  # fmt: skip
        if self._around.tell is not None:
            at = await position(f"contract:{name}")
            if at.last_seq != newest.version:
                known = {c.version: c for c in self._versions if c.name == name}
                before = known.get(at.last_seq)
                if before is not None:
                    self._holding.setdefault(name, before)
                data = told(before, newest)
                if data is not None:
                    await self._around.tell(f"{CHANGED}/{newest.label}", CHANGED, data, newest.published_ns)
                await store(Position(f"contract:{name}", 0, newest.version))
        self._holding[name] = newest


def _kept(contracts: Iterable[Contract]) -> tuple[SaidKeep, ...]:
    return tuple(keep for contract in contracts if (keep := said_keep(contract)) is not None)
