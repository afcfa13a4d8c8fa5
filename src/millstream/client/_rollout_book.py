"""Where roll-outs are kept: in the hub's bucket, by who may; else by asking the hub below the paths of one's
log-in."""

from __future__ import annotations

import builtins
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, cast

import msgspec

from millstream.bus import VIEW_API
from millstream.bus._link import Link
from millstream.bus._streams import ROLLOUTS, ROLLOUTS_PREFIX
from millstream.client._acts import Acts
from millstream.client._config_book import WRONG_LAST_SEQUENCE
from millstream.client._desk_tools import DeskTools
from millstream.client._desks import ask_again, ask_desk, place_of_all, places_of
from millstream.client._streams import Streams, refuse
from millstream.kernel import AuthError, Clock, PlantError
from millstream.protocols.act import Act, encode_act, upon_rollout
from millstream.protocols.audit import act_data, rollout_name
from millstream.protocols.below import EVERYWHERE, ROLLOUT, place_subject
from millstream.protocols.rollout import STEERED, Rollout, decode_rollout, encode_rollout, shown_rollout, steered
from millstream.protocols.rollout_desk import RolloutAsk, RolloutPlan, Steering
from millstream.protocols.site_config import Revision, encode_revision, is_edge_name

CHANGES_COUNT_MAX = 20  # tries of one change beside the hub's own


class RolloutBook(Protocol):
    """What is kept of roll-outs, as one log-in may see it."""

    def place_of(self, sites: Mapping[str, str]) -> str:
        """Where to ask for a roll-out over these sites (name -> path). Raises AuthError when there is no such place."""
        ...

    async def prepare(self, place: str, name: str, revision: Revision) -> None:
        """Keep the revision of one site, for the roll-out that will start."""
        ...

    async def start(self, place: str, rollout: Rollout) -> Rollout:
        """Start what was prepared."""
        ...

    async def list(self) -> list[Rollout]:
        """All, oldest first."""
        ...

    async def find(self, name: str) -> Rollout | None:
        """One; None: there is none."""
        ...

    async def change(self, name: str, act_upon: Callable[[Rollout], Act]) -> Rollout:
        """Stop, cancel or resume one that is there, by the act that is made upon how it stands."""
        ...


def rollout_book_of(tools: DeskTools) -> RolloutBook:
    """The one for this log-in: people have no bucket."""
    link = tools.streams.link
    return DeskRollouts(link) if link.api == VIEW_API else BucketRollouts(link, tools.streams, tools.clock, tools.acts)


@dataclass(frozen=True, slots=True)
class BucketRollouts:
    """`RolloutBook` by the hub's own rights."""

    link: Link
    streams: Streams
    clock: Clock
    acts: Acts

    def place_of(self, sites: Mapping[str, str]) -> str:
        """See RolloutBook."""
        return EVERYWHERE

    async def prepare(self, place: str, name: str, revision: Revision) -> None:
        """See RolloutBook."""
        if not await self._store(f"{name}.{revision.edge}", encode_revision(revision), 0):
            raise taken(name)

    async def start(self, place: str, rollout: Rollout) -> Rollout:
        """See RolloutBook."""
        if not await self._store(rollout.name, encode_rollout(rollout), 0):
            raise taken(rollout.name)
        await self._told("started", rollout.author, None, rollout)
        return rollout

    async def _told(self, outcome: str, who: str, before: Rollout | None, after: Rollout) -> None:
        """Once it is stored: killed between, a hub with tenants tells it."""
        shown = None if before is None else shown_rollout(before)
        data = act_data(
            who, self.acts.origin, shown, shown_rollout(after), name=after.name, place=after.place, turn=after.turn
        )  # fmt: skip
        once = rollout_name(after.name, after.turn)
        await self.acts.tell("rollout", outcome, data, place=await self.acts.place_of(), id=once)

    async def list(self) -> builtins.list[Rollout]:
        """See RolloutBook."""
        subjects = await self.streams.subjects(ROLLOUTS, ROLLOUTS_PREFIX + "*")
        frames = await self.streams.last(ROLLOUTS, [*subjects])
        return sorted((decode_rollout(frame.payload) for frame in frames), key=lambda r: r.created_ns)

    async def find(self, name: str) -> Rollout | None:
        """See RolloutBook."""
        found = await self._read(name)
        return found[0] if found is not None else None

    async def _read(self, name: str) -> tuple[Rollout, int] | None:
        if is_edge_name(name):
            for frame in await self.streams.last(ROLLOUTS, [ROLLOUTS_PREFIX + name]):
                return decode_rollout(frame.payload), frame.seq
        return None

    async def change(self, name: str, act_upon: Callable[[Rollout], Act]) -> Rollout:
        """See RolloutBook."""
        for _ in range(CHANGES_COUNT_MAX):
            found = await self._read(name)
            assert found is not None
            rollout, seq = found
            act = act_upon(rollout)
            changed = steered(rollout, act.verb, act.author, self.clock.now_ns(), msgspec.to_builtins(act))
            if changed == rollout:
                return changed
            if await self._store(name, encode_rollout(changed), seq):
                await self._told(STEERED[act.verb], act.author, rollout, changed)
                return changed
        raise PlantError("the roll-out changes too fast", where=name, next_step="try again", code="MS-2430")

    async def _store(self, key: str, payload: bytes, seq: int) -> bool:
        reply = await self.link.request(
            ROLLOUTS_PREFIX + key, payload, headers={"Nats-Expected-Last-Subject-Sequence": str(seq)}
        )
        answer = json.loads(reply.payload)
        if (answer.get("error") or {}).get("err_code") in WRONG_LAST_SEQUENCE:
            return False
        refuse(answer, f"roll-out {key}")
        return True


