"""Carries out roll-outs: asks the sites, releases the next ones, keeps the progress. All of it is in the bucket, so
that a hub that was restarted goes on where it was; what was released twice by that is stored once.

What is released is what was prepared when it started: the same number and digest, still vouched for by its author, for
a site that still lies where the roll-out may reach."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from millstream.bus import (
    CONFIG,
    CONFIG_PREFIX,
    ROLLOUTS,
    ROLLOUTS_PREFIX,
    RawConnection,
    StreamApi,
    decode_answer,
)
from millstream.hub._authors import Authors
from millstream.hub._site_reports import SiteReports
from millstream.kernel import (
    Clock,
    DecodeError,
    FencedError,
    NotFoundError,
    PlantError,
    beside_one_another,
)
from millstream.model import AssetPath
from millstream.protocols.below import lies_below
from millstream.protocols.nats_wire import WireMessage
from millstream.protocols.rollout import Rollout, RolloutSite, decode_rollout, encode_rollout, released, step
from millstream.protocols.site_config import decode_revision
from millstream.sdk import Log

TICK_S = 1.0
LOOK_AGAIN_S = 0.02
LOOKS_MAX = 14  # a change is heard of when it is sent, which may be before it is stored: looked for so many steps
WAITS_A_SITE = 4  # in its time: who answers is not taken for one that is away
RELEASED_AT_ONCE_MAX = 32  # each is stored synced before the next step
OVER_COUNT_MAX = 200  # of those that are over; their progress can be looked at
PREPARED_S = 86_400.0  # what was prepared and never started is forgotten after it


class RolloutEngine:
    """Run `run` in the node's task group."""

    def __init__(
        self, connection: RawConnection, places: Callable[[], Mapping[str, str]], authors: Authors | None, *,
        clock: Clock, log: Log,
    ) -> None:  # fmt: skip
        """`places`: each site's path. `authors`: who may sign; None where nobody has to."""
        self._connection = connection
        self._places = places
        self._authors = authors
        self._api = StreamApi(connection)
        self._clock = clock
        self._log = log
        self._running: set[str] = set()
        self._heard: dict[str, int] = {}  # name -> how many looks are left
        self._wake = asyncio.Event()

    async def run(self) -> None:
        """For ever."""
        sid = self._connection.subscribe(ROLLOUTS_PREFIX + "*", self._on_change)
        try:
            async with asyncio.TaskGroup() as group:
                await self._run(SiteReports(self._connection, self._clock, group))
        finally:
            self._connection.unsubscribe(sid)

    async def _run(self, reports: SiteReports) -> None:
        self._wake.set()
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                self._running = set(await self._names()) | self._heard.keys()
                await self._tidy()
                while self._running:
                    asked = [await self._advance(name, reports) for name in sorted(self._running)]
                    reports.keep(set().union(*asked))
                    await reports.wait(self._pause_s())
            except PlantError as error:  # the own server restarts: its supervisor tells
                self._log.warning("roll-outs wait", error=str(error))
                await self._clock.sleep(TICK_S)
                self._wake.set()

    def _pause_s(self) -> float:
        """Shorter at first after something was heard of: it will be stored in a moment."""
        looks = max((LOOKS_MAX - left for left in self._heard.values()), default=0)
        return min(TICK_S, LOOK_AGAIN_S * 2**looks) if self._heard else TICK_S

    def _on_change(self, messages: list[WireMessage]) -> None:
        for message in messages:
            name = message[1].decode("utf-8", "replace").removeprefix(ROLLOUTS_PREFIX)
            self._heard[name] = LOOKS_MAX
            self._running.add(name)
        self._wake.set()

    async def _names(self) -> list[str]:
        raw = await self._api.request(f"STREAM.INFO.{ROLLOUTS}", {"subjects_filter": ROLLOUTS_PREFIX + "*"})
        return [subject.removeprefix(ROLLOUTS_PREFIX) for subject in raw["state"].get("subjects") or {}]

    async def _advance(self, name: str, reports: SiteReports) -> set[str]:
        """One step of one roll-out; which sites it waits for. Who changes it at the same time comes first; the next
        step sees that."""
        found = await self._api.last(ROLLOUTS, ROLLOUTS_PREFIX + name)
        try:
            rollout = decode_rollout(found.payload) if found is not None else None
        except DecodeError:
            rollout = None
        if found is None or rollout is None or rollout.state != "running":
            self._rest(name)
            return set()
        self._heard.pop(name, None)
        wanted = {site.edge: site.revision for site in rollout.sites if site.state == "released"}
        now, edges = step(rollout, reports.of(wanted), self._clock.now_ns())
        by_edge = {site.edge: site for site in now.sites}
        failures = await beside_one_another(
            lambda edge: self._release(rollout, by_edge[edge]), edges, at_once=RELEASED_AT_ONCE_MAX
        )
        for edge, failure in zip(edges, failures, strict=True):
            now = released(now, edge, self._clock.now_ns(), failure)
        if now != rollout:
            await self._save(now, found.seq)
        if now.state != rollout.state:
            self._log.info("roll-out", name=name, state=now.state, reason=now.reason)
        fresh = {site.edge: site.revision for site in now.sites if site.state == "released"}
        if now.state == "running":
            reports.ask(fresh, rollout.site_timeout_s / WAITS_A_SITE)
        return set(fresh)

    def _rest(self, name: str) -> None:
        """There is nothing to do for it, unless what was heard of it is only about to be stored."""
        looks = self._heard.pop(name, 0) - 1
        if looks > 0:
            self._heard[name] = looks
        else:
            self._running.discard(name)

    async def _release(self, rollout: Rollout, site: RolloutSite) -> tuple[str, str] | None:
        """Put the prepared revision on top of what it was made from; code and reason when that is not possible."""
        prepared = await self._api.last(ROLLOUTS, f"{ROLLOUTS_PREFIX}{rollout.name}.{site.edge}")
        if prepared is None:
            return "MS-2430", "its revision is gone from the bucket"
        try:
            await asyncio.to_thread(self._check, rollout, site, prepared.payload)
        except PlantError as error:
            return error.code, str(error)
        subject = CONFIG_PREFIX + site.edge
        lines = f"Nats-Expected-Last-Subject-Sequence: {site.base_seq}\r\n".encode()
        try:
            answer = await self._connection.request(subject, prepared.payload, header_lines=lines)
            decode_answer(answer[4], where=subject)
        except FencedError:
            newest = await self._api.last(CONFIG, subject)
            if newest is None or newest.payload != prepared.payload:
                return "MS-2406", "somebody else has changed this site meanwhile"
        return None

    def _check(self, rollout: Rollout, site: RolloutSite, payload: bytes) -> None:
        """Raise PlantError unless this is what was planned, and still may be."""
        revision, _ = decode_revision(payload, site.edge)
        if (revision.revision, revision.digest) != (site.revision, site.digest):
            raise DecodeError("another revision than was planned", where=site.edge, code="MS-2430")
        path = self._places().get(site.edge)
        root = AssetPath.parse(rollout.place) if rollout.place else None
        if path is None or not lies_below(root, path):
            raise NotFoundError("the site lies here no more", where=site.edge, expected=rollout.place, code="MS-2415")
        if self._authors is not None and revision.signature is not None:
            self._authors.check_revision(revision, path)

    async def _tidy(self) -> None:
        """Forget what was prepared for roll-outs that are over, or that never started, and the oldest of those that are
        over, beyond a bound."""
        kept = [found for name in await self._names() if (found := await self._read(name)) is not None]
        running = {rollout.name for rollout in kept if rollout.state in ("running", "stopped")}
        raw = await self._api.request(f"STREAM.INFO.{ROLLOUTS}", {"subjects_filter": f"{ROLLOUTS_PREFIX}*.*"})
        prepared = {subject.split(".")[2]: subject for subject in raw["state"].get("subjects") or {}}
        for name, subject in prepared.items():
            if name in running or (name not in {rollout.name for rollout in kept} and await self._is_fresh(subject)):
                continue
            await self._purge(f"{ROLLOUTS_PREFIX}{name}.*")
        over = sorted((r for r in kept if r.name not in running), key=lambda rollout: rollout.created_ns)
        for rollout in over[: max(0, len(over) - OVER_COUNT_MAX)]:
            await self._purge(ROLLOUTS_PREFIX + rollout.name)

    async def _read(self, name: str) -> Rollout | None:
        found = await self._api.last(ROLLOUTS, ROLLOUTS_PREFIX + name)
        try:
            return None if found is None else decode_rollout(found.payload)
        except DecodeError:
            return None

    async def _is_fresh(self, subject: str) -> bool:
        """Whether somebody may be about to start what this was prepared for."""
        found = await self._api.last(ROLLOUTS, subject)
        return found is not None and self._clock.now_ns() - found.stored_time_ns < PREPARED_S * 1e9

    async def _purge(self, subject: str) -> None:
        await self._api.request(f"STREAM.PURGE.{ROLLOUTS}", {"filter": subject})

    async def _save(self, rollout: Rollout, seq: int) -> None:
        lines = f"Nats-Expected-Last-Subject-Sequence: {seq}\r\n".encode()
        try:
            answer = await self._connection.request(
                ROLLOUTS_PREFIX + rollout.name, encode_rollout(rollout), header_lines=lines
            )
            decode_answer(answer[4], where=rollout.name)
        except FencedError:
            self._log.info("roll-out was changed meanwhile", name=rollout.name)
