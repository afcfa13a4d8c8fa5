"""Modules as people push them, below the paths that the server lets them ask for.

A module is named by its digest and belongs to nobody; what belongs to somebody is the signed manifest that stands with
it. So the same bytes may be pushed by several authors, one may take back what he said, and none what another said. The
bytes come chunk by chunk, counted and hashed before they get their name.

What happens if it is killed here? An upload that has not ended is gone with the hub, and whoever pushes begins anew.
Its chunks have no name yet; they lie below a mark of their own and are taken away when the hub starts.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import msgspec

from millstream.bus import StreamApi, decode_answer
from millstream.historian import Reply
from millstream.hub._desk import DONE, PART, Asker, DeskAround, once_of
from millstream.kernel import (
    AuthError,
    ConfigError,
    DecodeError,
    FencedError,
    NotFoundError,
    PlantError,
    StoreFullError,
    beside_one_another,
)
from millstream.model import AssetPath
from millstream.protocols.act import decode_act, upon_module
from millstream.protocols.audit import act_data, pushed_name
from millstream.protocols.below import EVERYWHERE, place_subject
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
    info_name,
    info_subject,
    is_module_digest,
    manifest_trouble,
    shown_module,
    signer_of,
    size_max_of,
    with_manifest,
)
from millstream.protocols.module_desk import ModuleAsk, decode_module_ask

UPLOADS_COUNT_MAX = 16
UPLOADS_OF_AUTHOR_MAX = 2
UPLOAD_IDLE_S = 120.0  # after which another may take its place
UPLOAD_MARK = "desk"  # before what names its chunks; those of the hub's own log-in bear none
READ_AT_ONCE = 32
CHANGES_COUNT_MAX = 5
STORE_TIMEOUT_S = 30.0


@dataclass(slots=True)
class _Upload:
    """One that is under way. `is_kept`: the hub has these bytes already, they are only counted and hashed."""

    manifest: Manifest
    asker: Asker
    is_kept: bool
    touched_ns: int
    count: int = 0
    size: int = 0
    digest: Any = field(default_factory=hashlib.sha256)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class ModuleDesk:
    """Answers on ``millstream.below.module.<place>``."""

    def __init__(self, around: DeskAround) -> None:
        self._around = around
        self._api = StreamApi(around.connection)
        self._uploads: dict[str, _Upload] = {}

    async def open(self) -> None:
        """Take away what uploads of an earlier life have left. Raises PlantError."""
        for subject in await self._subjects("C.*"):
            if subject.removeprefix(f"{MODULES_PREFIX}C.").startswith(UPLOAD_MARK):
                nuid = subject.removeprefix(f"{MODULES_PREFIX}C.")
                if all(stored.nuid != nuid for stored in await self._all()):
                    await self._purge(subject)

    async def answer(self, asker: Asker, payload: bytes) -> AsyncGenerator[Reply, None]:
        """See `_desk.below`."""
        root = asker.root
        ask, body = decode_module_ask(payload)
        if ask.action == "list":
            for manifests in [self._seen(root, stored) for stored in await self._all()]:
                if manifests:
                    yield Reply(msgspec.json.encode(manifests), PART)
            yield Reply(b"", DONE)
        elif ask.action == "begin":
            yield Reply(msgspec.json.encode(await self._begin(asker, body)), DONE)
        elif ask.action == "remove":
            await self._remove(asker, ask, body)
            yield Reply(b"", DONE)
        else:
            upload = self._uploads.get(ask.upload)
            if upload is None or upload.asker.root != root:
                raise NotFoundError("no such upload", next_step="push it again", code="MS-2444")
            async with upload.lock:  # an answer that was lost is asked for again
                await (self._chunk(upload, ask, body) if ask.action == "chunk" else self._end(upload, ask.upload))
            yield Reply(b"", DONE)

    # -- looking ------------------------------------------------------------------------------------------------------

    async def _subjects(self, pattern: str) -> list[str]:
        raw = await self._api.request(f"STREAM.INFO.{MODULES}", {"subjects_filter": MODULES_PREFIX + pattern})
        return sorted(raw["state"].get("subjects") or {})

    async def _all(self) -> list[StoredModule]:
        """What the hub has; without what is no module."""

        async def read(subject: str) -> StoredModule | None:
            with suppress(DecodeError):
                return await self._stored(info_name(subject))
            return None

        found = await beside_one_another(read, await self._subjects("M.*"), at_once=READ_AT_ONCE)
        return [stored for stored in found if stored is not None]

    async def _stored(self, digest: str) -> StoredModule | None:
        found = await self._api.last(MODULES, info_subject(digest))
        return None if found is None else decode_info(found.payload, digest)

    def _seen(self, root: AssetPath | None, stored: StoredModule) -> list[Manifest]:
        """Of a module, what authors said who sign for something below this path."""
        return [one for one in stored.manifests if root is None or self._is_near(one, root)]

    def _is_near(self, manifest: Manifest, root: AssetPath) -> bool:
        try:
            self._around.authors.check_manifest(manifest, root)
        except AuthError:
            return False
        return True

    # -- pushing ------------------------------------------------------------------------------------------------------

    async def _begin(self, asker: Asker, body: bytes) -> dict[str, object]:
        """An upload, or what this author pushed already."""
        try:
            manifest = msgspec.json.decode(body, type=Manifest)
        except msgspec.DecodeError as error:
            raise DecodeError("not a manifest", got=str(error).lower()[:120], code="MS-2441") from error
        trouble = manifest_trouble(manifest)
        if trouble is not None:
            raise DecodeError(f"not a manifest: {trouble}", code="MS-2441")
        if not 0 < manifest.size_bytes <= size_max_of(manifest.kind):
            raise ConfigError(
                "the module is too large", where=manifest.file, got=f"{manifest.size_bytes} bytes",
                expected=f"at most {size_max_of(manifest.kind)} bytes", code="MS-2442",
            )  # fmt: skip
        self._around.authors.check_manifest(manifest, asker.root)
        stored = await self._stored(manifest.digest)
        known = None if stored is None else stored.of_author(manifest.author, signer_of(manifest))
        if known is not None:
            return {"manifest": known}
        await self._make_room(signer_of(manifest))
        name = UPLOAD_MARK + secrets.token_hex(11)
        now_ns = self._around.clock.monotonic_ns()
        self._uploads[name] = _Upload(manifest, asker, stored is not None, now_ns)
        return {"upload": name}

    async def _make_room(self, key: str) -> None:
        """Forget uploads that nobody goes on with. Raises StoreFullError when too many are under way."""
        now_ns = self._around.clock.monotonic_ns()
        idle = [n for n, each in self._uploads.items() if now_ns - each.touched_ns > UPLOAD_IDLE_S * 1e9]
        for name in idle:
            await self._drop(name)
        mine = sum(signer_of(each.manifest) == key for each in self._uploads.values())
        if mine >= UPLOADS_OF_AUTHOR_MAX or len(self._uploads) >= UPLOADS_COUNT_MAX:
            raise StoreFullError(
                "too many modules are being pushed", got=str(len(self._uploads)), code="MS-2444",
                expected=f"at most {UPLOADS_OF_AUTHOR_MAX} of one author, {UPLOADS_COUNT_MAX} in all",
                next_step=f"try again; one that nobody goes on with is forgotten after {UPLOAD_IDLE_S:g} s",
            )  # fmt: skip

    async def _chunk(self, upload: _Upload, ask: ModuleAsk, data: bytes) -> None:
        upload.touched_ns = self._around.clock.monotonic_ns()
        if ask.index == upload.count - 1:
            return  # its answer was lost
        size = upload.manifest.size_bytes
        if ask.index != upload.count or not 0 < len(data) <= CHUNK_BYTES or upload.size + len(data) > size:
            await self._drop(ask.upload)
            raise DecodeError(
                "not the next chunk of the module", where=upload.manifest.digest, code="MS-2441",
                expected=f"chunk {upload.count}, of {size - upload.size} bytes that are left",
                got=f"chunk {ask.index}, {len(data)} bytes",
            )  # fmt: skip
        if not upload.is_kept:
            try:
                await self._put(chunks_subject(ask.upload), data)
            except PlantError as error:
                await self._drop(ask.upload)
                raise _no_room(error, upload.manifest) from error
        upload.digest.update(data)
        upload.count, upload.size = upload.count + 1, upload.size + len(data)

    async def _end(self, upload: _Upload, name: str) -> None:
        """Give the bytes their name, if it is theirs."""
        manifest = upload.manifest
        got = "sha256:" + upload.digest.hexdigest()
        if upload.size != manifest.size_bytes or got != manifest.digest:
            await self._drop(name)
            raise DecodeError(
                "other bytes than the manifest says", where=manifest.digest, expected=f"{manifest.size_bytes} bytes",
                got=f"{upload.size} bytes, {got}", code="MS-2441",
            )  # fmt: skip
        try:
            is_used, before = await self._name(upload, name)
        except PlantError as error:
            await self._drop(name)
            raise _no_room(error, manifest) from error
        del self._uploads[name]
        if not is_used and not upload.is_kept:
            await self._purge(chunks_subject(name))
        told = act_data(
            manifest.author, upload.asker.origin, shown_module(before),
            shown_module(with_manifest(before, manifest)), digest=manifest.digest, key=signer_of(manifest),
            place=str(upload.asker.root or ""), pushed=format_time(manifest.time_ns),
        )  # fmt: skip
        once = once_of(self._around, pushed_name(manifest.digest, manifest.author, manifest.time_ns))
        await self._around.audit.tell("module", "pushed", told, once)

    async def _name(self, upload: _Upload, name: str) -> tuple[bool, Sequence[Manifest]]:
        """Store the description. False when somebody else has brought the same bytes before: those stay. And what was
        said of them before."""
        digest = upload.manifest.digest
        for _ in range(CHANGES_COUNT_MAX):
            found = await self._api.last(MODULES, info_subject(digest))
            stored = None if found is None else decode_info(found.payload, digest)
            if stored is None and upload.is_kept:
                raise PlantError("the module was removed meanwhile", where=digest, next_step="push it again")
            before: Sequence[Manifest] = () if stored is None else stored.manifests
            if stored is None:
                stored = StoredModule((), name, upload.count)
            if await self._describe(stored, with_manifest(before, upload.manifest), found.seq if found else 0):
                return stored.nuid == name, before
        raise PlantError("the module changes too fast", where=digest, next_step="push it again")

    async def _describe(self, stored: StoredModule, manifests: Sequence[Manifest], last_seq: int) -> bool:
        """False when somebody was faster."""
        when = format_time(self._around.clock.now_ns())
        info = encode_info(manifests, stored.nuid, stored.chunks_count, when)
        lines = f"Nats-Rollup: sub\r\nNats-Expected-Last-Subject-Sequence: {last_seq}\r\n"
        try:
            await self._put(info_subject(manifests[0].digest), info, lines.encode())
        except FencedError:
            return False
        return True

    # -- removing -----------------------------------------------------------------------------------------------------

    async def _remove(self, asker: Asker, ask: ModuleAsk, body: bytes) -> None:
        """Take back what authors of this path alone have said, as one of them signed; the bytes, when nobody else
        vouches for them."""
        root = asker.root
        found = await self._api.last(MODULES, info_subject(ask.digest)) if is_module_digest(ask.digest) else None
        stored = None if found is None else decode_info(found.payload, ask.digest)
        seen = [] if stored is None else self._seen(root, stored)
        if found is None or stored is None or not seen:
            raise NotFoundError("the hub has no such module", got=ask.digest[:80], code="MS-2440")
        act = decode_act(body, "remove", ask.digest)
        place = str(root) if root is not None else None
        self._around.authors.check_act(act, ask.digest, upon_module(seen), place, "MS-2443")
        assert act is not None
        assert act.signature is not None
        kept = [one for one in stored.manifests if root is not None and not self._is_of(one, root)]
        if len(kept) == len(stored.manifests):
            raise AuthError(
                "who pushed this module signs for more than this path", where=ask.digest, expected=str(root),
                got=kept[-1].author, code="MS-2443",
            )  # fmt: skip
        if kept and not await self._describe(stored, kept, found.seq):
            raise PlantError("the module changes at this moment", where=ask.digest, next_step="try again")
        told = act_data(
            act.author, asker.origin, shown_module(stored.manifests), shown_module(kept), digest=ask.digest,
            key=act.signature.key, place=str(root or ""), is_gone=not kept,
        )  # fmt: skip
        await self._around.audit.tell("module", "removed", told)
        if not kept:  # killed before, it is still there, and removing it again is told again
            await self._purge(info_subject(ask.digest))
            await self._purge(chunks_subject(stored.nuid))

    def _is_of(self, manifest: Manifest, root: AssetPath) -> bool:
        """Whether its author signs for nothing outside of this path."""
        with suppress(AuthError):
            places = self._around.authors.chain().places_of(signer_of(manifest))
            here = place_subject(str(root)) + "."
            return places != (EVERYWHERE,) and all(f"{place}.".startswith(here) for place in places)
        return False

    async def _drop(self, name: str) -> None:
        """An upload that comes to nothing."""
        upload = self._uploads.pop(name, None)
        if upload is not None and not upload.is_kept:
            with suppress(PlantError):  # then the next start of the hub does it
                await self._purge(chunks_subject(name))

    async def _put(self, subject: str, payload: bytes, lines: bytes = b"") -> None:
        answer = await self._around.connection.request(subject, payload, header_lines=lines, timeout_s=STORE_TIMEOUT_S)
        decode_answer(answer[4], where=subject)

    async def _purge(self, subject: str) -> None:
        await self._api.request(f"STREAM.PURGE.{MODULES}", {"filter": subject}, timeout_s=STORE_TIMEOUT_S)


def _no_room(error: PlantError, manifest: Manifest) -> PlantError:
    """What the store answers, as who pushes it may understand it."""
    if not isinstance(error, StoreFullError):
        return error
    return StoreFullError(
        "the hub has no room for the module", where=manifest.digest, got=error.got, code="MS-2442",
        next_step="`millstream code remove` those that nobody needs",
    )  # fmt: skip
