"""Configurations of the sites, as a hub keeps them: what each should run, what each says that it runs."""

from __future__ import annotations

import asyncio
import getpass
import socket
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from millstream.bus._streams import CONFIG_HISTORY
from millstream.client._config_book import book_of
from millstream.client._desk_tools import DeskTools
from millstream.client._signing import Signer
from millstream.kernel import (
    AuthError,
    ConfigError,
    DecodeError,
    NotFoundError,
    PlantError,
    Unreachable,
    beside_one_another,
    suggest,
)
from millstream.protocols.module import is_module_digest
from millstream.protocols.site_config import (
    HEALTHY_WITHIN_MS_DEFAULT,
    Kind,
    Revision,
    decode_revision,
    encode_revision,
    is_edge_name,
    make_revision,
)

if TYPE_CHECKING:  # the checks of whole files are loaded when one is checked: most commands never do
    from millstream.client._code import Code
    from millstream.client._rollouts import Rollouts
    from millstream.config import EdgeConfig, PathChange, SiteFile


@dataclass(frozen=True, slots=True)
class SiteRevision:
    """One revision of a site's document, as the hub has it."""

    revision: Revision
    text: str
    seq: int

    def as_dict(self) -> dict[str, object]:
        """For JSON, with the document."""
        return {**self.revision.as_dict(), "document": self.text}


@dataclass(frozen=True, slots=True)
class SitePlan:
    """What a folder would change at one site. `error`: why it cannot be. `is_foreign`: the newest revision did not come
    from a folder, so that applying would undo what somebody did by hand."""

    file: SiteFile
    changes: Sequence[PathChange] = ()
    newest: SiteRevision | None = None
    is_foreign: bool = False
    error: PlantError | None = None

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {
            "edge": self.file.edge, "file": self.file.file, "changes": [change.as_dict() for change in self.changes],
            "newest": self.newest.revision.revision if self.newest is not None else 0, "is_foreign": self.is_foreign,
            "error": self.error.as_dict() if self.error is not None else None,
        }  # fmt: skip


