"""Roll-outs as people start and steer them, below the paths that the server lets them ask for.

What the hub will release is kept with the roll-out, signed site by site by its author; the desk takes no other. The
engine (`_rollouts`) goes on from there, also after a restart, and needs nobody's log-in for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import msgspec

from millstream.bus import ROLLOUTS, ROLLOUTS_PREFIX, StreamApi, decode_answer
from millstream.historian import Reply
from millstream.hub._desk import DONE, PART, Asker, DeskAround, no_name, once_of
from millstream.kernel import AuthError, DecodeError, FencedError, NotFoundError, PlantError, beside_one_another
from millstream.model import AssetPath
from millstream.protocols.act import Act, decode_act, upon_rollout
from millstream.protocols.audit import act_data, rollout_name
from millstream.protocols.below import lies_below, sites_below
from millstream.protocols.rollout import (
    STEERED,
    Rollout,
    RolloutSite,
    decode_rollout,
    encode_rollout,
    shown_rollout,
    steered,
)
from millstream.protocols.rollout_desk import RolloutAsk, RolloutPlan, decode_plan, decode_rollout_ask
from millstream.protocols.site_config import Revision, decode_revision, is_edge_name

READ_AT_ONCE = 32
CHANGES_COUNT_MAX = 20  # tries of one change beside the engine's own


class RolloutDesk:
    """Answers on ``millstream.below.rollout.<place>``."""

    def __init__(self, around: DeskAround) -> None:
        self._around = around
        self._api = StreamApi(around.connection)

    async def answer(self, asker: Asker, payload: bytes) -> AsyncGenerator[Reply, None]:
        """See `_desk.below`."""
        root = asker.root
        ask, body = decode_rollout_ask(payload)
        if ask.action == "list":
            for rollout in await self._list(root):
                yield Reply(encode_rollout(rollout), PART)
            yield Reply(b"", DONE)
            return
        if not is_edge_name(ask.name):
            raise no_name(ask.name)
        if ask.action == "prepare":
            await self._prepare(root, ask, body)
            yield Reply(b"", DONE)
        elif ask.action == "start":
            yield Reply(encode_rollout(await self._start(asker, ask, decode_plan(body))), DONE)
        elif ask.action == "show":
            yield Reply(encode_rollout((await self._find(root, ask.name))[0]), DONE)
        else:
            yield Reply(encode_rollout(await self._change(asker, ask, body)), DONE)

    # -- looking ------------------------------------------------------------------------------------------------------

    async def _list(self, root: AssetPath | None) -> list[Rollout]:
        raw = await self._api.request(f"STREAM.INFO.{ROLLOUTS}", {"subjects_filter": ROLLOUTS_PREFIX + "*"})
        names = [subject.removeprefix(ROLLOUTS_PREFIX) for subject in raw["state"].get("subjects") or {}]
        found = await beside_one_another(self._read, sorted(names), at_once=READ_AT_ONCE)
        return [each[0] for each in found if each is not None and _is_below(root, each[0])]

    async def _read(self, name: str) -> tuple[Rollout, int] | None:
        found = await self._api.last(ROLLOUTS, ROLLOUTS_PREFIX + name)
        try:
            return None if found is None else (decode_rollout(found.payload), found.seq)
        except DecodeError:
            return None

    async def _find(self, root: AssetPath | None, name: str) -> tuple[Rollout, int]:
        found = await self._read(name)
        if found is None or not _is_below(root, found[0]):
            raise _no_such(name)
        return found

    # -- starting -----------------------------------------------------------------------------------------------------

    def _path_of(self, root: AssetPath | None, edge: str) -> str:
        places = sites_below(self._around.places(), root)
        if edge not in places:  # elsewhere, or nowhere
            raise NotFoundError("no such site below this path", got=edge[:64], code="MS-2415")
        return places[edge]

    async def _prepare(self, root: AssetPath | None, ask: RolloutAsk, body: bytes) -> None:
        """Keep what this site will get. Again, until it starts, it is kept in the stead of what was."""
        revision = await asyncio.to_thread(self._proven, body, ask, self._path_of(root, ask.edge))
        if await self._api.last(ROLLOUTS, ROLLOUTS_PREFIX + ask.name) is not None:
            raise _taken(ask.name)
        await self._store(f"{ask.name}.{revision.edge}", body)

    def _proven(self, body: bytes, ask: RolloutAsk, path: str) -> Revision:
        """Raises DecodeError, AuthError."""
        revision, _ = decode_revision(body, ask.edge)
        if revision.rollout != ask.name:
            raise AuthError(
                "it was signed for another roll-out", where=ask.edge, expected=ask.name, got=revision.rollout,
                code="MS-2413",
            )  # fmt: skip
        self._around.authors.check_revision(revision, path)
        return revision

    async def _start(self, asker: Asker, ask: RolloutAsk, plan: RolloutPlan) -> Rollout:
        """From what was prepared, all of it by one author."""
        root = asker.root

        async def site(planned: tuple[str, int]) -> tuple[RolloutSite, Revision]:
            edge, base_seq = planned
            path = self._path_of(root, edge)
            kept = await self._api.last(ROLLOUTS, f"{ROLLOUTS_PREFIX}{ask.name}.{edge}")
            if kept is None:
                raise NotFoundError("nothing is prepared for this site", where=edge, got=ask.name, code="MS-2430")
            one = RolloutAsk("prepare", ask.name, edge)
            revision = await asyncio.to_thread(self._proven, kept.payload, one, path)
            return RolloutSite(edge, revision.revision, revision.digest, base_seq), revision

        found = await beside_one_another(site, plan.sites, at_once=READ_AT_ONCE)
        first = found[0][1]
        assert first.signature is not None
        key = first.signature.key
        if any(each.signature is None or each.signature.key != key for _, each in found):
            raise AuthError("its sites were signed by several authors", where=ask.name, expected=first.author)
        rollout = Rollout(
            name=ask.name, author=first.author, created_ns=self._around.clock.now_ns(), ends=plan.ends,
            sites=tuple(each for each, _ in found), comment=plan.comment, site_timeout_s=plan.site_timeout_s,
            failures_max=plan.failures_max, passes_away=plan.passes_away, place=str(root) if root is not None else "",
        )  # fmt: skip
        if not await self._store(ask.name, encode_rollout(rollout), 0):
            raise _taken(ask.name)
        by = (first.author, key, asker.origin)
        await self._tell("started", None, rollout, by, sites=[edge for edge, _ in plan.sites], stages=plan.ends)
        return rollout

    # -- steering -----------------------------------------------------------------------------------------------------

    async def _change(self, asker: Asker, ask: RolloutAsk, body: bytes) -> Rollout:
        """On top of what is there now, however often the engine is faster; as somebody signed who is an author of all
        that the roll-out reaches."""
        act = decode_act(body, ask.action, ask.name)
        for _ in range(CHANGES_COUNT_MAX):
            rollout, seq = await self._find(asker.root, ask.name)
            if act is None or rollout.by != msgspec.to_builtins(act):  # else it is done, and its answer was lost
                self._around.authors.check_act(act, ask.name, upon_rollout(rollout), rollout.place or None, "MS-2413")
            assert act is not None
            changed = self._changed(rollout, act)
            if changed == rollout:
                return changed
            if await self._store(ask.name, encode_rollout(changed), seq):
                assert act.signature is not None
                by = (act.author, act.signature.key, asker.origin)
                await self._tell(STEERED[ask.action], rollout, changed, by)
                return changed
        raise PlantError("the roll-out changes too fast", where=ask.name, next_step="try again", code="MS-2430")

    def _changed(self, rollout: Rollout, act: Act) -> Rollout:
        if rollout.by == msgspec.to_builtins(act):
            return rollout
        return steered(rollout, act.verb, act.author, self._around.clock.now_ns(), msgspec.to_builtins(act))

    async def _tell(
        self, outcome: str, before: Rollout | None, after: Rollout, by: tuple[str, str, str], **more: object
    ) -> None:
        """`by` is author, key and address. Killed before, it is told later (`_told_acts`)."""
        who, key, origin = by
        shown = None if before is None else shown_rollout(before)
        told = act_data(
            who, origin, shown, shown_rollout(after), name=after.name, place=after.place, key=key, turn=after.turn,
            **more,
        )  # fmt: skip
        once = once_of(self._around, rollout_name(after.name, after.turn))
        await self._around.audit.tell("rollout", outcome, told, once)

    async def _store(self, key: str, payload: bytes, last_seq: int | None = None) -> bool:
        """False when there is something newer than `last_seq` (None: whatever there is)."""
        subject = ROLLOUTS_PREFIX + key
        lines = b"" if last_seq is None else f"Nats-Expected-Last-Subject-Sequence: {last_seq}\r\n".encode()
        answer = await self._around.connection.request(subject, payload, header_lines=lines)
        try:
            decode_answer(answer[4], where=subject)
        except FencedError:
            return False
        return True


def _is_below(root: AssetPath | None, rollout: Rollout) -> bool:
    return root is None or (bool(rollout.place) and lies_below(root, rollout.place))


def _no_such(name: str) -> NotFoundError:
    return NotFoundError(
        "no such roll-out", got=repr(name)[:60], code="MS-2430",
        next_step="`millstream config rollout status` lists them",
    )  # fmt: skip


def _taken(name: str) -> PlantError:
    return PlantError("a roll-out of this name is there already", where=name, code="MS-2430")
