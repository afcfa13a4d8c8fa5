"""The command ``update``: another version of Millstream, fetched, tried, switched to, and confirmed or taken back.

    fetched -> unpacked -> tried beside the one that runs -> chosen, on trial -> started -> healthy: it is the one
                                                                                 else: the one before is started again

What happens if it is killed here? Until the choice is on disk the version that runs stays, and the command has failed.
From then on the launcher (`millstream.release`) starts the version on trial, so often at most, and else the one before;
either of them finds in the journal that the command is under way, and in the choice what became of it, and says so.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from functools import partial
from pathlib import Path
from typing import Any

from millstream.bus import disk_error
from millstream.edge._command_types import Admitted, BuiltIn, Outcome
from millstream.edge._modules import ModuleStore, Prove
from millstream.edge._release_try import Tried, try_version
from millstream.edge._update_ground import NodeToUpdate, UpdateGround
from millstream.kernel import (
    Clock,
    ConfigError,
    DecodeError,
    PlantError,
    Unreachable,
    format_duration,
    parse_duration_s,
)
from millstream.protocols.command import Command
from millstream.protocols.module import RELEASE, Manifest, is_module_digest
from millstream.release import (
    DATA_FORMAT,
    INSTALLED,
    PLACE,
    Choice,
    ChoiceFile,
    Held,
    Launched,
    Machine,
    Package,
    Trial,
    begin,
    confirm,
    fail,
    nothing_chosen,
    python_tag,
    version_key,
)
from millstream.sdk import CommandContext, Log, Progress

TYPE = "update"
FETCHED = "versions/fetched"
FETCH_S = 4 * 3600.0  # over a bad link; what is there stays, and the next command goes on behind it
AGAIN_S = 5.0  # after a hub that did not answer
TELL_S = 2.0
LOOK_S = 0.25
RESUMED_S = 20.0  # from a start on, so that what worked before works again when it is noted what has to
FETCHED_OTHERS_MAX = 2  # other releases of which a part lies here; the newest stay
STEADY_S = 5.0  # so long without a break before a version counts as healthy
HEALTHY_WITHIN = "2min"
HEALTHY_WITHIN_S = (2.0, 3600.0)
ROOM_BYTES = 64 << 20  # of the disk that unpacking leaves free


class UpdateDesk:
    """The versions of one edge."""

    def __init__(self, ground: UpdateGround, node: NodeToUpdate, *, clock: Clock, log: Log) -> None:
        self._ground = ground
        self._node = node
        self._clock = clock
        self._log = log
        self._file = ChoiceFile(ground.data_dir.absolute())
        self._store = ModuleStore(ground.data_dir, clock, log, FETCHED)
        self._busy: str | None = None

    def command(self) -> BuiltIn:
        """As the edge offers it."""
        text = {"type": "string", "minLength": 1, "maxLength": 80}
        schema = {
            "type": "object", "required": ["package"], "additionalProperties": False,
            "properties": {
                "package": text, "allow_older": {"type": "boolean"}, "healthy_within": text,
            },
        }  # fmt: skip
        return BuiltIn(
            "Run another version of Millstream: the digest of a release, or 'installed'; taken back if it is not well.",
            schema, self._admit, resume=self._resume,
        )  # fmt: skip

    # -- before the switch --------------------------------------------------------------------------------------------

    def _admit(self, command: Command, context: CommandContext, not_before_ns: int = 0) -> Admitted:
        """`not_before_ns`, monotonic: no sooner is anything switched."""
        launched, package = self._ground.launched, str(command.args["package"])
        within_s = _within_s(command.args)
        if package != INSTALLED and not is_module_digest(package):
            raise DecodeError(
                "not a release", got=package, expected=f"sha256: and 64 hexadecimal digits, or {INSTALLED!r}",
                next_step="`millstream code list` shows them", code="MS-2304",
            )  # fmt: skip
        if self._ground.config.cluster is not None:
            raise _not_now("it is one of several boxes of a site, which are updated at the boxes, one after the other")
        if launched is None:
            raise _not_now("it was not started by `millstream edge`")
        if self._ground.hub is None and package != INSTALLED:
            raise _not_now("it has no hub to fetch a release from")
        trouble = f"command {self._busy} updates it" if self._busy else self._node.unsettled()
        if trouble is not None:
            raise _not_now(trouble)

        async def run() -> Outcome:
            self._busy = command.id
            try:
                return await self._update(command, context.progress, launched, within_s, not_before_ns)
            finally:
                self._busy = None

        return Admitted(run, 2 * FETCH_S, partial(self._ground.audit, command, self._clock))

    async def _update(
        self, command: Command, progress: Progress, launched: Launched, within_s: float, not_before_ns: int
    ) -> Outcome:
        package = str(command.args["package"])
        choice = await self._read(launched)
        if choice.trial is not None or choice.runs != launched.held:
            raise _not_now("a version is on trial")
        if package == choice.runs.digest:
            return Outcome("done", result={"version": choice.runs.version, "before": choice.runs.version})
        held = Held("", launched.installed)
        if package != INSTALLED:
            held = await self._bring(package, progress, choice, launched)
        _check_age(held, choice.runs, is_allowed=command.args.get("allow_older", False))
        await progress(0.7, f"tries {held.version} beside {choice.runs.version}")
        place = self._file.place(held) if held.folder else None
        _check_way_back(await try_version(launched, place, held.version), choice.runs)
        await self._clock.sleep(max(0.0, (not_before_ns - self._clock.monotonic_ns()) / 1e9))
        trouble = self._node.unsettled()
        if trouble is not None:
            raise _not_now(trouble)
        await progress(0.9, f"starts {held.version} on trial")
        trial = Trial(held, command.id, round(within_s * 1000), self._node.up(), self._node.is_linked())
        await self._write(begin(choice, trial))
        self._log.info("a version goes on trial", version=held.version, package=held.digest, command=command.id)
        self._node.restart()
        await asyncio.Event().wait()  # until this process ends; the next one says how it went
        raise AssertionError("unreachable")

    async def _bring(self, package: str, progress: Progress, choice: Choice, launched: Launched) -> Held:
        """Have a release here, unpacked. Raises PlantError."""
        folder = package.removeprefix("sha256:")
        if choice.before is not None and choice.before.folder == folder and folder in self._file.present():
            return choice.before  # it ran here before
        await asyncio.to_thread(self._make_room, package, choice)
        try:
            async with asyncio.timeout(FETCH_S):
                await self._fetch(package, progress)
        except TimeoutError as error:
            raise Unreachable(
                "the release did not come", where=package, expected=f"all of it within {format_duration(FETCH_S)}",
                next_step="send the command again: what is there stays", code="MS-2458",
            ) from error  # fmt: skip
        await progress(0.6, "unpacks the release")
        besides = self._file.place(launched.held) / PLACE if launched.held.folder else None
        try:
            return await asyncio.to_thread(self._unpack, package, besides)
        except OSError as error:
            raise disk_error(error, self._file.folder) from error

    def _make_room(self, package: str, choice: Choice) -> None:
        """What failed before must not fill the disk: versions that nobody starts, and parts of releases, go."""
        self._store.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        kept = {held.folder for held in (choice.runs, choice.before) if held is not None}
        gone = sorted(self._file.present() - kept - {package.removeprefix("sha256:")})
        for name in gone:
            shutil.rmtree(self._file.folder / name, ignore_errors=True)
        gone += self._store.drop_others(package, FETCHED_OTHERS_MAX)
        if gone:
            self._log.info("releases that were not taken are dropped", count=len(gone), packages=" ".join(gone))

    async def _fetch(self, package: str, progress: Progress) -> None:
        hub = self._ground.hub
        assert hub is not None
        telling = asyncio.ensure_future(self._tell_fetching(progress))
        try:
            while True:
                try:
                    prove = partial(_prove, await self._ground.vouch(hub))
                    return await self._store.fetch(package, hub, prove)
                except Unreachable as error:
                    self._log.warning("the hub is not reached while a release is fetched", error=str(error))
                    await self._clock.sleep(AGAIN_S)
        finally:
            telling.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await telling

    async def _tell_fetching(self, progress: Progress) -> None:
        while True:
            at: dict[str, Any] | None = self._store.fetching
            if at is not None:
                await progress(0.5 * at["bytes"] / at["of_bytes"], f"{at['bytes']} of {at['of_bytes']} bytes are here")
            await self._clock.sleep(TELL_S)

    def _unpack(self, package: str, besides: Path | None) -> Held:
        path = self._store.path(package)
        release = Package(path)
        try:
            release.check_machine(Machine.own(), besides)
            held = Held(package.removeprefix("sha256:"), release.version)
            needed, free = release.unpacked_bytes, shutil.disk_usage(self._file.folder).free
            if free < needed + ROOM_BYTES:
                raise PlantError(
                    "the disk is too full for the release", where=str(self._file.folder), got=f"{free} bytes",
                    expected=f"{needed} bytes and {ROOM_BYTES >> 20} MiB beside", code="MS-2442",
                    next_step="make room, and send it again",
                )  # fmt: skip
            release.unpack(self._file.place(held))
        finally:
            release.close()
            path.unlink(missing_ok=True)
        return held

    # -- after the switch ---------------------------------------------------------------------------------------------

    def _resume(self, command: Command, context: CommandContext) -> Admitted:
        """The end of what had begun when the process ended that began it."""
        return Admitted(
            lambda: self._see_through(command, context), 2 * FETCH_S,
            partial(self._ground.audit, command, self._clock),
        )  # fmt: skip

    async def _see_through(self, command: Command, context: CommandContext) -> Outcome:
        choice = await self._read(self._ground.launched)
        ended, trial = choice.ended_of(command.id), choice.trial
        if ended is None and (trial is None or trial.command != command.id):
            if await asyncio.to_thread(self._was_fetching, command):
                return await self._fetch_on(command, context)
            return Outcome(
                "failed", "MS-2456", "the edge ended before anything was switched: the version before runs on"
            )
        if ended is None and trial is not None:
            launched = self._ground.launched
            if launched is None or launched.held != trial.held:
                choice = fail(choice, "the edge was started by other means than `millstream edge`", self._now_ns())
                await self._write(choice)
            else:
                choice = await self._watch(choice, trial)
            ended = choice.ended_of(command.id)
        assert ended is not None
        if ended.state == "failed":
            reason = f"{ended.held.version} was taken back, {ended.before.version} runs again: {ended.reason}"
            return Outcome("failed", "MS-2455", reason[:400])
        await asyncio.to_thread(self._clean, choice)
        return Outcome("done", result={"version": ended.held.version, "before": ended.before.version})

    def _was_fetching(self, command: Command) -> bool:
        """Whether a part of its release is here, and nothing was done with it yet."""
        package = str(command.args["package"])
        return command.expires_ns > self._now_ns() and self._store.has_part(package)

    async def _fetch_on(self, command: Command, context: CommandContext) -> Outcome:
        """The edge ended while it fetched: nothing was switched, so all of it may be done once more, from what is here;
        until the command expires, however often that happens."""
        self._log.info("a release is fetched on", package=command.args["package"], command=command.id)
        return await self._admit(command, context, self._clock.monotonic_ns() + int(RESUMED_S * 1e9)).run()

    async def _watch(self, choice: Choice, trial: Trial) -> Choice:
        """Until the version that runs here has been healthy for a while; one that is not in time ends itself."""
        within_s, begun_ns = trial.healthy_within_ms / 1000, self._clock.monotonic_ns()
        well_since_ns: int | None = None
        while True:
            now_ns = self._clock.monotonic_ns()
            ailing = self._ailing(trial)
            well_since_ns = (well_since_ns or now_ns) if ailing is None else None
            if well_since_ns is not None and now_ns - well_since_ns >= min(STEADY_S, within_s / 2) * 1e9:
                choice = confirm(choice, self._now_ns())
                await self._write(choice)
                self._log.info("a version is healthy", version=trial.held.version, package=trial.held.digest)
                return choice
            if ailing is not None and now_ns - begun_ns > within_s * 1e9:
                reason = f"not healthy after {within_s:g} s: {ailing}"
                await self._write(fail(choice, reason, self._now_ns()))
                self._log.error("a version is taken back", version=trial.held.version, reason=reason)
                self._node.restart()
                await asyncio.Event().wait()
            await self._clock.sleep(LOOK_S)

    def _ailing(self, trial: Trial) -> str | None:
        if trial.needs_hub and not self._node.is_linked():
            return "the hub is not reached, which the version before reached"
        return self._node.ailing(trial.must_be_up)

    def _clean(self, choice: Choice) -> None:
        """Keep the version that runs and the one before."""
        kept = {held.folder for held in (choice.runs, choice.before) if held is not None}
        for name in self._file.present() - kept:
            shutil.rmtree(self._file.folder / name, ignore_errors=True)
        shutil.rmtree(self._store.folder, ignore_errors=True)

    # -- the choice ---------------------------------------------------------------------------------------------------

    def _now_ns(self) -> int:
        return self._clock.now_ns()

    async def _read(self, launched: Launched | None) -> Choice:
        try:
            found = await asyncio.to_thread(self._file.read)
        except (ValueError, OSError) as error:
            raise DecodeError(
                "which version runs cannot be read", where=str(self._file.folder), got=str(error)[:120],
                next_step="remove the file choice.json there: the installed version is started then", code="MS-2454",
            ) from error  # fmt: skip
        installed = "" if launched is None else launched.installed
        return found or nothing_chosen(installed, python_tag())

    async def _write(self, choice: Choice) -> None:
        try:
            await asyncio.to_thread(self._file.write, choice)
        except OSError as error:
            raise disk_error(error, self._file.folder) from error


def _within_s(args: dict[str, Any]) -> float:
    text = str(args.get("healthy_within", HEALTHY_WITHIN))
    least, most = HEALTHY_WITHIN_S
    try:
        seconds = parse_duration_s(text)
    except (ValueError, ConfigError):
        seconds = -1.0
    if not least <= seconds <= most:
        expected = f"{format_duration(least)} to {format_duration(most)}"
        raise DecodeError("healthy_within is no such time", got=text, expected=expected, code="MS-2304")
    return seconds


def _prove(prove: Prove, manifest: Manifest) -> None:
    if manifest.kind != RELEASE:
        raise DecodeError("this module is no release", where=manifest.digest, got=manifest.file, code="MS-2450")
    prove(manifest)


def _not_now(why: str) -> PlantError:
    return PlantError(
        f"this edge cannot be updated: {why}", next_step="see the page `update sites`", code="MS-2454"
    )  # fmt: skip


def _check_age(held: Held, runs: Held, *, is_allowed: bool) -> None:
    """Raise ConfigError (MS-2452) for an older version than runs, unless that is wanted."""
    if not is_allowed and held.folder and version_key(held.version) < version_key(runs.version):
        raise ConfigError(
            "this release is older than what runs", got=held.version, expected=f"{runs.version} or newer",
            next_step="say --arg allow_older=true if it is meant", code="MS-2452",
        )  # fmt: skip


def _check_way_back(tried: Tried, runs: Held) -> None:
    """Raise ConfigError (MS-2452) for a version whose data the one that runs could not read."""
    if tried.readable_by > DATA_FORMAT:
        raise ConfigError(
            f"there would be no way back: {runs.version} cannot read the data of this release", got=tried.version,
            expected=f"data that format {DATA_FORMAT} can read", next_step="install it at the box", code="MS-2452",
        )  # fmt: skip
