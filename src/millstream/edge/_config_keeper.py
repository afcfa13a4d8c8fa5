"""The edge's side of configuration from afar: asks the hub, keeps what it gets, tries it, goes back when it is not
well.

What happens in which order, and what a kill in the middle leads to, stands in `_config_state`; here are the hands.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from millstream.bus import CONFIG, CONFIG_PREFIX, StreamApi
from millstream.config import (
    MANAGED_SECTIONS,
    ConnectorTypes,
    EdgeConfig,
    FlowKinds,
    SitePlace,
    load_site_document,
)
from millstream.edge._config_kept import KeptState
from millstream.edge._config_reports import UNSIGNED, ReportTeller
from millstream.edge._config_state import (
    Booted,
    Drained,
    Failed,
    Failure,
    Healthy,
    Held,
    Received,
    Returned,
    SiteState,
    Started,
    refuse,
)
from millstream.edge._config_store import ConfigShelf, ConfigStore, DiskShelf
from millstream.edge._lifecycle import Alarm
from millstream.edge._modules import ModuleStore, Prove
from millstream.edge._trust import EdgeTrust
from millstream.kernel import Clock, DecodeError, FencedError, PlantError, Unreachable
from millstream.protocols.module import is_module_digest
from millstream.protocols.site_config import Revision, RevisionWait, decode_ask, decode_revision, payload_mark
from millstream.sdk import Log, Publisher
from millstream.sdk import Received as Stored

LOOK_INTERVAL_S = 10.0  # a nudge comes sooner; this is for one that was lost
AWAY_INTERVAL_S = 2.0  # after a look that the hub did not answer
HEALTH_INTERVAL_S = 0.25
PARSED_MAX = 3  # the healthy one, the candidate, and one that came meanwhile
STEADY_S = 2.0  # so long without a break before a configuration counts as healthy
LOOK_AGAIN_S = 0.5  # after a look that came before what the hub told of was stored there
LOOKS_AGAIN_MAX = 4
CHAIN_TRIES_MAX = 4  # boxes that work at one time are two at most, for a moment


class Reshapable(Protocol):
    """The running node, as much of it as a configuration from afar may change."""

    def check(self, config: EdgeConfig) -> None:
        """Raise ConfigError for what this node cannot run."""

    def up(self) -> tuple[str, ...]:
        """What works now: connectors, and flows as ``flow <name>``."""
        ...

    async def drain(self, config: EdgeConfig) -> None:
        """Stop what differs, at a boundary of its batches. Raises PlantError, and nothing has stopped then."""

    async def switch(self, config: EdgeConfig) -> None:
        """Run `config`: start what is not running. May be called again. Raises PlantError."""

    def ailing(self, must_be_up: Sequence[str], unchanged: Sequence[str]) -> str | None:
        """Why the node is not well; None: it is. A connector that is `unchanged` may have stopped for good, and
        so may a flow, as ``flow <name>``."""
        ...

    def hopeless(self, unchanged: Sequence[str]) -> str | None:
        """Why the node will not be well however long it is waited for; None: it may be."""
        ...


class ConfigKeeper:
    """Order of use: `open` before the node starts, `run` in its task group."""

    def __init__(
        self, local: EdgeConfig, folder: Path | None, *, connectors: ConnectorTypes, flows: FlowKinds, clock: Clock,
        log: Log,
    ) -> None:  # fmt: skip
        self._local = local
        self._place = SitePlace(local.edge.name, local.edge.path, local, folder or local.edge.data_dir)
        self._connectors = connectors
        self._flows = flows
        self._clock = clock
        self._log = log
        self._kept = KeptState(DiskShelf(ConfigStore(local.edge.data_dir, local.edge.name)), clock)
        self._modules = ModuleStore(local.edge.data_dir, clock, log)
        credentials = local.uplink.credentials if local.uplink is not None else None
        folder = None if credentials is None else credentials.absolute().parent
        self._trust = EdgeTrust(folder, local.edge.path, clock, log)
        self._shared_chain: bytes | None = None
        self._wake = asyncio.Event()
        self._found_mark = ""  # of what lay at the hub at the last look
        self._hint: str | None = None  # the mark of what should lie there, "" when that is not known
        self._awaited = 0  # the newest revision that somebody waits for
        self._drift: Alarm | None = None
        self._broken: Alarm | None = None
        self._has_run = False
        self._parsed: dict[str, EdgeConfig] = {}

    @property
    def state(self) -> SiteState:
        """The newest."""
        return self._kept.state

    # -- before the node starts ---------------------------------------------------------------------------------------

    async def open(self, shelf: ConfigShelf | None = None) -> EdgeConfig:
        """The configuration to run, from now on kept in `shelf` (None: where it was). Raises PlantError when the last
        healthy one is there and cannot be used."""
        self._kept.shelf = shelf or self._kept.shelf
        self._parsed, self._has_run = {}, False
        self._found_mark, self._hint, self._awaited = "", None, 0
        await self._trust.open()
        self._shared_chain = await self._kept.shelf.chain()
        self._trust.take(self._shared_chain)
        try:
            state = await self._kept.shelf.load()
        except DecodeError as error:
            self._broken = Alarm(error.code, str(error), self._clock.now_ns())
            self._log.error("configuration from the hub is lost", error=str(error))
            state = SiteState()
        if not self._local.managed.accept:
            self._kept.begin(SiteState())
            return self._local
        self._kept.begin(state)
        if state != SiteState():
            await self._kept.advance(Booted())
        if self.state.healthy.revision and self.state.file_digest != file_digest(self._local):
            text = f"the edge's file was edited; revision {self.state.healthy.revision} from the hub counts"
            self._drift = Alarm("MS-2414", text, self._clock.now_ns())
        return await self._config_to_run()

    async def _config_to_run(self) -> EdgeConfig:
        held = self.state.to_run
        try:
            config = await self._load(held)
        except Unreachable:  # what the boxes share: it says nothing of the configuration
            raise
        except PlantError as error:
            if self.state.phase != "applying":
                raise
            await self._kept.advance(Failed(error.code, str(error)))
            return await self._load(self.state.to_run)
        self._log.info("configuration", revision=held.revision, phase=self.state.phase)
        return config

    async def start_failed(self, error: PlantError) -> bool:
        """The node could not start. True when it was a trial, which is given up: start again with what `open` gives."""
        if self.state.phase != "applying":
            return False
        self._log.error("configuration cannot start", error=str(error))
        await self._kept.advance(Failed("MS-2409", f"the node could not start: {error}"))
        return True

    async def _load(self, held: Held) -> EdgeConfig:
        if held.revision == 0:
            return self._local
        if held.digest in self._parsed:
            return self._parsed[held.digest]
        text = await self._kept.shelf.document(held)
        config = await self._parse(text, f"revision {held.revision}", held.digest)
        await self._bring_modules(config)
        return config

    async def _bring_modules(self, config: EdgeConfig) -> None:
        """Those that another box of the site has fetched. Raises PlantError."""
        for digest in sorted(module_digests(config)) if self._local.cluster is not None else ():
            if not await asyncio.to_thread(self._modules.has, digest):
                data = await self._kept.shelf.module(digest)
                if data is not None:
                    await self._modules.put(digest, data)

    async def _parse(self, text: str, name: str, digest: str) -> EdgeConfig:
        """A trial loads the same two documents several times, so that the newest are kept as they were understood."""
        config = await asyncio.to_thread(
            load_site_document, text, self._place, self._connectors, self._flows, file=name
        )
        self._parsed = {**dict(list(self._parsed.items())[1 - PARSED_MAX :]), digest: config}
        return config

    # -- while it runs ------------------------------------------------------------------------------------------------

    def nudge(self, mark: str = "") -> None:
        """There may be something new at the hub; with its `mark`, unless that was found already."""
        self._hint = mark
        self._wake.set()

    async def run(self, node: Reshapable, hub: StreamApi | None, publisher: Publisher) -> None:
        """For ever; an edge without a hub only tells what it has."""
        teller = ReportTeller(self._local, self._kept, publisher)
        await teller.learn()
        async with asyncio.TaskGroup() as group:
            group.create_task(teller.run(), name="configuration reports")
            if self._has_run:  # it failed in the middle of something: first what should run
                await node.switch(await self._load(self.state.to_run))
            self._has_run = True
            await self._go_on(node)
            again_count = 0
            while True:
                hint, self._hint, self._awaited = self._hint, None, 0
                is_there = await self._look(node, hub) if hub is not None else False
                is_early = bool(is_there and hint and hint != self._found_mark)
                if is_early and self._hint is None and again_count < LOOKS_AGAIN_MAX:
                    again_count += 1
                    await self._clock.sleep(LOOK_AGAIN_S)
                    self._hint = self._hint or hint
                else:
                    again_count = 0
                    await self._pause(LOOK_INTERVAL_S if is_there else AWAY_INTERVAL_S)

    async def _pause(self, delay_s: float) -> None:
        async with asyncio.TaskGroup() as group:
            waits = [group.create_task(self._clock.sleep(delay_s)), group.create_task(self._awake())]
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for wait in waits:
                wait.cancel()

    async def _awake(self) -> None:
        """Until there is a hint at something that was not found yet."""
        while self._hint in (None, self._found_mark) and self._awaited <= self.state.seen:
            self._hint = None
            self._wake.clear()
            await self._wake.wait()

    async def _go_on(self, node: Reshapable) -> None:
        """Bring what an earlier life began to its end."""
        if self.state.phase == "stored":
            await self._try(node)
        elif self.state.phase == "applying":
            await self._kept.note(Started())
        if self.state.phase == "watching":
            await self._watch(node)
        if self.state.phase == "rolling_back":
            await self._go_back(node)

    async def _look(self, node: Reshapable, hub: StreamApi) -> bool:
        """Ask the hub for this edge's key. False when it does not answer."""
        if not self._local.managed.accept:
            return True
        try:
            found = await hub.last(CONFIG, CONFIG_PREFIX + self._place.name)
            revision = None if found is None else await self._take(found, hub)
        except Unreachable:
            return False
        if found is not None and revision is not None:
            await self._receive(found.payload, revision)
            await self._go_on(node)
        return True

    async def _take(self, found: Stored, hub: StreamApi) -> Revision | None:
        """What is new and may be tried; None for anything else, which is told once. Raises Unreachable."""
        digest = hashlib.sha256(found.payload).hexdigest()
        self._found_mark = payload_mark(found.payload)
        state = self.state
        if digest == state.refused_payload:
            return None
        revision: Revision | None = None
        try:
            revision, text = decode_revision(found.payload, self._place.name)
            if (revision.revision, revision.digest) == (state.seen, state.seen_digest):
                return None
            await self._refresh_trust(hub)
            unsigned = hashlib.sha256(found.payload + self._trust.mark.encode()).hexdigest()
            if unsigned == state.refused_payload:
                return None
            self._trust.check_revision(revision)
            self._check_newer(revision)
            config = await self._parse(text, f"revision {revision.revision}", revision.digest)
            for module in sorted(module_digests(config)):
                await self._modules.fetch(module, hub, self._trust.check_module)
                await self._kept.shelf.keep_module(module, self._modules.path(module))
            return revision
        except Unreachable:
            raise
        except PlantError as error:
            reason = str(error).removesuffix(f" [{error.code}]")
            number = revision.revision if revision is not None else 0
            failure = Failure(number, error.code, reason, self._clock.now_ns())
            if error.code == UNSIGNED:  # it proves nothing, so its number is not used up; under a newer chain it may be
                digest = unsigned
            is_new = revision is not None and number > state.seen and error.code != UNSIGNED
            seen = Held.of(revision) if revision is not None and is_new else None
            await self._kept.update(lambda state: refuse(state, failure, digest, seen=seen))
            self._log.error("configuration refused", revision=number, error=str(error))
            return None

    async def vouch(self, hub: StreamApi) -> Prove:
        """What proves a manifest, by what the hub says now of who may sign. Raises Unreachable."""
        await self._refresh_trust(hub)
        return self._trust.check_module

    async def peek(self) -> EdgeConfig:
        """The configuration that a start would run, with nothing changed. Raises PlantError."""
        if not self._local.managed.accept:
            return self._local
        state = await self._kept.shelf.load()
        return await self._load(state.to_run)

    async def _refresh_trust(self, hub: StreamApi) -> None:
        """What is known of who may sign, here and at the other boxes. Raises PlantError."""
        await self._trust.refresh(hub)
        for _ in range(CHAIN_TRIES_MAX):
            chain = self._trust.chain
            if chain is None or chain == self._shared_chain:
                return
            try:
                await self._kept.shelf.keep_chain(chain)
                self._shared_chain = chain
            except FencedError:  # another box has told one meanwhile: the newer of the two counts
                self._shared_chain = await self._kept.shelf.chain()
                self._trust.take(self._shared_chain)
        raise Unreachable("another box of the site tells who may sign", where=self._place.name)

    def _check_newer(self, revision: Revision) -> None:
        """Raise DecodeError for what was there before, or is another than what was there."""
        seen = self.state.seen
        if revision.revision < seen:
            raise DecodeError(
                "an older revision is sent again", where=self._place.name, expected=f"one newer than {seen}",
                got=str(revision.revision), code="MS-2404",
            )  # fmt: skip
        if revision.revision == seen:
            raise DecodeError(
                "another document under a number that was used", where=self._place.name, got=str(seen),
                next_step="put it again: it gets the next number", code="MS-2407",
            )  # fmt: skip

    async def _receive(self, payload: bytes, revision: Revision) -> None:
        held = Held.of(revision)
        await self._kept.shelf.keep(payload, held)
        await self._kept.advance(Received(held))
        self._log.info("configuration received", revision=held.revision, author=held.author, comment=held.comment)

    # -- a trial ------------------------------------------------------------------------------------------------------

    async def _try(self, node: Reshapable) -> None:
        """From stored to watching. Until all that changes has stopped, a kill leads to the old configuration."""
        held = self.state.candidate
        assert held is not None
        before, config = await self._load(self.state.healthy), None
        try:
            config = await self._load(held)
            node.check(config)
            up = node.up()
            await node.drain(config)
        except PlantError as error:
            if config is None and isinstance(error, Unreachable):
                raise  # what the boxes share: tried again
            await self._kept.advance(Failed(error.code, str(error)))
            await node.switch(before)
            return
        await self._kept.advance(Drained(up))
        try:
            await node.switch(config)
        except PlantError as error:
            await self._kept.advance(Failed("MS-2409", f"it could not be applied: {error}"))
            return
        await self._kept.note(Started())

    async def _watch(self, node: Reshapable) -> None:
        """Until the node has been healthy for a while, or its time is over."""
        state = self.state
        held = state.candidate
        assert held is not None
        within_s = held.healthy_within_ms / 1000
        before, now = await self._load(state.healthy), await self._load(held)
        unchanged = [entry.name for entry in now.connectors if entry in before.connectors]
        unchanged += [f"flow {entry.name}" for entry in now.flows if entry in before.flows]
        begun_ns = self._clock.monotonic_ns()
        well_since_ns: int | None = None
        while True:
            now_ns = self._clock.monotonic_ns()
            ailing = node.ailing(state.must_be_up, unchanged)
            well_since_ns = (well_since_ns or now_ns) if ailing is None else None
            left_s = min(STEADY_S, within_s / 2) - (now_ns - (well_since_ns or now_ns)) / 1e9
            if left_s <= 0:
                await self._kept.advance(Healthy(file_digest(self._local)))
                self._drift = self._broken = None
                await self._clean(before, now)
                self._log.info("configuration is healthy", revision=held.revision)
                return
            hopeless = node.hopeless(unchanged)
            if hopeless is not None or (now_ns - begun_ns > within_s * 1e9 and ailing is not None):
                with contextlib.suppress(PlantError):  # at a boundary, before a kill would lead to the old one
                    await node.drain(before)
                await self._kept.advance(Failed("MS-2408", hopeless or f"not healthy after {within_s:g}s: {ailing}"))
                return
            await self._clock.sleep(min(HEALTH_INTERVAL_S, left_s))

    async def _go_back(self, node: Reshapable) -> None:
        config = await self._load(self.state.healthy)
        failure = self.state.failure
        self._log.error("configuration rolls back", to=self.state.healthy.revision, why=failure and failure.reason)
        await node.switch(config)
        await self._kept.advance(Returned())
        await self._clean(config)

    async def _clean(self, *used: EdgeConfig) -> None:
        """Keep what the configurations of now and before need, so that the way back needs no hub."""
        await self._kept.shelf.clean(self.state)
        needed = {module for config in used for module in module_digests(config)}
        if self._modules.folder.exists():
            await asyncio.to_thread(self._modules.clean, needed)
        await self._kept.shelf.clean_modules(needed)

    # -- what others see ----------------------------------------------------------------------------------------------

    def status(self) -> dict[str, object]:
        """As the node's status and the service `config` show it."""
        state = self.state
        running = state.to_run
        return {
            "edge": self._place.name, "revision": running.revision, "digest": running.digest, "phase": state.phase,
            "healthy_revision": state.healthy.revision, "since_ns": state.since_ns, "seen": state.seen,
            "candidate": None if state.candidate is None else state.candidate.revision,
            "failure": None if state.failure is None else msgspec.to_builtins(state.failure),
            "accepts": self._local.managed.accept, "is_file_edited": self._drift is not None,
            "demands_signatures": self._trust.demands, "signed_by": running.signed_by or None,
            "fetching": self._modules.fetching,
        }  # fmt: skip

    async def answer(self, payload: bytes) -> object:
        """The service `config`: whoever asks gets the report; the keeper looks at the hub when told that there is
        something new. Who waits for a revision gets it when that has come to its end here, or the wait to its own."""
        ask = decode_ask(payload)
        if isinstance(ask, RevisionWait):
            self._awaited = max(self._awaited, ask.revision)
            self._wake.set()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ask.wait_s):
                    await self._kept.until(lambda _: self._is_through(ask.revision))
        elif ask is not None:
            self.nudge(ask)
        return self.status()

    def _is_through(self, revision: int) -> bool:
        """Whether nothing more is going to happen with it: it is healthy, was given up, or a newer one came."""
        state = self.state
        ended = max(state.healthy.revision, state.failure.revision if state.failure is not None else 0)
        return state.phase == "settled" and max(ended, state.seen) >= revision

    def alarms(self) -> list[Alarm]:
        """What a person should know now."""
        found = [alarm for alarm in (self._drift, self._broken) if alarm is not None]
        failure = self.state.failure
        if failure is not None:
            verb = "was rolled back" if failure.is_rolled_back else "is refused"
            text = f"configuration revision {failure.revision} {verb}: {failure.reason}"
            found.append(Alarm(failure.code, text, failure.time_ns))
        return found


def module_digests(config: EdgeConfig) -> set[str]:
    """The modules that a configuration names by digest."""
    return {flow.module for flow in config.flows if flow.module is not None and is_module_digest(flow.module)}


def file_digest(config: EdgeConfig) -> str:
    """Of the sections of an edge file that may come from afar."""
    return hashlib.sha256(config.model_dump_json(include=set(MANAGED_SECTIONS)).encode()).hexdigest()
