"""Modules of flows at a hub: code that edges fetch by its digest."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from millstream.client._module_book import ModuleBook
from millstream.client._site_configs import me
from millstream.kernel import Clock, ConfigError, NotFoundError, suggest
from millstream.protocols.act import Act
from millstream.protocols.module import (
    FILE_CHARS_MAX,
    RELEASE,
    Manifest,
    ModuleKind,
    module_digest,
    size_max_of,
)

if TYPE_CHECKING:
    from millstream.client._site_configs import SiteConfigs

_KINDS: Mapping[str, ModuleKind] = {".wasm": "wasm", ".whl": "wheel", ".onnx": "onnx", ".release": RELEASE}


class Code:
    """`Plant.configs.code` at a hub. A signer of the configurations signs modules, too."""

    def __init__(self, book: ModuleBook, configs: SiteConfigs, clock: Clock) -> None:
        self._book = book
        self._configs = configs
        self._clock = clock

    async def push(self, data: bytes, file: str, *, author: str) -> Manifest:
        """Store a module under its digest; one that is there, by the same author, is left. Raises ConfigError."""
        await self._configs.sites()  # says it when this is no hub
        signer = self._configs.signer
        manifest = Manifest(
            digest=module_digest(data), size_bytes=len(data), kind=kind_of(file, len(data)),
            file=Path(file).name[:FILE_CHARS_MAX], author=signer.name if signer is not None else author,
            time_ns=self._clock.now_ns(),
        )  # fmt: skip
        if signer is not None:
            manifest = signer.sign_manifest(manifest)
        return await self._book.push(data, manifest)

    async def modules(self) -> list[Manifest]:
        """All modules that the hub has, oldest first."""
        found = [manifests[0] for manifests in await self._book.modules()]
        return sorted(found, key=lambda manifest: manifest.time_ns)

    async def authors(self, digest: str) -> list[str]:
        """Who pushed a module, as far as this log-in may see it."""
        for manifests in await self._book.modules():
            if manifests[0].digest == digest:
                return [manifest.author for manifest in manifests]
        return []

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
        """Take a module away; somebody who is bounded to paths takes back what was pushed for these only. Edges that
        have it keep it. Raises ConfigError for one that a configuration names."""
        manifest = await self.get(digest)
        users = [] if even_if_used else await self.users(manifest.digest)
        if users:
            raise ConfigError(
                "a configuration names this module", where=manifest.digest, got=", ".join(users[:10]),
                next_step="configure these sites otherwise first, or say --force", code="MS-2440",
            )  # fmt: skip
        signer = self._configs.signer

        def act_upon(upon: str) -> Act:
            who = signer.name if signer is not None else me()
            act = Act(
                verb="remove", subject=manifest.digest, upon=upon, author=who, time_ns=self._clock.now_ns()
            )  # fmt: skip
            return act if signer is None else signer.sign_act(act)

        await self._book.remove(manifest.digest, act_upon)
        return manifest


def kind_of(file: str, size_bytes: int) -> ModuleKind:
    """What a file is, by its name. Raises ConfigError for what is none, or too large (MS-2442)."""
    kind = _KINDS.get(Path(file).suffix)
    if kind is None:
        expected = "a file *.wasm, *.whl, *.onnx or *.release"
        raise ConfigError("not a module", where=file, expected=expected, code="MS-2441")
    if not 0 < size_bytes <= size_max_of(kind):
        raise ConfigError(
            "the module is too large" if size_bytes else "the module is empty", where=file,
            expected=f"at most {size_max_of(kind)} bytes", got=f"{size_bytes} bytes", code="MS-2442",
        )  # fmt: skip
    return kind
