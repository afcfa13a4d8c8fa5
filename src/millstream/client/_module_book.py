"""Where modules are kept and pushed to: the hub's bucket, by who may; else by asking the hub below the paths of one's
log-in."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from millstream.bus import VIEW_API
from millstream.bus._link import Link
from millstream.client._acts import Acts
from millstream.client._desk_tools import DeskTools
from millstream.client._desks import ask_again, ask_desk, places_of
from millstream.client._streams import Streams, refuse
from millstream.kernel import Clock, DecodeError, PlantError
from millstream.protocols.act import Act, encode_act, upon_module
from millstream.protocols.audit import act_data, pushed_name
from millstream.protocols.below import MODULE
from millstream.protocols.cloudevents import format_time
from millstream.protocols.module import (
    CHUNK_BYTES,
    MODULES,
    MODULES_PREFIX,
    Manifest,
    StoredModule,
    chunks_subject,
    decode_info,
    encode_info,
    info_subject,
    is_module_digest,
    shown_module,
    signer_of,
    with_manifest,
)
from millstream.protocols.module_desk import ModuleAsk

NO_SUCH = "MS-2440"
_ROLLUP = {"Nats-Rollup": "sub"}


class ModuleBook(Protocol):
    """What is kept of modules, as one log-in may see it."""

    async def modules(self) -> list[Sequence[Manifest]]:
        """Of each module what its authors said, the oldest first."""
        ...

    async def push(self, data: bytes, manifest: Manifest) -> Manifest:
        """Store a module; what this author said of it before, if it is there."""
        ...

    async def remove(self, digest: str, act_upon: Callable[[str], Act]) -> None:
        """Take a module away, as far as this log-in may, by the act that is made upon how it stands."""
        ...


def module_book_of(tools: DeskTools) -> ModuleBook:
    """The one for this log-in: people have no bucket."""
    link = tools.streams.link
    return DeskModules(link) if link.api == VIEW_API else BucketModules(link, tools.streams, tools.clock, tools.acts)


@dataclass(frozen=True, slots=True)
class BucketModules:
    """`ModuleBook` by the hub's own rights."""

    link: Link
    streams: Streams
    clock: Clock
    acts: Acts

    async def modules(self) -> list[Sequence[Manifest]]:
        """See ModuleBook."""
        subjects = await self.streams.subjects(MODULES, f"{MODULES_PREFIX}M.*")
        found = [_read(frame.payload) for frame in await self.streams.last(MODULES, list(subjects))]
        return [stored.manifests for stored in found if stored is not None]

    async def push(self, data: bytes, manifest: Manifest) -> Manifest:
        """See ModuleBook."""
        old = await self._find(manifest.digest)
        known = None if old is None else old.of_author(manifest.author, signer_of(manifest))
        if known is not None:
            return known
        nuid = secrets.token_hex(11)
        chunks = [data[at : at + CHUNK_BYTES] for at in range(0, len(data), CHUNK_BYTES)]
        manifests = with_manifest(() if old is None else old.manifests, manifest)
        try:
            for chunk in chunks:
                await self._store(chunks_subject(nuid), chunk)
            info = encode_info(manifests, nuid, len(chunks), format_time(self.clock.now_ns()))
            await self._store(info_subject(manifest.digest), info, _ROLLUP)
        except PlantError:
            await self._purge(chunks_subject(nuid))
            raise
        if old is not None:
            await self._purge(chunks_subject(old.nuid))
        before = () if old is None else old.manifests
        await self._told("pushed", manifest.author, manifest.digest, before, manifests, manifest.time_ns)
        return manifest

    async def remove(self, digest: str, act_upon: Callable[[str], Act]) -> None:
        """See ModuleBook."""
        stored = await self._find(digest)
        if stored is not None:
            said = stored.manifests
            await self._told("removed", act_upon(upon_module(said)).author, digest, said, ())
        await self._purge(info_subject(digest))
        if stored is not None:
            await self._purge(chunks_subject(stored.nuid))

    async def _told(
        self, outcome: str, who: str, digest: str, before: Sequence[Manifest], after: Sequence[Manifest],
        pushed_ns: int | None = None,
    ) -> None:  # fmt: skip
        """What was pushed, once it is; killed between, a hub with tenants tells it. That one is removed is told before:
        killed between, it is still there, and removing it again is told again."""
        pushed = None if pushed_ns is None else format_time(pushed_ns)
        data = act_data(who, self.acts.origin, shown_module(before), shown_module(after), digest=digest, pushed=pushed)
        once = None if pushed_ns is None else pushed_name(digest, who, pushed_ns)
        await self.acts.tell("module", outcome, data, place=await self.acts.place_of(), id=once)

    async def _find(self, digest: str) -> StoredModule | None:
        frames = await self.streams.last(MODULES, [info_subject(digest)])
        return decode_info(frames[0].payload, digest) if frames else None

    async def _store(self, subject: str, payload: bytes, headers: Mapping[str, str] | None = None) -> None:
        reply = await self.link.request(subject, payload, headers=headers, timeout_s=30.0)
        refuse(json.loads(reply.payload), "modules")

    async def _purge(self, subject: str) -> None:
        body = json.dumps({"filter": subject}).encode()
        reply = await self.link.request(f"{self.link.api}.STREAM.PURGE.{MODULES}", body, timeout_s=30.0)
        refuse(json.loads(reply.payload), "modules")