class DeskRollouts:
    """`RolloutBook` by asking. A roll-out lies at the path below which it was asked for."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def place_of(self, sites: Mapping[str, str]) -> str:
        """See RolloutBook."""
        place = place_of_all(self._link, {edge: place_subject(path) for edge, path in sites.items()})
        if place is None:
            raise AuthError(
                "these sites lie below several of your paths", got=", ".join(sorted(sites))[:200], code="MS-2418",
                next_step="one roll-out for each path: name its sites with --only",
            )  # fmt: skip
        return place

    async def prepare(self, place: str, name: str, revision: Revision) -> None:
        """See RolloutBook."""
        ask = RolloutAsk("prepare", name, revision.edge)
        await ask_again(self._link, ROLLOUT, place, ask, encode_revision(revision))

    async def start(self, place: str, rollout: Rollout) -> Rollout:
        """See RolloutBook."""
        plan = RolloutPlan(
            sites=tuple((site.edge, site.base_seq) for site in rollout.sites), ends=rollout.ends,
            comment=rollout.comment, site_timeout_s=rollout.site_timeout_s, failures_max=rollout.failures_max,
            passes_away=rollout.passes_away,
        )  # fmt: skip
        (started,) = await self._asked(place, RolloutAsk("start", rollout.name), msgspec.json.encode(plan))
        return started

    async def list(self) -> builtins.list[Rollout]:
        """See RolloutBook."""
        found: dict[str, Rollout] = {}
        for place in places_of(self._link):
            found |= {each.name: each for each in await self._asked(place, RolloutAsk("list"))}
        return sorted(found.values(), key=lambda r: r.created_ns)

    async def find(self, name: str) -> Rollout | None:
        """See RolloutBook."""
        return next((each for each in await self.list() if each.name == name), None)

    async def change(self, name: str, act_upon: Callable[[Rollout], Act]) -> Rollout:
        """See RolloutBook."""
        for tries_left in range(CHANGES_COUNT_MAX - 1, -1, -1):
            found = await self.find(name)
            assert found is not None
            place = place_of_all(self._link, {name: place_subject(found.place) if found.place else EVERYWHERE})
            assert place is not None
            act = act_upon(found)
            ask = RolloutAsk(cast("Steering", act.verb), name, who=act.author)
            try:
                (changed,) = await self._asked(place, ask, encode_act(act))
                return changed
            except AuthError:
                now = await self.find(name)
                if not tries_left or now is None or upon_rollout(now) == act.upon:
                    raise  # it is not that somebody steered it meanwhile
        raise AssertionError

    async def _asked(self, place: str, ask: RolloutAsk, body: bytes = b"") -> Sequence[Rollout]:
        frames = await ask_desk(self._link, ROLLOUT, place, ask, body)
        return [decode_rollout(frame.payload) for frame in frames if frame.payload]


def taken(name: str) -> PlantError:
    """The error of a name that is in use."""
    return PlantError("a roll-out of this name is there already", where=name, code="MS-2430")