class SiteConfigs:
    """`Plant.configs` at a hub. Its methods raise NotFoundError for a site that the hub does not know, and
    Unreachable."""

    def __init__(self, tools: DeskTools) -> None:
        self._tools, self._clock = tools, tools.clock
        self._book = book_of(tools)
        self.signer: Signer | None = None
        """Who signs what is put from here on; None: nobody."""

    @property
    def code(self) -> Code:
        """Modules of flows that configurations name by their digest."""
        from millstream.client._code import Code
        from millstream.client._module_book import module_book_of

        return Code(module_book_of(self._tools), self, self._clock)

    @property
    def rollouts(self) -> Rollouts:
        """Changes that reach many sites stage by stage."""
        from millstream.client._rollout_book import rollout_book_of
        from millstream.client._rollouts import Rollouts

        return Rollouts(rollout_book_of(self._tools), self, self._clock)

    # -- reading ------------------------------------------------------------------------------------------------------

    async def sites(self) -> Mapping[str, str]:
        """The hub's sites: edge's name -> its path."""
        return await self._book.sites()

    async def path_of(self, edge: str) -> str:
        """Where a site is."""
        return _path_in(await self.sites(), edge)

    async def history(self, edge: str) -> Sequence[SiteRevision]:
        """The revisions that the hub still has (at most 64), by number; what is no revision is left out."""
        await self.path_of(edge)
        return (await self._read(edge))[0]

    async def _read(self, edge: str) -> tuple[list[SiteRevision], int]:
        """The revisions of a site, and the sequence of whatever came last for it."""
        found = await self._book.read(edge)
        revisions: dict[int, SiteRevision] = {}
        for seq, payload in found[-CONFIG_HISTORY:]:
            try:
                each = SiteRevision(*decode_revision(payload, edge), seq)
            except DecodeError:
                continue
            revisions.setdefault(each.revision.revision, each)
        return [revisions[number] for number in sorted(revisions)], found[-1][0] if found else 0

    async def get(self, edge: str, revision: int | None = None) -> SiteRevision | None:
        """One revision, the newest without a number; None for a site that never had one. Raises NotFoundError for a
        number that the hub does not have."""
        found = await self.history(edge)
        if revision is None:
            return found[-1] if found else None
        for each in found:
            if each.revision.revision == revision:
                return each
        raise NotFoundError(
            "the hub has no such revision of this site", where=edge, got=str(revision),
            expected=f"{found[0].revision.revision} to {found[-1].revision.revision}" if found else None,
            code="MS-2415",
        )  # fmt: skip

    async def report(self, edge: str) -> Mapping[str, Any] | None:
        """What a site says that it runs; None when it does not answer."""
        return await self._book.report(edge)

    async def reports(self) -> AsyncGenerator[tuple[str, SiteRevision | None, Mapping[str, Any] | None], None]:
        """Each site with what it should run and what it says that it runs, by name."""

        async def one(edge: str) -> tuple[SiteRevision | None, Mapping[str, Any] | None]:
            found, _ = await self._read(edge)
            return found[-1] if found else None, await self.report(edge)

        sites = sorted(await self.sites())
        for edge, found in zip(sites, await beside_one_another(one, sites), strict=True):
            yield edge, *found

    # -- writing ------------------------------------------------------------------------------------------------------

    async def check(self, edge: str, source: str | SiteFile, *, file: str = "document") -> EdgeConfig:
        """Check a document as `millstream check` would, and that the hub has its modules. Raises DocumentRefused with
        all findings, ConfigError (MS-2440)."""
        return await self._checked(edge, await self.path_of(edge), source, file)

    async def _checked(self, edge: str, path: str, source: str | SiteFile, file: str) -> EdgeConfig:
        from millstream.config import InstalledConnectors, SitePlace, load_site_document
        from millstream.flow.library import FLOW_TYPES

        place = SitePlace(edge, path)
        text, name = (source, file) if isinstance(source, str) else (source.document, source.file)
        config = await asyncio.to_thread(load_site_document, text, place, InstalledConnectors(), FLOW_TYPES, file=name)
        wanted = {flow.module for flow in config.flows if flow.module is not None and is_module_digest(flow.module)}
        if wanted and (missing := await self._book.missing(wanted)):
            raise ConfigError(
                "the hub has no such module", where=edge, got=", ".join(missing),
                next_step="`millstream code push` stores it", code="MS-2440",
            )  # fmt: skip
        return config

    async def put(
        self, edge: str, source: str | SiteFile, *, based_on: int | None = None, comment: str = "",
        author: str | None = None, healthy_within_ms: int = HEALTHY_WITHIN_MS_DEFAULT, kind: Kind = "put",
        restores: int = 0, file: str = "document",
    ) -> Revision:  # fmt: skip
        """Make a document the newest revision of a site. `based_on` is the revision that it was made from: when there
        is a newer one by now, nothing is stored (MS-2406). Raises DocumentRefused, ConfigError."""
        await self.check(edge, source, file=file)
        text = source if isinstance(source, str) else source.text
        newest = await self.get(edge)
        if newest is not None and newest.text == text and based_on == newest.revision.revision and kind != "rollback":
            is_signed = self._is_signed(newest.revision)
            if is_signed and not await self._is_refused(newest.revision):
                return newest.revision
        revision, last_seq = await self.compose(
            edge, text, based_on=based_on, comment=comment, author=author, healthy_within_ms=healthy_within_ms,
            kind=kind, restores=restores,
        )  # fmt: skip
        if not await self._book.store(edge, encode_revision(revision), last_seq):
            newer, _ = await self._read(edge)
            raise _conflict(edge, revision.based_on, newer[-1] if newer else None)
        return revision

    async def compose(
        self, edge: str, text: str, *, based_on: int | None, comment: str, author: str | None,
        healthy_within_ms: int, kind: Kind, restores: int = 0, rollout: str = "",
    ) -> tuple[Revision, int]:  # fmt: skip
        """The next revision of a site, not stored, and the sequence of what it has to stand on."""
        found, last_seq = await self._read(edge)
        newest = found[-1] if found else None
        number = newest.revision.revision if newest is not None else 0
        if based_on is None and number:
            raise PlantError(
                "it is not said which revision this was made from", where=edge, expected="--based-on",
                next_step=f"the newest is {number}: `millstream config get {edge}`", code="MS-2406",
            )  # fmt: skip
        if based_on is not None and based_on != number:
            raise _conflict(edge, based_on, newest)
        report = await self.report(edge)  # a hub that was set back must not give a number again
        seen = int(report.get("seen", 0)) if report is not None else 0
        signer = self.signer
        if signer is None and report is not None and report.get("demands_signatures"):
            raise AuthError(
                "this site demands a signature", where=edge, expected="--sign NAME.creds, of an engineer",
                code="MS-2413",
            )  # fmt: skip
        author = signer.name if signer is not None else author or me()
        revision = make_revision(
            edge, text, revision=max(number, seen) + 1, based_on=number, author=author, comment=comment,
            time_ns=self._clock.now_ns(), healthy_within_ms=healthy_within_ms, kind=kind, restores=restores,
            rollout=rollout,
        )  # fmt: skip
        return revision if signer is None else signer.sign_revision(revision), last_seq

    async def _is_refused(self, revision: Revision) -> bool:
        """Whether the site did not take it: then it may be put again, with what it lacked."""
        failure = (await self.report(revision.edge) or {}).get("failure") or {}
        return bool(failure.get("revision") == revision.revision)

    def _is_signed(self, revision: Revision) -> bool:
        """True when nobody signs here, or it was the same."""
        key = revision.signature.key if revision.signature is not None else ""
        return self.signer is None or key == self.signer.key.public

    async def plan(self, files: Sequence[SiteFile]) -> list[SitePlan]:
        """What these files would change; nothing is stored. One that cannot be put has an `error`."""
        from millstream.config import diff_documents

        sites = await self.sites()

        async def one(file: SiteFile) -> SitePlan:
            try:
                await self._checked(file.edge, _path_in(sites, file.edge), file, file.file)
            except Unreachable:
                raise
            except PlantError as error:
                return SitePlan(file, error=error)
            revisions, _ = await self._read(file.edge)
            newest = revisions[-1] if revisions else None
            changes = diff_documents(newest.text if newest is not None else "", file.text)
            is_foreign = bool(changes) and newest is not None and newest.revision.kind != "apply"
            return SitePlan(file, changes, newest, is_foreign)

        return await beside_one_another(one, files)

    async def apply(
        self, plan: SitePlan, *, comment: str = "", author: str | None = None, overwrite: bool = False,
        healthy_within_ms: int = HEALTHY_WITHIN_MS_DEFAULT,
    ) -> Revision | None:  # fmt: skip
        """Do what was planned for one site, if it still is as it was then; None when there is nothing to do. Raises
        PlantError: MS-2406 for what somebody did by hand, unless it is to be overwritten."""
        if not self.check_plan(plan, overwrite=overwrite):
            return None
        return await self.put(
            plan.file.edge, plan.file, based_on=plan.newest.revision.revision if plan.newest is not None else 0,
            comment=comment, author=author, healthy_within_ms=healthy_within_ms, kind="apply",
        )  # fmt: skip

    def check_plan(self, plan: SitePlan, *, overwrite: bool) -> bool:
        """False when there is nothing to do. Raises PlantError as `apply`."""
        if plan.error is not None:
            raise plan.error
        if not plan.changes and plan.newest is not None:
            return False
        if plan.is_foreign and not overwrite and plan.newest is not None:
            newest = plan.newest.revision
            raise PlantError(
                "the newest revision of this site did not come from a folder", where=plan.file.edge,
                got=f"revision {newest.revision} by {newest.author}", code="MS-2406",
                next_step="take it over into the folder, or undo it with --overwrite",
            )  # fmt: skip
        return True

    async def rollback(self, edge: str, to: int, *, comment: str = "", author: str | None = None) -> Revision:
        """Make an older revision the newest once more."""
        newest, old = await self.get(edge), await self.get(edge, to)
        assert newest is not None
        assert old is not None
        return await self.put(
            edge, old.text, based_on=newest.revision.revision, author=author, kind="rollback", restores=to,
            comment=comment or f"back to revision {to}", healthy_within_ms=old.revision.healthy_within_ms,
        )  # fmt: skip


def _path_in(sites: Mapping[str, str], edge: str) -> str:
    if not is_edge_name(edge):
        raise ConfigError(
            "not a name of a site", expected="1 to 32 of letters, digits, '_' and '-'", got=repr(edge)[:80],
            code="MS-2417",
        )  # fmt: skip
    if edge not in sites:
        near = suggest(edge, sites)
        raise NotFoundError(
            "the hub has no such site", got=repr(edge),
            next_step=f"did you mean {near}?" if near else "`millstream config status` lists them", code="MS-2415",
        )  # fmt: skip
    return sites[edge]


def _conflict(edge: str, based_on: int, newest: SiteRevision | None) -> PlantError:
    got = "none" if newest is None else f"revision {newest.revision.revision} by {newest.revision.author}"
    return PlantError(
        "somebody else has changed this site meanwhile", where=edge, expected=f"revision {based_on} as the newest",
        got=got, next_step=f"`millstream config diff {edge}`, then put it on top of the newest", code="MS-2406",
    )  # fmt: skip


def me() -> str:
    """Who runs this program, for the history."""
    try:
        name = getpass.getuser()
    except (OSError, KeyError):  # a process without an entry in the user database
        name = "unknown"
    return f"{name}@{socket.gethostname()}"[:128]