@dataclass(frozen=True, slots=True)
class DeskModules:
    """`ModuleBook` by asking."""

    link: Link

    async def modules(self) -> list[Sequence[Manifest]]:
        """See ModuleBook."""
        found: dict[str, list[Manifest]] = {}
        for place in places_of(self.link):
            for manifest in await self._at(place):
                said = found.setdefault(manifest.digest, [])
                said += [manifest] if manifest not in said else []
        return list(found.values())

    async def _at(self, place: str) -> list[Manifest]:
        """Of all modules, what their authors said who sign for something below one place."""
        frames = await ask_desk(self.link, MODULE, place, ModuleAsk("list"))
        said = [msgspec.json.decode(frame.payload, type=list[Manifest]) for frame in frames if frame.payload]
        return [manifest for manifests in said for manifest in manifests]

    async def push(self, data: bytes, manifest: Manifest) -> Manifest:
        """See ModuleBook."""
        place = places_of(self.link)[0]
        (begun,) = await ask_desk(self.link, MODULE, place, ModuleAsk("begin"), msgspec.json.encode(manifest))
        answer: dict[str, Any] = msgspec.json.decode(begun.payload)
        if "manifest" in answer:
            return msgspec.convert(answer["manifest"], Manifest)
        upload = str(answer["upload"])
        for index, at in enumerate(range(0, len(data), CHUNK_BYTES)):
            ask = ModuleAsk("chunk", upload, index)
            await ask_again(self.link, MODULE, place, ask, data[at : at + CHUNK_BYTES])
        await ask_desk(self.link, MODULE, place, ModuleAsk("end", upload))
        return manifest

    async def remove(self, digest: str, act_upon: Callable[[str], Act]) -> None:
        """See ModuleBook. Where this log-in is bounded to several paths, at each of them."""
        refusal: PlantError | None = None
        is_removed = False
        for place in places_of(self.link):
            act = act_upon(upon_module([one for one in await self._at(place) if one.digest == digest]))
            ask = ModuleAsk("remove", digest=digest, who=act.author)
            try:
                await ask_desk(self.link, MODULE, place, ask, encode_act(act))
            except PlantError as error:
                refusal = error if refusal is None or error.code != NO_SUCH else refusal
            else:
                is_removed = True
        if refusal is not None and not is_removed:
            raise refusal


def _read(payload: bytes) -> StoredModule | None:
    """None for what is no module of ours."""
    try:
        raw: Any = json.loads(payload)
        name = raw.get("name") if isinstance(raw, dict) else None
        return decode_info(payload, name) if isinstance(name, str) and is_module_digest(name) else None
    except (ValueError, DecodeError):
        return None
