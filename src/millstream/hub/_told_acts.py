"""Acts that were done and not told, since whoever did them was killed between: told by the hub, when it starts and once
nothing was done for a minute. Of configurations: `_told_configs`.

Who acts tells it, from where, too; told here it bears the same name, so that the stream takes it once within its
window, and what the audit has already is looked for there.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

import msgspec

from millstream.bus import (
    CONFIG,
    CONTRACTS,
    CONTRACTS_PREFIX,
    HUB_LOCAL,
    ROLLOUTS,
    ROLLOUTS_PREFIX,
    StreamApi,
    get_all,
)
from millstream.hub._desk import DeskAround, once_of
from millstream.hub._told_configs import ToldConfigs
from millstream.hub._untold import Told, Untold, untold_of_contract, untold_of_module, untold_of_rollout
from millstream.kernel import DecodeError, NotFoundError, PlantError
from millstream.model import AssetPath
from millstream.protocols.audit import AUDIT_TYPE
from millstream.protocols.contract import Contract, decode_contract
from millstream.protocols.contract_audit import BY_HEADER, published_by
from millstream.protocols.module import MODULES, MODULES_PREFIX, decode_info
from millstream.protocols.nats_wire import parse_headers
from millstream.protocols.rollout import decode_rollout
from millstream.protocols.uns_subject import UnsAddress, encode_subject
from millstream.sdk import Received

AGAIN_S = 5.0
QUIET_S = 60.0  # who has done something has told it by then, or never will
PAGE_BYTES = 1 << 20


class ToldActs:
    """Run `run` once the plant is up; `place` is the tenant's."""

    def __init__(self, around: DeskAround, place: str) -> None:
        self._around, self._place = around, place
        self._api = StreamApi(around.connection)
        self._looks: dict[str, Callable[[], Awaitable[None]]] = {
            CONFIG: ToldConfigs(around, place).look, ROLLOUTS: self._look_at_rollouts,
            MODULES: self._look_at_modules, CONTRACTS: self._look_at_contracts,
        }  # fmt: skip
        self._looked = dict.fromkeys(self._looks, -1)
        self._before = dict.fromkeys(self._looks, -1)

    async def run(self) -> None:
        """Tell what is not told, until cancelled."""
        while True:
            pause_s = QUIET_S
            for stream in self._looks:
                try:
                    await self._look(stream)
                except NotFoundError:
                    continue  # a plant without such things
                except PlantError:  # the server restarts: looked at again
                    pause_s = AGAIN_S
            await self._around.clock.sleep(pause_s)

    async def look(self) -> None:
        """Once, at all. Raises PlantError."""
        for look in self._looks.values():
            with contextlib.suppress(NotFoundError):
                await look()

    async def _look(self, stream: str) -> None:
        last = (await self._api.state(stream)).last_seq
        before, self._before[stream] = self._before[stream], last
        if last != self._looked[stream] and before in (-1, last):
            await self._looks[stream]()
            self._looked[stream] = last

    async def _since_ns(self) -> int:
        """What was done before may have been told: the stream reaches back no further."""
        return (await self._api.state(HUB_LOCAL)).first_time_ns

    async def _tell(self, what: str, untold: list[Untold]) -> None:
        for each in untold:
            await self._around.audit.tell(what, each.outcome, each.data, once_of(self._around, each.name))

    async def _told(self, what: str, *places: str) -> Told:
        """What the audit has of a kind: where the plant begins, and at the tenant's place."""
        found: list[dict[str, Any]] = []
        names = (*AUDIT_TYPE.split("."), what, "x")
        for place in sorted({self._place, self._place.partition("/")[0], *places}):
            subject = encode_subject(UnsAddress(AssetPath.parse(place), "_event", names))
            async with aclosing(self._all(HUB_LOCAL, subject.removesuffix("x") + "*")) as messages:
                async for message in messages:
                    with contextlib.suppress(msgspec.DecodeError):
                        raw = msgspec.json.decode(message.payload)
                        found += [raw] if isinstance(raw, dict) else []
        return found

    def _all(self, stream: str, subject: str) -> AsyncGenerator[Received, None]:
        return get_all(self._around.connection, stream, subject, bytes_max=PAGE_BYTES)

    async def _look_at_rollouts(self) -> None:
        since_ns, told = await self._since_ns(), await self._told("rollout")
        async with aclosing(self._all(ROLLOUTS, f"{ROLLOUTS_PREFIX}*")) as messages:
            async for message in messages:
                with contextlib.suppress(DecodeError):
                    rollout = await asyncio.to_thread(decode_rollout, message.payload)
                    await self._tell("rollout", untold_of_rollout(rollout, told, since_ns))

    async def _look_at_modules(self) -> None:
        since_ns, told = await self._since_ns(), await self._told("module")
        async with aclosing(self._all(MODULES, f"{MODULES_PREFIX}M.*")) as messages:
            async for message in messages:
                with contextlib.suppress(DecodeError, msgspec.DecodeError, AttributeError):
                    digest = str(msgspec.json.decode(message.payload).get("name"))
                    stored = decode_info(message.payload, digest)
                    manifests = () if stored is None else stored.manifests
                    await self._tell("module", untold_of_module(manifests, told, since_ns))

    async def _look_at_contracts(self) -> None:
        since_ns, newest = await self._since_ns(), dict[str, Contract]()
        told: Told | None = None
        async with aclosing(self._all(CONTRACTS, f"{CONTRACTS_PREFIX}>")) as messages:
            async for message in messages:
                with contextlib.suppress(DecodeError):
                    new = decode_contract(message.payload)
                    old, newest[new.name] = newest.get(new.name), new
                    if message.stored_time_ns < since_ns:
                        continue
                    told = await self._told("contract") if told is None else told
                    by = published_by(parse_headers(message.headers).get(BY_HEADER))
                    await self._tell("contract", untold_of_contract(old, new, by, told))
