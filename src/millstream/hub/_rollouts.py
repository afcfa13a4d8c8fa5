"""Carries out roll-outs: asks the sites, releases the next ones, keeps the progress. All of it is in the bucket, so
that a hub that was restarted goes on where it was; what was released twice by that is stored once."""

from __future__ import annotations

import asyncio

import msgspec

from millstream.bus import (
    CONFIG,
    CONFIG_PREFIX,
    ROLLOUTS,
    ROLLOUTS_PREFIX,
    RawConnection,
    StreamApi,
    decode_answer,
)
from millstream.kernel import Clock, DecodeError, FencedError, PlantError, Unreachable, beside_one_another
from millstream.protocols.nats_wire import WireMessage
from millstream.protocols.rollout import Rollout, RolloutSite, decode_rollout, encode_rollout, released, step
from millstream.sdk import Log

TICK_S = 1.0
REPORT_TIMEOUT_S = 2.0
ASKED_AT_ONCE_MAX = 64
RELEASED_AT_ONCE_MAX = 32  # each is stored synced before the next step


class RolloutEngine:
    """Run `run` in the node's task group."""

    def __init__(self, connection: RawConnection, *, clock: Clock, log: Log) -> None:
        self._connection = connection
        self._api = StreamApi(connection)
        self._clock = clock
        self._log = log
        self._running: set[str] = set()
        self._wake = asyncio.Event()

    async def run(self) -> None:
        """For ever."""
        sid = self._connection.subscribe(ROLLOUTS_PREFIX + "*", self._on_change)
        try:
            self._wake.set()
            while True:
                await self._wake.wait()
                self._wake.clear()
                try:
                    self._running = set(await self._names())
                    while self._running:
                        for name in sorted(self._running):
                            await self._advance(name)
                        await self._clock.sleep(TICK_S)
                except PlantError as error:  # the own server restarts: its supervisor tells
                    self._log.warning("roll-outs wait", error=str(error))
                    await self._clock.sleep(TICK_S)
                    self._wake.set()
        finally:
            self._connection.unsubscribe(sid)

    def _on_change(self, messages: list[WireMessage]) -> None:
        for message in messages:
            self._running.add(message[1].decode("utf-8", "replace").removeprefix(ROLLOUTS_PREFIX))
        self._wake.set()

    async def _names(self) -> list[str]:
        raw = await self._api.request(f"STREAM.INFO.{ROLLOUTS}", {"subjects_filter": ROLLOUTS_PREFIX + "*"})
        return [subject.removeprefix(ROLLOUTS_PREFIX) for subject in raw["state"].get("subjects") or {}]

    async def _advance(self, name: str) -> None:
        """One step of one roll-out. Who changes it at the same time comes first; the next step sees that."""
        found = await self._api.last(ROLLOUTS, ROLLOUTS_PREFIX + name)
        try:
            rollout = decode_rollout(found.payload) if found is not None else None
        except DecodeError:
            rollout = None
        if found is None or rollout is None or rollout.state != "running":
            self._running.discard(name)
            return
        reports = await self._reports([site.edge for site in rollout.sites if site.state == "released"])
        now, edges = step(rollout, reports, self._clock.now_ns())
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

    async def _reports(self, edges: list[str]) -> dict[str, dict[str, object] | None]:
        async def ask(edge: str) -> dict[str, object] | None:
            try:
                answer = await self._connection.request(
                    f"millstream.node.{edge}.config", b"", timeout_s=REPORT_TIMEOUT_S
                )
                return msgspec.json.decode(answer[4], type=dict[str, object])
            except (Unreachable, msgspec.DecodeError):
                return None

        return dict(zip(edges, await beside_one_another(ask, edges, at_once=ASKED_AT_ONCE_MAX), strict=True))

    async def _release(self, rollout: Rollout, site: RolloutSite) -> tuple[str, str] | None:
        """Put the prepared revision on top of what it was made from; code and reason when that is not possible."""
        prepared = await self._api.last(ROLLOUTS, f"{ROLLOUTS_PREFIX}{rollout.name}.{site.edge}")
        if prepared is None:
            return "MS-2430", "its revision is gone from the bucket"
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

    async def _save(self, rollout: Rollout, seq: int) -> None:
        lines = f"Nats-Expected-Last-Subject-Sequence: {seq}\r\n".encode()
        try:
            answer = await self._connection.request(
                ROLLOUTS_PREFIX + rollout.name, encode_rollout(rollout), header_lines=lines
            )
            decode_answer(answer[4], where=rollout.name)
        except FencedError:
            self._log.info("roll-out was changed meanwhile", name=rollout.name)
