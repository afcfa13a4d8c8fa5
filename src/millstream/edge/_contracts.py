"""Contracts at an edge: an offline copy of the hub's, and the pipelines told of each new version.

The hub's bucket only grows, so the copy is kept sequence by sequence: what it lacks is what stands behind its last
sequence. An edge without an uplink is its own origin.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from millstream.bus import (
    CONTRACTS,
    ContractLog,
    StreamApi,
    contracts_stream,
    decode_answer,
    delete_stream,
    ensure_stream,
)
from millstream.edge._lifecycle import Alarm
from millstream.kernel import Clock, NotFoundError, PlantError, Unreachable
from millstream.protocols.contract import ContractBook, Rule
from millstream.sdk import Log, Received

LOOK_INTERVAL_S = 1.0
CALM_INTERVAL_S = 5.0  # while no contract holds here and the hub says that it has no other; `hint` ends it
HUB_INTERVAL_S = 2.0
HUB_TOLD_INTERVAL_S = 30.0  # while the hub says that there is nothing new
OWN_LOOK_INTERVAL_S = 30.0  # in a copy writes nobody but this keeper
COPIES_PER_LOOK_MAX = 500
BROKEN_SHOWN_NS = 60_000_000_000  # how long after the last violation the alarm stands


@dataclass(slots=True)
class _Count:
    violations: int = 0
    last_ns: int = 0
    since_ns: int = 0


class ContractKeeper:
    """`open` before anything is stored, `run` in the node's task group. `on_book` is called with each new book."""

    def __init__(
        self, api: StreamApi, hub: StreamApi | None, *, clock: Clock, log: Log,
        on_book: Callable[[ContractBook], None], told_seq: Callable[[], int | None] = lambda: None,
    ) -> None:  # fmt: skip
        """`told_seq` is how far the hub says that its contracts are; None: it has to be asked."""
        self._told_seq = told_seq
        self._copied_seq: int | None = None
        self._api = api
        self._bucket = ContractLog(api)
        self._hub = hub
        self._clock = clock
        self._log = log
        self._on_book = on_book
        self._is_same_origin = False
        self._counts: dict[str, _Count] = {}
        self._asked_ns: int | None = None
        self._news = asyncio.Event()

    @property
    def book(self) -> ContractBook:
        """What holds here now."""
        return self._bucket.book

    async def open(self) -> None:
        """Make the bucket and read what is in it. Raises PlantError."""
        await ensure_stream(self._api, contracts_stream(is_copy=self._hub is not None))
        await self._look()

    async def run(self) -> None:
        """For ever."""
        looked_ns = self._clock.monotonic_ns()
        while True:
            await self._pause()
            try:
                copied, now_ns = self._copied_seq, self._clock.monotonic_ns()
                await self._follow()
                is_due = now_ns - looked_ns >= OWN_LOOK_INTERVAL_S * 1e9
                if self._hub is None or copied != self._copied_seq or is_due:
                    looked_ns = now_ns
                    await self._look()
                self._notice()
            except PlantError as error:  # the own server restarts: its supervisor tells
                self._log.info("contracts not read", error=str(error))

    def hint(self) -> None:
        """The hub has told how far its contracts are."""
        if not self._has_all():
            self._news.set()

    def _has_all(self) -> bool:
        told_seq = self._told_seq()
        return self._is_same_origin and told_seq is not None and told_seq == self._copied_seq

    async def _pause(self) -> None:
        if self.book.rules or not self._has_all():
            await self._clock.sleep(LOOK_INTERVAL_S)
            return
        self._news.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CALM_INTERVAL_S):
                await self._news.wait()

    # -- the copy -----------------------------------------------------------------------------------------------------

    async def _follow(self) -> None:
        """Copy what the hub has and the copy lacks; a hub that does not answer is asked again later."""
        now_ns = self._clock.monotonic_ns()
        pause_s = HUB_TOLD_INTERVAL_S if self._has_all() else HUB_INTERVAL_S
        if self._hub is None or (self._asked_ns is not None and now_ns - self._asked_ns < pause_s * 1e9):
            return
        self._asked_ns = now_ns
        try:
            theirs = (await self._hub.state(CONTRACTS)).last_seq
            mine = (await self._api.state(CONTRACTS)).last_seq
            if not await self._is_continued(mine, theirs):
                self._log.warning("contracts begun anew: the hub has others", copied=mine, hub=theirs)
                await delete_stream(self._api, CONTRACTS)
                await ensure_stream(self._api, contracts_stream(is_copy=True))
                mine = 0
            for seq in range(mine + 1, min(theirs, mine + COPIES_PER_LOOK_MAX) + 1):
                received = await self._hub.get(CONTRACTS, seq)
                if received is None:
                    raise NotFoundError("the hub lacks a contract", where=CONTRACTS, got=f"nothing at {seq}")
                await self._copy(received)
            self._copied_seq = min(theirs, mine + COPIES_PER_LOOK_MAX)
        except (Unreachable, NotFoundError):
            self._is_same_origin = False

    async def _is_continued(self, mine: int, theirs: int) -> bool:
        """Whether the copy is the beginning of what the hub has; looked at once for each time that it was away."""
        if theirs < mine:
            return False
        if mine and not self._is_same_origin:
            ours, other = await self._api.get(CONTRACTS, mine), await self._require_hub().get(CONTRACTS, mine)
            if ours is None or other is None or (ours.subject, ours.payload) != (other.subject, other.payload):
                return False
        self._is_same_origin = True
        return True

    def _require_hub(self) -> StreamApi:
        assert self._hub is not None
        return self._hub

    async def _copy(self, received: Received) -> None:
        lines = f"Nats-Expected-Last-Sequence: {received.seq - 1}\r\n".encode("ascii")
        answer = await self._api.connection.request(received.subject, received.payload, header_lines=lines)
        decode_answer(answer[4], where=CONTRACTS)

    # -- the book -----------------------------------------------------------------------------------------------------

    async def _look(self) -> None:
        """Read what is new in the local bucket; then the pipelines are told."""
        bucket, told, rules = self._bucket, set(self._bucket.unreadable), self.book.rules
        if not await bucket.look():
            return
        for seq in bucket.unreadable.keys() - told:
            self._log.warning("contract not understood", seq=seq, error=bucket.unreadable[seq])
        self._keep_counts(rules)
        self._on_book(self.book)
        self._log.info("contracts", enforced=len(self.book.rules), revision=self.book.revision)

    def _keep_counts(self, rules: Sequence[Rule]) -> None:
        """Violations are counted per contract over its versions, since the node started."""
        for rule in rules:
            self._counts.setdefault(rule.contract.name, _Count()).violations += rule.violations_count

    def _notice(self) -> None:
        """When each contract was last seen broken, for the alarms."""
        now_ns = self._clock.now_ns()
        for rule in self.book.rules:
            if rule.violations_count != rule.told_count:
                rule.told_count = rule.violations_count
                count = self._counts.setdefault(rule.contract.name, _Count())
                if now_ns - count.last_ns >= BROKEN_SHOWN_NS:
                    count.since_ns = now_ns
                count.last_ns = now_ns

    # -- what others see ----------------------------------------------------------------------------------------------

    def status(self) -> dict[str, object]:
        """As the node's status shows it."""
        rules = []
        for rule in self.book.rules:
            before = self._counts.get(rule.contract.name, _Count())
            violations = before.violations + rule.violations_count
            rules.append({"name": rule.contract.name, "version": rule.contract.version, "violations": violations})
        return {
            "revision": self.book.revision, "enforced": rules,
            "not_understood": [{"seq": seq, "error": error} for seq, error in self._bucket.unreadable.items()],
        }  # fmt: skip

    def alarms(self) -> list[Alarm]:
        """One for each contract that was broken in the last minute, one for those that are not understood."""
        now_ns = self._clock.now_ns()
        found = []
        for rule in self.book.rules:
            count = self._counts.get(rule.contract.name)
            if count is not None and count.last_ns and now_ns - count.last_ns < BROKEN_SHOWN_NS:
                total = count.violations + rule.violations_count
                text = f"contract {rule.contract.label} is broken: {total} in quarantine since the node started"
                found.append(Alarm("MS-0330", text, count.since_ns))
        if self._bucket.unreadable:
            newest = next(reversed(self._bucket.unreadable.values()))
            found.append(Alarm("MS-0331", f"contract not enforced, {newest}", now_ns))
        return found
