"""Store and forward, the edge's side: the streams, the boot check, and the watch over the way to the hub.

"Connected" means that data flows. The watchdog looks at the hub's cursor of each stream and at the age of the oldest
message that the hub does not have; never at a link flag, and never at a source's lag, which is 0 for a stalled one too.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from millstream.bus import (
    CONTRACTS,
    HUB_DLQ,
    HUB_DOMAIN,
    HUB_INTEGRITY,
    HUB_THROUGHPUT,
    START_PATIENCE_S,
    NatsServer,
    RawConnection,
    ServerAlarm,
    StreamApi,
    StreamBounds,
    StreamConfig,
    StreamInfo,
    StreamName,
    cursors_subject,
    deadletter_stream,
    delete_stream,
    ensure_stream,
    find_stream,
    flow_stream,
    integrity_stream,
    is_retired,
    list_streams,
    mqtt_stream,
    retired_stream,
    site_stream,
    throughput_stream,
)
from millstream.edge._boot import (
    BootDecision,
    Finding,
    ForwardNote,
    StreamNote,
    decide,
    load_note,
    newest_generation,
    save_note,
)
from millstream.edge._forward_settings import EdgeStreams, ForwardSettings
from millstream.edge._positions import PositionKeeper
from millstream.edge._stream_room import Cursors, StreamRoom
from millstream.edge._told_cursors import ToldCursors
from millstream.edge._uplink import (
    BUSY_PATIENCE,
    CursorWatch,
    LinkEar,
    Redials,
    Refusals,
    StreamFlow,
    UplinkStatus,
    judge,
    redial_pauses,
    stuck_s,
)
from millstream.kernel import Clock, NotFoundError, PlantError, SystemClock

CALM_CHECKS = 3  # so many times longer is the pause while little is stored and nothing waits
CALM_MESSAGES_MAX = 100  # of a stream between two checks
NOTE_INTERVAL_S = 10.0  # each note is one synced write; flash memory should not wear out for it
HUB_TIMEOUT_S = 2.0
ASK_AGAIN_S = 10.0  # below `HANG_S`: a hub that is slow for all its edges is not made slower by their questions
LETTERS_CHECKS = 5  # dead letters are few: their stream is looked at in each fifth check
FILL_ALARM_RATIO = 0.8
_Kind = Literal["I", "T", "S", "F"]
_MAKE: Mapping[_Kind, Callable[[str, StreamBounds], StreamConfig]] = {
    "I": integrity_stream, "T": throughput_stream, "S": site_stream, "F": flow_stream,
}  # fmt: skip


@dataclass(slots=True)
class _Watched:
    name: str
    kind: Literal[_Kind, "DLQ"]
    boot_last_seq: int
    info: StreamInfo
    watch: CursorWatch = field(default_factory=CursorWatch)


class EdgeForward:
    """Prepares the edge's streams before anything writes, then watches the way to the hub.

    Order of use: `prepare` once, `run` in the node's task group, `close` after the publishers are closed.
    """

    def __init__(
        self,
        server: NatsServer,
        connection: RawConnection,
        settings: ForwardSettings,
        *,
        clock: Clock | None = None,
        on_log: Callable[[str], None] | None = None,
    ) -> None:
        self._server = server
        self._connection = connection
        self._settings = settings
        self._clock = clock or SystemClock()
        self._on_log = on_log or (lambda _: None)
        self._api = StreamApi(connection)
        self._start_api = StreamApi(connection, patience_s=START_PATIENCE_S)
        self._hub = StreamApi(connection, HUB_DOMAIN)
        self._positions = PositionKeeper(connection, settings.edge, settings.path)
        self.room = StreamRoom(self._api, self._positions)
        self._watched: list[_Watched] = []
        self._mqtt: StreamInfo | None = None
        self._alarms: dict[str, ServerAlarm] = {}
        self._refusals = Refusals()
        self._uplink = UplinkStatus("cut" if settings.has_uplink else "none")
        self._ear = LinkEar(settings.hang_s)
        self._redials = Redials(redial_pauses(settings.hang_s))
        self._noted: ForwardNote | None = None
        self.told = ToldCursors(self._clock)
        self._asked_ns: int | None = None
        self._shaping = asyncio.Lock()
        self._checks_count = 0
        self._is_calm = False

    # -- what the node reads ------------------------------------------------------------------------------------------

    @property
    def uplink(self) -> UplinkStatus:
        """State of the way to the hub, at most one check old."""
        return self._uplink

    @property
    def api(self) -> StreamApi:
        """JetStream's API of the edge."""
        return self._api

    @property
    def alarms(self) -> list[ServerAlarm]:
        """What a person should know now."""
        return list(self._alarms.values())

    @property
    def streams(self) -> list[StreamInfo]:
        """The streams as of the last check."""
        return [w.info for w in self._watched] + ([self._mqtt] if self._mqtt is not None else [])

    # -- before anything writes ---------------------------------------------------------------------------------------

    async def prepare(self) -> EdgeStreams:
        """Make the streams, after checking that what is on the disk may be continued. Raises PlantError."""
        settings = self._settings
        names = await list_streams(self._start_api)
        note = load_note(settings.data_dir)
        hub = await self._ask_hub_at_boot()
        bounds = self._fitted()
        integrity = await self._prepare_stream("I", names, note, hub, bounds["I"])
        throughput = site = flow = None
        if settings.throughput is not None:
            throughput = await self._prepare_stream("T", names, note, hub, bounds["T"])
        if settings.site is not None:
            site = await self._prepare_stream("S", names, note, hub, bounds["S"])
        if settings.flow is not None:
            flow = await self._prepare_stream("F", names, note, hub, bounds["F"])
        name = str(StreamName(settings.edge, "DLQ"))
        deadletter = await ensure_stream(self._start_api, deadletter_stream(name, settings.edge))
        self._watched.append(_Watched(name, "DLQ", deadletter.last_seq, deadletter))
        if settings.has_mqtt:
            mqtt_name = str(StreamName(settings.edge, "MQTT"))
            self._mqtt = await self._server.open_mqtt(self._start_api, mqtt_stream(mqtt_name, bounds["MQTT"]))
        await self._retire_leftovers(names)
        await self._server.sync_descriptions()
        await self._write_note(is_clean=False)
        return EdgeStreams(integrity, throughput, self._mqtt.name if self._mqtt else None, name, flow, site)

    async def reshape(self, settings: ForwardSettings) -> EdgeStreams:
        """Other bounds, or streams that were not needed so far, while the node runs. A stream that is not needed any
        more stays until the hub has all of it. Raises PlantError."""
        self._settings = settings
        async with self._shaping:
            bounds = self._fitted()
            known = {watched.kind: watched for watched in self._watched}
            is_changed = False
            for kind, make in _MAKE.items():
                if kind in bounds and kind in known:
                    before = known[kind].info
                    known[kind].info = await ensure_stream(self._api, make(known[kind].name, bounds[kind]))
                    is_changed = is_changed or known[kind].info.config != before.config
                elif kind in bounds:
                    is_changed = True
                    names, hub = await list_streams(self._api), await self._ask_hub_at_boot()
                    await self._prepare_stream(kind, names, load_note(settings.data_dir), hub, bounds[kind])
        if is_changed:
            await self._server.sync_descriptions()
        found = {watched.kind: watched.name for watched in self._watched}
        mqtt = self._mqtt.name if self._mqtt else None
        return EdgeStreams(found["I"], found.get("T"), mqtt, found["DLQ"], found.get("F"), found.get("S"))

    def _fitted(self) -> dict[str, StreamBounds]:
        fitted, lack = self._settings.fitted()
        if lack is not None:
            self._raise("MS-0611", lack)
        return fitted

    async def _prepare_stream(
        self,
        kind: _Kind,
        names: list[str],
        note: ForwardNote,
        hub: Mapping[str, int] | None,
        bounds: StreamBounds,
    ) -> str:
        edge = self._settings.edge
        on_disk = newest_generation(names, edge, kind)
        known = max(on_disk, newest_generation([*note.streams, *(hub or ())], edge, kind))
        found = await find_stream(self._start_api, str(StreamName(edge, kind, on_disk))) if on_disk else None
        finding = decide(
            found,
            known_generation=known,
            hub_cursor=None if hub is None else hub.get(found.name if found else "", 0),
            note=note.streams.get(found.name) if found else None,
            is_sure=kind != "T" or note.is_clean,
        )
        # Of several boxes each has notes of its own turns only; and no single one of them can set their stream back.
        is_shared = self._connection.replicas > 1 and hub is None
        is_alone = not self._settings.has_uplink or kind == "S"
        if (is_shared or is_alone) and found is not None and not is_retired(found.config):
            finding = Finding(BootDecision.CONTINUE, "nobody to ask", on_disk)
        name = str(StreamName(edge, kind, finding.generation))
        if finding.decision is BootDecision.NEW_GENERATION:
            assert found is not None
            self._raise("MS-0612", f"{found.name}: {finding.reason}; {name} is begun")
            await ensure_stream(self._start_api, retired_stream(found.config))
        elif finding.decision is BootDecision.CREATE and finding.generation > 1:
            self._raise("MS-0612", f"{name} is begun: {finding.reason}")
        info = await ensure_stream(self._start_api, _MAKE[kind](name, bounds))
        if finding.generation > 1 and kind != "F":  # flows take their state along by themselves
            older = [n for n in names if n != name]
            await self._positions.carry(info, older, self._hub if hub is not None else None)
        self._watched.append(_Watched(name, kind, info.last_seq, info))
        return name

    async def _ask_hub_at_boot(self) -> dict[str, int] | None:
        """Cursors of all generations of this edge's streams at the hub; None when it does not answer in time."""
        if not self._settings.has_uplink:
            return None
        deadline_ns = self._clock.monotonic_ns() + int(self._settings.boot_wait_s * 1e9)
        while True:
            try:
                return {name: seq for name, (seq, _) in (await self._hub_cursors()).items()}
            except PlantError:
                if self._clock.monotonic_ns() > deadline_ns:
                    return None
            await self._clock.sleep(0.1)

    async def _hub_cursors(self) -> dict[str, tuple[int, str | None]]:
        """Origin stream -> cursor and error, for this edge. Raises Unreachable."""
        cursors: dict[str, tuple[int, str | None]] = {}
        for hub_stream in (HUB_INTEGRITY, HUB_THROUGHPUT, HUB_DLQ):
            try:
                raw = await self._hub.request(f"STREAM.INFO.{hub_stream}", timeout_s=HUB_TIMEOUT_S)
            except NotFoundError:
                continue  # the hub is there and has not made this stream (yet): it has nothing of ours
            for source in raw.get("sources") or ():
                name = StreamName.parse(source["name"])
                if name is not None and name.edge == self._settings.edge:
                    error = source.get("error") or {}
                    text = f"{error.get('description')} ({error.get('err_code')})" if error else None
                    cursors[source["name"]] = (int(source.get("seq", 0)), text)
        return cursors

    async def _retire_leftovers(self, names: list[str]) -> None:
        """Older generations that have aged out are deleted."""
        current = {w.name for w in self._watched}
        for name in names:
            parsed = StreamName.parse(name)
            if parsed is None or name in current or parsed.kind not in _MAKE:
                continue
            info = await find_stream(self._start_api, name)
            if info is not None and is_retired(info.config) and info.messages == 0:
                await delete_stream(self._start_api, name)

    # -- while running ------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Check once a second, less often while little moves; for ever."""
        sid = self._connection.subscribe(cursors_subject(self._settings.edge), self.told.take)
        try:
            noted_ns = self._clock.monotonic_ns()
            while True:
                try:
                    await self._check()
                    now_ns = self._clock.monotonic_ns()
                    if now_ns - noted_ns >= NOTE_INTERVAL_S * 1e9:
                        noted_ns = now_ns
                        await self._write_note(is_clean=False)
                        await self._keep_positions()
                except PlantError as error:  # the own server restarts: its supervisor tells
                    self._server.doubt()
                    self._on_log(f"forward: {error}")
                await self._pause()
        finally:
            self._connection.unsubscribe(sid)

    async def _pause(self) -> None:
        """Until the next check. A hub that falls silent in a longer pause ends it."""
        interval_s, begun_ns = self._settings.check_interval_s, self._clock.monotonic_ns()
        left_s = interval_s * (CALM_CHECKS if self._is_calm else 1)
        while left_s > 0:
            fresh_s = self.told.fresh_s() if self._settings.has_uplink and self._is_calm else left_s
            await self._clock.sleep(min(left_s, max(fresh_s, 0.05)))
            passed_s = (self._clock.monotonic_ns() - begun_ns) / 1e9
            is_silent = self._settings.has_uplink and self.told.fresh_s() <= 0
            left_s = interval_s * (1 if is_silent or not self._is_calm else CALM_CHECKS) - passed_s

    async def _cursors_now(self) -> Cursors:
        """As told by the hub a moment ago, else as asked. Raises Unreachable."""
        if self.told.fresh_s() > 0:
            return self.told.newest
        if self._asked_ns is not None and self._clock.monotonic_ns() - self._asked_ns < ASK_AGAIN_S * 1e9:
            with contextlib.suppress(NotFoundError):  # whether it is there at all: the rest would name all its edges
                await self._hub.request(f"STREAM.INFO.{CONTRACTS}", timeout_s=HUB_TIMEOUT_S)
            return self.told.newest
        self.told.newest = await self._hub_cursors()
        self._asked_ns = self._clock.monotonic_ns()
        return self.told.newest

    async def close(self) -> None:
        """After the last message is stored: note a clean stop."""
        with contextlib.suppress(PlantError):
            for watched in self._watched:
                watched.info = await find_stream(self._api, watched.name) or watched.info
            await self._write_note(is_clean=True)

    async def _write_note(self, *, is_clean: bool) -> None:
        streams = {
            w.name: StreamNote(w.info.created, w.info.last_seq, w.watch.cursor_seq)
            for w in self._watched
            if w.kind != "DLQ"
        }
        note = ForwardNote(streams, is_clean)
        if note != self._noted:
            await asyncio.to_thread(save_note, self._settings.data_dir, note)
            self._noted = note

    async def _check(self) -> None:
        cursors: Cursors | None = None
        if self._settings.has_uplink:
            with contextlib.suppress(PlantError):
                cursors = await self._cursors_now()
        self._checks_count += 1
        is_calm = self._mqtt is None
        for watched in self._watched:
            is_idle = watched.kind == "DLQ" and (cursors or {}).get(watched.name, (0,))[0] <= watched.info.last_seq
            if is_idle and self._checks_count % LETTERS_CHECKS:
                continue
            info = await find_stream(self._api, watched.name)
            if info is not None:
                is_calm = is_calm and info.last_seq - watched.info.last_seq <= CALM_MESSAGES_MAX
                watched.info = info
        if self._mqtt is not None:
            self._mqtt = await find_stream(self._api, self._mqtt.name) or self._mqtt
        self._watch_log()
        self._watch_fill()
        await self._trim_flow(cursors)
        self._is_calm = is_calm and not self._alarms
        if not self._settings.has_uplink:
            return
        await self._measure(cursors)
        is_well = self._uplink.state in ("idle", "flowing") and not self._uplink.behind_messages
        self._is_calm = self._is_calm and is_well
        async with self._shaping:
            await self._trim(cursors)
        await self._act()

    async def _measure(self, cursors: Cursors | None) -> None:
        """From cursors to state, age and depth."""
        now_ns = self._clock.now_ns()
        flows = []
        for watched in self._forwarded():
            cursor, error = (cursors or {}).get(watched.name, (None, None))
            if cursor is not None and cursor > watched.info.last_seq:  # asked before, and yet ahead
                text = f"{watched.name} ends at {watched.info.last_seq}, the hub has {cursor}: restart this edge"
                self._raise("MS-0612", f"{text}, so that a new generation is begun")
            watched.watch.note(cursor, watched.info.last_seq, self._clock.monotonic_ns(), self.told.told_ns())
            age_ms = 0
            if watched.watch.waiting(watched.info):
                age_ms = await self._age_ms(watched, now_ns)
            flows.append(StreamFlow(watched.watch, watched.info, cursor is not None, age_ms, error))
        monotonic_ns = self._clock.monotonic_ns()
        is_there = cursors is not None
        is_hung = await self._is_hung(stuck_s(flows, is_hub_there=is_there, now_ns=monotonic_ns), is_hub_there=is_there)
        self._uplink = judge(flows, is_hub_there=is_there, is_hung=is_hung, now_ns=monotonic_ns)
        stalled = next((f.error for f in flows if f.error and "10228" in f.error), None)
        self._set("MS-0614", stalled and f"the hub's source reports: {stalled}")
        self._set("MS-0618", "the hub does not answer" if cursors is None else None)

    def _forwarded(self) -> list[_Watched]:
        """All but what stays at the site, of which the hub has no cursor."""
        return [watched for watched in self._watched if watched.kind != "S"]

    async def _is_hung(self, stuck_s: float, *, is_hub_there: bool) -> bool:
        """Only where the hub does not answer is the server asked what comes over the link."""
        if is_hub_there or stuck_s <= self._settings.hang_s / 3:
            return stuck_s > self._settings.hang_s * BUSY_PATIENCE
        return self._ear.is_hung(stuck_s, await self._link_count(), self._clock.monotonic_ns())

    async def _link_count(self) -> int | None:
        """How many messages came over the leaf link that the server believes in; None: it has none."""
        try:
            leafs = [] if self._server.is_given else (await self._server.monitor("/leafz")).get("leafs") or []
        except PlantError:
            return None
        return sum(int(leaf.get("in_msgs", 0)) for leaf in leafs) if leafs else None

    async def _age_ms(self, watched: _Watched, now_ns: int) -> int:
        """Age of the oldest message that the hub does not have."""
        seq = max(watched.watch.cursor_seq + 1, watched.info.first_seq)
        message = await self._api.get(watched.name, seq)
        return max(0, (now_ns - message.stored_time_ns) // 1_000_000) if message is not None else 0

    async def _act(self) -> None:
        """Hang up and dial again when the way hangs; restart the server when that does not help."""
        now_ns = self._clock.monotonic_ns()
        remote = self._server.settings.leaf_remote
        if self._uplink.state != "hung" or remote is None or self._server.is_given:
            if self._uplink.state in ("flowing", "idle"):
                self._redials.good(now_ns)
                self._set("MS-0613", None)
            return
        act = self._redials.hung(now_ns)
        if act == "wait":
            return
        waiting = self._uplink.behind_messages
        self._raise("MS-0613", f"{waiting} messages wait and the hub's cursor does not move: the link is dialled again")
        if act == "restart":
            self._server.restart("the link to the hub hangs and dialling again does not help")
            return
        await self.redial()

    async def redial(self) -> None:
        """Hang up the leaf link and dial again, by two reloads of the server."""
        settings = self._server.settings
        assert settings.leaf_remote is not None
        for is_disabled in (True, False):
            remote = replace(settings.leaf_remote, is_disabled=is_disabled)
            await self._server.reconfigure(replace(settings, leaf_remote=remote))
            if is_disabled:
                await self._wait_hung_up()

    async def _wait_hung_up(self) -> None:
        with contextlib.suppress(TimeoutError, PlantError):
            async with asyncio.timeout(5.0):
                while (await self._server.monitor("/leafz")).get("leafs"):
                    await self._clock.sleep(0.05)

    async def _keep_positions(self) -> None:
        for watched in self._watched:
            if watched.kind in ("I", "T", "S"):
                await self.room.keep_positions(watched.info)

    async def _trim(self, cursors: Cursors | None) -> None:
        for watched in self._watched:
            if cursors is not None and watched.name in cursors and watched.kind != "F":
                await self.room.trim(watched.info, cursors[watched.name][0])

    async def _trim_flow(self, cursors: Cursors | None) -> None:
        for watched in self._watched:
            if watched.kind == "F":
                cursor_seq = watched.info.last_seq
                if self._settings.has_uplink:
                    cursor_seq = (cursors or {}).get(watched.name, (0, None))[0]
                await self.room.trim_flow(watched.info, cursor_seq)

    # -- alarms -------------------------------------------------------------------------------------------------------

    def _watch_log(self) -> None:
        if self._server.is_given:
            return
        self._refusals.feed(self._server.take_log_lines(), self._clock.monotonic_ns())
        is_refused = self._refusals.is_leaf_refused and self._uplink.state not in ("flowing", "idle")
        remote = self._server.settings.leaf_remote
        self._set("MS-0615", self._refusals.leaf_text(remote) if is_refused else None)
        problem = self._refusals.tls_problem if self._uplink.state not in ("flowing", "idle") else None
        where = remote.url if remote is not None else ""
        self._set("MS-2509", f"{where}: this is not taken for the hub: {problem}" if problem else None)
        refused = self._refusals.mqtt_subject
        self._set("MS-0617", f"an MQTT device published on {refused}, which is not stored" if refused else None)

    def _watch_fill(self) -> None:
        full = [
            f"{i.name} {100 * i.bytes // i.config['max_bytes']} %"
            for i in self.streams
            if i.config.get("discard") == "new" and i.bytes > FILL_ALARM_RATIO * i.config["max_bytes"] > 0
        ]
        self._set("MS-0616", f"nearly full: {', '.join(full)}" if full else None)

    def _set(self, code: str, message: str | None) -> None:
        if message is not None:
            self._raise(code, message)
        elif self._alarms.pop(code, None) is not None:
            self._on_log(f"{code} is over")

    def _raise(self, code: str, message: str) -> None:
        known = self._alarms.get(code)
        if known is None:
            self._on_log(f"{message} [{code}]")
        since_ns = known.since_ns if known is not None else self._clock.now_ns()
        self._alarms[code] = ServerAlarm(code, message, since_ns)
