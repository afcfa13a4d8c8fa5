"""Modules of flows at a hub: code that edges fetch by its digest."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from millstream.bus._link import Link
from millstream.client._streams import Streams, refuse
from millstream.kernel import Clock, ConfigError, DecodeError, NotFoundError, PlantError, suggest
from millstream.protocols.cloudevents import format_time
from millstream.protocols.module import (
    CHUNK_BYTES,
    MODULES,
    MODULES_PREFIX,
    Manifest,
    ModuleKind,
    StoredModule,
    chunks_subject,
    decode_info,
    encode_info,
    info_subject,
    is_module_digest,
    module_digest,
    size_max_of,
)

if TYPE_CHECKING:
    from millstream.client._site_configs import SiteConfigs

_KINDS: Mapping[str, ModuleKind] = {".wasm": "wasm", ".whl": "wheel"}
_ROLLUP = {"Nats-Rollup": "sub"}


class Code:
    """`Plant.configs.code` at a hub. A signer of the configurations signs modules, too."""

    def __init__(self, link: Link, streams: Streams, configs: SiteConfigs, clock: Clock) -> None:
        self._link = link
        self._streams = streams
        self._configs = configs
        self._clock = clock

    async def push(self, data: bytes, file: str, *, author: str) -> Manifest:
        """Store a module under its digest; one that is there, by the same author, is left. Raises ConfigError."""
        await self._configs.sites()  # says it when this is no hub
        signer = self._configs.signer
        manifest = Manifest(
            digest=module_digest(data), size_bytes=len(data), kind=kind_of(file, len(data)), file=Path(file).name[:120],
            author=signer.name if signer is not None else author, time_ns=self._clock.now_ns(),
        )  # fmt: skip
        if signer is not None:
            manifest = signer.sign_manifest(manifest)
        old = await self._find(manifest.digest)
        if old is not None and old.manifest.author == manifest.author and _key(old.manifest) == _key(manifest):
            return old.manifest
        nuid = secrets.token_hex(11)
        chunks = [data[at : at + CHUNK_BYTES] for at in range(0, len(data), CHUNK_BYTES)]
        try:
            for chunk in chunks:
                await self._store(chunks_subject(nuid), chunk)
            info = encode_info(manifest, nuid, len(chunks), format_time(self._clock.now_ns()))
            await self._store(info_subject(manifest.digest), info, _ROLLUP)
        except PlantError:
            await self._purge(chunks_subject(nuid))
            raise
        if old is not None:
            await self._purge(chunks_subject(old.nuid))
        return manifest

    async def modules(self) -> list[Manifest]:
        """All modules that the hub has, oldest first."""
        subjects = await self._streams.subjects(MODULES, f"{MODULES_PREFIX}M.*")
        found = []
        for frame in await self._streams.last(MODULES, list(subjects)):
            stored = _read(frame.payload)
            if stored is not None:
                found.append(stored.manifest)
        return sorted(found, key=lambda manifest: manifest.time_ns)

    async def get(self, digest: str) -> Manifest:
        """What is said of one module. The beginning of a digest is enough. Raises NotFoundError (MS-2440)."""
        modules = await self.modules()
        wanted = digest.removeprefix("sha256:")
        fitting = [m for m in modules if wanted and m.digest.removeprefix("sha256:").startswith(wanted)]
        if len(fitting) != 1:
            near = suggest(digest, [m.digest for m in modules])
            raise NotFoundError(
                "the hub has no such module" if not fitting else "more than one module begins so", got=digest[:80],
                next_step=f"did you mean {near}?" if near else "`millstream code list` shows them", code="MS-2440",
            )  # fmt: skip
        return fitting[0]

    async def users(self, digest: str) -> list[str]:
        """The sites whose newest configuration names a module."""
        found = []
        for edge in sorted(await self._configs.sites()):
            newest = await self._configs.get(edge)
            if newest is not None and digest in newest.text:
                found.append(edge)
        return found

    async def remove(self, digest: str, *, even_if_used: bool = False) -> Manifest:
        """Take a module away. Edges that have it keep it. Raises ConfigError for one that a configuration names."""
        manifest = await self.get(digest)
        users = [] if even_if_used else await self.users(manifest.digest)
        if users:
            raise ConfigError(
                "a configuration names this module", where=manifest.digest, got=", ".join(users[:10]),
                next_step="configure these sites otherwise first, or say --force", code="MS-2440",
            )  # fmt: skip
        stored = await self._find(manifest.digest)
        await self._purge(info_subject(manifest.digest))
        if stored is not None:
            await self._purge(chunks_subject(stored.nuid))
        return manifest

    async def missing(self, digests: Iterable[str]) -> list[str]:
        """Those that the hub does not have."""
        return [digest for digest in sorted(digests) if await self._find(digest) is None]

    async def _find(self, digest: str) -> StoredModule | None:
        frames = await self._streams.last(MODULES, [info_subject(digest)])
        return decode_info(frames[0].payload, digest) if frames else None

    async def _store(self, subject: str, payload: bytes, headers: Mapping[str, str] | None = None) -> None:
        reply = await self._link.request(subject, payload, headers=headers, timeout_s=30.0)
        refuse(json.loads(reply.payload), "modules")

    async def _purge(self, subject: str) -> None:
        body = json.dumps({"filter": subject}).encode()
        reply = await self._link.request(f"{self._link.api}.STREAM.PURGE.{MODULES}", body, timeout_s=30.0)
        refuse(json.loads(reply.payload), "modules")


def kind_of(file: str, size_bytes: int) -> ModuleKind:
    """What a file is, by its name. Raises ConfigError for what is none, or too large (MS-2442)."""
    kind = _KINDS.get(Path(file).suffix)
    if kind is None:
        raise ConfigError("not a module", where=file, expected="a file *.wasm or *.whl", code="MS-2441")
    if not 0 < size_bytes <= size_max_of(kind):
        raise ConfigError(
            "the module is too large" if size_bytes else "the module is empty", where=file,
            expected=f"at most {size_max_of(kind)} bytes", got=f"{size_bytes} bytes", code="MS-2442",
        )  # fmt: skip
    return kind


def _key(manifest: Manifest) -> str:
    return manifest.signature.key if manifest.signature is not None else ""


def _read(payload: bytes) -> StoredModule | None:
    """None for what is no module of ours."""
    try:
        raw: Any = json.loads(payload)
        name = raw.get("name") if isinstance(raw, dict) else None
        return decode_info(payload, name) if isinstance(name, str) and is_module_digest(name) else None
    except (ValueError, DecodeError):
        return None
